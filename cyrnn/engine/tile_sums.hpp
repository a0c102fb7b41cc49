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

    struct Sum {
        const Terms<T> *terms;
        std::ptrdiff_t some, height;
        std::ptrdiff_t a_stride, b_stride;
        T *c;
        std::ptrdiff_t c_stride;
        std::ptrdiff_t column;    // the first of b
        const T *gathered = nullptr;  // the rows of b, one after the other; null: they are where the terms say
    };

    // c := c + a' . b for `rows` columns of a and a panel of b. An element is one chain of multiply-adds, added to c.
    template <int rows, int vectors, std::ptrdiff_t width> struct Outer {
        using W = typename Tiles<T>::template Vector<width>;
        using V = typename W::V;

        CYRNN_INLINE void run(const Sum &s, std::ptrdiff_t first) {
            V sums[rows][vectors] = {};
            const T *b = s.gathered;
            for (std::ptrdiff_t i = 0; i < s.some; ++i) {
                const T *a = s.terms[i].a + first;
                if (!s.gathered) b = s.terms[i].b + s.column;
                for (std::ptrdiff_t k = s.terms[i].count; k > 0; --k, a += s.a_stride, b += s.b_stride) {
                    V line[vectors];
                    for (int j = 0; j < vectors; ++j) line[j] = W::load(b + j * width);
                    for (int r = 0; r < rows; ++r)
                        for (int j = 0; j < vectors; ++j) sums[r][j] += line[j] * a[r];
                }
            }
            for (int r = 0; r < rows; ++r)
                for (int j = 0; j < vectors; ++j) {
                    T *const at = s.c + (first + r) * s.c_stride + j * width;
                    W::store(at, W::load(at) + sums[r][j]);
                }
        }
    };

    // All rows of c, in tiles of `rows`, and what is left in tiles of the powers of two below: few sizes, since each takes code.
    static constexpr int power_below(int rows) { return rows > 2 ? 2 * power_below((rows + 1) / 2) : 1; }

    template <int rows, int vectors, std::ptrdiff_t width> static void panel(const Sum &s, std::ptrdiff_t first = 0) {
        for (; first + rows <= s.height; first += rows) Outer<rows, vectors, width>::run(s, first);
        if constexpr (rows > 1)
            if (first < s.height) panel<power_below(rows), vectors, width>(s, first);
    }

    // The columns that fill no vector, side by side with zeros after them.
    template <std::ptrdiff_t width> static void narrow_panel(const Sum &s, std::ptrdiff_t rest, T *workspace) {
        if constexpr (width > narrowest)
            if (rest <= width / 2) return narrow_panel<width / 2>(s, rest, workspace);
        T *to = workspace;
        const auto spread = [&](std::ptrdiff_t rows, const T *from, std::ptrdiff_t stride) {
            for (std::ptrdiff_t i = 0; i < rows; ++i, to += width)
                for (std::ptrdiff_t j = 0; j < width; ++j) to[j] = j < rest ? from[i * stride + j] : 0;
        };
        for (std::ptrdiff_t i = 0; i < s.some; ++i) spread(s.terms[i].count, s.terms[i].b + s.column, s.b_stride);
        T *const c = to;
        spread(s.height, s.c, s.c_stride);
        panel<few, 1, width>({s.terms, s.some, s.height, s.a_stride, width, c, width, 0, workspace});
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

    static void accumulate(const Terms<T> *terms, std::ptrdiff_t some, std::ptrdiff_t height, std::ptrdiff_t width, std::ptrdiff_t a_stride,
                           std::ptrdiff_t b_stride, T *c, std::ptrdiff_t c_stride, T *workspace) {
        Sum s{terms, some, height, a_stride, b_stride, c, c_stride, 0};
        for (; width >= columns; width -= columns, s.column += columns, s.c += columns) panel<CYRNN_TILE_ROWS, 2, lanes>(s);
        if (width >= lanes) panel<few, 1, lanes>(s), width -= lanes, s.column += lanes, s.c += lanes;
        if (width > 0) narrow_panel<lanes>(s, width, workspace);
    }
};
