"""Runners: programs, stepped one timestep at a time. The Python side of cyrnn.h."""

from collections import namedtuple

import numpy
cimport numpy
from cpython.pycapsule cimport PyCapsule_GetContext, PyCapsule_GetPointer, PyCapsule_New, PyCapsule_SetContext
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint8_t, uintptr_t
from libcpp.string cimport string
from libcpp.vector cimport vector

from cyrnn.engine.capi cimport (
    CYRNN_BUSY, CYRNN_NO_MEMORY, CYRNN_OK, CYRNN_OUT_OF_RANGE, CYRNN_OVERLAP, CYRNN_WRONG_TOKEN, cyrnn_api,
    cyrnn_model, cyrnn_status,
)
from cyrnn.engine.plan cimport Packed
from cyrnn.engine.program cimport Kind, Program, most_axes, of_precision, take_crew
from cyrnn.engine.runner cimport (
    CPort, Expected, Making, c_api, make_model, most_ports, put_seen, share_steps, steps_of, take_seen,
)

numpy.import_array()

cdef extern from "numpy/arrayobject.h":
    bint PyArray_ISNOTSWAPPED(numpy.ndarray array)

cdef const cyrnn_api *c = c_api()
api = PyCapsule_New(<void *> c, "cyrnn.capi.api", NULL)
api_address = <uintptr_t> c

# From so many multiply-adds on a step takes microseconds. Other Python threads may run meanwhile.
cdef double long_step = 2e5

Port = namedtuple("Port", ("name", "kind", "shape", "number"))
Port.__doc__ = """An input, output or state of a runner.

name : str
kind : "number", "token" or "mask"
shape : axes of a row, or of one timestep of it
number : that among the inputs or outputs of the program; of a state: that of its recurrent op
"""


class NotSteppableError(ValueError):
    """A program whose timesteps cannot be computed one after another.

    Parameters
    ----------
    op : int
        The number of the op to blame, -1 for none.
    reason : str
        What it does.
    """

    def __init__(self, op, reason):
        super().__init__(f"op {op} {reason}" if op >= 0 else f"the program {reason}")
        self.op, self.reason = op, reason


def model_capsule(Program program not None, packed, names=((), (), ()), order=None):
    """A program with weights as a ``cyrnn_model`` of cyrnn.h, in a capsule that holds it: what ``__cyrnn_model__`` is.

    Parameters
    ----------
    program : Program
        It is finished.
    packed : sequence of Packed
        The weights of each slot.
    names : tuple of three sequences of str
        Of all inputs of the program, of all outputs, and for all ops that of the layer; those that are left out are
        numbered.
    order : sequence of int, optional
        The numbers of all inputs of the program in the order in which a step takes them. Default: the program's.

    Raises
    ------
    NotSteppableError
        Unless each timestep can be computed without later ones.
    ValueError, TypeError
        If the weights are not those of the program.
    MemoryError
    """
    return held_in_capsule(model_of(program, tuple(packed), names, order))


cdef class Runner:
    """A program with its weights, and its states for `batch_size` rows, which each step moves.

    The inputs, outputs and states are the program's, but for states that a call may begin with, those that it ends
    with, masks that may be absent, and dropout. What the program has once for each row is there at each step.

    Parameters
    ----------
    program : Program
        It is finished.
    packed : sequence of Packed
        The weights of each slot.
    batch_size : int
        Rows, positive.
    names : tuple of three sequences of str
        As in `model_capsule`.
    shapes : sequence of tuples, optional
        Of all inputs of the program: the axes of a row, or of a timestep of it. Default: (width,) for numbers, and for
        tokens and masks () if that is 1.
    order : sequence of int, optional
        As in `model_capsule`.
    threads : int
        That may compute a step together.

    Raises what `model_capsule` raises, and ValueError for a batch that no memory could hold.
    """

    def __cinit__(self, Program program not None, packed, ptrdiff_t batch_size, names=((), (), ()), shapes=None,
                  order=None, int threads=1, *args, **kwargs):
        self.program, self.packed, self.names, self.order = program, tuple(packed), names, order
        self.dtype, self.single, self.batch_size, self.threads = program.dtype, program.single, batch_size, threads
        self.model = model_of(program, self.packed, names, order)
        cdef cyrnn_status status = c.runner_create(self.model, batch_size, NULL, 0, &self.runner)
        if status == CYRNN_OUT_OF_RANGE:
            raise ValueError(f"batch_size must be positive, and its states must fit in memory; got {batch_size}")
        check(status)
        share_steps(self.runner, threads, take_crew)
        self.inputs = described(steps_of(self.model).inputs, shapes)
        self.outputs = described(steps_of(self.model).outputs, program.shapes)
        self.states = described(steps_of(self.model).states, None)
        for port in self.inputs:
            self.taken.push_back(expected_of(port, self))
        for port in self.outputs:
            self.filled.push_back(expected_of(port, self))
        self.simple = (len(self.inputs) == len(self.outputs) == 1 and self.inputs[0].kind == "number"
                       and self.outputs[0].kind == "number")
        # No thread waits for the locks of a BLAS with the GIL.
        self.long_steps = (any([(<Packed> weights).may_block for weights in self.packed])
                           or batch_size * steps_of(self.model).load(batch_size).row_work >= long_step)

    def __dealloc__(self):
        c.runner_destroy(self.runner)
        c.model_release(self.model)

    # ------------------------------------------------------------ steps

    def step(self, x_t, out=None):
        """The output for one timestep, x_t; the states move on.

        Parameters
        ----------
        x_t : array (batch_size, ...)
            A tuple or list of them, in order, where there are several inputs.
        out : array, optional
            C-contiguous, of the output's shape and dtype, filled and returned instead of a new one; it may be x_t's
            memory. Nothing is allocated then, if x_t is C-contiguous and of the runner's dtype too. A tuple or list of
            them where there are several outputs, which share no memory with each other.

        Raises
        ------
        ValueError, TypeError
            For wrong shapes, or what is not numbers; the states are then as they were.
        RuntimeError
            While another thread uses the runner.
        """
        cdef numpy.ndarray x, output
        cdef cyrnn_status status
        if not self.simple:
            return self.step_all(x_t, out)
        x = self.array_taken(x_t, 0)
        if out is None:
            out = output = self.new_output(0)
        else:
            output = self.array_filled(out, 0)
        if self.long_steps:
            with nogil:
                status = step_of(self, numpy.PyArray_DATA(x), numpy.PyArray_DATA(output))
        else:
            status = step_of(self, numpy.PyArray_DATA(x), numpy.PyArray_DATA(output))
        if status != CYRNN_OK:
            check(status)
        return out

    cdef object step_all(self, x_t, out):
        cdef const void *inputs[most_ports]
        cdef void *outputs[most_ports]
        cdef cyrnn_status status
        cdef int index, count = <int> len(self.inputs)
        given = (x_t,) if count == 1 else several("x_t", x_t, count)
        taken = [self.array_taken(given[index], index) for index in range(count)]
        for index in range(count):
            inputs[index] = numpy.PyArray_DATA(<numpy.ndarray> taken[index])
        count = <int> len(self.outputs)
        if out is None:
            filled = [self.new_output(index) for index in range(count)]
            out = filled[0] if count == 1 else tuple(filled)
        else:
            given = (out,) if count == 1 else several("out", out, count)
            filled = [self.array_filled(given[index], index) for index in range(count)]
        for index in range(count):
            outputs[index] = numpy.PyArray_DATA(<numpy.ndarray> filled[index])
        if self.long_steps:
            with nogil:
                status = c.step(self.runner, inputs, outputs)
        else:
            status = c.step(self.runner, inputs, outputs)
        self.check_step(status, taken)
        return out

    def converted(self, x_t, int index=0):
        """`x_t`, for the input of that number, as an array that a step takes."""
        return numpy.require(x_t, dtype_of(self.taken[index].type), ["C", "A"])

    cdef numpy.ndarray array_taken(self, x_t, int index):
        if isinstance(x_t, numpy.ndarray) and fits(<numpy.ndarray> x_t, &self.taken[index], False):
            return <numpy.ndarray> x_t
        array = numpy.asarray(self.converted(x_t, index))
        if not fits(array, &self.taken[index], False):
            raise ValueError(f"{self.name_of('x_t', index)} must have shape {shape_of(self.taken[index])}, "
                             f"got {numpy.shape(array)}")
        return array

    cdef numpy.ndarray array_filled(self, out, int index):
        if isinstance(out, numpy.ndarray) and fits(<numpy.ndarray> out, &self.filled[index], True):
            return <numpy.ndarray> out
        try:
            array = out if isinstance(out, numpy.ndarray) else numpy.asarray(memoryview(out))
        except (TypeError, ValueError):
            array = None
        if array is None or not fits(array, &self.filled[index], True):
            raise ValueError(
                f"{self.name_of('out', index)} must be a writeable, C-contiguous array of shape "
                f"{shape_of(self.filled[index])} and dtype {dtype_of(self.filled[index].type)}, got {shown(out)}")
        return array

    cdef numpy.ndarray new_output(self, int index):
        cdef Expected *expected = &self.filled[index]
        return numpy.PyArray_EMPTY(expected.ndim, expected.axes, expected.type, 0)

    def name_of(self, str name, int index):
        """How messages call an argument of `step`."""
        return name if len(self.inputs if name == "x_t" else self.outputs) == 1 else f"{name}[{index}]"

    cdef int check_step(self, int status, list arrays) except -1:
        cdef int index
        cdef ptrdiff_t limit
        if status == CYRNN_OVERLAP:
            raise ValueError("out must hold arrays that share no memory with each other")
        if status != CYRNN_WRONG_TOKEN:
            return check(status)
        for index, array in enumerate(arrays):
            limit = steps_of(self.model).inputs[index].limit
            if self.inputs[index].kind == "token" and not (array.min() >= 0 and array.max() < limit):
                raise ValueError(f"{self.name_of('x_t', index)} must be indices from 0 to {limit - 1}, "
                                 f"got {array.min()} to {array.max()}")
        return check(status)

    # ------------------------------------------------------------ states

    def get_state(self, int index):
        """A copy of a state (batch_size, units). Raises ValueError for one that is not there."""
        state = numpy.empty((self.batch_size, self.width_of_state(index)), self.dtype)
        cdef uintptr_t address = state.ctypes.data
        if self.single:
            check(c.get_state_f32(self.runner, index, 0, self.batch_size, <float *> address))
        else:
            check(c.get_state_f64(self.runner, index, 0, self.batch_size, <double *> address))
        return state

    def set_state(self, int index, state, ptrdiff_t first_row=0):
        """Set the rows of a state from first_row on to `state` (rows, units), of real numbers.

        Raises ValueError for another shape, or rows and states that are not there; TypeError for other numbers.
        """
        with numpy.errstate(all="ignore"):  # what is too large for the dtype becomes infinite
            state = numpy.asarray(state).astype(self.dtype, order="C", casting="same_kind", copy=False)
        state = numpy.require(state, None, ["C", "A"])
        cdef ptrdiff_t units = self.width_of_state(index)
        if state.ndim != 2 or state.shape[1] != units or not 0 <= first_row <= self.batch_size - len(state):
            raise ValueError(f"state must have shape (rows, {units}) with rows up to {self.batch_size}, "
                             f"got {state.shape} from row {first_row} on")
        cdef uintptr_t address = state.ctypes.data, rows = len(state)
        if self.single:
            check(c.set_state_f32(self.runner, index, first_row, rows, <const float *> address))
        else:
            check(c.set_state_f64(self.runner, index, first_row, rows, <const double *> address))

    def clear(self):
        """Set all states to zeros; no row has had an unmasked timestep then."""
        check(c.reset(self.runner))

    def get_seen(self):
        """Which rows have had an unmasked timestep: bools (recurrent ops, batch_size), False for ops without masks."""
        seen = numpy.zeros((steps_of(self.model).carried.size(), self.batch_size), numpy.bool_)
        take_seen(self.runner, <uint8_t *> <uintptr_t> seen.ctypes.data)
        return seen

    def set_seen(self, seen):
        """Set what `get_seen` returns. Raises ValueError for another shape or dtype."""
        seen = numpy.require(seen, None, ["C"])
        if seen.shape != (steps_of(self.model).carried.size(), self.batch_size) or seen.dtype != numpy.bool_:
            raise ValueError(f"seen must be bools of the shape that get_seen() has, got {shown(seen)}")
        put_seen(self.runner, <const uint8_t *> <uintptr_t> seen.ctypes.data)

    cdef ptrdiff_t width_of_state(self, int index) except -1:
        if not 0 <= index < len(self.states):
            raise ValueError(f"index must be from 0 to {len(self.states) - 1}, got {index}")
        return self.states[index].shape[0]

    # ------------------------------------------------------------ in C

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
        c.model_retain(self.model)
        return held_in_capsule(self.model)


cdef cyrnn_model *model_of(Program program, tuple packed, names, order) except NULL:
    """See `model_capsule`."""
    cdef Making making
    cdef cyrnn_model *model
    cdef Packed weights
    cdef size_t index
    if not program.finished or len(packed) != program.slots:
        raise ValueError(f"a finished program and weights for its {program.slots} slots are needed, got {len(packed)}")
    making.program = program.shared
    making.real_time = True
    for item in packed:
        weights = <Packed?> item
        if weights.dtype != program.dtype:
            raise ValueError(f"packed must be weights of {program.dtype}, got {weights.dtype}")
        making.weights.push_back(of_precision(weights).prepared)
        making.real_time = making.real_time and not weights.may_block
    take_names(names[0], making.names.inputs)
    take_names(names[1], making.names.outputs)
    take_names(names[2], making.names.ops)
    order = range(program.optional.size()) if order is None else order
    if sorted(order) != list(range(program.optional.size())):
        raise ValueError(f"order must hold the numbers of {program.optional.size()} inputs, got {order}")
    making.order = list(order)
    for index in range(program.optional.size()):
        making.optional.push_back(program.optional[index])
    for index in range(program.turned.size()):
        making.turned.push_back(program.turned[index])
    model = make_model(making)
    if model == NULL and not making.reason.empty():
        raise NotSteppableError(making.op, (<bytes> making.reason).decode())
    if model == NULL:
        raise MemoryError("no memory for a model")
    return model


cdef inline cyrnn_status step_of(Runner self, const void *x, void *output) noexcept nogil:
    if self.single:
        return c.step_f32(self.runner, <const float *> x, <float *> output)
    return c.step_f64(self.runner, <const double *> x, <double *> output)


include "capsules.pxi"
include "ports.pxi"


cdef int check(cyrnn_status status) except -1:
    if status == CYRNN_OK:
        return 0
    text = c.status_text(status).decode()
    if status == CYRNN_BUSY:
        raise RuntimeError(f"{text}: make one for each stream")
    if status == CYRNN_NO_MEMORY:
        raise MemoryError(text)
    raise ValueError(text)
