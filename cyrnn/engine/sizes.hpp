// Sizes of memory that follow from the lengths of a call: what is larger than any memory raises std::bad_alloc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

namespace cyrnn {

constexpr std::ptrdiff_t cache_line = 64;  // bytes: where vectors and threads keep apart

inline std::ptrdiff_t checked_size(bool overflows, std::ptrdiff_t size) {
    if (overflows || size > PTRDIFF_MAX / 4) throw std::bad_alloc();
    return size;
}

template <class... Numbers> std::ptrdiff_t product_of(Numbers... numbers) {
    std::ptrdiff_t product = 1;
    const bool overflows = (__builtin_mul_overflow(product, numbers, &product) | ...);
    return checked_size(overflows, product);
}

template <class... Numbers> std::ptrdiff_t sum_of(Numbers... numbers) {
    std::ptrdiff_t sum = 0;
    const bool overflows = (__builtin_add_overflow(sum, numbers, &sum) | ...);
    return checked_size(overflows, sum);
}

// The bytes of whole cache lines that so many take.
inline std::ptrdiff_t in_lines(std::ptrdiff_t bytes) { return sum_of(bytes, cache_line - 1) / cache_line * cache_line; }

}  // namespace cyrnn
