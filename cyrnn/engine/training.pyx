"""Steps of training, compiled: forward, loss, back, update, and the weights made ready for the next step."""

import numpy
cimport cython
cimport numpy
from libc.stdint cimport int32_t, int64_t
from libcpp cimport bool
from libcpp.vector cimport vector

from cyrnn.engine.contract cimport Prepared, Weights
from cyrnn.engine.plan cimport Packed, Plan, Table
from cyrnn.engine.program cimport Element, Program, Source

numpy.import_array()


cdef extern from "losses.hpp" namespace "cyrnn" nogil:
    enum class Loss(int):
        sparse_categorical_crossentropy

    struct LossOptions:
        double delta, smoothing
        bool from_logits

    cdef cppclass LossCall:
        bool single
        ptrdiff_t count, classes
        const void *p
        const void *t
        const int64_t *labels
        const void *weights
        ptrdiff_t repeats
        const bool *keep
        double factor
        void *d

    bool labels_are_classes(const LossCall &call)
    ptrdiff_t rows_that_count(const LossCall &call)
    double loss_of_batch(Loss kind, const LossOptions &options, const LossCall &call)


cdef extern from "updates.hpp" namespace "cyrnn" nogil:
    enum class Rule(int):
        pass

    struct RuleOptions:
        double beta_1, beta_2, epsilon

    struct Segment:
        ptrdiff_t first, size
        double l1, l2, decay

    cdef cppclass Movement:
        Rule rule
        RuleOptions options
        double clip_value, clip_norm, clip_global
        vector[Segment] segments
        double move(bool single, ptrdiff_t size, void *w, void *g, void **slots, double rate, long t)

    const int most_slots


cdef extern from "packing.hpp" namespace "cyrnn" nogil:
    cdef cppclass Stretch:
        pass

    void find_stretches[Index](const Index *index, ptrdiff_t count, vector[Stretch] &found) except +

    cdef cppclass Followers:
        vector[Stretch] kernels, kernels_t, panels, bias
        void fill[T](const T *flat, const Weights[T] &weights)


cdef extern from "rows.hpp" namespace "cyrnn" nogil:
    void gather_converted[To](const Source &source, const int64_t *rows, ptrdiff_t count, ptrdiff_t width, To *to)
    void gather_bytes(const char *start, ptrdiff_t stride, const int64_t *rows, ptrdiff_t count, size_t size, char *to)


LOSSES = {name: index for index, name in enumerate((
    "mean_squared_error", "mean_absolute_error", "huber", "binary_crossentropy", "categorical_crossentropy",
    "sparse_categorical_crossentropy"))}
RULES = {name: index for index, name in enumerate((
    "sgd", "momentum", "nesterov", "adam", "amsgrad", "adamax", "rmsprop", "adagrad", "adadelta", "lion"))}


include "elements.pxi"
include "flat.pxi"


cdef class _Room:
    """What a step of batches of one shape is computed in."""

    cdef tuple outputs, back_inputs
    cdef numpy.ndarray d  # the gradient of what is compared


@cython.final
cdef class TrainingStep:
    """A step of training of a program, with weights, gradients and slots in flat arrays.

    Parameters
    ----------
    forward : Program
        With a tape.
    forward_weights : tuple of Packed
    back : Program
        From the gradient of one output to those of all weights.
    back_weights : tuple of Packed
    back_inputs : sequence of int
        What each input of it is: the number of an output of `forward`, `GRADIENT`, or `NOTHING`.
    compared, prediction, mask : int
        The numbers of the outputs of `forward` that the loss is of, that the model returns, and that is the mask of
        that one, -1 for none.
    w, g : array (size,)
        Weights and their gradients.
    gradients : sequence of (int, shape)
        For each output of `back` where in g it is, and its shape. What comes a second time is added.
    refills : sequence of Refill
        The weights that are made ready after each step.
    """

    cdef Program forward, back
    cdef tuple forward_weights, back_weights, back_outputs
    cdef list refills, sums, constraints
    cdef vector[int] back_inputs
    cdef int compared, prediction, mask
    cdef bint mean
    cdef numpy.ndarray w, g
    cdef tuple slots
    cdef dict rooms
    cdef tuple recent
    cdef _Room room
    cdef Loss loss
    cdef LossOptions loss_options
    cdef Movement movement
    cdef bint single
    cdef readonly bint finished  # whether the last `move` came to its end

    def __init__(self, Program forward not None, tuple forward_weights not None, Program back not None,
                 tuple back_weights not None, back_inputs, int compared, int prediction, int mask,
                 numpy.ndarray w not None, numpy.ndarray g not None, gradients, refills):
        self.forward, self.forward_weights = forward, forward_weights
        self.back, self.back_weights = back, back_weights
        self.back_inputs = back_inputs
        self.compared, self.prediction, self.mask, self.w, self.g = compared, prediction, mask, w, g
        self.refills, self.rooms, self.constraints, self.sums, self.slots = list(refills), {}, [], [], ()
        self.single = numpy.PyArray_TYPE(w) == numpy.NPY_FLOAT32
        outputs, seen = [], set()
        for first, shape in gradients:
            view = g[first:first + numpy.prod(shape, dtype=int)].reshape(shape)
            if first in seen:
                total, view = view, numpy.empty(shape, g.dtype)
                self.sums.append((total, view))
            seen.add(first)
            outputs.append(view)
        self.back_outputs = tuple(outputs)

    def set_loss(self, str name, bint mean, double delta=1.0, double smoothing=0.0, bint from_logits=False):
        """Choose the loss, a name in `LOSSES`, and whether it is the mean of values or their sum."""
        self.mean = mean
        self.loss = <Loss> <int> LOSSES[name]
        self.loss_options.delta, self.loss_options.smoothing = delta, smoothing
        self.loss_options.from_logits = from_logits

    def set_rule(self, str name, tuple slots, double beta_1=0.0, double beta_2=0.0, double epsilon=0.0, *,
                 double clip_value=0.0, double clip_norm=0.0, double clip_global=0.0):
        """Choose the rule, a name in `RULES`, with its slots: flat arrays like the weights, or None; and what gradients
        are clipped to, 0 for no limit."""
        if len(slots) > most_slots:
            raise ValueError(f"a rule has at most {most_slots} slots, got {len(slots)}")
        self.movement.rule, self.slots = <Rule> <int> RULES[name], slots
        cdef RuleOptions *options = &self.movement.options
        options.beta_1, options.beta_2, options.epsilon = beta_1, beta_2, epsilon
        self.movement.clip_value, self.movement.clip_norm = clip_value, clip_norm
        self.movement.clip_global = clip_global

    def add_segment(self, ptrdiff_t first, ptrdiff_t size, double l1=0.0, double l2=0.0, double decay=0.0,
                    constraint=None):
        """Add a weight: where it is, its penalties and its decay, and a function that it becomes after each update."""
        cdef Segment segment
        segment.first, segment.size, segment.l1, segment.l2, segment.decay = first, size, l1, l2, decay
        self.movement.segments.push_back(segment)
        if constraint is not None:
            self.constraints.append((first, size, constraint))

    @property
    def prediction_and_mask(self):
        """The output that the loss was of, and its mask or None, in memory that the next step changes."""
        return self.room.outputs[self.prediction], None if self.mask < 0 else self.room.outputs[self.mask]

    def run(self, tuple inputs not None, numpy.ndarray target not None, numpy.ndarray weights, double factor):
        """Find the gradients that the next `move` follows. The loss without penalties; None for what does not fit:
        inputs, shapes, and labels that are no classes.

        Parameters
        ----------
        inputs : tuple of ndarray or None
            Those of `forward`. The same tuple again has arrays of the same shapes.
        target : array like the output, of its dtype; or of int64, labels without the last axis
        weights : array of the dtype, or None
            A weight for each value of the loss, or for each row.
        factor : float
            What all values are multiplied by.
        """
        cdef _Room room = self.room if inputs is self.recent else self.known_room(inputs)
        found = self.forward.run_now(self.forward_weights, inputs, 0, 0, None if room is None else room.outputs)
        if found is None:
            return None
        if room is None:
            room = self.made_room(inputs, found)
        self.recent, self.room = inputs, room
        cdef LossCall call
        if not self.prepare_loss(&call, room, target, weights, factor):
            return None
        cdef double loss = loss_of_batch(self.loss, self.loss_options, call)
        if self.back.run_now(self.back_weights, room.back_inputs, 0, 0, self.back_outputs) is None:
            raise RuntimeError("the way back does not fit the tape")
        for total, more in self.sums:
            numpy.add(total, more, out=total)
        return loss

    def move(self, double learning_rate, long t):
        """Move the weights, and make them ready for the next step. The penalties on them, before it.

        Nothing has changed after an error of a constraint. An interrupt may come as soon as this returns, before what
        it returns is used: `finished` says then that the weights have moved.

        Parameters
        ----------
        learning_rate : float
        t : int
            The number of the update, 1 first.
        """
        self.finished = False
        cdef numpy.ndarray w = self.w
        cdef tuple slots = self.slots
        cdef double penalties
        if self.constraints:  # which are functions of Python, and may fail
            w, slots = w.copy(), tuple([None if slot is None else slot.copy() for slot in slots])
        penalties = self.moved(w, slots, learning_rate, t)
        if self.constraints:
            for first, size, constraint in self.constraints:
                w[first:first + size] = constraint(w[first:first + size])
            for kept, new in zip((self.w, *self.slots), (w, *slots), strict=True):
                if kept is not None:
                    kept[:] = new
        self.refill()
        self.finished = True
        return penalties

    def refill(self):
        """Make the weights ready for the next step."""
        cdef Refill refill
        for refill in self.refills:
            refill.fill(self.w)

    cdef _Room known_room(self, tuple inputs):
        return self.rooms.get(shapes_of(inputs))

    cdef _Room made_room(self, tuple inputs, found):
        cdef _Room room = _Room()
        room.outputs = found if type(found) is tuple else (found,)
        compared = room.outputs[self.compared]
        room.d = numpy.empty_like(compared)
        room.back_inputs = tuple([
            room.d if number == gradient else None if number == nothing else room.outputs[number]
            for number in self.back_inputs])
        if len(self.rooms) >= most_rooms:
            self.rooms.clear()
        self.rooms[shapes_of(inputs)] = room
        return room

    cdef bint prepare_loss(self, LossCall *call, _Room room, numpy.ndarray target, numpy.ndarray weights,
                           double factor) except -1:
        """The arguments of the loss, whose gradient will be in the room. Whether they fit."""
        cdef numpy.ndarray p = room.outputs[self.compared]
        cdef int kind = numpy.NPY_FLOAT32 if self.single else numpy.NPY_FLOAT64
        cdef bint sparse = self.loss == Loss.sparse_categorical_crossentropy
        cdef ptrdiff_t size = numpy.PyArray_SIZE(p)
        call.single, call.factor = self.single, factor
        call.classes = numpy.PyArray_DIMS(p)[numpy.PyArray_NDIM(p) - 1]
        call.count = size // max(1, call.classes)
        call.p, call.d = numpy.PyArray_DATA(p), numpy.PyArray_DATA(room.d)
        if numpy.PyArray_SIZE(target) != (call.count if sparse else size) or (
                numpy.PyArray_TYPE(target) != (numpy.NPY_INT64 if sparse else kind)):
            return False
        cdef numpy.ndarray mask = None if self.mask < 0 else room.outputs[self.mask]
        cdef ptrdiff_t given, kept
        if weights is not None:
            given = numpy.PyArray_SIZE(weights)
            if numpy.PyArray_TYPE(weights) != kind or given == 0 or given not in (numpy.PyArray_DIMS(p)[0], call.count):
                return False
            call.weights, call.repeats = numpy.PyArray_DATA(weights), call.count // given
        if mask is not None:
            if numpy.PyArray_SIZE(mask) != call.count:
                return False
            call.keep = <const bool *> numpy.PyArray_DATA(mask)
        if self.mean:
            kept = rows_that_count(call[0])
            call.factor = factor / kept if kept else 0
        if sparse:
            call.labels = <const int64_t *> numpy.PyArray_DATA(target)
            return labels_are_classes(call[0])
        call.t = numpy.PyArray_DATA(target)
        return True

    cdef double moved(self, numpy.ndarray w, tuple slots, double learning_rate, long t) noexcept:
        """Move weights and slots, but for constraints. The penalties on the weights, before it."""
        cdef void *each[3]
        cdef int index
        for index in range(most_slots):
            each[index] = NULL
        for index in range(<int> len(slots)):
            if slots[index] is not None:
                each[index] = numpy.PyArray_DATA(<numpy.ndarray> slots[index])
        return self.movement.move(self.single, numpy.PyArray_SIZE(w), numpy.PyArray_DATA(w),
                                  numpy.PyArray_DATA(self.g), each, learning_rate, t)


cdef enum:
    gradient = -1
    nothing = -2
    most_rooms = 8

GRADIENT, NOTHING = gradient, nothing


cdef tuple shapes_of(tuple inputs):
    return tuple([None if array is None else array.shape for array in inputs])
