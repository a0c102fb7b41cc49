// One call, cut into slices of its batch that go through the pool. Each slice walks all timesteps alone, so there is
// no barrier per timestep.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <new>

#include "contract.hpp"
#include "pool.hpp"
#include "recurrence.hpp"

namespace cyrnn {

enum class Outcome : int { done, interrupted, no_memory };

// Below so many multiply-adds a call takes some tens of microseconds, and waking a worker would cost more than it saves.
constexpr double least_parallel_work = 1e6;

class Interruption {
public:
    explicit Interruption(bool (*interrupted)()) : interrupted(interrupted) {}
    Stop for_worker(int worker) { return {worker == 0 ? ask_outside : ask_flag, this}; }
    bool happened() const { return flag.load(std::memory_order_relaxed); }

private:
    using Clock = std::chrono::steady_clock;

    static bool ask_flag(void *self) { return static_cast<Interruption *>(self)->happened(); }

    // Only the caller's thread may ask Python for signals, and that takes the GIL: ten times a second is enough.
    static bool ask_outside(void *self_) {
        auto *self = static_cast<Interruption *>(self_);
        if (self->happened()) return true;
        const auto now = Clock::now();
        if (now - self->asked_at < std::chrono::milliseconds(100)) return false;
        if (self->interrupted()) self->flag.store(true, std::memory_order_relaxed);
        self->asked_at = Clock::now();
        return self->happened();
    }

    bool (*interrupted)();
    std::atomic<bool> flag{false};
    Clock::time_point asked_at = Clock::now();
};

template <class T> struct SlicedCall {
    const Product<T> *product;
    const Weights<T> *weights;
    const Sequences<T> *call;
    std::ptrdiff_t slice_rows;
    std::ptrdiff_t scratch_size;  // elements per worker
    T *scratch;                   // (workers, scratch_size)
    Interruption interruption;

    static void run_one(void *self_, std::ptrdiff_t index, int worker) {
        auto *self = static_cast<SlicedCall *>(self_);
        const Stop stop = self->interruption.for_worker(worker);
        if (stop.asked(stop.self)) return;
        const std::ptrdiff_t first = index * self->slice_rows;
        const std::ptrdiff_t last = std::min(first + self->slice_rows, self->call->batch);
        T *scratch = self->scratch + worker * self->scratch_size;
        Recurrence<T>(*self->product, *self->weights, *self->call, first, last, scratch).run(stop);
    }
};

// Runs `call` on at most `threads` threads. `interrupted` is asked now and then, from the calling thread only.
template <class T>
Outcome run_slices(const Engine *engine, const Product<T> *product, const Weights<T> *weights,
                   const Sequences<T> *call, int threads, bool (*interrupted)()) {
    if (call->batch == 0) return Outcome::done;
    const std::ptrdiff_t rows = std::min(engine->slice_rows(call->batch), call->batch);
    const std::ptrdiff_t slices = (call->batch + rows - 1) / rows;
    const double work = static_cast<double>(call->batch) * static_cast<double>(call->timesteps) *
                        static_cast<double>(weights->units) * static_cast<double>(weights->depth);
    if (work < least_parallel_work || threads < 1) threads = 1;
    const int workers = static_cast<int>(std::min<std::ptrdiff_t>(threads, slices));

    constexpr std::ptrdiff_t line = 64 / sizeof(T);  // workers do not share cache lines
    const std::ptrdiff_t scratch_size = (Recurrence<T>::scratch_size(*product, *weights, rows) + line - 1) / line * line;
    const std::unique_ptr<T[]> scratch(new (std::nothrow) T[workers * scratch_size + line]);
    if (!scratch) return Outcome::no_memory;
    void *aligned = scratch.get();
    std::size_t space = static_cast<std::size_t>(workers * scratch_size + line) * sizeof(T);
    std::align(64, static_cast<std::size_t>(workers * scratch_size) * sizeof(T), aligned, space);

    SlicedCall<T> sliced{product,      weights, call, rows, scratch_size, static_cast<T *>(aligned),
                         Interruption(interrupted)};
    engine->begin();
    parallel_for(slices, workers, SlicedCall<T>::run_one, &sliced);
    engine->end();
    return sliced.interruption.happened() ? Outcome::interrupted : Outcome::done;
}

}  // namespace cyrnn
