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
    int holds = 0;
    int before = 1;  // what `set` restores
    bool forking = false;
};

inline BlasThreads &blas_threads() {
    static BlasThreads *const state = new BlasThreads;
    return *state;
}

// A library keeps locks of its own within a product, and a forked child would find them locked for ever. So a fork waits
// for the calls under way in other threads, and lets none begin; but not without end: it may come from within a call.
constexpr auto longest_wait = std::chrono::seconds(2);

inline void wait_for_calls(std::unique_lock<std::mutex> &lock) {
    BlasThreads &blas = blas_threads();
    blas.forking = true;
    blas.changed.wait_for(lock, longest_wait, [&] { return blas.holds == 0; });
}

// A fork from Python waits here first, without the GIL: a call under way may need it to end. Calls may begin again then:
// one that has the GIL, and waited here for the fork, would keep it from the thread that forks.
inline void wait_before_fork() {
    std::unique_lock<std::mutex> lock(blas_threads().mutex);
    wait_for_calls(lock);
    blas_threads().forking = false;
    blas_threads().changed.notify_all();
}

inline void before_fork() {
    std::unique_lock<std::mutex> lock(blas_threads().mutex);
    wait_for_calls(lock);
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
    blas.holds = 0;
    blas.forking = false;
}

inline void control_blas_threads(void *get, void *set) {
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
    blas.changed.wait(lock, [&] { return !blas.forking; });
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
