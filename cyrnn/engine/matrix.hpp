// What the matrix tiles of an instruction set offer: see matrix_tiles.hpp.
#pragma once

#include <cstdint>
#include <utility>

#include "contract.hpp"

// Whether the compiler knows the instructions.
#if defined(__x86_64__) && defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define CYRNN_NATIVE_TILES
#endif

namespace cyrnn {

struct OnTiles {
    Product<float> product;
    // Words that packed weights take, and the packing of those that are in panels of so many columns. False: they hold what the
    // tiles do not compute as multiply-adds do.
    std::ptrdiff_t (*packed_words)(const Weights<float> *weights);
    bool (*pack)(const Weights<float> *weights, std::ptrdiff_t panel_columns, std::uint32_t *packed);
};

}  // namespace cyrnn
