// The ways back: the gradients of what the ops of ops_weighted.hpp compute. `d_y` is the gradient of a loss with respect to y.
//
//   forward                                     backward
//   z_t = (x_t o D) . W + (h_{t-1} o R) . V + b     d_x_t += (d_z_t . W') o D,   d_W += (x_t o D)' . d_z_t,   d_b += d_z_t
//   h_t = f(z_t), or what a cell makes of it        d_z_t = d_h_t f'(z_t),       d_V += (h_{t-1} o R)' . d_z_t
//                                                   d_h_{t-1} += (d_z_t . V') o R
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "op.hpp"
#include "ops_pointwise.hpp"

namespace cyrnn {

// d_z := d_y f'(saved); the slot has the activation.
template <class T> class ActivationGradientOp final : public Op {
public:
    enum : int { saved, d_y, d_z };

    ActivationGradientOp(std::ptrdiff_t width_, std::ptrdiff_t units_, Differentiate<T> differentiate_)
        : width(width_), units(units_), differentiate(differentiate_) {}

    double multiply_adds(const Prepared *) const override { return 4 * double(width); }

    bool run(const Work &work) const noexcept override {
        const Place from = work.places[saved], given = work.places[d_y], to = work.places[d_z];
        const Differentiate<T> function = differentiate ? differentiate : work.weights->weights<T>().back.differentiate;
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                T *const z = address<T>(to, row, t);
                std::memcpy(z, address<T>(given, row, t), std::size_t(width) * sizeof(T));
                if (all_zeros(z, width)) continue;
                function(address<T>(from, row, t), units, z, units, width / units, units);
            }
        return true;
    }

private:
    const std::ptrdiff_t width, units;  // of a row's timestep; of what is activated at once
    const Differentiate<T> differentiate;  // null: that of the weights
};

// From the last timestep of a recurrence to its first: all views are turned, so that the block's first timestep is the last.
// The weights are V' (sums of h, units), with the functions of the recurrence. Where nothing comes back to a step, as to one that a later
// layer masks, what is saved of it is not read: it may be NaN.
template <class T> class RecurrentGradientOp final : public Op {
public:
    // The first operands; after them come the gradients of the final states, and then of the initial ones.
    enum : int { saved, mask, recurrent_dropout, d_outputs, d_last_output, d_z, states };

    RecurrentGradientOp(std::ptrdiff_t saved_, std::ptrdiff_t sums_, std::ptrdiff_t count_, bool zero_output_for_mask_)
        : saved_width(saved_), sums(sums_), count(count_), zero_output_for_mask(zero_output_for_mask_) {}

    bool recurrent() const override { return true; }
    std::ptrdiff_t carried(const Prepared *p) const override { return states_of(p->weights<T>()) + p->weights<T>().units; }
    double multiply_adds(const Prepared *p) const override { return double(p->weights<T>().units) * double(p->weights<T>().depth); }
    bool fits(const Prepared *p) const override {
        const Weights<T> &w = p->weights<T>();
        const Cell<T> *const cell = w.back.cell;
        return p->single == (sizeof(T) == sizeof(float)) && p->engine && w.depth == w.features && w.back.differentiate &&
               count == (cell ? cell->states : 1) && saved_width == (cell ? cell->lines : 1) * w.units &&
               sums == (cell ? cell->d_lines * w.units : w.features) && first_of_h(w) + w.features <= sums;
    }
    std::ptrdiff_t scratch_bytes(const Prepared *p, std::ptrdiff_t rows, std::ptrdiff_t) const override {
        const Weights<T> &w = p->weights<T>();
        const std::ptrdiff_t elements = rows * (w.features + w.units) + p->product<T>().workspace(&w, rows) + 32;
        return elements * std::ptrdiff_t(sizeof(T)) + rows * std::ptrdiff_t(sizeof(std::ptrdiff_t));
    }

    bool run(const Work &work) const noexcept override {
        const Weights<T> &w = work.weights->weights<T>();
        const Place *const at = work.places;
        const std::ptrdiff_t rows = work.rows, units = w.units, of_states = states_of(w), of_h = w.features, h = first_of_h(w);
        const bool has_cell = w.back.cell;
        // The gradients of the states, h first, and d_o of an output that later timesteps repeat; and room for the next d_h.
        T *d_states = static_cast<T *>(work.state->now), *d_next = static_cast<T *>(work.state->then), *const d_o = d_states + rows * of_states;
        std::ptrdiff_t *const live = static_cast<std::ptrdiff_t *>(work.scratch);
        T *const picked_z = reinterpret_cast<T *>(live + rows), *const picked_h = picked_z + rows * of_h;
        T *const workspace = picked_h + rows * units;
        if (work.first) {
            for (std::ptrdiff_t row = 0; row < rows; ++row)
                for (std::ptrdiff_t s = 0; s < count; ++s) fill(at[states + s], row, units, d_states + row * of_states + s * units);
            std::memset(d_o, 0, std::size_t(rows * units) * sizeof(T));
        }
        T *const home = d_states;
        for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
            if (work.stop.asked(work.stop.self)) return false;
            std::ptrdiff_t alive = 0;
            for (std::ptrdiff_t row = 0; row < rows; ++row) {
                const T *const given = at[d_outputs].data ? address<T>(at[d_outputs], row, t) : nullptr;
                const T *const last = work.first && t == 0 && at[d_last_output].data ? address<T>(at[d_last_output], row, 0) : nullptr;
                T *const z = address<T>(at[d_z], row, t), *const o = d_o + row * units, *const d = d_states + row * of_states;
                if (at[mask].data && !*address<std::uint8_t>(at[mask], row, t)) {  // a masked step repeats the output before
                    if (zero_output_for_mask)
                        std::memset(o, 0, std::size_t(units) * sizeof(T));
                    else
                        add(given, last, units, o);
                    std::memset(z, 0, std::size_t(sums) * sizeof(T));
                    continue;
                }
                T *const total = has_cell ? d : z;  // of what comes back to the step
                if (given)
                    work.weights->product<T>().add(1, units, d, 0, given, 0, total, 0);
                else if (total != d)
                    std::memcpy(total, d, std::size_t(units) * sizeof(T));
                add(nullptr, last, units, total);
                if (at[mask].data) {
                    add(o, nullptr, units, total);
                    std::memset(o, 0, std::size_t(units) * sizeof(T));
                }
                if (total[0] == 0 && all_zeros(total, of_states)) {  // nothing does
                    std::memset(d, 0, std::size_t(units) * sizeof(T));
                    std::memset(z, 0, std::size_t(sums) * sizeof(T));
                    continue;
                }
                live[alive++] = row;
            }
            if (alive == 0) continue;
            const bool all = alive == rows && !at[recurrent_dropout].data;
            if (alive == rows)
                differentiate(work, d_states, 0, t, rows);
            else
                for (std::ptrdiff_t i = 0; i < alive; ++i) differentiate(work, d_states, live[i], t, 1);
            if (work.last && t == work.timesteps - 1 && !wants_initial(at)) break;  // no gradient is wanted before
            if (all) {
                multiply(work, rows, address<T>(at[d_z], 0, t) + h, at[d_z].row, d_next, workspace);
                if (has_cell)
                    work.weights->product<T>().add(rows, units, d_states, of_states, d_next, units, d_states, of_states);
                else
                    std::swap(d_states, d_next);
                continue;
            }
            for (std::ptrdiff_t i = 0; i < alive; ++i)
                std::memcpy(picked_z + i * of_h, address<T>(at[d_z], live[i], t) + h, std::size_t(of_h) * sizeof(T));
            multiply(work, alive, picked_z, of_h, picked_h, workspace);
            for (std::ptrdiff_t i = 0; i < alive; ++i) {
                const T *const from = picked_h + i * units;
                const T *const factors = at[recurrent_dropout].data ? address<T>(at[recurrent_dropout], live[i], 0) : nullptr;
                T *const to = d_states + live[i] * of_states;
                if (!has_cell) std::memset(to, 0, std::size_t(units) * sizeof(T));
                for (std::ptrdiff_t j = 0; j < units; ++j) to[j] += factors ? from[j] * factors[j] : from[j];
            }
        }
        if (d_states != home) std::memcpy(home, d_states, std::size_t(rows * of_states) * sizeof(T));
        for (std::ptrdiff_t s = 0; work.last && s < count; ++s)
            for (std::ptrdiff_t row = 0; at[states + count + s].data && row < rows; ++row)
                std::memcpy(address<T>(at[states + count + s], row, 0), home + row * of_states + s * units, std::size_t(units) * sizeof(T));
        return true;
    }

private:
    static std::ptrdiff_t states_of(const Weights<T> &w) { return (w.back.cell ? w.back.cell->states : 1) * w.units; }
    static std::ptrdiff_t first_of_h(const Weights<T> &w) { return w.back.cell ? w.back.cell->d_recurrent * w.units : 0; }

    bool wants_initial(const Place *at) const {
        bool wanted = false;
        for (std::ptrdiff_t s = 0; s < count; ++s) wanted |= at[states + count + s].data != nullptr;
        return wanted;
    }

    static void differentiate(const Work &work, T *d_states, std::ptrdiff_t row, std::ptrdiff_t t, std::ptrdiff_t rows) {
        const Differentiated<T> &functions = work.weights->weights<T>().back;
        const Place from = work.places[saved], to = work.places[d_z];
        const T *const before = address<T>(from, row, t);
        T *const z = address<T>(to, row, t);
        if (!functions.cell) return functions.differentiate(before, from.row, z, to.row, rows, functions.units);
        const std::ptrdiff_t of_states = functions.cell->states * functions.units;
        const StepBack<T> step{rows, before, from.row, d_states + row * of_states, of_states, z, to.row};
        functions.cell->back(&functions, &step);
    }

    static void fill(const Place &from, std::ptrdiff_t row, std::ptrdiff_t count, T *to) {
        if (from.data)
            std::memcpy(to, address<T>(from, row, 0), std::size_t(count) * sizeof(T));
        else
            std::memset(to, 0, std::size_t(count) * sizeof(T));
    }

    static void add(const T *a, const T *b, std::ptrdiff_t count, T *to) {
        if (a)
            for (std::ptrdiff_t j = 0; j < count; ++j) to[j] += a[j];
        if (b)
            for (std::ptrdiff_t j = 0; j < count; ++j) to[j] += b[j];
    }

    // d_h := d_z . V'
    static void multiply(const Work &work, std::ptrdiff_t rows, const T *z, std::ptrdiff_t z_stride, T *h, T *workspace) {
        const Weights<T> &w = work.weights->weights<T>();
        Step<T> step;
        step.rows = rows, step.x = step.h = z, step.x_stride = step.h_stride = z_stride;
        step.out = h, step.out_stride = w.units;
        work.weights->product<T>().step(&w, &step, workspace);
    }

    const std::ptrdiff_t saved_width, sums;  // of what is saved, and of d_z
    const std::ptrdiff_t count;              // of states
    const bool zero_output_for_mask;
};

// d_W := sum of (x_t o D)' . d_z_t over rows and timesteps, and d_V := that of (h_{t-1} o R)' . d_z_t, where h_{t-1} is the output
// of the last timestep that was not masked. What is masked may be NaN: it is not read, nor what meets zeros alone, as before a mask of
// a later layer. Of a dense layer there is d_W alone.
template <class T> class KernelGradientOp final : public Op {
public:
    enum : int { x, d_z, mask, input_dropout, recurrent_dropout, outputs, initial, d_kernel, d_recurrent_kernel };

    KernelGradientOp(std::ptrdiff_t features_, std::ptrdiff_t units_, std::ptrdiff_t sums_, std::ptrdiff_t vectors_)
        : features(features_), units(units_), sums(sums_), vectors(vectors_) {}

    bool over_batch() const override { return true; }
    std::ptrdiff_t parts(const Prepared *p) const override { return parts_of(features, height(p)) + parts_of(units, height(p)); }
    double multiply_adds(const Prepared *) const override { return double(vectors) * double(features + units) * double(sums); }
    bool fits(const Prepared *p) const override { return p->single == (sizeof(T) == sizeof(float)) && p->engine; }
    std::ptrdiff_t scratch_bytes(const Prepared *p, std::ptrdiff_t, std::ptrdiff_t) const override {
        const std::ptrdiff_t space = p->product<T>().accumulate_workspace(block, height(p), sums);
        return (block * (height(p) + sums) + space) * std::ptrdiff_t(sizeof(T));
    }

    bool run(const Work &work) const noexcept override {
        const std::ptrdiff_t each = height(work.weights), of_inputs = parts_of(features, each);
        const bool states = work.part >= of_inputs;
        const std::ptrdiff_t first = (states ? work.part - of_inputs : work.part) * each;
        const std::ptrdiff_t count = std::min(each, (states ? units : features) - first);
        const Place to = work.places[states ? d_recurrent_kernel : d_kernel];
        if (!to.data) return true;
        T *const gradient = address<T>(to) + first * sums;
        const auto run = [&](bool careful) {
            std::memset(gradient, 0, std::size_t(count * sums) * sizeof(T));
            return Sum{*this, work, states, first, count, careful, gradient}.run();
        };
        if (!run(false)) return false;
        return all_finite(gradient, count * sums) || run(true);
    }

private:
    static constexpr std::ptrdiff_t block = 256;  // rows and timesteps of a chain of multiply-adds

    static std::ptrdiff_t height(const Prepared *p) { return p->product<T>().accumulate_height; }
    static std::ptrdiff_t parts_of(std::ptrdiff_t count, std::ptrdiff_t each) { return (count + each - 1) / each; }

    static bool all_finite(const T *array, std::ptrdiff_t count) {
        bool other = false;
        for (std::ptrdiff_t i = 0; i < count; ++i) other |= array[i] - array[i] != 0;
        return !other;
    }

    struct Sum {  // for some rows of a kernel
        const KernelGradientOp &op;
        const Work &work;
        const bool states;
        const std::ptrdiff_t first, count;
        const bool careful;  // whether x is left out where d_z is zero: it may be NaN, which times 0 is NaN
        T *const gradient;
        T *const a = static_cast<T *>(work.scratch);                   // (block, count)
        T *const b = a + block * height(work.weights);                 // (block, sums), where d_z is not evenly apart
        T *const workspace = b + block * op.sums;

        bool run() {
            const Place z = work.places[d_z], keep = work.places[mask];
            const std::ptrdiff_t rows = work.rows, timesteps = work.timesteps;
            evenly = !keep.data && op.vectors == 1 && (rows == 1 || timesteps == 1 || z.row == timesteps * z.time);
            apart = timesteps > 1 ? z.time : z.row;
            for (std::ptrdiff_t row = 0; row < rows; ++row) {
                const T *before = states && work.places[initial].data ? address<T>(work.places[initial], row, 0) : nullptr;
                for (std::ptrdiff_t t = 0, end = 0; t < timesteps; t = end) {
                    const auto kept = [&](std::ptrdiff_t at) { return !keep.data || *address<std::uint8_t>(keep, row, at); };
                    end = t + 1;
                    if (!kept(t)) continue;
                    const std::ptrdiff_t most = op.vectors > 1 ? 1 : block - filled;
                    while (end < timesteps && end - t < most && kept(end)) ++end;
                    const bool done = op.vectors > 1 ? take_vectors(row, t) : take(row, t, end - t, before);
                    if (!done) return false;
                    if (states) before = address<T>(work.places[outputs], row, end - 1);
                }
            }
            return filled == 0 || flush();
        }

        bool evenly = false;         // whether d_z is: all of its rows in a block are this far apart
        std::ptrdiff_t apart = 0;
        const T *begin = nullptr;    // of d_z in a block
        std::ptrdiff_t filled = 0;   // of a block

        // Timesteps of a row, which fit into the block.
        bool take(std::ptrdiff_t row, std::ptrdiff_t t, std::ptrdiff_t run, const T *before) {
            const Place from = work.places[states ? outputs : x];
            T *to = a + filled * count;
            if (states) {  // the first of them follows what is known before; each other one its own output before
                if (before)
                    gather(1, before + first, 0, to);
                else
                    std::memset(to, 0, std::size_t(count) * sizeof(T));
                gather(run - 1, address<T>(from, row, t) + first, from.time, to + count);
            } else {
                gather(run, address<T>(from, row, t) + first, from.time, to);
            }
            const Place factors = work.places[states ? recurrent_dropout : input_dropout];
            for (std::ptrdiff_t k = 0; factors.data && k < run; ++k, to += count)
                for (std::ptrdiff_t i = 0; i < count; ++i) to[i] *= address<T>(factors, row, 0)[first + i];
            return take_sums(address<T>(work.places[d_z], row, t), work.places[d_z].time, run);
        }

        bool take_vectors(std::ptrdiff_t row, std::ptrdiff_t t) {
            for (std::ptrdiff_t v = 0, run = 0; v < op.vectors; v += run) {
                run = std::min(op.vectors - v, block - filled);
                gather(run, address<T>(work.places[x], row, t) + v * op.features + first, op.features, a + filled * count);
                if (!take_sums(address<T>(work.places[d_z], row, t) + v * op.sums, op.sums, run)) return false;
            }
            return true;
        }

        bool take_sums(const T *z, std::ptrdiff_t z_stride, std::ptrdiff_t run) {
            if (filled == 0) begin = z;
            if (!evenly) work.weights->product<T>().gather(run, op.sums, z, z_stride, b + filled * op.sums);
            filled += run;
            return filled < block || flush();
        }

        void gather(std::ptrdiff_t rows, const T *from, std::ptrdiff_t stride, T *to) const {
            work.weights->product<T>().gather(rows, count, from, stride, to);
        }

        bool flush() {
            const T *const z = evenly ? begin : b;
            const std::ptrdiff_t z_stride = evenly ? apart : op.sums;
            for (std::ptrdiff_t i = 0; careful && i < filled; ++i)
                if (all_zeros(z + i * z_stride, op.sums)) std::memset(a + i * count, 0, std::size_t(count) * sizeof(T));
            work.weights->product<T>().accumulate(filled, count, op.sums, a, z, z_stride, gradient, op.sums, workspace);
            filled = 0;
            return !work.stop.asked(work.stop.self);
        }
    };

    const std::ptrdiff_t features, units, sums;  // units: 0 without a recurrent kernel
    const std::ptrdiff_t vectors;                // of a row's timestep
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
