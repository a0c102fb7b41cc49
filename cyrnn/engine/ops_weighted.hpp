// The ops that have weights: recurrences, dense layers, embeddings.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "op.hpp"
#include "recurrence.hpp"

namespace cyrnn {

// An op of weights (features, units), and (depth, ...) for an engine. A table has none.
template <class T> class WeightedOp : public Op {
public:
    WeightedOp(std::ptrdiff_t features_, std::ptrdiff_t units_, std::ptrdiff_t depth_) : features(features_), units(units_), depth(depth_) {}

    bool fits(const Prepared *p) const override {
        const Weights<T> &w = p->weights<T>();
        return p->single == (sizeof(T) == sizeof(float)) && p->engine && w.features == features && w.units == units && w.depth == depth;
    }

private:
    const std::ptrdiff_t features, units, depth;
};

// SimpleRNN as a cell, which saves what it activates.
template <class T> struct Activating {
    static void finish(const Weights<T> *weights, const Step<T> *step) {
        weights->add_bias(step->sums, step->sums_stride, weights->bias, step->rows, weights->units);
        for (std::ptrdiff_t i = 0; i < step->rows; ++i)
            for (T *const to : {step->out + i * step->out_stride, step->saved_row(i)})
                std::memcpy(to, step->sums + i * step->sums_stride, std::size_t(weights->units) * sizeof(T));
        weights->activate(step->out, step->out_stride, nullptr, step->rows, weights->units);
    }
};

template <class T> constexpr Cell<T> activating{1, 1, 0, 1, 1, 1, 1, 0, 0, nullptr, Activating<T>::finish, nullptr, nullptr};

template <class T> class RecurrentOp final : public WeightedOp<T> {
public:
    // The first operands; after them come the states that it begins with, and then those that it ends with.
    enum : int { x, mask, input_dropout, recurrent_dropout, outputs, last_output, sums, states };

    RecurrentOp(std::ptrdiff_t features_, std::ptrdiff_t units_, std::ptrdiff_t count_, std::ptrdiff_t lines_, bool zero_output_for_mask_,
                std::ptrdiff_t of_inputs_, std::ptrdiff_t of_states_)
        : WeightedOp<T>(features_, units_, features_ + units_), count(count_), lines(lines_), of_inputs(of_inputs_), of_states(of_states_),
          zero_output_for_mask(zero_output_for_mask_) {}

    std::ptrdiff_t scratch_bytes(const Prepared *p, std::ptrdiff_t rows, std::ptrdiff_t timesteps) const override {
        const auto given = [this](int operand) { return this->operands[std::size_t(operand)].view >= 0; };
        const bool picks = given(mask) || given(input_dropout) || given(recurrent_dropout);
        return p->most<T>([&](const Product<T> &product) { return Recurrence<T>::scratch_bytes(product, weights_of(p), rows, timesteps, picks); });
    }
    std::ptrdiff_t carried(const Prepared *p) const override { return p->weights<T>().carried; }
    bool fits(const Prepared *p) const override {
        const Weights<T> &w = p->weights<T>();
        const auto has = [&w](std::ptrdiff_t factors, std::ptrdiff_t each) {
            return factors == each || (factors == w.gates * each && w.part_count == w.gates);
        };
        return WeightedOp<T>::fits(p) && count * w.units <= w.carried && (lines < 0 || lines == w.sums_row()) &&
               has(of_inputs, w.features) && has(of_states, w.units);
    }
    bool recurrent() const override { return true; }
    bool shares_timesteps(const Prepared *p, std::ptrdiff_t nominal_batch) const override {
        return SharedRow<T>::pays(p->product<T>(nominal_batch), weights_of(p));
    }
    double multiply_adds(const Prepared *p) const override {
        const Weights<T> &w = p->weights<T>();
        return double(w.sums()) * double(w.depth) + (w.second ? double(w.units) * double(w.units) : 0);
    }

    bool run(const Work &work) const noexcept override {
        Weights<T> changed;
        const Weights<T> &weights = saves_alone(work.weights) ? changed = weights_of(work.weights) : work.weights->weights<T>();
        const Place *const at = work.places;
        Record<T> record{static_cast<T *>(work.state->now), static_cast<T *>(work.state->then), work.state->seen};
        if (work.first) begin(work, weights, record);
        Block<T> block{};
        block.rows = work.rows, block.timesteps = work.timesteps;
        block.x = address<T>(at[x]), block.x_row = at[x].row, block.x_time = at[x].time;
        block.mask = address<std::uint8_t>(at[mask]), block.mask_row = at[mask].row, block.mask_time = at[mask].time;
        block.zero_output_for_mask = zero_output_for_mask;
        block.input_dropout = address<T>(at[input_dropout]), block.input_dropout_row = at[input_dropout].row;
        block.recurrent_dropout = address<T>(at[recurrent_dropout]), block.recurrent_dropout_row = at[recurrent_dropout].row;
        block.inputs_by_gate = block.input_dropout && of_inputs != weights.features;
        block.states_by_gate = block.recurrent_dropout && of_states != weights.units;
        block.multiply = work.weights->product<T>().multiply;
        block.outputs = address<T>(at[outputs]), block.outputs_row = at[outputs].row, block.outputs_time = at[outputs].time;
        block.sums = address<T>(at[sums]), block.sums_row = at[sums].row, block.sums_time = at[sums].time;
        if (work.last) block.last_output = address<T>(at[last_output]), block.last_output_row = at[last_output].row;
        block.alone = work.nominal_batch == 1;
        const Product<T> &product = work.weights->product<T>(work.nominal_batch);
        std::optional<SharedRow<T>> shared;
        if (work.crew && SharedRow<T>::pays(product, weights)) shared.emplace(*work.crew, *work.weights, product, weights, block.alone);
        const bool done = Recurrence<T>::run(product, weights, block, record, work.scratch, work.stop, shared ? &*shared : nullptr);
        work.state->now = record.now, work.state->then = record.then;
        if (done && work.last) end(work, weights, record);
        return done;
    }

private:
    // Whether sums are kept where there is no cell.
    bool saves_alone(const Prepared *p) const { return this->operands[std::size_t(sums)].view >= 0 && !p->weights<T>().cell; }

    Weights<T> weights_of(const Prepared *p) const {
        Weights<T> weights = p->weights<T>();
        if (saves_alone(p)) weights.cell = &activating<T>;
        return weights;
    }

    // A record has the states one after another, each of as many elements as there are units.
    void begin(const Work &work, const Weights<T> &weights, Record<T> &record) const {
        const std::size_t bytes = std::size_t(weights.units) * sizeof(T);
        std::memset(record.seen, 0, std::size_t(work.rows));
        for (std::ptrdiff_t s = 0; s * weights.units < weights.carried; ++s) {
            const Place from = s < count ? work.places[states + s] : Place{};
            T *to = record.now + s * weights.units;
            for (std::ptrdiff_t row = 0; row < work.rows; ++row, to += weights.carried)
                if (from.data)
                    std::memcpy(to, address<T>(from) + row * from.row, bytes);
                else
                    std::memset(to, 0, bytes);
        }
    }

    void end(const Work &work, const Weights<T> &weights, const Record<T> &record) const {
        const std::size_t bytes = std::size_t(weights.units) * sizeof(T);
        for (std::ptrdiff_t s = 0; s < count; ++s) {
            const Place to = work.places[states + count + s];
            if (!to.data) continue;
            const T *from = record.now + s * weights.units;
            for (std::ptrdiff_t row = 0; row < work.rows; ++row, from += weights.carried)
                std::memcpy(address<T>(to) + row * to.row, from, bytes);
        }
    }

    const std::ptrdiff_t count;  // of states that are given or asked for
    const std::ptrdiff_t lines;  // the width of `sums`; -1 where it is not asked for
    const std::ptrdiff_t of_inputs, of_states;  // widths of the dropout factors; where there are none, those of x and h
    const bool zero_output_for_mask;
};

// out := activation(x . kernel + bias) for each row, timestep, and what else lies before the last axis
template <class T> class DenseOp final : public WeightedOp<T> {
public:
    enum : int { x, out, sums };  // sums: what is activated, if that is asked for too

    DenseOp(std::ptrdiff_t features_, std::ptrdiff_t units_, std::ptrdiff_t vectors_)
        : WeightedOp<T>(features_, units_, features_), vectors(vectors_) {}

    std::ptrdiff_t scratch_bytes(const Prepared *p, std::ptrdiff_t rows, std::ptrdiff_t timesteps) const override {
        const double most = double(rows) * double(timesteps) * double(vectors);
        const std::ptrdiff_t together = most < double(at_once) ? std::ptrdiff_t(most) : at_once;
        return p->most<T>([&](const Product<T> &product) { return product.workspace(&p->weights<T>(), together); }) * std::ptrdiff_t(sizeof(T));
    }
    double multiply_adds(const Prepared *p) const override {
        return double(vectors) * double(p->weights<T>().units) * double(p->weights<T>().depth);
    }

    bool run(const Work &work) const noexcept override {
        if (!work.places[sums].data) return run(work, work.weights->weights<T>(), work.places[out]);
        Weights<T> weights = work.weights->weights<T>();
        const Activate<T> activate = std::exchange(weights.activate, weights.add_bias);
        weights.by_row = false;
        const Place before = work.places[sums], to = work.places[out];
        run(work, weights, before);
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                T *const activated = address<T>(to, row, t);
                std::memcpy(activated, address<T>(before, row, t), std::size_t(vectors * weights.units) * sizeof(T));
                activate(activated, weights.units, nullptr, vectors, weights.units);
            }
        return true;
    }

private:
    static constexpr std::ptrdiff_t at_once = 96;  // rows of a product: what the workspace is for

    bool run(const Work &work, const Weights<T> &weights, const Place &to) const {
        const Place from = work.places[x];
        const std::ptrdiff_t rows = work.rows, timesteps = work.timesteps;
        const bool any_shape = work.weights->product<T>().project;  // else the bits depend on it: it must not on the blocks
        if (vectors > 1) {
            for (std::ptrdiff_t row = 0; row < rows; ++row)
                for (std::ptrdiff_t t = 0; t < timesteps; ++t)
                    multiply(work, weights, vectors, address<T>(from) + row * from.row + t * from.time, weights.features,
                             address<T>(to) + row * to.row + t * to.time, weights.units);
        } else if (any_shape && rows == 1) {
            multiply(work, weights, timesteps, address<T>(from), from.time, address<T>(to), to.time);
        } else if (any_shape && from.row == timesteps * from.time && to.row == timesteps * to.time) {
            multiply(work, weights, rows * timesteps, address<T>(from), from.time, address<T>(to), to.time);
        } else if (any_shape && timesteps >= rows) {
            for (std::ptrdiff_t row = 0; row < rows; ++row)
                multiply(work, weights, timesteps, address<T>(from) + row * from.row, from.time, address<T>(to) + row * to.row, to.time);
        } else {
            for (std::ptrdiff_t t = 0; t < timesteps; ++t)
                multiply(work, weights, rows, address<T>(from) + t * from.time, from.row, address<T>(to) + t * to.time, to.row);
        }
        return true;
    }

    void multiply(const Work &work, const Weights<T> &weights, std::ptrdiff_t count, const T *from, std::ptrdiff_t from_stride, T *to,
                  std::ptrdiff_t to_stride) const {
        const Product<T> &product = work.weights->product<T>(work.nominal_batch);
        for (std::ptrdiff_t first = 0; first < count; first += at_once) {
            Step<T> step;
            step.rows = count - first < at_once ? count - first : at_once;
            step.x = from + first * from_stride, step.x_stride = from_stride;
            step.h = step.x, step.h_stride = from_stride;
            step.out = to + first * to_stride, step.out_stride = to_stride;
            product.step(&weights, &step, static_cast<T *>(work.scratch));
        }
    }

    const std::ptrdiff_t vectors;
};

// Rows of a table, `features` of `units` elements each. The caller has checked the tokens; of those that another thread has
// written since then the rows are NaN.
template <class T> class EmbeddingOp final : public Op {
public:
    enum : int { tokens, out };

    bool fits(const Prepared *p) const override {
        return p->single == (sizeof(T) == sizeof(float)) && !p->engine && p->weights<T>().units == units;
    }

    EmbeddingOp(std::ptrdiff_t units_, std::ptrdiff_t each_) : units(units_), each(each_) {}

    double multiply_adds(const Prepared *) const override { return multiply_adds_of_moving(double(each) * double(units)); }

    bool run(const Work &work) const noexcept override {
        const Weights<T> &weights = work.weights->weights<T>();
        const Place from = work.places[tokens], to = work.places[out];
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t)
                for (std::ptrdiff_t i = 0; i < each; ++i) {
                    const std::uint64_t token = std::uint64_t(address<std::int64_t>(from, row, t)[i]);
                    T *const line = address<T>(to, row, t) + i * units;
                    if (token < std::uint64_t(weights.features))
                        std::memcpy(line, weights.kernels + std::ptrdiff_t(token) * units, std::size_t(units) * sizeof(T));
                    else
                        std::fill_n(line, units, std::numeric_limits<T>::quiet_NaN());
                }
        return true;
    }

private:
    const std::ptrdiff_t units;
    const std::ptrdiff_t each;  // tokens of a row's timestep
};

// d_table := for each row the sum of d_y where it was looked up. Each part has some columns, and goes through all tokens in order.
// The sums for tokens that come often, as one that pads, are in double precision.
template <class T> class EmbeddingGradientOp final : public Op {
public:
    enum : int { tokens, d_y, d_table };

    EmbeddingGradientOp(std::ptrdiff_t table_, std::ptrdiff_t units_, std::ptrdiff_t each_) : table(table_), units(units_), each(each_) {}

    bool over_batch() const override { return true; }
    std::ptrdiff_t parts(const Prepared *) const override { return (units + columns - 1) / columns; }
    double multiply_adds(const Prepared *) const override { return double(each) * double(units); }
    std::ptrdiff_t scratch_bytes(const Prepared *, std::ptrdiff_t rows, std::ptrdiff_t timesteps) const override {
        const std::ptrdiff_t of_sums = rows * timesteps * each / often * columns * std::ptrdiff_t(sizeof(double));
        return of_sums + table * std::ptrdiff_t(sizeof(std::ptrdiff_t));
    }

    bool run(const Work &work) const noexcept override {
        const std::ptrdiff_t first = work.part * columns, count = columns < units - first ? columns : units - first;
        T *const gradient = address<T>(work.places[d_table]) + first;
        std::ptrdiff_t *const place = static_cast<std::ptrdiff_t *>(work.scratch);  // (table): of a token's sums, -1 where it is rare
        double *const sums = reinterpret_cast<double *>(place + table);
        std::fill_n(place, table, 0);
        if (!each_token(work, [&](std::ptrdiff_t token, const T *) { ++place[token]; })) return false;
        std::ptrdiff_t filled = 0;
        for (std::ptrdiff_t i = 0; i < table; ++i) {
            std::memset(gradient + i * units, 0, std::size_t(count) * sizeof(T));
            place[i] = place[i] < often ? -1 : columns * filled++;
        }
        std::fill_n(sums, columns * filled, 0.0);
        const bool done = each_token(work, [&](std::ptrdiff_t token, const T *d) {
            if (place[token] < 0)
                add(d + first, count, gradient + token * units);
            else
                add(d + first, count, sums + place[token]);
        });
        for (std::ptrdiff_t i = 0; i < table; ++i)
            for (std::ptrdiff_t k = 0; place[i] >= 0 && k < count; ++k) gradient[i * units + k] += T(sums[place[i] + k]);
        return done;
    }

private:
    static constexpr std::ptrdiff_t columns = 32;  // of a part
    static constexpr std::ptrdiff_t often = 256;   // terms of a sum

    template <class Sum> static void add(const T *d, std::ptrdiff_t count, Sum *to) {
        for (std::ptrdiff_t k = 0; k < count; ++k) to[k] += d[k];
    }

    // f(token, its d_y); false: it was stopped
    template <class F> bool each_token(const Work &work, F f) const {
        for (std::ptrdiff_t row = 0; row < work.rows; ++row) {
            if (work.stop.asked(work.stop.self)) return false;
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t)
                for (std::ptrdiff_t i = 0; i < each; ++i) {
                    const std::int64_t token = address<std::int64_t>(work.places[tokens], row, t)[i];
                    if (token < 0 || token >= table) continue;  // another thread has written it
                    f(std::ptrdiff_t(token), address<T>(work.places[d_y], row, t) + i * units);
                }
        }
        return true;
    }

    const std::ptrdiff_t table, units;  // rows of the table, and elements of each
    const std::ptrdiff_t each;          // tokens of a row's timestep
};

}  // namespace cyrnn
