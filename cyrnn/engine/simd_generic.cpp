// The activations and the tiles for any CPU: 16-byte vectors, as SSE2 and NEON have them.
#include "simd.hpp"

#define CYRNN_VECTOR_BYTES 16
#if defined(__aarch64__)  // it has twice as many registers, and most of its CPUs have no wider ones
#define CYRNN_TILE_ROWS 8
#define CYRNN_PREFERRED true
#else
#define CYRNN_TILE_ROWS 4
#define CYRNN_PREFERRED false
#endif

namespace cyrnn {

namespace generic {
#include "activations.hpp"
#include "cells.hpp"
#include "tiles.hpp"
#include "tile_sums.hpp"
#include "lanes.hpp"
#include "simd_engine.hpp"
}

extern const Simd simd_generic;
const Simd simd_generic{"generic",
                       CYRNN_PREFERRED,
                       generic::Table<float>::entries,
                       generic::Table<double>::entries,
                       generic::Table<float>::derivatives,
                       generic::Table<double>::derivatives,
                       generic::CellTable<float>::entries,
                       generic::CellTable<double>::entries,
                       {generic::slice_rows, generic::nothing, generic::nothing, generic::product<float>, generic::product<double>},
                       generic::Tiles<float>::columns,
                       generic::Tiles<double>::columns};

}  // namespace cyrnn
