// The ops that make one value of several: element by element, end to end, or by products.
#pragma once

#include <algorithm>
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

// d_x := the gradient of one of the x, the sum over all that it is repeated for:  where the first that is left in is a and x
// another one,  d for add, -d for subtract (but d for a), d / count for average, d times the others for multiply, d over the
// others for divide (but -d out / x);  d for the first that is the maximum or minimum. Zeros where masks leave x out, or where d is
// zeros: what the x are there is not read.
//
// Of an x without timesteps the record has the sums of the blocks so far in double precision.
template <class T> class MergeGradientOp final : public Op {
public:
    // After `d_x` come as many x as there are axes, absent where they do not matter, and then, if `masked`, the mask of each.
    enum : int { d_out, d_x, first };

    MergeGradientOp(Merge merge_, std::size_t of_, std::ptrdiff_t width_, std::vector<Axis> axes_, bool masked_, bool over_time_)
        : merge(merge_), of(of_), width(width_), axes(std::move(axes_)), masked(masked_), over_time(over_time_) {}

    double multiply_adds(const Prepared *) const override { return double(width) * double(axes.size()); }
    std::ptrdiff_t carried(const Prepared *) const override {
        return over_time ? axes[of].length * std::ptrdiff_t(sizeof(double) / sizeof(T)) : 0;
    }
    std::ptrdiff_t scratch_bytes(const Prepared *, std::ptrdiff_t, std::ptrdiff_t) const override {
        return axes[of].length * std::ptrdiff_t(sizeof(double)) + width * std::ptrdiff_t(2 * sizeof(T) + 1);
    }

    bool run(const Work &work) const noexcept override {
        const std::ptrdiff_t length = axes[of].length;
        double *sums = over_time ? static_cast<double *>(work.state->now) : static_cast<double *>(work.scratch);
        T *const d = reinterpret_cast<T *>(static_cast<double *>(work.scratch) + length);
        for (std::ptrdiff_t row = 0; row < work.rows; ++row, sums += over_time ? length : 0) {
            if (over_time && work.first) std::fill_n(sums, length, 0.0);
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                const auto x = [&](std::size_t i) { return address<T>(work.places[first + i], row, t); };
                const auto kept = [&](std::size_t i) {
                    if (!masked) return true;
                    const Place &mask = work.places[first + axes.size() + i];
                    return !mask.data || *address<std::uint8_t>(mask, row, t) != 0;
                };
                const T *const from = address<T>(work.places[d_out], row, t);
                if (!over_time && length == width) {
                    compute(from, address<T>(work.places[d_x], row, t), d, x, kept);
                    continue;
                }
                compute(from, d, d + width, x, kept);
                if (!over_time) std::fill_n(sums, length, 0.0);
                along(axes[of], d, width, [sums](T &each, std::ptrdiff_t k) { sums[k] += double(each); });
                if (!over_time) put(sums, address<T>(work.places[d_x], row, t));
            }
            if (over_time && work.last) put(sums, address<T>(work.places[d_x], row, 0));
        }
        return true;
    }

private:
    void put(const double *sums, T *to) const {
        for (std::ptrdiff_t i = 0; i < axes[of].length; ++i) to[i] = T(sums[i]);
    }

    // One timestep, before the sums over what x is repeated for;  space: (width) elements and as many bytes
    template <class X, class Kept> void compute(const T *from, T *to, T *space, X x, Kept kept) const {
        std::size_t begin = 0;
        while (begin < axes.size() && !kept(begin)) ++begin;
        const bool any = begin < axes.size();
        if (!any) begin = 0;
        const bool left_out = any ? !kept(of) : of != 0 || merge == Merge::multiply;
        if (left_out || all_zeros(from, width)) {
            std::fill_n(to, width, T(0));
            return;
        }
        const auto others = [&](std::size_t after, auto f) {
            for (std::size_t i = after; any && i < axes.size(); ++i)
                if (i != of && kept(i)) fold(to, x(i), axes[i], f);
        };
        std::memcpy(to, from, std::size_t(width) * sizeof(T));
        switch (merge) {
        case Merge::add: return;
        case Merge::subtract:
            if (of != begin) negate(to);
            return;
        case Merge::average:
            for (std::ptrdiff_t i = 0; i < width; ++i) to[i] /= T(axes.size());
            return;
        case Merge::multiply: return others(begin, [](T d, T b) { return d * b; });
        case Merge::divide:
            if (of != begin) {
                fold(to, x(of), axes[of], [](T d, T b) { return d / b; });  // first: d * a might overflow
                fold(to, x(begin), axes[begin], [](T d, T a) { return d * a; });
                fold(to, x(of), axes[of], [](T d, T b) { return d / b; });
                negate(to);
            }
            return others(begin + 1, [](T d, T b) { return d / b; });
        case Merge::maximum: return chosen(to, space, begin, any, x, kept, [](T a, T b) { return a >= b || a != a; });
        case Merge::minimum: return chosen(to, space, begin, any, x, kept, [](T a, T b) { return a <= b || a != a; });
        }
    }

    // Zeros where the value is that of another x;  stays(a, b): whether it stays a when b comes
    template <class X, class Kept, class Stays>
    void chosen(T *to, T *most, std::size_t begin, bool any, X x, Kept kept, Stays stays) const {
        bool *const mine = reinterpret_cast<bool *>(most + width);
        std::fill_n(mine, width, of == begin);
        fold(most, x(begin), axes[begin], [](T, T b) { return b; });
        for (std::size_t i = begin + 1; any && i < axes.size(); ++i) {
            if (!kept(i)) continue;
            const T *const values = x(i);
            along(axes[i], most, width, [=, this](T &y, std::ptrdiff_t k) {
                if (stays(y, values[k])) return;
                y = values[k], mine[&y - most] = i == of;
            });
        }
        for (std::ptrdiff_t i = 0; i < width; ++i) to[i] = mine[i] ? to[i] : T(0);
    }

    template <class F> void fold(T *to, const T *x, Axis axis, F f) const {
        along(axis, to, width, [=](T &y, std::ptrdiff_t k) { y = f(y, x[k]); });
    }

    void negate(T *to) const {
        for (std::ptrdiff_t i = 0; i < width; ++i) to[i] = -to[i];
    }

    const Merge merge;
    const std::size_t of;  // which x
    const std::ptrdiff_t width;
    const std::vector<Axis> axes;
    const bool masked, over_time;
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

// out := some elements of each piece of x, (pieces, elements), from `first` on: the way back of a join
class SplitOp final : public Op {
public:
    enum : int { x, out };

    // Bytes: of a piece of x and of out, and before the first of them in x.
    SplitOp(std::ptrdiff_t pieces_, std::ptrdiff_t from_bytes_, std::ptrdiff_t to_bytes_, std::ptrdiff_t before_, std::ptrdiff_t item_)
        : pieces(pieces_), from_bytes(from_bytes_), to_bytes(to_bytes_), before(before_), item(item_) {}

    double multiply_adds(const Prepared *) const override { return double(to_bytes / item) * double(pieces); }

    bool moves() const override { return true; }
    bool run(const Work &work) const noexcept override {
        const Place from = work.places[x], to = work.places[out];
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                const char *const a = address<char>(from) + (row * from.row + t * from.time) * item + before;
                char *const b = address<char>(to) + (row * to.row + t * to.time) * item;
                for (std::ptrdiff_t piece = 0; piece < pieces; ++piece)
                    std::memcpy(b + piece * to_bytes, a + piece * from_bytes, std::size_t(to_bytes));
            }
        return true;
    }

private:
    const std::ptrdiff_t pieces, from_bytes, to_bytes, before, item;
};

// f(where a vector along the axis begins)
template <class T, class F> inline void each_vector(Axis axis, T *elements, std::ptrdiff_t width, F f) {
    for (std::ptrdiff_t outer = 0; outer < width; outer += axis.length * axis.inner)
        for (std::ptrdiff_t inner = 0; inner < axis.inner; ++inner) f(elements + outer + inner);
}

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
                each_vector(x_axis, address<T>(work.places[x], row, t), x_width, [&](const T *a) {
                    each_vector(y_axis, address<T>(work.places[y], row, t), y_width, [&](const T *b) { *to++ = product(a, b); });
                });
            }
        return true;
    }

private:
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

// d_x := the sums of the vectors of y along its axis, times the elements of d that they and a vector of x have made. Where d is zeros,
// y is not read.
template <class T> class DotGradientOp final : public Op {
public:
    enum : int { d, y, d_x };

    // `of_first`: whether x is the first of the two that were multiplied
    DotGradientOp(Axis x_axis_, std::ptrdiff_t x_width_, Axis y_axis_, std::ptrdiff_t y_width_, bool of_first)
        : x_axis(x_axis_), y_axis(y_axis_), x_width(x_width_), y_width(y_width_),
          x_step(of_first ? y_width_ / y_axis_.length : 1), y_step(of_first ? 1 : x_width_ / x_axis_.length) {}

    double multiply_adds(const Prepared *) const override { return double(x_width) * double(y_width / y_axis.length); }

    bool run(const Work &work) const noexcept override {
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                const T *from = address<T>(work.places[d], row, t);
                T *const to = address<T>(work.places[d_x], row, t), *const other = address<T>(work.places[y], row, t);
                std::fill_n(to, x_width, T(0));
                if (all_zeros(from, x_width / x_axis.length * (y_width / y_axis.length))) continue;
                each_vector(x_axis, to, x_width, [&](T *a) {
                    const T *factor = from;
                    each_vector(y_axis, other, y_width, [&](const T *b) { add(*factor, b, a), factor += y_step; });
                    from += x_step;
                });
            }
        return true;
    }

private:
    void add(T factor, const T *b, T *a) const {
        if (x_axis.inner == 1 && y_axis.inner == 1)
            for (std::ptrdiff_t k = 0; k < x_axis.length; ++k) a[k] += factor * b[k];
        else
            for (std::ptrdiff_t k = 0; k < x_axis.length; ++k) a[k * x_axis.inner] += factor * b[k * y_axis.inner];
    }

    const Axis x_axis, y_axis;
    const std::ptrdiff_t x_width, y_width, x_step, y_step;  // steps in d, from vector to vector
};

}  // namespace cyrnn
