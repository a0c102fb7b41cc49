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

}  // namespace cyrnn
