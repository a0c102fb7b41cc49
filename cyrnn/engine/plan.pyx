"""Plans: a layer's weights made ready to run. The one place where arrays become pointers and the GIL is released."""

import os
import threading

import numpy
from numpy import empty, ndarray
cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDED_RO, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.limits cimport INT_MAX
from libc.stdint cimport uint8_t, uintptr_t
from libc.string cimport memcpy
from libcpp cimport bool
from libcpp.memory cimport make_shared

from cyrnn.engine.choice import choose_engine
from cyrnn.engine.panels import checked, packed, padded_width, unpacked

from cyrnn.engine.contract cimport (
    Cell, Cells, Engine, Guard, Prepared, Simd, Weights, activation_by_row, activation_count, activation_name,
    Sequences, guard_pages_exist, real, simd_best, simd_by_name,
)

cdef extern from "slices.hpp" namespace "cyrnn" nogil:
    enum class Outcome(int):
        done
        interrupted
        no_memory
        forked

    const double least_parallel_work

    cdef cppclass Job:
        const Prepared *prepared
        double work()

    cdef cppclass JobOf[T](Job):
        Sequences[T] call

    Outcome run_slices(const Job *const *jobs, ptrdiff_t count, int threads,
                       bool (*interrupted)() noexcept nogil) noexcept

cdef extern from "Python.h":
    int PyErr_CheckSignals() noexcept

cdef extern from *:
    """static int raise_pending() { return PyErr_Occurred() ? -1 : 0; }"""
    int raise_pending() except -1

ACTIVATIONS = {(<bytes> activation_name(index)).decode(): index for index in range(activation_count())}


cdef class Packed:
    """Weights of one layer, checked, copied and made ready. They never change: any number of threads may use them."""


@cython.final
cdef class Plan(Packed):
    """The weights of one layer, checked, copied and made ready. It never changes: any number of threads may run it.

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
    """

    def __cinit__(self, kernel, recurrent_kernel, bias, str activation, str isa=None, str engine=None, *, cell=None):
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
        parts = [kernel]
        if recurrent_kernel is not None:
            parts.append(checked("recurrent_kernel", recurrent_kernel, (units, columns), dtype))
        kernels = numpy.concatenate(parts)  # copies: what the caller does to its arrays is its own affair
        bias = None if bias is None else checked("bias", bias, (columns,), dtype).copy()
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
        depth = len(kernels)
        if self.engine == "simd":
            prepared.engine = &simd.engine
            panels, bias = packed(kernels, bias, simd.columns_f32 if self.single else simd.columns_f64)
            kernels = kernels_t = None
        else:
            prepared.engine = blas_functions()
            self.may_block = True
            kernels_t = numpy.ascontiguousarray(kernels.T) if prepared.engine.transposed else None
            panels = None
        if self.single:
            fill_weights[float](prepared, &prepared.f32, features, units, depth, kernels, kernels_t, panels, bias)
            prepared.f32.activate = simd.activate_f32[index]
            prepared.f32.by_row = activation_by_row(index)
            if cells != NULL:
                set_cell[float](&prepared.f32, &cells.f32)
        else:
            fill_weights[double](prepared, &prepared.f64, features, units, depth, kernels, kernels_t, panels, bias)
            prepared.f64.activate = simd.activate_f64[index]
            prepared.f64.by_row = activation_by_row(index)
            if cells != NULL:
                set_cell[double](&prepared.f64, &cells.f64)

    def __reduce__(self):
        """On another machine it is made ready anew. Raises TypeError where it has a cell."""
        return Plan, (*arrays_of(self), self.activation)

    def call(self, x, *, initial_state=None, mask=None, bint zero_output_for_mask=False, bint go_backwards=False,
             input_dropout=None, recurrent_dropout=None, outputs=None, last_output=None, state=None):
        """A `Call`: what `run` needs to go over x (batch, timesteps, features) and fill the arrays that are given.

        x, and the mask (batch, timesteps; bool), may have any strides. All other arrays are of the plan's dtype:
        initial_state and state (batch, carried), input_dropout (batch, features) and recurrent_dropout (batch, units)
        as factors, C-contiguous; outputs (batch, timesteps, units) in processing order and last_output (batch, units),
        contiguous along units. Raises ValueError for a wrong shape, dtype or layout, and where an array to fill shares
        memory with another one; but state may be initial_state.
        """
        cdef Call call = Call.__new__(Call)
        call.plan = self
        fill(call, x, initial_state, mask, zero_output_for_mask, go_backwards, input_dropout, recurrent_dropout,
             outputs, last_output, state)
        call.check_apart()
        return call

    def forward(self, x, bint all_timesteps, bint go_backwards, get_num_threads):
        """All outputs (batch, timesteps, units) for x (batch, timesteps, features), or the last ones (batch, units).

        The short way of the commonest call. None where x is anything but an array of numbers that fit, with timesteps.
        `get_num_threads` is asked where there is work for more than one thread.
        """
        if type(x) is not ndarray or x.ndim != 3 or x.shape[1] == 0:
            return None
        cdef Call call = Call.__new__(Call)
        call.plan = self
        shape = x.shape
        out = empty((shape[0], shape[1], self.units) if all_timesteps else (shape[0], self.units), self.dtype)
        try:
            fill(call, x, None, None, False, go_backwards, None, None, out if all_timesteps else None,
                 None if all_timesteps else out, None)
        except (ValueError, BufferError):
            return None
        run_together(&call.job, 1, 1 if call.job.work() < least_parallel_work else get_num_threads())
        return out

    def step(self, x, state, get_num_threads):
        """The output (batch, units) for x (batch, features) and state (batch, units); None for what does not fit."""
        if type(x) is not ndarray or type(state) is not ndarray or x.ndim != 2 or state.ndim != 2:
            return None
        cdef Call call = Call.__new__(Call)
        call.plan = self
        out = empty((x.shape[0], self.units), self.dtype)
        try:
            fill(call, x[:, None], state, None, False, False, None, None, None, None, out)
        except (ValueError, BufferError):
            return None
        run_together(&call.job, 1, 1 if call.job.work() < least_parallel_work else get_num_threads())
        return out


include "slots.pxi"


def run(list calls, int num_threads=1):
    """Run calls, of which none reads or fills what another one fills, together on at most `num_threads` threads.

    Raises ValueError for num_threads < 1, MemoryError without scratch space, and what a signal handler raises.
    """
    if num_threads < 1:
        raise ValueError(f"num_threads must be positive, got {num_threads}")
    cdef const Job *jobs[most_calls]
    cdef ptrdiff_t count = 0
    cdef Call call
    cdef tuple held = tuple(calls)  # a copy: the list may change during the call
    if len(held) > most_calls:
        raise ValueError(f"at most {most_calls} calls can run together, got {len(held)}")
    for item in held:
        call = item
        if call is None or call.job == NULL:
            raise TypeError(f"calls must come from Plan.call, got {item!r}")
        jobs[count] = call.job
        count += 1
    run_together(jobs, count, num_threads)


cdef int run_together(const Job *const *jobs, ptrdiff_t count, int num_threads) except -1:
    cdef double work = 0
    cdef ptrdiff_t index
    for index in range(count):
        work += jobs[index].work()
    # Signals are handled on the main thread alone. Another one must not come back to Python while workers are busy:
    # if the interpreter is ending, it would never return to them. And what takes microseconds need not be stopped.
    cdef bint may_stop = work >= least_parallel_work and threading.get_ident() == threading.main_thread().ident
    cdef Outcome outcome
    with nogil:
        outcome = run_slices(jobs, count, num_threads, interrupted if may_stop else never)
    if outcome == Outcome.no_memory:
        raise MemoryError("no memory for the scratch space of the recurrence")
    if outcome == Outcome.forked:
        raise RuntimeError("this process was forked in the middle of the call, and has not the threads to finish it")
    if outcome == Outcome.interrupted:
        raise_pending()
    return 0


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


cdef enum:
    most_calls = 16  # together

MOST_CALLS = most_calls


@cython.final
cdef class Call(_Buffers):
    """A plan and the arrays of one run over them, checked and held: see `Plan.call` and `run`."""

    cdef Plan plan
    cdef JobOf[float] job_f32
    cdef JobOf[double] job_f64
    cdef const Job *job  # the one of the two that is filled


cdef int fill(Call call, x, initial_state, mask, bint zero_output_for_mask, bint go_backwards, input_dropout,
              recurrent_dropout, outputs, last_output, state) except -1:
    cdef Plan plan = call.plan
    if plan.single:
        call.job = &call.job_f32
        return fill_job[float](call, &call.job_f32, x, initial_state, mask, zero_output_for_mask, go_backwards,
                               input_dropout, recurrent_dropout, outputs, last_output, state)
    call.job = &call.job_f64
    return fill_job[double](call, &call.job_f64, x, initial_state, mask, zero_output_for_mask, go_backwards,
                            input_dropout, recurrent_dropout, outputs, last_output, state)


cdef int fill_job(Call owner, JobOf[real] *job, x, initial_state, mask, bint zero_output_for_mask, bint go_backwards,
                  input_dropout, recurrent_dropout, outputs, last_output, state) except -1:
    job.prepared = owner.plan.prepared.get()
    cdef ptrdiff_t features = owner.plan.features, units = owner.plan.units
    cdef char kind = b"f" if real is float else b"d"
    cdef Py_buffer *view = owner.take(b"x", x, shaped(3, any_length, any_length, features), kind)
    cdef ptrdiff_t item = view.itemsize
    cdef ptrdiff_t batch = view.shape[0], timesteps = view.shape[1]
    job.call.batch, job.call.timesteps = batch, timesteps
    job.call.x = <const real *> view.buf
    job.call.x_batch, job.call.x_time = view.strides[0] // item, view.strides[1] // item
    job.call.x_feature = view.strides[2] // item
    job.call.mask = NULL
    if mask is not None and timesteps > 0:
        view = owner.take(b"mask", mask, shaped(2, batch, timesteps), b"?")
        job.call.mask = <const uint8_t *> view.buf
        job.call.mask_batch, job.call.mask_time = view.strides[0], view.strides[1]
    if go_backwards and timesteps > 0:  # the last timestep first: a sign, not a copy
        job.call.x += (timesteps - 1) * job.call.x_time
        job.call.x_time = -job.call.x_time
        if job.call.mask != NULL:
            job.call.mask += (timesteps - 1) * job.call.mask_time
            job.call.mask_time = -job.call.mask_time
    cdef Shape row = shaped(2, batch, units), record = shaped(2, batch, owner.plan.carried)
    job.call.zero_output_for_mask = zero_output_for_mask
    job.call.initial_state = <const real *> owner.take_contiguous(b"initial_state", initial_state, record, kind)
    job.call.input_dropout = <const real *> owner.take_contiguous(
        b"input_dropout", input_dropout, shaped(2, batch, features), kind)
    job.call.recurrent_dropout = <const real *> owner.take_contiguous(
        b"recurrent_dropout", recurrent_dropout, row, kind)
    cdef ptrdiff_t strides[2]
    job.call.outputs = <real *> owner.take_rows(b"outputs", outputs, shaped(3, batch, timesteps, units), kind, strides)
    if job.call.outputs != NULL:
        job.call.outputs_batch, job.call.outputs_time = strides[0], strides[1]
    job.call.last_output = <real *> owner.take_rows(b"last_output", last_output, row, kind, strides)
    job.call.last_output_batch = strides[0] if job.call.last_output != NULL else 0
    job.call.state = <real *> owner.take_contiguous(b"state", state, record, kind, True)
    return 0


cdef bool never() noexcept nogil:
    return False


cdef bool interrupted() noexcept nogil:
    """Runs Python's signal handlers; a raised exception stays pending for `raise_pending`."""
    with gil:
        return PyErr_CheckSignals() != 0


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
