// How a program grows: buffers, views of them, and ops that read and fill views.
#pragma once

#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

#include "ops_batch.hpp"
#include "ops_gradient.hpp"
#include "ops_merge.hpp"
#include "ops_plain.hpp"
#include "ops_pointwise.hpp"
#include "ops_pool.hpp"
#include "ops_recurrent_gradient.hpp"
#include "ops_sums.hpp"
#include "ops_time.hpp"
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
                   const std::vector<int> &initial, const std::vector<int> &final, bool zero_output_for_mask, int sums) {
        std::vector<Operand> operands{read(x), optional(mask), optional(input_dropout), optional(recurrent_dropout), filled(outputs),
                                      filled(last_output), filled(sums)};
        const int anywhere = outputs >= 0 ? outputs : last_output >= 0 ? last_output : final.front();
        const std::ptrdiff_t units = width_of(anywhere);
        for (const int state : initial) operands.push_back(optional(state));
        for (const int state : final) operands.push_back(filled(state));
        add(slot, timeline_of(x), std::move(operands),
            of_type<RecurrentOp>(width_of(x), units, std::ptrdiff_t(initial.size()), width_of(sums, -1), zero_output_for_mask,
                                 width_of(input_dropout, width_of(x)), width_of(recurrent_dropout, units)));
    }

    void dense(int slot, int x, int out, std::ptrdiff_t vectors, int sums) {
        add(slot, timeline_of(x), {read(x), filled(out), filled(sums)}, of_type<DenseOp>(width_of(x) / vectors, width_of(out) / vectors, vectors));
    }

    void embedding(int slot, int tokens, int out) {
        add(slot, timeline_of(tokens), {read(tokens), filled(out)}, of_type<EmbeddingOp>(width_of(tokens) ? width_of(out) / width_of(tokens) : 0, width_of(tokens)));
        program.tokens.emplace_back(program.storage_of(tokens).input, slot);
    }

    void nonzero(int tokens, int out) {
        add(-1, timeline_of(tokens), {read(tokens), filled(out)}, std::make_unique<NonzeroOp>());
    }

    void dropout(int x, int factors, int out) {
        std::unique_ptr<Op> op;
        if (program.single)
            op = std::make_unique<DropoutOp<float>>(width_of(x));
        else
            op = std::make_unique<DropoutOp<double>>(width_of(x));
        add(-1, timeline_of(out), {read(x), read(factors), filled(out)}, std::move(op));
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

    void relu(int x, int out, double slope, double threshold, double most) {
        std::unique_ptr<Op> op;
        if (program.single)
            op = std::make_unique<ReluOp<float>>(width_of(x), float(slope), float(threshold), float(most));
        else
            op = std::make_unique<ReluOp<double>>(width_of(x), slope, threshold, most);
        add(-1, timeline_of(x), {read(x), filled(out)}, std::move(op));
    }

    void scale(int x, int out, double factor, double offset) {
        std::unique_ptr<Op> op;
        if (program.single)
            op = std::make_unique<ScaleOp<float>>(width_of(x), float(factor), float(offset));
        else
            op = std::make_unique<ScaleOp<double>>(width_of(x), factor, offset);
        add(-1, timeline_of(x), {read(x), filled(out)}, std::move(op));
    }

    void affine(int slot, int x, int out, Axis axis) {
        add(slot, timeline_of(x), {read(x), filled(out)}, of_type<AffineOp>(width_of(x), axis));
    }

    void prelu(int slot, int x, int out, Axis axis) {
        add(slot, timeline_of(x), {read(x), filled(out)}, of_type<PReluOp>(width_of(x), axis));
    }

    void norm(int slot, int x, int out, std::ptrdiff_t length, Norm norm, double parameter) {
        std::unique_ptr<Op> op;
        if (program.single)
            op = std::make_unique<NormOp<float>>(width_of(x), length, norm, float(parameter));
        else
            op = std::make_unique<NormOp<double>>(width_of(x), length, norm, parameter);
        add(slot, timeline_of(x), {read(x), filled(out)}, std::move(op));
    }

    void merge(Merge kind, const std::vector<int> &xs, const std::vector<Axis> &axes, const std::vector<int> &masks, int out) {
        std::vector<Operand> operands{filled(out)};
        for (const int x : xs) operands.push_back(read(x));
        for (const int mask : masks) operands.push_back(read(mask));
        add(-1, timeline_of(out), std::move(operands), of_type<MergeOp>(kind, width_of(out), axes, !masks.empty()));
    }

    void merge_masks(bool all, const std::vector<int> &masks, int out) {
        std::vector<Operand> operands{filled(out)};
        for (const int mask : masks) operands.push_back(read(mask));
        add(-1, timeline_of(out), std::move(operands), std::make_unique<MaskMergeOp>(all));
    }

    void join(const std::vector<int> &xs, int out, std::ptrdiff_t pieces) {
        std::vector<Operand> operands{filled(out)};
        std::vector<std::ptrdiff_t> bytes;
        for (const int x : xs) {
            operands.push_back(read(x));
            bytes.push_back(width_of(x) / pieces * item_of(x));
        }
        add(-1, timeline_of(out), std::move(operands), std::make_unique<JoinOp>(pieces, std::move(bytes), item_of(out)));
    }

    void dot(int x, int y, int out, std::ptrdiff_t length, std::ptrdiff_t x_inner, std::ptrdiff_t y_inner) {
        const Axis a{length, x_inner}, b{length, y_inner};
        add(-1, timeline_of(out), {read(x), read(y), filled(out)}, of_type<DotOp>(a, width_of(x), b, width_of(y)));
    }

    void copy(int x, int out) {
        add(-1, timeline_of(out), {read(x), filled(out)}, std::make_unique<CopyOp>(width_of(x) * item_of(x), item_of(x)));
    }

    void select(int x, int out, std::ptrdiff_t index) {
        const bool all = index < -1;
        add(-1, all ? -1 : timeline_of(x), {all ? whole(read(x)) : read(x), filled(out)},
            std::make_unique<SelectOp>(index, width_of(x), item_of(x)));
    }

    void take(int x, int out, std::ptrdiff_t before, std::ptrdiff_t stride, std::ptrdiff_t repeats) {
        add(-1, timeline_of(out), {whole(read(x)), filled(out)},
            std::make_unique<TakeOp>(before, stride, repeats, width_of(x), item_of(x)));
    }

    void pool(bool mean, int x, int out, std::ptrdiff_t size, std::ptrdiff_t stride, bool padded) {
        add(-1, timeline_of(out), {whole(read(x)), filled(out)}, of_type<PoolOp>(mean, size, stride, padded, width_of(x)));
    }

    void largest(int x, int out) {
        add(-1, timeline_of(x), {read(x), filled(out)}, of_type<LargestOp>(width_of(x)));
    }

    void total(bool mean, int x, int mask, int out) {
        add(-1, timeline_of(x), {read(x), read(mask), filled(out)}, of_type<TotalOp>(mean, width_of(x)));
    }

    void reshape(int x, int out) {
        add(-1, timeline_of(out), {whole(read(x)), filled(out)}, std::make_unique<ReshapeOp>(width_of(x), width_of(out), item_of(x)));
        same_elements(x, out);
    }

    // `lengths`: of the axes of x, where the timesteps are the first;  `order`: which axis of x each of out is
    void permute(int x, int out, const std::vector<std::ptrdiff_t> &lengths, const std::vector<int> &order) {
        std::vector<PermuteOp::Step> steps(lengths.size()), moved;
        std::ptrdiff_t stride = 1;
        for (std::size_t axis = lengths.size(); axis-- > 0; stride *= lengths[axis]) steps[axis] = {lengths[axis], axis ? stride : 0};
        for (const int axis : order) moved.push_back(steps[std::size_t(axis)]);
        const PermuteOp::Step first = moved.front();
        moved.erase(moved.begin());
        add(-1, timeline_of(out), {order.front() == 0 ? read(x) : whole(read(x)), filled(out)},
            std::make_unique<PermuteOp>(first, std::move(moved), item_of(x)));
        same_elements(x, out);
    }

    // ---- the ways back

    void activation_gradient(int slot, Differentiate<float> f32, Differentiate<double> f64, int saved, int d_y, int d_z, std::ptrdiff_t units) {
        std::unique_ptr<Op> op;
        if (program.single)
            op = std::make_unique<ActivationGradientOp<float>>(width_of(d_z), units, f32);
        else
            op = std::make_unique<ActivationGradientOp<double>>(width_of(d_z), units, f64);
        add(slot, timeline_of(d_z), {read(saved), read(d_y), filled(d_z)}, std::move(op));
    }

    void recurrent_gradient(int slot, int saved, int mask, int recurrent_dropout, int d_outputs, int d_last_output, const std::vector<int> &d_final,
                            int d_z, const std::vector<int> &d_initial, bool zero_output_for_mask) {
        std::vector<Operand> operands{read(saved), optional(mask), optional(recurrent_dropout), optional(d_outputs), optional(d_last_output), filled(d_z)};
        for (const int state : d_final) operands.push_back(optional(state));
        for (const int state : d_initial) operands.push_back(filled(state));
        add(slot, timeline_of(d_z), std::move(operands),
            of_type<RecurrentGradientOp>(width_of(saved), width_of(d_z), std::ptrdiff_t(d_final.size()), width_of(recurrent_dropout, 0),
                                         zero_output_for_mask));
    }

    void input_gradient(int slot, int d_z, int factors, int d_x) {
        const std::ptrdiff_t features = width_of(d_x);
        add(slot, timeline_of(d_x), {read(d_z), read(factors), filled(d_x)},
            of_type<InputGradientOp>(features, width_of(d_z), features ? width_of(factors) / features : 0));
    }

    void kernel_gradient(int slot, int x, int d_z, int mask, int input_dropout, int recurrent_dropout, int outputs, int initial, int between,
                         int d_kernel, int d_recurrent_kernel, int d_bias, std::ptrdiff_t vectors) {
        const std::ptrdiff_t sums = width_of(d_z) / vectors, features = width_of(x) / vectors, units = width_of(outputs, 0);
        const auto by_gate = [sums](std::ptrdiff_t factors, std::ptrdiff_t each) {
            const std::ptrdiff_t gates = each ? factors / each : 1;
            return Groups{gates, sums, sums / gates, gates > 1};
        };
        Groups of_h = by_gate(width_of(recurrent_dropout, units), units);
        if (between >= 0 && !of_h.by_gate) of_h.count = 2, of_h.last = units;
        add(slot, timeline_of(x), {read(x), read(d_z), optional(mask), optional(input_dropout), optional(recurrent_dropout), optional(outputs),
                                   optional(initial), optional(between), filled(d_kernel), filled(d_recurrent_kernel), filled(d_bias)},
            of_type<KernelGradientOp>(features, units, sums, vectors, by_gate(width_of(input_dropout, features), features), of_h));
    }

    void batch_sum(int x, int out, std::ptrdiff_t inner) {
        add(-1, timeline_of(x), {read(x), filled(out)}, of_type<BatchSumOp>(width_of(x), Axis{width_of(out), inner}));
    }

    // ---- the ways back through ops that compute each timestep alone

    void relu_gradient(int saved, int d_y, int d_x, double slope, double threshold, double most) {
        std::unique_ptr<Op> op;
        if (program.single)
            op = std::make_unique<ReluGradientOp<float>>(width_of(d_y), float(slope), float(threshold), float(most));
        else
            op = std::make_unique<ReluGradientOp<double>>(width_of(d_y), slope, threshold, most);
        add(-1, timeline_of(d_y), {read(saved), read(d_y), filled(d_x), filled(-1)}, std::move(op));
    }

    void affine_gradient(int slot, int x, int d_y, int d_x, int terms, Axis axis) {
        add(slot, timeline_of(d_y), {read(x), read(d_y), filled(d_x), filled(terms)}, of_type<AffineGradientOp>(width_of(d_y), axis));
    }

    void prelu_gradient(int slot, int x, int d_y, int d_x, int terms, Axis axis) {
        add(slot, timeline_of(d_y), {read(x), read(d_y), filled(d_x), filled(terms)}, of_type<PReluGradientOp>(width_of(d_y), axis));
    }

    void norm_gradient(int slot, int x, int d_y, int d_x, int terms, std::ptrdiff_t length, Norm norm, double parameter) {
        std::unique_ptr<Op> op;
        if (program.single)
            op = std::make_unique<NormGradientOp<float>>(width_of(d_y), length, norm, float(parameter));
        else
            op = std::make_unique<NormGradientOp<double>>(width_of(d_y), length, norm, parameter);
        add(slot, timeline_of(d_y), {read(x), read(d_y), filled(d_x), filled(terms)}, std::move(op));
    }

    // `statistics`: mean, variance and count
    void batch_norm(int slot, int x, int mask, const std::vector<int> &statistics, int factor, int out, Axis axis, double epsilon) {
        moments(x, mask, statistics, factor, axis, epsilon);
        add(slot, timeline_of(x), {read(x), read(statistics[0]), read(factor), filled(out)}, of_type<BatchNormOp>(width_of(x), axis));
    }

    // `sums`: of d_y, which is the gradient of the offset, and of the terms, which is that of the gain
    void batch_norm_gradient(int slot, int x, int mask, const std::vector<int> &statistics, int factor, int d_y, int terms,
                             const std::vector<int> &sums, int d_x, Axis axis, double epsilon) {
        moments(x, mask, statistics, factor, axis, epsilon);
        const int mean = statistics[0], count = statistics[2];
        add(slot, timeline_of(x), {read(x), read(d_y), read(mean), read(factor), filled(terms)}, of_type<BatchNormTermsOp>(width_of(x), axis));
        batch_sum(d_y, sums[0], axis.inner);
        batch_sum(terms, sums[1], axis.inner);
        if (d_x < 0) return;
        add(slot, timeline_of(x), {read(x), read(d_y), optional(mask), read(mean), read(factor), read(count), read(sums[0]), read(sums[1]), filled(d_x)},
            of_type<BatchNormGradientOp>(width_of(x), axis));
    }

    void masking_gradient(int mask, int d_y, int d_x) {
        add(-1, timeline_of(d_y), {read(mask), read(d_y), filled(d_x)}, of_type<MaskingGradientOp>(width_of(d_y)));
    }

    void embedding_gradient(int tokens, int d_y, int d_table, std::ptrdiff_t units) {
        add(-1, timeline_of(d_y), {read(tokens), read(d_y), filled(d_table)},
            of_type<EmbeddingGradientOp>(width_of(d_table) / units, units, width_of(tokens)));
    }

    // ---- the ways back of the ops of several values, and over timesteps

    // `xs`: -1 where they do not matter
    void merge_gradient(Merge kind, int of, const std::vector<int> &xs, const std::vector<Axis> &axes, const std::vector<int> &masks, int d_out, int d_x) {
        std::vector<Operand> operands{read(d_out), filled(d_x)};
        for (const int x : xs) operands.push_back(read(x));
        for (const int mask : masks) operands.push_back(optional(mask));
        const bool over_time = timeline_of(d_x) != timeline_of(d_out);
        add(-1, timeline_of(d_out), std::move(operands), of_type<MergeGradientOp>(kind, std::size_t(of), width_of(d_out), axes, !masks.empty(), over_time));
    }

    void split(int x, int out, std::ptrdiff_t first, std::ptrdiff_t pieces) {
        const std::ptrdiff_t item = item_of(x);
        add(-1, timeline_of(out), {read(x), filled(out)},
            std::make_unique<SplitOp>(pieces, width_of(x) / pieces * item, width_of(out) / pieces * item, first * item, item));
    }

    void dot_gradient(int d, int y, int d_x, std::ptrdiff_t length, std::ptrdiff_t x_inner, std::ptrdiff_t y_inner, bool of_first) {
        const Axis a{length, x_inner}, b{length, y_inner};
        add(-1, timeline_of(d_x), {read(d), read(y), filled(d_x)}, of_type<DotGradientOp>(a, width_of(d_x), b, width_of(y), of_first));
    }

    void take_gradient(int d, int d_x, std::ptrdiff_t before, std::ptrdiff_t stride, std::ptrdiff_t repeats) {
        add(-1, timeline_of(d_x), {whole(read(d)), filled(d_x)}, of_type<TakeGradientOp>(before, stride, repeats, width_of(d_x)));
    }

    void pool_gradient(bool mean, int x, int d, int d_x, std::ptrdiff_t size, std::ptrdiff_t stride, bool padded) {
        add(-1, timeline_of(d_x), {whole(read(x)), whole(read(d)), whole(filled(d_x))},
            of_type<PoolGradientOp>(mean, size, stride, padded, width_of(d_x)));
    }

    void largest_gradient(int x, int out, int d, int d_x) {
        add(-1, timeline_of(d_x), {whole(read(x)), read(out), read(d), filled(d_x)}, of_type<LargestGradientOp>(width_of(d_x)));
    }

    void total_gradient(bool mean, int d, int mask, int d_x) {
        Operand keep = optional(mask);
        keep.whole = true;
        add(-1, timeline_of(d_x), {read(d), keep, whole(filled(d_x))}, of_type<TotalGradientOp>(mean, width_of(d_x)));
    }

    int timeline_of(int view) const { return program.storage_of(view).timeline; }
    std::ptrdiff_t width_of(int view) const { return program.views[std::size_t(view)].width; }
    std::ptrdiff_t width_of(int view, std::ptrdiff_t absent) const { return view < 0 ? absent : width_of(view); }
    std::ptrdiff_t item_of(int view) const { return program.item(program.storage_of(view).kind); }

private:
    static Operand read(int view) { return {view, false, false}; }
    static Operand optional(int view) { return {view, false, false, true}; }
    static Operand filled(int view) { return {view, true, false}; }
    static Operand whole(Operand operand) { return {operand.view, operand.written, true}; }

    template <template <class> class Kind, class... Arguments> std::unique_ptr<Op> of_type(Arguments... arguments) const {
        if (program.single) return std::make_unique<Kind<float>>(arguments...);
        return std::make_unique<Kind<double>>(arguments...);
    }

    void moments(int x, int mask, const std::vector<int> &statistics, int factor, Axis axis, double epsilon) {
        add(-1, timeline_of(x), {read(x), optional(mask), filled(statistics[0]), filled(statistics[1]), filled(statistics[2]), filled(factor)},
            of_type<MomentsOp>(width_of(x), axis, epsilon));
    }

    // A call must bring such lengths.
    void same_elements(int x, int y) {
        program.same.push_back({{timeline_of(x), timeline_of(y)}, {width_of(x), width_of(y)}});
    }

    void add(int slot, int timeline, std::vector<Operand> operands, std::unique_ptr<Op> op) {
        op->slot = slot, op->timeline = timeline, op->operands = std::move(operands);
        program.ops.push_back(std::move(op));
    }

    Program &program;
};

}  // namespace cyrnn
