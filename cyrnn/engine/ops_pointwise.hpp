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

// The way back through such an op. Of d_y, and of x or y that was saved, come d_x and the terms of the gradient of a vector of
// weights, of which a BatchSumOp takes the sum; each may be absent. A subclass has `compute(saved, d_y, d_x, terms, weights)`.
template <class T, class Kind> class PointwiseGradientOp : public Op {
public:
    enum : int { saved, d_out, d_in, products };  // x or y; d_y, d_x and the terms

    explicit PointwiseGradientOp(std::ptrdiff_t width_) : width(width_) {}

    double multiply_adds(const Prepared *) const override { return 2 * double(width); }

    bool run(const Work &work) const noexcept override {
        const Place *const at = work.places;
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                T *const d_x = at[d_in].data ? address<T>(at[d_in], row, t) : nullptr;
                T *const terms = at[products].data ? address<T>(at[products], row, t) : nullptr;
                const T *const d_y = address<T>(at[d_out], row, t);
                if (!all_zeros(d_y, width)) {
                    static_cast<const Kind *>(this)->compute(address<T>(at[saved], row, t), d_y, d_x, terms, work.weights);
                    continue;
                }
                if (d_x) std::memset(d_x, 0, std::size_t(width) * sizeof(T));
                if (terms) std::memset(terms, 0, std::size_t(width) * sizeof(T));
            }
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

// d_x := d_y scale,  d_scale := sum of d_y (x - shift)
template <class T> class AffineGradientOp final : public PointwiseGradientOp<T, AffineGradientOp<T>> {
public:
    AffineGradientOp(std::ptrdiff_t width_, Axis axis_) : PointwiseGradientOp<T, AffineGradientOp>(width_), axis(axis_) {}

    bool fits(const Prepared *p) const override { return are_vectors<T>(p, axis.length); }

    void compute(const T *x, const T *d_y, T *d_x, T *terms, const Prepared *p) const {
        const T *const scale = static_cast<const T *>(p->scale), *const shift = static_cast<const T *>(p->shift);
        const std::ptrdiff_t n = this->width;
        if (d_x) {
            std::memcpy(d_x, d_y, std::size_t(n) * sizeof(T));
            along(axis, d_x, n, [=](T &d, std::ptrdiff_t k) { d *= scale[k]; });
        }
        if (terms) {
            std::memcpy(terms, x, std::size_t(n) * sizeof(T));
            along(axis, terms, n, [=](T &v, std::ptrdiff_t k) { v -= shift[k]; });
            for (std::ptrdiff_t i = 0; i < n; ++i) terms[i] *= d_y[i];
        }
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

// d_x := d_y, below 0  d_y scale,  and at 0, as in Keras, 0;  d_scale := sum of d_y x below 0
template <class T> class PReluGradientOp final : public PointwiseGradientOp<T, PReluGradientOp<T>> {
public:
    PReluGradientOp(std::ptrdiff_t width_, Axis axis_) : PointwiseGradientOp<T, PReluGradientOp>(width_), axis(axis_) {}

    bool fits(const Prepared *p) const override { return are_vectors<T>(p, axis.length); }

    void compute(const T *x, const T *d_y, T *d_x, T *terms, const Prepared *p) const {
        const T *const slopes = static_cast<const T *>(p->scale);
        const std::ptrdiff_t n = this->width;
        if (d_x) {
            std::memcpy(d_x, x, std::size_t(n) * sizeof(T));
            along(axis, d_x, n, [=](T &v, std::ptrdiff_t k) { v = v > 0 ? T(1) : v < 0 ? slopes[k] : T(0); });
            for (std::ptrdiff_t i = 0; i < n; ++i) d_x[i] *= d_y[i];
        }
        if (terms)
            for (std::ptrdiff_t i = 0; i < n; ++i) terms[i] = x[i] > 0 ? T(0) : d_y[i] * x[i];
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

// d_x := d_y above the threshold and below `most`;  d_y slope  below the threshold. At kinks as TensorFlow has it, where a slope
// alone, and a `most` of 6 alone, are functions of their own. y may be read for x where it tells the same: see `relu` in Python.
template <class T> class ReluGradientOp final : public PointwiseGradientOp<T, ReluGradientOp<T>> {
public:
    ReluGradientOp(std::ptrdiff_t width_, T slope_, T threshold_, T most_)
        : PointwiseGradientOp<T, ReluGradientOp>(width_), slope(slope_), threshold(threshold_), most(most_) {}

    void compute(const T *x, const T *d_y, T *d_x, T *, const Prepared *) const {
        const bool leaky = threshold == 0 && std::isinf(most) && slope != 0, at_most = !(threshold == 0 && most == 6);
        for (std::ptrdiff_t i = 0; i < this->width; ++i) {
            const bool above = x[i] > threshold, below = leaky ? !above : slope != 0 && x[i] < threshold;
            const bool within = above && (x[i] < most || (at_most && x[i] == most));
            d_x[i] = within ? d_y[i] : below ? slope * d_y[i] : T(0);
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

// What a vector is normalized by:  (x - middle) * factor
template <class T> struct Normalizer {
    std::ptrdiff_t length;
    Norm norm;
    T parameter;  // epsilon, or the limit

    struct Found {
        T mean, middle, factor;
        bool limited;  // the factor is the limit, and does not follow x
    };

    Found find(const T *x) const {
        if (norm == Norm::unit) {
            const T factor = 1 / std::sqrt(sum(x, [](T v) { return double(v) * double(v); }));
            const bool limited = factor > parameter;
            return {0, 0, limited ? parameter : factor, limited};
        }
        const T mean = sum(x, [](T v) { return double(v); }) / T(length);
        const T variance = sum(x, [mean](T v) { return double(v - mean) * double(v - mean); }) / T(length);
        return {mean, norm == Norm::layer ? mean : T(0), 1 / std::sqrt(variance + parameter), false};
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
};

// out := the vectors of a row's timestep, `length` elements each, normalized;  then * scale + offset, if there are weights
template <class T> class NormOp final : public PointwiseOp<T, NormOp<T>> {
public:
    NormOp(std::ptrdiff_t width_, std::ptrdiff_t length, Norm norm, T parameter)
        : PointwiseOp<T, NormOp>(width_), normalizer{length, norm, parameter} {}

    double multiply_adds(const Prepared *) const override { return 3 * double(this->width); }
    bool fits(const Prepared *p) const override { return are_vectors<T>(p, normalizer.length); }

    void compute(const T *from, T *to, const Prepared *p) const {
        for (std::ptrdiff_t first = 0; first < this->width; first += normalizer.length) normalize(from + first, to + first, p);
    }

private:
    void normalize(const T *from, T *to, const Prepared *p) const {
        const auto found = normalizer.find(from);
        const T middle = found.middle, factor = found.factor;
        const std::ptrdiff_t length = normalizer.length;
        if (!p) {
            for (std::ptrdiff_t i = 0; i < length; ++i) to[i] = (from[i] - middle) * factor;
            return;
        }
        const T *const scale = static_cast<const T *>(p->scale), *const offset = static_cast<const T *>(p->offset);
        for (std::ptrdiff_t i = 0; i < length; ++i) to[i] = (from[i] - middle) * (factor * scale[i]) + offset[i];
    }

    const Normalizer<T> normalizer;
};

// With g = d_y scale, u = (x - middle) factor and c = (x - mean) factor:
//
//   d_x := factor (g - mean(g) - c mean(g u)),  d_scale := sum of d_y u
//
// without mean(g) where the middle is 0, and with the sum of g u for a unit vector; with g alone where its factor is the limit.
template <class T> class NormGradientOp final : public PointwiseGradientOp<T, NormGradientOp<T>> {
public:
    NormGradientOp(std::ptrdiff_t width_, std::ptrdiff_t length, Norm norm, T parameter)
        : PointwiseGradientOp<T, NormGradientOp>(width_), normalizer{length, norm, parameter} {}

    double multiply_adds(const Prepared *) const override { return 6 * double(this->width); }
    bool fits(const Prepared *p) const override { return are_vectors<T>(p, normalizer.length); }

    void compute(const T *x, const T *d_y, T *d_x, T *terms, const Prepared *p) const {
        const T *const scale = p ? static_cast<const T *>(p->scale) : nullptr;
        for (std::ptrdiff_t first = 0; first < this->width; first += normalizer.length)
            back(x + first, d_y + first, d_x ? d_x + first : nullptr, terms ? terms + first : nullptr, scale);
    }

private:
    void back(const T *x, const T *d_y, T *d_x, T *terms, const T *scale) const {
        const auto found = normalizer.find(x);
        const T mean = found.mean, middle = found.middle, factor = found.factor;
        const std::ptrdiff_t length = normalizer.length;
        if (terms)
            for (std::ptrdiff_t i = 0; i < length; ++i) terms[i] = d_y[i] * ((x[i] - middle) * factor);
        if (!d_x) return;
        for (std::ptrdiff_t i = 0; i < length; ++i) d_x[i] = scale ? d_y[i] * scale[i] : d_y[i];
        double of_middle = 0, of_factor = 0;
        for (std::ptrdiff_t i = 0; i < length; ++i) {
            of_middle += double(d_x[i]);
            of_factor += double(d_x[i]) * double((x[i] - middle) * factor);
        }
        const double count = normalizer.norm == Norm::unit ? 1 : double(length);
        const T away = normalizer.norm == Norm::layer ? T(of_middle / count) : T(0), along_x = found.limited ? T(0) : T(of_factor / count);
        for (std::ptrdiff_t i = 0; i < length; ++i) d_x[i] = factor * (d_x[i] - away - (x[i] - mean) * factor * along_x);
    }

    const Normalizer<T> normalizer;
};

}  // namespace cyrnn
