// The activations and the tiles for AVX-512: 64-byte vectors. No standard header may follow the pragma: an inline function
// compiled here could be the copy that the linker keeps for every CPU.
#if defined(__x86_64__) || defined(__i386__)

#include "matrix.hpp"
#include "rounding.hpp"
#include "simd.hpp"

#define CYRNN_VECTOR_BYTES 64
#define CYRNN_TILE_ROWS 12

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq")
#endif

namespace cyrnn {

namespace avx512 {
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

static const OnTiles expanded[2] = {{}, avx512::MatrixTiles<avx512::VectorTiles<avx512::ExpandedPairs>, 1>::functions(faster_expanded)};

extern const Simd simd_avx512;
const Simd simd_avx512{"avx512",
                      true,
                      avx512::Table<float>::entries,
                      avx512::Table<double>::entries,
                      avx512::Table<float>::derivatives,
                      avx512::Table<double>::derivatives,
                      avx512::CellTable<float>::entries,
                      avx512::CellTable<double>::entries,
                      {avx512::slice_rows, avx512::nothing, avx512::nothing, avx512::product<float>, avx512::product<double>, false, expanded},
                      avx512::Tiles<float>::columns,
                      avx512::Tiles<double>::columns};

}  // namespace cyrnn

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
