// Models and runners in memory: what cyrnn.h keeps from its callers.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "crew.hpp"
#include "cyrnn.h"
#include "prepared.hpp"
#include "steps.hpp"

struct cyrnn_model {
    std::shared_ptr<const cyrnn::Program> program;
    std::vector<std::shared_ptr<const cyrnn::Prepared>> weights;  // of each slot
    std::unique_ptr<const cyrnn::Steps> steps;
    bool real_time;  // no engine takes locks
    std::vector<const cyrnn::Engine *> engines;  // that do, and so must know when a step begins
    struct {         // where there are one input and one output of numbers: what the functions for them must know
        bool numbers, tokens;              // that the input has; neither: there are others
        std::ptrdiff_t read, filled;       // bytes of a row
    } simple;
    std::atomic<std::ptrdiff_t> holders{1};
};

namespace cyrnn {

struct Patch {  // an operand in an array of the caller
    Place *place;
    std::ptrdiff_t offset;  // bytes from the beginning of the array
    void *otherwise;        // where it is if the caller does not want the output; or null
    int port;
};

struct Ready {  // an op, and the rows of a slice for a step
    const Op *op;
    bool always;          // a state depends on it
    std::uint64_t feeds;  // the outputs that do
    Work work;
};

}  // namespace cyrnn

// At the head of its block; the rest of that is laid out by Frame.
struct cyrnn_runner {
    cyrnn_model *model;
    std::ptrdiff_t batch, slice, slices;  // rows; rows of a slice; how many of them there are
    std::ptrdiff_t timesteps;             // of a block in `forward`
    cyrnn::Helped::Take take_crew = nullptr;
    int helpers = 0;                      // of the crew: threads that may share a timestep with the caller
    void *memory;                         // to be freed with the runner; null if it is the caller's
    std::atomic<bool> busy{false};
    cyrnn::State *states;                 // (slices, records)
    cyrnn::Ready *ready, *ready_end;      // (slices, ops)
    cyrnn::Place *places, *block_places;  // (slices, operands) of a step; (operands) of a block
    cyrnn::Patch *read, *read_end, *filled, *filled_end;  // operands that are inputs, and those that are outputs
    std::ptrdiff_t *offsets;              // of each storage in `buffers`; -1: none
    char *copies, *masks, *buffers, *scratch;
};

namespace cyrnn {

// Where the parts of a runner's block are, as bytes from its beginning. Each begins at a cache line.
class Frame {
public:
    static constexpr std::size_t line = 64;

    Frame(const cyrnn_model &model, std::ptrdiff_t batch) : steps(*model.steps) {
        slice = slice_rows(steps.program, steps.weights.data(), steps.load(batch));
        slices = (batch + slice - 1) / slice;
        const std::ptrdiff_t row = buffer_bytes();
        timesteps = row == 0 ? 256 : std::min<std::ptrdiff_t>(std::max<std::ptrdiff_t>(cached / (row * slice), 16), 48);
        lay(batch);
    }

    const Steps &steps;
    std::ptrdiff_t slice, slices, timesteps;
    std::size_t states, ready, places, block_places, patches, offsets, records, copies, masks, buffers, scratch, end = 0;

    std::size_t record_bytes(const StepOp &step) const {
        return aligned(slice * steps.carried[std::size_t(step.record)] * steps.item(Kind::number));
    }
    std::size_t seen_bytes(const StepOp &step) const { return step.masked ? aligned(slice) : 0; }

    static std::size_t aligned(std::ptrdiff_t bytes) { return (std::size_t(bytes) + line - 1) / line * line; }

    // Bytes of all inputs for one row of a step.
    static std::size_t input_bytes(const Steps &steps) {
        std::ptrdiff_t bytes = 0;
        for (const Port &port : steps.inputs) bytes += steps.bytes_of(port);
        return std::size_t(bytes);
    }

    static std::size_t patches_of(const Steps &steps) {
        std::size_t count = 0;
        for (const Binding &binding : steps.bindings)
            count += binding.where == Binding::in_input || binding.where == Binding::in_output;
        return count;
    }

    // The largest batch whose block has a size that can be counted.
    static std::int64_t largest_batch(const Steps &steps) {
        double row = 1024 + 2 * double(input_bytes(steps));  // bytes, more than a runner needs for each
        for (const Storage &storage : steps.program.storages) row += 8 * 256 * double(storage.width);
        for (const StepOp &step : steps.ops) {
            row += double(sizeof(Ready) + sizeof(State)) + double(step.op->operands.size() * (2 * sizeof(Place) + sizeof(Patch)));
            if (step.weights) row += 8 * row_of(step.weights, steps.program.single);
        }
        const double most = double(PTRDIFF_MAX) / 4 / row;
        return most < 1 ? 0 : std::int64_t(most);
    }

private:
    static constexpr std::ptrdiff_t cached = 1 << 16;

    template <class T> static double row_of(const Weights<T> &w) { return 8 * double(w.features) + (512 + 64) * double(w.units) + 64; }
    static double row_of(const Prepared *p, bool single) { return single ? row_of(p->f32) : row_of(p->f64); }

    // Of a row's timestep, all that lies between ops.
    std::ptrdiff_t buffer_bytes() const {
        std::ptrdiff_t bytes = 0;
        for (std::size_t i = 0; i < steps.program.storages.size(); ++i) {
            const Storage &storage = steps.program.storages[i];
            if (steps.buffered[i]) bytes += storage.width * steps.item(storage.kind);
        }
        return bytes;
    }

    std::size_t take(std::size_t bytes) {
        const std::size_t at = end;
        end += (bytes + line - 1) / line * line;
        return at;
    }

    void lay(std::ptrdiff_t batch) {
        const std::size_t count = std::size_t(slices);
        take(sizeof(cyrnn_runner));
        states = take(count * steps.carried.size() * sizeof(State));
        ready = take(count * steps.ops.size() * sizeof(Ready));
        places = take(count * steps.bindings.size() * sizeof(Place));
        block_places = take(steps.bindings.size() * sizeof(Place));
        patches = take(count * patches_of(steps) * sizeof(Patch));
        offsets = take(steps.program.storages.size() * sizeof(std::ptrdiff_t));
        records = end;
        std::ptrdiff_t most = 0;
        for (const StepOp &step : steps.ops) {
            if (step.record >= 0) take(count * (2 * record_bytes(step) + seen_bytes(step)));
            most = std::max(most, step.op->scratch_bytes(step.weights, slice, timesteps));
        }
        copies = end;
        for (const Port &port : steps.inputs) take(std::size_t(batch * steps.bytes_of(port)));
        masks = take(steps.takes_lengths ? std::size_t(slice * timesteps) : 0);
        buffers = end;
        for (std::size_t i = 0; i < steps.program.storages.size(); ++i)
            if (steps.buffered[i]) take(buffer_of(int(i)));
        scratch = take(std::size_t(most));
    }

public:
    std::size_t buffer_of(int storage) const {
        const Storage &found = steps.program.storages[std::size_t(storage)];
        return std::size_t(slice * timesteps * found.width * steps.item(found.kind));
    }
};

}  // namespace cyrnn
