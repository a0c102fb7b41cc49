"""Weights made ready for the engine, and the slots that hold them. Programs run them."""

import os
from typing import NamedTuple

import numpy
cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDED_RO, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.limits cimport INT_MAX
from libc.stdint cimport uint32_t, uintptr_t
from libc.string cimport memcpy
from libcpp.memory cimport make_shared
from libcpp.vector cimport vector

from cyrnn.engine.choice import choose_engine
from cyrnn.engine.panels import LaidOut, checked, in_parts, laid_out, padded_width, unpacked

from cyrnn.engine.contract cimport (
    Cell, Engine, Guard, Prepared, Simd, Weights, activation_by_row, activation_count, activation_from_sums,
    activation_name, cell_count, cell_name, guard_pages_exist, real, round_to_bfloat16, rounded, simd_best,
    simd_by_name,
)


cdef extern from "draws.hpp" namespace "cyrnn" nogil:
    void fill_factors "cyrnn::draw_factors"[T](uint32_t seed, uint32_t counter, double keep, T kept, T *factors,
                                               ptrdiff_t count)


ACTIVATIONS = {(<bytes> activation_name(index)).decode(): index for index in range(activation_count())}
FROM_SUMS = frozenset({name for name, index in ACTIVATIONS.items() if activation_from_sums(index)})


class CellForm(NamedTuple):
    """What is known of a cell without its equations: see `Cell` in contract.hpp. Widths count (units) elements each."""

    gates: int           # columns of its kernel
    recurrent: int       # columns of its recurrent kernel
    biases: int
    states: int
    saved: int           # what the way back reads
    d_sums: int          # the gradients of its sums: first those of sums of x, as many as there are gates,
    d_recurrent: int     # and from here on those of sums of h, as many as the recurrent kernel has columns
    has_second: bool     # whether the last gate of the recurrent kernel is a product of its own
    between: int         # of what is saved the line that this product multiplies; 0 where that is h


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
    isa : "generic", "avx2", "avx512", "avx512-bf16", "amx" or "amx-emulated"; None takes the environment's CYRNN_ISA,
        else the fastest that this CPU runs
    engine : "simd", "blas" or "auto"; None takes the environment's CYRNN_ENGINE, else "auto": simd, which is the faster
        on every shape measured, where the instruction set is wider than the generic one, or units are few, or CPUs of
        this kind have no wider vectors, as those with NEON; else blas
    cell : a name in `CELLS`, or None. With one, the kernels and the bias have as many columns for each unit as its form
        says, gate after gate; a state has `carried` elements, h first.
    recurrent_activation : a name in `ACTIVATIONS`: that of a cell's gates
    parts : numbers of gates, each of which have a product of their own: of a cell 1 for each gate, beside the product
        of all; of a way back all rows of the kernel, instead of that product
    precision : "float32", or "bfloat16", to which the operands of products are rounded; of float64 none are
    differentiates : the plan of the recurrence or dense layer whose way back ops find with these weights, or None
    """

    def __cinit__(self, kernel, recurrent_kernel, bias, str activation, str isa=None, str engine=None, str cell=None,
                  str recurrent_activation="sigmoid", tuple parts=(), str precision="float32",
                  *, Plan differentiates=None):
        dtype = numpy.asarray(kernel).dtype
        if dtype not in (numpy.float32, numpy.float64):
            raise TypeError(f"kernel must be float32 or float64, got {dtype}")
        dtype = dtype.newbyteorder("=")  # which does not spell its byte order, and so neither does what is made of it
        kernel = numpy.asarray(kernel, order="C")
        if kernel.ndim != 2:
            raise ValueError(f"kernel must have shape (features, units), got {kernel.shape}")
        features, columns = kernel.shape
        self.form = form = checked_cell(cell, recurrent_kernel is not None, columns)
        units = columns // form.gates
        if features + columns > INT_MAX // 2:
            raise ValueError(f"kernel of shape {kernel.shape} is larger than BLAS can count: {INT_MAX // 2}")
        if recurrent_kernel is not None:
            recurrent_kernel = checked("recurrent_kernel", recurrent_kernel, (units, form.recurrent * units), dtype)
        for name in (activation, recurrent_activation):
            activation_index(name)
        bias = None if bias is None else checked("bias", bias, (form.biases * units,), dtype)
        self.parts = checked_parts(parts, cell, form, features, recurrent_kernel is not None or bias is not None)
        cdef const Simd *simd = choose_simd(isa)
        if precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be 'float32' or 'bfloat16', got {precision!r}")
        self.precision = precision if dtype == numpy.float32 else "float32"
        if self.precision == "bfloat16":
            kernel = to_bfloat16(kernel)
            recurrent_kernel = None if recurrent_kernel is None else to_bfloat16(recurrent_kernel)
        self.isa = (<bytes> simd.name).decode()
        self.engine = choose_engine(engine, simd.preferred, columns)
        self.features, self.units, self.dtype, self.carried = features, units, dtype, form.states * units
        self.activation, self.cell, self.recurrent_activation = activation, cell, recurrent_activation
        self.prepared = make_shared[Prepared]()
        cdef Prepared *prepared = self.prepared.get()
        prepared.single = self.single = dtype == numpy.float32
        prepared.guard = choose_guard()
        self.may_block = self.engine != "simd"
        prepared.engine = blas_functions() if self.may_block else &simd.engine
        prepared.panel_columns = simd.columns_f32
        if self.precision == "bfloat16":
            prepared.rounds, prepared.rounded = True, rounded(prepared.engine.f32)
        if self.single:
            fill_plan[float](self, &prepared.f32, &prepared.more_f32, cell_f32(simd, cell), kernel, recurrent_kernel,
                             bias)
            prepared.make_tiles()
        else:
            fill_plan[double](self, &prepared.f64, &prepared.more_f64, cell_f64(simd, cell), kernel, recurrent_kernel,
                              bias)
        fill_functions(self, simd, differentiates)

    def laid_out(self, kernel, recurrent_kernel, bias):
        """Arrays like the weights in the order in which the engine reads these: those of the product, and a list with
        those of the others, which are a second one, if the cell has it, and the parts."""
        cdef const Simd *simd = choose_simd(self.isa)
        of_panel = None if self.may_block else simd.columns_f32 if self.single else simd.columns_f64
        how = of_panel, <bint> self.prepared.get().engine.transposed
        rows, units = len(kernel), self.units
        if self.cell is None:
            if not self.parts:
                return laid_out(kernel, recurrent_kernel, bias, *how), []
            parts = [laid_out(part, None, None, *how) for part in in_parts(kernel, self.parts)]
            return LaidOut(rows, rows), parts
        others = []
        if self.form.has_second:
            recurrent_kernel, of_second = recurrent_kernel[:, :-units], recurrent_kernel[:, -units:]
            others.append(laid_out(of_second[:0], of_second, None, *how))
        # Gates that h has no part in have zeros there, which only panels of several gates read.
        wide = numpy.pad(recurrent_kernel, ((0, 0), (0, kernel.shape[1] - recurrent_kernel.shape[1])))
        for gate in range(len(self.parts)):
            columns = slice(gate * units, (gate + 1) * units)
            of_h = recurrent_kernel[:, columns] if gate < recurrent_kernel.shape[1] // units else None
            others.append(laid_out(kernel[:, columns], of_h, None, *how))
        return laid_out(kernel, wide, None, *how)._replace(bias=bias), others

    @property
    def made_of(self):
        """The kernel, the recurrent kernel, the bias and the activation: new arrays, or None."""
        return *arrays_of(self), self.activation

    def transposed(self, str name, tuple parts=()):
        """The weight of this name of those that a slot has the plan for, transposed, perhaps in parts: a plan that
        gradients pass through. It knows the derivative of this plan's activation."""
        if self.transposes is None:
            self.transposes = {}
        made = self.transposes.get((name, parts))
        if made is None:
            made = self.transposes.setdefault((name, parts), self.own_transposed(self.values[name], parts))
        return made

    cdef Plan in_bfloat16(self):
        """The same weights, for products whose operands are rounded to bfloat16; made when it is first asked for."""
        if not self.single or self.precision == "bfloat16":
            return self
        cdef Plan found, made
        with cython.critical_section(Slot):
            found = self.rounded
        if found is not None:
            return found
        made = Plan(*self.made_of, self.isa, self.engine, self.cell, self.recurrent_activation, self.parts, "bfloat16")
        with cython.critical_section(Slot):
            if self.rounded is None:
                made.values = self.values
                self.rounded = made
            return self.rounded

    def own_transposed(self, weight, tuple parts=()):
        """As `transposed`, of this weight; a new plan of the caller's own."""
        turned = numpy.ascontiguousarray(weight.T, self.dtype)
        return Plan(turned, None, None, "linear", self.isa, self.engine, parts=parts, differentiates=self)

    def __reduce__(self):
        """On another machine it is made ready anew."""
        rest = () if self.cell is None and self.precision == "float32" else (
            None, None, self.cell, self.recurrent_activation, self.parts, self.precision)
        return Plan, (*self.made_of, *rest)


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


def draw_factors(uint32_t seed, uint32_t counter, double keep, factors):
    """Fill `factors` with inverted dropout: 1 / keep for a share `keep`, else 0. They are contiguous (count,), float32
    or float64.

    Those are kept for which ``np.random.default_rng(np.array([seed, counter], np.uint32)).uniform`` draws less than
    `keep`, which is between 0 and 1.
    """
    cdef ptrdiff_t count = len(factors)
    cdef bint single = factors.dtype == numpy.float32
    cdef _Buffers buffers = _Buffers()
    cdef void *filled = buffers.take_contiguous(b"factors", factors, shaped(1, count), b"f" if single else b"d", True)
    with nogil:
        if single:
            fill_factors[float](seed, counter, keep, <float> 1 / <float> keep, <float *> filled, count)
        else:
            fill_factors[double](seed, counter, keep, 1 / keep, <double *> filled, count)


def isa():
    """The instruction set that a new plan's vectorised parts use: CYRNN_ISA, else the widest this CPU runs."""
    return (<bytes> choose_simd(None).name).decode()


def engine():
    """The engine that a new plan of many units uses: CYRNN_ENGINE, else by the instruction set."""
    return choose_engine(None, choose_simd(None).preferred, 128)


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
