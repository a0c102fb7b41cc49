// Dropout of a recurrence: what a timestep of some rows reads instead of x and h.
#pragma once

#include <cstddef>
#include <cstring>

#include "contract.hpp"

namespace cyrnn {

template <class T> struct Dropped {
    const Weights<T> &weights;
    const Block<T> &block;
    const std::ptrdiff_t count;
    const std::ptrdiff_t *const rows;  // (count): which of the block's
    T *const x, *const h;              // (count, features) and (count, units): room for both after dropout

    // Whether each gate has an x, or an h, of its own.
    bool by_gate() const { return block.inputs_by_gate || block.states_by_gate; }

    // For all gates; h of the step is that of the records before it, which stay whole.
    void apply(Step<T> &step, std::ptrdiff_t t) const {
        if (block.input_dropout) step.x = inputs(t, 0), step.x_stride = weights.features, step.beside = nullptr;
        if (block.recurrent_dropout) step.h = states(step, 0);
    }

    // The product of each gate by itself. The last h stays that of the step: a second product is the last gate's.
    void multiply(const Product<T> &product, Step<T> &step, std::ptrdiff_t t, T *workspace) const {
        Step<T> one;
        one.rows = count, one.alone = block.alone;
        one.x = x, one.x_stride = weights.features;
        for (std::ptrdiff_t i = 0; !block.input_dropout && i < count; ++i)
            std::memcpy(x + i * weights.features, block.x + rows[i] * block.x_row + t * block.x_time, std::size_t(weights.features) * sizeof(T));
        for (std::ptrdiff_t gate = 0; gate < weights.part_count; ++gate) {
            if (block.input_dropout && (gate == 0 || block.inputs_by_gate)) inputs(t, gate);
            if (block.recurrent_dropout && (gate == 0 || block.states_by_gate)) step.h = states(step, gate);
            one.h = step.h, one.h_stride = step.h_stride;
            one.out = step.sums + gate * weights.units, one.out_stride = step.sums_stride;
            product.step(&weights.parts[gate], &one, workspace);
        }
    }

private:
    const T *inputs(std::ptrdiff_t t, std::ptrdiff_t gate) const {
        const std::ptrdiff_t width = weights.features;
        each_run([&](std::ptrdiff_t i, std::ptrdiff_t length) {
            block.multiply(length, width, block.x + rows[i] * block.x_row + t * block.x_time, block.x_row,
                           block.input_dropout + rows[i] * block.input_dropout_row + gate * width, block.input_dropout_row, x + i * width, width);
        });
        return x;
    }

    const T *states(const Step<T> &step, std::ptrdiff_t gate) const {
        const std::ptrdiff_t width = weights.units;
        each_run([&](std::ptrdiff_t i, std::ptrdiff_t length) {
            block.multiply(length, width, step.before + i * step.before_stride, step.before_stride,
                           block.recurrent_dropout + rows[i] * block.recurrent_dropout_row + gate * width, block.recurrent_dropout_row,
                           h + i * width, width);
        });
        return h;
    }

    // The rows at once where they follow each other, or one by one: f(first, count).
    template <class F> void each_run(F f) const {
        std::ptrdiff_t following = 0;
        while (following < count && rows[following] == rows[0] + following) ++following;
        if (following == count) return f(0, count);
        for (std::ptrdiff_t i = 0; i < count; ++i) f(i, 1);
    }
};

}  // namespace cyrnn
