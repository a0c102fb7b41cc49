// The timesteps of one row, of which each party of a crew computes some columns.
//
// Each party has the whole record. In a timestep it computes its columns of the sums (of SimpleRNN: of h), publishes them, and
// takes those of the others; what a cell makes of the sums each party computes for all units. An element is computed as
// it is on one thread, by any of them, so the bits are the same.
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
        return product.shared_columns > 0 && !weights.by_row && !weights.second && weights.sums() >= 2 * product.shared_columns &&
               double(weights.sums()) * double(weights.units) >= 65536;
    }

    SharedRow(Crew &crew_, const Prepared &prepared, const Product<T> &product_, const Weights<T> &weights_, bool alone_)
        : crew(crew_), held(prepared.weak_from_this().lock()), product(product_), weights(weights_), alone(alone_) {
        wanted = held ? int(std::min<std::ptrdiff_t>(weights.sums() / product.shared_columns, Crew::most_helpers)) : 1;
    }
    ~SharedRow() { end(); }
    SharedRow(const SharedRow &) = delete;
    SharedRow &operator=(const SharedRow &) = delete;

    // The next `count` timesteps. x . kernel goes to `projected`, (count, sums), for the columns that the caller computes.
    void begin(std::ptrdiff_t count_, const T *x_, std::ptrdiff_t x_time_, const T *record, T *projected_, std::ptrdiff_t projected_time_,
               T *workspace) {
        end();
        began = Clock::now();
        count = count_, done = 0, x = x_, x_time = x_time_, projected = projected_, projected_time = projected_time_;
        parties = 1 + crew.reserve(wanted - 1);
        if (parties > 1 && !invite(record)) crew.dismiss(), parties = 1;
        const Columns mine = columns_of(product, weights, 0, parties);
        product.project_part(&weights, count, x, x_time, projected, projected_time, workspace, mine.begin, mine.end);
    }

    // In the place of product.step.
    void step(const Step<T> &step, T *workspace) {
        if (parties == 1 || done == count) return product.step(&weights, &step, workspace);
        if (done > 0) began = Clock::now();
        T *const line = weights.cell ? step.sums : step.out;
        ++done;
        compute_and_publish(crew, *job, 0, session, step, line, done, workspace);
        const auto patience = Clock::now() - began + std::chrono::microseconds(10);
        for (int party = 1; party < parties; ++party)
            if (!crew.wait_for(party, done, patience)) return finish_alone(step, line, workspace);
        take_columns(*job, 0, done, line);
    }

    // Ends the timesteps, also before the last one.
    void end() {
        if (parties > 1 && done < count) crew.close();
        parties = 1;
    }

private:
    struct Columns {
        std::ptrdiff_t begin, end;
    };

    struct Job {  // in the crew's memory
        Product<T> product;
        Weights<T> weights;
        std::ptrdiff_t count;
        int parties;
        bool alone;
        T *x, *record;      // (count, features), (carried)
        T *lines;           // (2, sums): what is published at a timestep, and at the next one
        char *own;          // each helper's
        std::ptrdiff_t own_bytes;
    };

    // What a helper has for itself: a record and the next one, a row of sums, what is projected, and the product's workspace.
    struct Own {
        std::ptrdiff_t records, sums, projected, workspace, bytes = 0;

        Own(const Product<T> &product, const Weights<T> &weights, std::ptrdiff_t count) {
            records = take(2 * weights.carried), sums = take(weights.sums_row()), projected = take(count * weights.sums());
            workspace = take(product.workspace(&weights, count));
        }

        std::ptrdiff_t take(std::ptrdiff_t elements) {
            const std::ptrdiff_t at = bytes;
            bytes += in_lines(elements * std::ptrdiff_t(sizeof(T)));
            return at;
        }
    };

    static constexpr std::ptrdiff_t in_lines(std::ptrdiff_t bytes) { return (bytes + 127) / 128 * 128; }

    // Strips of columns, as even as can be; the last party has what is left after them.
    static Columns columns_of(const Product<T> &product, const Weights<T> &weights, int party, int parties) {
        const std::ptrdiff_t strips = weights.sums() / product.shared_columns;
        const auto at = [&](int p) { return p == parties ? weights.sums() : strips * p / parties * product.shared_columns; };
        return {at(party), at(party + 1)};
    }

    bool invite(const T *record) {
        const Own own(product, weights, count);
        const std::ptrdiff_t of_x = in_lines(count * weights.features * std::ptrdiff_t(sizeof(T)));
        const std::ptrdiff_t of_record = in_lines(weights.carried * std::ptrdiff_t(sizeof(T)));
        const std::ptrdiff_t of_line = in_lines(weights.sums() * std::ptrdiff_t(sizeof(T)));
        const std::ptrdiff_t of_job = in_lines(sizeof(Job));
        const std::ptrdiff_t all = 128 + of_job + of_x + of_record + 2 * of_line + (parties - 1) * own.bytes;
        char *at = crew.room(std::size_t(all));
        if (!at) return false;
        at += -std::ptrdiff_t(reinterpret_cast<std::uintptr_t>(at)) & 127;
        const auto next = [&at](std::ptrdiff_t bytes) { return std::exchange(at, at + bytes); };
        job = new (next(of_job)) Job{product, weights, count, parties, alone, nullptr, nullptr, nullptr, nullptr, own.bytes};
        job->x = reinterpret_cast<T *>(next(of_x)), job->record = reinterpret_cast<T *>(next(of_record));
        job->lines = reinterpret_cast<T *>(next(2 * of_line)), job->own = at;
        for (std::ptrdiff_t n = 0; n < count; ++n) copy(x + n * x_time, weights.features, job->x + n * weights.features);
        copy(record, weights.carried, job->record);
        session = crew.begin(serve, job, held);
        return true;
    }

    static T *line_of(const Job &job, std::ptrdiff_t timesteps) {
        return job.lines + timesteps % 2 * (in_lines(job.weights.sums() * std::ptrdiff_t(sizeof(T))) / std::ptrdiff_t(sizeof(T)));
    }

    static void compute_and_publish(Crew &crew, const Job &job, int party, std::uint64_t session, const Step<T> &step, const T *line,
                                    std::ptrdiff_t timesteps, T *workspace) {
        const Columns mine = columns_of(job.product, job.weights, party, job.parties);
        job.product.step_part(&job.weights, &step, workspace, mine.begin, mine.end);
        copy(line + mine.begin, mine.end - mine.begin, line_of(job, timesteps) + mine.begin);
        crew.publish(party, session, timesteps);
    }

    static void take_columns(const Job &job, int party, std::ptrdiff_t timesteps, T *line) {
        const Columns mine = columns_of(job.product, job.weights, party, job.parties);
        const T *const from = line_of(job, timesteps);
        copy(from, mine.begin, line);
        copy(from + mine.end, job.weights.sums() - mine.end, line + mine.end);
    }

    // The columns of the others too, from this timestep on.
    void finish_alone(const Step<T> &step, T *line, T *workspace) {
        crew.close();
        const Columns mine = columns_of(product, weights, 0, parties);
        const std::ptrdiff_t n = done - 1, rest = weights.sums() - mine.end;
        T *const row = projected + n * projected_time;
        parties = 1;
        product.project_part(&weights, count - n, x + n * x_time, x_time, row, projected_time, workspace, mine.end, weights.sums());
        if (line != row) copy(row + mine.end, rest, line + mine.end);
        product.step_part(&weights, &step, workspace, mine.end, weights.sums());
    }

    // A helper's part.
    static void serve(Crew &crew, void *job_, int party, std::uint64_t session) {
        const Job &job = *static_cast<const Job *>(job_);
        const Weights<T> &weights = job.weights;
        const Own own(job.product, weights, job.count);
        char *const memory = job.own + (party - 1) * job.own_bytes;
        const auto mine = [memory](std::ptrdiff_t at) { return reinterpret_cast<T *>(memory + at); };
        T *now = mine(own.records), *then = now + weights.carried, *const projected = mine(own.projected);
        T *const workspace = mine(own.workspace);
        const Columns columns = columns_of(job.product, weights, party, job.parties);
        job.product.project_part(&weights, job.count, job.x, weights.features, projected, weights.sums(), workspace, columns.begin, columns.end);
        copy(job.record, weights.carried, now);
        Step<T> step;
        step.rows = 1, step.projected = true, step.alone = job.alone;
        step.x = job.x, step.x_stride = weights.features;
        step.h_stride = step.before_stride = step.out_stride = weights.carried;
        step.sums = mine(own.sums), step.sums_stride = weights.sums_row();
        for (std::ptrdiff_t n = 1; n <= job.count; ++n) {
            T *const line = weights.cell ? step.sums : then;
            copy(projected + (n - 1) * weights.sums() + columns.begin, columns.end - columns.begin, line + columns.begin);
            step.h = step.before = now, step.out = then, step.turned = n % 2 == 0;
            compute_and_publish(crew, job, party, session, step, line, n, workspace);
            if (n == job.count) return;
            for (int other = 0; other < job.parties; ++other)
                if (other != party && !crew.wait_in(session, other, n)) return;
            take_columns(job, party, n, line);
            if (weights.cell) conclude(job.product, weights, step, workspace);
            std::swap(now, then);
        }
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
