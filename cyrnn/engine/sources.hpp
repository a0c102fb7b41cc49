// Arrays of callers, of any type and strides, as inputs of a program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace cyrnn {

enum class Element : std::uint8_t { f32, f64, i8, i16, i32, i64, u8, u16, u32, u64, boolean };

struct Source {
    const char *data;                // null: absent; not set at first: a call has room for many
    std::ptrdiff_t row, time, item;  // strides in bytes; item: from element to element of a row's timestep
    Element element;
    bool direct;                     // ops can read it where it is
};

struct Target {  // an array that a program fills; the elements of a row's timestep are contiguous
    char *data;
    std::ptrdiff_t row, time;  // strides in elements
};

template <class From, class To>
inline void convert_from(const Source &source, std::ptrdiff_t rows, std::ptrdiff_t timesteps, std::ptrdiff_t width,
                         const char *from, To *to) {
    for (std::ptrdiff_t row = 0; row < rows; ++row, from += source.row) {
        const char *at = from;
        for (std::ptrdiff_t t = 0; t < timesteps; ++t, at += source.time, to += width)
            if (source.item == std::ptrdiff_t(sizeof(From)))
                for (std::ptrdiff_t i = 0; i < width; ++i) {
                    From value;
                    std::memcpy(&value, at + i * std::ptrdiff_t(sizeof value), sizeof value);
                    to[i] = static_cast<To>(value);
                }
            else
                for (std::ptrdiff_t i = 0; i < width; ++i) {
                    From value;
                    std::memcpy(&value, at + i * source.item, sizeof value);
                    to[i] = static_cast<To>(value);
                }
    }
}

// to (rows, timesteps, width) := the source from this row and timestep on
template <class To>
inline void convert(const Source &source, std::ptrdiff_t first, std::ptrdiff_t rows, std::ptrdiff_t t,
                    std::ptrdiff_t timesteps, std::ptrdiff_t width, To *to) {
    const char *const from = source.data + first * source.row + t * source.time;
    const auto run = [&](auto sample) { convert_from<decltype(sample)>(source, rows, timesteps, width, from, to); };
    switch (source.element) {
    case Element::f32: return run(float());
    case Element::f64: return run(double());
    case Element::i8: return run(std::int8_t());
    case Element::i16: return run(std::int16_t());
    case Element::i32: return run(std::int32_t());
    case Element::i64: return run(std::int64_t());
    case Element::u8: return run(std::uint8_t());
    case Element::u16: return run(std::uint16_t());
    case Element::u32: return run(std::uint32_t());
    case Element::u64: return run(std::uint64_t());
    case Element::boolean: return run(std::uint8_t());
    }
}

// Whether all elements are indices below `limit`, when their fractions are cut off. Of NaN each processor makes another one.
inline bool indices_below(const Source &source, std::ptrdiff_t rows, std::ptrdiff_t timesteps, std::ptrdiff_t width, std::ptrdiff_t limit) {
    const auto all = [&](auto sample) {
        using From = decltype(sample);
        bool sound = true;
        for (std::ptrdiff_t row = 0; row < rows; ++row)
            for (std::ptrdiff_t t = 0; t < timesteps; ++t)
                for (std::ptrdiff_t i = 0; i < width; ++i) {
                    From value;
                    std::memcpy(&value, source.data + row * source.row + t * source.time + i * source.item, sizeof value);
                    if constexpr (std::is_floating_point_v<From>)
                        sound &= value > From(-1) && value < From(limit);
                    else if constexpr (std::is_signed_v<From>)
                        sound &= value >= 0 && std::int64_t(value) < std::int64_t(limit);
                    else
                        sound &= std::uint64_t(value) < std::uint64_t(limit);
                }
        return sound;
    };
    switch (source.element) {
    case Element::f32: return all(float());
    case Element::f64: return all(double());
    case Element::i8: return all(std::int8_t());
    case Element::i16: return all(std::int16_t());
    case Element::i32: return all(std::int32_t());
    case Element::i64: return all(std::int64_t());
    case Element::u8: case Element::boolean: return all(std::uint8_t());
    case Element::u16: return all(std::uint16_t());
    case Element::u32: return all(std::uint32_t());
    case Element::u64: return all(std::uint64_t());
    }
    return false;
}

}  // namespace cyrnn
