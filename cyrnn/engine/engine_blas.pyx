"""The blas engine: one product of SciPy's BLAS per timestep.

Importing this module imports SciPy's BLAS (0.2 s); `cyrnn.engine.plan` does so when the first plan for it is made.
"""

import ctypes
import os
from pathlib import Path

from cpython.pycapsule cimport PyCapsule_New
from libc.string cimport memcpy, memset
from scipy.linalg import cython_blas

from cyrnn.engine.blas cimport accumulate_t, multiply, multiply_row, multiply_t
from cyrnn.engine.contract cimport Engine, Load, Step, Terms, Weights, real

cdef extern from "blas_threads.hpp" namespace "cyrnn" nogil:
    void control_blas_threads(void *get, void *set, int (*has_gil)() noexcept nogil)
    void wait_before_fork()
    void end_of_fork()
    void hold_blas_threads()
    void release_blas_threads()

cdef extern from "transpose.hpp" namespace "cyrnn" nogil:
    void transpose(const float *a, ptrdiff_t rows, ptrdiff_t columns, float *b, ptrdiff_t b_stride)
    void transpose(const double *a, ptrdiff_t rows, ptrdiff_t columns, double *b, ptrdiff_t b_stride)

cdef extern from "Python.h":
    int PyGILState_Check() noexcept nogil

cdef extern from *:
    """
    namespace { cyrnn::Engine blas_engine; }
    """
    Engine blas_engine


# ---------------------------------------------------------------- the product

# OpenBLAS packs both operands of a product, and the weights, packed anew at each timestep, are by far the larger one.
# It packs its right-hand operand faster, so for a few rows h' := (x . W)' takes 0.7 of the time of h := x . W. Its
# AVX-512 kernels have a path without packing, for h := x . W alone. So there are two steps; one is chosen at import.


cdef void step(const Weights[real] *weights, const Step[real] *step, real *workspace) noexcept nogil:
    """sums := [x, h] . kernels, and what follows

    One product for x and h: the products of several x_t at once would have other bits than those of single steps.
    """
    cdef ptrdiff_t row, rows = step.rows, columns = weights.sums(), depth = weights.depth
    cdef real *inputs = workspace
    cdef real *product = workspace + rows * depth
    cdef real *sums = step.out if weights.cell == NULL else step.sums
    cdef ptrdiff_t sums_stride = step.out_stride if weights.cell == NULL else step.sums_stride
    if not simple_step(weights, step, inputs, sums, sums_stride):
        # A leading dimension is an int, and the caller's stride need not be one.
        multiply(<int> rows, <int> columns, <int> depth, inputs, <int> depth, weights.kernels, <int> columns,
                 product, <int> columns)
        for row in range(rows):
            memcpy(sums + row * sums_stride, product + row * columns, columns * sizeof(real))
    finish(weights, step)


cdef void step_transposed(const Weights[real] *weights, const Step[real] *step, real *workspace) noexcept nogil:
    """The same by way of ([x, h] . kernels)'"""
    cdef ptrdiff_t rows = step.rows, columns = weights.sums(), depth = weights.depth
    cdef real *inputs = workspace
    cdef real *turned = workspace + rows * depth
    cdef real *sums = step.out if weights.cell == NULL else step.sums
    cdef ptrdiff_t sums_stride = step.out_stride if weights.cell == NULL else step.sums_stride
    if not simple_step(weights, step, inputs, sums, sums_stride):
        multiply_t(<int> rows, <int> columns, <int> depth, inputs, <int> depth, weights.kernels_t, <int> depth,
                   turned, <int> rows)
        transpose(turned, columns, rows, sums, sums_stride)
    finish(weights, step)


cdef inline bint simple_step(const Weights[real] *weights, const Step[real] *step, real *inputs,
                             real *sums, ptrdiff_t sums_stride) noexcept nogil:
    """inputs := [x, h]; and sums := inputs . kernels, where that is no product of matrices. Whether it is not."""
    cdef ptrdiff_t row, rows = step.rows, features = weights.features, columns = weights.sums(), depth = weights.depth
    for row in range(rows):
        memcpy(inputs + row * depth, step.x_row(row), features * sizeof(real))
        memcpy(inputs + row * depth + features, step.h + row * step.h_stride, (depth - features) * sizeof(real))
    if depth == 0:
        for row in range(rows):
            memset(sums + row * sums_stride, 0, columns * sizeof(real))
    elif rows == 1:
        multiply_row(<int> columns, <int> depth, inputs, weights.kernels, <int> columns, sums)
    return depth == 0 or rows == 1


cdef inline void finish(const Weights[real] *weights, const Step[real] *step) noexcept nogil:
    """What follows the product where there is no cell: the activation, in place; and h into the outputs."""
    cdef ptrdiff_t row
    if weights.cell != NULL:
        return
    weights.activate(step.out, step.out_stride, weights.bias, step.rows, weights.units)
    if step.outputs != NULL:
        for row in range(step.rows):
            memcpy(step.outputs_row(row), step.out + row * step.out_stride,
                   weights.units * sizeof(real))


cdef ptrdiff_t workspace(const Weights[real] *weights, ptrdiff_t rows) noexcept nogil:
    """[x, h] (rows, depth), and the sums (rows, gates * units) or transposed"""
    return rows * (weights.depth + weights.sums())


cdef void accumulate(const Terms[real] *terms, ptrdiff_t some, ptrdiff_t height, ptrdiff_t width, ptrdiff_t a_stride,
                     ptrdiff_t b_stride, real *c, ptrdiff_t c_stride, real *workspace) noexcept nogil:
    """c := c + a' . b, with the rows of both side by side: a leading dimension is an int, a stride need not be one."""
    cdef ptrdiff_t i, count = 0
    cdef real *a = workspace
    cdef real *b
    for i in range(some):
        copy(terms[i].count, height, terms[i].a, a_stride, a + count * height, height)
        count += terms[i].count
    b = a + count * height
    count = 0
    for i in range(some):
        copy(terms[i].count, width, terms[i].b, b_stride, b + count * width, width)
        count += terms[i].count
    if count > 0:
        accumulate_t(<int> height, <int> width, <int> count, a, <int> height, b, <int> width, c, <int> c_stride)


cdef void copy(ptrdiff_t rows, ptrdiff_t width, const real *a, ptrdiff_t a_stride, real *out,
               ptrdiff_t out_stride) noexcept nogil:
    cdef ptrdiff_t row
    for row in range(rows):
        memcpy(out + row * out_stride, a + row * a_stride, width * sizeof(real))


cdef void add(ptrdiff_t rows, ptrdiff_t width, const real *a, ptrdiff_t a_stride, const real *b, ptrdiff_t b_stride,
              real *out, ptrdiff_t out_stride) noexcept nogil:
    cdef ptrdiff_t row, i
    for row in range(rows):
        for i in range(width):
            out[row * out_stride + i] = a[row * a_stride + i] + b[row * b_stride + i]


cdef void multiply_elements(ptrdiff_t rows, ptrdiff_t width, const real *a, ptrdiff_t a_stride, const real *b,
                            ptrdiff_t b_stride, real *out, ptrdiff_t out_stride) noexcept nogil:
    cdef ptrdiff_t row, i
    for row in range(rows):
        for i in range(width):
            out[row * out_stride + i] = a[row * a_stride + i] * b[row * b_stride + i]


cdef ptrdiff_t accumulate_workspace(ptrdiff_t count, ptrdiff_t height, ptrdiff_t width) noexcept nogil:
    return count * (height + width)


cdef ptrdiff_t slice_rows(const Load *load) noexcept nogil:
    return slice_rows_from(4, load)


cdef ptrdiff_t slice_rows_transposed(const Load *load) noexcept nogil:
    return slice_rows_from(8, load)


cdef inline ptrdiff_t slice_rows_from(ptrdiff_t gemm_rows, const Load *load) noexcept nogil:
    """Batches of fewer rows than gemm_rows pass row by row through gemv.

    Else slices of about 32 rows, in large batches 64: smaller ones pack the weights too often, larger are too few.
    """
    cdef ptrdiff_t batch = load.batch
    cdef ptrdiff_t target = 32 if batch < 1024 else 64
    cdef ptrdiff_t slices = max(1, (batch + target // 2) // target)
    if batch < gemm_rows:
        return 1
    return (batch + slices - 1) // slices


# ---------------------------------------------------------------- BLAS' own threads

cdef enum:
    openmp = 2  # what openblas_get_parallel() says of a library that was built with it


def _library():
    """The library that holds SciPy's BLAS, its symbols looked up through the module that links it.

    Windows looks in the module alone, so there it is the library that SciPy's wheels bring along.
    """
    module = Path(cython_blas.__file__)
    brought = module.parents[2].glob("scipy.libs/*openblas*.dll") if os.name == "nt" else ()
    return ctypes.CDLL(str(next(iter(brought), module)))


def _symbol(library, *names):
    for name in names:
        if hasattr(library, name):
            return getattr(library, name)
    return None


def _openblas(library, name):
    names = (f"{prefix}openblas_{name}{suffix}" for prefix in ("scipy_", "") for suffix in ("", "64_"))
    return _symbol(library, *names)


def _text(function):
    if function is None:
        return "unknown"
    function.restype = ctypes.c_char_p
    return function().decode()


def _before_fork():
    with nogil:
        wait_before_fork()


def _after_fork():
    end_of_fork()


def _control():
    global core, version, threads_controlled
    library = _library()
    get, set_ = _openblas(library, "get_num_threads"), _openblas(library, "set_num_threads")
    parallel = _openblas(library, "get_parallel")
    # With OpenMP the setter holds for the thread that calls it, not for those of the pool.
    threads_controlled = get is not None and set_ is not None and (parallel is None or parallel() != openmp)
    if threads_controlled:
        control_blas_threads(<void *> <size_t> ctypes.cast(get, ctypes.c_void_p).value,
                             <void *> <size_t> ctypes.cast(set_, ctypes.c_void_p).value, PyGILState_Check)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=_before_fork, after_in_parent=_after_fork)
    if get is not None:
        core = _text(_openblas(library, "get_corename"))
        version = " ".join(_text(_openblas(library, "get_config")).split()[:2])


version = "unknown"
core = "unknown"            # the CPU that OpenBLAS chose its kernels for
threads_controlled = False  # can BLAS be held to one thread?
_control()

blas_engine.begin = hold_blas_threads
blas_engine.end = release_blas_threads
blas_engine.f32.workspace = workspace[float]
blas_engine.f64.workspace = workspace[double]
blas_engine.f32.accumulate = accumulate[float]
blas_engine.f64.accumulate = accumulate[double]
blas_engine.f32.accumulate_workspace = blas_engine.f64.accumulate_workspace = accumulate_workspace
blas_engine.f32.accumulate_height = blas_engine.f64.accumulate_height = 128
blas_engine.f32.copy = copy[float]
blas_engine.f64.copy = copy[double]
blas_engine.f32.add = add[float]
blas_engine.f64.add = add[double]
blas_engine.f32.multiply = multiply_elements[float]
blas_engine.f64.multiply = multiply_elements[double]
blas_engine.transposed = core not in ("SkylakeX", "Cooperlake", "SapphireRapids")
blas_engine.slice_rows = slice_rows_transposed if blas_engine.transposed else slice_rows
blas_engine.f32.step = step_transposed[float] if blas_engine.transposed else step[float]
blas_engine.f64.step = step_transposed[double] if blas_engine.transposed else step[double]
engine = PyCapsule_New(&blas_engine, "cyrnn.engine.Engine", NULL)
