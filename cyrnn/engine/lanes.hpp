// Recurrences of few units: the batch in the lanes. A vector holds one feature, or one unit, of as many rows as it has lanes.
// In tiles.hpp it holds units of one row, and where these are few most of its lanes are padding.
//
// Included inside a namespace per instruction set, after cells.hpp and tiles.hpp.
//
// An element is the chain of multiply-adds that tiles.hpp has where x and h have one stretch each. So it has the same bits,
// and a call may have some of its rows in lanes and others in tiles.

template <class T> struct Lanes {
    using M = Math<T>;
    using V = typename M::V;
    using Bits = typename M::Bits;
    static constexpr std::ptrdiff_t lanes = M::lanes, columns = Tiles<T>::columns;
    static constexpr int most_groups = 2;  // vectors of rows that are walked together
    static constexpr std::ptrdiff_t most_rows = most_groups * lanes;

    // Whether the units leave lanes empty elsewhere, and x has not so many features that to turn it takes longer than this saves.
    static bool suits(const Weights<T> &w) {
        constexpr std::ptrdiff_t most_units = 20, most_features = 128;  // a stretch
        return w.units <= most_units && w.units % lanes != 0 && w.features <= most_features && w.features <= 4 * w.sums() && !w.by_row;
    }

    // Timesteps whose x and h lie in lanes at the same time: as many as the first-level cache holds.
    static std::ptrdiff_t chunk_of(const Weights<T> &w) {
        constexpr std::ptrdiff_t cached = 24576, most = 32, even = 8;  // so that what is turned ends with a whole vector
        const std::ptrdiff_t chunk = cached / ((w.features + w.units) * most_rows * std::ptrdiff_t(sizeof(T)));
        return chunk < most ? (chunk / even + 1) * even : most;
    }

    static std::ptrdiff_t workspace(const Weights<T> *w, std::ptrdiff_t) {
        if (!suits(*w)) return 0;
        const std::ptrdiff_t of_cell = w->cell ? (w->cell->lines + w->cell->biases) * w->units : 0;
        return (chunk_of(*w) * (w->features + w->units + 1) + 2 * w->carried + of_cell + 1) * most_rows;
    }

    // ---- rows become lanes, and lanes rows

    template <int... lane> struct Shuffle {
        // Where the lanes of the first and the second of two vectors come from, which change places at this distance.
        static constexpr int from(int distance, bool second, int e) {
            return e & distance ? int(lanes) + e - (second ? 0 : distance) : e + (second ? distance : 0);
        }

        template <int distance, bool second> CYRNN_INLINE V half(V a, V b) {
#if defined(__clang__)
            return __builtin_shufflevector(a, b, from(distance, second, lane)...);
#else
            return __builtin_shuffle(a, b, Bits{from(distance, second, lane)...});
#endif
        }

        template <int distance, int i> CYRNN_INLINE void change_places(V (&v)[lanes]) {
            if constexpr (!(i & distance)) {
                const V a = v[i], b = v[i + distance];
                v[i] = half<distance, false>(a, b), v[i + distance] = half<distance, true>(a, b);
            }
        }

        template <int distance> CYRNN_INLINE void transpose(V (&v)[lanes]) {
            (change_places<distance, lane>(v), ...);
            if constexpr (distance > 1) transpose<distance / 2>(v);
        }

        // Unrolled, so that v is registers.
        CYRNN_INLINE void load(V (&v)[lanes], const T *const (&rows)[lanes], std::ptrdiff_t at) { ((v[lane] = M::load(rows[lane] + at, lanes, 0)), ...); }
        CYRNN_INLINE void load(V (&v)[lanes], const T *from, std::ptrdiff_t stride) { ((v[lane] = M::load(from + lane * stride, lanes, 0)), ...); }
        CYRNN_INLINE void store(const V (&v)[lanes], T *to, std::ptrdiff_t stride) { (M::store(to + lane * stride, lanes, v[lane]), ...); }
    };

    template <int... lane> static Shuffle<lane...> shuffle_of(std::integer_sequence<int, lane...>);
    using Turn = decltype(shuffle_of(std::make_integer_sequence<int, int(lanes)>{}));

    // to (length, stride) := the transpose of `from`, of which only `count` rows exist: the lanes of others hold the last.
    static void turn_in(const T *from, std::ptrdiff_t row, std::ptrdiff_t count, std::ptrdiff_t length, T *to, std::ptrdiff_t stride) {
        const T *rows[lanes];
        for (std::ptrdiff_t i = 0; i < lanes; ++i) rows[i] = from + (i < count ? i : count - 1) * row;
        if (length < lanes) {
            for (std::ptrdiff_t k = 0; k < length; ++k)
                for (std::ptrdiff_t i = 0; i < lanes; ++i) to[k * stride + i] = rows[i][k];
            return;
        }
        for (std::ptrdiff_t k = 0; k < length; k += lanes) {
            const std::ptrdiff_t at = k + lanes <= length ? k : length - lanes;  // the last ones overlap
            V v[lanes];
            Turn::load(v, rows, at);
            Turn::template transpose<lanes / 2>(v);
            Turn::store(v, to + at * stride, stride);
        }
    }

    // Back: to (count, length) := the transpose of `from` (length, stride).
    static void turn_out(const T *from, std::ptrdiff_t stride, std::ptrdiff_t length, T *to, std::ptrdiff_t row, std::ptrdiff_t count) {
        for (std::ptrdiff_t k = 0; k < length; k += lanes) {
            const std::ptrdiff_t at = k + lanes <= length || length < lanes ? k : length - lanes;
            V v[lanes];
            if (length < lanes)
                for (std::ptrdiff_t i = 0; i < lanes; ++i) v[i] = M::load(from + (i < length ? i : 0) * stride, lanes, 0);
            else
                Turn::load(v, from + at * stride, stride);
            Turn::template transpose<lanes / 2>(v);
            if (length >= lanes && count == lanes) {
                Turn::store(v, to + at, row);
                continue;
            }
            const std::ptrdiff_t bytes = (length < lanes ? length : lanes) * std::ptrdiff_t(sizeof(T));
            for (std::ptrdiff_t i = 0; i < count; ++i) __builtin_memcpy(to + i * row + at, &v[i], std::size_t(bytes));
        }
    }

    // Timesteps of an array, (timesteps, length) of each row: those that lie one after another, in either order, are one line.
    struct Times {
        std::ptrdiff_t length, stride, timesteps;

        std::ptrdiff_t place(std::ptrdiff_t t) const { return (stride == -length ? timesteps - 1 - t : t) * length; }

        // Each line: its place in the lanes, where it begins in the array, and its length.
        template <class Function> void each(Function function) const {
            if (stride == length) return function(0, 0, timesteps * length);
            if (stride == -length) return function(0, (timesteps - 1) * stride, timesteps * length);
            for (std::ptrdiff_t t = 0; t < timesteps; ++t) function(t * length, t * stride, length);
        }
    };

    // Some rows of a block. They are `width` numbers apart in their lanes.
    template <int groups> struct Walk {
        static constexpr std::ptrdiff_t width = groups * lanes;

        const Weights<T> &w;
        const Block<T> &block;
        const Record<T> &record;
        const std::ptrdiff_t first, count;  // rows
        const std::ptrdiff_t chunk;
        T *const x;              // (chunk, features, width)
        T *const outputs;        // (chunk, units, width)
        T *const live;           // (chunk, width): bits of all ones where a row is not masked
        T *const seen;           // (width): the same, of the timesteps so far
        T *now, *then;           // (carried, width): the records
        T *const sums;           // (lines, units, width): of a cell
        T *const bias;           // (biases, units, width): of a cell, the same in all lanes

        Walk(const Weights<T> &w_, const Block<T> &block_, const Record<T> &record_, std::ptrdiff_t first_, std::ptrdiff_t count_, T *workspace)
            : w(w_), block(block_), record(record_), first(first_), count(count_), chunk(chunk_of(w_)), x(workspace),
              outputs(x + chunk * w.features * width), live(outputs + chunk * w.units * width), seen(live + chunk * width), now(seen + width),
              then(now + w.carried * width), sums(then + w.carried * width), bias(sums + (w.cell ? w.cell->lines * w.units * width : 0)) {}

        // A panel's columns from `first` on, as many as `count`:   out := x . kernel + h . recurrent_kernel + bias
        template <int sums> struct Product {
            CYRNN_INLINE void run(const T *x, std::ptrdiff_t features, const T *h, std::ptrdiff_t units, const T *b, std::ptrdiff_t line,
                                  const T *bias, T *out) {
                V c[sums][groups] = {};
                add(c, x, features, b, line);
                add(c, h, units, b + features * line, line);
                for (int j = 0; j < sums; ++j)
                    for (int g = 0; g < groups; ++g) {
                        if (bias) c[j][g] += bias[j];
                        M::store(out + j * width + g * lanes, lanes, c[j][g]);
                    }
            }

            CYRNN_INLINE void add(V (&c)[sums][groups], const T *a, std::ptrdiff_t length, const T *b, std::ptrdiff_t line) {
                for (const T *const end = a + length * width; a != end; a += width, b += line) {
                    V rows[groups];
                    for (int g = 0; g < groups; ++g) rows[g] = M::load(a + g * lanes, lanes, 0);
                    for (int j = 0; j < sums; ++j)
                        for (int g = 0; g < groups; ++g) c[j][g] += rows[g] * b[j];
                }
            }
        };

        // out (sums, width)
        static void multiply(const Weights<T> &w, const T *x, const T *h, const T *bias, T *out) {
            const std::ptrdiff_t all = w.sums();
            for (std::ptrdiff_t panel = 0; panel < all; panel += columns) {
                const std::ptrdiff_t rest = all - panel, line = rest < columns ? Tiles<T>::last_width(rest) : columns;
                const std::ptrdiff_t end = rest < columns ? all : panel + columns;
                const std::ptrdiff_t units = panel < w.recurrent ? w.depth - w.features : 0;  // as in tiles.hpp
                const T *b = w.panels + panel * w.depth;
                std::ptrdiff_t j = panel;
                const auto some = [&](auto product, std::ptrdiff_t sums) {
                    product.run(x, w.features, h, units, b, line, bias ? bias + j : nullptr, out + j * width);
                    j += sums, b += sums;
                };
                while (end - j >= 4) some(Product<4>{}, 4);
                if (end - j == 3) some(Product<3>{}, 3);
                if (end - j == 2) some(Product<2>{}, 2);
                if (end - j == 1) some(Product<1>{}, 1);
            }
        }

        void step(const T *x_t, const T *h, T *next) const {
            if (!w.cell) {
                multiply(w, x_t, h, w.bias, next);
                w.activate(next, 0, nullptr, 1, w.units * width);
                return;
            }
            Weights<T> wide = w;  // one row, of which each unit is as many as there are lanes
            wide.units = w.units * width, wide.bias = w.bias ? bias : nullptr;
            Step<T> step;
            step.rows = 1, step.x = x_t, step.h = step.before = h, step.sums = sums, step.out = next;
            step.x_stride = step.h_stride = step.before_stride = step.sums_stride = step.out_stride = 0;
            multiply(w, x_t, h, nullptr, sums);
            if (w.second) {
                if (w.cell->between) w.cell->between(&wide, &step);
                multiply(*w.second, x_t, w.cell->between ? next : h, nullptr, sums + w.cell->second * wide.units);
            }
            w.cell->finish(&wide, &step);
        }

        CYRNN_INLINE Bits bits_at(const T *at) { return (Bits)M::load(at, lanes, 0); }

        // Masked rows keep their records. Their outputs repeat the last one, which is zeros before their first live timestep.
        void mask(const T *live_t, const T *before, T *next, T *out) const {
            for (int g = 0; g < groups; ++g) {
                const Bits is_live = bits_at(live_t + g * lanes), was_seen = bits_at(seen + g * lanes) | is_live;
                const Bits shown = block.zero_output_for_mask ? is_live : was_seen;
                M::store(seen + g * lanes, lanes, (V)was_seen);
                for (std::ptrdiff_t i = g * lanes; i < w.carried * width; i += width) {
                    const V kept = M::select(is_live, M::load(next + i, lanes, 0), M::load(before + i, lanes, 0));
                    M::store(next + i, lanes, kept);
                    if (i < w.units * width) M::store(out + i, lanes, M::select(shown, kept, V{}));
                }
            }
        }

        void run(std::ptrdiff_t begin, std::ptrdiff_t end) {
            T *const states = record.now + first * w.carried;
            each_group([&](std::ptrdiff_t at, std::ptrdiff_t row, std::ptrdiff_t rows) {
                turn_in(states + row * w.carried, w.carried, rows, w.carried, now + at, width);
            });
            if (w.cell && w.bias)
                for (std::ptrdiff_t i = 0; i < w.cell->biases * w.units; ++i)
                    for (int g = 0; g < groups; ++g) M::store(bias + i * width + g * lanes, lanes, M::all(w.bias[i]));
            if (block.mask) set_bits(seen, [&](std::ptrdiff_t row) { return record.seen[row] != 0; });
            for (std::ptrdiff_t t = begin; t < end; t += chunk) run_chunk(t, end - t < chunk ? end - t : chunk);
            each_group([&](std::ptrdiff_t at, std::ptrdiff_t row, std::ptrdiff_t rows) {
                turn_out(now + at, width, w.carried, states + row * w.carried, w.carried, rows);
            });
            for (std::ptrdiff_t row = 0; block.mask && row < count; ++row) record.seen[first + row] = bits_at(seen + row / lanes * lanes)[row % lanes] != 0;
        }

        // Each vector of rows: its place among the lanes, its first row, and how many it has.
        template <class Function> void each_group(Function function) const {
            for (std::ptrdiff_t at = 0; at < width; at += lanes) {
                const std::ptrdiff_t row = at < count ? at : count - 1;
                function(at, row, at < count ? count - at < lanes ? count - at : lanes : 1);
            }
        }

        template <class Condition> void set_bits(T *to, Condition condition) const {
            for (std::ptrdiff_t at = 0; at < width; at += lanes) {
                Bits bits{};
                for (std::ptrdiff_t i = 0; i < lanes; ++i) bits[i] = at + i < count && condition(first + at + i) ? -1 : 0;
                M::store(to + at, lanes, (V)bits);
            }
        }

        void run_chunk(std::ptrdiff_t t, std::ptrdiff_t timesteps) {
            const T *const from = block.x + first * block.x_row + t * block.x_time;
            T *const to = block.outputs ? block.outputs + first * block.outputs_row + t * block.outputs_time : nullptr;
            const Times in_x{w.features, block.x_time, timesteps}, in_outputs{w.units, block.outputs_time, timesteps};
            each_group([&](std::ptrdiff_t at, std::ptrdiff_t row, std::ptrdiff_t rows) {
                in_x.each([&](std::ptrdiff_t place, std::ptrdiff_t offset, std::ptrdiff_t length) {
                    turn_in(from + row * block.x_row + offset, block.x_row, rows, length, x + place * width + at, width);
                });
            });
            for (std::ptrdiff_t i = 0; block.mask && i < timesteps; ++i)
                set_bits(live + i * width, [&](std::ptrdiff_t row) { return block.mask[row * block.mask_row + (t + i) * block.mask_time] != 0; });
            const bool in_place = to && !w.cell && !block.mask;  // the outputs are the states
            const T *h = now;
            for (std::ptrdiff_t i = 0; i < timesteps; ++i) {
                T *const out = outputs + in_outputs.place(i) * width, *const next = in_place ? out : then;
                step(x + in_x.place(i) * width, h, next);
                if (block.mask)
                    mask(live + i * width, h, next, out);
                else if (to && !in_place)
                    copy(next, w.units, out);
                h = next;
                if (!in_place) then = now, now = next;
            }
            if (in_place) copy(h, w.units, now);
            if (!to) return;
            each_group([&](std::ptrdiff_t at, std::ptrdiff_t row, std::ptrdiff_t rows) {
                in_outputs.each([&](std::ptrdiff_t place, std::ptrdiff_t offset, std::ptrdiff_t length) {
                    if (at < count) turn_out(outputs + place * width + at, width, length, to + row * block.outputs_row + offset, block.outputs_row, rows);
                });
            });
        }

        static void copy(const T *from, std::ptrdiff_t lines, T *out) {
            for (std::ptrdiff_t i = 0; i < lines * width; i += lanes) M::store(out + i, lanes, M::load(from + i, lanes, 0));
        }
    };

    template <int groups> static std::ptrdiff_t walk(const Weights<T> &w, const Block<T> &block, std::ptrdiff_t begin, std::ptrdiff_t end,
                                                     const Record<T> &record, std::ptrdiff_t first, T *workspace) {
        constexpr std::ptrdiff_t most = groups * lanes;
        const std::ptrdiff_t count = block.rows - first < most ? block.rows - first : most;
        if constexpr (groups > 1)
            if (count <= most / 2) return walk<groups / 2>(w, block, begin, end, record, first, workspace);
        Walk<groups>(w, block, record, first, count, workspace).run(begin, end);
        return count;
    }

    static void run(const Weights<T> *w, const Block<T> *block, std::ptrdiff_t begin, std::ptrdiff_t end, const Record<T> *record, T *workspace) {
        for (std::ptrdiff_t first = 0; first < block->rows;) first += walk<most_groups>(*w, *block, begin, end, *record, first, workspace);
    }
};
