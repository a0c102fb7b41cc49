// The ops over timesteps: taking and repeating them, pooling, and other forms of a row's elements.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "op.hpp"

namespace cyrnn {

// out := one timestep of x, counted from the first (0, 1, ...) or from the last (-1, -2, ...). From -2 on it needs all of x.
class SelectOp final : public Op {
public:
    enum : int { x, out };

    SelectOp(std::ptrdiff_t index_, std::ptrdiff_t width_, std::ptrdiff_t item_) : index(index_), width(width_), item(item_) {}

    double multiply_adds(const Prepared *) const override { return timeline < 0 ? double(width) : 0; }
    bool takes_last() const override { return index == -1; }

    bool moves() const override { return true; }
    bool run(const Work &work) const noexcept override {
        const Place from = work.places[x], to = work.places[out];
        const std::ptrdiff_t t = index < 0 ? from.timesteps + index : index - work.at;
        if (index < 0 ? !work.last : t < 0 || t >= from.timesteps) return true;
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            std::memcpy(address<char>(to) + row * to.row * item, address<char>(from) + (row * from.row + t * from.time) * item,
                        std::size_t(width * item));
        return true;
    }

private:
    const std::ptrdiff_t index, width, item;  // item: bytes of an element
};

// out, at timestep t, := x at timestep  t * stride / repeats - before;  zeros where there is none
class TakeOp final : public Op {
public:
    enum : int { x, out };

    TakeOp(std::ptrdiff_t before_, std::ptrdiff_t stride_, std::ptrdiff_t repeats_, std::ptrdiff_t width_, std::ptrdiff_t item_)
        : before(before_), stride(stride_), repeats(repeats_), width(width_), item(item_) {}

    double multiply_adds(const Prepared *) const override { return double(width); }

    bool moves() const override { return true; }
    bool run(const Work &work) const noexcept override {
        const Place from = work.places[x], to = work.places[out];
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                char *const b = address<char>(to) + (row * to.row + t * to.time) * item;
                const std::ptrdiff_t s = (work.at + t) * stride / repeats - before;
                if (s >= 0 && s < from.timesteps)
                    std::memcpy(b, address<char>(from) + (row * from.row + s * from.time) * item, std::size_t(width * item));
                else
                    std::memset(b, 0, std::size_t(width * item));
            }
        return true;
    }

private:
    const std::ptrdiff_t before, stride, repeats, width, item;
};

// NaN stays: of NaN and a number the larger one is NaN.
template <class T> inline void keep_larger(T *most, const T *values, std::ptrdiff_t width) {
    for (std::ptrdiff_t i = 0; i < width; ++i) most[i] = most[i] > values[i] || most[i] != most[i] ? most[i] : values[i];
}

// out := the mean, or the largest, of each window of timesteps. Windows begin `stride` timesteps after each other; with
// `padded` the first begins before the first timestep, and the last ends after the last one: of windows the part counts
// that is in x.
template <class T> class PoolOp final : public Op {
public:
    enum : int { x, out };

    PoolOp(bool mean_, std::ptrdiff_t size_, std::ptrdiff_t stride_, bool padded_, std::ptrdiff_t width_)
        : mean(mean_), size(size_), stride(stride_), padded(padded_), width(width_) {}

    double multiply_adds(const Prepared *) const override { return double(width) * double(size); }
    std::ptrdiff_t scratch_bytes(const Prepared *, std::ptrdiff_t, std::ptrdiff_t) const override {
        return mean ? width * std::ptrdiff_t(sizeof(double)) : 0;
    }

    bool run(const Work &work) const noexcept override {
        const std::ptrdiff_t all = work.places[x].timesteps;
        const std::ptrdiff_t covered = (all - 1) / stride * stride + size, before = padded && covered > all ? (covered - all) / 2 : 0;
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                const std::ptrdiff_t begin = (work.at + t) * stride - before;
                const std::ptrdiff_t first = std::min(std::max<std::ptrdiff_t>(begin, 0), all - 1);
                const std::ptrdiff_t last = std::max(std::min(begin + size, all), first + 1);
                mean ? average(work, row, t, first, last) : largest(work, row, t, first, last);
            }
        return true;
    }

private:
    void largest(const Work &work, std::ptrdiff_t row, std::ptrdiff_t t, std::ptrdiff_t first, std::ptrdiff_t last) const {
        T *const to = address<T>(work.places[out], row, t);
        std::memcpy(to, address<T>(work.places[x], row, first), std::size_t(width) * sizeof(T));
        while (++first < last) keep_larger(to, address<T>(work.places[x], row, first), width);
    }

    void average(const Work &work, std::ptrdiff_t row, std::ptrdiff_t t, std::ptrdiff_t first, std::ptrdiff_t last) const {
        double *const sums = static_cast<double *>(work.scratch);
        T *const to = address<T>(work.places[out], row, t);
        const T count = T(last - first);
        std::fill(sums, sums + width, 0.0);
        for (; first < last; ++first) {
            const T *const from = address<T>(work.places[x], row, first);
            for (std::ptrdiff_t i = 0; i < width; ++i) sums[i] += double(from[i]);
        }
        for (std::ptrdiff_t i = 0; i < width; ++i) to[i] = T(sums[i]) / count;
    }

    const bool mean;
    const std::ptrdiff_t size, stride;
    const bool padded;
    const std::ptrdiff_t width;
};

// out := the largest of all timesteps. It holds those of the blocks so far.
template <class T> class LargestOp final : public Op {
public:
    enum : int { x, out };

    explicit LargestOp(std::ptrdiff_t width_) : width(width_) {}

    double multiply_adds(const Prepared *) const override { return double(width); }

    bool run(const Work &work) const noexcept override {
        for (std::ptrdiff_t row = 0; row < work.rows; ++row) {
            T *const to = address<T>(work.places[out], row, 0);
            if (work.first) std::memcpy(to, address<T>(work.places[x], row, 0), std::size_t(width) * sizeof(T));
            for (std::ptrdiff_t t = work.first; t < work.timesteps; ++t) keep_larger(to, address<T>(work.places[x], row, t), width);
        }
        return true;
    }

private:
    const std::ptrdiff_t width;
};

// out := the sum of the timesteps that the mask keeps, or their mean, which is NaN where there is none. The record has the
// sums of the blocks so far in double precision, and the number of timesteps.
template <class T> class TotalOp final : public Op {
public:
    enum : int { x, mask, out };

    TotalOp(bool mean_, std::ptrdiff_t width_) : mean(mean_), width(width_) {}

    std::ptrdiff_t carried(const Prepared *) const override { return (width + 1) * std::ptrdiff_t(sizeof(double) / sizeof(T)); }
    double multiply_adds(const Prepared *) const override { return double(width); }

    bool run(const Work &work) const noexcept override {
        double *sums = static_cast<double *>(work.state->now);
        for (std::ptrdiff_t row = 0; row < work.rows; ++row, sums += width + 1) {
            if (work.first) std::fill(sums, sums + width + 1, 0.0);
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                if (work.places[mask].data && !*address<std::uint8_t>(work.places[mask], row, t)) continue;
                const T *const from = address<T>(work.places[x], row, t);
                for (std::ptrdiff_t i = 0; i < width; ++i) sums[i] += double(from[i]);
                ++sums[width];
            }
            T *const to = address<T>(work.places[out], row, 0);
            if (work.last)
                for (std::ptrdiff_t i = 0; i < width; ++i) to[i] = mean ? T(sums[i]) / T(sums[width]) : T(sums[i]);
        }
        return true;
    }

private:
    const bool mean;
    const std::ptrdiff_t width;
};

// out := the elements of each row of x, in the same order, in other timesteps
class ReshapeOp final : public Op {
public:
    enum : int { x, out };

    ReshapeOp(std::ptrdiff_t from_width_, std::ptrdiff_t to_width_, std::ptrdiff_t item_)
        : from_width(from_width_), to_width(to_width_), item(item_) {}

    double multiply_adds(const Prepared *) const override { return double(to_width); }
    bool keeps_timesteps() const override { return from_width == to_width; }

    bool moves() const override { return true; }
    bool run(const Work &work) const noexcept override {
        const Place from = work.places[x], to = work.places[out];
        const std::ptrdiff_t begin = work.at * to_width, end = begin + work.timesteps * to_width;
        for (std::ptrdiff_t row = 0; row < work.rows; ++row) {
            const char *const a = address<char>(from) + row * from.row * item;
            char *const b = address<char>(to) + row * to.row * item;
            for (std::ptrdiff_t at = begin; at < end;) {  // the longest piece that is contiguous in both
                const std::ptrdiff_t left = from_width - at % from_width, room = to_width - at % to_width;
                const std::ptrdiff_t count = left < room ? left : room;
                std::memcpy(b + ((at / to_width - work.at) * to.time + at % to_width) * item,
                            a + (at / from_width * from.time + at % from_width) * item, std::size_t(count * item));
                at += count;
            }
        }
        return true;
    }

private:
    const std::ptrdiff_t from_width, to_width, item;  // elements of a timestep; bytes of an element
};

// out := the elements of each row of x with their axes in another order. Out has its own timesteps, or, if its first axis
// is that of x too, those of x.
class PermuteOp final : public Op {
public:
    enum : int { x, out };

    struct Step {
        std::ptrdiff_t length;
        std::ptrdiff_t stride;  // in x, of elements; 0: from timestep to timestep
    };

    // `first`: from one timestep of out to the next;  `rest`: along the other axes of out
    PermuteOp(Step first_, std::vector<Step> rest_, std::ptrdiff_t item_) : first(first_), rest(std::move(rest_)), item(item_) {}

    double multiply_adds(const Prepared *) const override {
        double all = 1;
        for (const Step &step : rest) all *= double(step.length);
        return all;
    }

    bool moves() const override { return true; }
    bool run(const Work &work) const noexcept override {
        const Place from = work.places[x], to = work.places[out];
        const std::ptrdiff_t begin = first.stride == 0 ? 0 : work.at;  // of x there is the same block, or all
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                char *at = address<char>(to) + (row * to.row + t * to.time) * item;
                gather(address<char>(from) + (row * from.row + (begin + t) * stride_of(first, from)) * item, 0, from, at);
            }
        return true;
    }

private:
    static std::ptrdiff_t stride_of(Step step, const Place &from) { return step.stride == 0 ? from.time : step.stride; }

    void gather(const char *from, std::size_t axis, const Place &place, char *&to) const {
        if (axis == rest.size()) {
            std::memcpy(to, from, std::size_t(item));
            to += item;
            return;
        }
        const std::ptrdiff_t stride = stride_of(rest[axis], place) * item;
        for (std::ptrdiff_t k = 0; k < rest[axis].length; ++k) gather(from + k * stride, axis + 1, place, to);
    }

    const Step first;
    const std::vector<Step> rest;
    const std::ptrdiff_t item;  // bytes of an element
};

}  // namespace cyrnn
