// The eight registers of matrix tiles (AMX): each of up to 16 lines of 64 bytes. Those of the CPU, and the same in plain C++.
//
// Included inside a namespace per instruction set, after vector_math.hpp. Everything above these two is the same source.

// Lines of 16 32-bit words. The product of an A (rows, 16) and a B (16, 16) of pairs of bfloat16, each pair in one word:
//   C[m][n] := C[m][n] + the sum over r of low(A[m][r]) low(B[r][n]) + high(A[m][r]) high(B[r][n])
struct EmulatedTiles {
    typedef std::uint32_t U __attribute__((vector_size(64), may_alias));

    static constexpr bool queues = true;  // as the CPU's do
    int rows[8];
    U at[8][16];

    void configure(const std::uint8_t (&wanted)[8]) {
        for (int i = 0; i < 8; ++i) rows[i] = wanted[i];
    }
    void release() {}

    template <int t> void zero() { __builtin_memset(at[t], 0, sizeof at[t]); }
    template <int t> void load(const std::uint32_t *from) { load(t, from); }
    template <int t> void store(float *to, std::ptrdiff_t stride) const {
        for (int m = 0; m < rows[t]; ++m) __builtin_memcpy(to + m * stride, &at[t][m], 64);
    }
    template <int c, int a, int b> void multiply() { multiply(c, a, b); }

private:
    [[gnu::noinline]] void load(int t, const std::uint32_t *from) {
        for (int m = 0; m < rows[t]; ++m) {
            U line;
            __builtin_memcpy(&line, from + m * 16, 64);
            at[t][m] = with_zeros(line & high_half) | with_zeros(line << 16) >> 16;
        }
    }

    // Bit for bit what the instruction computes: the products of the low and of the high halves are two chains of fused
    // multiply-adds from zero, whose sum is added. Denormal operands and results are zeros.
    [[gnu::noinline]] void multiply(int c, int a, int b) {
        for (int m = 0; m < rows[c]; ++m) {
            alignas(64) float low[16] = {}, high[16] = {};
            for (int r = 0; r < rows[b]; ++r) {
                const std::uint32_t pair = at[a][m][r];
                add(pair << 16, at[b][r] << 16, low);
                add(pair & high_half, at[b][r] & high_half, high);
            }
            float *const sums = reinterpret_cast<float *>(&at[c][m]);
            for (int n = 0; n < 16; ++n) sums[n] = flushed(flushed(sums[n]) + flushed(low[n] + high[n]));
        }
    }

    static constexpr std::uint32_t high_half = 0xffff0000u, exponent = 0x7f800000, sign = 0x80000000u;

    CYRNN_INLINE void add(std::uint32_t factor, const U &line, float (&sums)[16]) {
        float a, b[16];
        __builtin_memcpy(&a, &factor, 4);
        __builtin_memcpy(b, &line, 64);
        for (int n = 0; n < 16; ++n) sums[n] = flushed(__builtin_fmaf(a, b[n], sums[n]));
    }

    CYRNN_INLINE U with_zeros(const U &bits) { return bits & ((U)((bits & exponent) != 0) | sign); }
    CYRNN_INLINE float flushed(float x) { return __builtin_fabsf(x) < 0x1p-126f ? __builtin_copysignf(0, x) : x; }
};

#if defined(CYRNN_NATIVE_TILES)
// A "memory" clobber each: the compilers' own functions have none, so stores may move behind them.
struct NativeTiles {
    static constexpr bool queues = true;

    void configure(const std::uint8_t (&wanted)[8]) {
        struct {
            std::uint8_t palette, first_row, none[14];
            std::uint16_t bytes[16];
            std::uint8_t rows[16];
        } config{};
        static_assert(sizeof config == 64, "as the instruction reads it");
        config.palette = 1;
        for (int i = 0; i < 8; ++i) config.bytes[i] = wanted[i] ? 64 : 0, config.rows[i] = wanted[i];
        asm volatile("ldtilecfg %0" : : "m"(config) : "memory");
    }
    // So that a switch of threads has no tiles to save.
    void release() { asm volatile("tilerelease" : : : "memory"); }

    template <int t> inline __attribute__((always_inline)) void zero() { asm volatile("tilezero %%tmm%c0" : : "i"(t) : "memory"); }
    template <int t> inline __attribute__((always_inline)) void load(const std::uint32_t *from) {
        asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(std::ptrdiff_t(64)), "i"(t) : "memory");
    }
    template <int t> inline __attribute__((always_inline)) void store(float *to, std::ptrdiff_t stride) const {
        asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride * 4), "i"(t) : "memory");
    }
    template <int c, int a, int b> inline __attribute__((always_inline)) void multiply() {
        asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b) : "memory");
    }
};
#endif
