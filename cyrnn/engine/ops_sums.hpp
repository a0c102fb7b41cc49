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
        return block * std::ptrdiff_t(sizeof(Segment) + sizeof(Terms<T>)) + sums * std::ptrdiff_t(sizeof(double)) +
               (sums + block * height(p) + space) * std::ptrdiff_t(sizeof(T));
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
    static constexpr std::ptrdiff_t terms_of_bias = 64;  // of a sum, so few that little is rounded away: the totals are in double precision

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
            const Place keep = work.places[mask];
            const std::ptrdiff_t rows = work.rows, timesteps = work.timesteps;
            for (std::ptrdiff_t i = begin_part; i < end_part; ++i)
                if (const Part part = op.part_of(work, i); part.gradient)
                    for (std::ptrdiff_t k = 0; k < part.count; ++k) std::memset(part.gradient + k * op.sums, 0, std::size_t(part.width) * sizeof(T));
            for (std::ptrdiff_t i = 0; i < op.sums; ++i) totals[i] = 0;
            for (std::ptrdiff_t row = 0; row < rows; ++row) {
                const auto kept = [&](std::ptrdiff_t at) { return !keep.data || *address<std::uint8_t>(keep, row, at); };
                for (std::ptrdiff_t t = 0, end = 0, before = -1; t < timesteps; t = end) {
                    end = t + 1;
                    if (!kept(t)) continue;
                    const std::ptrdiff_t most = op.vectors > 1 ? 1 : block - filled;
                    while (end < timesteps && end - t < most && kept(end)) ++end;
                    if (!(op.vectors > 1 ? take_vectors(row, t) : take({row, t, end - t, before}))) return false;
                    before = end - 1;
                }
            }
            return filled == 0 || flush();
        }

    private:
        bool take_vectors(std::ptrdiff_t row, std::ptrdiff_t t) {
            for (std::ptrdiff_t v = 0, run = 0; v < op.vectors; v += run) {
                run = std::min(op.vectors - v, block - filled);
                if (!take({row, t, run, v})) return false;
            }
            return true;
        }

        // A segment that fits into the block.
        bool take(const Segment &segment) {
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
        void add(const Part &part) {
            if (part.factor == Factor::one) return add_to_totals(part);
            begin_terms(part);
            for (std::ptrdiff_t i = 0; i < known; ++i)
                if (part.factor == Factor::x)
                    add_inputs(part, segments[i]);
                else
                    add_states(part, segments[i]);
            product.accumulate(terms, some, part.count, part.width, a_stride, z_stride, part.gradient, op.sums, workspace);
        }

        void add_to_totals(const Part &part) {
            static constexpr T one = 1;
            std::ptrdiff_t summed = 0;
            const auto flush_sum = [&] {
                std::fill_n(sum, op.sums, T(0));
                product.accumulate(terms, some, 1, op.sums, 0, z_stride, sum, op.sums, workspace);
                for (std::ptrdiff_t i = 0; i < op.sums; ++i) totals[i] += double(sum[i]);
                summed = some = 0;
            };
            begin_terms(part);
            a_stride = 0;
            for (std::ptrdiff_t i = 0; i < known; ++i)
                for (std::ptrdiff_t first = 0, taken = 0; first < segments[i].count; first += taken) {
                    taken = std::min(segments[i].count - first, terms_of_bias - summed);
                    add_terms(part, segments[i], first, taken, &one);
                    if ((summed += taken) == terms_of_bias) flush_sum();
                }
            if (summed > 0) flush_sum();
            for (std::ptrdiff_t i = 0; i < op.sums; ++i) part.gradient[i] = T(totals[i]);
        }

        void add_inputs(const Part &part, const Segment &s) {
            const Place inputs = work.places[x];
            const T *const from = address<T>(inputs, s.row, s.t) + part.first;
            if (op.vectors > 1) return add_terms(part, s, 0, s.count, from + s.before * op.features);
            add_terms(part, s, 0, s.count, dropped(part, s, s.count, from, inputs.time));
        }

        // The first h is what is known before, if anything is; each other one is the output before it.
        void add_states(const Part &part, const Segment &s) {
            const Place begun = work.places[initial], known_h = work.places[outputs], made = work.places[between];
            if (made.data && part.group == op.of_h.count - 1)
                return add_terms(part, s, 0, s.count, address<T>(made, s.row, s.t) + part.first);
            if (s.before >= 0 || begun.data) {
                const T *const first = s.before >= 0 ? address<T>(known_h, s.row, s.before) : address<T>(begun, s.row, 0);
                add_terms(part, s, 0, 1, dropped(part, s, 1, first + part.first, 0));
            }
            if (s.count > 1)
                add_terms(part, s, 1, s.count - 1, dropped(part, s, s.count - 1, address<T>(known_h, s.row, s.t) + part.first, known_h.time));
        }

        // The rows where they lie, or with their dropout factors.
        const T *dropped(const Part &part, const Segment &s, std::ptrdiff_t count, const T *from, std::ptrdiff_t apart) {
            const Place factors = factors_of(part);
            if (!factors.data) return from;
            const std::ptrdiff_t of_gate = groups_of(part).by_gate ? part.group * (part.factor == Factor::h ? op.units : op.features) : 0;
            T *const to = a + made_rows * part.count;
            product.multiply(count, part.count, from, apart, address<T>(factors, s.row, 0) + part.first + of_gate, 0, to, part.count);
            made_rows += count;
            return to;
        }

        const Groups &groups_of(const Part &part) const { return part.factor == Factor::h ? op.of_h : op.of_x; }

        Place factors_of(const Part &part) const {
            const bool of_made = part.factor == Factor::h && work.places[between].data && part.group == op.of_h.count - 1;
            return of_made ? Place{} : work.places[part.factor == Factor::h ? recurrent_dropout : input_dropout];
        }

        void begin_terms(const Part &part) {
            const Place z = work.places[d_z], rows = part.factor == Factor::h ? work.places[outputs] : work.places[x];
            some = made_rows = 0;
            a_stride = op.vectors > 1 ? op.features : work.timesteps > 1 ? rows.time : rows.row;
            if (part.factor == Factor::h && work.places[between].data && part.group == op.of_h.count - 1) a_stride = work.places[between].time;
            if (factors_of(part).data) a_stride = part.count;
            z_stride = op.vectors > 1 ? op.sums : work.timesteps > 1 ? z.time : z.row;
        }

        // Rows of a for the d_z of a segment from `first` on: with the terms before, where they follow them.
        void add_terms(const Part &part, const Segment &s, std::ptrdiff_t first, std::ptrdiff_t count, const T *rows) {
            const T *z = address<T>(work.places[d_z], s.row, s.t) + (op.vectors > 1 ? s.before : 0) * op.sums + first * z_stride + part.column;
            if (!careful) return follow(rows, z, count);
            for (std::ptrdiff_t i = 0; i < count; ++i, rows += a_stride, z += z_stride)  // where d_z is zero, x may be NaN, which times 0 is NaN
                if (!all_zeros(z, part.width)) follow(rows, z, 1);
        }

        void follow(const T *rows, const T *z, std::ptrdiff_t count) {
            Terms<T> *const last = terms + some - 1;
            if (some > 0 && last->a + last->count * a_stride == rows && last->b + last->count * z_stride == z)
                last->count += count;
            else
                terms[some++] = {rows, z, count};
        }

        const KernelGradientOp &op;
        const Work &work;
        const Product<T> &product;
        const std::ptrdiff_t begin_part, end_part;
        const bool careful;
        Segment *const segments = static_cast<Segment *>(work.scratch);
        Terms<T> *const terms = reinterpret_cast<Terms<T> *>(segments + block);  // of a part
        double *const totals = reinterpret_cast<double *>(terms + block);        // (sums): of the bias
        T *const sum = reinterpret_cast<T *>(totals + op.sums);                  // (sums)
        T *const a = sum + op.sums;                                              // (block, count), where x or h have dropout factors
        T *const workspace = a + block * height(work.weights);
        std::ptrdiff_t filled = 0;  // of a block
        std::ptrdiff_t known = 0;   // segments
        std::ptrdiff_t some = 0, made_rows = 0, a_stride = 0, z_stride = 0;
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
