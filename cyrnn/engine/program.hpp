// A program: ops over numbered buffers. It is structure only, names slots of weights, and never changes once it is made.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "op.hpp"

namespace cyrnn {

enum class Kind : std::uint8_t { number, token, mask };  // float or double, int64, bool

struct Timeline {  // an axis of timesteps
    int of = -1;                    // that it depends on; -1: none
    std::ptrdiff_t constant = -1;   // its length; -1: that of the inputs
    std::ptrdiff_t times = 1, add = 0, size = 1, stride = 1;
};

struct SameElements {  // a row has as many elements on one timeline, so many in each timestep, as on another one
    int timelines[2];  // -1: none
    std::ptrdiff_t widths[2];
};

struct Storage {  // (rows, timesteps, width), or (rows, width) without a timeline
    Kind kind;
    int timeline;
    std::ptrdiff_t width;
    int input = -1, output = -1;   // whose array it is; -1: it lives in the scratch of a call
    bool once = false;             // there is one row, of the whole batch
    // What `finish` finds:
    std::vector<std::pair<int, bool>> writers, readers;  // ops; whether they see it reversed
    bool as_whole = false;   // some op needs all of it at once, or it is passed on from one phase to a later one
    bool shared = false;     // some op over the batch reads or fills it, or it is passed on from one stage to a later one
    int phase = -1;          // where it is written
    int ring = 1;            // blocks that are kept, where it is not whole
    bool needed = false;     // some op cannot do without it: of an input that is left out it reads what that stands for
};

struct View {  // columns of a storage, perhaps from its last timestep to the first
    int storage;
    std::ptrdiff_t column, width;
    bool reversed;
};

struct Phase {  // ops over the same blocks: each block goes through all of them before the next one comes
    int stage;      // what slices do without waiting for each other, and then the ops over the batch
    int level;      // phases of one level do not wait for each other, but for all of earlier levels
    bool over_batch;
    int timeline;
    std::vector<int> ops, groups;  // of each op its group, which one thread runs
    std::vector<int> depths;       // of each group: how many others it waits for; it is so many blocks after the first
};

class Program {
public:
    explicit Program(bool single_) : single(single_) {}

    const bool single;  // float32, else float64
    std::vector<Timeline> timelines;
    std::vector<Storage> storages;
    std::vector<View> views;
    std::vector<int> inputs, outputs;  // storages
    std::vector<std::pair<int, int>> tokens;  // inputs that are rows of a table, and the slot of that
    std::vector<std::unique_ptr<Op>> ops;
    std::vector<Phase> phases;         // in the order of their levels
    int stages = 1;
    std::vector<SameElements> same;
    int slots = 0;
    std::ptrdiff_t most_operands = 1;

    std::ptrdiff_t item(Kind kind) const { return kind == Kind::mask ? 1 : kind == Kind::token ? 8 : single ? 4 : 8; }

    const Storage &storage_of(int view) const { return storages[static_cast<std::size_t>(views[static_cast<std::size_t>(view)].storage)]; }

    // Find the lengths of all timelines; -1 stands for what no input has. False: some are 0, or do not fit together.
    bool measure(std::ptrdiff_t *lengths) const {
        constexpr std::ptrdiff_t most = std::ptrdiff_t(1) << 40;
        for (std::size_t i = 0; i < timelines.size(); ++i) {
            const Timeline &t = timelines[i];
            std::ptrdiff_t length = t.constant >= 0 ? t.constant : lengths[i];
            if (t.of >= 0) {
                if (lengths[t.of] > most / t.times) return false;
                const std::ptrdiff_t room = lengths[t.of] * t.times + t.add - t.size;
                length = room < 0 ? 0 : room / t.stride + 1;
            }
            if (length < 1 || length > most || (lengths[i] >= 0 && lengths[i] != length)) return false;
            lengths[i] = length;
        }
        return std::all_of(same.begin(), same.end(), [lengths](const SameElements &s) {
            std::ptrdiff_t elements[2];
            for (int side = 0; side < 2; ++side) {
                const std::ptrdiff_t timesteps = s.timelines[side] < 0 ? 1 : lengths[s.timelines[side]];
                if (double(timesteps) * double(s.widths[side]) > 0x1p60) return false;
                elements[side] = timesteps * s.widths[side];
            }
            return elements[0] == elements[1];
        });
    }

    // Order the ops into phases: an op is in the phase of what it reads, where it reads that block by block; else later.
    void finish() {
        using Key = std::tuple<int, int, bool, int>;  // stage, level, over the batch, timeline
        std::vector<int> levels(ops.size()), found_stages(ops.size());
        std::map<Key, int> number;
        const auto key_of = [&](std::size_t i) { return Key{found_stages[i], levels[i], ops[i]->over_batch(), ops[i]->timeline}; };
        for (std::size_t i = 0; i < ops.size(); ++i) {
            const Op &op = *ops[i];
            most_operands = std::max(most_operands, std::ptrdiff_t(op.operands.size()));
            for (const Operand &operand : op.operands) {
                if (operand.view < 0 || operand.written) continue;
                const Storage &storage = storage_of(operand.view);
                for (const auto &[writer, turned] : storage.writers) {
                    levels[i] = std::max(levels[i], levels[std::size_t(writer)] + !together(op, operand, writer, turned));
                    found_stages[i] = std::max(found_stages[i], found_stages[std::size_t(writer)] + ops[std::size_t(writer)]->over_batch());
                }
            }
            note(int(i));
            number[key_of(i)];
            stages = std::max(stages, found_stages[i] + 1);
        }
        for (auto &[key, index] : number) {
            index = int(phases.size());
            phases.push_back({std::get<0>(key), std::get<1>(key), std::get<2>(key), std::get<3>(key), {}, {}, {}});
        }
        std::vector<int> phase_of(ops.size());
        for (std::size_t i = 0; i < ops.size(); ++i) {
            phase_of[i] = number[key_of(i)];
            phases[std::size_t(phase_of[i])].ops.push_back(int(i));
        }
        for (Storage &storage : storages) place(storage, phase_of);
        for (Phase &phase : phases) group(phase);
    }

private:
    bool turned(const Operand &operand) const { return views[std::size_t(operand.view)].reversed; }

    // Whether an op can read a block as soon as another op has filled it.
    bool together(const Op &op, const Operand &operand, int writer, bool writer_turned) const {
        const Op &other = *ops[std::size_t(writer)];
        const Storage &storage = storage_of(operand.view);
        if (op.timeline != other.timeline || op.over_batch() || other.over_batch()) return false;
        if (storage.timeline < 0) return op.timeline < 0;
        return !operand.whole && storage.timeline == op.timeline && turned(operand) == writer_turned;
    }

    void note(int index) {
        for (const Operand &operand : ops[std::size_t(index)]->operands) {
            if (operand.view < 0) continue;
            Storage &storage = storages[std::size_t(views[std::size_t(operand.view)].storage)];
            (operand.written ? storage.writers : storage.readers).emplace_back(index, turned(operand));
            storage.needed = storage.needed || !(operand.written || operand.optional);
            storage.as_whole = storage.as_whole || operand.whole || storage.timeline != ops[std::size_t(index)]->timeline;
        }
    }

    void place(Storage &storage, const std::vector<int> &phase_of) const {
        bool first = true, way = false;
        for (const auto *uses : {&storage.writers, &storage.readers})
            for (const auto &[op, is_turned] : *uses) {
                const Phase &phase = phases[std::size_t(phase_of[std::size_t(op)])];
                if (first) storage.phase = phase_of[std::size_t(op)], way = is_turned, first = false;
                storage.as_whole = storage.as_whole || phase_of[std::size_t(op)] != storage.phase || is_turned != way;
                storage.shared = storage.shared || storage.once || phase.over_batch || phase.stage != phases[std::size_t(storage.phase)].stage;
            }
        storage.as_whole = storage.as_whole || storage.shared;
    }

    // An op that computes a recurrence begins a group, and what reads it block by block stays with it.
    void group(Phase &phase) {
        std::map<int, int> of;  // op -> group
        std::vector<int> &depths = phase.depths;
        for (const int index : phase.ops) {
            const Op &op = *ops[std::size_t(index)];
            int after = -1, found = -1;
            bool mixed = false;
            for (const Operand &operand : op.operands) {
                if (operand.view < 0 || operand.written) continue;
                for (const auto &[writer, _] : storage_of(operand.view).writers) {
                    const auto known = of.find(writer);
                    if (known == of.end()) continue;
                    mixed = mixed || (found >= 0 && found != known->second);
                    found = known->second;
                    after = std::max(after, depths[std::size_t(known->second)]);
                }
            }
            if (found < 0 || mixed || op.recurrent()) {
                found = int(depths.size());
                depths.push_back(after + 1);
            }
            of[index] = found;
            phase.groups.push_back(found);
        }
        for (const int index : phase.ops)
            for (const Operand &operand : ops[std::size_t(index)]->operands) {
                if (operand.view < 0 || operand.written) continue;
                Storage &storage = storages[std::size_t(views[std::size_t(operand.view)].storage)];
                for (const auto &[writer, _] : storage.writers) {
                    const auto known = of.find(writer);
                    if (known == of.end()) continue;
                    storage.ring = std::max(storage.ring, depths[std::size_t(of[index])] - depths[std::size_t(known->second)] + 1);
                }
            }
    }
};

}  // namespace cyrnn
