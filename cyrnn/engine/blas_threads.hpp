// Holds a BLAS library to one thread while our own threads call it.
//
// The setter is process-wide, so holds are counted: the first one sets, the last one restores. Without
// it, products above OpenBLAS' threshold would meet at its one pool with spinning barriers.
#pragma once

#include <mutex>

#include <pthread.h>

namespace cyrnn {

struct BlasThreads {
    int (*get)() = nullptr;  // null: this BLAS has no such functions that we know
    void (*set)(int) = nullptr;
    std::mutex mutex;
    int holds = 0;
    int before = 1;  // what `set` restores
};

inline BlasThreads &blas_threads() {
    static BlasThreads *const state = new BlasThreads;
    return *state;
}

// In a forked child the other threads' holds are gone, and the mutex may be locked for ever.
inline void forget_holds() {
    BlasThreads &blas = blas_threads();
    new (&blas.mutex) std::mutex;
    if (blas.holds > 0 && blas.before > 1) blas.set(blas.before);
    blas.holds = 0;
}

inline void control_blas_threads(void *get, void *set) {
    blas_threads().get = reinterpret_cast<int (*)()>(get);
    blas_threads().set = reinterpret_cast<void (*)(int)>(set);
    pthread_atfork(nullptr, nullptr, forget_holds);
}

inline void hold_blas_threads() {
    BlasThreads &blas = blas_threads();
    if (!blas.set) return;
    std::lock_guard<std::mutex> lock(blas.mutex);
    if (blas.holds++ > 0) return;
    blas.before = blas.get();
    if (blas.before > 1) blas.set(1);
}

inline void release_blas_threads() {
    BlasThreads &blas = blas_threads();
    if (!blas.set) return;
    std::lock_guard<std::mutex> lock(blas.mutex);
    if (--blas.holds > 0) return;
    if (blas.before > 1) blas.set(blas.before);
}

}  // namespace cyrnn
