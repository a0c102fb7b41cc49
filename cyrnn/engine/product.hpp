// C := A . B for weights B that are packed once: the product of the simd engine.
//
// Included inside a namespace per instruction set, after activations.hpp. B (depth, units) lies in panels of `columns`
// columns, each (depth, columns) and contiguous, the last one filled up with zeros. An element of C is a sum of chains
// of multiply-adds, one for each stretch of depth, wherever it stands: its bits depend on its row of A and its column
// of B alone.

template <class T> struct Panels {
    using M = Math<T>;
    using V = typename M::V;
    using Unaligned = typename M::Unaligned;
    static constexpr std::ptrdiff_t columns = 2 * M::lanes;

    // A panel's part of this depth stays in the first-level cache while all rows pass, and a chain of this length
    // gathers little rounding.
    static constexpr std::ptrdiff_t stretch = 256;

    struct Operands {  // of one stretch: c := a . b, or with `add` c := c + a . b
        const T *a;    // (rows, stretch)
        std::ptrdiff_t a_stride;
        const T *b;    // panels (., depth, columns), at the stretch's first line
        std::ptrdiff_t depth, length;
        T *c;          // (rows, units)
        std::ptrdiff_t c_stride, units;
        bool add;
    };

    // A tile of `rows` rows by `panels` panels, its sums in registers all the way down.
    template <int rows, int panels> CYRNN_INLINE void tile(const Operands &o) {
        V sums[rows][2 * panels];
        for (auto &row : sums)
            for (V &sum : row) sum = V{};  // one by one: an initializer would clear them in memory first
        const T *a = o.a, *b = o.b;
        const std::ptrdiff_t a_stride = o.a_stride, b_stride = o.depth * columns;
        for (const T *const end = b + o.length * columns; b != end; ++a, b += columns) {
            V line[2 * panels];
            for (int j = 0; j < 2 * panels; ++j)
                line[j] = *reinterpret_cast<const Unaligned *>(b + j / 2 * b_stride + j % 2 * M::lanes);
            for (int i = 0; i < rows; ++i)
                for (int j = 0; j < 2 * panels; ++j) sums[i][j] += line[j] * a[i * a_stride];
        }
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j < 2 * panels; ++j) {
                T *const c = o.c + i * o.c_stride + j * M::lanes;
                const std::ptrdiff_t left = o.units - j * M::lanes;
                if (left > 0) M::store(c, left, o.add ? M::load(c, left, 0) + sums[i][j] : sums[i][j]);
            }
    }

    template <int rows, int panels> CYRNN_INLINE void tile_of(std::ptrdiff_t height, const Operands &o) {
        if constexpr (rows > 1)
            if (height < rows) return tile_of<rows - 1, panels>(height, o);
        tile<rows, panels>(o);
    }

    // All rows against `panels` panels: tiles of at most `most` rows, of sizes as even as can be.
    template <int most, int panels> static void strip(std::ptrdiff_t rows, Operands o) {
        for (std::ptrdiff_t tiles = (rows + most - 1) / most; tiles > 0; --tiles) {
            const std::ptrdiff_t height = (rows + tiles - 1) / tiles;
            tile_of<most, panels>(height, o);
            rows -= height, o.a += height * o.a_stride, o.c += height * o.c_stride;
        }
    }

    // C (rows, units) := A (rows, depth) . B. A tile needs about ten sums under way to keep the multipliers busy, so
    // one or two rows take several panels at once.
    static void multiply(std::ptrdiff_t rows, std::ptrdiff_t units, std::ptrdiff_t depth, const T *a,
                         std::ptrdiff_t a_stride, const T *b, T *c, std::ptrdiff_t c_stride) {
        const std::ptrdiff_t wide = rows == 1 ? 4 : rows == 2 ? 2 : 1;
        std::ptrdiff_t first = 0;
        do {  // also once for a depth of 0, which gives zeros
            const std::ptrdiff_t length = depth - first < stretch ? depth - first : stretch;
            Operands o{a + first, a_stride, b + first * columns, depth, length, c, c_stride, units, first > 0};
            while (o.units > 0) {
                const std::ptrdiff_t panels = wide == 4 && o.units > 3 * columns ? 4 : wide > 1 && o.units > columns ? 2 : 1;
                if (panels == 4)
                    strip<1, 4>(rows, o);
                else if (panels == 2)
                    strip<2, 2>(rows, o);
                else
                    strip<CYRNN_TILE_ROWS, 1>(rows, o);
                o.b += panels * depth * columns, o.c += panels * columns, o.units -= panels * columns;
            }
            first += length;
        } while (first < depth);
    }
};
