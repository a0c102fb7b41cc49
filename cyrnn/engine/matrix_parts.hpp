// Numbers in parts of 8 bits (bfloat16), and the operands of matrix tiles that are made of them.
//
// Included inside a namespace per instruction set, before matrix_tiles.hpp.
//
// parts = 3: as exact as float32. Each number is the sum of three bfloat16, a = a1 + a2 + a3, and six of the nine products are
// summed: those that are left out are below 2^-25 of the whole. parts = 1: operands are rounded to bfloat16.
//
// Operands lie as the tiles read them, 16 lines of 16 words each; a word is a pair of numbers 16 apart, which makes a line
// of two vectors without a shuffle.
//   A: [row tile of 16 rows][block][part][row], in the workspace
//   B: [panel of 32 columns][block][part][left or right 16 columns][pair][column], packed once

template <int parts> struct MatrixParts {
    typedef float V __attribute__((vector_size(64)));
    typedef std::uint32_t U __attribute__((vector_size(64)));
    typedef float UnalignedV __attribute__((vector_size(64), aligned(4), may_alias));
    typedef std::uint32_t UnalignedU __attribute__((vector_size(64), aligned(4), may_alias));

    static constexpr std::ptrdiff_t side = 16, block = 32, columns = 32, tile_words = 256, together = 2 * columns;

    // ---- numbers into parts

    static constexpr std::uint32_t magnitude = 0x7fffffff, high_half = 0xffff0000u, infinite = 0x7f800000;

    // Each part in the high half of a word, zeros below. Collects words that are not 0 for numbers that have no three parts:
    // infinities, NaN, and those from 2^127 on, which may round to an infinity.
    CYRNN_INLINE void split(const V &a, U (&part)[parts], U &special) {
        const U bits = (U)a;
        if constexpr (parts == 1) {  // the nearest, of two the even one; a NaN stays one
            const U nearest = (bits + 0x7fff + ((bits >> 16) & 1)) & high_half, quiet = (bits | 0x400000) & high_half;
            part[0] = (U)((bits & magnitude) > infinite ? quiet : nearest);
        } else {
            special |= (U)((bits & magnitude) >= 0x7f000000u);
            part[0] = (bits + 0x8000) & high_half;
            const V rest = a - (V)part[0];  // exact
            part[1] = ((U)rest + 0x8000) & high_half;
            part[2] = (U)(rest - (V)part[1]);  // exact, and of no more than 8 bits
        }
    }

    // `count` numbers of a row, as much as a block, into its line of the tile of each part.
    CYRNN_INLINE void convert(const float *from, std::ptrdiff_t count, std::uint32_t *to, U &special) {
        float padded[block];
        if (count < block) {
            __builtin_memset(padded, 0, sizeof padded);
            for (std::ptrdiff_t i = 0; i < count; ++i) padded[i] = from[i];
            from = padded;
        }
        U first[parts], second[parts];
        const V left = *reinterpret_cast<const UnalignedV *>(from), right = *reinterpret_cast<const UnalignedV *>(from + side);
        split(left, first, special);
        split(right, second, special);
        for (int s = 0; s < parts; ++s) *reinterpret_cast<UnalignedU *>(to + s * tile_words) = (first[s] >> 16) | (second[s] & high_half);
    }

    CYRNN_INLINE bool any(const U &special) {
        std::uint32_t found = 0;
        for (int i = 0; i < int(side); ++i) found |= special[i];
        return found != 0;
    }

    // ---- the weights

    static std::ptrdiff_t blocks_of(std::ptrdiff_t length) { return (length + block - 1) / block; }

    struct Shape {
        std::ptrdiff_t x_blocks, blocks, panels;

        explicit Shape(const Weights<float> &w)
            : x_blocks(blocks_of(w.features)), blocks(x_blocks + blocks_of(w.depth - w.features)), panels(blocks_of(w.sums())) {}

        std::ptrdiff_t panel_words() const { return blocks * parts * 2 * tile_words; }
        std::ptrdiff_t row_tile_words() const { return blocks * parts * tile_words; }
    };

    static std::ptrdiff_t packed_words(const Weights<float> *w) { return Shape(*w).panels * Shape(*w).panel_words(); }

    // The kernels, which are in panels of `width` columns as tiles.hpp has them, into B. False: some have no three parts.
    static bool pack(const Weights<float> *w, std::ptrdiff_t width, std::uint32_t *to) {
        const Shape shape(*w);
        U special{};
        for (std::ptrdiff_t panel = 0; panel < shape.panels; ++panel)
            for (std::ptrdiff_t k = 0; k < shape.blocks; ++k, to += parts * 2 * tile_words)
                for (std::ptrdiff_t half = 0; half < 2; ++half)
                    for (std::ptrdiff_t line = 0; line < side; ++line) {
                        const bool of_x = k < shape.x_blocks;
                        const std::ptrdiff_t row = (of_x ? k : k - shape.x_blocks) * block + line + (of_x ? 0 : w->features);
                        const std::ptrdiff_t end = of_x ? w->features : w->depth, column = panel * columns + half * side;
                        U low[parts], high[parts];
                        V first{}, second{};  // of 16 columns; zeros beyond the weights
                        copy_weights(*w, width, row, end, column, first);
                        copy_weights(*w, width, row + side, end, column, second);
                        split(first, low, special);
                        split(second, high, special);
                        for (int s = 0; s < parts; ++s)
                            *reinterpret_cast<UnalignedU *>(to + (s * 2 + half) * tile_words + line * side) = (low[s] >> 16) | (high[s] & high_half);
                    }
        return !any(special);
    }

    CYRNN_INLINE void copy_weights(const Weights<float> &w, std::ptrdiff_t width, std::ptrdiff_t row, std::ptrdiff_t end, std::ptrdiff_t column, V &to) {
        const std::ptrdiff_t all = w.sums();
        for (std::ptrdiff_t i = 0; i < side && column + i < all && row < end; ++i) {
            const std::ptrdiff_t panel = (column + i) / width * width;
            std::ptrdiff_t line = width;  // of the last panel: the least power of two, of 16 bytes or more, that holds the rest
            while (line > 4 && line / 2 >= all - panel) line /= 2;
            to[i] = w.panels[panel * w.depth + row * line + column + i - panel];
        }
    }
};
