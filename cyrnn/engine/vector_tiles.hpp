// Tiles whose sums are in vector registers, in place of those of tile_registers.hpp: for operands rounded to bfloat16, on CPUs
// without matrix tiles.
//
// Included inside a namespace per instruction set, after vector_math.hpp. Each product of two tiles is a sum that begins at
// zero, and is added to what was there, as matrix tiles do it: short chains gather less rounding, and of few rows several
// products are under way at once.

// `Pairs` says how a line of pairs is multiplied. Its `most_rows` is that of a tile.
template <class Pairs> struct VectorTiles {
    typedef float V __attribute__((vector_size(64), may_alias));

    static constexpr bool queues = false;
    int rows[8];
    const std::uint32_t *operands[8];  // where A and B lie: they are read there
    V sums[4][16];

    void configure(const std::uint8_t (&wanted)[8]) {
        for (int i = 0; i < 8; ++i) rows[i] = wanted[i];
    }
    void release() {}

    template <int t> void zero() { __builtin_memset(sums[t], 0, sizeof sums[t]); }
    template <int t> void load(const std::uint32_t *from) { operands[t] = from; }
    template <int t> void store(float *to, std::ptrdiff_t stride) const {
        for (int m = 0; m < rows[t]; ++m) __builtin_memcpy(to + m * stride, &sums[t][m], 64);
    }
    template <int c, int a, int b> void multiply() { add<Pairs::most_rows>(rows[c], operands[a], operands[b], sums[c]); }

private:
    template <int most> static void add(int rows, const std::uint32_t *a, const std::uint32_t *b, V *c) {
        if constexpr (most > 1)
            if (rows < most) return add<most - 1>(rows, a, b, c);
        Pairs::template add<most>(a, b, c);
    }
};

// Pairs on any CPU: a shift and a mask make float32 of them. That pays for one row where memory decides, since the weights take half
// of it.
struct ExpandedPairs {
    static constexpr int most_rows = 1;
    typedef float V __attribute__((vector_size(64), may_alias));
    typedef std::uint32_t U __attribute__((vector_size(64), may_alias));

    template <int> [[gnu::noinline]] static void add(const std::uint32_t *a, const std::uint32_t *b, V *c) {
        V low{}, high{};
        alignas(64) float low_a[16], high_a[16];
        expand(a, *reinterpret_cast<V *>(low_a), *reinterpret_cast<V *>(high_a));
        for (int r = 0; r < 16; ++r) {
            V low_b, high_b;
            expand(b + r * 16, low_b, high_b);
            low += low_b * low_a[r], high += high_b * high_a[r];
        }
        *c += low + high;
    }

private:
    CYRNN_INLINE void expand(const std::uint32_t *pairs, V &low, V &high) {
        const U line = *reinterpret_cast<const U *>(pairs);
        low = (V)(line << 16), high = (V)(line & 0xffff0000u);
    }
};
