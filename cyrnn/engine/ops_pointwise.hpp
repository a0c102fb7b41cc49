// The ops that compute each timestep without the others: scales and shifts, norms, activations with parameters.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstring>

#include "op.hpp"

namespace cyrnn {

// An axis of a row's timestep, whose elements are (..., length, inner).
struct Axis {
    std::ptrdiff_t length, inner;
};

// f(element, place on the axis), for all elements of a row's timestep
template <class T, class F> inline void along(Axis axis, T *elements, std::ptrdiff_t width, F f) {
    const std::ptrdiff_t each = axis.length * axis.inner;
    if (each == 0) return;
    for (T *const end = elements + width; elements < end; elements += each)
        if (axis.inner == 1)
            for (std::ptrdiff_t k = 0; k < axis.length; ++k) f(elements[k], k);
        else
            for (std::ptrdiff_t k = 0; k < axis.length; ++k)
                for (std::ptrdiff_t i = 0; i < axis.inner; ++i) f(elements[k * axis.inner + i], k);
}

// An op of x and out that computes each timestep alone: a subclass has `compute(x, out, weights)`.
template <class T, class Kind> class PointwiseOp : public Op {
public:
    enum : int { x, out };

    explicit PointwiseOp(std::ptrdiff_t width_) : width(width_) {}

    double multiply_adds(const Prepared *) const override { return double(width); }

    bool run(const Work &work) const noexcept override {
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t)
                static_cast<const Kind *>(this)->compute(address<T>(work.places[x], row, t), address<T>(work.places[out], row, t), work.weights);
        return true;
    }

protected:
    const std::ptrdiff_t width;
};

// Whether the weights are vectors of this length.
template <class T> inline bool are_vectors(const Prepared *p, std::ptrdiff_t length) {
    return p->single == (sizeof(T) == sizeof(float)) && p->length == length;
}

// out := (x - shift) * scale + offset, along an axis
template <class T> class AffineOp final : public PointwiseOp<T, AffineOp<T>> {
public:
    AffineOp(std::ptrdiff_t width_, Axis axis_) : PointwiseOp<T, AffineOp>(width_), axis(axis_) {}

    bool fits(const Prepared *p) const override { return are_vectors<T>(p, axis.length); }

    void compute(const T *from, T *to, const Prepared *p) const {
        const T *const scale = static_cast<const T *>(p->scale), *const shift = static_cast<const T *>(p->shift),
                *const offset = static_cast<const T *>(p->offset);
        std::memcpy(to, from, std::size_t(this->width) * sizeof(T));
        along(axis, to, this->width, [=](T &y, std::ptrdiff_t k) { y = (y - shift[k]) * scale[k] + offset[k]; });
    }

private:
    const Axis axis;
};

// out := x, and below 0  x * scale,  along an axis
template <class T> class PReluOp final : public PointwiseOp<T, PReluOp<T>> {
public:
    PReluOp(std::ptrdiff_t width_, Axis axis_) : PointwiseOp<T, PReluOp>(width_), axis(axis_) {}

    bool fits(const Prepared *p) const override { return are_vectors<T>(p, axis.length); }

    void compute(const T *from, T *to, const Prepared *p) const {
        const T *const slopes = static_cast<const T *>(p->scale);
        std::memcpy(to, from, std::size_t(this->width) * sizeof(T));
        along(axis, to, this->width, [=](T &y, std::ptrdiff_t k) { y = (y < 0 ? T(0) : y) + slopes[k] * (y > 0 ? T(0) : y); });
    }

private:
    const Axis axis;
};

// out := x * factor + offset
template <class T> class ScaleOp final : public PointwiseOp<T, ScaleOp<T>> {
public:
    ScaleOp(std::ptrdiff_t width_, T factor_, T offset_) : PointwiseOp<T, ScaleOp>(width_), factor(factor_), offset(offset_) {}

    void compute(const T *from, T *to, const Prepared *) const {
        for (std::ptrdiff_t i = 0; i < this->width; ++i) to[i] = from[i] * factor + offset;
    }

private:
    const T factor, offset;
};

// out := x above a threshold, at most `most`;  slope * (x - threshold) below it
template <class T> class ReluOp final : public PointwiseOp<T, ReluOp<T>> {
public:
    ReluOp(std::ptrdiff_t width_, T slope_, T threshold_, T most_)
        : PointwiseOp<T, ReluOp>(width_), slope(slope_), threshold(threshold_), most(most_) {}

    void compute(const T *from, T *to, const Prepared *) const {
        const std::ptrdiff_t n = this->width;
        if (threshold == 0)  // NaN stays NaN; above another threshold it is not, as in Keras
            for (std::ptrdiff_t i = 0; i < n; ++i) to[i] = from[i] < 0 ? T(0) : from[i] > most ? most : from[i];
        else
            for (std::ptrdiff_t i = 0; i < n; ++i) to[i] = !(from[i] > threshold) ? T(0) : from[i] > most ? most : from[i];
        if (slope != 0)
            for (std::ptrdiff_t i = 0; i < n; ++i) {
                const T below = from[i] - threshold;
                to[i] = below > 0 ? to[i] : to[i] + slope * below;
            }
    }

private:
    const T slope, threshold, most;
};

enum class Norm : int {
    layer,  // (x - mean) / sqrt(variance + epsilon)
    rms,    // x / sqrt(variance + epsilon)
    unit    // x / |x|, but x * limit where |x| is small
};

// out := the vectors of a row's timestep, `length` elements each, normalized;  then * scale + offset, if there are weights
template <class T> class NormOp final : public PointwiseOp<T, NormOp<T>> {
public:
    NormOp(std::ptrdiff_t width_, std::ptrdiff_t length_, Norm norm_, T parameter_)
        : PointwiseOp<T, NormOp>(width_), length(length_), norm(norm_), parameter(parameter_) {}

    double multiply_adds(const Prepared *) const override { return 3 * double(this->width); }
    bool fits(const Prepared *p) const override { return are_vectors<T>(p, length); }

    void compute(const T *from, T *to, const Prepared *p) const {
        for (std::ptrdiff_t first = 0; first < this->width; first += length) normalize(from + first, to + first, p);
    }

private:
    void normalize(const T *from, T *to, const Prepared *p) const {
        T middle{}, factor;
        if (norm == Norm::unit) {
            factor = 1 / std::sqrt(sum(from, [](T v) { return double(v) * double(v); }));
            factor = factor > parameter ? parameter : factor;
        } else {
            const T mean = sum(from, [](T v) { return double(v); }) / T(length);
            const T variance = sum(from, [mean](T v) { return double(v - mean) * double(v - mean); }) / T(length);
            factor = 1 / std::sqrt(variance + parameter);
            middle = norm == Norm::layer ? mean : T(0);
        }
        if (!p) {
            for (std::ptrdiff_t i = 0; i < length; ++i) to[i] = (from[i] - middle) * factor;
            return;
        }
        const T *const scale = static_cast<const T *>(p->scale), *const offset = static_cast<const T *>(p->offset);
        for (std::ptrdiff_t i = 0; i < length; ++i) to[i] = (from[i] - middle) * (factor * scale[i]) + offset[i];
    }

    // In double precision, in parts that vectors can add. What is too large for T becomes inf, as it does there.
    template <class F> T sum(const T *values, F f) const {
        constexpr std::ptrdiff_t parts = 8;
        double sums[parts]{}, total = 0;
        std::ptrdiff_t i = 0;
        for (; i + parts <= length; i += parts)
            for (std::ptrdiff_t part = 0; part < parts; ++part) sums[part] += f(values[i + part]);
        for (const double s : sums) total += s;
        for (; i < length; ++i) total += f(values[i]);
        return T(total);
    }

    const std::ptrdiff_t length;
    const Norm norm;
    const T parameter;  // epsilon, or the limit
};

}  // namespace cyrnn
