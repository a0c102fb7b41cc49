// One timestep of a recurrence: its products, which an engine computes, and what its cell makes of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "contract.hpp"

namespace cyrnn {

// Elements of workspace that the products of so many rows need.
template <class T>
inline std::ptrdiff_t workspace_of(const Product<T> &product, const Weights<T> &weights, std::ptrdiff_t rows) {
    std::ptrdiff_t most = product.workspace(&weights, rows);
    if (weights.second) most = std::max(most, product.workspace(weights.second, rows));
    for (std::ptrdiff_t i = 0; i < weights.part_count; ++i) most = std::max(most, product.workspace(&weights.parts[i], rows));
    return most;
}

// What a cell makes of its first product.
template <class T>
inline void conclude(const Product<T> &product, const Weights<T> &weights, const Step<T> &step, T *workspace) {
    const Cell<T> *const cell = weights.cell;
    if (weights.second) {
        Step<T> second;
        second.rows = step.rows, second.alone = step.alone, second.turned = step.turned;
        second.x = step.h, second.x_stride = 0;
        second.h = step.h, second.h_stride = step.h_stride;
        if (cell->between) {
            cell->between(&weights, &step);
            second.h = step.out, second.h_stride = step.out_stride;
        }
        second.out = step.sums + cell->second * weights.units, second.out_stride = step.sums_stride;
        product.step(weights.second, &second, workspace);
    }
    cell->finish(&weights, &step);
    for (std::ptrdiff_t row = 0; step.outputs && row < step.rows; ++row)
        std::memcpy(step.outputs_row(row), step.out + row * step.out_stride, std::size_t(weights.units) * sizeof(T));
}

template <class T>
inline void advance(const Product<T> &product, const Weights<T> &weights, const Step<T> &step, T *workspace) {
    product.step(&weights, &step, workspace);
    if (weights.cell) conclude(product, weights, step, workspace);
}

}  // namespace cyrnn
