// Where everything of a call lies: the scratch of one slice of the batch, the places of operands in it, and what slices share.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "load.hpp"
#include "program.hpp"
#include "sizes.hpp"
#include "sources.hpp"

namespace cyrnn {

struct Call {  // of a program; nothing here is owned
    const Program *program;
    std::ptrdiff_t batch, nominal_batch;
    const std::ptrdiff_t *lengths;    // of each timeline
    const Source *sources;            // of each input
    const Target *targets;            // of each output
    const Prepared *const *weights;   // of each slot
    int threads;                      // that may share it
    bool (*interrupted)();            // asked now and then, from the calling thread; or null
};

inline Load load_of(const Call &call) {
    Load load{call.batch, call.threads, 0, 0};
    for (const auto &op : call.program->ops)
        add_work(load, *op, op->slot < 0 ? nullptr : call.weights[op->slot], op->timeline < 0 ? 1 : call.lengths[op->timeline]);
    return load;
}

// Multiply-adds of a call.
inline double work_of(const Call &call) { return load_of(call).row_work * double(call.batch); }

// Memory for small tables: a place on the stack, or, where that is too small, on the heap.
class Tables {
public:
    // Room for what `count` elements take. Raises std::bad_alloc.
    template <class T> T *take(std::size_t count) {
        const std::size_t bytes = (count * sizeof(T) + 15) / 16 * 16;
        if (used + bytes > sizeof near) return reinterpret_cast<T *>(far.emplace_back(new char[bytes]).get());
        used += bytes;
        return reinterpret_cast<T *>(near + used - bytes);
    }

private:
    alignas(16) char near[4096];
    std::size_t used = 0;
    std::vector<std::unique_ptr<char[]>> far;
};

// glibc gives freed memory back to the system where it is more than twice the largest block that was ever freed; then each call
// waits for new pages, which are cleared. One block of the most that it learns from is enough, and nothing of it is touched.
inline void keep_freed_memory() {
#ifdef __GLIBC__
    static const bool done = [] {
        void *volatile block = std::malloc((std::size_t(32) << 20) - (1 << 16));
        std::free(block);
        return true;
    }();
    static_cast<void>(done);
#endif
}

class Layout {
public:
    // For slices of so many rows. In a wave, groups of a phase work on different blocks at the same time.
    Layout(const Call &call_, std::ptrdiff_t rows_, bool wave_, Tables &tables)
        : call(call_), program(*call_.program), rows(rows_), wave(wave_), spots(tables.take<Spot>(program.storages.size())),
          records(tables.take<Record>(program.ops.size())), lengths_of_blocks(tables.take<std::ptrdiff_t>(program.phases.size())) {
        for (std::size_t p = 0; p < program.phases.size(); ++p) lengths_of_blocks[p] = block_length(program.phases[p]);
        lay();
    }

    const Call &call;
    const Program &program;
    const std::ptrdiff_t rows;
    const bool wave;
    Crew *crew = nullptr;  // who may help with one row; or null

    struct Spot {
        char *data;                     // of an array of the caller, or what slices share; null: it is in the scratch, or absent
        std::ptrdiff_t offset;          // in the scratch; -1: absent
        std::ptrdiff_t row, time;       // strides in elements
        std::ptrdiff_t ring, ring_bytes;  // how many blocks there are, of so many bytes; 0: it is whole
    };
    struct Record {
        std::ptrdiff_t offset, bytes;  // of (rows, carried), twice, and then seen (rows)
    };

    Spot *const spots;
    Record *const records;

    std::ptrdiff_t bytes() const { return end; }
    std::ptrdiff_t states() const { return states_at; }
    std::ptrdiff_t places() const { return places_at; }
    std::ptrdiff_t scratch() const { return scratch_at; }

    std::ptrdiff_t timesteps(int timeline) const { return timeline < 0 ? 1 : call.lengths[timeline]; }
    std::ptrdiff_t block_of(int phase) const { return lengths_of_blocks[phase]; }
    std::ptrdiff_t blocks_of(int phase) const {
        const std::ptrdiff_t all = timesteps(program.phases[std::size_t(phase)].timeline), each = block_of(phase);
        return (all + each - 1) / each;
    }

    bool left_out(const Storage &storage) const { return storage.input >= 0 && !call.sources[storage.input].data; }

    // Whether an input lies in the scratch, because no op can read it where it is, or because there is none.
    bool converted(const Storage &storage) const {
        return storage.input >= 0 && (left_out(storage) ? storage.needed : !call.sources[storage.input].direct);
    }

private:
    // What a block of a phase holds, between its ops, stays in the second-level cache. Of few rows a recurrence projects 48
    // timesteps at once.
    std::ptrdiff_t block_length(const Phase &phase) const {
        constexpr std::ptrdiff_t cached = 1 << 18;
        const std::ptrdiff_t least = rows < 4 ? 48 : 8;
        const std::ptrdiff_t all = timesteps(phase.timeline);
        if (phase.timeline < 0) return 1;
        if (phase.over_batch) return all;
        double bytes = 0;
        const int number = int(&phase - program.phases.data());
        for (const Storage &storage : program.storages)
            if (storage.phase == number && !storage.as_whole && (converted(storage) || (storage.input < 0 && storage.output < 0)))
                bytes += double(storage.width) * double(program.item(storage.kind)) * double(rows);
        std::ptrdiff_t length = bytes == 0 ? all : std::max(std::ptrdiff_t(double(cached) / bytes) / least, std::ptrdiff_t(1)) * least;
        if (wave) length = std::min(length, wave_block(phase, all));
        return std::min({length, all, interruptible(phase)});
    }

    // Timesteps after which Ctrl-C is asked for. A recurrence asks for it itself.
    std::ptrdiff_t interruptible(const Phase &phase) const {
        constexpr double most_work = 1e8;
        double work = 1;
        for (const int index : phase.ops) {
            const Op &op = *program.ops[std::size_t(index)];
            if (op.recurrent()) return PTRDIFF_MAX;
            work += op.multiply_adds(weights_of(op)) * double(rows);
        }
        return std::ptrdiff_t(most_work / work) + 1;
    }

    // Timesteps of about a millisecond in the smallest of the groups, so that waiting for each other takes little of it.
    std::ptrdiff_t wave_block(const Phase &phase, std::ptrdiff_t all) const {
        constexpr double least_work = 1e7;
        constexpr std::ptrdiff_t most_blocks = 32;
        if (*std::max_element(phase.depths.begin(), phase.depths.end()) == 0) return all;
        double least = 0;
        for (const int index : phase.ops) {
            const Op &op = *program.ops[std::size_t(index)];
            const double work = op.multiply_adds(weights_of(op)) * double(rows);
            if (op.recurrent() && (least == 0 || work < least)) least = work;
        }
        const auto blocks = std::min(std::ptrdiff_t(least * double(all) / least_work), most_blocks);
        return blocks < 2 ? all : (all + blocks - 1) / blocks;
    }

    const Prepared *weights_of(const Op &op) const { return op.slot < 0 ? nullptr : call.weights[op.slot]; }

    std::ptrdiff_t take(std::ptrdiff_t bytes) {
        const std::ptrdiff_t at = end;
        end = sum_of(end, in_lines(bytes));
        return at;
    }

    void lay() {
        states_at = take(std::ptrdiff_t(program.ops.size() * sizeof(State)));
        places_at = take(program.most_operands * std::ptrdiff_t(sizeof(Place)));
        for (std::size_t i = 0; i < program.storages.size(); ++i) spots[i] = spot(program.storages[i]);
        if (shared_bytes > 0) share();
        const std::ptrdiff_t item = program.item(Kind::number);
        std::ptrdiff_t most = 0;
        for (std::size_t p = 0; p < program.phases.size(); ++p)
            for (const int index : program.phases[p].ops) {
                const Op &op = *program.ops[std::size_t(index)];
                const std::ptrdiff_t carried = op.carried(weights_of(op));
                const std::ptrdiff_t bytes = in_lines(product_of(rows, carried, item));
                records[index] = {carried > 0 ? take(sum_of(bytes, bytes, rows)) : 0, bytes};
                most = std::max(most, op.scratch_bytes(weights_of(op), op.over_batch() ? call.batch : rows, block_of(int(p))));
            }
        scratch_at = take(most);
    }

    Spot spot(const Storage &storage) {
        const std::ptrdiff_t item = program.item(storage.kind);
        if (storage.output >= 0) {
            const Target &target = call.targets[storage.output];
            return {target.data, target.data ? 0 : -1, target.row, target.time, 0, 0};
        }
        if (storage.input >= 0) {
            const Source &source = call.sources[storage.input];
            if (left_out(storage) && !storage.needed) return {nullptr, -1, 0, 0, 0, 0};
            if (source.data && source.direct) return {const_cast<char *>(source.data), 0, source.row / item, source.time / item, 0, 0};
        }
        if (storage.phase < 0) return {nullptr, -1, 0, 0, 0, 0};  // neither read nor filled
        if (storage.shared) {
            const std::ptrdiff_t row = product_of(timesteps(storage.timeline), storage.width), at = shared_bytes;
            shared_bytes = sum_of(at, in_lines(product_of(storage.once ? 1 : call.batch, row, item)));
            return {nullptr, at, storage.once ? 0 : row, storage.width, 0, 0};
        }
        const bool whole = storage.as_whole || storage.timeline < 0 || (wave && storage.input >= 0);
        const std::ptrdiff_t length = whole ? timesteps(storage.timeline) : block_of(storage.phase);
        const std::ptrdiff_t row = product_of(length, storage.width), bytes = product_of(rows, row, item);
        const std::ptrdiff_t ring = whole ? 0 : wave ? storage.ring : 1;
        return {nullptr, take(product_of(bytes, std::max<std::ptrdiff_t>(ring, 1))), row, storage.width, ring, bytes};
    }

    // The offsets of what is shared become addresses.
    void share() {
        const std::size_t space = std::size_t(sum_of(shared_bytes, cache_line));
        keep_freed_memory();
        shared.reset(new char[space]);
        void *aligned = shared.get();
        std::size_t left = space;
        char *const begin = static_cast<char *>(std::align(cache_line, std::size_t(shared_bytes), aligned, left));
        for (std::size_t i = 0; i < program.storages.size(); ++i)
            if (program.storages[i].shared && !spots[i].data && spots[i].offset >= 0) spots[i].data = begin + spots[i].offset;
    }

    std::ptrdiff_t *const lengths_of_blocks;
    std::unique_ptr<char[]> shared;
    std::ptrdiff_t states_at = 0, places_at = 0, scratch_at = 0, end = 0, shared_bytes = 0;
};

}  // namespace cyrnn
