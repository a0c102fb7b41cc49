// The ops without weights: masks, activations, copies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "op.hpp"

namespace cyrnn {

// out := tokens != 0
class NonzeroOp final : public Op {
public:
    enum : int { tokens, out };

    double multiply_adds(const Prepared *) const override { return multiply_adds_of_moving(1); }

    bool run(const Work &work) const noexcept override {
        const Place from = work.places[tokens], to = work.places[out];
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t)
                address<std::uint8_t>(to)[row * to.row + t * to.time] = address<std::int64_t>(from)[row * from.row + t * from.time] != 0;
        return true;
    }
};

// mask := some element of x is not `value`;  out := x, or zeros where there is none
template <class T> class MaskingOp final : public Op {
public:
    enum : int { x, out, mask };

    MaskingOp(T value_, std::ptrdiff_t width_) : value(value_), width(width_) {}

    double multiply_adds(const Prepared *) const override { return double(width); }

    bool run(const Work &work) const noexcept override {
        const Place from = work.places[x], to = work.places[out], keep = work.places[mask];
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                const T *const a = address<T>(from) + row * from.row + t * from.time;
                T *const b = address<T>(to) + row * to.row + t * to.time;
                bool other = false;
                for (std::ptrdiff_t i = 0; i < width; ++i) other |= a[i] != value;
                for (std::ptrdiff_t i = 0; i < width; ++i) b[i] = other ? a[i] : T(0);
                if (keep.data) address<std::uint8_t>(keep)[row * keep.row + t * keep.time] = other;
            }
        return true;
    }

private:
    const T value;
    const std::ptrdiff_t width;
};

// d_x := d_y where the mask is true, else zeros
template <class T> class MaskingGradientOp final : public Op {
public:
    enum : int { mask, d_y, d_x };

    explicit MaskingGradientOp(std::ptrdiff_t width_) : width(width_) {}

    double multiply_adds(const Prepared *) const override { return multiply_adds_of_moving(double(width)); }

    bool run(const Work &work) const noexcept override {
        const Place keep = work.places[mask], from = work.places[d_y], to = work.places[d_x];
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t)
                if (*address<std::uint8_t>(keep, row, t))
                    std::memcpy(address<T>(to, row, t), address<T>(from, row, t), std::size_t(width) * sizeof(T));
                else
                    std::memset(address<T>(to, row, t), 0, std::size_t(width) * sizeof(T));
        return true;
    }

private:
    const std::ptrdiff_t width;
};

// out := x * factors, and 0 where a factor is 0, whatever x is; its way back is the same with the gradient of out for x
template <class T> class DropoutOp final : public Op {
public:
    enum : int { x, factors, out };

    explicit DropoutOp(std::ptrdiff_t width_) : width(width_) {}

    double multiply_adds(const Prepared *) const override { return double(width); }

    bool run(const Work &work) const noexcept override {
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) {
                const T *const a = address<T>(work.places[x], row, t), *const factor = address<T>(work.places[factors], row, t);
                T *const b = address<T>(work.places[out], row, t);
                for (std::ptrdiff_t i = 0; i < width; ++i) b[i] = factor[i] == 0 ? T(0) : a[i] * factor[i];
            }
        return true;
    }

private:
    const std::ptrdiff_t width;
};

// out := activation(x); those that need a row get the last axis, of `units` elements
template <class T> class ActivationOp final : public Op {
public:
    enum : int { x, out };

    ActivationOp(Activate<T> activate_, std::ptrdiff_t width_, std::ptrdiff_t units_)
        : activate(activate_), width(width_), units(units_) {}

    double multiply_adds(const Prepared *) const override { return 4 * double(width); }

    bool run(const Work &work) const noexcept override {
        const Place from = work.places[x], to = work.places[out];
        for (std::ptrdiff_t row = 0; row < work.rows; ++row) {
            T *const line = address<T>(to) + row * to.row;
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t)
                std::memcpy(line + t * to.time, address<T>(from) + row * from.row + t * from.time, std::size_t(width) * sizeof(T));
            if (width == units)
                activate(line, to.time, nullptr, work.timesteps, units);
            else
                for (std::ptrdiff_t t = 0; t < work.timesteps; ++t) activate(line + t * to.time, units, nullptr, width / units, units);
        }
        return true;
    }

private:
    const Activate<T> activate;
    const std::ptrdiff_t width, units;
};

// out := x, timestep by timestep
class CopyOp final : public Op {
public:
    enum : int { x, out };

    explicit CopyOp(std::ptrdiff_t bytes_, std::ptrdiff_t item_) : bytes(bytes_), item(item_) {}

    double multiply_adds(const Prepared *) const override { return multiply_adds_of_moving(double(bytes / item)); }
    bool moves() const override { return true; }

    bool run(const Work &work) const noexcept override {
        const Place from = work.places[x], to = work.places[out];
        for (std::ptrdiff_t row = 0; row < work.rows; ++row)
            for (std::ptrdiff_t t = 0; t < work.timesteps; ++t)
                std::memcpy(address<char>(to) + (row * to.row + t * to.time) * item,
                            address<char>(from) + (row * from.row + t * from.time) * item, std::size_t(bytes));
        return true;
    }

private:
    const std::ptrdiff_t bytes, item;  // of a row's timestep; of an element
};

}  // namespace cyrnn
