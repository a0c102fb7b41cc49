// Calls, cut into slices of their batches that go through the pool. Each slice walks all timesteps alone, so there is
// no barrier per timestep.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <new>
#include <vector>

#include "pool.hpp"
#include "prepared.hpp"
#include "recurrence.hpp"

namespace cyrnn {

enum class Outcome : int { done, interrupted, no_memory, forked };

// Below so many multiply-adds a call in wide vectors takes less than a tenth of a millisecond, and a worker that sleeps may
// wake only when it is over. (benchmarks/foreign_load.py)
constexpr double least_parallel_work = 1e7;

class Interruption {
public:
    explicit Interruption(bool (*interrupted_)()) : interrupted(interrupted_) {}
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

// One call of one plan, of whichever dtype.
struct Job {
    const Prepared *prepared;

    virtual std::ptrdiff_t batch() const = 0;
    virtual double work() const = 0;  // multiply-adds
    virtual Load load(int threads) const = 0;
    virtual std::size_t scratch_bytes(std::ptrdiff_t rows) const = 0;
    virtual void walk(std::ptrdiff_t first, std::ptrdiff_t last, void *scratch, Stop stop) const = 0;

protected:
    ~Job() = default;
};

template <class T> struct JobOf final : Job {
    Sequences<T> call;

    std::ptrdiff_t batch() const override { return call.batch; }

    double work() const override {
        return static_cast<double>(call.batch) * static_cast<double>(call.timesteps) *
               static_cast<double>(weights().units) * static_cast<double>(weights().depth);
    }

    Load load(int threads) const override {
        const double each = static_cast<double>(weights().units) * static_cast<double>(weights().depth);
        return {call.batch, threads, static_cast<double>(call.timesteps) * each, each * sizeof(T)};
    }

    std::size_t scratch_bytes(std::ptrdiff_t rows) const override {
        return static_cast<std::size_t>(Recurrence<T>::scratch_bytes(product(), weights(), rows));
    }

    void walk(std::ptrdiff_t first, std::ptrdiff_t last, void *scratch, Stop stop) const override {
        Recurrence<T>(product(), weights(), call, first, last, scratch).run(stop);
    }

private:
    const Weights<T> &weights() const { return prepared->template weights<T>(); }
    const Product<T> &product() const { return prepared->template product<T>(); }
};

class Slices {
public:
    Slices(const Job *const *jobs, std::ptrdiff_t count, int most_threads, bool (*interrupted)())
        : threads(most_threads), interruption(interrupted) {
        double work = 0;
        for (std::ptrdiff_t i = 0; i < count; ++i) work += jobs[i]->work();
        if (work < least_parallel_work) threads = 1;
        parts.reserve(static_cast<std::size_t>(count));
        for (std::ptrdiff_t i = 0; i < count; ++i) {
            const std::ptrdiff_t batch = jobs[i]->batch();
            if (batch == 0) continue;
            const Load load = jobs[i]->load(threads);
            const std::ptrdiff_t rows = std::min(jobs[i]->prepared->engine->slice_rows(&load), batch);
            parts.push_back({jobs[i], rows, (batch + rows - 1) / rows});
            slices += parts.back().slices;
            scratch_size = std::max(scratch_size, jobs[i]->scratch_bytes(rows));
        }
    }

    Outcome run() {
        const int workers = static_cast<int>(std::min<std::ptrdiff_t>(threads, slices));
        scratch_size = (scratch_size + line - 1) / line * line;  // workers do not share cache lines
        std::size_t space = static_cast<std::size_t>(workers) * scratch_size + line;
        const std::unique_ptr<char[]> memory(new char[space]);
        void *aligned = memory.get();
        scratch = static_cast<char *>(std::align(line, space - line, aligned, space));
        const Begun begun(parts);
        if (!parallel_for(slices, workers, run_one, ask, this)) return Outcome::forked;
        return interruption.happened() ? Outcome::interrupted : Outcome::done;
    }

private:
    struct Part {
        const Job *job;
        std::ptrdiff_t rows, slices;  // of each slice but the last; their number
    };

    class Begun {  // each engine once, from before the first slice until after the last, also when an error ends the call
    public:
        explicit Begun(const std::vector<Part> &parts) {
            engines.reserve(parts.size());
            for (const Part &part : parts) {
                const Engine *const engine = part.job->prepared->engine;
                if (std::find(engines.begin(), engines.end(), engine) != engines.end()) continue;
                engine->begin();
                engines.push_back(engine);
            }
        }
        ~Begun() {
            for (const Engine *engine : engines) engine->end();
        }
        Begun(const Begun &) = delete;
        Begun &operator=(const Begun &) = delete;

    private:
        std::vector<const Engine *> engines;
    };

    static void run_one(void *self_, std::ptrdiff_t index, int worker) {
        auto *self = static_cast<Slices *>(self_);
        const Stop stop = self->interruption.for_worker(worker);
        if (stop.asked(stop.self)) return;
        const Part *part = self->parts.data();
        for (; index >= part->slices; ++part) index -= part->slices;
        const std::ptrdiff_t first = index * part->rows, last = std::min(first + part->rows, part->job->batch());
        part->job->walk(first, last, self->scratch + static_cast<std::size_t>(worker) * self->scratch_size, stop);
    }

    static void ask(void *self_) {
        const Stop stop = static_cast<Slices *>(self_)->interruption.for_worker(0);
        stop.asked(stop.self);
    }

    static constexpr std::size_t line = 64;  // bytes

    int threads;
    std::vector<Part> parts;
    std::ptrdiff_t slices = 0;
    std::size_t scratch_size = 0;  // bytes per worker
    char *scratch = nullptr;       // (workers, scratch_size)
    Interruption interruption;
};

// Runs all jobs, which do not wait for each other, on at most `threads` threads. `interrupted` is asked now and then,
// from the calling thread only.
inline Outcome run_slices(const Job *const *jobs, std::ptrdiff_t count, int threads, bool (*interrupted)()) noexcept {
    try {
        return Slices(jobs, count, threads, interrupted).run();
    } catch (...) {  // std::bad_alloc, or what the system has no more threads and locks for
        return Outcome::no_memory;
    }
}

}  // namespace cyrnn
