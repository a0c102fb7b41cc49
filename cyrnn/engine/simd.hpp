// The vectorised functions, and the instruction sets they are compiled for: the face of activations.hpp and tiles.hpp.
//
// The engine knows an activation by its index in one list. Each instruction set this CPU can run offers a table of
// functions in that order, and an engine; they differ in speed and in the last bits only.
#pragma once

#include "contract.hpp"

// X(name, walk): Keras' name of the function, and how it is applied to an array (see the end of activations.hpp).
// hard_sigmoid_keras2 is hard_sigmoid as Keras 2 defined it.
#define CYRNN_ACTIVATIONS(X)           \
    X(linear, bias_only)               \
    X(celu, by_element)                \
    X(elu, by_element)                 \
    X(exponential, by_element)         \
    X(gelu, by_element)                \
    X(hard_shrink, by_element)         \
    X(hard_sigmoid, by_element)        \
    X(hard_sigmoid_keras2, by_element) \
    X(hard_silu, by_element)           \
    X(hard_tanh, by_element)           \
    X(leaky_relu, by_element)          \
    X(log_sigmoid, by_element)         \
    X(log_softmax, by_row)             \
    X(mish, by_element)                \
    X(relu, by_element)                \
    X(relu6, by_element)               \
    X(selu, by_element)                \
    X(sigmoid, by_element)             \
    X(silu, by_element)                \
    X(soft_shrink, by_element)         \
    X(softmax, by_row)                 \
    X(softplus, by_element)            \
    X(softsign, by_element)            \
    X(sparse_plus, by_element)         \
    X(sparse_sigmoid, by_element)      \
    X(sparsemax, by_row)               \
    X(squareplus, by_element)          \
    X(tanh, by_element)                \
    X(tanh_shrink, by_element)

namespace cyrnn {

int activation_count();
const char *activation_name(int index);  // null when there is no such index
bool activation_by_row(int index);       // whether it needs a whole row

struct Simd {
    const char *name;                      // "generic", "avx2" or "avx512"
    const Activate<float> *activate_f32;   // (activation_count()), in the order of the list
    const Activate<double> *activate_f64;
    Engine engine;                         // the simd engine, in this instruction set
    std::ptrdiff_t columns_f32, columns_f64;  // of a panel
};

const Simd *simd_by_name(const char *name);  // null when unknown, or when this CPU or OS cannot run it
const Simd *simd_best();                     // the widest this CPU and OS can run

}  // namespace cyrnn
