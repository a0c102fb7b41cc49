// The timesteps of one row, of which each party of a crew computes some columns.
//
// Each party has the whole record. In a timestep it computes its columns of the products, publishes them, and takes those of
// the others; what a cell makes of them each party computes for all units. An element is computed as it is on one
// thread, by any of them, so the bits are the same.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "crew.hpp"
#include "prepared.hpp"
#include "timestep.hpp"

namespace cyrnn {

template <class T> class SharedRow {
public:
    // Whether a timestep takes long enough, a microsecond or so: one party needs a fifth of that to see what another has published.
    static bool pays(const Product<T> &product, const Weights<T> &weights) {
        const std::ptrdiff_t columns = weights.recurrent + (weights.second ? weights.units : 0);
        return product.shared_columns > 0 && !weights.by_row && columns >= 2 * product.shared_columns &&
               double(columns) * double(weights.units) >= 65536;
    }

    SharedRow(Crew &crew_, const Prepared &prepared, const Product<T> &product_, const Weights<T> &weights_, bool alone_)
        : crew(crew_), held(prepared.weak_from_this().lock()), product(product_), weights(weights_), alone(alone_) {
        wanted = held ? int(std::min<std::ptrdiff_t>(weights.recurrent / product.shared_columns, Crew::most_helpers)) : 1;
    }
    ~SharedRow() { end(); }
    SharedRow(const SharedRow &) = delete;
    SharedRow &operator=(const SharedRow &) = delete;

    // The next `count` timesteps. x . kernel goes to `projected`, (count, sums), for the columns that the caller computes; if that
    // is null, it is a part of each timestep.
    void begin(std::ptrdiff_t count_, const T *x_, std::ptrdiff_t x_time_, const T *record, T *projected_, std::ptrdiff_t projected_time_,
               T *workspace) {
        end();
        count = count_, done = 0, x = x_, x_time = x_time_, projected = projected_, projected_time = projected_time_;
        find_helpers(record, nullptr);
        if (projected) project(share_of(product, weights, 0, parties), 0, workspace);
    }

    // In the place of `advance`.
    void step(const Step<T> &step, T *workspace) {
        if (done == count) return advance(product, weights, step, workspace);
        if (parties == 1 && done > 0 && done % often == 0) look_again(weights.cell ? step.before : step.h);
        if (done > 0) began = Clock::now();
        ++done;
        if (parties == 1) return advance(product, weights, step, workspace);
        for (int e = 0; e < exchanges(weights); ++e) {
            if (e > 0) weights.cell->between(&weights, &step);
            if (parties == 1) {
                multiply_second(product, weights, step, workspace);
                continue;
            }
            const std::ptrdiff_t position = position_of(weights, done, e);
            publish_part(crew, *job, 0, session, step, e, position, workspace);
            if (all_have_published(position))
                take_parts(*job, 0, step, e, position);
            else
                go_on_alone(step, e, workspace);
        }
        if (weights.cell) finish(weights, step);
    }

    // Ends the timesteps, also before the last one.
    void end() {
        if (parties > 1 && done < count) crew.close();
        parties = 1;
    }

private:
    static constexpr std::ptrdiff_t often = 8;  // timesteps after which a caller that is alone looks for helpers again

    struct Columns {
        std::ptrdiff_t begin, end;
    };

    // What a party computes of a timestep: of the first product columns that h has a part in, and such as are of x alone; and
    // of the second one.
    struct Share {
        Columns of_h, of_x, second;
    };

    struct Job {  // in the crew's memory
        Product<T> product;
        Weights<T> weights;
        std::ptrdiff_t count;
        int parties;
        bool alone, projected, projects;  // whether x . kernel is there before the timesteps, and whether the helpers compute it
        T *x, *record;      // (count, features), or x . kernel, (count, sums); (carried)
        T *lines[2];        // what is published at a position, and at the next one: a row of sums, or of h
        char *own;          // each helper's
        std::ptrdiff_t own_bytes;
    };

    // What a helper has for itself: a record and the next one, a row of sums, what is projected, and the product's workspace.
    struct Own {
        std::ptrdiff_t records, sums, projected, workspace, bytes = 0;

        Own(const Product<T> &product, const Weights<T> &weights, std::ptrdiff_t count, bool projects) {
            records = take(2 * weights.carried), sums = take(weights.sums_row()), projected = take(projects ? count * weights.sums() : 0);
            workspace = take(workspace_of(product, weights, count));
        }

        std::ptrdiff_t take(std::ptrdiff_t elements) {
            const std::ptrdiff_t at = bytes;
            bytes += in_lines(elements * std::ptrdiff_t(sizeof(T)));
            return at;
        }
    };

    static constexpr std::ptrdiff_t in_lines(std::ptrdiff_t bytes) { return (bytes + 127) / 128 * 128; }

    // Strips of columns, as even as can be. The last party has what is left after those of the first product, and the first party
    // what is left after those of the second one.
    static Share share_of(const Product<T> &product, const Weights<T> &weights, int party, int parties) {
        const std::ptrdiff_t width = product.shared_columns;
        const auto cut = [&](std::ptrdiff_t begin, std::ptrdiff_t end, int p) {
            const std::ptrdiff_t strips = (end - begin) / width;
            const auto at = [&](int q) { return q == parties ? end : begin + strips * q / parties * width; };
            return Columns{at(p), at(p + 1)};
        };
        const std::ptrdiff_t all = weights.sums(), of_h = std::min(all, (weights.recurrent + width - 1) / width * width);
        return {cut(0, of_h, party), cut(of_h, all, party), cut(0, weights.second ? weights.units : 0, parties - 1 - party)};
    }

    // ---- the positions of a timestep at which the parties exchange what they have computed: a second one where a cell makes
    // something of the first product for the second one

    static int exchanges(const Weights<T> &weights) { return weights.second && weights.cell->between ? 2 : 1; }

    static std::ptrdiff_t position_of(const Weights<T> &weights, std::ptrdiff_t timestep, int exchange) {
        return (timestep - 1) * exchanges(weights) + exchange + 1;
    }

    static bool has_first(int exchange) { return exchange == 0; }
    static bool has_second(const Weights<T> &weights, int exchange) { return weights.second && exchange + 1 == exchanges(weights); }

    static T *line_of(const Weights<T> &weights, const Step<T> &step) { return weights.cell ? step.sums : step.out; }

    // Where the second product is in a line of sums.
    static std::ptrdiff_t second_at(const Weights<T> &weights) { return weights.cell->second * weights.units; }

    static std::ptrdiff_t line_length(const Weights<T> &weights) {
        return weights.second ? second_at(weights) + weights.units : weights.sums();
    }

    static void multiply(const Product<T> &product, const Weights<T> &weights, const Share &share, const Step<T> &step, int exchange, T *workspace) {
        const auto part = [&](const Weights<T> &of, const Step<T> &at, const Columns &columns) {
            if (columns.begin < columns.end) product.step_part(&of, &at, workspace, columns.begin, columns.end);
        };
        if (has_first(exchange)) part(weights, step, share.of_h), part(weights, step, share.of_x);
        if (has_second(weights, exchange)) part(*weights.second, second_step(weights, step), share.second);
    }

    static void project(const Product<T> &product, const Weights<T> &weights, const Share &share, std::ptrdiff_t count, const T *x,
                        std::ptrdiff_t x_time, T *out, std::ptrdiff_t out_time, T *workspace) {
        for (const Columns &columns : {share.of_h, share.of_x})
            if (columns.begin < columns.end) product.project_part(&weights, count, x, x_time, out, out_time, workspace, columns.begin, columns.end);
    }

    // The columns of a party, from one line to another.
    static void copy_share(const Weights<T> &weights, const Share &share, int exchange, const T *from, T *to) {
        if (has_first(exchange)) copy_first(share, from, to);
        if (has_second(weights, exchange)) copy_columns(share.second, from + second_at(weights), to + second_at(weights));
    }

    static void copy_first(const Share &share, const T *from, T *to) { copy_columns(share.of_h, from, to), copy_columns(share.of_x, from, to); }

    static void publish_part(Crew &crew, const Job &job, int party, std::uint64_t session, const Step<T> &step, int exchange,
                             std::ptrdiff_t position, T *workspace) {
        const Share mine = share_of(job.product, job.weights, party, job.parties);
        multiply(job.product, job.weights, mine, step, exchange, workspace);
        copy_share(job.weights, mine, exchange, line_of(job.weights, step), job.lines[position % 2]);
        crew.publish(party, session, position);
    }

    static void take_parts(const Job &job, int party, const Step<T> &step, int exchange, std::ptrdiff_t position) {
        for (int other = 0; other < job.parties; ++other)
            if (other != party)
                copy_share(job.weights, share_of(job.product, job.weights, other, job.parties), exchange, job.lines[position % 2],
                           line_of(job.weights, step));
    }

    // ---- the caller

    void find_helpers(const T *record, const T *x_kernel) {
        began = Clock::now();
        parties = 1 + crew.reserve(wanted - 1);
        if (parties > 1 && !invite(record, x_kernel)) crew.dismiss(), parties = 1;
    }

    // For the timesteps that are left, of which the caller has x . kernel.
    void look_again(const T *record) {
        count -= done, x += done * x_time, projected += done * projected_time, done = 0;
        find_helpers(record, projected);
    }

    bool invite(const T *record, const T *x_kernel) {
        const bool projects = projected && !x_kernel;
        const std::ptrdiff_t width = x_kernel ? weights.sums() : weights.features;  // of what the helpers get for a timestep
        const Own own(product, weights, count, projects);
        const std::ptrdiff_t of_x = in_lines(count * width * std::ptrdiff_t(sizeof(T)));
        const std::ptrdiff_t of_record = in_lines(weights.carried * std::ptrdiff_t(sizeof(T)));
        const std::ptrdiff_t of_line = in_lines(line_length(weights) * std::ptrdiff_t(sizeof(T)));
        const std::ptrdiff_t of_job = in_lines(sizeof(Job));
        const std::ptrdiff_t all = 128 + of_job + of_x + of_record + 2 * of_line + (parties - 1) * own.bytes;
        char *at = crew.room(std::size_t(all));
        if (!at) return false;
        at += -std::ptrdiff_t(reinterpret_cast<std::uintptr_t>(at)) & 127;
        const auto next = [&at](std::ptrdiff_t bytes) { return std::exchange(at, at + bytes); };
        const auto array = [&next](std::ptrdiff_t bytes) { return reinterpret_cast<T *>(next(bytes)); };
        job = new (next(of_job)) Job{product, weights, count, parties, alone, projected != nullptr, projects, nullptr, nullptr, {}, nullptr, own.bytes};
        job->x = array(of_x), job->record = array(of_record), job->lines[0] = array(of_line), job->lines[1] = array(of_line);
        job->own = at;
        const T *const from = x_kernel ? x_kernel : x;
        const std::ptrdiff_t time = x_kernel ? projected_time : x_time;
        for (std::ptrdiff_t n = 0; n < count; ++n) copy(from + n * time, width, job->x + n * width);
        copy(record, weights.carried, job->record);
        session = crew.begin(serve, job, held);
        return true;
    }

    bool all_have_published(std::ptrdiff_t position) const {
        const auto patience = Clock::now() - began + std::chrono::microseconds(10);
        for (int party = 1; party < parties; ++party)
            if (!crew.wait_for(party, position, patience)) return false;
        return true;
    }

    // x . kernel of a share, from some timestep on
    void project(const Share &share, std::ptrdiff_t first, T *workspace) const {
        project(product, weights, share, count - first, x + first * x_time, x_time, projected + first * projected_time, projected_time, workspace);
    }

    // The columns of the others too, from this exchange on.
    void go_on_alone(const Step<T> &step, int exchange, T *workspace) {
        crew.close();
        const std::ptrdiff_t first = has_first(exchange) ? done - 1 : done;  // timestep without the others' x . kernel
        const T *const row = projected + first * projected_time;
        T *const line = line_of(weights, step);
        for (int other = 1; other < parties; ++other) {
            const Share share = share_of(product, weights, other, parties);
            if (projected && first < count) project(share, first, workspace);
            if (projected && has_first(exchange) && line != row) copy_first(share, row, line);
            multiply(product, weights, share, step, exchange, workspace);
        }
        parties = 1;
    }

    // ---- a helper

    static void serve(Crew &crew, void *job_, int party, std::uint64_t session) {
        const Job &job = *static_cast<const Job *>(job_);
        const Product<T> &product = job.product;
        const Weights<T> &weights = job.weights;
        const Own own(product, weights, job.count, job.projects);
        char *const memory = job.own + (party - 1) * job.own_bytes;
        const auto mine = [memory](std::ptrdiff_t at) { return reinterpret_cast<T *>(memory + at); };
        T *now = mine(own.records), *then = now + weights.carried, *const projected = job.projects ? mine(own.projected) : job.x;
        T *const workspace = mine(own.workspace);
        const Share share = share_of(product, weights, party, job.parties);
        if (job.projects) project(product, weights, share, job.count, job.x, weights.features, projected, weights.sums(), workspace);
        copy(job.record, weights.carried, now);
        Step<T> step;
        step.rows = 1, step.projected = job.projected, step.alone = job.alone;
        step.x_stride = weights.features;
        step.h_stride = step.before_stride = step.out_stride = weights.carried;
        step.sums = mine(own.sums), step.sums_stride = weights.sums_row();
        for (std::ptrdiff_t n = 1; n <= job.count; ++n) {
            step.x = job.x;  // which is read where there is one timestep
            step.h = step.before = now, step.out = then, step.turned = (session >> 32) % 2 == std::uint64_t(n % 2);
            if (job.projected) copy_first(share, projected + (n - 1) * weights.sums(), line_of(weights, step));
            for (int e = 0; e < exchanges(weights); ++e) {
                const std::ptrdiff_t position = position_of(weights, n, e);
                if (e > 0) weights.cell->between(&weights, &step);
                publish_part(crew, job, party, session, step, e, position, workspace);
                if (position == position_of(weights, job.count, exchanges(weights) - 1)) return;
                for (int other = 0; other < job.parties; ++other)
                    if (other != party && !crew.wait_in(session, other, position)) return;
                take_parts(job, party, step, e, position);
            }
            if (weights.cell) finish(weights, step);
            std::swap(now, then);
        }
    }

    static void copy_columns(const Columns &columns, const T *from, T *to) {
        copy(from + columns.begin, columns.end - columns.begin, to + columns.begin);
    }

    static void copy(const T *from, std::ptrdiff_t elements, T *to) { std::memcpy(to, from, std::size_t(elements) * sizeof(T)); }

    Crew &crew;
    const std::shared_ptr<const void> held;
    const Product<T> &product;
    const Weights<T> &weights;
    const bool alone;  // the form of the call
    int wanted, parties = 1;
    Job *job = nullptr;
    std::uint64_t session = 0;
    Clock::time_point began;
    std::ptrdiff_t count = 0, done = 0;  // timesteps since `begin`
    const T *x = nullptr;
    T *projected = nullptr;
    std::ptrdiff_t x_time = 0, projected_time = 0;
};

}  // namespace cyrnn
