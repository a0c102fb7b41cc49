"""The recurrence over SciPy's BLAS: one product per timestep.

    h_t = activation([x_t, h_{t-1}] . [kernel; recurrent_kernel] + bias)

Importing this module imports SciPy's BLAS (0.2 s); `cyrnn.engine.plan` does so when the first plan is made.

Why x_t and h_{t-1} go through one product: OpenBLAS rounds a row differently in products of another number of rows.
A projection of several timesteps at once, m = rows * timesteps, would therefore give a sequence other bits than its
steps taken one by one. With one product of m = rows per timestep both are the same by construction.
"""

import ctypes

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset
from scipy.linalg import cython_blas

from cyrnn.engine.blas cimport multiply, multiply_row, multiply_t
from cyrnn.engine.contract cimport Engine, Sequences, Stop, Weights, real

cdef extern from "blas_threads.hpp" namespace "cyrnn" nogil:
    void control_blas_threads(void *get, void *set)
    void hold_blas_threads()
    void release_blas_threads()

cdef extern from "transpose.hpp" namespace "cyrnn" nogil:
    void transpose(const float *a, ptrdiff_t rows, ptrdiff_t columns, float *b, ptrdiff_t b_stride)
    void transpose(const double *a, ptrdiff_t rows, ptrdiff_t columns, double *b, ptrdiff_t b_stride)

cdef extern from *:
    """
    namespace { cyrnn::Engine blas_engine; }
    """
    Engine blas_engine


# ---------------------------------------------------------------- the recurrence

cdef void run(const Weights[real] *weights, const Sequences[real] *call, ptrdiff_t first, ptrdiff_t last,
              real *scratch, Stop stop) noexcept nogil:
    cdef ptrdiff_t rows = last - first, features = weights.features, units = weights.units
    cdef ptrdiff_t width = features + units  # of a row [x_t | h]
    cdef real *now = scratch                     # (rows, width): [x_t | h_{t-1}]
    cdef real *then = now + rows * width         # (rows, width): [   | h_t    ]
    cdef real *dropped = then + rows * width     # (rows, width): `now` times the dropout factors
    cdef real *turned = dropped + rows * width   # (units, rows): a product, transposed
    cdef uint8_t *seen = <uint8_t *> (turned + rows * units)  # (rows): an unmasked step has been
    cdef bint dropout = call.input_dropout != NULL or call.recurrent_dropout != NULL
    cdef const real *operand
    cdef ptrdiff_t t

    load_state(weights, call, first, rows, now)
    memset(seen, call.mask == NULL, rows)
    for t in range(call.timesteps):
        if t % 64 == 63 and stop.asked(stop.self):
            return
        load_inputs(weights, call, first, rows, t, now)
        operand = now
        if dropout:
            apply_dropout(weights, call, first, rows, now, dropped)
            operand = dropped
        project(weights, rows, operand, then, turned)
        weights.activate(then + features, width, weights.bias, rows, units)
        if call.mask != NULL:
            keep_masked(weights, call, first, rows, t, now, then, seen)
        if call.outputs != NULL:
            emit(weights, call, first, rows, t, then, seen, call.outputs + t * units, call.timesteps * units)
        now, then = then, now
    if call.last_output != NULL:
        emit(weights, call, first, rows, call.timesteps - 1, now, seen, call.last_output, units)
    if call.state != NULL:
        for t in range(rows):
            memcpy(call.state + (first + t) * units, now + t * width + features, units * sizeof(real))


cdef inline void project(const Weights[real] *weights, ptrdiff_t rows, const real *now, real *then,
                         real *turned) noexcept nogil:
    """then[:, features:] := now . [kernel; recurrent_kernel]"""
    cdef ptrdiff_t row, features = weights.features, units = weights.units, width = features + units
    cdef ptrdiff_t depth = width if weights.recurrent else features
    cdef real *h = then + features
    if depth == 0:
        for row in range(rows):
            memset(h + row * width, 0, units * sizeof(real))
    elif rows == 1:
        multiply_row(<int> units, <int> depth, now, weights.kernels, <int> units, h)
    elif transposed_product:
        multiply_t(<int> rows, <int> units, <int> depth, now, <int> width, weights.kernels_t, <int> depth,
                   turned, <int> rows)
        transpose(turned, units, rows, h, width)
    else:
        multiply(<int> rows, <int> units, <int> depth, now, <int> width, weights.kernels, <int> units, h, <int> width)


cdef inline void load_state(const Weights[real] *weights, const Sequences[real] *call, ptrdiff_t first,
                            ptrdiff_t rows, real *now) noexcept nogil:
    """now[:, features:] := initial_state, or zeros"""
    cdef ptrdiff_t row, units = weights.units, width = weights.features + units
    for row in range(rows):
        if call.initial_state == NULL:
            memset(now + row * width + weights.features, 0, units * sizeof(real))
        else:
            memcpy(now + row * width + weights.features, call.initial_state + (first + row) * units,
                   units * sizeof(real))


cdef inline void load_inputs(const Weights[real] *weights, const Sequences[real] *call, ptrdiff_t first,
                             ptrdiff_t rows, ptrdiff_t t, real *now) noexcept nogil:
    """now[:, :features] := x[first : first + rows, t]"""
    cdef ptrdiff_t row, feature, features = weights.features, width = features + weights.units
    cdef const real *x = call.x + first * call.x_batch + t * call.x_time
    for row in range(rows):
        if call.x_feature == 1:
            memcpy(now + row * width, x + row * call.x_batch, features * sizeof(real))
        else:
            for feature in range(features):
                now[row * width + feature] = x[row * call.x_batch + feature * call.x_feature]


cdef inline void apply_dropout(const Weights[real] *weights, const Sequences[real] *call, ptrdiff_t first,
                               ptrdiff_t rows, const real *now, real *dropped) noexcept nogil:
    """dropped := now * [input_dropout | recurrent_dropout]; the state itself stays whole"""
    cdef ptrdiff_t row, i, features = weights.features, units = weights.units, width = features + units
    memcpy(dropped, now, rows * width * sizeof(real))
    for row in range(rows):
        if call.input_dropout != NULL:
            for i in range(features):
                dropped[row * width + i] *= call.input_dropout[(first + row) * features + i]
        if call.recurrent_dropout != NULL:
            for i in range(units):
                dropped[row * width + features + i] *= call.recurrent_dropout[(first + row) * units + i]


cdef inline bint is_masked(const Sequences[real] *call, ptrdiff_t row, ptrdiff_t t) noexcept nogil:
    return call.mask != NULL and call.mask[row * call.mask_batch + t * call.mask_time] == 0


cdef inline void keep_masked(const Weights[real] *weights, const Sequences[real] *call, ptrdiff_t first,
                             ptrdiff_t rows, ptrdiff_t t, const real *now, real *then, uint8_t *seen) noexcept nogil:
    """h_t := h_{t-1} in the rows that are masked at t: selected, not multiplied, so no NaN leaks from them"""
    cdef ptrdiff_t row, units = weights.units, width = weights.features + units
    for row in range(rows):
        if is_masked(call, first + row, t):
            memcpy(then + row * width + weights.features, now + row * width + weights.features,
                   units * sizeof(real))
        else:
            seen[row] = 1


cdef inline void emit(const Weights[real] *weights, const Sequences[real] *call, ptrdiff_t first, ptrdiff_t rows,
                      ptrdiff_t t, const real *h, const uint8_t *seen, real *out, ptrdiff_t out_batch) noexcept nogil:
    """out := h; a masked row repeats its last output, which is zeros before its first unmasked step"""
    cdef ptrdiff_t row, units = weights.units, width = weights.features + units
    for row in range(rows):
        if is_masked(call, first + row, t) and (call.zero_output_for_mask or not seen[row]):
            memset(out + (first + row) * out_batch, 0, units * sizeof(real))
        else:
            memcpy(out + (first + row) * out_batch, h + row * width + weights.features, units * sizeof(real))


cdef ptrdiff_t scratch(const Weights[real] *weights, ptrdiff_t rows) noexcept nogil:
    """Elements: three blocks of rows [x | h], a product of rows, and a byte per row"""
    return rows * (3 * (weights.features + weights.units) + weights.units + 1)


# ---------------------------------------------------------------- the shape of the products

# OpenBLAS packs both operands of a product, and the weights, packed anew at each timestep, are by far the larger one.
# It packs its right-hand operand faster, so for a few rows h' := (x . W)' takes 0.7 of the time of h := x . W. Its
# AVX-512 kernels have a path without packing, for h := x . W alone.
cdef bint transposed_product = True

# Batches of fewer rows go row by row through gemv.
cdef ptrdiff_t gemm_rows = 8


cdef ptrdiff_t slice_rows(ptrdiff_t batch) noexcept nogil:
    """Slices of about 32 rows, in large batches 64: smaller ones pack the weights too often, larger are too few"""
    cdef ptrdiff_t target = 32 if batch < 1024 else 64
    cdef ptrdiff_t slices = max(1, (batch + target // 2) // target)
    if batch < gemm_rows:
        return 1
    return (batch + slices - 1) // slices


# ---------------------------------------------------------------- BLAS' own threads

def _library():
    """The library that holds SciPy's BLAS, its symbols looked up through the module that links it."""
    return ctypes.CDLL(cython_blas.__file__)


def _symbol(library, *names):
    for name in names:
        if hasattr(library, name):
            return getattr(library, name)
    return None


def _openblas(library, name):
    names = (f"{prefix}openblas_{name}{suffix}" for prefix in ("scipy_", "") for suffix in ("", "64_"))
    return _symbol(library, *names)


def _text(function):
    function.restype = ctypes.c_char_p
    return function().decode()


def _control():
    global core, gemm_rows, library_name, threads_controlled, transposed_product
    library = _library()
    get, set_ = _openblas(library, "get_num_threads"), _openblas(library, "set_num_threads")
    threads_controlled = get is not None and set_ is not None
    if threads_controlled:
        control_blas_threads(<void *> <size_t> ctypes.cast(get, ctypes.c_void_p).value,
                             <void *> <size_t> ctypes.cast(set_, ctypes.c_void_p).value)
        core = _text(_openblas(library, "get_corename"))
        library_name = " ".join(_text(_openblas(library, "get_config")).split()[:2])
    if core in ("SkylakeX", "Cooperlake", "SapphireRapids"):
        gemm_rows = 4
        transposed_product = False


library_name = "unknown"
core = "unknown"            # the CPU that OpenBLAS chose its kernels for
threads_controlled = False  # can BLAS be held to one thread?
_control()

blas_engine.slice_rows = slice_rows
blas_engine.begin = hold_blas_threads
blas_engine.end = release_blas_threads
blas_engine.f32.scratch = scratch[float]
blas_engine.f32.run = run[float]
blas_engine.f64.scratch = scratch[double]
blas_engine.f64.run = run[double]
engine = PyCapsule_New(&blas_engine, "cyrnn.engine.Engine", NULL)
