// Sums of products over rows and timesteps, which the gradients of weights are.
//
// Included inside a namespace per instruction set, after tiles.hpp.

template <class T> struct TileSums {
    static constexpr std::ptrdiff_t lanes = Tiles<T>::lanes, columns = Tiles<T>::columns, narrowest = Tiles<T>::narrowest;
    static constexpr int few = 4;  // rows of a tile of one vector
    using Whole = typename Tiles<T>::template Vector<lanes>;
    static constexpr std::ptrdiff_t half = lanes / 2 > narrowest ? lanes / 2 : narrowest;
    using Half = typename Tiles<T>::template Vector<half>;
    using Narrow = typename Tiles<T>::template Vector<narrowest>;

    // c := c + a' . b for `rows` columns of a and a panel of b. An element is one chain of multiply-adds, added to c.
    template <int rows, int vectors, std::ptrdiff_t width> struct Outer {
        using W = typename Tiles<T>::template Vector<width>;
        using V = typename W::V;

        CYRNN_INLINE void run(std::ptrdiff_t count, const T *a, std::ptrdiff_t a_stride, const T *b, std::ptrdiff_t b_stride, T *c,
                              std::ptrdiff_t c_stride) {
            V sums[rows][vectors] = {};
            for (std::ptrdiff_t k = 0; k < count; ++k, a += a_stride, b += b_stride) {
                V line[vectors];
                for (int j = 0; j < vectors; ++j) line[j] = W::load(b + j * width);
                for (int i = 0; i < rows; ++i)
                    for (int j = 0; j < vectors; ++j) sums[i][j] += line[j] * a[i];
            }
            for (int i = 0; i < rows; ++i)
                for (int j = 0; j < vectors; ++j) {
                    T *const at = c + i * c_stride + j * width;
                    W::store(at, W::load(at) + sums[i][j]);
                }
        }
    };

    struct Sum {
        std::ptrdiff_t count, height;
        const T *a;
        std::ptrdiff_t a_stride;
        const T *b;
        std::ptrdiff_t b_stride;
        T *c;
        std::ptrdiff_t c_stride;
    };

    // All rows of c, in tiles of `rows`, and what is left in tiles of the powers of two below: few sizes, since each takes code.
    static constexpr int power_below(int rows) { return rows > 2 ? 2 * power_below((rows + 1) / 2) : 1; }

    template <int rows, int vectors, std::ptrdiff_t width> static void panel(const Sum &s, std::ptrdiff_t first = 0) {
        for (; first + rows <= s.height; first += rows)
            Outer<rows, vectors, width>::run(s.count, s.a + first, s.a_stride, s.b, s.b_stride, s.c + first * s.c_stride, s.c_stride);
        if constexpr (rows > 1)
            if (first < s.height) panel<power_below(rows), vectors, width>(s, first);
    }

    // The columns that fill no vector, side by side with zeros after them.
    template <std::ptrdiff_t width> static void narrow_panel(const Sum &s, std::ptrdiff_t rest, T *workspace) {
        if constexpr (width > narrowest)
            if (rest <= width / 2) return narrow_panel<width / 2>(s, rest, workspace);
        T *const b = workspace, *const c = workspace + s.count * width;
        const auto spread = [&](std::ptrdiff_t rows, const T *from, std::ptrdiff_t stride, T *to) {
            for (std::ptrdiff_t i = 0; i < rows; ++i)
                for (std::ptrdiff_t j = 0; j < width; ++j) to[i * width + j] = j < rest ? from[i * stride + j] : 0;
        };
        spread(s.count, s.b, s.b_stride, b);
        spread(s.height, s.c, s.c_stride, c);
        panel<few, 1, width>({s.count, s.height, s.a, s.a_stride, b, width, c, width});
        for (std::ptrdiff_t i = 0; i < s.height; ++i)
            for (std::ptrdiff_t j = 0; j < rest; ++j) s.c[i * s.c_stride + j] = c[i * width + j];
    }

    // out := f(a, b), element by element
    template <class F>
    CYRNN_INLINE void each(std::ptrdiff_t rows, std::ptrdiff_t width, const T *a, std::ptrdiff_t a_stride, const T *b, std::ptrdiff_t b_stride,
                           T *out, std::ptrdiff_t out_stride, F f) {
        if (a_stride == width && b_stride == width && out_stride == width) width *= rows, rows = 1;
        for (std::ptrdiff_t row = 0; row < rows; ++row, a += a_stride, b += b_stride, out += out_stride) {
            std::ptrdiff_t i = 0;
            for (; i + lanes <= width; i += lanes) Whole::store(out + i, f(Whole::load(a + i), Whole::load(b + i)));
            for (; i + half <= width; i += half) Half::store(out + i, f(Half::load(a + i), Half::load(b + i)));
            for (; i + narrowest <= width; i += narrowest) Narrow::store(out + i, f(Narrow::load(a + i), Narrow::load(b + i)));
            for (; i < width; ++i) out[i] = f(a[i], b[i]);
        }
    }

    static void copy(std::ptrdiff_t rows, std::ptrdiff_t width, const T *a, std::ptrdiff_t a_stride, T *out, std::ptrdiff_t out_stride) {
        each(rows, width, a, a_stride, a, a_stride, out, out_stride, [](auto x, auto) { return x; });
    }

    static void add(std::ptrdiff_t rows, std::ptrdiff_t width, const T *a, std::ptrdiff_t a_stride, const T *b, std::ptrdiff_t b_stride,
                    T *out, std::ptrdiff_t out_stride) {
        each(rows, width, a, a_stride, b, b_stride, out, out_stride, [](auto x, auto y) { return x + y; });
    }

    static void multiply(std::ptrdiff_t rows, std::ptrdiff_t width, const T *a, std::ptrdiff_t a_stride, const T *b, std::ptrdiff_t b_stride,
                         T *out, std::ptrdiff_t out_stride) {
        each(rows, width, a, a_stride, b, b_stride, out, out_stride, [](auto x, auto y) { return x * y; });
    }

    static std::ptrdiff_t accumulate_workspace(std::ptrdiff_t count, std::ptrdiff_t height, std::ptrdiff_t) {
        return (count + height) * lanes;
    }

    static void accumulate(std::ptrdiff_t count, std::ptrdiff_t height, std::ptrdiff_t width, const T *a, std::ptrdiff_t a_stride, const T *b,
                           std::ptrdiff_t b_stride, T *c, std::ptrdiff_t c_stride, T *workspace) {
        Sum s{count, height, a, a_stride, b, b_stride, c, c_stride};
        for (; width >= columns; width -= columns, s.b += columns, s.c += columns) panel<CYRNN_TILE_ROWS, 2, lanes>(s);
        if (width >= lanes) panel<few, 1, lanes>(s), width -= lanes, s.b += lanes, s.c += lanes;
        if (width > 0) narrow_panel<lanes>(s, width, workspace);
    }
};
