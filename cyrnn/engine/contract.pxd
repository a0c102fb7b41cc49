# The faces of contract.hpp, guarded.hpp, prepared.hpp and simd.hpp for Cython; the comments are there.
from libc.stdint cimport uint8_t
from libcpp cimport bool
from libcpp.vector cimport vector

ctypedef fused real:
    float
    double


cdef extern from "contract.hpp" namespace "cyrnn" nogil:
    ctypedef void (*ActivateF32 "cyrnn::Activate<float>")(
        float *z, ptrdiff_t stride, const float *bias, ptrdiff_t rows, ptrdiff_t units) noexcept nogil
    ctypedef void (*ActivateF64 "cyrnn::Activate<double>")(
        double *z, ptrdiff_t stride, const double *bias, ptrdiff_t rows, ptrdiff_t units) noexcept nogil
    ctypedef void (*DifferentiateF32 "cyrnn::Differentiate<float>")(
        const float *saved, ptrdiff_t saved_stride, float *d, ptrdiff_t d_stride, ptrdiff_t rows,
        ptrdiff_t units) noexcept nogil
    ctypedef void (*DifferentiateF64 "cyrnn::Differentiate<double>")(
        const double *saved, ptrdiff_t saved_stride, double *d, ptrdiff_t d_stride, ptrdiff_t rows,
        ptrdiff_t units) noexcept nogil

    cdef cppclass Cell[T]:
        ptrdiff_t gates, recurrent, second, lines, biases, states, d_lines, d_recurrent
        void (*between)(const void *weights, const void *step) noexcept nogil
        void (*back)(const void *functions, const void *step) noexcept nogil

    cdef cppclass Differentiated[T]:
        ptrdiff_t units
        const Cell[T] *cell
        void (*activate)(T *z, ptrdiff_t stride, const T *bias, ptrdiff_t rows, ptrdiff_t units) noexcept nogil
        void (*differentiate)(const T *saved, ptrdiff_t saved_stride, T *d, ptrdiff_t d_stride, ptrdiff_t rows,
                              ptrdiff_t units) noexcept nogil
        void (*differentiate_gates)(const T *saved, ptrdiff_t saved_stride, T *d, ptrdiff_t d_stride, ptrdiff_t rows,
                                    ptrdiff_t units) noexcept nogil
        bool of_sums, gates_of_sums

    cdef cppclass Weights[T]:
        ptrdiff_t features, units, depth, gates, recurrent, lines, carried
        const Cell[T] *cell
        const Weights[T] *second
        const Weights[T] *parts
        ptrdiff_t part_count
        const T *kernels
        const T *kernels_t
        const T *panels
        const T *bias
        const Product[T] *plain
        void (*activate)(T *z, ptrdiff_t stride, const T *bias, ptrdiff_t rows, ptrdiff_t units) noexcept nogil
        void (*activate_gates)(T *z, ptrdiff_t stride, const T *bias, ptrdiff_t rows, ptrdiff_t units) noexcept nogil
        void (*add_bias)(T *z, ptrdiff_t stride, const T *bias, ptrdiff_t rows, ptrdiff_t units) noexcept nogil
        bool by_row, of_sums, gates_of_sums
        Differentiated[T] back
        ptrdiff_t sums()

    cdef cppclass Step[T]:
        ptrdiff_t rows
        const T *x
        ptrdiff_t x_stride
        const T *h
        ptrdiff_t h_stride
        T *sums
        ptrdiff_t sums_stride
        T *out
        ptrdiff_t out_stride
        T *outputs
        ptrdiff_t outputs_stride
        const T *x_row(ptrdiff_t row)
        T *outputs_row(ptrdiff_t row)

    cdef cppclass Terms[T]:
        const T *a
        const T *b
        ptrdiff_t count

    cdef cppclass Product[T]:
        ptrdiff_t (*workspace)(const Weights[T] *weights, ptrdiff_t rows) noexcept nogil
        void (*step)(const Weights[T] *weights, const Step[T] *step, T *workspace) noexcept nogil
        void (*accumulate)(const Terms[T] *terms, ptrdiff_t some, ptrdiff_t height, ptrdiff_t width, ptrdiff_t a_stride,
                           ptrdiff_t b_stride, T *c, ptrdiff_t c_stride, T *workspace) noexcept nogil
        ptrdiff_t (*accumulate_workspace)(ptrdiff_t count, ptrdiff_t height, ptrdiff_t width) noexcept nogil
        ptrdiff_t accumulate_height
        void (*copy)(ptrdiff_t rows, ptrdiff_t width, const T *a, ptrdiff_t a_stride, T *out,
                     ptrdiff_t out_stride) noexcept nogil
        void (*add)(ptrdiff_t rows, ptrdiff_t width, const T *a, ptrdiff_t a_stride, const T *b, ptrdiff_t b_stride,
                    T *out, ptrdiff_t out_stride) noexcept nogil
        void (*multiply)(ptrdiff_t rows, ptrdiff_t width, const T *a, ptrdiff_t a_stride, const T *b,
                         ptrdiff_t b_stride, T *out, ptrdiff_t out_stride) noexcept nogil

    cdef cppclass Load:
        ptrdiff_t batch
        double row_work

    cdef cppclass Engine:
        ptrdiff_t (*slice_rows)(const Load *load) noexcept nogil
        void (*begin)() noexcept nogil
        void (*end)() noexcept nogil
        Product[float] f32
        Product[double] f64
        bool transposed


cdef extern from "guarded.hpp" namespace "cyrnn" nogil:
    enum class Guard(int):
        none
        lower
        upper

    const bool guard_pages_exist


cdef extern from "prepared.hpp" namespace "cyrnn" nogil:
    cdef cppclass Prepared:
        Prepared() except +
        const Engine *engine
        bool single
        Weights[float] f32
        Weights[double] f64
        vector[Weights[float]] more_f32
        vector[Weights[double]] more_f64
        ptrdiff_t length
        const void *scale
        const void *shift
        const void *offset
        const void *gain
        bool rounds
        Product[float] rounded
        ptrdiff_t panel_columns
        Guard guard
        void make_tiles() except +
        void fill_tiles()
        const void *keep(const void *array, size_t count) except +
        void let_change()


cdef extern from "rounding.hpp" namespace "cyrnn" nogil:
    void round_to_bfloat16(const float *array, ptrdiff_t count, float *out)
    Product[float] rounded(const Product[float] &plain)


cdef extern from "simd.hpp" namespace "cyrnn" nogil:
    int activation_count()
    const char *activation_name(int index)
    bool activation_by_row(int index)
    bool activation_from_sums(int index)
    int cell_count()
    const char *cell_name(int index)

    cdef cppclass Simd:
        const char *name
        bool preferred
        const ActivateF32 *activate_f32
        const ActivateF64 *activate_f64
        const DifferentiateF32 *differentiate_f32
        const DifferentiateF64 *differentiate_f64
        const Cell[float] *cells_f32
        const Cell[double] *cells_f64
        Engine engine
        ptrdiff_t columns_f32, columns_f64

    const Simd *simd_by_name(const char *name)
    const Simd *simd_best()
