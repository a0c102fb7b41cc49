"""Runners: plans in sequence, stepped one timestep at a time. The Python side of cyrnn.h."""

import numpy
from numpy import empty
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDED_RO, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.pycapsule cimport PyCapsule_GetContext, PyCapsule_GetPointer, PyCapsule_New, PyCapsule_SetContext
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uintptr_t
from libcpp.memory cimport shared_ptr
from libcpp.vector cimport vector

from cyrnn.engine.capi cimport (
    CYRNN_BUSY, CYRNN_NO_MEMORY, CYRNN_OK, CYRNN_OUT_OF_RANGE, cyrnn_api, cyrnn_model, cyrnn_status,
)
from cyrnn.engine.contract cimport Prepared, c_api, make_model
from cyrnn.engine.plan cimport Plan, is_of_kind

cdef const cyrnn_api *c = c_api()
api = PyCapsule_New(<void *> c, "cyrnn.capi.api", NULL)
api_address = <uintptr_t> c

# From so many multiply-adds on a step takes microseconds. Other Python threads may run meanwhile.
cdef double long_step = 2e5


cdef class Runner:
    """Plans in sequence, and their states for `batch_size` rows, which each step moves.

    Parameters
    ----------
    plans : sequence of Plan, of one dtype, each with a recurrent kernel, and with the units of the one before as
        features
    batch_size : rows, positive

    One thread at a time: RuntimeError for another one. Raises ValueError for plans that do not follow each other, or a
    batch that no memory could hold; MemoryError.
    """

    def __cinit__(self, plans, ptrdiff_t batch_size, *args, **kwargs):
        cdef vector[shared_ptr[Prepared]] layers
        cdef Plan plan, before = None
        cdef bint real_time = True
        cdef double work = 0
        self.plans = tuple(plans)
        for item in self.plans:
            plan = <Plan?> item
            if before is not None and (plan.features != before.units or plan.dtype != before.dtype):
                raise ValueError(f"plans must follow each other, got {plan.features} features of {plan.dtype} after "
                                 f"{before.units} units of {before.dtype}")
            layers.push_back(plan.prepared)
            real_time = real_time and plan.engine == "simd"
            work += <double> batch_size * plan.units * (plan.features + plan.units)
            before = plan
        if before is None:
            raise ValueError("plans must hold at least one Plan, got none")
        self.model = make_model(layers.data(), <ptrdiff_t> layers.size(), real_time)
        if self.model == NULL:
            raise MemoryError()
        cdef cyrnn_status status = c.runner_create(self.model, batch_size, NULL, 0, &self.runner)
        if status == CYRNN_OUT_OF_RANGE:
            raise ValueError(f"batch_size must be positive, and its states must fit in memory; got {batch_size}")
        check(status)
        self.features, self.units = (<Plan> self.plans[0]).features, before.units
        self.batch_size, self.dtype, self.single = batch_size, before.dtype, before.single
        self.long_steps = work >= long_step or not real_time  # no thread waits for the locks of a BLAS with the GIL

    def __dealloc__(self):
        c.runner_destroy(self.runner)
        c.model_release(self.model)

    def step(self, x_t, out=None):
        """The output (batch_size, units) for x_t (batch_size, features); the states move on.

        `out`, a C-contiguous array of that shape and the runner's dtype, is filled and returned instead of a new one;
        it may be x_t's memory. Nothing is allocated then, if x_t is C-contiguous and of the runner's dtype too.
        Raises ValueError for wrong shapes and TypeError for what is not numbers; the states are then as they were.
        """
        cdef Py_buffer x, output
        cdef cyrnn_status status
        if not take(&x, x_t, self.batch_size, self.features, self.single, False):
            x_t = self.converted(x_t)
            if not take(&x, x_t, self.batch_size, self.features, self.single, False):
                raise ValueError(f"x_t must have shape {(self.batch_size, self.features)}, got {numpy.shape(x_t)}")
        try:
            if out is None:
                out = empty((self.batch_size, self.units), self.dtype)
            if not take(&output, out, self.batch_size, self.units, self.single, True):
                raise ValueError(
                    f"out must be a writeable, C-contiguous array of shape {(self.batch_size, self.units)} and dtype "
                    f"{self.dtype}, got {described(out)}")
            if self.long_steps:
                with nogil:
                    status = step_of(self, x.buf, output.buf)
            else:
                status = step_of(self, x.buf, output.buf)
            PyBuffer_Release(&output)
        finally:
            PyBuffer_Release(&x)
        check(status)
        return out

    def converted(self, x_t):
        """`x_t` as a C-contiguous array of the runner's dtype."""
        return numpy.require(x_t, self.dtype, ["C", "A"])

    def get_state(self, int layer):
        """A copy of a layer's state (batch_size, carried). Raises ValueError for a layer that is not there."""
        state = numpy.empty((self.batch_size, self.carried_of(layer)), self.dtype)
        cdef uintptr_t address = state.ctypes.data
        if self.single:
            check(c.get_state_f32(self.runner, layer, 0, self.batch_size, <float *> address))
        else:
            check(c.get_state_f64(self.runner, layer, 0, self.batch_size, <double *> address))
        return state

    def set_state(self, int layer, state, ptrdiff_t first_row=0):
        """Set the rows of a layer's state from first_row on to `state` (rows, carried), of real numbers.

        Raises ValueError for another shape, or rows and layers that are not there; TypeError for other numbers.
        """
        with numpy.errstate(all="ignore"):  # what is too large for the dtype becomes infinite
            state = numpy.asarray(state).astype(self.dtype, order="C", casting="same_kind", copy=False)
        state = numpy.require(state, None, ["C", "A"])
        cdef ptrdiff_t carried = self.carried_of(layer)
        if state.ndim != 2 or state.shape[1] != carried or not 0 <= first_row <= self.batch_size - len(state):
            raise ValueError(f"state must have shape (rows, {carried}) with rows up to {self.batch_size}, "
                             f"got {state.shape} from row {first_row} on")
        cdef uintptr_t address = state.ctypes.data
        cdef ptrdiff_t rows = len(state)
        if self.single:
            check(c.set_state_f32(self.runner, layer, first_row, rows, <const float *> address))
        else:
            check(c.set_state_f64(self.runner, layer, first_row, rows, <const double *> address))

    cdef ptrdiff_t carried_of(self, int layer) except -1:
        if not 0 <= layer < len(self.plans):
            raise ValueError(f"layer must be from 0 to {len(self.plans) - 1}, got {layer}")
        return (<Plan> self.plans[layer]).carried

    @property
    def address(self):
        """The ``cyrnn_runner *`` of cyrnn.h as an integer; it lives as long as this object."""
        return <uintptr_t> self.runner

    @property
    def model_address(self):
        """The ``cyrnn_model *`` of cyrnn.h as an integer; it lives as long as this object, or a holder in C."""
        return <uintptr_t> self.model

    @property
    def __cyrnn_runner__(self):
        """The runner in a capsule, which keeps this object alive."""
        capsule = PyCapsule_New(self.runner, "cyrnn_runner", let_go)
        PyCapsule_SetContext(capsule, <void *> self)
        Py_INCREF(self)
        return capsule

    @property
    def __cyrnn_model__(self):
        """The model in a capsule, which holds it."""
        capsule = PyCapsule_New(self.model, "cyrnn_model", release)
        c.model_retain(self.model)
        return capsule


cdef void let_go(object capsule) noexcept:
    Py_DECREF(<object> PyCapsule_GetContext(capsule))


cdef void release(object capsule) noexcept:
    c.model_release(<cyrnn_model *> PyCapsule_GetPointer(capsule, "cyrnn_model"))


cdef inline cyrnn_status step_of(Runner self, const void *x, void *output) noexcept nogil:
    if self.single:
        return c.step_f32(self.runner, <const float *> x, <float *> output)
    return c.step_f64(self.runner, <const double *> x, <double *> output)


cdef bint take(Py_buffer *view, array, ptrdiff_t rows, ptrdiff_t columns, bint single, bint written) except -1:
    """Whether `array` is C-contiguous (rows, columns) of the dtype; then its buffer is held."""
    try:
        PyObject_GetBuffer(array, view, PyBUF_STRIDED_RO | PyBUF_FORMAT | (PyBUF_WRITABLE if written else 0))
    except (TypeError, ValueError, BufferError):
        return False
    cdef ptrdiff_t item = 4 if single else 8
    cdef char kind = c"f" if single else c"d"
    cdef bint fits = (
        view.ndim == 2 and view.shape[0] == rows and view.shape[1] == columns
        and is_of_kind(view.format, kind)
        and (columns < 2 or view.strides[1] == item) and (rows < 2 or view.strides[0] == columns * item)
        and <uintptr_t> view.buf % <uintptr_t> item == 0
    )
    if not fits:
        PyBuffer_Release(view)
    return fits


cdef str described(array):
    if not isinstance(array, numpy.ndarray):
        return type(array).__name__
    flags = array.flags
    wrong = [("read-only", not flags.writeable), ("not C-contiguous", not flags.c_contiguous),
             ("not aligned", not flags.aligned)]
    return ", ".join([f"{array.shape} {array.dtype}", *(text for text, holds in wrong if holds)])


cdef int check(cyrnn_status status) except -1:
    if status == CYRNN_OK:
        return 0
    text = c.status_text(status).decode()
    if status == CYRNN_BUSY:
        raise RuntimeError(f"{text}: make one for each stream")
    if status == CYRNN_NO_MEMORY:
        raise MemoryError(text)
    raise ValueError(text)
