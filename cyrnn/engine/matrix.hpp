// What the matrix tiles of an instruction set offer: see matrix_tiles.hpp.
#pragma once

#include <cstdint>
#include <utility>

#include "contract.hpp"

// Whether the compiler knows the instructions.
#if defined(__x86_64__) && defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define CYRNN_NATIVE_TILES
#endif
#if defined(__x86_64__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define CYRNN_DOT_PRODUCTS
#endif

namespace cyrnn {

struct Batches {  // nominal ones, from the least to the most; from 1 on, or without an end
    std::ptrdiff_t least, most;
};

struct OnTiles {
    Product<float> product;
    // For weights (depth, sums): the batches that are faster on tiles than by multiply-adds, as was measured.
    Batches (*faster)(std::ptrdiff_t depth, std::ptrdiff_t sums);
    // Words that packed weights take, and the packing of those that are in panels of so many columns. False: they hold what the
    // tiles do not compute as multiply-adds do.
    std::ptrdiff_t (*packed_words)(const Weights<float> *weights);
    bool (*pack)(const Weights<float> *weights, std::ptrdiff_t panel_columns, std::uint32_t *packed);
};

inline constexpr Batches no_batches{PTRDIFF_MAX, 0};

// On matrix tiles: numbers in three parts, which take 6 bytes, and numbers rounded to bfloat16.
inline Batches faster_in_parts(std::ptrdiff_t depth, std::ptrdiff_t sums) {
    if (sums < 48) return no_batches;
    return {double(depth) * double(sums) > 2.5e5 ? 24 : 16, PTRDIFF_MAX};
}
inline Batches faster_rounded(std::ptrdiff_t, std::ptrdiff_t sums) { return sums < 32 ? no_batches : Batches{4, PTRDIFF_MAX}; }

// On vectors, numbers rounded to bfloat16.
inline Batches faster_by_dot_products(std::ptrdiff_t depth, std::ptrdiff_t sums) {
    if (sums < 64) return no_batches;
    return {double(depth) * double(sums) < 5e4 ? 4 : 1, PTRDIFF_MAX};
}
inline Batches faster_expanded(std::ptrdiff_t depth, std::ptrdiff_t sums) {
    return double(depth) * double(sums) < 2e6 ? no_batches : Batches{1, 1};
}

}  // namespace cyrnn
