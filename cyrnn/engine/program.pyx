"""Programs: what a layer or a whole model computes, as ops over numbered buffers; and calls of them with arrays."""

import threading
from math import prod

import numpy
cimport cython
cimport numpy
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport int64_t
from libc.string cimport memset
from libcpp cimport bool
from libcpp.memory cimport make_shared
from libcpp.vector cimport vector

from cyrnn.engine.threads import get_num_threads

from cyrnn.engine.contract cimport ActivateF32, ActivateF64, DifferentiateF32, DifferentiateF64, Prepared
from cyrnn.engine.plan cimport (
    Packed, Plan, Slot, activate_f32_of, activate_f64_of, differentiate_f32_of, differentiate_f64_of,
)
from cyrnn.engine.program cimport (
    Axis, Builder, CCall, CProgram, CStorage, CTimeline, CView, Element, Kind, Merge, Norm, Outcome, Source, Tables,
    Target, execute, indices_below, least_parallel_work, most_axes, work_of,
)

numpy.import_array()

ctypedef const Prepared *const_Prepared_pointer

cdef extern from "<atomic>" namespace "std" nogil:
    cdef cppclass atomic[T]:
        T load()
        T fetch_add(T by)

cdef extern from "Python.h":
    int PyErr_CheckSignals() noexcept
    int PyObject_GenericSetAttr(object o, object name, object value) except -1

cdef extern from *:
    """static int raise_pending() { return PyErr_Occurred() ? -1 : 0; }"""
    int raise_pending() except -1

cdef ptrdiff_t most_timesteps = 1 << 40  # by which timelines may differ

MOST_AXES = most_axes

# From so many multiply-adds on a call takes microseconds. Other Python threads may run meanwhile.
cdef double long_call = 1e5

_KINDS = {"number": 0, "token": 1, "mask": 2}
_MERGES = {"add": 0, "subtract": 1, "multiply": 2, "divide": 3, "average": 4, "maximum": 5, "minimum": 6}


include "structure.pxi"


include "ops.pxi"


include "gradients.pxi"


cdef class Program(WaysBack):
    """Ops over numbered buffers, in the order in which they are added; structure only, it has no weights.

    A view is an int that names columns of a buffer, forward or reversed in time. A timeline is an axis of timesteps,
    whose length is known in a call; None means that there is no such axis. A width is the number of elements of a row,
    or of one timestep of it: all axes after batch and time. After `finish` a program never changes: any number of
    threads may run it.

    Parameters
    ----------
    dtype : "float32" or "float64", which it computes in
    """

    # ------------------------------------------------------------ results

    def output(self, int view, shape=None):
        """The next output: an array (batch, [timesteps,] *shape), whose last axes are the width of the view."""
        self.check_views((view,))
        cdef CView seen = self.program.views[view]
        cdef CStorage *storage = self.storage_of(view)
        axes = (seen.width,) if shape is None else tuple(shape)
        if (1 if storage.timeline < 0 else 2) + len(axes) > most_axes:
            raise ValueError(f"an output has at most {most_axes} axes, got shape {axes} after batch and time")
        if seen.column or seen.width != storage.width or storage.input >= 0 or storage.output >= 0:
            made = self.buffer_like(view)
            Builder(self.program[0]).copy(view, made)
            view = made
            storage, seen = self.storage_of(view), self.program.views[view]
        storage.output = <int> self.program.outputs.size()
        self.program.outputs.push_back(seen.storage)
        self.turned.push_back(seen.reversed)
        self.shapes.append(axes)

    def finish(self):
        """Make the schedule; nothing can be added after that."""
        self.check_open()
        self.program.finish()
        self.finished = True

    @property
    def slots(self):
        """How many places for weights there are."""
        return self.program.slots

    @property
    def ops(self):
        """How many ops there are."""
        return self.program.ops.size()

    @property
    def computes(self):
        """Whether some op does more than to move numbers."""
        cdef size_t index
        for index in range(self.program.ops.size()):
            if not self.program.ops[index].get().moves():
                return True
        return False

    def run(self, tuple slots, tuple inputs, ptrdiff_t nominal_batch=0, int num_threads=0, tuple out=None):
        """The outputs for these inputs: an array, or a tuple of arrays where there are several.

        Parameters
        ----------
        slots : tuple of Slot or Packed
            Where the weights are. All of them are taken at once: those of one moment. Or the weights themselves.
        inputs : tuple of ndarray
            (batch, [timesteps,] ...) for each input: float32, float64, integers or bools of this machine's byte order,
            with any strides before the last axes. None for an absent optional one.
        nominal_batch : int
            The batch that the form of the computation is chosen by; 0 is that of the inputs.
        num_threads : int
            The most threads; 0 is `get_num_threads()`.
        out : tuple of ndarray or None, optional
            Arrays of the outputs' shapes, which must not overlap with inputs or each other; None for one to be made.

        Returns
        -------
        ndarray, tuple of ndarray, or None
            None, and nothing has been computed, where weights are not made ready, or inputs are not as above.

        Raises
        ------
        MemoryError
            Without memory for outputs or scratch.
        RuntimeError
            In a child that was forked in the middle of the call.
        """
        return self.run_now(slots, inputs, nominal_batch, num_threads, out)

    cdef object run_now(self, tuple slots, tuple inputs, ptrdiff_t nominal_batch, int num_threads, tuple out,
                        list drawn=None):
        """As `run`, without a call of Python. Inputs that are `Drawn` are drawn when all others are known to fit: then
        `drawn` is filled with all inputs."""
        cdef Tables tables
        cdef CCall call
        cdef int index
        cdef double work
        cdef Outcome outcome
        cdef bint may_block = False
        cdef int count = <int> self.program.inputs.size()
        if not self.finished or len(slots) != self.program.slots or len(inputs) != count:
            raise ValueError(f"a finished program and its {self.program.slots} slots and {count} inputs "
                             f"are needed, got {len(slots)} and {len(inputs)}")
        cdef tuple held = taken(slots)
        if held is None:
            return None
        cdef Source *sources = tables.take[Source](count)
        cdef Target *targets = tables.take[Target](self.program.outputs.size())
        cdef ptrdiff_t *lengths = tables.take[ptrdiff_t](self.program.timelines.size())
        cdef const Prepared **weights = tables.take[const_Prepared_pointer](self.program.slots)
        for index in range(self.program.slots):
            weights[index] = (<Packed> held[index]).prepared.get()
            may_block = may_block or (<Packed> held[index]).may_block
        for index in range(<int> self.program.timelines.size()):
            lengths[index] = -1
        call.batch = -1
        cdef bint draws = False
        for index in range(count):
            if type(inputs[index]) is Drawn:
                draws = True
            elif not take(self, index, inputs[index], &sources[index], lengths, &call.batch):
                return None
        if call.batch < 0 or not self.program.measure(lengths):  # below 0: there is no array that tells it
            return None
        for index in range(<int> self.program.ops.size()):
            if self.program.ops[index].get().slot >= 0 and not self.program.ops[index].get().fits(
                    weights[self.program.ops[index].get().slot]):
                return None
        call.program = self.program
        call.nominal_batch = nominal_batch if nominal_batch > 0 else call.batch
        call.lengths, call.sources, call.targets, call.weights = lengths, sources, targets, weights
        call.interrupted = NULL
        if not tokens_fit(self, call):
            return None
        if draws:
            drawn = [] if drawn is None else drawn
            drawn[:] = all_drawn(inputs, call.batch)
            for index in range(count):
                if type(inputs[index]) is Drawn and not take(self, index, drawn[index], &sources[index], lengths,
                                                             &call.batch):
                    raise ValueError(f"what is drawn for input {index} must fit the program, got {drawn[index]!r:.100}")
        results = made(self, targets, lengths, call.batch, out)
        if call.batch == 0:
            clear_sums(self, targets)
            return results
        work = work_of(call)
        call.threads = 1
        if work >= least_parallel_work:
            call.threads = num_threads if num_threads > 0 else get_num_threads()
            # Signals are handled on the main thread alone. Another one must not come back to Python while workers are
            # busy: if the interpreter is ending, it would never return to them.
            if threading.get_ident() == threading.main_thread().ident:
                call.interrupted = interrupted
        if work >= long_call or may_block:  # no thread waits for the locks of a BLAS with the GIL
            with nogil:
                outcome = execute(call)
        else:
            outcome = execute(call)
        if outcome == Outcome.no_memory:
            raise MemoryError("no memory for the scratch space of a call")
        if outcome == Outcome.forked:
            raise RuntimeError("this process was forked in the middle of the call, and lacks the threads to finish it")
        if outcome == Outcome.interrupted:
            raise_pending()
        return results


# ---------------------------------------------------------------- the precision of products

cdef extern from *:
    """
    static std::atomic<int> rounds_everywhere(0);
    static thread_local int rounds_here = -1;  // -1: as everywhere
    static inline bool rounds_now() {
        const int here = rounds_here;
        return here < 0 ? rounds_everywhere.load(std::memory_order_relaxed) != 0 : here != 0;
    }
    static void round_everywhere(int rounds) { rounds_everywhere = rounds; }
    static int round_here(int rounds) {
        const int before = rounds_here;
        rounds_here = rounds;
        return before;
    }
    """
    bool rounds_now() nogil
    void round_everywhere(int rounds) nogil
    int round_here(int rounds) nogil


def rounds():
    """Whether calls from this thread round the operands of products to bfloat16."""
    return rounds_now()


def let_round(bint yes):
    """Whether calls of threads do so that do not say otherwise by `Rounding`."""
    round_everywhere(yes)


@cython.final
cdef class Rounding:
    """Context manager: whether calls from this thread do so. Each step of a training enters one."""

    cdef bint rounds
    cdef int before

    def __init__(self, bint rounds):
        self.rounds = rounds

    def __enter__(self):
        self.before = round_here(self.rounds)

    def __exit__(self, kind, error, traceback):
        round_here(self.before)


cdef inline int or_absent(view) except? -2:
    return -1 if view is None else view


def packed_now(tuple slots not None):
    """What all slots hold, made ready, at one moment; None if some of it is not."""
    for slot in slots:
        if not isinstance(slot, Slot):
            raise TypeError(f"slots must hold Slots, got {type(slot).__name__}")
    return taken(slots)


cdef tuple taken(tuple slots):
    """What all slots hold at this moment, or None if some of it is not made ready."""
    cdef tuple held = PyTuple_New(len(slots))
    cdef Py_ssize_t index
    cdef bint ready = True
    with cython.critical_section(Slot):
        for index in range(len(slots)):
            packed = (<Slot> slots[index]).packed if type(slots[index]) is Slot else <Packed?> slots[index]
            Py_INCREF(packed)
            PyTuple_SET_ITEM(held, index, packed)
            ready = ready and packed is not None
    if ready and rounds_now():
        return in_precision(slots, held)
    return held if ready else None


cdef Crew *take_crew(int helpers) noexcept nogil:
    """Crew::take, for other modules: only this one has the crew."""
    return Crew.take(helpers)


cdef Packed of_precision(Packed packed):
    """These weights for products of the precision that is asked for now."""
    return (<Plan> packed).in_bfloat16() if rounds_now() and type(packed) is Plan else packed


cdef tuple in_precision(tuple slots, tuple held):
    """The weights of slots, rounded to bfloat16 for products; those that are given without a slot as they are."""
    return tuple([
        (<Plan> packed).in_bfloat16() if type(packed) is Plan and type(slot) is Slot else packed
        for slot, packed in zip(slots, held)
    ])


include "elements.pxi"
include "arrays.pxi"
include "bound.pxi"


def right_padded(numpy.ndarray lengths not None, ptrdiff_t timesteps):
    """The mask (batch, timesteps) of sequences that are padded on the right.

    Parameters
    ----------
    lengths : array (batch,) of int64, C-contiguous
    timesteps : int

    Raises
    ------
    ValueError
        For a length that is negative, or above `timesteps`; and for another array.
    """
    if (numpy.PyArray_NDIM(lengths) != 1 or numpy.PyArray_TYPE(lengths) != numpy.NPY_INT64
            or not numpy.PyArray_IS_C_CONTIGUOUS(lengths) or not PyArray_ISNOTSWAPPED(lengths)):
        raise ValueError(f"lengths must be int64 of one axis, C-contiguous, got {lengths!r:.100}")
    cdef const int64_t *ends = <const int64_t *> numpy.PyArray_DATA(lengths)
    cdef ptrdiff_t row, batch = numpy.PyArray_DIMS(lengths)[0], end
    cdef numpy.npy_intp[2] shape = [batch, timesteps]
    cdef numpy.ndarray mask = numpy.PyArray_EMPTY(2, shape, numpy.NPY_BOOL, 0)
    cdef char *keep = <char *> numpy.PyArray_DATA(mask)
    for row in range(batch):
        end = ends[row]
        if end < 0 or end > timesteps:
            raise ValueError(f"lengths must be from 0 to {timesteps}, got {end} for row {row}")
        memset(keep, 1, end)
        memset(keep + end, 0, timesteps - end)
        keep += timesteps
    return mask


cdef bool interrupted() noexcept nogil:
    """Runs Python's signal handlers; a raised exception stays pending for `raise_pending`."""
    with gil:
        return PyErr_CheckSignals() != 0
