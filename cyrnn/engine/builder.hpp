// How a program grows: buffers, views of them, and ops that read and fill views.
#pragma once

#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

#include "ops_plain.hpp"
#include "ops_weighted.hpp"
#include "program.hpp"

namespace cyrnn {

class Builder {
public:
    explicit Builder(Program &program_) : program(program_) {}

    int storage(Kind kind, int timeline, std::ptrdiff_t width) {
        Storage made{};
        made.kind = kind, made.timeline = timeline, made.width = width;
        program.storages.push_back(std::move(made));
        return view({int(program.storages.size()) - 1, 0, width, false});
    }

    int view(View made) {
        program.views.push_back(made);
        return int(program.views.size()) - 1;
    }

    void recurrent(int slot, int x, int mask, int input_dropout, int recurrent_dropout, int outputs, int last_output,
                   const std::vector<int> &initial, const std::vector<int> &final, bool zero_output_for_mask) {
        std::vector<Operand> operands{read(x), read(mask), read(input_dropout), read(recurrent_dropout), filled(outputs), filled(last_output)};
        const int anywhere = outputs >= 0 ? outputs : last_output >= 0 ? last_output : final.front();
        const std::ptrdiff_t units = width_of(anywhere);
        for (const int state : initial) operands.push_back(read(state));
        for (const int state : final) operands.push_back(filled(state));
        add(slot, timeline_of(x), std::move(operands), of_type<RecurrentOp>(width_of(x), units, std::ptrdiff_t(initial.size()), zero_output_for_mask));
    }

    void dense(int slot, int x, int out, std::ptrdiff_t vectors) {
        add(slot, timeline_of(x), {read(x), filled(out)}, of_type<DenseOp>(width_of(x) / vectors, width_of(out) / vectors, vectors));
    }

    void embedding(int slot, int tokens, int out) {
        add(slot, timeline_of(tokens), {read(tokens), filled(out)}, of_type<EmbeddingOp>(width_of(tokens) ? width_of(out) / width_of(tokens) : 0, width_of(tokens)));
        program.tokens.emplace_back(program.storage_of(tokens).input, slot);
    }

    void nonzero(int tokens, int out) {
        add(-1, timeline_of(tokens), {read(tokens), filled(out)}, std::make_unique<NonzeroOp>());
    }

    void masking(double value, int x, int out, int mask) {
        std::unique_ptr<Op> op;
        if (program.single)
            op = std::make_unique<MaskingOp<float>>(static_cast<float>(value), width_of(x));
        else
            op = std::make_unique<MaskingOp<double>>(value, width_of(x));
        add(-1, timeline_of(x), {read(x), filled(out), filled(mask)}, std::move(op));
    }

    void activation(Activate<float> f32, Activate<double> f64, int x, int out, std::ptrdiff_t units) {
        std::unique_ptr<Op> op;
        if (program.single)
            op = std::make_unique<ActivationOp<float>>(f32, width_of(x), units);
        else
            op = std::make_unique<ActivationOp<double>>(f64, width_of(x), units);
        add(-1, timeline_of(x), {read(x), filled(out)}, std::move(op));
    }

    void copy(int x, int out) {
        const std::ptrdiff_t item = program.item(program.storage_of(x).kind);
        add(-1, timeline_of(x), {read(x), filled(out)}, std::make_unique<CopyOp>(width_of(x) * item, item));
    }

    void reshape(int x, int out) {
        const std::ptrdiff_t item = program.item(program.storage_of(x).kind);
        add(-1, -1, {whole(read(x)), whole(filled(out))}, std::make_unique<ReshapeOp>(width_of(x) * item, width_of(out) * item, item));
    }

    int timeline_of(int view) const { return program.storage_of(view).timeline; }
    std::ptrdiff_t width_of(int view) const { return program.views[std::size_t(view)].width; }

private:
    static Operand read(int view) { return {view, false, false}; }
    static Operand filled(int view) { return {view, true, false}; }
    static Operand whole(Operand operand) { return {operand.view, operand.written, true}; }

    template <template <class> class Kind, class... Arguments> std::unique_ptr<Op> of_type(Arguments... arguments) const {
        if (program.single) return std::make_unique<Kind<float>>(arguments...);
        return std::make_unique<Kind<double>>(arguments...);
    }

    void add(int slot, int timeline, std::vector<Operand> operands, std::unique_ptr<Op> op) {
        op->slot = slot, op->timeline = timeline, op->operands = std::move(operands);
        program.ops.push_back(std::move(op));
    }

    Program &program;
};

}  // namespace cyrnn
