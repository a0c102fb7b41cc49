// Sums over rows and timesteps, which gradients of weights are: see ops_gradient.hpp. Each part has some places of the sum, and goes
// through rows and timesteps in one order: so the bits do not depend on the number of threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "op.hpp"
#include "ops_pointwise.hpp"

namespace cyrnn {

struct Groups {  // of columns of a kernel
    std::ptrdiff_t count, sums, last;  // groups, the columns of all, and those of the last one
    bool by_gate;                      // whether each has dropout factors of its own

    std::ptrdiff_t column(std::ptrdiff_t group) const {  // the first of a group, all others of which are equal
        return group == count ? sums : group == 0 ? 0 : (sums - last) / (count - 1) * group;
    }
};

// d_W := sum of (x_t o D)' . d_z_t over rows and timesteps, and d_V := that of (h_{t-1} o R)' . d_z_t, where h_{t-1} is the output
// of the last timestep that was not masked; d_b := that of d_z_t. What is masked may be NaN: it is not read, nor what meets zeros alone, as before a mask of
// a later layer. Of a dense layer there is no d_V. Where gates have an x or h of their own, each of them is a sum by itself: because of
// dropout factors for each gate, or because the last one multiplies what a cell has made `between` its products.
template <class T> class KernelGradientOp final : public Op {
public:
    enum : int { x, d_z, mask, input_dropout, recurrent_dropout, outputs, initial, between, d_kernel, d_recurrent_kernel, d_bias };

    KernelGradientOp(std::ptrdiff_t features_, std::ptrdiff_t units_, std::ptrdiff_t sums_, std::ptrdiff_t vectors_, Groups of_x_, Groups of_h_)
        : features(features_), units(units_), sums(sums_), vectors(vectors_), of_x(of_x_), of_h(of_h_) {}

    bool over_batch() const override { return true; }
    bool joins_parts() const override { return true; }
    std::ptrdiff_t parts(const Prepared *p) const override {
        return of_x.count * parts_of(features, height(p)) + of_h.count * parts_of(units, height(p)) + 1;
    }
    double multiply_adds(const Prepared *) const override { return double(vectors) * double(features + units) * double(sums); }
    bool fits(const Prepared *p) const override { return p->single == (sizeof(T) == sizeof(float)) && p->engine; }
    std::ptrdiff_t scratch_bytes(const Prepared *p, std::ptrdiff_t, std::ptrdiff_t) const override {
        const std::ptrdiff_t space = p->product<T>().accumulate_workspace(block, height(p), sums);
        return block * std::ptrdiff_t(sizeof(Segment)) + sums * std::ptrdiff_t(sizeof(double)) +
               (sums + block * (height(p) + sums) + space) * std::ptrdiff_t(sizeof(T));
    }

    bool run(const Work &work) const noexcept override {
        if (!Sum(*this, work, work.part, work.parts, false).run()) return false;
        for (std::ptrdiff_t i = work.part; i < work.part + work.parts; ++i) {
            const Part part = part_of(work, i);
            if (part.gradient && !all_finite(part) && !Sum(*this, work, i, 1, true).run()) return false;
        }
        return true;
    }

private:
    static constexpr std::ptrdiff_t block = 256;  // rows and timesteps of a chain of multiply-adds
    static constexpr std::ptrdiff_t terms = 64;   // of a sum of the bias, so few that little is rounded away: the totals are in double precision

    enum class Factor { x, h, one };  // what d_z is multiplied by

    struct Part {  // some rows of a kernel, of the columns of a group; or the bias
        Factor factor;
        std::ptrdiff_t first, count;
        std::ptrdiff_t group, column, width;
        T *gradient;  // null where it is not asked for
    };

    // Timesteps of a row that follow each other, or vectors of one timestep.
    struct Segment {
        std::ptrdiff_t row, t, count;
        std::ptrdiff_t before;  // the timestep before that was not masked, or -1; of vectors the first one
    };

    static std::ptrdiff_t height(const Prepared *p) { return p->product<T>().accumulate_height; }
    static std::ptrdiff_t parts_of(std::ptrdiff_t count, std::ptrdiff_t each) { return (count + each - 1) / each; }

    Part part_of(const Work &work, std::ptrdiff_t number) const {
        const std::ptrdiff_t each = height(work.weights), of_inputs = of_x.count * parts_of(features, each);
        if (number == of_inputs + of_h.count * parts_of(units, each)) {
            const Place to = work.places[d_bias];
            return {Factor::one, 0, 1, 0, 0, sums, to.data ? address<T>(to) : nullptr};
        }
        const bool states = number >= of_inputs;
        const Groups &groups = states ? of_h : of_x;
        const std::ptrdiff_t all = states ? units : features, own = states ? number - of_inputs : number;
        const std::ptrdiff_t group = own / parts_of(all, each), first = own % parts_of(all, each) * each;
        const std::ptrdiff_t column = groups.column(group), width = groups.column(group + 1) - column;
        const Place to = work.places[states ? d_recurrent_kernel : d_kernel];
        return {states ? Factor::h : Factor::x, first, std::min(each, all - first), group, column, width, to.data ? address<T>(to) + first * sums + column : nullptr};
    }

    bool all_finite(const Part &part) const {
        std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t> other = 0;  // as wide as an element: in vectors
        for (std::ptrdiff_t i = 0; i < part.count; ++i)
            for (std::ptrdiff_t j = i * sums; j < i * sums + part.width; ++j) other |= part.gradient[j] - part.gradient[j] != 0;
        return other == 0;
    }

    // Of some parts, block by block: d_z of a block is in the cache for all of them. An element is the same sum in any company.
    class Sum {
    public:
        Sum(const KernelGradientOp &op_, const Work &work_, std::ptrdiff_t first_, std::ptrdiff_t count, bool careful_)
            : op(op_), work(work_), product(work_.weights->product<T>()), begin_part(first_), end_part(first_ + count), careful(careful_) {}

        bool run() {
            const Place z = work.places[d_z], keep = work.places[mask];
            const std::ptrdiff_t rows = work.rows, timesteps = work.timesteps;
            for (std::ptrdiff_t i = begin_part; i < end_part; ++i)
                if (const Part part = op.part_of(work, i); part.gradient)
                    for (std::ptrdiff_t k = 0; k < part.count; ++k) std::memset(part.gradient + k * op.sums, 0, std::size_t(part.width) * sizeof(T));
            for (std::ptrdiff_t i = 0; i < op.sums; ++i) totals[i] = 0;
            evenly = !keep.data && op.vectors == 1 && (rows == 1 || timesteps == 1 || z.row == timesteps * z.time);
            apart = timesteps > 1 ? z.time : z.row;
            const Place inputs = work.places[x];
            const bool x_evenly = !keep.data && op.vectors == 1 && (rows == 1 || timesteps == 1 || inputs.row == timesteps * inputs.time);
            x_as_it_lies = x_evenly && !work.places[input_dropout].data && !careful;
            x_apart = timesteps > 1 ? inputs.time : inputs.row;
            for (std::ptrdiff_t row = 0; row < rows; ++row) {
                const auto kept = [&](std::ptrdiff_t at) { return !keep.data || *address<std::uint8_t>(keep, row, at); };
                for (std::ptrdiff_t t = 0, end = 0, before = -1; t < timesteps; t = end) {
                    end = t + 1;
                    if (!kept(t)) continue;
                    const std::ptrdiff_t most = op.vectors > 1 ? 1 : block - filled;
                    while (end < timesteps && end - t < most && kept(end)) ++end;
                    if (!(op.vectors > 1 ? take_vectors(row, t) : take({row, t, end - t, before}, 0))) return false;
                    before = end - 1;
                }
            }
            return filled == 0 || flush();
        }

    private:
        bool take_vectors(std::ptrdiff_t row, std::ptrdiff_t t) {
            for (std::ptrdiff_t v = 0, run = 0; v < op.vectors; v += run) {
                run = std::min(op.vectors - v, block - filled);
                if (!take({row, t, run, v}, v)) return false;
            }
            return true;
        }

        // A segment that fits into the block.
        bool take(const Segment &segment, std::ptrdiff_t v) {
            const Place z = work.places[d_z];
            const T *const from = address<T>(z, segment.row, segment.t) + v * op.sums;
            if (filled == 0) begin = from, begin_x = address<T>(work.places[x], segment.row, segment.t);
            if (!evenly) product.copy(segment.count, op.sums, from, op.vectors > 1 ? op.sums : z.time, b + filled * op.sums, op.sums);
            segments[known++] = segment, filled += segment.count;
            return filled < block || flush();
        }

        bool flush() {
            for (std::ptrdiff_t i = begin_part; i < end_part; ++i)
                if (const Part part = op.part_of(work, i); part.gradient) add(part);
            filled = known = 0;
            return !work.stop.asked(work.stop.self);
        }

        // gradient := gradient + a' . d_z of the block
        void add(const Part &part) const {
            const T *const z = (evenly ? begin : b) + part.column;
            const std::ptrdiff_t z_stride = evenly ? apart : op.sums;
            if (part.factor == Factor::x && x_as_it_lies)
                return product.accumulate(filled, part.count, part.width, begin_x + part.first, x_apart, z, z_stride, part.gradient, op.sums, workspace);
            T *to = a;
            for (std::ptrdiff_t i = 0; i < known; to += segments[i++].count * part.count) gather(part, segments[i], to);
            for (std::ptrdiff_t i = 0; careful && i < filled; ++i)  // x is left out where d_z is zero: it may be NaN, which times 0 is NaN
                if (all_zeros(z + i * z_stride, part.width)) std::memset(a + i * part.count, 0, std::size_t(part.count) * sizeof(T));
            if (part.factor == Factor::one) return add_to_totals(part, z, z_stride);
            product.accumulate(filled, part.count, part.width, a, part.count, z, z_stride, part.gradient, op.sums, workspace);
        }

        void add_to_totals(const Part &part, const T *z, std::ptrdiff_t z_stride) const {
            for (std::ptrdiff_t first = 0; first < filled; first += terms) {
                std::fill_n(sum, op.sums, T(0));
                product.accumulate(std::min(terms, filled - first), 1, op.sums, a + first, 1, z + first * z_stride, z_stride, sum, op.sums, workspace);
                for (std::ptrdiff_t i = 0; i < op.sums; ++i) totals[i] += double(sum[i]);
            }
            for (std::ptrdiff_t i = 0; i < op.sums; ++i) part.gradient[i] = T(totals[i]);
        }

        void gather(const Part &part, const Segment &s, T *to) const {
            if (part.factor == Factor::one) {
                std::fill_n(to, s.count, T(1));
                return;
            }
            if (op.vectors > 1) {
                const T *const from = address<T>(work.places[x], s.row, s.t) + s.before * op.features + part.first;
                product.copy(s.count, part.count, from, op.features, to, part.count);
                return;
            }
            const bool states = part.factor == Factor::h;
            const Groups &groups = states ? op.of_h : op.of_x;
            const Place made = work.places[between];
            if (states && made.data && part.group == groups.count - 1) {
                product.copy(s.count, part.count, address<T>(made, s.row, s.t) + part.first, made.time, to, part.count);
                return;
            }
            const Place factors = work.places[states ? recurrent_dropout : input_dropout];
            const std::ptrdiff_t of_gate = groups.by_gate ? part.group * (states ? op.units : op.features) : 0;
            const T *const factor = factors.data ? address<T>(factors, s.row, 0) + part.first + of_gate : nullptr;
            const auto put = [&](std::ptrdiff_t count, const T *from, std::ptrdiff_t apart_, T *at) {
                if (factor)
                    product.multiply(count, part.count, from + part.first, apart_, factor, 0, at, part.count);
                else
                    product.copy(count, part.count, from + part.first, apart_, at, part.count);
            };
            const Place inputs = work.places[x], begun = work.places[initial], known_h = work.places[outputs];
            if (!states) return put(s.count, address<T>(inputs, s.row, s.t), inputs.time, to);
            if (s.before >= 0)  // the first h is what is known before; each other one is the output before it
                put(1, address<T>(known_h, s.row, s.before), 0, to);
            else if (begun.data)
                put(1, address<T>(begun, s.row, 0), 0, to);
            else
                std::memset(to, 0, std::size_t(part.count) * sizeof(T));
            put(s.count - 1, address<T>(known_h, s.row, s.t), known_h.time, to + part.count);
        }

        const KernelGradientOp &op;
        const Work &work;
        const Product<T> &product;
        const std::ptrdiff_t begin_part, end_part;
        const bool careful;
        Segment *const segments = static_cast<Segment *>(work.scratch);
        double *const totals = reinterpret_cast<double *>(segments + block);  // (sums): of the bias
        T *const sum = reinterpret_cast<T *>(totals + op.sums);               // (sums)
        T *const a = sum + op.sums;                                           // (block, count)
        T *const b = a + block * height(work.weights);         // (block, sums), where d_z is not evenly apart
        T *const workspace = b + block * op.sums;
        bool evenly = false;         // whether d_z is: all of its rows in a block are this far apart
        std::ptrdiff_t apart = 0;
        const T *begin = nullptr;    // of d_z in a block
        bool x_as_it_lies = false;   // whether x is multiplied where it is: its rows are as evenly apart, and no dropout changes them
        std::ptrdiff_t x_apart = 0;
        const T *begin_x = nullptr;
        std::ptrdiff_t filled = 0;   // of a block
        std::ptrdiff_t known = 0;    // segments
    };

    const std::ptrdiff_t features, units, sums;  // units: 0 without a recurrent kernel
    const std::ptrdiff_t vectors;                // of a row's timestep
    const Groups of_x, of_h;
};

// out := the sum over rows and timesteps, and over all axes of a timestep but one. Each part has some places of that.
template <class T> class BatchSumOp final : public Op {
public:
    enum : int { x, out };

    BatchSumOp(std::ptrdiff_t width_, Axis axis_) : width(width_), axis(axis_) {}

    bool over_batch() const override { return true; }
    std::ptrdiff_t parts(const Prepared *) const override { return (axis.length + places - 1) / places; }
    double multiply_adds(const Prepared *) const override { return double(width); }

    bool run(const Work &work) const noexcept override {
        constexpr std::ptrdiff_t block = 64;  // terms of a sum, so few that little is rounded away; the totals are in double precision
        const std::ptrdiff_t first = work.part * places, count = std::min(places, axis.length - first), inner = axis.inner;
        T *const to = address<T>(work.places[out]) + first;
        double total[places]{};
        T sum[places]{};
        std::ptrdiff_t filled = 0;
        const auto flush = [&] {
            for (std::ptrdiff_t i = 0; i < count; ++i) total[i] += double(sum[i]), sum[i] = 0;
            filled = 0;
        };
        for (std::ptrdiff_t row = 0; row < work.rows; ++row) {
            if (work.stop.asked(work.stop.self)) return false;
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t)
                for (std::ptrdiff_t v = 0; v < width; v += axis.length * inner) {
                    const T *const from = address<T>(work.places[x], row, t) + v + first * inner;
                    if (inner == 1)
                        for (std::ptrdiff_t i = 0; i < count; ++i) sum[i] += from[i];
                    else
                        for (std::ptrdiff_t i = 0; i < count; ++i) sum[i] += along_inner(from + i * inner);
                    if (++filled == block) flush();
                }
        }
        flush();
        for (std::ptrdiff_t i = 0; i < count; ++i) to[i] = T(total[i]);
        return true;
    }

private:
    static constexpr std::ptrdiff_t places = 128;  // of a part

    T along_inner(const T *from) const {
        double sum{};
        for (std::ptrdiff_t i = 0; i < axis.inner; ++i) sum += double(from[i]);
        return T(sum);
    }

    const std::ptrdiff_t width;
    const Axis axis;
};

}  // namespace cyrnn
