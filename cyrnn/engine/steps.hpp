// A program as steps: one timestep after another through all of its ops. Found once, when a model of it is made.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "load.hpp"
#include "ops_plain.hpp"
#include "ops_weighted.hpp"
#include "program.hpp"

namespace cyrnn {

constexpr std::size_t most_ports = 64;  // inputs, or outputs: each output has a bit in a number

struct Refused {  // thrown: why a program has no steps
    int op;       // that is to blame; -1: none
    const char *reason;
};

struct Names {  // of the inputs and outputs of a program, and for each op that of its layer; those that are left out are numbers
    std::vector<std::string> inputs, outputs, ops;
};

struct Port {  // what a step reads, fills or carries
    Kind kind;
    std::ptrdiff_t width;
    std::string name;
    int index;             // among the inputs or outputs of the program; of a state: which recurrence has it
    bool timed;            // false: an input that is the same for all timesteps
    std::ptrdiff_t first;  // of a state: where it begins in the record of a row
    std::ptrdiff_t limit;  // of tokens: there are so many
};

struct Binding {  // where an operand of a step lies
    enum Where : std::uint8_t { absent, in_buffer, in_input, in_output, in_lengths };
    Where where = absent;
    int index = -1;             // of the port; of the storage that the buffer is for
    std::ptrdiff_t column = 0;  // in bytes
};

struct StepOp {
    const Op *op;
    const Prepared *weights;
    std::size_t first;   // of its operands among the bindings
    int record;          // -1: it carries nothing
    bool masked;         // its operand `mask` is there
    bool feeds_states;   // whether a state depends on it, and
    std::uint64_t feeds; // which outputs do
};

// What a program has once for a row, because it comes after the last timestep, a step has for each timestep: it is what it
// would be if the sequence ended there. The states that a call may begin with, and those that it ends with, are the records of
// a runner. So are neither inputs nor outputs of a step; nor are masks that may be absent (see `lengths`), and dropout.
class Steps {
public:
    // Throws Refused, or std::bad_alloc. `optional` and `turned` are those of the program's inputs and outputs; a step takes its
    // inputs in this order.
    Steps(const Program &program_, std::vector<const Prepared *> weights_, const Names &names, const std::vector<bool> &optional,
          const std::vector<bool> &turned, const std::vector<int> &order)
        : program(program_), weights(std::move(weights_)), late(program_.storages.size()), final(program_.storages.size()) {
        for (int i = 0; i < int(program.ops.size()); ++i) {
            const Op &op = *program.ops[std::size_t(i)];
            check(i, op, optional);
            if (op.slot >= 0 && !op.fits(weights[std::size_t(op.slot)])) throw Refused{i, "has weights of other shapes"};
        }
        find_inputs(names, optional, order);
        find_outputs(names, turned);
        if (!timed) throw Refused{-1, "has no timesteps"};
        if (std::max(inputs.size(), outputs.size()) > most_ports) throw Refused{-1, "has more than 64 inputs or outputs"};
        for (int i = 0; i < int(program.ops.size()); ++i) add(i, *program.ops[std::size_t(i)], names);
        find_uses();
        find_buffers();
    }
    Steps(const Steps &) = delete;
    Steps &operator=(const Steps &) = delete;

    const Program &program;
    const std::vector<const Prepared *> weights;  // of each slot
    std::vector<Port> inputs, outputs, states;
    std::vector<StepOp> ops;
    std::vector<Binding> bindings;   // operands of all ops, one after another
    std::vector<bool> buffered;      // of each storage: whether some memory must hold it
    std::vector<std::ptrdiff_t> carried;  // elements of a row's record, for each op that has one
    bool takes_lengths = false;      // there are masks that may be absent

    // Of a step of so many rows. It is cut as a call on one thread.
    Load load(std::ptrdiff_t batch) const {
        Load load{batch, 1, 0, 0};
        for (const StepOp &step : ops) add_work(load, *step.op, step.weights, 1);
        return load;
    }

    std::ptrdiff_t item(Kind kind) const { return program.item(kind); }
    std::ptrdiff_t bytes_of(const Port &port) const { return port.width * item(port.kind); }

private:
    using Recurrent = RecurrentOp<float>;  // of each dtype the operands are the same

    enum class Role { ordinary, dropout, initial, final };

    static Role role_of(const Op &op, std::size_t operand) {
        if (!op.recurrent()) return Role::ordinary;
        if (operand == Recurrent::input_dropout || operand == Recurrent::recurrent_dropout) return Role::dropout;
        if (operand < Recurrent::states) return Role::ordinary;
        return op.operands[operand].written ? Role::final : Role::initial;
    }

    const Storage &storage_of(const Operand &operand) const { return program.storage_of(operand.view); }
    int number_of(const Operand &operand) const { return program.views[std::size_t(operand.view)].storage; }

    // ---- whether each timestep needs no later one

    void check(int index, const Op &op, const std::vector<bool> &optional) {
        bool after = false;  // it comes after the last timestep
        if (op.timeline >= 0) {
            check_timeline(index, op.timeline);
            timed = true;
        } else if (op.recurrent()) {
            throw Refused{index, "has no timesteps"};
        }
        for (std::size_t k = 0; k < op.operands.size(); ++k) {
            const Operand &operand = op.operands[k];
            if (operand.view < 0) continue;
            const Storage &storage = storage_of(operand);
            const Role role = role_of(op, k);
            if (role == Role::final) final[std::size_t(number_of(operand))] = true;
            if (role == Role::initial && storage.input < 0) throw Refused{index, "begins with states that are computed"};
            if (role == Role::dropout && (storage.input < 0 || !optional[std::size_t(storage.input)]))
                throw Refused{index, "has dropout"};
            if (role != Role::ordinary) continue;
            check_timesteps(index, op, operand, storage);
            if (operand.written) continue;
            if (final[std::size_t(number_of(operand))]) throw Refused{index, "reads the final states of a recurrence"};
            if (late[std::size_t(number_of(operand))]) after = true;
        }
        if (after && op.timeline >= 0) throw Refused{index, "needs the last timestep before the first one"};
        mark_late(index, op, after);
    }

    void check_timeline(int index, int number) const {
        const Timeline &timeline = program.timelines[std::size_t(number)];
        if (timeline.of >= 0 || timeline.constant >= 0) throw Refused{index, "has other timesteps than the inputs"};
    }

    // Whether the op puts what comes with one input on the timeline of another one, which has as many timesteps.
    bool joins(const Op &op) const {
        return op.keeps_timesteps() && op.timeline >= 0 && storage_of(op.operands[0]).timeline >= 0;
    }

    void check_timesteps(int index, const Op &op, const Operand &operand, const Storage &storage) const {
        if (storage.timeline < 0) return;
        if (program.views[std::size_t(operand.view)].reversed) throw Refused{index, "goes from the last timestep to the first"};
        if (joins(op)) return check_timeline(index, storage.timeline);
        if (operand.whole || op.timeline < 0) throw Refused{index, "needs all timesteps at once"};
        if (storage.timeline != op.timeline) throw Refused{index, "takes the timesteps of several inputs"};
    }

    void mark_late(int index, const Op &op, bool after) {
        for (std::size_t k = 0; k < op.operands.size(); ++k) {
            const Operand &operand = op.operands[k];
            if (operand.view < 0 || !operand.written || role_of(op, k) != Role::ordinary) continue;
            if (storage_of(operand).timeline >= 0) continue;
            if (op.timeline >= 0 && !op.takes_last() && !(op.recurrent() && k == Recurrent::last_output))
                throw Refused{index, "has one result for all timesteps"};
            if (after || op.timeline >= 0) late[std::size_t(number_of(operand))] = true;
        }
    }

    // ---- inputs, outputs and states

    // Whether an op reads it as more than a state to begin with, or dropout.
    bool is_read(int storage) const {
        for (const auto &op : program.ops)
            for (std::size_t k = 0; k < op->operands.size(); ++k) {
                const Operand &operand = op->operands[k];
                if (operand.view < 0 || operand.written || number_of(operand) != storage) continue;
                if (role_of(*op, k) == Role::ordinary) return true;
            }
        return false;
    }

    static std::string name_of(const std::vector<std::string> &names, std::size_t index, const char *otherwise) {
        return index < names.size() ? names[index] : otherwise + std::to_string(index);
    }

    void find_inputs(const Names &names, const std::vector<bool> &optional, const std::vector<int> &order) {
        where.assign(program.storages.size(), Binding{});
        for (const int place : order) {
            const std::size_t i = std::size_t(place);
            const int number = program.inputs[i];
            const Storage &storage = program.storages[std::size_t(number)];
            if (!is_read(number)) continue;
            if (storage.kind == Kind::mask && optional[i] && storage.timeline >= 0 && storage.width == 1) {
                where[std::size_t(number)].where = Binding::in_lengths;
                takes_lengths = true;
                continue;
            }
            where[std::size_t(number)] = {Binding::in_input, int(inputs.size()), 0};
            inputs.push_back({storage.kind, storage.width, name_of(names.inputs, i, "input_"), int(i), storage.timeline >= 0, 0, PTRDIFF_MAX});
            for (const auto &[input, slot] : program.tokens) {
                if (input != int(i)) continue;
                const Prepared &table = *weights[std::size_t(slot)];
                const std::ptrdiff_t rows = program.single ? table.f32.features : table.f64.features;
                if (rows < inputs.back().limit) inputs.back().limit = rows;
            }
        }
    }

    void find_outputs(const Names &names, const std::vector<bool> &turned) {
        for (std::size_t i = 0; i < program.outputs.size(); ++i) {
            const int number = program.outputs[i];
            const Storage &storage = program.storages[std::size_t(number)];
            if (final[std::size_t(number)]) continue;
            if (turned[i] && storage.timeline >= 0)
                throw Refused{storage.writers.empty() ? -1 : storage.writers.front().first, "has its last timestep first"};
            where[std::size_t(number)] = {Binding::in_output, int(outputs.size()), 0};
            outputs.push_back({storage.kind, storage.width, name_of(names.outputs, i, "output_"), int(i), true, 0, PTRDIFF_MAX});
        }
    }

    void add(int index, const Op &op, const Names &names) {
        if (op.takes_last() || joins(op)) return add_copy(op.operands[0], op.operands[1], bound(op.operands[1]));
        const Prepared *const own = op.slot < 0 ? nullptr : weights[std::size_t(op.slot)];
        StepOp step{&op, own, bindings.size(), -1, false, false, 0};
        const bool recurrent = op.recurrent();
        for (std::size_t k = 0; k < op.operands.size(); ++k)
            bindings.push_back(role_of(op, k) == Role::ordinary ? bound(op.operands[k]) : Binding{});
        if (op.carried(own) > 0) {
            step.record = int(carried.size());
            carried.push_back(op.carried(own));
        }
        if (recurrent) add_states(own, step.record, name_of(names.ops, std::size_t(index), "op_"));
        Binding *const own_bindings = bindings.data() + step.first;
        step.masked = recurrent && own_bindings[Recurrent::mask].where != Binding::absent;
        ops.push_back(step);
        if (!recurrent || op.operands[Recurrent::last_output].view < 0) return;
        // The outputs of a step are its last ones too.
        const Binding last = own_bindings[Recurrent::last_output];
        own_bindings[Recurrent::last_output] = Binding{};
        if (own_bindings[Recurrent::outputs].where == Binding::absent)
            own_bindings[Recurrent::outputs] = last;
        else
            add_copy(op.operands[Recurrent::outputs], op.operands[Recurrent::last_output], last);
    }

    // to := from, at each timestep
    void add_copy(Operand from, const Operand &to, const Binding &where_to) {
        const std::ptrdiff_t size = item(storage_of(to).kind);
        from.written = false;
        copies.push_back(std::make_unique<CopyOp>(program.views[std::size_t(to.view)].width * size, size));
        copies.back()->operands = {from, to};
        ops.push_back({copies.back().get(), nullptr, bindings.size(), -1, false, false, 0});
        bindings.push_back(bound(from));
        bindings.push_back(where_to);
    }

    Binding bound(const Operand &operand) const {
        if (operand.view < 0) return {};
        const View &view = program.views[std::size_t(operand.view)];
        Binding binding = where[std::size_t(view.storage)];
        if (binding.where == Binding::absent) binding = {Binding::in_buffer, view.storage, 0};
        binding.column = view.column * item(storage_of(operand).kind);
        return binding;
    }

    // A record is h and the other states of the cell, as wide as h.
    void add_states(const Prepared *own, int record, const std::string &name) {
        const std::ptrdiff_t units = program.single ? own->f32.units : own->f64.units;
        for (std::ptrdiff_t first = 0; units > 0 && first < carried.back(); first += units)
            states.push_back({Kind::number, units, name, record, true, first, PTRDIFF_MAX});
    }

    // ---- which ops must run for an output, and what needs memory

    template <class F> void each_operand(const StepOp &step, F function) const {
        for (std::size_t k = 0; k < step.op->operands.size(); ++k) {
            const Binding &binding = bindings[step.first + k];
            if (binding.where == Binding::absent) continue;
            // `outputs` may stand for `last_output`
            const bool last = step.op->operands[k].view < 0;
            function(step.op->operands[last ? std::size_t(Recurrent::last_output) : k], binding);
        }
    }

    void find_uses() {
        std::vector<std::uint64_t> feeds(program.storages.size());
        std::vector<bool> feeds_states(program.storages.size());
        for (std::size_t i = 0; i < program.storages.size(); ++i)
            if (where[i].where == Binding::in_output) feeds[i] = std::uint64_t(1) << where[i].index;
        for (std::size_t i = ops.size(); i-- > 0;) {
            StepOp &step = ops[i];
            step.feeds_states = step.record >= 0;
            each_operand(step, [&](const Operand &operand, const Binding &) {
                if (!operand.written) return;
                step.feeds |= feeds[std::size_t(number_of(operand))];
                step.feeds_states = step.feeds_states || feeds_states[std::size_t(number_of(operand))];
            });
            each_operand(step, [&](const Operand &operand, const Binding &) {
                if (operand.written) return;
                feeds[std::size_t(number_of(operand))] |= step.feeds;
                if (step.feeds_states) feeds_states[std::size_t(number_of(operand))] = true;
            });
        }
    }

    // An output needs memory where an op has to run though the caller does not want it.
    void find_buffers() {
        buffered.assign(program.storages.size(), false);
        for (const StepOp &step : ops)
            each_operand(step, [&](const Operand &operand, const Binding &binding) {
                const bool output = binding.where == Binding::in_output;
                const bool may_be_absent = operand.written && step.op->recurrent();
                const auto for_others = [&] { return !operand.written || step.feeds_states || step.feeds != std::uint64_t(1) << binding.index; };
                if (binding.where == Binding::in_buffer || (output && !may_be_absent && for_others()))
                    buffered[std::size_t(number_of(operand))] = true;
            });
    }

    std::vector<bool> late;    // of each storage: it is there after the last timestep
    std::vector<bool> final;   // of each storage: a recurrence ends with it
    std::vector<Binding> where;  // of each storage
    std::vector<std::unique_ptr<CopyOp>> copies;
    bool timed = false;
};

}  // namespace cyrnn
