"""Weights made ready for the engine, and the slots that hold them. Programs run them."""

import os

import numpy
cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDED_RO, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.limits cimport INT_MAX
from libc.stdint cimport uintptr_t
from libc.string cimport memcpy
from libcpp.memory cimport make_shared

from cyrnn.engine.choice import choose_engine
from cyrnn.engine.panels import checked, laid_out, padded_width, unpacked

from cyrnn.engine.contract cimport (
    Cell, Cells, Engine, Guard, Prepared, Simd, Weights, activation_by_row, activation_count, activation_from_sums,
    activation_name, guard_pages_exist, real, simd_best, simd_by_name,
)

ACTIVATIONS = {(<bytes> activation_name(index)).decode(): index for index in range(activation_count())}
FROM_SUMS = frozenset({name for name, index in ACTIVATIONS.items() if activation_from_sums(index)})


cdef class Packed:
    """Weights of one layer, checked, copied and made ready. They never change: any number of threads may use them."""


@cython.final
cdef class Plan(Packed):
    """The weights of one layer, checked, copied and made ready. It never changes: any number of threads may use it.

    With a recurrent kernel it computes ``h_t = activation(x_t . kernel + h_{t-1} . recurrent_kernel + bias)``;
    without one it is a dense layer, ``y_t = activation(x_t . kernel + bias)``.

    Parameters
    ----------
    kernel : array (features, units), float32 or float64
    recurrent_kernel : array (units, units) of the same dtype, or None
    bias : array (units,) of the same dtype, or None
    activation : a name in `ACTIVATIONS`
    isa : "generic", "avx2" or "avx512"; None takes the environment's CYRNN_ISA, else the widest this CPU runs
    engine : "simd", "blas" or "auto"; None takes the environment's CYRNN_ENGINE, else "auto": simd, which is the faster
        on every shape measured, where the instruction set is wider than the generic one, or units are few; else blas
    cell : a capsule "cyrnn.engine.Cell" (see contract.hpp), or None. With one, the kernels have `gates` times as many
        columns as units, and so has the bias; a state has `carried` elements, h first.
    differentiates : the activation whose derivative ops of back-propagation find with these weights, or None
    """

    def __cinit__(self, kernel, recurrent_kernel, bias, str activation, str isa=None, str engine=None, *, cell=None,
                  str differentiates=None):
        dtype = numpy.asarray(kernel).dtype
        if dtype not in (numpy.float32, numpy.float64):
            raise TypeError(f"kernel must be float32 or float64, got {dtype}")
        dtype = dtype.newbyteorder("=")  # which does not spell its byte order, and so neither does what is made of it
        kernel = numpy.asarray(kernel, order="C")
        if kernel.ndim != 2:
            raise ValueError(f"kernel must have shape (features, units), got {kernel.shape}")
        features, columns = kernel.shape
        cdef const Cells *cells = cells_of(cell, recurrent_kernel is not None, columns)
        units = columns if cells == NULL else columns // cells.f32.gates
        if features + columns > INT_MAX // 2:
            raise ValueError(f"kernel of shape {kernel.shape} is larger than BLAS can count: {INT_MAX // 2}")
        if recurrent_kernel is not None:
            recurrent_kernel = checked("recurrent_kernel", recurrent_kernel, (units, columns), dtype)
        bias = None if bias is None else checked("bias", bias, (columns,), dtype)
        if activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {activation!r}: expected one of {', '.join(ACTIVATIONS)}")
        cdef const Simd *simd = choose_simd(isa)
        self.isa = (<bytes> simd.name).decode()
        self.engine = choose_engine(engine, self.isa, columns)
        self.features, self.units, self.dtype, self.activation = features, units, dtype, activation
        self.carried = units if cells == NULL else units * cells.f32.states
        cdef int index = ACTIVATIONS[activation]
        self.prepared = make_shared[Prepared]()
        cdef Prepared *prepared = self.prepared.get()
        prepared.single = self.single = dtype == numpy.float32
        prepared.guard = choose_guard()
        depth = features if recurrent_kernel is None else features + units
        self.may_block = self.engine != "simd"
        prepared.engine = blas_functions() if self.may_block else &simd.engine
        kernels, kernels_t, panels, bias = self.laid_out(kernel, recurrent_kernel, bias)
        if self.single:
            fill_weights[float](prepared, &prepared.f32, features, units, depth, kernels, kernels_t, panels, bias)
            prepared.f32.activate = simd.activate_f32[index]
            prepared.f32.add_bias = simd.activate_f32[activation_index("linear")]
            if differentiates is not None:
                prepared.f32.differentiate = simd.differentiate_f32[activation_index(differentiates)]
            prepared.f32.by_row = activation_by_row(index)
            if cells != NULL:
                set_cell[float](&prepared.f32, &cells.f32)
        else:
            fill_weights[double](prepared, &prepared.f64, features, units, depth, kernels, kernels_t, panels, bias)
            prepared.f64.activate = simd.activate_f64[index]
            prepared.f64.add_bias = simd.activate_f64[activation_index("linear")]
            if differentiates is not None:
                prepared.f64.differentiate = simd.differentiate_f64[activation_index(differentiates)]
            prepared.f64.by_row = activation_by_row(index)
            if cells != NULL:
                set_cell[double](&prepared.f64, &cells.f64)

    def laid_out(self, kernel, recurrent_kernel, bias):
        """Arrays like the weights in the order in which the engine reads these; see `panels.laid_out`."""
        cdef const Simd *simd = choose_simd(self.isa)
        columns = None if self.may_block else simd.columns_f32 if self.single else simd.columns_f64
        return laid_out(kernel, recurrent_kernel, bias, columns, self.prepared.get().engine.transposed)

    @property
    def made_of(self):
        """The kernel, the recurrent kernel, the bias and the activation: new arrays, or None. Raises TypeError where
        there is a cell."""
        return *arrays_of(self), self.activation

    def transposed(self, str name):
        """The weight of this name of those that a slot has the plan for, transposed: a plan that gradients pass
        through. It knows the derivative of this plan's activation."""
        if self.transposes is None:
            self.transposes = {}
        made = self.transposes.get(name)
        if made is None:
            made = self.transposes.setdefault(name, self.own_transposed(self.values[name]))
        return made

    def own_transposed(self, weight):
        """As `transposed`, of this weight; a new plan of the caller's own."""
        turned = numpy.ascontiguousarray(weight.T, self.dtype)
        return Plan(turned, None, None, "linear", self.isa, self.engine, differentiates=self.activation)

    def __reduce__(self):
        """On another machine it is made ready anew."""
        return Plan, self.made_of


include "slots.pxi"


def activate(str activation, z, bias=None, str isa=None):
    """z := activation(z + bias) in place: z (rows, units), C-contiguous float32 or float64; bias (units,) or None."""
    cdef const Simd *simd = choose_simd(isa)
    if activation not in ACTIVATIONS:
        raise ValueError(f"unknown activation {activation!r}: expected one of {', '.join(ACTIVATIONS)}")
    if numpy.ndim(z) != 2:
        raise ValueError(f"z must have shape (rows, units), got {numpy.shape(z)}")
    cdef int index = ACTIVATIONS[activation]
    if z.dtype == numpy.float32:
        activate_typed[float](<uintptr_t> simd.activate_f32[index], z, bias)
    else:
        activate_typed[double](<uintptr_t> simd.activate_f64[index], z, bias)


def differentiate(str activation, saved, d, str isa=None):
    """d := d . activation'(sums) in place: the gradient of the outputs becomes that of the sums.

    d is (rows, units), float32 or float64; saved has its shape and dtype, and holds the sums, with their bias, where
    `activation` is in `FROM_SUMS`, or else the outputs. Each row is contiguous; rows may lie apart.
    """
    cdef const Simd *simd = choose_simd(isa)
    cdef int index = activation_index(activation)
    if numpy.ndim(d) != 2:
        raise ValueError(f"d must have shape (rows, units), got {numpy.shape(d)}")
    cdef bint single = d.dtype == numpy.float32
    cdef char kind = b"f" if single else b"d"
    cdef Shape shape = shaped(2, d.shape[0], d.shape[1])
    cdef _Buffers buffers = _Buffers()
    cdef Py_buffer *d_ = buffers.take(b"d", d, shape, kind, True)
    cdef Py_buffer *saved_ = buffers.take(b"saved", saved, shape, kind)
    check_contiguous(b"d", d_, 1)
    check_contiguous(b"saved", saved_, 1)
    buffers.check_apart()
    cdef ptrdiff_t d_stride = d_.strides[0] // d_.itemsize, saved_stride = saved_.strides[0] // d_.itemsize
    with nogil:
        if single:
            simd.differentiate_f32[index](
                <const float *> saved_.buf, saved_stride, <float *> d_.buf, d_stride, shape.axes[0], shape.axes[1])
        else:
            simd.differentiate_f64[index](
                <const double *> saved_.buf, saved_stride, <double *> d_.buf, d_stride, shape.axes[0], shape.axes[1])


def isa():
    """The instruction set that a new plan's vectorised parts use: CYRNN_ISA, else the widest this CPU runs."""
    return (<bytes> choose_simd(None).name).decode()


def engine():
    """The engine that a new plan of many units uses: CYRNN_ENGINE, else by the instruction set."""
    return choose_engine(None, isa(), 128)


# ---------------------------------------------------------------- engines and instruction sets

cdef void *activate_f32_of(str name) except NULL:
    return <void *> choose_simd(None).activate_f32[activation_index(name)]


cdef void *activate_f64_of(str name) except NULL:
    return <void *> choose_simd(None).activate_f64[activation_index(name)]


cdef void *differentiate_f32_of(str name) except NULL:
    return <void *> choose_simd(None).differentiate_f32[activation_index(name)]


cdef void *differentiate_f64_of(str name) except NULL:
    return <void *> choose_simd(None).differentiate_f64[activation_index(name)]


cdef int activation_index(str name) except -1:
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}: expected one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


cdef const Engine *blas_functions() except NULL:
    """The blas engine. Its module imports SciPy, so it is imported when it is first wanted."""
    from cyrnn.engine import engine_blas
    return <const Engine *> PyCapsule_GetPointer(engine_blas.engine, "cyrnn.engine.Engine")


cdef const Simd *choose_simd(str isa) except NULL:
    name = isa or os.environ.get("CYRNN_ISA")
    if not name:
        return simd_best()
    cdef bytes encoded = name.encode()
    cdef const Simd *simd = simd_by_name(encoded)
    if simd == NULL:
        raise ValueError(f"{'isa' if isa else 'CYRNN_ISA'}={name!r} is not an instruction set that this CPU and build "
                         f"can run; the widest is {(<bytes> simd_best().name).decode()!r}")
    return simd


cdef Guard choose_guard() except *:
    """For tests: where CYRNN_GUARD_PAGES puts a page that faults beside the weights of a plan."""
    place = os.environ.get("CYRNN_GUARD_PAGES")
    if not place:
        return Guard.none
    if place not in ("lower", "upper") or not guard_pages_exist:
        raise ValueError(f"CYRNN_GUARD_PAGES must be 'lower' or 'upper', or not set on Windows, got {place!r}")
    return Guard.lower if place == "lower" else Guard.upper


# ---------------------------------------------------------------- arrays become pointers

include "weights.pxi"
include "buffers.pxi"


cdef int activate_typed(uintptr_t function, z, bias, real *unused=NULL) except -1:
    cdef _Buffers buffers = _Buffers()
    cdef char kind = b"f" if real is float else b"d"
    cdef ptrdiff_t rows = z.shape[0], units = z.shape[1]
    cdef real *z_ = <real *> buffers.take_contiguous(b"z", z, shaped(2, rows, units), kind, True)
    cdef const real *bias_ = <const real *> buffers.take_contiguous(b"bias", bias, shaped(1, units), kind)
    buffers.check_apart()
    with nogil:
        (<void (*)(real *, ptrdiff_t, const real *, ptrdiff_t, ptrdiff_t) noexcept nogil> function)(
            z_, units, bias_, rows, units)
    return 0
