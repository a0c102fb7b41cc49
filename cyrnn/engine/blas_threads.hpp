// Holds a BLAS library to one thread while our own threads call it.
//
// The setter is process-wide, so holds are counted: the first one sets, the last one restores. Without
// it, products above OpenBLAS' threshold would meet at its one pool with spinning barriers.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>

#if !defined(_WIN32)  // which has no forks
#include <pthread.h>
#endif

namespace cyrnn {

struct BlasThreads {
    int (*get)() = nullptr;  // null: this BLAS has no such functions that we know
    void (*set)(int) = nullptr;
    std::mutex mutex;
    std::condition_variable changed;
    int (*has_gil)() = nullptr;
    int holds = 0;
    int before = 1;  // what `set` restores
    int asked = 0;   // forks from Python that wait, or have waited, for the calls under way
    bool forking = false;
};

inline BlasThreads &blas_threads() {
    static BlasThreads *const state = new BlasThreads;
    return *state;
}

// A library keeps locks of its own within a product, and a forked child would find them locked for ever. So a fork waits
// for the calls under way in other threads, and lets none begin; but not without end: it may come from within a call.
constexpr auto longest_wait = std::chrono::seconds(2);

inline bool &this_thread_has_waited() {
    static thread_local bool waited = false;
    return waited;
}

inline void wait_for_calls(std::unique_lock<std::mutex> &lock) {
    BlasThreads &blas = blas_threads();
    blas.changed.wait_for(lock, longest_wait, [&] { return blas.holds == 0; });
}

// A fork from Python waits here, without the GIL: a call under way may need it to end. Until the fork is over, no call
// begins but in a thread that has the GIL. That one must not wait, because the thread that forks needs the GIL first; and
// so the call has ended when the fork begins.
inline void wait_before_fork() {
    std::unique_lock<std::mutex> lock(blas_threads().mutex);
    ++blas_threads().asked;
    wait_for_calls(lock);
    this_thread_has_waited() = true;
}

// Python calls this in the parent, also when the system could not fork.
inline void end_of_fork() {
    BlasThreads &blas = blas_threads();
    std::lock_guard<std::mutex> lock(blas.mutex);
    if (blas.asked > 0) --blas.asked;
    this_thread_has_waited() = false;
    blas.changed.notify_all();
}

inline void before_fork() {
    std::unique_lock<std::mutex> lock(blas_threads().mutex);
    blas_threads().forking = true;
    if (!this_thread_has_waited()) wait_for_calls(lock);  // it is not Python that forks
    lock.release();  // until the fork is over
}

inline void after_fork_in_parent() {
    BlasThreads &blas = blas_threads();
    blas.forking = false;
    blas.mutex.unlock();
    blas.changed.notify_all();
}

// The other threads are gone, and so are their holds.
inline void after_fork_in_child() {
    BlasThreads &blas = blas_threads();
    new (&blas.mutex) std::mutex;
    new (&blas.changed) std::condition_variable;
    if (blas.holds > 0 && blas.before > 1) blas.set(blas.before);
    blas.holds = blas.asked = 0;
    blas.forking = this_thread_has_waited() = false;
}

// `has_gil`: whether the thread that calls it holds Python's lock.
inline void control_blas_threads(void *get, void *set, int (*has_gil)()) {
    blas_threads().has_gil = has_gil;
    blas_threads().get = reinterpret_cast<int (*)()>(get);
    blas_threads().set = reinterpret_cast<void (*)(int)>(set);
#if !defined(_WIN32)
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
#endif
}

inline void hold_blas_threads() {
    BlasThreads &blas = blas_threads();
    if (!blas.set) return;
    std::unique_lock<std::mutex> lock(blas.mutex);
    blas.changed.wait(lock, [&] { return !blas.forking && (blas.asked == 0 || blas.has_gil()); });
    if (blas.holds++ > 0) return;
    blas.before = blas.get();
    if (blas.before > 1) blas.set(1);
}

inline void release_blas_threads() {
    BlasThreads &blas = blas_threads();
    if (!blas.set) return;
    std::lock_guard<std::mutex> lock(blas.mutex);
    if (blas.holds == 0 || --blas.holds > 0) return;  // none: this is a child, forked from within the call
    if (blas.before > 1) blas.set(blas.before);
    blas.changed.notify_all();
}

}  // namespace cyrnn
