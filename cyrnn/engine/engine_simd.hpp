// The simd engine: products by weights that were packed once, in the widest vectors of this CPU. Bits of its results
// do not depend on how a batch is cut, so slices are small enough for many cores, and large enough to share a panel
// that has come to the cache.
#pragma once

#include "contract.hpp"

namespace cyrnn {
namespace engine_simd {

inline std::ptrdiff_t slice_rows(std::ptrdiff_t batch) { return batch < 128 ? 16 : batch < 1024 ? 32 : 96; }
inline void nothing() {}

template <class T> std::ptrdiff_t no_workspace(const Weights<T> *, std::ptrdiff_t) { return 0; }

template <class T>
void run(const Weights<T> *weights, std::ptrdiff_t rows, const T *inputs, T *h, T *) {
    const std::ptrdiff_t width = weights->features + weights->units;
    weights->multiply(rows, weights->units, weights->depth, inputs, width, weights->panels, h, width);
}

}  // namespace engine_simd

inline const Engine simd_engine{engine_simd::slice_rows,
                                engine_simd::nothing,
                                engine_simd::nothing,
                                {engine_simd::no_workspace<float>, engine_simd::run<float>},
                                {engine_simd::no_workspace<double>, engine_simd::run<double>}};

}  // namespace cyrnn
