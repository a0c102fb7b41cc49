// The products on matrix tiles, with the tiles in plain C++: slow, for tests. The bits are those of a CPU that has them.
#include "matrix.hpp"
#include "rounding.hpp"

#define CYRNN_INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__) || defined(__i386__)  // with fused multiply-adds: where there are none a function computes each of them
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#pragma GCC diagnostic ignored "-Wpsabi"
#endif
#endif

namespace cyrnn {

namespace emulated {
#include "tile_registers.hpp"
#include "matrix_parts.hpp"
#include "matrix_tiles.hpp"
}

extern const OnTiles emulated_tiles[2];
const OnTiles emulated_tiles[2] = {emulated::MatrixTiles<emulated::EmulatedTiles, 3>::functions(faster_in_parts),
                                   emulated::MatrixTiles<emulated::EmulatedTiles, 1>::functions(faster_rounded)};

}  // namespace cyrnn

#if defined(__clang__) && (defined(__x86_64__) || defined(__i386__))
#pragma clang attribute pop
#endif
