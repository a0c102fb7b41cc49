// The recurrence, over one block.
//
//   h_t = activation(x_t . kernel + h_{t-1} . recurrent_kernel + bias),   or what a cell makes of the sums
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <utility>

#include "dropped.hpp"
#include "shared_row.hpp"
#include "timestep.hpp"

namespace cyrnn {

template <class T> class Recurrence {
public:
    // Bytes of scratch that no block of at most so many rows and timesteps exceeds.
    static std::ptrdiff_t scratch_bytes(const Product<T> &product, const Weights<T> &weights, std::ptrdiff_t rows,
                                        std::ptrdiff_t timesteps, bool masked_or_dropout) {
        const Layout layout(product, weights, rows, timesteps, masked_or_dropout);
        const std::ptrdiff_t together = std::max(rows, product.project ? most_ahead(timesteps) : 0);  // in one product
        const std::ptrdiff_t of_run = product.run_workspace ? product.run_workspace(&weights, rows) : 0;
        return layout.workspace + std::max(workspace_of(product, weights, together), of_run) * std::ptrdiff_t(sizeof(T));
    }

    // Whether the walk came to its end; false where `stop` ended it, which leaves the record and the outputs half done.
    // The scratch begins at a cache line.
    static bool run(const Product<T> &product, const Weights<T> &weights, const Block<T> &block, Record<T> &record,
                    void *scratch, Stop stop, SharedRow<T> *shared = nullptr) {
        return Recurrence(product, weights, block, record, scratch, stop, block.rows == 1 ? shared : nullptr).walk();
    }

private:
    static constexpr std::ptrdiff_t few = 3;     // rows up to which projecting ahead pays
    static constexpr std::ptrdiff_t ahead = 48;  // timesteps

    static std::ptrdiff_t most_ahead(std::ptrdiff_t timesteps) { return std::min(timesteps, ahead); }

    // The parts of the scratch, as bytes from its start; each begins at a cache line.
    struct Layout {
        std::ptrdiff_t sums = 0;        // (rows, lines * units): a cell's
        std::ptrdiff_t projection = 0;  // (few, ahead, lines * units)
        std::ptrdiff_t now = 0, then = 0;  // (rows, carried): the records of the picked rows, and the next ones
        std::ptrdiff_t x = 0;           // (rows, features): x of the picked rows
        std::ptrdiff_t h = 0;           // (rows, units): their h after dropout
        std::ptrdiff_t live = 0, places = 0, since = 0, until = 0;  // (rows) each; see the end of this class
        std::ptrdiff_t workspace = 0;   // the product's, to the end

        Layout(const Product<T> &product, const Weights<T> &weights, std::ptrdiff_t rows, std::ptrdiff_t timesteps,
               bool picks) {
            if (weights.cell) place(sums, rows * weights.sums_row(), sizeof(T));
            if (product.project && timesteps > 1)
                place(projection, std::min(rows, few) * most_ahead(timesteps) * weights.sums_row(), sizeof(T));
            if (!picks) return;
            place(now, rows * weights.carried, sizeof(T));
            place(then, rows * weights.carried, sizeof(T));
            place(x, rows * weights.features, sizeof(T));
            place(h, rows * weights.units, sizeof(T));
            place(live, rows, sizeof(std::ptrdiff_t));
            place(places, rows, sizeof(std::ptrdiff_t));
            place(since, rows, sizeof(std::ptrdiff_t));
            place(until, rows, sizeof(std::ptrdiff_t));
        }

    private:
        void place(std::ptrdiff_t &part, std::ptrdiff_t count, std::size_t size) {
            part = workspace;
            workspace += (count * std::ptrdiff_t(size) + 63) / 64 * 64;
        }
    };

    Recurrence(const Product<T> &product_, const Weights<T> &weights_, const Block<T> &block_, Record<T> &record_,
               void *scratch_, Stop stop_, SharedRow<T> *shared_)
        : product(product_), weights(weights_), block(block_), record(record_), stop(stop_), shared(shared_),
          layout(product_, weights_, block_.rows, block_.timesteps, picks(block_)), scratch(static_cast<char *>(scratch_)),
          features(weights_.features), units(weights_.units), carried(weights_.carried) {}

    static bool picks(const Block<T> &block) { return block.mask || block.input_dropout || block.recurrent_dropout; }

    template <class U> U *at(std::ptrdiff_t part) const { return reinterpret_cast<U *>(scratch + part); }

    bool walk() {
        if (block.timesteps > 1) {
            // Timesteps between two questions whether to stop: a few milliseconds of work, but not each short step.
            const double work = double(block.rows) * double(weights.sums()) * double(weights.depth);
            stretch = work > 1e8 ? 1 : work > 1.6e6 ? std::ptrdiff_t(1e8 / work) : 64;
        }
        if (runs_at_once()) return run_at_once();
        if (picks(block) && block.timesteps > 0) return walk_picked();
        if (record.seen && block.timesteps > 0) std::memset(record.seen, 1, static_cast<std::size_t>(block.rows));
        if (!run_plain({0, 1, block.rows}, 0, block.timesteps)) return false;
        if (block.last_output) copy_rows(block.rows, record.now, carried, block.last_output, block.last_output_row);
        return true;
    }

    // ---- what the engine does for many timesteps at once, also with a mask

    bool runs_at_once() const {
        if (block.input_dropout || block.recurrent_dropout || block.sums || block.alone) return false;
        if (!product.run || block.rows < product.run_rows || block.timesteps < 2) return false;
        if (product.run_workspace(&weights, block.rows) == 0 || (block.mask && !product.run_masked)) return false;
        return !block.mask || 2 * live_timesteps() >= block.rows * block.timesteps;  // masked ones are computed too
    }

    std::ptrdiff_t live_timesteps() const {
        std::ptrdiff_t count = 0;
        for (std::ptrdiff_t row = 0; row < block.rows; ++row)
            for (std::ptrdiff_t t = 0; t < block.timesteps; ++t) count += block.mask[row * block.mask_row + t * block.mask_time] != 0;
        return count;
    }

    bool run_at_once() {
        for (std::ptrdiff_t t = 0; t < block.timesteps; t += stretch) {
            if (t > 0 && stop.asked(stop.self)) return false;
            product.run(&weights, &block, t, std::min(t + stretch, block.timesteps), &record, at<T>(layout.workspace));
        }
        if (record.seen && !block.mask) std::memset(record.seen, 1, static_cast<std::size_t>(block.rows));
        const std::uint8_t *const last_mask = block.mask ? block.mask + (block.timesteps - 1) * block.mask_time : nullptr;
        for (std::ptrdiff_t row = 0; block.last_output && row < block.rows; ++row)
            repeat(row, last_mask && !last_mask[row * block.mask_row], block.last_output + row * block.last_output_row);
        return true;
    }

    bool stopped(std::ptrdiff_t t) const { return t % stretch == stretch - 1 && stop.asked(stop.self); }

    // ---- without mask and dropout: rows that are evenly apart, in their places

    struct Rows {
        std::ptrdiff_t first, apart, count;
    };

    bool run_plain(const Rows &rows, std::ptrdiff_t begin, std::ptrdiff_t end) {
        Step<T> step;
        step.rows = rows.count, step.alone = block.alone;
        step.x = block.x + rows.first * block.x_row + begin * block.x_time, step.x_stride = rows.apart * block.x_row;
        const bool several = end - begin > 1;
        step.projected = product.project && rows.count <= few && several;
        return block.outputs && !weights.cell && several ? run_in_outputs(rows, begin, end, step)
                                                         : run_in_records(rows, begin, end, step);
    }

    // h is all that is carried, and the outputs are its place.
    bool run_in_outputs(const Rows &rows, std::ptrdiff_t begin, std::ptrdiff_t end, Step<T> &step) {
        T *const record_now = record.now + rows.first * carried;
        step.h = record_now, step.h_stride = rows.apart * carried;
        step.out = block.outputs + rows.first * block.outputs_row + begin * block.outputs_time;
        step.out_stride = rows.apart * block.outputs_row;
        for (std::ptrdiff_t t = begin; t < end; ++t, step.turned = !step.turned) {
            if (stopped(t)) return false;
            if (step.projected && (t - begin) % ahead == 0)
                project(rows, t, end, step.h, step.out, step.out_stride, block.outputs_time);
            advance_plain(step);
            step.h = step.out, step.h_stride = step.out_stride;
            step.x += block.x_time, step.out += block.outputs_time;
        }
        copy_rows(rows.count, step.h, step.h_stride, record_now, rows.apart * carried);
        return true;
    }

    // Two records take turns. The outputs are copies: where there is one timestep, they may be x's memory.
    bool run_in_records(const Rows &rows, std::ptrdiff_t begin, std::ptrdiff_t end, Step<T> &step) {
        const std::ptrdiff_t first = rows.first * carried, record_row = rows.apart * carried, columns = weights.sums_row();
        const std::ptrdiff_t most = most_ahead(block.timesteps);
        T *now = record.now + first, *then = record.then + first;
        step.sums = at<T>(layout.sums), step.sums_stride = columns;
        if (block.sums) step.saved = block.sums + rows.first * block.sums_row + begin * block.sums_time, step.saved_stride = rows.apart * block.sums_row;
        step.h_stride = step.before_stride = step.out_stride = record_row;
        for (std::ptrdiff_t t = begin; t < end; ++t, step.x += block.x_time) {
            if (stopped(t)) return false;
            if (step.projected) {
                T *const projection = at<T>(layout.projection), *const x_kernel = projection + (t - begin) % ahead * columns;
                if (x_kernel == projection) project(rows, t, end, now, projection, most * columns, columns);
                if (weights.cell)
                    step.sums = x_kernel, step.sums_stride = most * columns;
                else
                    copy_rows(rows.count, x_kernel, most * columns, then, record_row);
            } else if (shared) {
                shared->begin(1, step.x, 0, now, nullptr, 0, at<T>(layout.workspace));
            }
            step.h = step.before = now, step.out = then, step.turned = std::less<T *>()(then, now);
            advance_plain(step);
            std::swap(now, then);
            if (block.sums) step.saved += block.sums_time;
            if (block.outputs)
                copy_rows(rows.count, now, record_row, block.outputs + rows.first * block.outputs_row + t * block.outputs_time,
                          rows.apart * block.outputs_row);
        }
        if (now == record.now + first) return true;
        if (rows.count == block.rows)
            std::swap(record.now, record.then);
        else
            for (std::ptrdiff_t i = 0; i < rows.count; ++i) copy(now + i * record_row, carried, then + i * record_row);
        return true;
    }

    void advance_plain(const Step<T> &step) {
        T *const workspace = at<T>(layout.workspace);
        shared ? shared->step(step, workspace) : advance(product, weights, step, workspace);
    }

    // x . kernel of the timesteps from t on, before which the record is `now`
    void project(const Rows &rows, std::ptrdiff_t t, std::ptrdiff_t end, const T *now, T *out, std::ptrdiff_t out_row,
                 std::ptrdiff_t out_time) {
        const std::ptrdiff_t count = most_ahead(end - t);
        if (shared) return shared->begin(count, block.x + t * block.x_time, block.x_time, now, out, out_time, at<T>(layout.workspace));
        for (std::ptrdiff_t i = 0; i < rows.count; ++i)
            product.project(&weights, count, block.x + (rows.first + i * rows.apart) * block.x_row + t * block.x_time,
                            block.x_time, out + i * out_row, out_time, at<T>(layout.workspace));
    }

    // ---- with a mask or dropout. A row is live where it is not masked. Between two timesteps at which a row begins or ceases
    // to be live, the live rows are walked as above if they are all rows, or few. Else their records lie side by side, in any
    // order: that is what picked means. So the work is in proportion to the live rows, and no NaN leaks from masked timesteps.

    bool walk_picked() {
        for (std::ptrdiff_t row = 0; row < block.rows; ++row) {
            since()[row] = 0;
            until()[row] = next_change(row, -1, false);
        }
        for (std::ptrdiff_t t = 0, end; t < block.timesteps; t = end) {
            change(t);
            end = block.timesteps;
            for (std::ptrdiff_t row = 0; row < block.rows; ++row) end = std::min(end, until()[row]);
            Rows rows{};
            const bool plain = find_plain(rows);
            if (plain)
                put_back();
            else if (picked == 0)
                pick();
            if (alive > 0 && !(plain ? run_plain(rows, t, end) : run_picked(t, end))) return false;
        }
        put_back();
        for (std::ptrdiff_t row = 0; row < block.rows; ++row) fill(row, block.timesteps);
        if (block.last_output)
            for (std::ptrdiff_t row = 0; row < block.rows; ++row)
                repeat(row, since()[row] >= 0, block.last_output + row * block.last_output_row);
        return true;
    }

    // The first timestep after t at which a row that is live is masked, or the other way round; else the end.
    std::ptrdiff_t next_change(std::ptrdiff_t row, std::ptrdiff_t t, bool is_live) const {
        if (!block.mask) return is_live ? block.timesteps : 0;
        const std::uint8_t *const mask = block.mask + row * block.mask_row;
        for (++t; t < block.timesteps && (mask[t * block.mask_time] != 0) == is_live;) ++t;
        return t;
    }

    // Makes rows live, or masked, that are so from t on. The picked rows follow, if there are any.
    void change(std::ptrdiff_t t) {
        const bool follow = picked > 0;
        for (std::ptrdiff_t row = 0; row < block.rows; ++row) {
            if (until()[row] != t) continue;
            const bool is_live = since()[row] >= 0;  // from now on
            until()[row] = next_change(row, t, is_live);
            if (is_live) {
                fill(row, t);
                since()[row] = -1;
                if (record.seen) record.seen[row] = 1;
                if (follow) pick(row);
            } else {
                since()[row] = t;
                if (follow) drop(row);
            }
            alive += is_live ? 1 : -1;
        }
    }

    // Whether the rows that are live can be walked where they are.
    bool find_plain(Rows &rows) const {
        if (block.input_dropout || block.recurrent_dropout) return false;
        rows = {0, 1, alive};
        if (alive == block.rows || alive == 0) return true;
        if (alive > few) return false;
        std::ptrdiff_t count = 0;
        bool even = true;
        for (std::ptrdiff_t row = 0; row < block.rows; ++row) {
            if (since()[row] >= 0) continue;
            if (count == 0) rows.first = row;
            if (count == 1) rows.apart = row - rows.first;
            even = even && row == rows.first + count * rows.apart;
            ++count;
        }
        return even;
    }

    void pick() {
        for (std::ptrdiff_t row = 0; row < block.rows; ++row)
            if (since()[row] < 0) pick(row);
    }

    void pick(std::ptrdiff_t row) {
        copy(record.now + row * carried, carried, now() + picked * carried);
        live()[picked] = row;
        place()[row] = picked++;
    }

    // Puts a row back; the last takes its place.
    void drop(std::ptrdiff_t row) {
        const std::ptrdiff_t i = place()[row];
        copy(now() + i * carried, carried, record.now + row * carried);
        if (i == --picked) return;
        copy(now() + picked * carried, carried, now() + i * carried);
        live()[i] = live()[picked];
        place()[live()[i]] = i;
    }

    void put_back() {
        for (std::ptrdiff_t i = 0; i < picked; ++i) copy(now() + i * carried, carried, record.now + live()[i] * carried);
        picked = 0;
    }

    bool run_picked(std::ptrdiff_t begin, std::ptrdiff_t end) {
        Step<T> step;
        step.rows = picked, step.places = live(), step.alone = block.alone;
        step.x = block.x + begin * block.x_time, step.x_stride = block.x_row, step.beside = at<T>(layout.x);
        step.h_stride = block.recurrent_dropout ? units : carried;
        step.before_stride = step.out_stride = carried;
        step.sums = at<T>(layout.sums), step.sums_stride = weights.sums_row();
        if (block.sums) step.saved = block.sums + begin * block.sums_time, step.saved_stride = block.sums_row;
        const bool several = block.timesteps > 1;  // else the outputs may be x's memory
        if (block.outputs && several) step.outputs = block.outputs + begin * block.outputs_time;
        step.outputs_stride = block.outputs_row;
        const Dropped<T> dropped{weights, block, picked, live(), at<T>(layout.x), at<T>(layout.h)};
        for (std::ptrdiff_t t = begin; t < end; ++t) {
            if (stopped(t)) return false;
            step.h = step.before = now(), step.out = then();
            if (dropped.by_gate()) {
                dropped.multiply(product, step, t, at<T>(layout.workspace));
                conclude(product, weights, step, at<T>(layout.workspace));
            } else {
                dropped.apply(step, t);
                advance(product, weights, step, at<T>(layout.workspace));
            }
            if (block.sums) step.saved += block.sums_time;
            std::swap(layout.now, layout.then);
            if (!block.input_dropout) step.x += block.x_time;
            if (step.outputs) step.outputs += block.outputs_time;
        }
        for (std::ptrdiff_t i = 0; block.outputs && !several && i < picked; ++i)
            copy(now() + i * carried, units, block.outputs + live()[i] * block.outputs_row);
        return true;
    }

    // The outputs of a masked row from the timestep on at which it ceased to be live, up to t.
    void fill(std::ptrdiff_t row, std::ptrdiff_t t) {
        const std::ptrdiff_t dead = since()[row], time = block.outputs_time;
        if (!block.outputs || dead < 0 || dead >= t) return;
        T *const first = block.outputs + row * block.outputs_row + dead * time;
        repeat(row, true, first);
        if (time == units)  // contiguous: each copy is as long as all before it, for long ones are the fastest
            for (std::ptrdiff_t done = 1, more; done < t - dead; done += more)
                copy(first, (more = std::min(done, t - dead - done)) * units, first + done * units);
        else
            for (std::ptrdiff_t i = 1; i < t - dead; ++i) copy(first, units, first + i * time);
    }

    // out := h. A masked row repeats its last output, which is zeros before its first unmasked timestep.
    void repeat(std::ptrdiff_t row, bool dead, T *out) const {
        if (dead && (block.zero_output_for_mask || !record.seen[row]))
            std::memset(out, 0, static_cast<std::size_t>(units) * sizeof(T));
        else
            copy(record.now + row * carried, units, out);
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
    std::ptrdiff_t *live() const { return at<std::ptrdiff_t>(layout.live); }     // the picked rows
    std::ptrdiff_t *place() const { return at<std::ptrdiff_t>(layout.places); }  // of each of them in `live`
    std::ptrdiff_t *since() const { return at<std::ptrdiff_t>(layout.since); }   // masked from this timestep on; -1: live
    std::ptrdiff_t *until() const { return at<std::ptrdiff_t>(layout.until); }   // when that changes

    const Product<T> &product;
    const Weights<T> &weights;
    const Block<T> &block;
    Record<T> &record;
    const Stop stop;
    SharedRow<T> *const shared;  // or null
    Layout layout;
    char *const scratch;
    const std::ptrdiff_t features, units, carried;
    std::ptrdiff_t stretch = 64, alive = 0, picked = 0;
};

}  // namespace cyrnn
