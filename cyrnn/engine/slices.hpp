// Calls, cut into slices of their batches that go through the pool. Each slice walks all timesteps alone, so there is
// no barrier per timestep.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
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
               static_cast<double>(weights().sums()) * static_cast<double>(weights().depth);
    }

    Load load(int threads) const override {
        const double each = static_cast<double>(weights().sums()) * static_cast<double>(weights().depth);
        return {call.batch, threads, static_cast<double>(call.timesteps) * each, each * sizeof(T)};
    }

    std::size_t scratch_bytes(std::ptrdiff_t rows) const override {
        return static_cast<std::size_t>(Parts(*this, rows).recurrence +
                                        Recurrence<T>::scratch_bytes(product(), weights(), rows, call.timesteps, picks()));
    }

    void walk(std::ptrdiff_t first, std::ptrdiff_t last, void *scratch, Stop stop) const override {
        const std::ptrdiff_t rows = last - first, carried = weights().carried;
        const Parts parts(*this, rows);
        char *const at = static_cast<char *>(scratch);
        Record<T> record{reinterpret_cast<T *>(at), reinterpret_cast<T *>(at + parts.then),
                         reinterpret_cast<std::uint8_t *>(at + parts.seen)};
        const std::size_t size = static_cast<std::size_t>(rows * carried) * sizeof(T);
        if (call.initial_state)
            std::memcpy(record.now, call.initial_state + first * carried, size);
        else
            std::memset(record.now, 0, size);
        std::memset(record.seen, 0, static_cast<std::size_t>(rows));
        const std::ptrdiff_t most = call.x_feature == 1 ? call.timesteps : gathered;
        std::ptrdiff_t t = 0;
        do {
            Block<T> block = block_of(first, rows, t, std::min(most, call.timesteps - t));
            if (call.x_feature != 1) gather(block, reinterpret_cast<T *>(at + parts.x));
            if (t > 0 && stop.asked(stop.self)) return;
            if (!Recurrence<T>::run(product(), weights(), block, record, at + parts.recurrence, stop)) return;
            t += block.timesteps;
        } while (t < call.timesteps);
        if (call.state) std::memcpy(call.state + first * carried, record.now, size);
    }

private:
    static constexpr std::ptrdiff_t gathered = 16;  // timesteps of an x whose features are apart, side by side at once

    struct Parts {  // of the scratch, as bytes from its start: the record, x with its features side by side, the walk's own
        std::ptrdiff_t then, seen, x, recurrence;

        Parts(const JobOf &job, std::ptrdiff_t rows)
            : then(aligned(rows * job.weights().carried * std::ptrdiff_t(sizeof(T)))), seen(2 * then), x(seen + aligned(rows)),
              recurrence(x + (job.call.x_feature == 1
                                  ? 0 : aligned(rows * gathered * job.weights().features * std::ptrdiff_t(sizeof(T))))) {}

        static std::ptrdiff_t aligned(std::ptrdiff_t bytes) { return (bytes + 63) / 64 * 64; }
    };

    Block<T> block_of(std::ptrdiff_t first, std::ptrdiff_t rows, std::ptrdiff_t t, std::ptrdiff_t count) const {
        const std::ptrdiff_t features = weights().features, units = weights().units;
        Block<T> block{};
        block.rows = rows, block.timesteps = count;
        block.x = call.x + first * call.x_batch + t * call.x_time, block.x_row = call.x_batch, block.x_time = call.x_time;
        if (call.mask) block.mask = call.mask + first * call.mask_batch + t * call.mask_time;
        block.mask_row = call.mask_batch, block.mask_time = call.mask_time;
        block.zero_output_for_mask = call.zero_output_for_mask;
        if (call.input_dropout) block.input_dropout = call.input_dropout + first * features;
        if (call.recurrent_dropout) block.recurrent_dropout = call.recurrent_dropout + first * units;
        if (call.outputs) block.outputs = call.outputs + first * call.outputs_batch + t * call.outputs_time;
        block.outputs_row = call.outputs_batch, block.outputs_time = call.outputs_time;
        if (call.last_output && t + count >= call.timesteps)
            block.last_output = call.last_output + first * call.last_output_batch;
        block.last_output_row = call.last_output_batch;
        block.alone = call.batch == 1;
        return block;
    }

    // x of the block, from the call's into `to` (rows, timesteps, features)
    void gather(Block<T> &block, T *to) const {
        const std::ptrdiff_t features = weights().features;
        for (std::ptrdiff_t row = 0; row < block.rows; ++row)
            for (std::ptrdiff_t t = 0; t < block.timesteps; ++t)
                for (std::ptrdiff_t i = 0; i < features; ++i)
                    to[(row * block.timesteps + t) * features + i] =
                        block.x[row * block.x_row + t * block.x_time + i * call.x_feature];
        block.x = to, block.x_row = block.timesteps * features, block.x_time = features;
    }

    bool picks() const { return call.mask || call.input_dropout || call.recurrent_dropout; }

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
