// The ops that make one value of several: element by element, end to end, or by products.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "op.hpp"
#include "ops_pointwise.hpp"

namespace cyrnn {

enum class Merge : int { add, subtract, multiply, divide, average, maximum, minimum };

// out := the first x, merged with one after the other; each is repeated along the axes that it has not.
//
// Masks leave x out at some timesteps: in a product it counts as 1, but of none the product is 0; it takes no part in
// maximum and minimum, unless all are left out there.
template <class T> class MergeOp final : public Op {
public:
    // After `out` come as many x as there are axes, and then, if `masked`, the mask of each.
    enum : int { out, first };

    MergeOp(Merge merge_, std::ptrdiff_t width_, std::vector<Axis> axes_, bool masked_)
        : merge(merge_), width(width_), axes(std::move(axes_)), masked(masked_) {}

    double multiply_adds(const Prepared *) const override { return double(width) * double(axes.size()); }

    bool run(const Work &work) const noexcept override {
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                const auto x = [&](std::size_t i) { return address<T>(work.places[first + i], row, t); };
                const auto kept = [&](std::size_t i) {
                    if (!masked) return true;
                    const Place &mask = work.places[first + axes.size() + i];
                    return !mask.data || *address<std::uint8_t>(mask, row, t) != 0;
                };
                compute(address<T>(work.places[out], row, t), x, kept);
            }
        return true;
    }

private:
    template <class X, class Kept> void compute(T *to, X x, Kept kept) const {
        bool any = kept(0);
        fold(to, x(0), axes[0], [](T, T b) { return b; });
        if (merge == Merge::multiply && !any) fill(to, 1);
        for (std::size_t i = 1; i < axes.size(); ++i) {
            if (!kept(i)) continue;
            if (!any && merge != Merge::multiply)
                fold(to, x(i), axes[i], [](T, T b) { return b; });
            else
                merge_with(to, x(i), axes[i]);
            any = true;
        }
        if (merge == Merge::multiply && !any) fill(to, 0);
        if (merge == Merge::average)
            for (std::ptrdiff_t i = 0; i < width; ++i) to[i] /= T(axes.size());
    }

    void merge_with(T *to, const T *x, Axis axis) const {
        switch (merge) {
        case Merge::add: case Merge::average: return fold(to, x, axis, [](T a, T b) { return a + b; });
        case Merge::subtract: return fold(to, x, axis, [](T a, T b) { return a - b; });
        case Merge::multiply: return fold(to, x, axis, [](T a, T b) { return a * b; });
        case Merge::divide: return fold(to, x, axis, [](T a, T b) { return a / b; });
        // Of NaN and a number they are NaN.
        case Merge::maximum: return fold(to, x, axis, [](T a, T b) { return a > b || a != a ? a : b; });
        case Merge::minimum: return fold(to, x, axis, [](T a, T b) { return a < b || a != a ? a : b; });
        }
    }

    template <class F> void fold(T *to, const T *x, Axis axis, F f) const {
        along(axis, to, width, [=](T &y, std::ptrdiff_t k) { y = f(y, x[k]); });
    }

    void fill(T *to, T value) const {
        for (std::ptrdiff_t i = 0; i < width; ++i) to[i] = value;
    }

    const Merge merge;
    const std::ptrdiff_t width;
    const std::vector<Axis> axes;
    const bool masked;
};

// out := whether some, or all, of the masks are true
class MaskMergeOp final : public Op {
public:
    enum : int { out, first };

    explicit MaskMergeOp(bool all_) : all(all_) {}

    double multiply_adds(const Prepared *) const override { return multiply_adds_of_moving(double(operands.size())); }

    bool run(const Work &work) const noexcept override {
        const std::size_t count = operands.size() - first;
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                bool merged = all;
                for (std::size_t i = 0; i < count; ++i) {
                    const bool kept = *address<std::uint8_t>(work.places[first + i], row, t) != 0;
                    merged = all ? merged && kept : merged || kept;
                }
                *address<std::uint8_t>(work.places[out], row, t) = merged;
            }
        return true;
    }

private:
    const bool all;
};

// out := the x end to end: of a row's timestep (pieces, elements) the elements of the first, then of the second, ...
class JoinOp final : public Op {
public:
    enum : int { out, first };

    JoinOp(std::ptrdiff_t pieces_, std::vector<std::ptrdiff_t> bytes_, std::ptrdiff_t item_)
        : pieces(pieces_), bytes(std::move(bytes_)), item(item_) {}

    double multiply_adds(const Prepared *) const override {
        std::ptrdiff_t all = 0;
        for (const std::ptrdiff_t each : bytes) all += each;
        return double(all / item) * double(pieces);
    }

    bool run(const Work &work) const noexcept override {
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                char *to = at(work.places[out], row, t);
                for (std::ptrdiff_t piece = 0; piece < pieces; ++piece)
                    for (std::size_t i = 0; i < bytes.size(); ++i) {
                        std::memcpy(to, at(work.places[first + i], row, t) + piece * bytes[i], std::size_t(bytes[i]));
                        to += bytes[i];
                    }
            }
        return true;
    }

private:
    char *at(const Place &place, std::ptrdiff_t row, std::ptrdiff_t t) const {
        return address<char>(place) + (row * place.row + t * place.time) * item;
    }

    const std::ptrdiff_t pieces;
    const std::vector<std::ptrdiff_t> bytes;  // of a piece of each x
    const std::ptrdiff_t item;                // bytes of an element
};

// out := the sums of the products of x and y along an axis of each:  out (..., ...) has the other axes of x, then those of y
template <class T> class DotOp final : public Op {
public:
    enum : int { x, y, out };

    DotOp(Axis x_axis_, std::ptrdiff_t x_width_, Axis y_axis_, std::ptrdiff_t y_width_)
        : x_axis(x_axis_), y_axis(y_axis_), x_width(x_width_), y_width(y_width_) {}

    double multiply_adds(const Prepared *) const override {
        return double(x_width) * double(y_axis.length ? y_width / y_axis.length : 0);
    }

    bool run(const Work &work) const noexcept override {
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                T *to = address<T>(work.places[out], row, t);
                each(x_axis, address<T>(work.places[x], row, t), x_width, [&](const T *a) {
                    each(y_axis, address<T>(work.places[y], row, t), y_width, [&](const T *b) { *to++ = product(a, b); });
                });
            }
        return true;
    }

private:
    // f(where a vector along the axis begins)
    template <class F> static void each(Axis axis, const T *elements, std::ptrdiff_t width, F f) {
        for (std::ptrdiff_t outer = 0; outer < width; outer += axis.length * axis.inner)
            for (std::ptrdiff_t inner = 0; inner < axis.inner; ++inner) f(elements + outer + inner);
    }

    // In parts, which are vectors where both lie side by side.
    T product(const T *a, const T *b) const {
        constexpr std::ptrdiff_t parts = 8;
        const std::ptrdiff_t length = x_axis.length;
        T sums[parts]{}, sum{};
        std::ptrdiff_t k = 0;
        if (x_axis.inner == 1 && y_axis.inner == 1)
            for (; k + parts <= length; k += parts)
                for (std::ptrdiff_t part = 0; part < parts; ++part) sums[part] += a[k + part] * b[k + part];
        for (; k < length; ++k) sum += a[k * x_axis.inner] * b[k * y_axis.inner];
        for (const T part : sums) sum += part;
        return sum;
    }

    const Axis x_axis, y_axis;
    const std::ptrdiff_t x_width, y_width;
};

}  // namespace cyrnn
