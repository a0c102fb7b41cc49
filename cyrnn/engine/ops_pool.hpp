// The ops that make one value of several timesteps: the largest, the mean, the sum.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "op.hpp"

namespace cyrnn {

// NaN stays: of NaN and a number the larger one is NaN.
template <class T> inline void keep_larger(T *most, const T *values, std::ptrdiff_t width) {
    for (std::ptrdiff_t i = 0; i < width; ++i) most[i] = most[i] > values[i] || most[i] != most[i] ? most[i] : values[i];
}

// Windows of timesteps, as far as they are among `all`: from the first timestep to before the last.
class Windows {
public:
    Windows(std::ptrdiff_t all_, std::ptrdiff_t size_, std::ptrdiff_t stride_, bool padded) : all(all_), size(size_), stride(stride_) {
        const std::ptrdiff_t covered = (all - 1) / stride * stride + size;
        before = padded && covered > all ? (covered - all) / 2 : 0;
    }

    std::pair<std::ptrdiff_t, std::ptrdiff_t> operator[](std::ptrdiff_t t) const {
        const std::ptrdiff_t begin = t * stride - before, first = std::min(std::max<std::ptrdiff_t>(begin, 0), all - 1);
        return {first, std::max(std::min(begin + size, all), first + 1)};
    }

    // The first window that ends after timestep s.
    std::ptrdiff_t first_after(std::ptrdiff_t s) const { return s + before < size ? 0 : (s + before - size) / stride + 1; }

private:
    const std::ptrdiff_t all, size, stride;
    std::ptrdiff_t before;
};

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
        const Windows windows(work.places[x].timesteps, size, stride, padded);
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                const auto [first, last] = windows[work.at + t];
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

// d_x := the sum over the windows of  d / their timesteps  for the mean;  d for the first timestep that is the largest. It fills
// the timesteps of a block, and sees all others.
template <class T> class PoolGradientOp final : public Op {
public:
    enum : int { x, d, d_x };

    PoolGradientOp(bool mean_, std::ptrdiff_t size_, std::ptrdiff_t stride_, bool padded_, std::ptrdiff_t width_)
        : mean(mean_), size(size_), stride(stride_), padded(padded_), width(width_) {}

    double multiply_adds(const Prepared *) const override { return double(width) * (1 + double(size) / double(stride)); }
    std::ptrdiff_t scratch_bytes(const Prepared *, std::ptrdiff_t, std::ptrdiff_t) const override {
        return mean ? 0 : width * std::ptrdiff_t(sizeof(T) + sizeof(std::ptrdiff_t));
    }

    bool run(const Work &work) const noexcept override {
        const Place to = work.places[d_x];
        const Windows windows(to.timesteps, size, stride, padded);
        const std::ptrdiff_t begin = work.at, end = work.at + work.timesteps;
        for (std::ptrdiff_t row = 0; row < work.rows; ++row) {
            for (std::ptrdiff_t s = begin; s < end; ++s) std::fill_n(address<T>(to, row, s), width, T(0));
            for (std::ptrdiff_t t = windows.first_after(begin); t < work.places[d].timesteps; ++t) {
                const auto [first, last] = windows[t];
                if (first >= end) break;
                if (mean)
                    average(work, row, t, std::max(first, begin), std::min(last, end), T(last - first));
                else
                    largest(work, row, t, first, last);
            }
        }
        return true;
    }

private:
    void largest(const Work &work, std::ptrdiff_t row, std::ptrdiff_t t, std::ptrdiff_t first, std::ptrdiff_t last) const {
        std::ptrdiff_t *const where = static_cast<std::ptrdiff_t *>(work.scratch);
        T *const most = reinterpret_cast<T *>(where + width);
        std::fill_n(where, width, first);
        std::memcpy(most, address<T>(work.places[x], row, first), std::size_t(width) * sizeof(T));
        while (++first < last) {
            const T *const values = address<T>(work.places[x], row, first);
            for (std::ptrdiff_t i = 0; i < width; ++i)
                if (!(most[i] >= values[i] || most[i] != most[i])) most[i] = values[i], where[i] = first;
        }
        const T *const from = address<T>(work.places[d], row, t);
        for (std::ptrdiff_t i = 0; i < width; ++i)
            if (where[i] >= work.at && where[i] < work.at + work.timesteps) address<T>(work.places[d_x], row, where[i])[i] += from[i];
    }

    void average(const Work &work, std::ptrdiff_t row, std::ptrdiff_t t, std::ptrdiff_t first, std::ptrdiff_t last, T count) const {
        const T *const from = address<T>(work.places[d], row, t);
        for (; first < last; ++first) {
            T *const to = address<T>(work.places[d_x], row, first);
            for (std::ptrdiff_t i = 0; i < width; ++i) to[i] += from[i] / count;
        }
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

// d_x := d / count, where x is the largest of all timesteps, which `count` of them are. The record has that from the first block
// on, in double precision: float32 does not count beyond 2^24. x is seen as a whole.
template <class T> class LargestGradientOp final : public Op {
public:
    enum : int { x, out, d, d_x };

    explicit LargestGradientOp(std::ptrdiff_t width_) : width(width_) {}

    std::ptrdiff_t carried(const Prepared *) const override { return width * std::ptrdiff_t(sizeof(double) / sizeof(T)); }
    double multiply_adds(const Prepared *) const override { return double(width) * 2; }

    bool run(const Work &work) const noexcept override {
        double *count = static_cast<double *>(work.state->now);
        for (std::ptrdiff_t row = 0; row < work.rows; ++row, count += width) {
            const T *const most = address<T>(work.places[out], row, 0), *const from = address<T>(work.places[d], row, 0);
            if (work.first) std::fill_n(count, width, 0.0);
            for (std::ptrdiff_t t = 0; work.first && t < work.places[x].timesteps; ++t) {
                const T *const values = address<T>(work.places[x], row, t);
                for (std::ptrdiff_t i = 0; i < width; ++i) count[i] += is(values[i], most[i]) ? 1.0 : 0.0;
            }
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                const T *const values = address<T>(work.places[x], row, work.at + t);
                T *const to = address<T>(work.places[d_x], row, t);
                for (std::ptrdiff_t i = 0; i < width; ++i) to[i] = is(values[i], most[i]) ? from[i] / T(count[i]) : T(0);
            }
        }
        return true;
    }

private:
    static bool is(T value, T most) { return value == most || (value != value && most != most); }

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

// d_x := d at the timesteps that the mask keeps, or d / their number;  zeros at the others. The record has the number from the
// first block on, in double precision; the mask, or where there is none d_x, is seen as a whole.
template <class T> class TotalGradientOp final : public Op {
public:
    enum : int { d, mask, d_x };

    TotalGradientOp(bool mean_, std::ptrdiff_t width_) : mean(mean_), width(width_) {}

    std::ptrdiff_t carried(const Prepared *) const override { return std::ptrdiff_t(sizeof(double) / sizeof(T)); }
    double multiply_adds(const Prepared *) const override { return double(width); }

    bool run(const Work &work) const noexcept override {
        const Place keep = work.places[mask];
        const auto kept = [&](std::ptrdiff_t row, std::ptrdiff_t t) { return !keep.data || *address<std::uint8_t>(keep, row, t); };
        double *count = static_cast<double *>(work.state->now);
        for (std::ptrdiff_t row = 0; row < work.rows; ++row, ++count) {
            if (work.first) *count = mean ? 0 : 1;
            for (std::ptrdiff_t t = 0; mean && work.first && t < work.places[d_x].timesteps; ++t) *count += kept(row, t) ? 1.0 : 0.0;
            const T *const from = address<T>(work.places[d], row, 0);
            for (std::ptrdiff_t t = work.at; t < work.at + work.timesteps; ++t) {
                T *const to = address<T>(work.places[d_x], row, t);
                const bool passes = kept(row, t);
                for (std::ptrdiff_t i = 0; i < width; ++i) to[i] = passes ? from[i] / T(*count) : T(0);
            }
        }
        return true;
    }

private:
    const bool mean;
    const std::ptrdiff_t width;
};

}  // namespace cyrnn
