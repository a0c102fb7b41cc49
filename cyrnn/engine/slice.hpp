// A slice of the batch: what its ops find in their places.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "layout.hpp"

namespace cyrnn {

// The rows of a slice on their way through the program, in a scratch of their own.
class Slice {
public:
    // The whole batch, for the ops over it: all that they read and fill is shared.
    explicit Slice(const Layout &layout_)
        : layout(layout_), call(layout_.call), program(layout_.program), first(0), rows(call.batch), memory(nullptr), states(nullptr) {}

    Slice(const Layout &layout_, std::ptrdiff_t first_, std::ptrdiff_t last, char *memory_)
        : layout(layout_), call(layout_.call), program(layout_.program), first(first_), rows(last - first_), memory(memory_),
          states(reinterpret_cast<State *>(memory_ + layout_.states())) {
        for (std::size_t i = 0; i < program.ops.size(); ++i) {
            const Layout::Record &record = layout.records[i];
            char *const at = memory + record.offset;
            states[i] = {at, at + record.bytes, reinterpret_cast<std::uint8_t *>(at + 2 * record.bytes)};
        }
    }

    // The ops of a stage over all blocks. False: it was stopped.
    bool run(int stage, Stop stop) const {
        convert_whole(stage);
        for (int p = 0; p < int(program.phases.size()); ++p) {
            const Phase &phase = program.phases[std::size_t(p)];
            if (phase.stage != stage || phase.over_batch) continue;
            const std::ptrdiff_t blocks = layout.blocks_of(p);
            for (std::ptrdiff_t k = 0; k < blocks; ++k) {
                if (k > 0 && stop.asked(stop.self)) return false;
                convert_block(p, k);
                for (const int index : phase.ops)
                    if (!run(p, index, k, k == 0, k == blocks - 1, memory + layout.places(), memory + layout.scratch(), stop)) return false;
            }
        }
        return true;
    }

    // One op over one block; or some parts of an op over the batch, if the slice is that.
    bool run(int phase, int index, std::ptrdiff_t k, bool is_first, bool is_last, char *places_, char *scratch, Stop stop,
             std::ptrdiff_t part = 0, std::ptrdiff_t parts = 1) const {
        const Op &op = *program.ops[std::size_t(index)];
        Place *const places = reinterpret_cast<Place *>(places_);
        const std::ptrdiff_t at = k * layout.block_of(phase);
        const std::ptrdiff_t timesteps = std::min(layout.block_of(phase), layout.timesteps(op.timeline) - at);
        for (std::size_t i = 0; i < op.operands.size(); ++i) places[i] = place(op, op.operands[i], k, at, timesteps);
        const Work work{rows, timesteps, is_first, is_last, call.nominal_batch, places,
                          op.slot < 0 ? nullptr : call.weights[op.slot], states ? states + index : nullptr, scratch, stop, at, part, parts, layout.crew};
        return op.run(work);
    }

    // Inputs of other types, and what stands for those that are left out, where all timesteps are needed at once. What slices
    // share they convert in the first stage.
    void convert_whole(int stage) const {
        for (std::size_t i = 0; i < program.inputs.size(); ++i) {
            const Storage &storage = program.storages[std::size_t(program.inputs[i])];
            const Layout::Spot &spot = layout.spots[program.inputs[i]];
            if (layout.converted(storage) && spot.offset >= 0 && spot.ring == 0 && (stage == 0 || !storage.shared))
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
        const std::ptrdiff_t row_bytes = spot.row * program.item(storage.kind);
        char *const to = spot.data ? spot.data + first * row_bytes : memory + spot.offset;
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

}  // namespace cyrnn
