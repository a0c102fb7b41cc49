// A runner: the states of some rows in one block of memory, and the steps that move them. The other side of cyrnn.h.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#include "frame.hpp"

namespace cyrnn {

class Run {
public:
    explicit Run(cyrnn_runner &runner_) : runner(runner_), steps(*runner_.model->steps) {}

    // Fills the block of a new runner, whose bytes are zeros.
    void make(const Frame &frame) {
        char *const block = reinterpret_cast<char *>(&runner);
        runner.slice = frame.slice, runner.slices = frame.slices, runner.timesteps = frame.timesteps;
        runner.states = reinterpret_cast<State *>(block + frame.states);
        runner.ready = runner.ready_end = reinterpret_cast<Ready *>(block + frame.ready);
        runner.places = reinterpret_cast<Place *>(block + frame.places);
        runner.block_places = reinterpret_cast<Place *>(block + frame.block_places);
        runner.offsets = reinterpret_cast<std::ptrdiff_t *>(block + frame.offsets);
        runner.copies = block + frame.copies, runner.masks = block + frame.masks;
        runner.buffers = block + frame.buffers, runner.scratch = block + frame.scratch;
        std::ptrdiff_t offset = 0;
        for (std::size_t i = 0; i < steps.buffered.size(); ++i) {
            runner.offsets[i] = steps.buffered[i] ? offset : -1;
            if (steps.buffered[i]) offset += std::ptrdiff_t(Frame::aligned(std::ptrdiff_t(frame.buffer_of(int(i)))));
        }
        place_records(frame, block + frame.records);
        all_live();
        Patch *const patches = reinterpret_cast<Patch *>(block + frame.patches);
        runner.read = runner.read_end = patches;
        each_patch(Binding::in_input, runner.read_end);
        runner.filled = runner.filled_end = runner.read_end;
        each_patch(Binding::in_output, runner.filled_end);
        for (std::ptrdiff_t slice = 0; slice < runner.slices; ++slice) make_ready(slice);
    }

    // One timestep. Null for an output that is not wanted; `wanted` has a bit for each of the others. No output shares memory
    // with an input.
    void step(const void *const *inputs, void *const *outputs, std::uint64_t wanted) {
        const Begun begun(*runner.model);
        for (const Patch *p = runner.read; p != runner.read_end; ++p)
            p->place->data = static_cast<char *>(const_cast<void *>(inputs[p->port])) + p->offset;  // which is not written to
        for (const Patch *p = runner.filled; p != runner.filled_end; ++p) {
            char *const output = static_cast<char *>(outputs[p->port]);
            p->place->data = output ? output + p->offset : p->otherwise;
        }
        const Helped helped(runner.take_crew, runner.helpers);
        for (Ready *r = runner.ready; r != runner.ready_end; ++r) {
            if (!r->always && !(r->feeds & wanted)) continue;
            r->work.crew = helped.crew;
            r->op->run(r->work);
        }
    }

    // Some timesteps at a time go through all ops, so that what lies between these has a bounded size.
    void forward(std::ptrdiff_t timesteps, const std::int64_t *lengths, const void *const *inputs, void *const *outputs,
                 std::uint64_t wanted) {
        const Begun begun(*runner.model);
        const Helped helped(runner.take_crew, runner.helpers);
        for (std::ptrdiff_t t = 0; t < timesteps; t += runner.timesteps)
            for (std::ptrdiff_t slice = 0; slice < runner.slices; ++slice) {
                const std::ptrdiff_t count = std::min(runner.timesteps, timesteps - t);
                const Part part{slice, t, count, timesteps, lengths != nullptr, inputs, outputs, helped.crew};
                if (lengths && steps.takes_lengths) mask(part, lengths);
                run(part, wanted);
            }
        if (lengths && steps.takes_lengths) all_live();
    }

    // Copies of the inputs of a step, which may share memory with its outputs.
    const void *const *copy(const void *const *inputs, const void **copied) {
        char *to = runner.copies;
        for (std::size_t i = 0; i < steps.inputs.size(); ++i) {
            const std::ptrdiff_t bytes = runner.batch * steps.bytes_of(steps.inputs[i]);
            copied[i] = std::memcpy(to, inputs[i], std::size_t(bytes));
            to += Frame::aligned(bytes);
        }
        return copied;
    }

    // So many threads may compute its timesteps, if they can be shared.
    void share(int threads, Helped::Take take) {
        const auto shares = [&](const StepOp &step) { return step.op->shares_timesteps(step.weights, runner.batch); };
        if (runner.batch == 1 && std::any_of(steps.ops.begin(), steps.ops.end(), shares))
            runner.helpers = threads - 1, runner.take_crew = take;
    }

    // ---- states

    // The place of a row's state; a row that is set anew has not had an unmasked timestep.
    char *state(const Port &port, std::ptrdiff_t row) const {
        const State &state = state_of(port.index, row);
        const std::ptrdiff_t item = steps.item(Kind::number);
        return static_cast<char *>(state.now) + (row % runner.slice * steps.carried[std::size_t(port.index)] + port.first) * item;
    }

    std::uint8_t *seen(int record, std::ptrdiff_t row) const {
        const State &state = state_of(record, row);
        return state.seen ? state.seen + row % runner.slice : nullptr;
    }

private:
    struct Begun {
        explicit Begun(const cyrnn_model &model_) : model(model_) {
            for (const Engine *engine : model.engines) engine->begin();
        }
        ~Begun() {
            for (const Engine *engine : model.engines) engine->end();
        }
        const cyrnn_model &model;
    };

    struct Part {  // the rows of a slice, over some of the timesteps of the caller's arrays
        std::ptrdiff_t slice, t, count, all;
        bool masked;
        const void *const *inputs;
        void *const *outputs;
        Crew *crew;
    };

    State &state_of(int record, std::ptrdiff_t row) const {
        return runner.states[row / runner.slice * std::ptrdiff_t(steps.carried.size()) + record];
    }

    std::ptrdiff_t rows_of(std::ptrdiff_t slice) const { return std::min(runner.slice, runner.batch - slice * runner.slice); }

    void all_live() { std::memset(runner.masks, 1, steps.takes_lengths ? std::size_t(runner.slice * runner.timesteps) : 0); }

    void mask(const Part &part, const std::int64_t *lengths) {
        for (std::ptrdiff_t row = 0; row < rows_of(part.slice); ++row)
            for (std::ptrdiff_t t = 0; t < part.count; ++t)
                runner.masks[row * runner.timesteps + t] = part.t + t < lengths[part.slice * runner.slice + row];
    }

    void run(const Part &part, std::uint64_t wanted) {
        const Ready *ready = runner.ready + part.slice * std::ptrdiff_t(steps.ops.size());
        for (const StepOp &step : steps.ops) {
            Work work = ready++->work;
            if (!step.feeds_states && !(step.feeds & wanted)) continue;
            Place *const places = runner.block_places + step.first;
            for (std::size_t k = 0; k < step.op->operands.size(); ++k)
                places[k] = place(step, steps.bindings[step.first + k], part);
            work.timesteps = part.count, work.places = places, work.crew = part.crew;
            step.op->run(work);
        }
    }

    Place place(const StepOp &step, const Binding &binding, const Part &part) const {
        if (binding.where == Binding::in_input) {
            const Port &port = steps.inputs[std::size_t(binding.index)];
            return place(part.inputs[binding.index], port, binding, part);
        }
        if (binding.where == Binding::in_output && part.outputs && part.outputs[binding.index])
            return place(part.outputs[binding.index], steps.outputs[std::size_t(binding.index)], binding, part);
        Place found = place_here(step, binding, part.count);
        if (binding.where == Binding::in_lengths && step.op->recurrent()) found.data = part.masked ? runner.masks : nullptr;
        return found;
    }

    // In an array (batch, timesteps, width) of the caller, or (batch, width) for an input that is the same for all timesteps.
    Place place(const void *array, const Port &port, const Binding &binding, const Part &part) const {
        const std::ptrdiff_t first = part.slice * runner.slice, row = port.timed ? part.all * port.width : port.width;
        char *const data = static_cast<char *>(const_cast<void *>(array)) + binding.column;
        const std::ptrdiff_t at = first * row + (port.timed ? part.t * port.width : 0);
        return {data + at * steps.item(port.kind), row, port.timed ? port.width : 0, part.count};
    }

    int storage_of_output(int port) const {
        return steps.program.outputs[std::size_t(steps.outputs[std::size_t(port)].index)];
    }

    // In the runner's own memory. The rows of one timestep lie side by side.
    Place place_here(const StepOp &step, const Binding &binding, std::ptrdiff_t count) const {
        if (binding.where == Binding::absent) return {};
        if (binding.where == Binding::in_lengths)
            return {step.op->recurrent() ? nullptr : runner.masks, runner.timesteps, 1, count};
        const int number = binding.where == Binding::in_buffer ? binding.index : storage_of_output(binding.index);
        const std::ptrdiff_t width = steps.program.storages[std::size_t(number)].width, offset = runner.offsets[number];
        char *const data = offset < 0 ? nullptr : runner.buffers + offset + binding.column;
        return {data, (count == 1 ? 1 : runner.timesteps) * width, width, count};
    }

    // ---- making

    void place_records(const Frame &frame, char *at) {
        for (const StepOp &step : steps.ops) {
            if (step.record < 0) continue;
            const std::size_t bytes = frame.record_bytes(step), seen = frame.seen_bytes(step);
            for (std::ptrdiff_t slice = 0; slice < runner.slices; ++slice, at += 2 * bytes + seen)
                state_of(step.record, slice * runner.slice) = {
                    at, at + bytes, seen ? reinterpret_cast<std::uint8_t *>(at + 2 * bytes) : nullptr};
        }
    }

    void make_ready(std::ptrdiff_t slice) {
        Place *const places = runner.places + slice * std::ptrdiff_t(steps.bindings.size());
        for (const StepOp &step : steps.ops) {
            State *const state = step.record < 0 ? nullptr : &state_of(step.record, slice * runner.slice);
            const Work work{rows_of(slice), 1, false, false, runner.batch, places + step.first, step.weights, state, runner.scratch,
                            {[](void *) { return false; }, nullptr}};
            new (runner.ready_end++) Ready{step.op, step.feeds_states, step.feeds, work};
        }
    }

    // Places of all operands in a step; those in arrays of the caller are patched.
    void each_patch(Binding::Where where, Patch *&end) {
        for (std::ptrdiff_t slice = 0; slice < runner.slices; ++slice)
            for (const StepOp &step : steps.ops)
                for (std::size_t k = 0; k < step.op->operands.size(); ++k) {
                    const Binding &binding = steps.bindings[step.first + k];
                    Place &place = runner.places[slice * std::ptrdiff_t(steps.bindings.size()) + std::ptrdiff_t(step.first + k)];
                    if (binding.where != where) {
                        if (binding.where != Binding::in_input && binding.where != Binding::in_output) place = place_here(step, binding, 1);
                        continue;
                    }
                    const Port &port = (where == Binding::in_input ? steps.inputs : steps.outputs)[std::size_t(binding.index)];
                    void *const otherwise = where == Binding::in_input ? nullptr : place_here(step, binding, 1).data;
                    place = {nullptr, port.width, port.width, 1};
                    new (end++) Patch{&place, slice * runner.slice * steps.bytes_of(port) + binding.column, otherwise, binding.index};
                }
    }

    cyrnn_runner &runner;
    const Steps &steps;
};

}  // namespace cyrnn
