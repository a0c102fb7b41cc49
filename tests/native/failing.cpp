// Allocations that fail on demand: preloaded, this library stands before glibc's malloc, the C++ library's
// operator new, and pthread_create. Only calls from the machine code that was named with failing_watch are counted.
// The hook for Python's own allocators counts every allocation of the thread that switched it on.

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <dlfcn.h>
#include <new>
#include <pthread.h>

extern "C" {
void *__libc_malloc(std::size_t);
void *__libc_calloc(std::size_t, std::size_t);
void *__libc_realloc(void *, std::size_t);
void *__libc_memalign(std::size_t, std::size_t);
}

namespace {

struct Range {
    std::uintptr_t begin, end;
};
constexpr int most = 64;
Range ranges[most];
std::atomic<int> watched{0};
std::atomic<bool> on{false}, ever{false};  // whether allocations are counted; whether all after the first one fail too
std::atomic<std::int64_t> left{0}, counted{0};

bool next_fails() {
    counted.fetch_add(1);
    const std::int64_t before = left.fetch_sub(1);
    return before == 1 || (before < 1 && ever.load());
}

bool fails(const void *caller) {
    if (!on.load(std::memory_order_relaxed)) return false;
    const auto address = reinterpret_cast<std::uintptr_t>(caller);
    for (int i = 0; i < watched.load(); ++i)
        if (address >= ranges[i].begin && address < ranges[i].end) return next_fails();
    return false;
}

void *or_null(const void *caller, std::size_t size, std::size_t alignment = 0) {
    if (fails(caller)) {
        errno = ENOMEM;
        return nullptr;
    }
    return alignment ? __libc_memalign(alignment, size) : __libc_malloc(size ? size : 1);
}

void *or_throw(const void *caller, std::size_t size, std::size_t alignment = 0) {
    void *const made = or_null(caller, size, alignment);
    if (!made) throw std::bad_alloc();
    return made;
}

// Python's struct of an allocator, and what it was before the hook.
struct Allocator {
    void *self;
    void *(*malloc)(void *, std::size_t);
    void *(*calloc)(void *, std::size_t, std::size_t);
    void *(*realloc)(void *, void *, std::size_t);
    void (*free)(void *, void *);
};
using GetOrSet = void (*)(int, Allocator *);
constexpr int domains = 3;  // raw, of memory, of objects; raw allocations may come without the GIL, and stay
// Lists grow in this domain, and that stays too: where a list cannot grow, a list comprehension that Cython 3.3 has compiled
// lets go of the item twice.
constexpr int of_lists = 1;
Allocator kept[domains];
pthread_t python_thread;

bool python_fails() { return pthread_equal(pthread_self(), python_thread) && next_fails(); }

template <int domain> void hook(GetOrSet set) {
    Allocator mine{
        nullptr,
        [](void *, std::size_t size) -> void * { return python_fails() ? nullptr : kept[domain].malloc(kept[domain].self, size); },
        [](void *, std::size_t count, std::size_t size) -> void * {
            return python_fails() ? nullptr : kept[domain].calloc(kept[domain].self, count, size);
        },
        [](void *, void *old, std::size_t size) -> void * {
            return domain != of_lists && python_fails() ? nullptr : kept[domain].realloc(kept[domain].self, old, size);
        },
        [](void *, void *old) { kept[domain].free(kept[domain].self, old); },
    };
    set(domain, &mine);
}

GetOrSet of_python(const char *name) {
    return reinterpret_cast<GetOrSet>(dlsym(RTLD_DEFAULT, name));
}

}  // namespace

#define CALLER __builtin_return_address(0)

extern "C" {

void *malloc(std::size_t size) { return or_null(CALLER, size); }
void *calloc(std::size_t count, std::size_t size) { return fails(CALLER) ? nullptr : __libc_calloc(count, size); }
void *realloc(void *old, std::size_t size) { return fails(CALLER) ? nullptr : __libc_realloc(old, size); }
void *aligned_alloc(std::size_t alignment, std::size_t size) { return or_null(CALLER, size, alignment); }
int posix_memalign(void **made, std::size_t alignment, std::size_t size) {
    *made = or_null(CALLER, size, alignment);
    return *made ? 0 : ENOMEM;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*begin)(void *), void *argument) {
    using Create = int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    static const auto create = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
    return fails(CALLER) ? EAGAIN : create(thread, attributes, begin, argument);
}

// Count what machine code between these addresses allocates; 0 if there is no room for more.
int failing_watch(std::uintptr_t begin, std::uintptr_t end) {
    const int number = watched.load();
    if (number == most) return 0;
    ranges[number] = {begin, end};
    watched.store(number + 1);
    return 1;
}

void failing_watch_nothing(void) { watched.store(0); }

// The allocation of this number fails, counted from 1 and from now on, and with `and_all_after` all that follow; none of number 0.
void failing_begin(std::int64_t number, int and_all_after) {
    counted.store(0);
    left.store(number > 0 ? number : INT64_MAX);
    ever.store(and_all_after != 0);
    on.store(true);
}

// The number of allocations since failing_begin.
std::int64_t failing_end(void) {
    on.store(false);
    return counted.load();
}

// The same for what this thread allocates by Python's allocators.
void failing_begin_python(std::int64_t number) {
    counted.store(0);
    left.store(number > 0 ? number : INT64_MAX);
    ever.store(false);
    python_thread = pthread_self();
    const GetOrSet get = of_python("PyMem_GetAllocator"), set = of_python("PyMem_SetAllocator");
    for (int domain = 1; domain < domains; ++domain) get(domain, &kept[domain]);
    hook<of_lists>(set);
    hook<2>(set);
}

std::int64_t failing_end_python(void) {
    const GetOrSet set = of_python("PyMem_SetAllocator");
    for (int domain = 1; domain < domains; ++domain) set(domain, &kept[domain]);
    return counted.load();
}

}  // extern "C"

void *operator new(std::size_t size) { return or_throw(CALLER, size); }
void *operator new[](std::size_t size) { return or_throw(CALLER, size); }
void *operator new(std::size_t size, const std::nothrow_t &) noexcept { return or_null(CALLER, size); }
void *operator new[](std::size_t size, const std::nothrow_t &) noexcept { return or_null(CALLER, size); }
void *operator new(std::size_t size, std::align_val_t alignment) { return or_throw(CALLER, size, std::size_t(alignment)); }
void *operator new[](std::size_t size, std::align_val_t alignment) { return or_throw(CALLER, size, std::size_t(alignment)); }
void *operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t &) noexcept {
    return or_null(CALLER, size, std::size_t(alignment));
}
void *operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t &) noexcept {
    return or_null(CALLER, size, std::size_t(alignment));
}
