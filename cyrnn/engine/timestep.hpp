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

// The second product of a cell, which multiplies h, or what the cell has made of it in the records after.
template <class T> inline Step<T> second_step(const Weights<T> &weights, const Step<T> &step) {
    Step<T> second;
    second.rows = step.rows, second.alone = step.alone, second.turned = step.turned;
    second.x = step.h, second.x_stride = 0;
    second.h = step.h, second.h_stride = step.h_stride;
    if (weights.cell->between) second.h = step.out, second.h_stride = step.out_stride;
    second.out = step.sums + weights.cell->second * weights.units, second.out_stride = step.sums_stride;
    return second;
}

template <class T>
inline void multiply_second(const Product<T> &product, const Weights<T> &weights, const Step<T> &step, T *workspace) {
    const Step<T> second = second_step(weights, step);
    product.step(weights.second, &second, workspace);
}

// What a cell makes of its products.
template <class T> inline void finish(const Weights<T> &weights, const Step<T> &step) {
    weights.cell->finish(&weights, &step);
    for (std::ptrdiff_t row = 0; step.outputs && row < step.rows; ++row)
        std::memcpy(step.outputs_row(row), step.out + row * step.out_stride, std::size_t(weights.units) * sizeof(T));
}

// What a cell makes of its first product.
template <class T>
inline void conclude(const Product<T> &product, const Weights<T> &weights, const Step<T> &step, T *workspace) {
    if (weights.second) {
        if (weights.cell->between) weights.cell->between(&weights, &step);
        multiply_second(product, weights, step, workspace);
    }
    finish(weights, step);
}

template <class T>
inline void advance(const Product<T> &product, const Weights<T> &weights, const Step<T> &step, T *workspace) {
    product.step(&weights, &step, workspace);
    if (weights.cell) conclude(product, weights, step, workspace);
}

}  // namespace cyrnn
