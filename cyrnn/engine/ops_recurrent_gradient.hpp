// The ways back through a recurrence, but for the gradients of its weights: see the head of ops_gradient.hpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "op.hpp"
#include "timestep.hpp"

namespace cyrnn {

// From the last timestep of a recurrence to its first: all views are turned, so that the block's first timestep is the last.
// The weights are V' (sums of h, units), with the functions of the recurrence. They are in parts where some gates have an h of their
// own: because of dropout factors for each, or because of what the cell makes of h for its second product. Where nothing comes back to
// a step, as to one that a later layer masks, what is saved of it is not read: it may be NaN.
template <class T> class RecurrentGradientOp final : public Op {
public:
    // The first operands; after them come the gradients of the final states, and then of the initial ones.
    enum : int { saved, mask, recurrent_dropout, d_outputs, d_last_output, d_z, states };

    RecurrentGradientOp(std::ptrdiff_t saved_, std::ptrdiff_t sums_, std::ptrdiff_t count_, std::ptrdiff_t factors_, bool zero_output_for_mask_)
        : saved_width(saved_), sums(sums_), count(count_), factors(factors_), zero_output_for_mask(zero_output_for_mask_) {}

    bool recurrent() const override { return true; }
    std::ptrdiff_t carried(const Prepared *p) const override { return states_of(p->weights<T>()) + p->weights<T>().units; }
    double multiply_adds(const Prepared *p) const override { return double(p->weights<T>().units) * double(p->weights<T>().depth); }
    bool fits(const Prepared *p) const override {
        const Weights<T> &w = p->weights<T>();
        const Cell<T> *const cell = w.back.cell;
        const std::ptrdiff_t lines = cell ? cell->lines + (w.back.of_sums || w.back.gates_of_sums ? cell->gates : 0) : 1;
        const std::ptrdiff_t gates = w.features / std::max<std::ptrdiff_t>(w.units, 1);
        const bool by_gate = factors > w.units;
        return p->single == (sizeof(T) == sizeof(float)) && p->engine && w.depth == w.features && w.back.differentiate &&
               count == (cell ? cell->states : 1) && saved_width == lines * w.units &&
               sums == (cell ? cell->d_lines * w.units : w.features) && first_of_h(w) + w.features <= sums &&
               (factors == 0 || factors == (by_gate ? w.features : w.units)) &&
               w.part_count == (by_gate ? gates : cell && cell->back_between ? 2 : 0);
    }
    std::ptrdiff_t scratch_bytes(const Prepared *p, std::ptrdiff_t rows, std::ptrdiff_t) const override {
        const Weights<T> &w = p->weights<T>();
        const std::ptrdiff_t elements = rows * (w.features + w.units) + most_workspace(p, rows) + 32;
        return elements * std::ptrdiff_t(sizeof(T)) + rows * std::ptrdiff_t(sizeof(std::ptrdiff_t));
    }

    bool run(const Work &work) const noexcept override { return Walk(*this, work).run(); }

    // Elements of workspace that the products of so many rows need, in any form.
    static std::ptrdiff_t most_workspace(const Prepared *p, std::ptrdiff_t rows) {
        return p->most<T>([&](const Product<T> &product) { return workspace_of(product, p->weights<T>(), rows); });
    }

private:
    static std::ptrdiff_t states_of(const Weights<T> &w) { return (w.back.cell ? w.back.cell->states : 1) * w.units; }
    static std::ptrdiff_t first_of_h(const Weights<T> &w) { return w.back.cell ? w.back.cell->d_recurrent * w.units : 0; }

    static constexpr std::ptrdiff_t cache_line = 64 / std::ptrdiff_t(sizeof(T));
    static constexpr std::ptrdiff_t foreseen = 1024 / std::ptrdiff_t(sizeof(T));  // elements from which on the CPU knows where a row goes
    static constexpr std::ptrdiff_t cached = 1 << 19;  // bytes of a sequence of all rows, which a second-level cache holds

    struct Walk {
        const RecurrentGradientOp &op;
        const Work &work;
        const Weights<T> &w = work.weights->weights<T>();
        const Product<T> &product = work.weights->product<T>();
        const Cell<T> *const cell = w.back.cell;
        const Place *const at = work.places;
        const std::ptrdiff_t rows = work.rows, units = w.units, of_states = states_of(w);
        // The gradients of the states, h first, and d_o of an output that later timesteps repeat; and room for the next d_h.
        T *d_states = static_cast<T *>(work.state->now), *d_next = static_cast<T *>(work.state->then);
        T *const home = d_states, *const d_o = d_states + rows * of_states;
        std::ptrdiff_t *const live = static_cast<std::ptrdiff_t *>(work.scratch);  // the rows to which something comes back
        T *const picked_z = reinterpret_cast<T *>(live + rows), *const picked_h = picked_z + rows * w.features;
        T *const workspace = picked_h + rows * units;
        std::ptrdiff_t alive = 0;

        Walk(const RecurrentGradientOp &op_, const Work &work_) : op(op_), work(work_) {}

        bool run() {
            if (work.first) begin();
            const bool far = rows * work.timesteps * (units + op.saved_width + op.sums) * std::ptrdiff_t(sizeof(T)) > cached;
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                if (work.stop.asked(work.stop.self)) return false;
                alive = 0;
                if (!at[mask].data) take(0, t, rows);
                for (std::ptrdiff_t row = 0; row < rows; ++row)
                    if (comes_back(row, t)) live[alive++] = row;
                if (alive == 0) continue;
                each_run(&Walk::differentiate, t);
                if (cell && cell->back_between) pass_between(t);
                if (work.last && t == work.timesteps - 1 && !wants_initial()) break;  // no gradient is wanted before
                if (far && t + 1 < work.timesteps) fetch(t + 1);
                pass_states(t);
            }
            end();
            return true;
        }

        // The rows of a timestep lie far from each other, where no CPU expects them: they are fetched while the products before are
        // computed. Inlined, because a compiler may leave out the calls of a function that only fetches.
        [[gnu::always_inline]] void fetch(std::ptrdiff_t t) const {
            for (std::ptrdiff_t row = 0; row < rows; ++row) {
                if (at[d_outputs].data) fetch_line<0>(given(row, t), units);
                fetch_line<0>(address<T>(at[saved], row, t), op.saved_width);
                fetch_line<1>(address<T>(at[d_z], row, t), op.sums);
            }
        }

        template <int written> [[gnu::always_inline]] static void fetch_line(const T *from, std::ptrdiff_t count) {
            constexpr int second_level = 2;
            for (std::ptrdiff_t i = 0; i < count && i < foreseen; i += cache_line) __builtin_prefetch(from + i, written, second_level);
        }

        void begin() const {
            for (std::ptrdiff_t row = 0; row < rows; ++row)
                for (std::ptrdiff_t s = 0; s < op.count; ++s) {
                    T *const to = d_states + row * of_states + s * units;
                    if (at[states + s].data)
                        copy(address<T>(at[states + s], row, 0), units, to);
                    else
                        clear(to, units);
                }
            clear(d_o, rows * units);
        }

        void end() const {
            if (d_states != home) copy(d_states, rows * of_states, home);
            for (std::ptrdiff_t s = 0; work.last && s < op.count; ++s)
                for (std::ptrdiff_t row = 0; at[states + op.count + s].data && row < rows; ++row)
                    copy(home + row * of_states + s * units, units, address<T>(at[states + op.count + s], row, 0));
        }

        // The gradients of the outputs that are given for a row's timestep; null where there are none.
        const T *given(std::ptrdiff_t row, std::ptrdiff_t t) const { return at[d_outputs].data ? address<T>(at[d_outputs], row, t) : nullptr; }
        const T *last_given(std::ptrdiff_t row, std::ptrdiff_t t) const {
            return work.first && t == 0 && at[d_last_output].data ? address<T>(at[d_last_output], row, 0) : nullptr;
        }

        // What comes back to a timestep of rows that are not masked there, into their gradients of the states, or for no cell into d_z.
        void take(std::ptrdiff_t row, std::ptrdiff_t t, std::ptrdiff_t count) const {
            T *const d = d_states + row * of_states, *const total = cell ? d : address<T>(at[d_z], row, t);
            const std::ptrdiff_t stride = cell ? of_states : at[d_z].row;
            if (const T *const d_y = given(row, t))
                product.add(count, units, d, of_states, d_y, at[d_outputs].row, total, stride);
            else if (!cell)
                product.copy(count, units, d, of_states, total, stride);
            if (last_given(row, t))
                for (std::ptrdiff_t i = 0; i < count; ++i) add(last_given(row + i, t), nullptr, units, total + i * stride);
        }

        // Whether anything comes back to a row's timestep. Where there is a mask, what does is taken here.
        bool comes_back(std::ptrdiff_t row, std::ptrdiff_t t) const {
            T *const z = address<T>(at[d_z], row, t), *const d = d_states + row * of_states, *const total = cell ? d : z;
            if (at[mask].data) {
                T *const o = d_o + row * units;
                if (!*address<std::uint8_t>(at[mask], row, t)) {  // it repeats the output before
                    if (op.zero_output_for_mask)
                        clear(o, units);
                    else
                        add(given(row, t), last_given(row, t), units, o);
                    clear(z, op.sums);
                    return false;
                }
                take(row, t, 1);
                add(o, nullptr, units, total);
                clear(o, units);
            }
            if (total[0] != 0 || !all_zeros(total, of_states)) return true;
            clear(d, units);
            clear(z, op.sums);
            return false;
        }

        // All rows at once, or one after the other those to which something comes back.
        void each_run(void (Walk::*f)(std::ptrdiff_t row, std::ptrdiff_t t, std::ptrdiff_t count) const, std::ptrdiff_t t) const {
            if (alive == rows) return (this->*f)(0, t, rows);
            for (std::ptrdiff_t i = 0; i < alive; ++i) (this->*f)(live[i], t, 1);
        }

        void differentiate(std::ptrdiff_t row, std::ptrdiff_t t, std::ptrdiff_t count) const {
            const StepBack<T> step = step_back(row, t, count);
            if (cell) return cell->back(&w.back, &step);
            w.back.differentiate(step.saved, step.saved_stride, step.d_sums, step.d_sums_stride, count, units);
        }

        void differentiate_between(std::ptrdiff_t row, std::ptrdiff_t t, std::ptrdiff_t count) const {
            const StepBack<T> step = step_back(row, t, count);
            cell->back_between(&w.back, &step);
        }

        StepBack<T> step_back(std::ptrdiff_t row, std::ptrdiff_t t, std::ptrdiff_t count) const {
            return {count, address<T>(at[saved], row, t), at[saved].row, d_states + row * of_states, of_states, address<T>(at[d_z], row, t),
                    at[d_z].row};
        }

        // Through the second product, of the last gate, and what the cell has made for it.
        void pass_between(std::ptrdiff_t t) const {
            const std::ptrdiff_t line = cell->d_between * units, last = w.part_count - 1;
            multiply(w.parts[last], w.features - units, t, picked_h);
            drop(picked_h, last);
            for (std::ptrdiff_t i = 0; i < alive; ++i) copy(picked_h + i * units, units, address<T>(at[d_z], live[i], t) + line);
            each_run(&Walk::differentiate_between, t);
        }

        // d_h_{t-1} += the sum of d_z_t . V' over the parts
        void pass_states(std::ptrdiff_t t) {
            const std::ptrdiff_t parts = w.part_count - (cell && cell->back_between ? 1 : 0);
            if (w.part_count == 0) {
                if (!cell && alive == rows) {
                    multiply(w, 0, t, d_next);
                    drop(d_next, 0);
                    std::swap(d_states, d_next);
                    return;
                }
                multiply(w, 0, t, picked_h);
                drop(picked_h, 0);
                return add_to_states();
            }
            for (std::ptrdiff_t part = 0, first = 0; part < parts; first += w.parts[part++].features) {
                multiply(w.parts[part], first, t, picked_h);
                drop(picked_h, part);
                add_to_states();
            }
        }

        // out := some of the gradients of the sums of h . V', side by side
        void multiply(const Weights<T> &part, std::ptrdiff_t first, std::ptrdiff_t t, T *out) const {
            Step<T> step;
            step.rows = alive, step.x_stride = at[d_z].row;
            first += first_of_h(w);
            if (alive == rows) {
                step.x = address<T>(at[d_z], 0, t) + first;
            } else {
                for (std::ptrdiff_t i = 0; i < alive; ++i) copy(address<T>(at[d_z], live[i], t) + first, part.features, picked_z + i * part.features);
                step.x = picked_z, step.x_stride = part.features;
            }
            step.h = step.x, step.h_stride = step.x_stride;
            step.out = out, step.out_stride = units;
            work.weights->product<T>(work.nominal_batch).step(&part, &step, workspace);
        }

        // d o R, in place
        void drop(T *d, std::ptrdiff_t part) const {
            if (!at[recurrent_dropout].data) return;
            const std::ptrdiff_t gate = op.factors > units ? part : 0;
            const auto drop_run = [&](std::ptrdiff_t i, std::ptrdiff_t length) {
                const T *const factors_of = address<T>(at[recurrent_dropout], live[i], 0) + gate * units;
                product.multiply(length, units, d + i * units, units, factors_of, at[recurrent_dropout].row, d + i * units, units);
            };
            if (alive == rows) return drop_run(0, rows);
            for (std::ptrdiff_t i = 0; i < alive; ++i) drop_run(i, 1);
        }

        void add_to_states() const {
            if (cell && alive == rows) return product.add(rows, units, d_states, of_states, picked_h, units, d_states, of_states);
            for (std::ptrdiff_t i = 0; i < alive; ++i) {
                T *const to = d_states + live[i] * of_states;
                if (!cell) clear(to, units);
                add(picked_h + i * units, nullptr, units, to);
            }
        }

        bool wants_initial() const {
            bool wanted = false;
            for (std::ptrdiff_t s = 0; s < op.count; ++s) wanted |= at[states + op.count + s].data != nullptr;
            return wanted;
        }

        static void copy(const T *from, std::ptrdiff_t count, T *to) { std::memcpy(to, from, std::size_t(count) * sizeof(T)); }
        static void clear(T *to, std::ptrdiff_t count) { std::memset(to, 0, std::size_t(count) * sizeof(T)); }

        static void add(const T *a, const T *b, std::ptrdiff_t count, T *to) {
            if (a)
                for (std::ptrdiff_t j = 0; j < count; ++j) to[j] += a[j];
            if (b)
                for (std::ptrdiff_t j = 0; j < count; ++j) to[j] += b[j];
        }
    };

    const std::ptrdiff_t saved_width, sums;  // of what is saved, and of d_z
    const std::ptrdiff_t count;              // of states
    const std::ptrdiff_t factors;            // the width of the dropout factors; 0 where there are none
    const bool zero_output_for_mask;
};

// d_x_t := the sum of (d_z_t . W') o D over gates with factors of their own. The weights are W', in a part for each gate.
template <class T> class InputGradientOp final : public Op {
public:
    enum : int { d_z, factors, d_x };

    InputGradientOp(std::ptrdiff_t features_, std::ptrdiff_t sums_, std::ptrdiff_t gates_) : features(features_), sums(sums_), gates(gates_) {}

    double multiply_adds(const Prepared *) const override { return double(features) * double(sums); }
    bool fits(const Prepared *p) const override {
        const Weights<T> &w = p->weights<T>();
        return p->single == (sizeof(T) == sizeof(float)) && p->engine && w.features == sums && w.units == features && w.part_count == gates;
    }
    std::ptrdiff_t scratch_bytes(const Prepared *p, std::ptrdiff_t rows, std::ptrdiff_t) const override {
        return (rows * features + RecurrentGradientOp<T>::most_workspace(p, rows)) * std::ptrdiff_t(sizeof(T));
    }

    bool run(const Work &work) const noexcept override {
        const Weights<T> &w = work.weights->weights<T>();
        const Place from = work.places[d_z], to = work.places[d_x];
        T *const of_gate = static_cast<T *>(work.scratch), *const workspace = of_gate + work.rows * features;
        for (std::ptrdiff_t t = 0; t < work.timesteps; ++t)
            for (std::ptrdiff_t gate = 0, first = 0; gate < gates; first += w.parts[gate++].features) {
                Step<T> step;
                step.rows = work.rows, step.x = step.h = address<T>(from, 0, t) + first, step.x_stride = step.h_stride = from.row;
                step.out = of_gate, step.out_stride = features;
                work.weights->product<T>(work.nominal_batch).step(&w.parts[gate], &step, workspace);
                for (std::ptrdiff_t row = 0; row < work.rows; ++row) {
                    const T *const d = of_gate + row * features, *const factor = address<T>(work.places[factors], row, 0) + gate * features;
                    T *const x = address<T>(to, row, t);
                    for (std::ptrdiff_t k = 0; k < features; ++k) x[k] = gate == 0 ? d[k] * factor[k] : x[k] + d[k] * factor[k];
                }
            }
        return true;
    }

private:
    const std::ptrdiff_t features, sums, gates;
};

}  // namespace cyrnn
