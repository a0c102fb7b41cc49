// The vectorised functions, and the instruction sets they are compiled for: the face of activations.hpp and tiles.hpp.
//
// The engine knows an activation by its index in one list. Each instruction set this CPU can run offers a table of
// functions in that order, and an engine; they differ in speed and in the last bits only.
#pragma once

#include <utility>

#include "contract.hpp"

// X(name, walk, from): Keras' name of the function, how it is applied to an array (see the end of activations.hpp), and
// what its derivative is taken from: the outputs where they tell it at every kink, or else the sums.
// hard_sigmoid_keras2 is hard_sigmoid as Keras 2 defined it.
#define CYRNN_ACTIVATIONS(X)                    \
    X(linear, bias_only, outputs)               \
    X(celu, by_element, outputs)                \
    X(elu, by_element, outputs)                 \
    X(exponential, by_element, outputs)         \
    X(gelu, by_element, sums)                   \
    X(hard_shrink, by_element, outputs)         \
    X(hard_sigmoid, by_element, outputs)        \
    X(hard_sigmoid_keras2, by_element, outputs) \
    X(hard_silu, by_element, sums)              \
    X(hard_tanh, by_element, sums)              \
    X(leaky_relu, by_element, outputs)          \
    X(log_sigmoid, by_element, outputs)         \
    X(log_softmax, by_row, outputs)             \
    X(mish, by_element, sums)                   \
    X(relu, by_element, outputs)                \
    X(relu6, by_element, outputs)               \
    X(selu, by_element, outputs)                \
    X(sigmoid, by_element, outputs)             \
    X(silu, by_element, sums)                   \
    X(soft_shrink, by_element, outputs)         \
    X(softmax, by_row, outputs)                 \
    X(softplus, by_element, outputs)            \
    X(softsign, by_element, sums)               \
    X(sparse_plus, by_element, outputs)         \
    X(sparse_sigmoid, by_element, outputs)      \
    X(sparsemax, by_row, sums)                  \
    X(squareplus, by_element, sums)             \
    X(tanh, by_element, outputs)                \
    X(tanh_shrink, by_element, sums)

// X(name, Kind): the cells of cells.hpp
#define CYRNN_CELLS(X) \
    X(lstm, Lstm)      \
    X(gru, Gru)        \
    X(gru_reset_before, GruResetBefore)

namespace cyrnn {

int activation_count();
const char *activation_name(int index);  // null when there is no such index
bool activation_by_row(int index);       // whether it needs a whole row
bool activation_from_sums(int index);    // whether its derivative reads the sums; or else it reads the outputs

int cell_count();
const char *cell_name(int index);  // null when there is no such index

struct Simd {
    const char *name;  // "generic", "avx2", "avx512", "avx512-bf16", "amx" or "amx-emulated"
    bool preferred;                        // to a BLAS, which may have wider vectors
    const Activate<float> *activate_f32;   // (activation_count()), in the order of the list
    const Activate<double> *activate_f64;
    const Differentiate<float> *differentiate_f32;  // of the same
    const Differentiate<double> *differentiate_f64;
    const Cell<float> *cells_f32;          // (cell_count()), in the order of theirs
    const Cell<double> *cells_f64;
    Engine engine;                         // the simd engine, in this instruction set
    std::ptrdiff_t columns_f32, columns_f64;  // of a panel
};

const Simd *simd_by_name(const char *name);  // null when unknown, or when this CPU or OS cannot run it
const Simd *simd_best();                     // the widest this CPU and OS can run

}  // namespace cyrnn
