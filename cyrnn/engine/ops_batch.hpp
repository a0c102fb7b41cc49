// The normalization of a batch by its own mean and variance, at each place of an axis, and the way back. With n elements of a place,
// u = (x - mean) factor  and  factor = 1 / sqrt(variance + epsilon):
//
//   mean = sum(x) / n,  variance = sum((x - mean)^2) / n        d_gain = sum(d_y u),  d_offset = sum(d_y)
//   y = u gain + offset                                         d_x = factor gain (d_y - (d_offset + u d_gain) / n)
//
// Timesteps that a mask leaves out are no part of mean and variance, but are normalized too. There n is Keras' count, which is a
// little larger: so u has a mean, which is taken from it in d_x.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "op.hpp"
#include "ops_pointwise.hpp"

namespace cyrnn {

constexpr double added_to_count = 1e-7;  // with a mask, which may leave nothing

// Mean, variance, count and factor. Each part has some places. The sums are in double precision.
template <class T> class MomentsOp final : public Op {
public:
    enum : int { x, mask, mean, variance, count, factor };

    MomentsOp(std::ptrdiff_t width_, Axis axis_, double epsilon_) : width(width_), axis(axis_), epsilon(T(epsilon_)) {}

    bool over_batch() const override { return true; }
    std::ptrdiff_t parts(const Prepared *) const override { return (axis.length + places - 1) / places; }
    double multiply_adds(const Prepared *) const override { return 2 * double(width); }

    bool run(const Work &work) const noexcept override {
        const Place *const at = work.places;
        const std::ptrdiff_t first = work.part * places, n = std::min(places, axis.length - first);
        T *const middle = address<T>(at[mean]) + first, *const spread = address<T>(at[variance]) + first,
          *const scale = address<T>(at[factor]) + first;
        double sums[places];
        double elements = 0;
        if (!sum(work, first, n, sums, elements, [](double v, std::ptrdiff_t) { return v; })) return false;
        elements += at[mask].data ? added_to_count : 0;
        for (std::ptrdiff_t k = 0; k < n; ++k) middle[k] = T(sums[k] / elements);
        double again = 0;
        const auto squared = [middle](double v, std::ptrdiff_t k) { return (v - double(middle[k])) * (v - double(middle[k])); };
        if (!sum(work, first, n, sums, again, squared)) return false;
        for (std::ptrdiff_t k = 0; k < n; ++k) {
            spread[k] = T(sums[k] / elements);
            scale[k] = 1 / std::sqrt(spread[k] + epsilon);
        }
        if (work.part == 0) *address<T>(at[count]) = T(elements);
        return true;
    }

private:
    static constexpr std::ptrdiff_t places = 64;  // of a part

    template <class F>
    bool sum(const Work &work, std::ptrdiff_t first, std::ptrdiff_t n, double *sums, double &elements, F f) const {
        const Place from = work.places[x], keep = work.places[mask];
        std::fill_n(sums, n, 0.0);
        for (std::ptrdiff_t row = 0; row < work.rows; ++row) {
            if (work.stop.asked(work.stop.self)) return false;
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                if (keep.data && !*address<std::uint8_t>(keep, row, t)) continue;
                elements += double(width / axis.length);
                for (std::ptrdiff_t v = 0; v < width; v += axis.length * axis.inner) {
                    const T *const a = address<T>(from, row, t) + v + first * axis.inner;
                    if (axis.inner == 1)
                        for (std::ptrdiff_t k = 0; k < n; ++k) sums[k] += f(double(a[k]), k);
                    else
                        for (std::ptrdiff_t k = 0; k < n; ++k)
                            for (std::ptrdiff_t i = 0; i < axis.inner; ++i) sums[k] += f(double(a[k * axis.inner + i]), k);
                }
            }
        }
        return true;
    }

    const std::ptrdiff_t width;
    const Axis axis;
    const T epsilon;
};

template <class T> class BatchNormOp final : public Op {
public:
    enum : int { x, mean, factor, out };

    BatchNormOp(std::ptrdiff_t width_, Axis axis_) : width(width_), axis(axis_) {}

    double multiply_adds(const Prepared *) const override { return double(width); }
    bool fits(const Prepared *p) const override { return are_vectors<T>(p, axis.length); }
    std::ptrdiff_t scratch_bytes(const Prepared *, std::ptrdiff_t, std::ptrdiff_t) const override {
        return axis.length * std::ptrdiff_t(sizeof(T));
    }

    bool run(const Work &work) const noexcept override {
        const Place *const at = work.places;
        const T *const middle = address<T>(at[mean]), *const divided = address<T>(at[factor]);
        const T *const gain = static_cast<const T *>(work.weights->gain), *const offset = static_cast<const T *>(work.weights->offset);
        T *const scale = static_cast<T *>(work.scratch);
        for (std::ptrdiff_t k = 0; k < axis.length; ++k) scale[k] = gain ? divided[k] * gain[k] : divided[k];
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                T *const to = address<T>(at[out], row, t);
                std::memcpy(to, address<T>(at[x], row, t), std::size_t(width) * sizeof(T));
                along(axis, to, width, [=](T &y, std::ptrdiff_t k) { y = (y - middle[k]) * scale[k] + offset[k]; });
            }
        return true;
    }

private:
    const std::ptrdiff_t width;
    const Axis axis;
};

// terms := d_y u
template <class T> class BatchNormTermsOp final : public Op {
public:
    enum : int { x, d_y, mean, factor, terms };

    BatchNormTermsOp(std::ptrdiff_t width_, Axis axis_) : width(width_), axis(axis_) {}

    double multiply_adds(const Prepared *) const override { return double(width); }

    bool run(const Work &work) const noexcept override {
        const Place *const at = work.places;
        const T *const middle = address<T>(at[mean]), *const divided = address<T>(at[factor]);
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                const T *const given = address<T>(at[d_y], row, t);
                T *const to = address<T>(at[terms], row, t);
                if (all_zeros(given, width)) {
                    std::memset(to, 0, std::size_t(width) * sizeof(T));
                    continue;
                }
                std::memcpy(to, address<T>(at[x], row, t), std::size_t(width) * sizeof(T));
                along(axis, to, width, [=](T &v, std::ptrdiff_t k) { v = (v - middle[k]) * divided[k]; });
                for (std::ptrdiff_t i = 0; i < width; ++i) to[i] *= given[i];
            }
        return true;
    }

private:
    const std::ptrdiff_t width;
    const Axis axis;
};

template <class T> class BatchNormGradientOp final : public Op {
public:
    enum : int { x, d_y, mask, mean, factor, count, d_offset, d_gain, d_x };

    BatchNormGradientOp(std::ptrdiff_t width_, Axis axis_) : width(width_), axis(axis_) {}

    double multiply_adds(const Prepared *) const override { return 3 * double(width); }
    bool fits(const Prepared *p) const override { return are_vectors<T>(p, axis.length); }
    std::ptrdiff_t scratch_bytes(const Prepared *, std::ptrdiff_t, std::ptrdiff_t) const override {
        return axis.length * std::ptrdiff_t(sizeof(T));
    }

    bool run(const Work &work) const noexcept override {
        const Place *const at = work.places;
        const T *const middle = address<T>(at[mean]), *const divided = address<T>(at[factor]), *const of_offset = address<T>(at[d_offset]),
                *const of_gain = address<T>(at[d_gain]), *const gain = static_cast<const T *>(work.weights->gain);
        const T share = 1 / *address<T>(at[count]), rest = at[mask].data ? T(added_to_count) * share : T(0);
        T *const scale = static_cast<T *>(work.scratch);
        for (std::ptrdiff_t k = 0; k < axis.length; ++k) scale[k] = gain ? divided[k] * gain[k] : divided[k];
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                const T *const given = address<T>(at[d_y], row, t);
                T *const d = address<T>(at[d_x], row, t);
                if (!at[mask].data || *address<std::uint8_t>(at[mask], row, t)) {
                    std::memcpy(d, address<T>(at[x], row, t), std::size_t(width) * sizeof(T));
                    along(axis, d, width, [=](T &v, std::ptrdiff_t k) {
                        v = (of_offset[k] + of_gain[k] * ((v - middle[k] - middle[k] * rest) * divided[k])) * share;
                    });
                    for (std::ptrdiff_t i = 0; i < width; ++i) d[i] = given[i] - d[i];
                } else {
                    std::memcpy(d, given, std::size_t(width) * sizeof(T));
                }
                along(axis, d, width, [=](T &v, std::ptrdiff_t k) { v *= scale[k]; });
            }
        return true;
    }

private:
    const std::ptrdiff_t width;
    const Axis axis;
};

}  // namespace cyrnn
