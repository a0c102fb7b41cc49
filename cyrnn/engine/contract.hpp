// What a plan hands to an engine, and what an engine offers to a plan.
//
//   h_t = activation([x_t, h_{t-1}] . [kernel; recurrent_kernel] + bias)
//
// A dense layer is the same without h_{t-1}. All arrays are row-major; strides count elements, not bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simd.hpp"

namespace cyrnn {

template <class T> struct Weights {  // one layer's weights, made ready; they never change
    std::ptrdiff_t features, units;
    bool recurrent;         // false for a dense layer
    const T *kernels;       // (features + units, units): the kernel above the recurrent kernel; dense: (features, units)
    const T *kernels_t;     // (units, features + units): the same, transposed
    const T *bias;          // (units), or null
    Activate<T> activate;   // z := activation(z + bias), row by row, in place
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
    T *last_output;                         // (batch, units), or null
    T *state;                               // (batch, units), or null
};

struct Stop {  // asked between stretches of work: has the call been interrupted?
    bool (*asked)(void *self);
    void *self;
};

template <class T> struct Recurrence {  // an engine, for one dtype
    // Elements of scratch that `run` needs for a slice of so many rows.
    std::ptrdiff_t (*scratch)(const Weights<T> *weights, std::ptrdiff_t rows);
    // All timesteps of the rows first <= row < last. Cannot fail, allocate or raise.
    void (*run)(const Weights<T> *weights, const Sequences<T> *call, std::ptrdiff_t first, std::ptrdiff_t last,
                T *scratch, Stop stop);
};

struct Engine {
    // Rows of a slice of the batch. It depends on the batch alone, never on the number of threads, and so does
    // the shape of every product: a BLAS may round a row differently in a product of another shape.
    std::ptrdiff_t (*slice_rows)(std::ptrdiff_t batch);
    void (*begin)();  // before the first slice of a call, and
    void (*end)();    // after its last
    Recurrence<float> f32;
    Recurrence<double> f64;
};

}  // namespace cyrnn
