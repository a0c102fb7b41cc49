// A call of a program. Many rows: slices of the batch, each through all ops alone. Few rows: a wave, in which the groups of
// ops work on different blocks of timesteps at the same time.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "crew.hpp"
#include "pool.hpp"
#include "slice.hpp"

namespace cyrnn {

enum class Outcome : int { done, interrupted, no_memory, forked };

// Below so many multiply-adds a call in wide vectors takes less than a tenth of a millisecond, and a worker that sleeps may
// wake only when it is over. (benchmarks/foreign_load.py)
constexpr double least_parallel_work = 1e7;

class Interruption {
public:
    explicit Interruption(bool (*interrupted_)()) : interrupted(interrupted_) {
        if (interrupted) asked_at = Clock::now();
    }
    Stop for_worker(int worker) { return {worker == 0 && interrupted ? ask_outside : ask_flag, this}; }
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
    Clock::time_point asked_at{};
};

class Execution {
public:
    explicit Execution(const Call &call_) : call(call_), program(*call_.program), interruption(call_.interrupted) {}

    Outcome run() {
        Load load = load_of(call);
        if (load.row_work * double(call.batch) < least_parallel_work) load.threads = 1;
        const int threads = load.threads;
        const std::ptrdiff_t rows = slice_rows(program, call.weights, load);
        const std::ptrdiff_t slices = (call.batch + rows - 1) / rows;
        for (const Phase &phase : program.phases)
            if (phase.over_batch)
                for (const int op : phase.ops) most_parts = std::max(most_parts, parts_of(op));
        const Begun begun(call);
        const bool as_wave = slices < threads && side_by_side() > 1;
        if (!(as_wave ? in_wave(rows, slices, threads) : in_slices(rows, slices, threads))) return Outcome::forked;
        return interruption.happened() ? Outcome::interrupted : Outcome::done;
    }

private:
    // Each engine from before the first op until after the last, also when an error ends the call.
    class Begun {
    public:
        explicit Begun(const Call &call_) : call(call_) { each([](const Engine &engine) { engine.begin(); }); }
        ~Begun() { each([](const Engine &engine) { engine.end(); }); }
        Begun(const Begun &) = delete;
        Begun &operator=(const Begun &) = delete;

    private:
        template <class F> void each(F function) const {
            for (int i = 0; i < call.program->slots; ++i) {
                const Engine *const engine = call.weights[i]->engine;
                bool known = !engine;
                for (int j = 0; j < i && !known; ++j) known = call.weights[j]->engine == engine;
                if (!known) function(*engine);
            }
        }
        const Call &call;
    };

    // How many groups of ops may work at the same time.
    std::size_t side_by_side() const {
        std::size_t most = 0;
        for (const Phase &phase : program.phases) {
            std::size_t count = 0;
            for (const Phase &other : program.phases) count += other.level == phase.level ? other.depths.size() : 0;
            most = std::max(most, count);
        }
        return most;
    }

    bool shares_timesteps() const {
        return std::any_of(program.ops.begin(), program.ops.end(),
                           [this](const auto &op) { return op->slot >= 0 && op->shares_timesteps(call.weights[op->slot], call.nominal_batch); });
    }

    // ---- slices of the batch

    bool in_slices(std::ptrdiff_t rows_, std::ptrdiff_t slices, int threads) {
        Layout layout_(call, rows_, false, tables);
        layout = &layout_, slice_of = rows_;
        const Helped helped(Crew::take, call.batch == 1 && shares_timesteps() ? threads - 1 : 0);
        layout_.crew = helped.crew;
        const int workers = int(std::min<std::ptrdiff_t>(threads, std::max(slices, most_parts)));
        scratch_size = std::size_t(layout_.bytes()), places_at = std::size_t(layout_.places()), scratch_at = std::size_t(layout_.scratch());
        const std::size_t space = std::size_t(sum_of(product_of(workers, scratch_size), cache_line));
        std::unique_ptr<char[]> far;
        memory = near;
        if (space > sizeof near) {
            far.reset(new char[space]);
            void *aligned = far.get();
            std::size_t left = space;
            memory = static_cast<char *>(std::align(cache_line, space - cache_line, aligned, left));
        }
        for (stage = 0; stage < program.stages; ++stage)
            if (!spread(slices, workers, run_slice) || !over_batch(workers)) return false;
        return true;
    }

    // Some pieces of work among the workers. False: this process was forked meanwhile.
    bool spread(std::ptrdiff_t count, int workers, void (*piece)(void *, std::ptrdiff_t, int)) {
        if (workers > 1 && count > 1) return parallel_for(count, workers, piece, ask, this);
        for (std::ptrdiff_t index = 0; index < count; ++index) piece(this, index, 0);
        return true;
    }

    static void run_slice(void *self_, std::ptrdiff_t index, int worker) {
        auto *const self = static_cast<Execution *>(self_);
        const Stop stop = self->interruption.for_worker(worker);
        if (stop.asked(stop.self)) return;
        const std::ptrdiff_t first = index * self->slice_of, last = std::min(first + self->slice_of, self->call.batch);
        Slice(*self->layout, first, last, self->memory + std::size_t(worker) * self->scratch_size).run(self->stage, stop);
    }

    // ---- the ops over the batch that end a stage

    struct Part {
        int phase, op;
        std::ptrdiff_t first, count;
    };

    std::ptrdiff_t parts_of(int index) const {
        const Op &op = *program.ops[std::size_t(index)];
        return op.parts(op.slot < 0 ? nullptr : call.weights[op.slot]);
    }

    bool over_batch(int workers) {
        parts.clear();
        for (int p = 0; p < int(program.phases.size()); ++p) {
            const Phase &phase = program.phases[std::size_t(p)];
            if (phase.stage != stage || !phase.over_batch) continue;
            for (const int op : phase.ops) {
                const std::ptrdiff_t count = parts_of(op);
                // Two for each worker: so there is something to take for one that others are faster than.
                const std::ptrdiff_t most = workers > 1 ? 2 * std::ptrdiff_t(workers) : 1;
                const std::ptrdiff_t pieces = program.ops[std::size_t(op)]->joins_parts() ? std::min(count, most) : count;
                for (std::ptrdiff_t i = 0; i < pieces; ++i) {
                    const std::ptrdiff_t first = count * i / pieces;
                    parts.push_back({p, op, first, count * (i + 1) / pieces - first});
                }
            }
        }
        return spread(std::ptrdiff_t(parts.size()), workers, run_part);
    }

    static void run_part(void *self_, std::ptrdiff_t index, int worker) {
        auto *const self = static_cast<Execution *>(self_);
        const Stop stop = self->interruption.for_worker(worker);
        if (stop.asked(stop.self)) return;
        const Part part = self->parts[std::size_t(index)];
        char *const memory = self->memory + std::size_t(worker) * self->scratch_size;
        char *const places = memory + self->places_at, *const scratch = memory + self->scratch_at;
        Slice(*self->layout).run(part.phase, part.op, 0, true, true, places, scratch, stop, part.first, part.count);
    }

    // ---- a wave through the blocks of few slices

    struct Task {
        const Slice *slice;
        int phase, group;
        std::ptrdiff_t k;
    };

    bool in_wave(std::ptrdiff_t rows, std::ptrdiff_t count, int threads) {
        const Layout layout_(call, rows, true, tables);
        layout = &layout_;
        scratch_size = places_bytes() + std::size_t(layout_.bytes() - layout_.scratch()), places_at = 0, scratch_at = places_bytes();
        const std::size_t each = std::size_t(layout_.bytes());
        const std::size_t space = std::size_t(sum_of(product_of(count, each), product_of(threads, scratch_size), cache_line));
        const std::unique_ptr<char[]> far(new char[space]);
        void *aligned = far.get();
        std::size_t left = space;
        char *const slices_memory = static_cast<char *>(std::align(cache_line, space - cache_line, aligned, left));
        memory = slices_memory + std::size_t(count) * each;
        std::vector<Slice> slices;
        slices.reserve(std::size_t(count));
        for (std::ptrdiff_t i = 0; i < count; ++i) {
            slices.emplace_back(layout_, i * rows, std::min((i + 1) * rows, call.batch), slices_memory + std::size_t(i) * each);
            slices.back().convert_whole(0);
        }
        const std::vector<Phase> &phases = program.phases;
        for (std::size_t p = 0, end = 0; p < phases.size(); p = end) {
            const auto same = [&](const Phase &phase) { return phase.stage == phases[p].stage && phase.level == phases[p].level; };
            std::ptrdiff_t waves = 0;
            for (; stage < phases[p].stage; ++stage)
                if (!over_batch(threads)) return false;
            for (end = p; end < phases.size() && same(phases[end]) && !phases[end].over_batch; ++end)
                waves = std::max(waves, layout_.blocks_of(int(end)) + *std::max_element(phases[end].depths.begin(), phases[end].depths.end()));
            for (std::ptrdiff_t w = 0; w < waves; ++w) {
                tasks.clear();
                for (const Slice &slice : slices)
                    for (std::size_t q = p; q < end; ++q) add_tasks(slice, int(q), w);
                if (!parallel_for(std::ptrdiff_t(tasks.size()), threads, run_task, ask, this)) return false;
                if (interruption.happened()) return true;
            }
            while (end < phases.size() && phases[end].over_batch) ++end;  // they end the stage
        }
        for (; stage < program.stages; ++stage)
            if (!over_batch(threads)) return false;
        return true;
    }

    // What a slice does in a phase when the first groups are at block w.
    void add_tasks(const Slice &slice, int phase, std::ptrdiff_t w) {
        const std::vector<int> &depths = program.phases[std::size_t(phase)].depths;
        for (int group = 0; group < int(depths.size()); ++group) {
            const std::ptrdiff_t k = w - depths[std::size_t(group)];
            if (k >= 0 && k < layout->blocks_of(phase)) tasks.push_back({&slice, phase, group, k});
        }
    }

    static void run_task(void *self_, std::ptrdiff_t index, int worker) {
        auto *const self = static_cast<Execution *>(self_);
        const Stop stop = self->interruption.for_worker(worker);
        if (stop.asked(stop.self)) return;
        const Task task = self->tasks[std::size_t(index)];
        const Phase &phase = self->program.phases[std::size_t(task.phase)];
        const bool is_last = task.k == self->layout->blocks_of(task.phase) - 1;
        char *const places = self->memory + std::size_t(worker) * self->scratch_size;
        for (std::size_t i = 0; i < phase.ops.size(); ++i)
            if (phase.groups[i] == task.group)
                if (!task.slice->run(task.phase, phase.ops[i], task.k, task.k == 0, is_last, places, places + self->places_bytes(), stop)) return;
    }

    std::size_t places_bytes() const {
        return std::size_t(in_lines(product_of(program.most_operands, sizeof(Place))));
    }

    static void ask(void *self_) {
        const Stop stop = static_cast<Execution *>(self_)->interruption.for_worker(0);
        stop.asked(stop.self);
    }

    const Call &call;
    const Program &program;
    Interruption interruption;
    Tables tables;
    const Layout *layout = nullptr;
    int stage = 0;
    std::ptrdiff_t slice_of = 0;    // rows of a slice
    std::ptrdiff_t most_parts = 0;  // of an op over the batch
    std::size_t scratch_size = 0;   // bytes of a worker
    std::size_t places_at = 0, scratch_at = 0;  // of an op over the batch, in those bytes
    char *memory = nullptr;         // of the workers
    std::vector<Task> tasks;        // of a wave
    std::vector<Part> parts;        // of the ops over the batch that end a stage
    alignas(cache_line) char near[16384];  // the scratch of a small call
};

inline Outcome execute(const Call &call) noexcept {
    try {
        return Execution(call).run();
    } catch (...) {  // std::bad_alloc, or what the system has no more threads and locks for
        return Outcome::no_memory;
    }
}

}  // namespace cyrnn
