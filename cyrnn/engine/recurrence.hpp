// The recurrence: all timesteps of one slice of the batch.
//
//   h_t = activation(x_t . kernel + h_{t-1} . recurrent_kernel + bias)
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "contract.hpp"

namespace cyrnn {

template <class T> class Recurrence {
public:
    // Bytes of scratch for a slice of so many rows.
    static std::ptrdiff_t scratch_bytes(const Product<T> &product, const Weights<T> &weights, std::ptrdiff_t rows) {
        const std::ptrdiff_t elements = rows * (weights.features + 4 * weights.units) +
                                        projected(product, rows) * weights.units +
                                        product.workspace(&weights, at_once(product, rows));
        return elements * std::ptrdiff_t(sizeof(T)) + rows * std::ptrdiff_t(sizeof(std::ptrdiff_t)) + rows;
    }

    Recurrence(const Product<T> &product_, const Weights<T> &weights_, const Sequences<T> &call_, std::ptrdiff_t first_,
               std::ptrdiff_t last, void *scratch)
        : product(product_), weights(weights_), call(call_), first(first_), rows(last - first_),
          features(weights.features), units(weights.units), live(static_cast<std::ptrdiff_t *>(scratch)),
          now(reinterpret_cast<T *>(live + rows)), then(now + rows * units), picked_h(then + rows * units),
          result(picked_h + rows * units), picked_x(result + rows * units), projection(picked_x + rows * features),
          workspace(projection + projected(product, rows) * units),
          seen(reinterpret_cast<std::uint8_t *>(workspace + product.workspace(&weights, at_once(product, rows)))) {}

    void run(Stop stop) {
        // Timesteps between two questions whether to stop: a few milliseconds of work, but not each short step.
        const double work = double(rows) * double(units) * double(weights.depth);
        stretch = work > 1e8 ? 1 : work > 1.6e6 ? std::ptrdiff_t(1e8 / work) : 64;
        load_state();
        const bool plain = !call.mask && !call.input_dropout && !call.recurrent_dropout && call.x_feature == 1;
        if (!(plain ? run_plain(stop) : run_picked(stop))) return;
        if (call.last_output) emit(call.timesteps - 1, call.last_output, call.last_output_batch);
        if (call.state)
            for (std::ptrdiff_t row = 0; row < rows; ++row) copy(now + row * units, units, call.state + (first + row) * units);
    }

private:
    static constexpr std::ptrdiff_t few = 3;     // rows up to which projecting ahead pays
    static constexpr std::ptrdiff_t ahead = 48;  // timesteps
    // Rows of `projection`; a smaller slice, as the last one may be, needs no more than this.
    static std::ptrdiff_t projected(const Product<T> &product, std::ptrdiff_t rows) {
        return product.project ? (rows < few ? rows : few) * ahead : 0;
    }
    // The most rows that go into a product.
    static std::ptrdiff_t at_once(const Product<T> &product, std::ptrdiff_t rows) {
        return product.project && rows < ahead ? ahead : rows;
    }

    // ---- nothing but the equation: every row at every timestep, inputs where they are

    // The outputs are the states where they are kept; else two blocks take turns.
    bool run_plain(Stop stop) {
        const bool project = product.project && rows <= few;
        const T *h = now;
        std::ptrdiff_t h_stride = units;
        for (std::ptrdiff_t t = 0; t < call.timesteps; ++t) {
            if (t % stretch == stretch - 1 && stop.asked(stop.self)) return false;
            if (project && t % ahead == 0) project_from(t);
            T *out = then;
            std::ptrdiff_t out_stride = units;
            if (call.outputs) {
                out = call.outputs + first * call.outputs_batch + t * call.outputs_time;
                out_stride = call.outputs_batch;
            } else if (project) {
                for (std::ptrdiff_t row = 0; row < rows; ++row)
                    copy(projection + (row * ahead + t % ahead) * units, units, then + row * units);
            }
            const T *const x = call.x + first * call.x_batch + t * call.x_time;
            const Step<T> step{rows, x, call.x_batch, h, h_stride, out, out_stride, project, call.batch == 1};
            product.step(&weights, &step, workspace);
            if (!call.outputs) std::swap(now, then);
            h = out, h_stride = out_stride;
        }
        if (call.outputs && call.timesteps > 0)
            for (std::ptrdiff_t row = 0; row < rows; ++row) copy(h + row * h_stride, units, now + row * units);
        return true;
    }

    // x . kernel of the timesteps from t on: where the outputs will be, else in projection (rows, ahead, units)
    void project_from(std::ptrdiff_t t) {
        const std::ptrdiff_t count = call.timesteps - t < ahead ? call.timesteps - t : ahead;
        for (std::ptrdiff_t row = 0; row < rows; ++row) {
            const T *const x = call.x + (first + row) * call.x_batch + t * call.x_time;
            if (call.outputs)
                product.project(&weights, count, x, call.x_time,
                                call.outputs + (first + row) * call.outputs_batch + t * call.outputs_time,
                                call.outputs_time, workspace);
            else
                product.project(&weights, count, x, call.x_time, projection + row * ahead * units, units, workspace);
        }
    }

    // ---- with a mask, dropout, or features apart: the rows that are alive at a timestep are picked, and put back when
    // others are alive. Those that are masked are not computed at all, so no NaN leaks from them.

    bool run_picked(Stop stop) {
        std::ptrdiff_t count = 0;
        for (std::ptrdiff_t t = 0; t < call.timesteps; ++t) {
            if (t % stretch == stretch - 1 && stop.asked(stop.self)) return false;
            count = drop(t, count);
            if (count < alive(t)) {  // others woke up
                put_back(count);
                count = pick(t);
            }
            const bool x_as_it_is = count == rows && !call.input_dropout && call.x_feature == 1;
            for (std::ptrdiff_t i = 0; i < count && !x_as_it_is; ++i) {
                const std::ptrdiff_t row = first + live[i];
                take(call.x + row * call.x_batch + t * call.x_time, call.x_feature,
                     call.input_dropout ? call.input_dropout + row * features : nullptr, features, picked_x + i * features);
            }
            const T *const h = call.recurrent_dropout ? dropped(count) : picked_h;
            const T *const x = x_as_it_is ? call.x + first * call.x_batch + t * call.x_time : picked_x;
            const std::ptrdiff_t x_stride = x_as_it_is ? call.x_batch : features;
            const Step<T> step{count, x, x_stride, h, units, result, units, false, call.batch == 1};
            if (count > 0) product.step(&weights, &step, workspace);
            std::swap(picked_h, result);
            if (call.outputs) emit_picked(t, count);
        }
        put_back(count);
        return true;
    }

    std::ptrdiff_t alive(std::ptrdiff_t t) const {
        std::ptrdiff_t count = 0;
        for (std::ptrdiff_t row = 0; row < rows; ++row) count += !masked(row, t);
        return count;
    }

    // Puts the picked rows that are masked at t back; the others close up. Returns how many are left.
    std::ptrdiff_t drop(std::ptrdiff_t t, std::ptrdiff_t count) {
        std::ptrdiff_t kept = 0;
        for (std::ptrdiff_t i = 0; i < count; ++i) {
            if (masked(live[i], t)) {
                copy(picked_h + i * units, units, now + live[i] * units);
            } else {
                if (kept < i) copy(picked_h + i * units, units, picked_h + kept * units);
                live[kept++] = live[i];
            }
        }
        return kept;
    }

    // picked_h := h_{t-1} of the rows that are alive at t; live := which they are
    std::ptrdiff_t pick(std::ptrdiff_t t) {
        std::ptrdiff_t count = 0;
        for (std::ptrdiff_t row = 0; row < rows; ++row) {
            if (masked(row, t)) continue;
            copy(now + row * units, units, picked_h + count * units);
            seen[row] = 1;
            live[count++] = row;
        }
        return count;
    }

    void put_back(std::ptrdiff_t count) {
        for (std::ptrdiff_t i = 0; i < count; ++i) copy(picked_h + i * units, units, now + live[i] * units);
    }

    // h_{t-1} after dropout; the state that is carried stays whole
    const T *dropped(std::ptrdiff_t count) {
        for (std::ptrdiff_t i = 0; i < count; ++i)
            take(picked_h + i * units, 1, call.recurrent_dropout + (first + live[i]) * units, units, then + i * units);
        return then;
    }

    void emit_picked(std::ptrdiff_t t, std::ptrdiff_t count) {
        T *const out = call.outputs + first * call.outputs_batch + t * call.outputs_time;
        for (std::ptrdiff_t i = 0, row = 0; row < rows; ++row)
            if (i < count && live[i] == row)
                copy(picked_h + i++ * units, units, out + row * call.outputs_batch);
            else if (call.zero_output_for_mask || !seen[row])
                zero(out + row * call.outputs_batch, units);
            else
                copy(now + row * units, units, out + row * call.outputs_batch);
    }

    static void take(const T *from, std::ptrdiff_t stride, const T *factors, std::ptrdiff_t count, T *to) {
        if (factors)
            for (std::ptrdiff_t i = 0; i < count; ++i) to[i] = from[i * stride] * factors[i];
        else if (stride == 1)
            copy(from, count, to);
        else
            for (std::ptrdiff_t i = 0; i < count; ++i) to[i] = from[i * stride];
    }

    // ---- states and outputs

    static void copy(const T *from, std::ptrdiff_t count, T *to) {
        std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(T));
    }
    static void zero(T *to, std::ptrdiff_t count) { std::memset(to, 0, static_cast<std::size_t>(count) * sizeof(T)); }

    bool masked(std::ptrdiff_t row, std::ptrdiff_t t) const {
        return call.mask && !call.mask[(first + row) * call.mask_batch + t * call.mask_time];
    }

    // now := initial_state, or zeros
    void load_state() {
        std::memset(seen, call.mask == nullptr, static_cast<std::size_t>(rows));
        if (call.initial_state)
            copy(call.initial_state + first * units, rows * units, now);
        else
            zero(now, rows * units);
    }

    // out := h_t. A masked row repeats its last output, which is zeros before its first unmasked step.
    void emit(std::ptrdiff_t t, T *out, std::ptrdiff_t out_batch) {
        for (std::ptrdiff_t row = 0; row < rows; ++row)
            if (masked(row, t) && (call.zero_output_for_mask || !seen[row]))
                zero(out + (first + row) * out_batch, units);
            else
                copy(now + row * units, units, out + (first + row) * out_batch);
    }

    const Product<T> &product;
    const Weights<T> &weights;
    const Sequences<T> &call;
    const std::ptrdiff_t first, rows, features, units;
    std::ptrdiff_t stretch = 1;
    std::ptrdiff_t *const live;  // (rows): which rows were picked
    T *now, *then;               // (rows, units): h_{t-1}, and where h_t may go
    T *picked_h, *result;        // (rows, units): h_{t-1} of the rows that were picked, and h_t
    T *const picked_x;           // (rows, features)
    T *const projection;         // (few, ahead, units)
    T *const workspace;          // the product's own
    std::uint8_t *const seen;    // (rows): has there been an unmasked step?
};

}  // namespace cyrnn
