// The products on the matrix tiles of a CPU that has them (AMX), with AVX-512 for what is around them. A compiler that knows the
// instructions is enough: it is compiled everywhere, and chosen where the CPU, the OS and this process may use them.
#if defined(__x86_64__)

#include "matrix.hpp"

#if defined(CYRNN_NATIVE_TILES)

#include "rounding.hpp"

#define CYRNN_INLINE static inline __attribute__((always_inline))

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq")
#endif

namespace cyrnn {

namespace amx {
#include "tile_registers.hpp"
#include "matrix_parts.hpp"
#include "matrix_tiles.hpp"
}

extern const OnTiles amx_tiles[2];
const OnTiles amx_tiles[2] = {amx::MatrixTiles<amx::NativeTiles, 3>::functions(faster_in_parts),
                             amx::MatrixTiles<amx::NativeTiles, 1>::functions(faster_rounded)};

}  // namespace cyrnn

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
#endif
