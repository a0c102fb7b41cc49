// What a plan hands to the recurrence, and what an engine offers to it: a way to multiply.
//
// All arrays are row-major; strides count elements, not bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simd.hpp"

namespace cyrnn {

template <class T> struct Weights {  // one layer's weights, made ready; they never change
    std::ptrdiff_t features, units;
    std::ptrdiff_t depth;   // features + units; for a dense layer, which has no recurrent kernel, features
    const T *kernels;       // (depth, units): the kernel above the recurrent kernel
    const T *kernels_t;     // (units, depth): the same, transposed
    const T *panels;        // the same, in panels (see product.hpp)
    const T *bias;          // (units), or null
    Activate<T> activate;   // z := activation(z + bias), row by row, in place
    Multiply<T> multiply;   // by panels
};

template <class T> struct Sequences {  // one call
    std::ptrdiff_t batch, timesteps;
    const T *x;                             // (batch, timesteps, features), in processing order
    std::ptrdiff_t x_batch, x_time, x_feature;
    const T *initial_state;                 // (batch, units), or null for zeros
    const std::uint8_t *mask;               // (batch, timesteps), 0 = skip; or null
    std::ptrdiff_t mask_batch, mask_time;
    bool zero_output_for_mask;
    const T *input_dropout;                 // (batch, features) factors, or null
    const T *recurrent_dropout;             // (batch, units) factors, or null
    T *outputs;                             // (batch, timesteps, units), or null
    std::ptrdiff_t outputs_batch, outputs_time;
    T *last_output;                         // (batch, units), or null
    std::ptrdiff_t last_output_batch;
    T *state;                               // (batch, units), or null
};

struct Stop {  // asked between stretches of work: has the call been interrupted?
    bool (*asked)(void *self);
    void *self;
};

template <class T> struct Product {  // an engine, for one dtype
    // Elements of workspace that `run` needs for so many rows.
    std::ptrdiff_t (*workspace)(const Weights<T> *weights, std::ptrdiff_t rows);
    // h := [x, h'] . kernels, with [x, h'] (rows, depth) and h (rows, units), both of rows features + units apart.
    // Cannot fail, allocate or raise.
    void (*run)(const Weights<T> *weights, std::ptrdiff_t rows, const T *inputs, T *h, T *workspace);
};

struct Engine {
    // Rows of a slice of the batch. It depends on the batch alone, never on the number of threads, and so does
    // the shape of every product: a BLAS may round a row differently in a product of another shape.
    std::ptrdiff_t (*slice_rows)(std::ptrdiff_t batch);
    void (*begin)();  // before the first slice of a call, and
    void (*end)();    // after its last
    Product<float> f32;
    Product<double> f64;
};

}  // namespace cyrnn
