// The activations and the tiles for AVX2 and FMA: 32-byte vectors. No standard header may follow the pragma: an inline function
// compiled here could be the copy that the linker keeps for every CPU.
#if defined(__x86_64__) || defined(__i386__)

#include "matrix.hpp"
#include "rounding.hpp"
#include "simd.hpp"

#define CYRNN_VECTOR_BYTES 32
#define CYRNN_TILE_ROWS 6

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

namespace cyrnn {

namespace avx2 {
#include "activations.hpp"
#include "cells.hpp"
#include "tiles.hpp"
#include "tile_sums.hpp"
#include "lanes.hpp"
#include "simd_engine.hpp"
#include "matrix_parts.hpp"
#include "vector_tiles.hpp"
#include "matrix_tiles.hpp"
}

static const OnTiles expanded[2] = {{}, avx2::MatrixTiles<avx2::VectorTiles<avx2::ExpandedPairs>, 1>::functions(faster_expanded)};

extern const Simd simd_avx2;
const Simd simd_avx2{"avx2",
                    true,
                    avx2::Table<float>::entries,
                    avx2::Table<double>::entries,
                    avx2::Table<float>::derivatives,
                    avx2::Table<double>::derivatives,
                    avx2::CellTable<float>::entries,
                    avx2::CellTable<double>::entries,
                    {avx2::slice_rows, avx2::nothing, avx2::nothing, avx2::product<float>, avx2::product<double>, false, expanded},
                    avx2::Tiles<float>::columns,
                    avx2::Tiles<double>::columns};

}  // namespace cyrnn

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
