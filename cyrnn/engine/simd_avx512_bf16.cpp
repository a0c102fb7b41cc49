// Products of numbers rounded to bfloat16 on CPUs that multiply and add pairs of them (AVX512-BF16), but have no matrix tiles.
#include "matrix.hpp"

#if defined(CYRNN_DOT_PRODUCTS)

#include <immintrin.h>

#include "rounding.hpp"

#define CYRNN_INLINE static inline __attribute__((always_inline))

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx512bf16"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx512bf16")
#endif

namespace cyrnn {

namespace avx512_bf16 {
#include "matrix_parts.hpp"
#include "vector_tiles.hpp"
#include "matrix_tiles.hpp"

struct DotProducts {
    static constexpr int most_rows = 16;

    template <int rows> [[gnu::noinline]] static void add(const std::uint32_t *a, const std::uint32_t *b, __m512 *c) {
        __m512 sums[rows];
        for (int m = 0; m < rows; ++m) sums[m] = _mm512_setzero_ps();
        for (int r = 0; r < 16; ++r) {
            const __m512i line = _mm512_load_si512(b + r * 16);
            for (int m = 0; m < rows; ++m)
                sums[m] = _mm512_dpbf16_ps(sums[m], (__m512bh)_mm512_set1_epi32(int(a[m * 16 + r])), (__m512bh)line);
        }
        for (int m = 0; m < rows; ++m) c[m] += sums[m];
    }
};
}

extern const OnTiles dot_products[2];
const OnTiles dot_products[2] = {{}, avx512_bf16::MatrixTiles<avx512_bf16::VectorTiles<avx512_bf16::DotProducts>, 1>::functions(faster_by_dot_products)};

}  // namespace cyrnn

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
