// Rows of arrays gathered into a batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "sources.hpp"

namespace cyrnn {

// to (count, width) := these rows of the source, whose elements have strides of their own
template <class To>
inline void gather_converted(const Source &source, const std::int64_t *rows, std::ptrdiff_t count, std::ptrdiff_t width, To *to) {
    for (std::ptrdiff_t i = 0; i < count; ++i) convert(source, rows[i], 1, 0, 1, width, to + i * width);
}

// Rows in random order lie where no CPU expects them: their beginnings are fetched some rows ahead.
inline void gather_bytes(const char *from, std::ptrdiff_t stride, const std::int64_t *rows, std::ptrdiff_t count,
                         std::size_t bytes, char *to) {
    constexpr std::ptrdiff_t ahead = 4;
    constexpr std::size_t line = 64, most = 1024;  // of a row; what follows the CPU foresees
    const std::size_t fetched = bytes < most ? bytes : most;
    for (std::ptrdiff_t i = 0; i < count; ++i) {
        for (std::size_t at = 0; i + ahead < count && at < fetched; at += line) __builtin_prefetch(from + rows[i + ahead] * stride + at);
        std::memcpy(to + std::size_t(i) * bytes, from + rows[i] * stride, bytes);
    }
}

}  // namespace cyrnn
