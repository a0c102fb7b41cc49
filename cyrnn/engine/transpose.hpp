// Out-of-place transposition.
#pragma once

#include <cstddef>

namespace cyrnn {

typedef float Lanes4f __attribute__((vector_size(16), aligned(4), may_alias));
typedef double Lanes2d __attribute__((vector_size(16), aligned(8), may_alias));

// B := A', with A (4, 4) or (2, 2), the rows of both so many elements apart.
inline void transpose_tile(const float *a, std::ptrdiff_t a_stride, float *b, std::ptrdiff_t b_stride) {
    const auto row = [&](int i) { return *reinterpret_cast<const Lanes4f *>(a + i * a_stride); };
    const auto store = [&](int i, Lanes4f value) { *reinterpret_cast<Lanes4f *>(b + i * b_stride) = value; };
    const Lanes4f r0 = row(0), r1 = row(1), r2 = row(2), r3 = row(3);
    const Lanes4f low01{r0[0], r1[0], r0[1], r1[1]}, high01{r0[2], r1[2], r0[3], r1[3]};
    const Lanes4f low23{r2[0], r3[0], r2[1], r3[1]}, high23{r2[2], r3[2], r2[3], r3[3]};
    store(0, Lanes4f{low01[0], low01[1], low23[0], low23[1]});
    store(1, Lanes4f{low01[2], low01[3], low23[2], low23[3]});
    store(2, Lanes4f{high01[0], high01[1], high23[0], high23[1]});
    store(3, Lanes4f{high01[2], high01[3], high23[2], high23[3]});
}

inline void transpose_tile(const double *a, std::ptrdiff_t a_stride, double *b, std::ptrdiff_t b_stride) {
    const Lanes2d r0 = *reinterpret_cast<const Lanes2d *>(a), r1 = *reinterpret_cast<const Lanes2d *>(a + a_stride);
    *reinterpret_cast<Lanes2d *>(b) = Lanes2d{r0[0], r1[0]};
    *reinterpret_cast<Lanes2d *>(b + b_stride) = Lanes2d{r0[1], r1[1]};
}

// B := A', with A (rows, columns) contiguous and B (columns, rows), its rows b_stride elements apart.
template <class T>
inline void transpose(const T *a, std::ptrdiff_t rows, std::ptrdiff_t columns, T *b, std::ptrdiff_t b_stride) {
    constexpr std::ptrdiff_t side = 16 / sizeof(T);
    const std::ptrdiff_t whole_rows = rows / side * side, whole_columns = columns / side * side;
    for (std::ptrdiff_t column = 0; column < whole_columns; column += side)
        for (std::ptrdiff_t row = 0; row < whole_rows; row += side)
            transpose_tile(a + row * columns + column, columns, b + column * b_stride + row, b_stride);
    for (std::ptrdiff_t row = 0; row < rows; ++row)
        for (std::ptrdiff_t column = row < whole_rows ? whole_columns : 0; column < columns; ++column)
            b[column * b_stride + row] = a[row * columns + column];
}

}  // namespace cyrnn
