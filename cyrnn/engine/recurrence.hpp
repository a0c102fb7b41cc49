// The recurrence: one block, which is some timesteps of one slice of the batch.
//
//   h_t = activation(x_t . kernel + h_{t-1} . recurrent_kernel + bias)
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "contract.hpp"

namespace cyrnn {

// What a slice carries from block to block. Before its first block the caller fills `now` with the initial states, or with
// zeros, and `seen` with zeros.
template <class T> struct Record {
    T *now, *then;       // (rows, carried): the states, and where the next ones go. A walk may swap the two.
    std::uint8_t *seen;  // (rows): has there been an unmasked timestep? Null where no block has a mask.
};

// Pointers are to the slice's first row and the block's first timestep. In a block of one timestep, x and the outputs may
// share memory.
template <class T> struct Block {
    std::ptrdiff_t rows, timesteps;
    const T *x;                             // (rows, timesteps, features), contiguous along the features
    std::ptrdiff_t x_row, x_time;
    const std::uint8_t *mask;               // (rows, timesteps), 0 = skip; or null
    std::ptrdiff_t mask_row, mask_time;
    bool zero_output_for_mask;
    const T *input_dropout;                 // (rows, features) factors, or null
    const T *recurrent_dropout;             // (rows, units) factors, or null
    T *outputs;                             // (rows, timesteps, units), or null
    std::ptrdiff_t outputs_row, outputs_time;
    T *last_output;                         // (rows, units); null in every block but the last, and where it is not wanted
    std::ptrdiff_t last_output_row;
    bool alone;                             // a call of one row
};

template <class T> class Recurrence {
public:
    // Bytes of scratch that no block of at most so many rows and timesteps exceeds.
    static std::ptrdiff_t scratch_bytes(const Product<T> &product, const Weights<T> &weights, std::ptrdiff_t rows,
                                        std::ptrdiff_t timesteps, bool masked_or_dropout) {
        const Layout layout(product, weights, rows, timesteps, masked_or_dropout);
        const std::ptrdiff_t together = product.project && rows < ahead ? ahead : rows;  // the most rows in a product
        return layout.workspace + product.workspace(&weights, together) * std::ptrdiff_t(sizeof(T));
    }

    // Whether the walk came to its end; false where `stop` ended it, which leaves the record and the outputs half done.
    // The scratch begins at a cache line.
    static bool run(const Product<T> &product, const Weights<T> &weights, const Block<T> &block, Record<T> &record,
                    void *scratch, Stop stop) {
        return Recurrence(product, weights, block, record, scratch, stop).walk();
    }

private:
    static constexpr std::ptrdiff_t few = 3;     // rows up to which projecting ahead pays
    static constexpr std::ptrdiff_t ahead = 48;  // timesteps

    // The parts of the scratch, as bytes from its start; each begins at a cache line.
    struct Layout {
        std::ptrdiff_t projection = 0;  // (few, ahead, units)
        std::ptrdiff_t now = 0, then = 0;  // (rows, units): the states of the rows that were picked
        std::ptrdiff_t x = 0;           // (rows, features)
        std::ptrdiff_t h = 0;           // (rows, units): after dropout
        std::ptrdiff_t live = 0;        // (rows)
        std::ptrdiff_t since = 0;       // (rows)
        std::ptrdiff_t workspace = 0;   // the product's own, to the end

        Layout(const Product<T> &product, const Weights<T> &weights, std::ptrdiff_t rows, std::ptrdiff_t timesteps,
               bool picks) {
            if (product.project && timesteps > 1) place(projection, (rows < few ? rows : few) * ahead * weights.units, sizeof(T));
            if (!picks) return;
            place(now, rows * weights.units, sizeof(T));
            place(then, rows * weights.units, sizeof(T));
            place(x, rows * weights.features, sizeof(T));
            place(h, rows * weights.units, sizeof(T));
            place(live, rows, sizeof(std::ptrdiff_t));
            place(since, rows, sizeof(std::ptrdiff_t));
        }

    private:
        void place(std::ptrdiff_t &part, std::ptrdiff_t count, std::size_t size) {
            part = workspace;
            workspace += (count * std::ptrdiff_t(size) + 63) / 64 * 64;
        }
    };

    Recurrence(const Product<T> &product_, const Weights<T> &weights_, const Block<T> &block_, Record<T> &record_,
               void *scratch_, Stop stop_)
        : product(product_), weights(weights_), block(block_), record(record_), stop(stop_),
          layout(product_, weights_, block_.rows, block_.timesteps, picks(block_)), scratch(static_cast<char *>(scratch_)),
          features(weights_.features), units(weights_.units) {}

    static bool picks(const Block<T> &block) { return block.mask || block.input_dropout || block.recurrent_dropout; }

    template <class U> U *at(std::ptrdiff_t part) const { return reinterpret_cast<U *>(scratch + part); }

    bool walk() {
        if (block.timesteps > 1) {
            // Timesteps between two questions whether to stop: a few milliseconds of work, but not each short step.
            const double work = double(block.rows) * double(units) * double(weights.depth);
            stretch = work > 1e8 ? 1 : work > 1.6e6 ? std::ptrdiff_t(1e8 / work) : 64;
        }
        if (picks(block)) return walk_picked();
        if (record.seen && block.timesteps > 0) std::memset(record.seen, 1, static_cast<std::size_t>(block.rows));
        if (!run_plain({0, 1, block.rows}, 0, block.timesteps)) return false;
        if (block.last_output) copy_rows(block.rows, record.now, units, block.last_output, block.last_output_row);
        return true;
    }

    bool stopped(std::ptrdiff_t t) const { return t % stretch == stretch - 1 && stop.asked(stop.self); }

    // ---- nothing but the equation: rows that are as far apart as each other, none of them masked, where they are

    struct Rows {
        std::ptrdiff_t first, apart, count;
    };

    // The outputs are the states where they are kept; else two blocks take turns.
    bool run_plain(const Rows &rows, std::ptrdiff_t begin, std::ptrdiff_t end) {
        const bool in_outputs = block.outputs && end - begin > 1;
        const bool project = product.project && rows.count <= few && end - begin > 1;
        const std::ptrdiff_t x_row = rows.apart * block.x_row, outputs_row = rows.apart * block.outputs_row;
        const std::ptrdiff_t state_row = rows.apart * units;
        T *const begun = record.now + rows.first * units;
        T *now = begun, *then = record.then + rows.first * units;
        for (std::ptrdiff_t t = begin; t < end; ++t) {
            if (stopped(t)) return false;
            const std::ptrdiff_t since = (t - begin) % ahead;
            if (project && since == 0) project_from(rows, t, end);
            const T *const x = block.x + rows.first * block.x_row + t * block.x_time;
            T *const outputs = block.outputs ? block.outputs + rows.first * block.outputs_row + t * block.outputs_time : nullptr;
            if (in_outputs) {
                const bool initial = t == begin;
                const Step<T> step{rows.count, x, x_row, initial ? begun : outputs - block.outputs_time,
                                   initial ? state_row : outputs_row, outputs, outputs_row, project, block.alone};
                product.step(&weights, &step, at<T>(layout.workspace));
                continue;
            }
            if (project) copy_rows(rows.count, at<T>(layout.projection) + since * units, ahead * units, then, state_row);
            const Step<T> step{rows.count, x, x_row, now, state_row, then, state_row, project, block.alone};
            product.step(&weights, &step, at<T>(layout.workspace));
            std::swap(now, then);
            if (outputs) copy_rows(rows.count, now, state_row, outputs, outputs_row);
        }
        if (in_outputs)
            copy_rows(rows.count, block.outputs + rows.first * block.outputs_row + (end - 1) * block.outputs_time, outputs_row,
                      begun, state_row);
        else if (now != begun && rows.count == block.rows)
            std::swap(record.now, record.then);
        else if (now != begun)
            copy_rows(rows.count, now, state_row, begun, state_row);
        return true;
    }

    // x . kernel of the timesteps from t on: where the outputs will be, else in projection (few, ahead, units)
    void project_from(const Rows &rows, std::ptrdiff_t t, std::ptrdiff_t end) {
        const std::ptrdiff_t count = end - t < ahead ? end - t : ahead;
        for (std::ptrdiff_t i = 0; i < rows.count; ++i) {
            const std::ptrdiff_t row = rows.first + i * rows.apart;
            T *const out = block.outputs ? block.outputs + row * block.outputs_row + t * block.outputs_time
                                         : at<T>(layout.projection) + i * ahead * units;
            product.project(&weights, count, block.x + row * block.x_row + t * block.x_time, block.x_time, out,
                            block.outputs ? block.outputs_time : units, at<T>(layout.workspace));
        }
    }

    // ---- with a mask or dropout. A row that is not masked is live. Between two timesteps at which a row begins or ceases to
    // live, the live rows are walked as above where they are evenly apart; else they are picked, side by side in any order.
    // So the work is in proportion to them, and no NaN leaks from masked timesteps.

    bool walk_picked() {
        for (std::ptrdiff_t row = 0; row < block.rows; ++row) since()[row] = 0;
        for (std::ptrdiff_t t = 0, end; t < block.timesteps; t = end) {
            for (end = t + 1; end < block.timesteps && !changes(end);) ++end;
            Rows rows{};
            const bool even = find_live(t, rows) && !block.input_dropout && !block.recurrent_dropout;
            if (even) put_back();
            change(t, !even);
            if (rows.count > 0 && !(even ? run_plain(rows, t, end) : run_picked(t, end))) return false;
        }
        put_back();
        for (std::ptrdiff_t row = 0; row < block.rows; ++row) fill(row, block.timesteps);
        if (block.last_output)
            for (std::ptrdiff_t row = 0; row < block.rows; ++row)
                repeat(row, masked(row, block.timesteps - 1), block.last_output + row * block.last_output_row);
        return true;
    }

    bool masked(std::ptrdiff_t row, std::ptrdiff_t t) const {
        return block.mask && t >= 0 && !block.mask[row * block.mask_row + t * block.mask_time];
    }

    // Whether at t other rows are live than one timestep before.
    bool changes(std::ptrdiff_t t) const {
        if (!block.mask) return false;
        for (std::ptrdiff_t row = 0; row < block.rows; ++row)
            if (masked(row, t) != masked(row, t - 1)) return true;
        return false;
    }

    // The rows that are live at t; and whether they are evenly apart, else only their count is right.
    bool find_live(std::ptrdiff_t t, Rows &rows) const {
        bool even = true;
        for (std::ptrdiff_t row = 0; row < block.rows; ++row) {
            if (masked(row, t)) continue;
            if (rows.count == 0) rows.first = row;
            if (rows.count == 1) rows.apart = row - rows.first;
            even = even && row == rows.first + rows.count * rows.apart;
            ++rows.count;
        }
        return even;
    }

    // Brings `since`, and what is picked if anything shall be, to timestep t.
    void change(std::ptrdiff_t t, bool pick) {
        for (std::ptrdiff_t i = 0; i < picked;) {
            if (!masked(live()[i], t)) {
                ++i;
                continue;
            }
            copy(now() + i * units, units, record.now + live()[i] * units);
            if (i == --picked) break;
            copy(now() + picked * units, units, now() + i * units);  // the last takes the place
            live()[i] = live()[picked];
        }
        const bool none = picked == 0;
        for (std::ptrdiff_t row = 0; row < block.rows; ++row) {
            const bool was_live = since()[row] < 0;
            if (masked(row, t)) {
                if (was_live) since()[row] = t;
                continue;
            }
            if (!was_live) {
                fill(row, t);
                since()[row] = -1;
                if (record.seen) record.seen[row] = 1;
            }
            if (!pick || (was_live && !none)) continue;
            copy(record.now + row * units, units, now() + picked * units);
            live()[picked++] = row;
        }
    }

    void put_back() {
        for (std::ptrdiff_t i = 0; i < picked; ++i) copy(now() + i * units, units, record.now + live()[i] * units);
        picked = 0;
    }

    bool run_picked(std::ptrdiff_t begin, std::ptrdiff_t end) {
        T *const x = at<T>(layout.x), *const h = at<T>(layout.h);
        for (std::ptrdiff_t t = begin; t < end; ++t) {
            if (stopped(t)) return false;
            for (std::ptrdiff_t i = 0; i < picked; ++i) {
                const std::ptrdiff_t row = live()[i];
                take(block.x + row * block.x_row + t * block.x_time,
                     block.input_dropout ? block.input_dropout + row * features : nullptr, features, x + i * features);
                if (block.recurrent_dropout)  // the state that is carried stays whole
                    take(now() + i * units, block.recurrent_dropout + row * units, units, h + i * units);
            }
            const Step<T> step{picked, x, features, block.recurrent_dropout ? h : now(), units, then(), units, false, block.alone};
            product.step(&weights, &step, at<T>(layout.workspace));
            std::swap(layout.now, layout.then);
            for (std::ptrdiff_t i = 0; block.outputs && i < picked; ++i)
                copy(now() + i * units, units, block.outputs + live()[i] * block.outputs_row + t * block.outputs_time);
        }
        return true;
    }

    // The outputs of a row from the timestep on at which it ceased to live, up to t.
    void fill(std::ptrdiff_t row, std::ptrdiff_t t) {
        if (!block.outputs || since()[row] < 0) return;
        for (std::ptrdiff_t dead = since()[row]; dead < t; ++dead)
            repeat(row, true, block.outputs + row * block.outputs_row + dead * block.outputs_time);
    }

    // out := h. A masked row repeats its last output, which is zeros before its first unmasked timestep.
    void repeat(std::ptrdiff_t row, bool dead, T *out) const {
        if (dead && (block.zero_output_for_mask || !record.seen[row]))
            std::memset(out, 0, static_cast<std::size_t>(units) * sizeof(T));
        else
            copy(record.now + row * units, units, out);
    }

    static void take(const T *from, const T *factors, std::ptrdiff_t count, T *to) {
        if (!factors) return copy(from, count, to);
        for (std::ptrdiff_t i = 0; i < count; ++i) to[i] = from[i] * factors[i];
    }

    static void copy(const T *from, std::ptrdiff_t count, T *to) {
        std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(T));
    }

    // h of some rows
    void copy_rows(std::ptrdiff_t rows, const T *from, std::ptrdiff_t from_row, T *to, std::ptrdiff_t to_row) const {
        for (std::ptrdiff_t row = 0; row < rows; ++row) copy(from + row * from_row, units, to + row * to_row);
    }

    T *now() const { return at<T>(layout.now); }
    T *then() const { return at<T>(layout.then); }
    std::ptrdiff_t *live() const { return at<std::ptrdiff_t>(layout.live); }    // which rows were picked
    std::ptrdiff_t *since() const { return at<std::ptrdiff_t>(layout.since); }  // masked from this timestep on; -1: live

    const Product<T> &product;
    const Weights<T> &weights;
    const Block<T> &block;
    Record<T> &record;
    const Stop stop;
    Layout layout;
    char *const scratch;
    const std::ptrdiff_t features, units;
    std::ptrdiff_t stretch = 64, picked = 0;
};

}  // namespace cyrnn
