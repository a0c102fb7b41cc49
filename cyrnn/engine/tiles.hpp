// The simd engine's timestep, by weights that are packed once:   out := activation(x . kernel + h . recurrent_kernel + b),
// or the sums of a cell
//
// Included inside a namespace per instruction set, after activations.hpp.
//
// The kernels (depth, units) lie in panels of `columns` columns, each (depth, columns) and contiguous; what is left of
// the units has a last panel of the least power of two, of 16 bytes or more, that holds it, filled up with zeros.
//
// An element is a chain of multiply-adds, first along x and then along h. A long chain would gather rounding errors. So
// after a stretch of either the next chain begins, and their sums are added; but if x has one stretch, the first of h
// continues its chain. The bias comes last. The place of a row among others plays no part in that, so its bits do not
// depend on it.

template <class T> struct Tiles {
    using M = Math<T>;
    static constexpr std::ptrdiff_t lanes = M::lanes, columns = 2 * lanes, narrowest = 16 / sizeof(T);
    static constexpr std::ptrdiff_t largest_group = 4 * columns;  // of panels that one row goes through at once

    // Each end of a stretch costs some percent of it. A panel's part of either depth stays in the first-level cache while
    // all rows pass.
    static std::ptrdiff_t stretch_of(std::ptrdiff_t units) { return units > 256 ? 256 : 128; }

    static constexpr std::ptrdiff_t last_width(std::ptrdiff_t rest) {
        std::ptrdiff_t width = rest > 0 ? narrowest : 0;
        while (width < rest) width *= 2;
        return width;
    }

    template <std::ptrdiff_t width> struct Vector {
        typedef T V __attribute__((vector_size(width * sizeof(T))));
        typedef T Unaligned __attribute__((vector_size(width * sizeof(T)), aligned(sizeof(T)), may_alias));
        CYRNN_INLINE V load(const T *p) { return *reinterpret_cast<const Unaligned *>(p); }
        CYRNN_INLINE void store(T *p, V x) { *reinterpret_cast<Unaligned *>(p) = x; }
    };

    enum class Sums { fresh, continued, added };  // in place of what is in c; from there on; or added to it

    struct Part {  // a . b along one operand: a (rows, length), b the panel's lines for it
        const T *a;
        std::ptrdiff_t a_stride, length;
        const T *b;
    };

    struct Operands {
        Part x, h;
        std::ptrdiff_t panel;  // elements from one panel to the next
        std::ptrdiff_t stretch;
        T *c;
        std::ptrdiff_t c_stride;
        Sums mode;
    };

    // A tile of `rows` rows by `panels` panels of `vectors` vectors of `width` elements, its sums in registers.
    template <int rows, int panels, int vectors, std::ptrdiff_t width> struct Tile {
        using W = Vector<width>;
        using V = typename W::V;
        static constexpr int n = panels * vectors;
        static constexpr std::ptrdiff_t line = vectors * width;

        CYRNN_INLINE void run(const Operands &o) {
            V sums[rows][n];
            const Sums mode = o.mode;
            T *const to = o.c;
            for (int i = 0; i < rows; ++i)
                for (int j = 0; j < n; ++j)
                    sums[i][j] = mode == Sums::continued ? W::load(to + i * o.c_stride + j * width) : V{};
            add(sums, o.x, o.panel);
            add(sums, o.h, o.panel);
            for (int i = 0; i < rows; ++i)
                for (int j = 0; j < n; ++j) {
                    T *const c = to + i * o.c_stride + j * width;
                    W::store(c, mode == Sums::added ? W::load(c) + sums[i][j] : sums[i][j]);
                }
        }

        CYRNN_INLINE void add(V (&sums)[rows][n], const Part &part, std::ptrdiff_t panel) {
            const T *a = part.a, *b = part.b;
            const std::ptrdiff_t a_stride = part.a_stride;
            for (const T *const end = b + part.length * line; b != end; ++a, b += line) {
                V b_line[n];
                for (int j = 0; j < n; ++j) b_line[j] = W::load(b + j / vectors * panel + j % vectors * width);
                for (int i = 0; i < rows; ++i)
                    for (int j = 0; j < n; ++j) sums[i][j] += b_line[j] * a[i * a_stride];
            }
        }
    };

    template <int rows, int panels, int vectors, std::ptrdiff_t width>
    CYRNN_INLINE void tile_of(std::ptrdiff_t height, const Operands &o) {
        if constexpr (rows > 1)
            if (height < rows) return tile_of<rows - 1, panels, vectors, width>(height, o);
        Tile<rows, panels, vectors, width>::run(o);
    }

    // One row. Out of line, or the registers do not suffice for its pointers.
    template <int panels, int vectors, std::ptrdiff_t width> [[gnu::noinline]] static void row_of(const Operands &o) {
        Tile<1, panels, vectors, width>::run(o);
    }

    // All rows against `panels` panels: tiles of at most `most` rows, of sizes as even as can be.
    template <int most, int panels, int vectors, std::ptrdiff_t width>
    static void strip(std::ptrdiff_t rows, Operands o) {
        for (std::ptrdiff_t tiles = (rows + most - 1) / most; tiles > 0; --tiles) {
            const std::ptrdiff_t height = (rows + tiles - 1) / tiles;
            tile_of<most, panels, vectors, width>(height, o);
            rows -= height, o.c += height * o.c_stride;
            o.x.a += height * o.x.a_stride, o.h.a += height * o.h.a_stride;
        }
    }

    // ---- one row of few units: too few sums are under way to hide how long a multiply-add takes, so the chain along h
    // is cut into `chains` that run side by side.

    template <int panels, int vectors, std::ptrdiff_t width, int chains> static void row(const Operands &o) {
        using W = Vector<width>;
        using V = typename W::V;
        constexpr int n = panels * vectors;
        constexpr std::ptrdiff_t line = vectors * width;
        const std::ptrdiff_t length = o.h.length / chains;
        V sums[chains][n];
        for (int s = 0; s < chains; ++s)
            for (int j = 0; j < n; ++j) sums[s][j] = s == 0 ? W::load(o.c + j * width) : V{};
        const auto multiply = [&](int s, std::ptrdiff_t k) {
            for (int j = 0; j < n; ++j)
                sums[s][j] += W::load(o.h.b + k * line + j / vectors * o.panel + j % vectors * width) * o.h.a[k];
        };
        for (std::ptrdiff_t k = 0; k < length; ++k)
            for (int s = 0; s < chains; ++s) multiply(s, s * length + k);
        for (std::ptrdiff_t k = chains * length; k < o.h.length; ++k) multiply(0, k);
        for (int apart = chains / 2; apart > 0; apart /= 2)
            for (int s = 0; s < apart; ++s)
                for (int j = 0; j < n; ++j) sums[s][j] += sums[s + apart][j];
        for (int j = 0; j < n; ++j) W::store(o.c + j * width, sums[0][j]);
    }

    // ---- `panels` panels through all stretches

    template <int panels, int vectors, std::ptrdiff_t width> struct Strip {
        static constexpr std::ptrdiff_t line = vectors * width;
        // Ten sums or so must be under way to keep the multipliers busy.
        static constexpr int chains = panels * vectors >= 8 ? 1 : panels * vectors >= 4 ? 2 : panels * vectors >= 2 ? 4 : 8;

        // A part's next stretch.
        CYRNN_INLINE Part cut(Part &part, std::ptrdiff_t most) {
            Part first = part;
            first.length = part.length < most ? part.length : most;
            part.a += first.length, part.b += first.length * line, part.length -= first.length;
            return first;
        }

        static void tiles(std::ptrdiff_t rows, const Operands &o) {
            if constexpr (panels == 4)
                row_of<panels, vectors, width>(o);
            else if constexpr (panels > 1)
                strip<3, panels, vectors, width>(rows, o);
            else
                strip<CYRNN_TILE_ROWS, panels, vectors, width>(rows, o);
        }

        // `projected`: the product with x is in c already.
        static void run(std::ptrdiff_t rows, Operands o, bool projected, bool alone) {
            const bool side_by_side = alone && chains > 1 && o.h.length > 0;
            const bool in_one = o.x.length <= o.stretch && !side_by_side;  // the chain continues from x to h
            const Part nothing{o.x.a, 0, 0, o.x.b};
            Part x = o.x, h = o.h;
            if (!projected) {
                o.mode = Sums::fresh;
                do {
                    o.x = cut(x, o.stretch), o.h = in_one ? cut(h, o.stretch) : nothing;
                    tiles(rows, o);
                    o.mode = Sums::added;
                } while (x.length > 0);
            } else if (in_one) {
                o.x = nothing, o.h = cut(h, o.stretch), o.mode = Sums::continued;
                tiles(rows, o);
            }
            o.x = nothing, o.h = h, o.mode = Sums::added;
            while (side_by_side && h.length > 0) {
                o.h = cut(h, chains * o.stretch);
                row<panels, vectors, width, chains>(o);
            }
            while (h.length > 0) {
                o.h = cut(h, o.stretch);
                tiles(rows, o);
            }
        }
    };

    // ---- all units

    struct Walk {
        const Weights<T> &weights;
        const Step<T> &step;
        const T *x;      // (rows, features)
        std::ptrdiff_t x_stride;
        bool with_h;     // and what follows the product
        bool activates;  // panel by panel, in place
        T *sums;         // (rows, columns)
        std::ptrdiff_t sums_stride;
        T *workspace;    // (rows, the last panel's width), whole vectors

        Operands operands(std::ptrdiff_t first, std::ptrdiff_t width, T *c, std::ptrdiff_t c_stride) const {
            const T *const b = weights.panels + first * weights.depth;
            const std::ptrdiff_t features = weights.features, units = with_h && first < weights.recurrent ? weights.depth - features : 0;
            return {{x, x_stride, features, b},
                    {step.h, step.h_stride, units, b + features * width},
                    weights.depth * columns, stretch_of(weights.units), c, c_stride, Sums::fresh};
        }

        template <int panels> void full(std::ptrdiff_t &first) const {
            const Operands all = operands(first, columns, sums + first, sums_stride);
            const std::ptrdiff_t most = together();
            for (std::ptrdiff_t row = 0, rows; row < step.rows; row += rows) {
                rows = step.rows - row < most ? step.rows - row : most;
                Operands o = all;
                o.c += row * o.c_stride, o.x.a += row * o.x.a_stride, o.h.a += row * o.h.a_stride;
                Strip<panels, 2, lanes>::run(rows, o, step.projected, step.alone);
                if (!activates) continue;
                weights.activate(o.c, sums_stride, weights.bias ? weights.bias + first : nullptr, rows, panels * columns);
                if (step.outputs) emit(row, rows, first, panels * columns);
            }
            first += panels * columns;
        }

        // Rows after which the panel's columns go to the outputs: a tile, where the panel stays in the first-level cache, so
        // that the next one need not wait until they are written.
        std::ptrdiff_t together() const {
            constexpr std::ptrdiff_t cached = 32768;
            if (!activates || !step.outputs || weights.depth * columns * std::ptrdiff_t(sizeof(T)) > cached) return step.rows;
            const std::ptrdiff_t tiles = (step.rows + CYRNN_TILE_ROWS - 1) / CYRNN_TILE_ROWS;
            return (step.rows + tiles - 1) / tiles;
        }

        // The last panel is computed in the workspace: `sums` has no room for its padding.
        template <int vectors, std::ptrdiff_t width> void last(std::ptrdiff_t first) const {
            const std::ptrdiff_t rest = weights.sums() - first;
            if (step.projected)
                for (std::ptrdiff_t i = 0; i < step.rows; ++i)
                    for (std::ptrdiff_t j = 0; j < width; ++j)
                        workspace[i * width + j] = j < rest ? sums[i * sums_stride + first + j] : 0;
            Strip<1, vectors, width / vectors>::run(step.rows, operands(first, width, workspace, width), step.projected,
                                                    step.alone);
            if (activates) {
                using W = Vector<width / vectors>;
                for (T *at = workspace; weights.bias && at < workspace + step.rows * width; at += width)
                    for (int j = 0; j < vectors; ++j)
                        W::store(at + j * lanes, W::load(at + j * lanes) + W::load(weights.bias + first + j * lanes));
                const std::ptrdiff_t count = (step.rows * width + lanes - 1) / lanes * lanes;  // whole vectors
                weights.activate(workspace, count, nullptr, 1, count);
            }
            for (std::ptrdiff_t i = 0; i < step.rows; ++i) copy(workspace + i * width, rest, sums + i * sums_stride + first);
            if (activates && step.outputs) emit(0, step.rows, first, rest);
        }

        // Some columns of h to their places in the outputs.
        void emit(std::ptrdiff_t row, std::ptrdiff_t rows, std::ptrdiff_t first, std::ptrdiff_t count) const {
            for (std::ptrdiff_t i = row; i < row + rows; ++i)
                copy(step.out + i * step.out_stride + first, count, step.outputs_row(i) + first);
        }

        // Some columns. The panels come in the same groups if `first` is a multiple of the largest group.
        void run(std::ptrdiff_t first, std::ptrdiff_t end) const {
            if (step.rows == 1 && step.turned) return run_turned(first, end);
            if (step.rows == 1)
                while (end - first >= largest_group) full<4>(first);
            if (step.rows <= 3)
                while (end - first >= 2 * columns) full<2>(first);
            while (end - first >= columns) full<1>(first);
            if (end == weights.sums()) rest(first);
        }

        // One row, in the opposite order.
        void run_turned(const std::ptrdiff_t begin, std::ptrdiff_t end) const {
            const auto before = [&end](std::ptrdiff_t width) { return end -= width; };
            if (end == weights.sums()) rest(end = end / columns * columns);
            std::ptrdiff_t first;
            if (end % (2 * columns) != 0) first = before(columns), full<1>(first);
            if (end % largest_group != 0) first = before(2 * columns), full<2>(first);
            while (end > begin) first = before(largest_group), full<4>(first);
        }

        void rest(std::ptrdiff_t first) const {
            const std::ptrdiff_t width = last_width(weights.sums() - first);
            if (width == columns)
                last<2, columns>(first);
            else if (width == lanes)
                last<1, lanes>(first);
            else if (width > 0)
                narrow<lanes / 2>(first, width);
        }

        template <std::ptrdiff_t width> void narrow(std::ptrdiff_t first, std::ptrdiff_t wanted) const {
            if constexpr (width >= narrowest) {
                if (width == wanted) return last<1, width>(first);
                narrow<width / 2>(first, wanted);
            }
        }
    };

    static void copy(const T *from, std::ptrdiff_t count, T *to) {
        std::ptrdiff_t i = 0;
        for (; i + lanes <= count; i += lanes) Vector<lanes>::store(to + i, Vector<lanes>::load(from + i));
        for (; i + narrowest <= count; i += narrowest) Vector<narrowest>::store(to + i, Vector<narrowest>::load(from + i));
        for (; i < count; ++i) to[i] = from[i];
    }

    static std::ptrdiff_t workspace(const Weights<T> *weights, std::ptrdiff_t rows) {
        return rows * last_width(weights->sums() % columns) + lanes;
    }

    static void step(const Weights<T> *weights, const Step<T> *step, T *workspace) {
        step_part(weights, step, workspace, 0, weights->sums());
    }

    static void step_part(const Weights<T> *weights, const Step<T> *step, T *workspace, std::ptrdiff_t begin, std::ptrdiff_t end) {
        const bool in_place = !weights->cell;
        const T *x = step->x;
        std::ptrdiff_t x_stride = step->x_stride;
        if (step->beside) {  // each panel reads x
            for (std::ptrdiff_t i = 0; i < step->rows; ++i) copy(step->x_row(i), weights->features, step->beside + i * weights->features);
            x = step->beside, x_stride = weights->features;
        }
        const Walk walk{*weights, *step, x, x_stride, true, in_place && !weights->by_row, in_place ? step->out : step->sums,
                        in_place ? step->out_stride : step->sums_stride, workspace};
        walk.run(begin, end);
        if (walk.activates || !in_place) return;
        weights->activate(step->out, step->out_stride, weights->bias, step->rows, weights->units);
        if (step->outputs) walk.emit(0, step->rows, 0, weights->units);
    }

    static void project(const Weights<T> *weights, std::ptrdiff_t rows, const T *x, std::ptrdiff_t x_stride, T *out,
                        std::ptrdiff_t out_stride, T *workspace) {
        project_part(weights, rows, x, x_stride, out, out_stride, workspace, 0, weights->sums());
    }

    static void project_part(const Weights<T> *weights, std::ptrdiff_t rows, const T *x, std::ptrdiff_t x_stride, T *out,
                             std::ptrdiff_t out_stride, T *workspace, std::ptrdiff_t begin, std::ptrdiff_t end) {
        Step<T> step{};
        step.rows = rows, step.h = x;
        Walk{*weights, step, x, x_stride, false, false, out, out_stride, workspace}.run(begin, end);
    }
};
