// The product of a timestep on matrix tiles, which multiply numbers of 8 bits (bfloat16) and sum in float32.
//
// Included inside a namespace per instruction set, after tile_registers.hpp and matrix_parts.hpp.
//
// An element is a chain along the blocks of 32 numbers of x, and then of h, in each block the products in their order. It
// depends on neither the other rows nor their number, but differs from the chain of tiles.hpp: so which of the two it is
// depends on the weights and on the batch of a call alone.
//
// What follows a product, a row at a time, is done between the tile products of the next one, where those are queued in a unit of
// their own; or else at once.

template <class Registers, int parts> struct MatrixTiles : MatrixParts<parts> {
    using Parts = MatrixParts<parts>;
    using typename Parts::Shape;
    using typename Parts::U;
    using typename Parts::UnalignedV;
    using Parts::any, Parts::block, Parts::columns, Parts::convert, Parts::side, Parts::tile_words, Parts::together;

    static constexpr int products = parts == 3 ? 6 : 1;
    // The smallest first. One operand changes at a time.
    static constexpr int part_of_a(int i) { return parts == 1 ? 0 : i == 0 ? 2 : i <= 2 ? 1 : 0; }
    static constexpr int part_of_b(int i) { return parts == 1 ? 0 : i <= 1 || i == 5 ? 0 : i <= 3 ? 1 : 2; }

    // ---- a timestep

    struct Operand {  // A, for one timestep
        std::uint32_t *a;
        std::uint8_t *special_x, *special_h;  // (rows): whether some number of x, or of h, has no three parts
    };

    struct Walk {
        const Weights<float> &w;
        const Shape shape;
        const std::ptrdiff_t rows;
        const bool activates;
        Registers registers;
        Operand now, next;  // next.a is null where there is no next timestep
        float *const c;     // (32, 32) or (16, 64): a product
        float *space_of_one;

        // What is left to do of the last product: its rows from `row` on.
        struct Rest {
            const Step<float> *step = nullptr;  // where they go
            std::ptrdiff_t row = 0, rows = 0, width = 0, first_row = 0, first = 0, count = 0;
        } rest;
        bool of_last_timestep = false;      // it is h of `now`
        const Step<float> *step = nullptr;  // the timestep
        const float *x = nullptr;                  // rows of the next x that are still to be converted, from x_row on
        std::ptrdiff_t x_stride = 0, x_row = 0, share = 0;  // share: of them, in each product
        std::ptrdiff_t due = 0, pace = 0, slots = 1;

        // `timesteps`: 2 where several are walked.
        Walk(const Weights<float> &weights, std::ptrdiff_t rows_, float *workspace, int timesteps)
            : w(weights), shape(weights), rows(rows_), activates(!weights.cell && !weights.by_row), c(aligned(workspace)) {
            std::uint32_t *const a = reinterpret_cast<std::uint32_t *>(c + side * together);
            const std::ptrdiff_t words = row_tiles(rows) * shape.row_tile_words();
            std::uint8_t *const flags = reinterpret_cast<std::uint8_t *>(a + timesteps * words);
            space_of_one = aligned(reinterpret_cast<float *>(a + timesteps * words) + rows);
            now = {a, flags, flags + rows};
            next = timesteps > 1 ? Operand{a + words, flags + 2 * rows, flags + 3 * rows} : Operand{nullptr, nullptr, nullptr};
        }

        static float *aligned(float *p) { return p + (64 - reinterpret_cast<std::uintptr_t>(p) % 64) % 64 / sizeof(float); }

        std::uint32_t *line_of(const Operand &operand, std::ptrdiff_t row, std::ptrdiff_t k) const {
            return operand.a + ((row / side * shape.blocks + k) * parts) * tile_words + row % side * side;
        }

        [[gnu::noinline]] bool take(const Operand &operand, std::ptrdiff_t row, const float *from, std::ptrdiff_t length, std::ptrdiff_t k) const {
            U special{};
            for (std::ptrdiff_t i = 0; i < length; i += block, ++k)
                convert(from + i, length - i < block ? length - i : block, line_of(operand, row, k), special);
            return any(special);
        }

        void take_x(const Operand &operand, std::ptrdiff_t row, const float *from) const { operand.special_x[row] = take(operand, row, from, w.features, 0); }
        void take_h(const Operand &operand, std::ptrdiff_t row, const float *from) const {
            operand.special_h[row] = take(operand, row, from, w.depth - w.features, shape.x_blocks);
        }

        // ---- between the products

        void slot() {
            if constexpr (!Registers::queues) return;
            due += pace;
            if (due < slots) return;
            std::ptrdiff_t count = 0;
            for (; due >= slots; due -= slots) ++count;
            work(count);
        }

        [[gnu::noinline]] void work(std::ptrdiff_t count) {
            const std::ptrdiff_t finished = finish(count);
            for (; count > finished && x && x_row < rows; --count, ++x_row) take_x(next, x_row, x + x_row * x_stride);
        }

        void finish_all() { if (rest.row < rest.rows) finish(rest.rows - rest.row); }

        // At most `count` rows of the last product to their places.
        [[gnu::noinline]] std::ptrdiff_t finish(std::ptrdiff_t count) {
            if (count > rest.rows - rest.row) count = rest.rows - rest.row;
            if (count <= 0) return 0;
            const Step<float> &to = *rest.step;
            float *from = c + rest.row * rest.width;
            const std::ptrdiff_t first_row = rest.first_row + rest.row, stride = w.cell ? to.sums_stride : to.out_stride;
            if (activates) w.activate(from, rest.width, w.bias ? w.bias + rest.first : nullptr, count, rest.count);
            for (std::ptrdiff_t row = first_row; row < first_row + count; ++row, from += rest.width) {
                copy(from, rest.count, (w.cell ? to.sums : to.out) + row * stride + rest.first);
                if (activates && to.outputs) copy(from, rest.count, to.outputs_row(row) + rest.first);
                if (of_last_timestep || next.a) give_on(of_last_timestep ? now : next, row, from);
            }
            rest.row += count;
            return count;
        }

        [[gnu::noinline]] void give_on(const Operand &operand, std::ptrdiff_t row, const float *from) const {
            U special{};
            for (std::ptrdiff_t i = 0; i < rest.count; i += block)
                convert(from + i, rest.count - i < block ? rest.count - i : block, line_of(operand, row, shape.x_blocks + (rest.first + i) / block), special);
            operand.special_h[row] |= any(special);
        }

        static void copy(const float *from, std::ptrdiff_t count, float *to) {
            std::ptrdiff_t i = 0;
            for (; i + side <= count; i += side) *reinterpret_cast<UnalignedV *>(to + i) = *reinterpret_cast<const UnalignedV *>(from + i);
            for (; i < count; ++i) to[i] = from[i];
        }

        // ---- products of `tall` tiles of rows by `wide` tiles of columns. The sums are in registers 0 to 3.

        template <int tall, int wide> static constexpr int a_register(int i) { return 4 + (tall == 2 ? i : 0); }
        template <int tall, int wide> static constexpr int b_register(int j) { return tall == 2 ? 6 + j : 5 + j % 3; }

        template <int tall, int wide, int... t> void zero(std::integer_sequence<int, t...>) { (registers.template zero<t>(), ...); }

        template <int tall, int wide, int... t> void store(std::integer_sequence<int, t...>) {
            (registers.template store<t>(c + t / wide * side * wide * side + t % wide * side, wide * side), ...);
        }

        template <int tall, int wide, int i, int... j> void multiply_row(std::integer_sequence<int, j...>) {
            (registers.template multiply<i * wide + j, a_register<tall, wide>(i), b_register<tall, wide>(j)>(), ...);
        }

        // One column of tiles after the other: b is read anew for each product.
        template <int wide, int... j> void multiply_in_turn(const std::uint32_t *b, std::integer_sequence<int, j...>) {
            ((registers.template load<b_register<1, wide>(j)>(b + j / 2 * shape.panel_words() + j % 2 * tile_words),
              registers.template multiply<j, a_register<1, wide>(0), b_register<1, wide>(j)>()), ...);
        }

        template <int tall, int wide, int i> [[gnu::always_inline]] inline void product(const std::uint32_t *a, const std::uint32_t *b) {
            constexpr bool new_a = i == 0 || part_of_a(i) != part_of_a(i - 1), new_b = i == 0 || part_of_b(i) != part_of_b(i - 1);
            constexpr auto columns_of_tiles = std::make_integer_sequence<int, wide>{};
            a += part_of_a(i) * tile_words, b += part_of_b(i) * 2 * tile_words;
            if constexpr (new_a) registers.template load<a_register<tall, wide>(0)>(a);
            if constexpr (new_a && tall == 2) registers.template load<a_register<tall, wide>(1)>(a + shape.row_tile_words());
            if constexpr (tall == 1) {
                multiply_in_turn<wide>(b, columns_of_tiles);
            } else {
                if constexpr (new_b) registers.template load<b_register<tall, wide>(0)>(b), registers.template load<b_register<tall, wide>(1)>(b + tile_words);
                multiply_row<tall, wide, 0>(columns_of_tiles);
                multiply_row<tall, wide, 1>(columns_of_tiles);
            }
            slot();
        }

        template <int tall, int wide, int... i> [[gnu::always_inline]] inline void products_of(const std::uint32_t *a, const std::uint32_t *b, std::integer_sequence<int, i...>) {
            (product<tall, wide, i>(a, b), ...);
        }

        template <int tall, int wide> void multiply(std::ptrdiff_t first_row, std::ptrdiff_t count, std::ptrdiff_t panel, std::ptrdiff_t length) {
            constexpr auto tiles = std::make_integer_sequence<int, tall * wide>{};
            const std::uint32_t *a = now.a + first_row / side * shape.row_tile_words();
            const std::uint32_t *b = w.tiles + panel * shape.panel_words();
            // The last product of the timestep before is h of this one.
            const std::ptrdiff_t needed = of_last_timestep ? shape.x_blocks + rest.first / block : -1;
            slots = length > 0 ? length * products : 1, due = 0;
            pace = rest.rows - rest.row + (x ? share : 0);
            zero<tall, wide>(tiles);
            for (std::ptrdiff_t k = 0; k < length; ++k, a += parts * tile_words, b += parts * 2 * tile_words) {
                if (k == needed) finish_all();
                products_of<tall, wide>(a, b, std::make_integer_sequence<int, products>{});
            }
            finish_all();
            store<tall, wide>(tiles);
            of_last_timestep = false;
            rest = {step, 0, count, wide * side, first_row, panel * columns, w.sums() - panel * columns};
            if (rest.count > rest.width) rest.count = rest.width;
            if constexpr (!Registers::queues) finish_all();
        }

        // All columns of some groups of rows. Panels in pairs, of which both have a part in h, or neither.
        template <int tall> void pass(std::ptrdiff_t first_row, std::ptrdiff_t groups, std::ptrdiff_t count) {
            constexpr std::ptrdiff_t group = tall * side;
            const auto of = [&](std::ptrdiff_t i) { return std::uint8_t(count - i * side < side ? count - i * side : side); };
            if constexpr (tall == 2)
                registers.configure({of(0), of(0), of(1), of(1), of(0), of(1), side, side});
            else
                registers.configure({of(0), of(0), of(0), of(0), of(0), side, side, side});
            for (std::ptrdiff_t panel = 0; panel < shape.panels; panel += 2) {
                const std::ptrdiff_t length = panel * columns < w.recurrent ? shape.blocks : shape.x_blocks;
                const bool both = panel + 1 < shape.panels;
                if constexpr (tall == 1) {
                    if (both) multiply<1, 4>(first_row, count, panel, length);
                    else multiply<1, 2>(first_row, count, panel, length);
                } else {
                    for (std::ptrdiff_t p = panel; p <= panel + both; ++p)
                        for (std::ptrdiff_t g = 0; g < groups; ++g) multiply<2, 2>(first_row + g * group, count, p, length);
                }
            }
        }

        // One timestep, whose A is `now`: its last product is left to be finished. The next x, if there is one, is taken.
        void timestep(const Step<float> &step_, const float *next_x) {
            step = &step_, x = next_x, x_stride = step_.x_stride, x_row = 0;
            const std::ptrdiff_t whole = rows / block, left = rows % block, groups = (whole + (left > 0)) * shape.panels;
            share = (rows + groups - 1) / groups;
            if (next.a) __builtin_memset(next.special_h, 0, std::size_t(rows));
            if (whole > 0) pass<2>(0, whole, block);
            if (left > side)
                pass<2>(whole * block, 1, left);
            else if (left > 0)
                pass<1>(whole * block, 1, left);
            for (; x && x_row < rows; ++x_row) take_x(next, x_row, x + x_row * x_stride);
            x = nullptr;
            if (!activates && !w.cell) activate_rows();
            for (std::ptrdiff_t row = 0; row < rows; ++row)
                if (now.special_x[row] || now.special_h[row]) return by_multiply_adds();
        }

        void activate_rows() {
            finish_all();
            w.activate(step->out, step->out_stride, w.bias, rows, w.units);
            for (std::ptrdiff_t row = 0; step->outputs && row < rows; ++row) copy(step->out + row * step->out_stride, w.units, step->outputs_row(row));
        }

        // Rows whose numbers have no parts go another way, for this timestep.
        void by_multiply_adds() {
            finish_all();
            for (std::ptrdiff_t row = 0; row < rows; ++row) {
                if (!now.special_x[row] && !now.special_h[row]) continue;
                Step<float> one = *step;
                one.rows = 1, one.places = nullptr, one.beside = nullptr;
                one.x = step->x_row(row), one.h = step->h + row * step->h_stride;
                one.out = step->out + row * step->out_stride;
                if (w.cell) one.sums = step->sums + row * step->sums_stride;
                if (step->outputs) one.outputs = step->outputs_row(row);
                otherwise(&w, &one, space_of_one);
                if (next.a) take_h(next, row, one.out);
            }
        }

        // The next timestep is `now`, with what is left of the one before.
        void turn() {
            const Operand before = now;
            now = next, next = before;
            of_last_timestep = rest.row < rest.rows;
        }

        void end() {
            finish_all();
            registers.release();
        }
    };

    static std::ptrdiff_t row_tiles(std::ptrdiff_t rows) { return (rows + side - 1) / side; }

    // For weights without tiles, and rows that have no parts.
    static void otherwise(const Weights<float> *w, const Step<float> *step, float *workspace) {
        if constexpr (parts == 1) step_rounded(w, step, workspace);
        else w->plain->step(w, step, workspace);
    }

    static std::ptrdiff_t space_otherwise(const Weights<float> *w, std::ptrdiff_t rows) {
        return parts == 1 ? workspace_rounded(w, rows) : w->plain->workspace(w, rows);
    }

    static std::ptrdiff_t space(const Weights<float> *w, std::ptrdiff_t rows, int timesteps) {
        const std::ptrdiff_t lines = 2 * side, flags = rows;  // of alignment
        return lines + side * together + timesteps * row_tiles(rows) * Shape(*w).row_tile_words() + flags + space_otherwise(w, 1);
    }

    static std::ptrdiff_t workspace(const Weights<float> *w, std::ptrdiff_t rows) {
        return w->tiles ? space(w, rows, 1) : space_otherwise(w, rows);
    }

    static void step(const Weights<float> *w, const Step<float> *step, float *workspace) {
        if (!w->tiles) return otherwise(w, step, workspace);
        Walk walk(*w, step->rows, workspace, 1);
        for (std::ptrdiff_t row = 0; row < step->rows; ++row) {
            walk.take_x(walk.now, row, step->x_row(row));
            walk.take_h(walk.now, row, step->h + row * step->h_stride);
        }
        walk.timestep(*step, nullptr);
        walk.end();
    }

    // ---- many timesteps of SimpleRNN: while one is computed the next x is converted, and h on its way to the outputs

    static std::ptrdiff_t run_workspace(const Weights<float> *w, std::ptrdiff_t rows) {
        return w->tiles && !w->cell && !w->by_row ? space(w, rows, 2) : 0;
    }

    static void run(const Weights<float> *w, const Block<float> *block, std::ptrdiff_t begin, std::ptrdiff_t end, const Record<float> *record,
                    float *workspace) {
        Walk walk(*w, block->rows, workspace, 2);
        Step<float> steps[2];  // in turn: one is not finished before the next has begun
        steps[0].rows = block->rows, steps[0].x_stride = block->x_row;
        steps[0].x = block->x + begin * block->x_time;
        steps[0].h = record->now, steps[0].h_stride = w->carried;
        for (std::ptrdiff_t row = 0; row < block->rows; ++row) {
            walk.take_x(walk.now, row, steps[0].x + row * block->x_row);
            walk.take_h(walk.now, row, record->now + row * w->carried);
        }
        for (std::ptrdiff_t t = begin; t < end; ++t) {
            Step<float> &step = steps[(t - begin) % 2], &next = steps[(t - begin + 1) % 2];
            step.out = block->outputs ? block->outputs + t * block->outputs_time : step.h == record->now ? record->then : record->now;
            step.out_stride = block->outputs ? block->outputs_row : w->carried;
            walk.timestep(step, t + 1 < end ? step.x + block->x_time : nullptr);
            walk.turn();
            next = step;
            next.x += block->x_time, next.h = step.out, next.h_stride = step.out_stride;
        }
        walk.end();
        const Step<float> &last = steps[(end - begin) % 2];
        for (std::ptrdiff_t row = 0; last.h != record->now && row < block->rows; ++row)
            Walk::copy(last.h + row * last.h_stride, w->units, record->now + row * w->carried);
    }

    static constexpr OnTiles functions(Batches (*faster)(std::ptrdiff_t, std::ptrdiff_t)) {
        return {{workspace, step, nullptr, nullptr, nullptr, 0, nullptr, nullptr, nullptr, run_workspace, run, 2, false}, faster, Parts::packed_words, Parts::pack};
    }
};
