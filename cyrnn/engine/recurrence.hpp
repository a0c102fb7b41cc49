// The recurrence: all timesteps of one slice of the batch.
//
//   h_t = activation([x_t, h_{t-1}] . [kernel; recurrent_kernel] + bias)
//
// x_t and h_{t-1} go through one product. Were the products of several x_t one large product, as is usual, a BLAS would
// round its rows differently than the rows of a single step, and a sequence would have other bits than its steps taken
// one by one; and with the weights in the place where OpenBLAS packs them fastest, it gains nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "contract.hpp"

namespace cyrnn {

template <class T> class Recurrence {
public:
    // Elements of scratch for a slice of so many rows.
    static std::ptrdiff_t scratch_size(const Product<T> &product, const Weights<T> &weights, std::ptrdiff_t rows) {
        return rows * (3 * (weights.features + weights.units) + 1) + product.workspace(&weights, rows);
    }

    Recurrence(const Product<T> &product, const Weights<T> &weights, const Sequences<T> &call, std::ptrdiff_t first,
               std::ptrdiff_t last, T *scratch)
        : product(product), weights(weights), call(call), first(first), rows(last - first),
          features(weights.features), units(weights.units), width(features + units), now(scratch),
          then(now + rows * width), dropped(then + rows * width), workspace(dropped + rows * width),
          seen(reinterpret_cast<std::uint8_t *>(workspace + product.workspace(&weights, rows))) {}

    void run(Stop stop) {
        // Timesteps between two questions whether to stop: a few milliseconds of work, but not each short step.
        const double work = double(rows) * double(units) * double(weights.depth);
        const std::ptrdiff_t stretch = work > 1e8 ? 1 : work > 1.6e6 ? std::ptrdiff_t(1e8 / work) : 64;
        load_state();
        for (std::ptrdiff_t t = 0; t < call.timesteps; ++t) {
            if (t % stretch == stretch - 1 && stop.asked(stop.self)) return;
            load_inputs(t);
            product.run(&weights, rows, after_dropout(), then + features, workspace);
            weights.activate(then + features, width, weights.bias, rows, units);
            if (call.mask) keep_masked(t);
            if (call.outputs) emit(t, call.outputs + t * call.outputs_time, call.outputs_batch);
            std::swap(now, then);
        }
        if (call.last_output) emit(call.timesteps - 1, call.last_output, call.last_output_batch, now);
        if (call.state)
            for (std::ptrdiff_t row = 0; row < rows; ++row)
                copy(h(now, row), units, call.state + (first + row) * units);
    }

private:
    static void copy(const T *from, std::ptrdiff_t count, T *to) { std::memcpy(to, from, count * sizeof(T)); }
    static void zero(T *to, std::ptrdiff_t count) { std::memset(to, 0, count * sizeof(T)); }

    T *h(T *block, std::ptrdiff_t row) const { return block + row * width + features; }

    bool masked(std::ptrdiff_t row, std::ptrdiff_t t) const {
        return call.mask && !call.mask[(first + row) * call.mask_batch + t * call.mask_time];
    }

    // now[:, features:] := initial_state, or zeros
    void load_state() {
        std::memset(seen, call.mask == nullptr, rows);
        for (std::ptrdiff_t row = 0; row < rows; ++row)
            if (call.initial_state)
                copy(call.initial_state + (first + row) * units, units, h(now, row));
            else
                zero(h(now, row), units);
    }

    // now[:, :features] := x_t
    void load_inputs(std::ptrdiff_t t) {
        for (std::ptrdiff_t row = 0; row < rows; ++row) {
            const T *x = call.x + (first + row) * call.x_batch + t * call.x_time;
            if (call.x_feature == 1)
                copy(x, features, now + row * width);
            else
                for (std::ptrdiff_t i = 0; i < features; ++i) now[row * width + i] = x[i * call.x_feature];
        }
    }

    // `now` times the dropout factors [input | recurrent], or `now` itself; the state that is carried stays whole.
    const T *after_dropout() {
        if (!call.input_dropout && !call.recurrent_dropout) return now;
        copy(now, rows * width, dropped);
        for (std::ptrdiff_t row = 0; row < rows; ++row) {
            if (call.input_dropout) multiply(dropped + row * width, call.input_dropout + (first + row) * features, features);
            if (call.recurrent_dropout) multiply(h(dropped, row), call.recurrent_dropout + (first + row) * units, units);
        }
        return dropped;
    }

    static void multiply(T *values, const T *factors, std::ptrdiff_t count) {
        for (std::ptrdiff_t i = 0; i < count; ++i) values[i] *= factors[i];
    }

    // h_t := h_{t-1} in the rows that are masked at t. Selected, not multiplied: no NaN leaks from a masked step.
    void keep_masked(std::ptrdiff_t t) {
        for (std::ptrdiff_t row = 0; row < rows; ++row)
            if (masked(row, t))
                copy(h(now, row), units, h(then, row));
            else
                seen[row] = 1;
    }

    // out := h_t. A masked row repeats its last output, which is zeros before its first unmasked step.
    void emit(std::ptrdiff_t t, T *out, std::ptrdiff_t out_batch) { emit(t, out, out_batch, then); }
    void emit(std::ptrdiff_t t, T *out, std::ptrdiff_t out_batch, T *block) {
        for (std::ptrdiff_t row = 0; row < rows; ++row)
            if (masked(row, t) && (call.zero_output_for_mask || !seen[row]))
                zero(out + (first + row) * out_batch, units);
            else
                copy(h(block, row), units, out + (first + row) * out_batch);
    }

    const Product<T> &product;
    const Weights<T> &weights;
    const Sequences<T> &call;
    const std::ptrdiff_t first, rows, features, units, width;
    T *now;              // (rows, width): [x_t | h_{t-1}]
    T *then;             // (rows, width): [    | h_t    ]
    T *const dropped;    // (rows, width): `now` after dropout
    T *const workspace;  // the product's own
    std::uint8_t *const seen;  // (rows): has there been an unmasked step?
};

}  // namespace cyrnn
