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

#include "layout.hpp"
#include "pool.hpp"

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

// The rows of a slice on their way through the program, in a scratch of their own.
class Slice {
public:
    Slice(const Layout &layout_, std::ptrdiff_t first_, std::ptrdiff_t last, char *memory_)
        : layout(layout_), call(layout_.call), program(layout_.program), first(first_), rows(last - first_), memory(memory_),
          states(reinterpret_cast<State *>(memory_ + layout_.states())) {
        for (std::size_t i = 0; i < program.ops.size(); ++i) {
            const Layout::Record &record = layout.records[i];
            char *const at = memory + record.offset;
            states[i] = {at, at + record.bytes, reinterpret_cast<std::uint8_t *>(at + 2 * record.bytes)};
        }
    }

    // All ops over all blocks. False: it was stopped.
    bool run(Stop stop) const {
        convert_whole();
        for (int p = 0; p < int(program.phases.size()); ++p) {
            const std::ptrdiff_t blocks = layout.blocks_of(p);
            for (std::ptrdiff_t k = 0; k < blocks; ++k) {
                if (k > 0 && stop.asked(stop.self)) return false;
                convert_block(p, k);
                for (const int index : program.phases[std::size_t(p)].ops)
                    if (!run(p, index, k, k == 0, k == blocks - 1, memory + layout.places(), memory + layout.scratch(), stop)) return false;
            }
        }
        return true;
    }

    // One op over one block.
    bool run(int phase, int index, std::ptrdiff_t k, bool is_first, bool is_last, char *places_, char *scratch, Stop stop) const {
        const Op &op = *program.ops[std::size_t(index)];
        Place *const places = reinterpret_cast<Place *>(places_);
        const std::ptrdiff_t at = k * layout.block_of(phase);
        const std::ptrdiff_t timesteps = std::min(layout.block_of(phase), layout.timesteps(op.timeline) - at);
        for (std::size_t i = 0; i < op.operands.size(); ++i) places[i] = place(op, op.operands[i], k, at, timesteps);
        const Work work{rows, timesteps, is_first, is_last, call.nominal_batch == 1, places,
                          op.slot < 0 ? nullptr : call.weights[op.slot], states + index, scratch, stop, at};
        return op.run(work);
    }

    // Inputs of other types, and what stands for those that are left out, where all timesteps are needed at once.
    void convert_whole() const {
        for (std::size_t i = 0; i < program.inputs.size(); ++i) {
            const Storage &storage = program.storages[std::size_t(program.inputs[i])];
            const Layout::Spot &spot = layout.spots[program.inputs[i]];
            if (layout.converted(storage) && spot.offset >= 0 && spot.ring == 0)
                convert_into(storage, spot, 0, layout.timesteps(storage.timeline));
        }
    }

private:
    void convert_block(int phase, std::ptrdiff_t k) const {
        for (std::size_t i = 0; i < program.inputs.size(); ++i) {
            const Storage &storage = program.storages[std::size_t(program.inputs[i])];
            const Layout::Spot &spot = layout.spots[program.inputs[i]];
            if (storage.phase != phase || spot.ring == 0 || !layout.converted(storage)) continue;
            const std::ptrdiff_t at = k * layout.block_of(phase), all = layout.timesteps(storage.timeline);
            const bool turned = storage.readers.front().second;
            const std::ptrdiff_t count = std::min(layout.block_of(phase), all - at);
            Source source = call.sources[storage.input];
            if (turned && source.data) source.data += (all - 1) * source.time, source.time = -source.time;
            convert_into(storage, spot, at, count, source);
        }
    }

    void convert_into(const Storage &storage, const Layout::Spot &spot, std::ptrdiff_t at, std::ptrdiff_t count) const {
        convert_into(storage, spot, at, count, call.sources[storage.input]);
    }

    // The rows of a block that is shorter than others lie as far apart as theirs.
    void convert_into(const Storage &storage, const Layout::Spot &spot, std::ptrdiff_t at, std::ptrdiff_t count, const Source &source) const {
        char *const to = memory + spot.offset;
        const std::ptrdiff_t row_bytes = spot.row * program.item(storage.kind);
        for (std::ptrdiff_t row = 0; row < rows; ++row) {
            char *const line = to + row * row_bytes;
            if (!source.data)
                std::memset(line, storage.kind == Kind::mask, std::size_t(count * storage.width * program.item(storage.kind)));
            else if (storage.kind == Kind::token)
                convert(source, first + row, 1, at, count, storage.width, reinterpret_cast<std::int64_t *>(line));
            else if (storage.kind == Kind::mask)
                convert(source, first + row, 1, at, count, storage.width, reinterpret_cast<std::uint8_t *>(line));
            else if (program.single)
                convert(source, first + row, 1, at, count, storage.width, reinterpret_cast<float *>(line));
            else
                convert(source, first + row, 1, at, count, storage.width, reinterpret_cast<double *>(line));
        }
    }

    Place place(const Op &op, const Operand &operand, std::ptrdiff_t k, std::ptrdiff_t at, std::ptrdiff_t timesteps) const {
        if (operand.view < 0) return {nullptr, 0, 0, 0};
        const View &view = program.views[std::size_t(operand.view)];
        const Storage &storage = program.storages[std::size_t(view.storage)];
        const Layout::Spot &spot = layout.spots[view.storage];
        if (spot.offset < 0 || (operand.optional && layout.left_out(storage))) return {nullptr, 0, 0, 0};
        const std::ptrdiff_t item = program.item(storage.kind);
        char *data = spot.data ? spot.data + first * spot.row * item : memory + spot.offset;
        data += view.column * item;
        if (spot.ring > 0) return {data + k % spot.ring * spot.ring_bytes, spot.row, spot.time, timesteps};
        if (storage.timeline < 0) return {data, spot.row, 0, 1};
        const std::ptrdiff_t all = call.lengths[storage.timeline];
        const bool whole = operand.whole || storage.timeline != op.timeline;
        const std::ptrdiff_t t = whole ? 0 : at, seen = whole ? all : timesteps;
        if (view.reversed) return {data + (all - 1 - t) * spot.time * item, spot.row, -spot.time, seen};
        return {data + t * spot.time * item, spot.row, spot.time, seen};
    }

    const Layout &layout;
    const Call &call;
    const Program &program;
    const std::ptrdiff_t first, rows;
    char *const memory;
    State *const states;
};

class Execution {
public:
    explicit Execution(const Call &call_) : call(call_), program(*call_.program), interruption(call_.interrupted) {}

    Outcome run() {
        double work = 0, largest = 0;
        for (const auto &op : program.ops) {
            const Prepared *const weights = op->slot < 0 ? nullptr : call.weights[op->slot];
            const double each = op->multiply_adds(weights);
            work += each * double(op->timeline < 0 ? 1 : call.lengths[op->timeline]);
            largest = std::max(largest, each * double(program.item(Kind::number)));
        }
        const int threads = work * double(call.batch) < least_parallel_work ? 1 : call.threads;
        const std::ptrdiff_t rows = slice_rows(program, call.weights, {call.batch, threads, work, largest});
        const std::ptrdiff_t slices = (call.batch + rows - 1) / rows;
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

    // ---- slices of the batch

    bool in_slices(std::ptrdiff_t rows_, std::ptrdiff_t slices, int threads) {
        const Layout layout_(call, rows_, false, tables);
        layout = &layout_, slice_of = rows_;
        const int workers = int(std::min<std::ptrdiff_t>(threads, slices));
        scratch_size = std::size_t(layout_.bytes());
        const std::size_t space = std::size_t(workers) * scratch_size + Layout::line;
        std::unique_ptr<char[]> far;
        memory = near;
        if (space > sizeof near) {
            far.reset(new char[space]);
            void *aligned = far.get();
            std::size_t left = space;
            memory = static_cast<char *>(std::align(Layout::line, space - Layout::line, aligned, left));
        }
        if (workers > 1) return parallel_for(slices, workers, run_slice, ask, this);
        for (std::ptrdiff_t index = 0; index < slices; ++index) run_slice(this, index, 0);
        return true;
    }

    static void run_slice(void *self_, std::ptrdiff_t index, int worker) {
        auto *const self = static_cast<Execution *>(self_);
        const Stop stop = self->interruption.for_worker(worker);
        if (self->interruption.happened()) return;
        const std::ptrdiff_t first = index * self->slice_of, last = std::min(first + self->slice_of, self->call.batch);
        Slice(*self->layout, first, last, self->memory + std::size_t(worker) * self->scratch_size).run(stop);
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
        scratch_size = places_bytes() + std::size_t(layout_.bytes() - layout_.scratch());
        const std::size_t each = std::size_t(layout_.bytes());
        const std::size_t space = std::size_t(count) * each + std::size_t(threads) * scratch_size + Layout::line;
        const std::unique_ptr<char[]> far(new char[space]);
        void *aligned = far.get();
        std::size_t left = space;
        char *const slices_memory = static_cast<char *>(std::align(Layout::line, space - Layout::line, aligned, left));
        memory = slices_memory + std::size_t(count) * each;
        std::vector<Slice> slices;
        slices.reserve(std::size_t(count));
        for (std::ptrdiff_t i = 0; i < count; ++i) {
            slices.emplace_back(layout_, i * rows, std::min((i + 1) * rows, call.batch), slices_memory + std::size_t(i) * each);
            slices.back().convert_whole();
        }
        const std::vector<Phase> &phases = program.phases;
        for (std::size_t p = 0, end = 0; p < phases.size(); p = end) {
            std::ptrdiff_t waves = 0;
            for (end = p; end < phases.size() && phases[end].level == phases[p].level; ++end)
                waves = std::max(waves, layout_.blocks_of(int(end)) + *std::max_element(phases[end].depths.begin(), phases[end].depths.end()));
            for (std::ptrdiff_t w = 0; w < waves; ++w) {
                tasks.clear();
                for (const Slice &slice : slices)
                    for (std::size_t q = p; q < end; ++q) add_tasks(slice, int(q), w);
                if (!parallel_for(std::ptrdiff_t(tasks.size()), threads, run_task, ask, this)) return false;
                if (interruption.happened()) return true;
            }
        }
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
        return (std::size_t(program.most_operands) * sizeof(Place) + Layout::line - 1) / Layout::line * Layout::line;
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
    std::ptrdiff_t slice_of = 0;    // rows of a slice
    std::size_t scratch_size = 0;   // bytes of a worker
    char *memory = nullptr;         // of the workers
    std::vector<Task> tasks;        // of a wave
    alignas(Layout::line) char near[16384];  // the scratch of a small call
};

// Multiply-adds of a call.
inline double work_of(const Call &call) {
    double work = 0;
    for (const auto &op : call.program->ops)
        work += op->multiply_adds(op->slot < 0 ? nullptr : call.weights[op->slot]) *
                double(op->timeline < 0 ? 1 : call.lengths[op->timeline]);
    return work * double(call.batch);
}

inline Outcome execute(const Call &call) noexcept {
    try {
        return Execution(call).run();
    } catch (...) {  // std::bad_alloc, or what the system has no more threads and locks for
        return Outcome::no_memory;
    }
}

}  // namespace cyrnn
