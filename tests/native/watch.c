/* Preloaded: counts what a thread does while it is watched, and forbids it system calls in a child process.
 *
 * malloc and its kin are glibc's, by their other names; locks are looked up when the library is loaded. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static __thread int watching __attribute__((tls_model("initial-exec")));
static __thread long seen __attribute__((tls_model("initial-exec")));
#define NOTE() (seen += watching)

void *malloc(size_t n) { NOTE(); return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { NOTE(); return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { NOTE(); return __libc_realloc(p, n); }
void free(void *p) { NOTE(); __libc_free(p); }
void *memalign(size_t a, size_t n) { NOTE(); return __libc_memalign(a, n); }
void *aligned_alloc(size_t a, size_t n) { NOTE(); return __libc_memalign(a, n); }
int posix_memalign(void **p, size_t a, size_t n) { NOTE(); *p = __libc_memalign(a, n); return *p ? 0 : ENOMEM; }

static int (*real_lock)(pthread_mutex_t *), (*real_trylock)(pthread_mutex_t *), (*real_rdlock)(pthread_rwlock_t *),
    (*real_wrlock)(pthread_rwlock_t *), (*real_wait)(sem_t *);

__attribute__((constructor)) static void look_up(void) {
    *(void **)&real_lock = dlsym(RTLD_NEXT, "pthread_mutex_lock");
    *(void **)&real_trylock = dlsym(RTLD_NEXT, "pthread_mutex_trylock");
    *(void **)&real_rdlock = dlsym(RTLD_NEXT, "pthread_rwlock_rdlock");
    *(void **)&real_wrlock = dlsym(RTLD_NEXT, "pthread_rwlock_wrlock");
    *(void **)&real_wait = dlsym(RTLD_NEXT, "sem_wait");
}

int pthread_mutex_lock(pthread_mutex_t *m) { NOTE(); return real_lock ? real_lock(m) : 0; }
int pthread_mutex_trylock(pthread_mutex_t *m) { NOTE(); return real_trylock ? real_trylock(m) : 0; }
int pthread_rwlock_rdlock(pthread_rwlock_t *l) { NOTE(); return real_rdlock ? real_rdlock(l) : 0; }
int pthread_rwlock_wrlock(pthread_rwlock_t *l) { NOTE(); return real_wrlock ? real_wrlock(l) : 0; }
int sem_wait(sem_t *s) { NOTE(); return real_wait ? real_wait(s) : 0; }

typedef int (*step_function)(void *runner, const void *x, void *out);
typedef int (*forward_function)(void *runner, int64_t timesteps, const void *x, void *out);
typedef int (*step_all_function)(void *runner, const void *const *inputs, void *const *outputs);
typedef int (*forward_all_function)(void *runner, int64_t timesteps, const int64_t *lengths, const void *const *inputs, void *const *outputs);

/* What is watched: `times` steps, and one forward over as many timesteps; the functions for one input and one output where
 * `step` is there, and those for all. The controls do what must be noticed. */
typedef struct {
    int what;
    step_function step;
    forward_function forward;
    step_all_function step_all;
    forward_all_function forward_all;
    void *runner;
    const int64_t *lengths;
    const void *const *inputs;
    void *const *outputs;
    int64_t times;
} watched;

enum { WORK, ALLOCATE, LOCK, CALL_SYSTEM };

static void work(const watched *w) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    if (w->what == ALLOCATE) {
        void *volatile p = malloc(1);
        free(p);
    } else if (w->what == LOCK) {
        pthread_mutex_lock(&mutex);
        pthread_mutex_unlock(&mutex);
    } else if (w->what == CALL_SYSTEM) {
        syscall(SYS_getppid);
    } else {
        for (int64_t i = 0; i < w->times; ++i) {
            w->step_all(w->runner, w->inputs, w->outputs);
            if (w->step) w->step(w->runner, w->inputs[0], w->outputs[0]);
        }
        w->forward_all(w->runner, w->times, w->lengths, w->inputs, w->outputs);
        if (w->step) w->forward(w->runner, w->times, w->inputs[0], w->outputs[0]);
    }
}

long allocations_and_locks(const watched *w) {
    seen = 0;
    watching = 1;
    work(w);
    watching = 0;
    return seen;
}

/* 0 if a child that the kernel kills at any system call but its exit has lived; else the signal that killed it. */
int signal_at_system_call(const watched *w) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL),
    };
    struct sock_fprog program = {sizeof rules / sizeof *rules, rules};
    const pid_t child = fork();
    if (child == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) syscall(SYS_exit_group, 99);
        work(w);
        syscall(SYS_exit_group, 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}
