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

}  // namespace cyrnn
