// The ops that move timesteps: taking and repeating them, and other forms of a row's elements.
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

// d_x, at timestep s, := the sum of d at the timesteps t with  t * stride / repeats - before = s
template <class T> class TakeGradientOp final : public Op {
public:
    enum : int { d, d_x };

    TakeGradientOp(std::ptrdiff_t before_, std::ptrdiff_t stride_, std::ptrdiff_t repeats_, std::ptrdiff_t width_)
        : before(before_), stride(stride_), repeats(repeats_), width(width_) {}

    double multiply_adds(const Prepared *) const override { return double(width) * (1 + double(repeats) / double(stride)); }
    std::ptrdiff_t scratch_bytes(const Prepared *, std::ptrdiff_t, std::ptrdiff_t) const override { return width * std::ptrdiff_t(sizeof(double)); }

    bool run(const Work &work) const noexcept override {
        const Place from = work.places[d];
        double *const sums = static_cast<double *>(work.scratch);
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t s = 0; s < work.timesteps; ++s) {
                const std::ptrdiff_t end = std::min(first_of(work.at + s + 1), from.timesteps);
                std::fill_n(sums, width, 0.0);
                for (std::ptrdiff_t t = first_of(work.at + s); t < end; ++t) {
                    const T *const a = address<T>(from, row, t);
                    for (std::ptrdiff_t i = 0; i < width; ++i) sums[i] += double(a[i]);
                }
                T *const to = address<T>(work.places[d_x], row, s);
                for (std::ptrdiff_t i = 0; i < width; ++i) to[i] = T(sums[i]);
            }
        return true;
    }

private:
    // The first timestep of d that was taken from timestep s or a later one.
    std::ptrdiff_t first_of(std::ptrdiff_t s) const { return s + before <= 0 ? 0 : ((s + before) * repeats + stride - 1) / stride; }

    const std::ptrdiff_t before, stride, repeats, width;
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
