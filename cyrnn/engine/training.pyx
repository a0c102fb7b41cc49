"""Steps of training, compiled: forward, loss, back, update, and the weights made ready for the next step."""

import numpy
cimport cython
cimport numpy
from libc.stdint cimport int32_t, int64_t
from libcpp cimport bool
from libcpp.vector cimport vector

from cyrnn.engine.contract cimport Prepared, Weights
from cyrnn.engine.plan cimport Packed, Plan, Table, Vectors
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
        double factor, share
        void *d

    bool labels_are_classes(const LossCall &call)
    ptrdiff_t rows_that_count(const LossCall &call)
    double loss_of_batch(Loss kind, const LossOptions &options, const LossCall &call)


LOSSES = {name: index for index, name in enumerate((
    "mean_squared_error", "mean_absolute_error", "huber", "binary_crossentropy", "categorical_crossentropy",
    "sparse_categorical_crossentropy"))}
RULES = {name: index for index, name in enumerate((
    "sgd", "momentum", "nesterov", "adam", "amsgrad", "adamax", "nadam", "rmsprop", "adagrad", "adadelta", "lion"))}


include "updates.pxi"
include "elements.pxi"
include "flat.pxi"


cdef class _Room:
    """What a step of batches of one shape is computed in."""

    cdef tuple outputs, back_inputs
    cdef list d  # for each loss the gradient of what it is of


cdef struct Head:  # an output with a loss
    int compared, mask
    Loss loss
    LossOptions options
    bint mean
    double factor


@cython.final
cdef class TrainingStep:
    """A step of training of a program, with weights, gradients and slots in flat arrays.

    Parameters
    ----------
    forward : Program
        With a tape.
    forward_weights : tuple of Packed
    back : Program
        From the gradients of outputs to those of all weights.
    back_weights : tuple of Packed
    back_inputs : sequence of int
        What each input of it is: the number of an output of `forward`, `NOTHING`, or `of_loss` of a loss.
    w, g : array (size,)
        Weights and their gradients.
    gradients : sequence of (int, shape)
        For each output of `back` where in g it is, and its shape. What comes a second time is added.
    refills : sequence of Refill
        The weights that are made ready after each step.
    """

    cdef Program forward, back
    cdef tuple forward_weights, back_weights, back_outputs
    cdef list refills, sums, constraints, averages
    cdef vector[int] back_inputs
    cdef vector[Head] heads
    cdef numpy.ndarray w, g
    cdef tuple slots  # those of the rule, and the averages and the sums of gradients; or None
    cdef dict rooms
    cdef tuple recent
    cdef _Room room
    cdef Movement movement
    cdef bint single
    cdef readonly bint averages_begun
    cdef readonly bint finished  # whether the last `move` came to its end

    def __init__(self, Program forward not None, tuple forward_weights not None, Program back not None,
                 tuple back_weights not None, back_inputs, numpy.ndarray w not None, numpy.ndarray g not None,
                 gradients, refills):
        self.forward, self.forward_weights = forward, forward_weights
        self.back, self.back_weights = back, back_weights
        self.back_inputs, self.w, self.g = back_inputs, w, g
        self.refills, self.rooms, self.constraints, self.sums, self.slots = list(refills), {}, [], [], ()
        self.averages = []
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

    def add_loss(self, int compared, int mask, double factor, str name, bint mean, double delta=1.0,
                 double smoothing=0.0, bint from_logits=False):
        """Add a loss.

        Parameters
        ----------
        compared, mask : int
            The numbers of the outputs of `forward` that it is of, and that is the mask of that, -1 for none.
        factor : float
            What it counts in the total.
        name : str
            In `LOSSES`.
        mean : bool
            Whether it is the mean of values, or their sum.
        """
        cdef Head head
        head.compared, head.mask, head.factor, head.mean = compared, mask, factor, mean
        head.loss = <Loss> <int> LOSSES[name]
        head.options.delta, head.options.smoothing, head.options.from_logits = delta, smoothing, from_logits
        self.heads.push_back(head)

    def add_average(self, numbers, double momentum, numpy.ndarray mean not None, numpy.ndarray variance not None):
        """Add moving averages, which move towards three outputs of `forward`: mean, variance, and from how many."""
        self.averages.append((tuple(numbers), momentum, mean, variance))

    def set_rule(self, str name, tuple slots, double beta_1=0.0, double beta_2=0.0, double epsilon=0.0, *,
                 double clip_value=0.0, double clip_norm=0.0, double clip_global=0.0,
                 numpy.ndarray averages=None, bint averages_begun=False, double ema_momentum=0.0,
                 long ema_overwrite=0, numpy.ndarray sums=None, long accumulated=1, long updates=0, shared=()):
        """Choose the rule, and what is done before and after it.

        Parameters
        ----------
        name : str
            In `RULES`.
        slots : tuple
            Those of the rule: flat arrays like the weights, or None.
        clip_value, clip_norm, clip_global : float
            What gradients are clipped to, 0 for no limit.
        averages : array (size,), optional
            Of the weights, with `ema_momentum`; each `ema_overwrite` updates weights become these, 0 for never.
        averages_begun : bool
            Whether there was an update that they are of.
        sums : array (size,), optional
            Of gradients, of which an update takes the mean of so many as are `accumulated`.
        updates : int
            How many there were.
        shared : sequence of float
            What the rule remembers of all weights together after these: the product of Nadam.
        """
        cdef Rule rule = <Rule> <int> RULES[name]
        cdef int needed = needed_slots(rule)
        cdef list given = ["None" if slot is None else "array" for slot in slots]
        if not needed <= len(slots) <= most_slots or "None" in given[:needed]:
            raise ValueError(
                f"slots of {name!r} must be {needed} arrays, and arrays or None up to {most_slots}, got {len(slots)}: "
                f"{', '.join(given)}")
        self.movement.rule = rule
        self.slots = (*slots, *[None] * (most_slots - len(slots)), averages, sums)
        cdef RuleOptions *options = &self.movement.options
        options.beta_1, options.beta_2, options.epsilon = beta_1, beta_2, epsilon
        self.movement.clip_value, self.movement.clip_norm = clip_value, clip_norm
        self.movement.clip_global = clip_global
        self.movement.ema_momentum, self.movement.ema_overwrite = ema_momentum, ema_overwrite
        self.movement.accumulated, self.averages_begun = accumulated, averages_begun
        self.movement.product.t = updates if shared else 0
        self.movement.product.value = shared[0] if shared else 1

    def add_segment(self, ptrdiff_t first, ptrdiff_t size, double l1=0.0, double l2=0.0, double decay=0.0,
                    constraint=None):
        """Add a weight: where it is, its penalties and its decay, and a function that it becomes after each update."""
        cdef Segment segment
        segment.first, segment.size, segment.l1, segment.l2, segment.decay = first, size, l1, l2, decay
        self.movement.segments.push_back(segment)
        if constraint is not None:
            self.constraints.append((first, size, constraint))

    @property
    def outputs(self):
        """Those of the last run of `forward`, in memory that the next step changes."""
        return self.room.outputs

    def run(self, tuple inputs not None, tuple targets not None, tuple weights not None):
        """Find the gradients that the next `move` follows. A list of the losses, without factors and penalties; None
        for what does not fit: inputs, shapes, and labels that are no classes.

        Parameters
        ----------
        inputs : tuple of ndarray or None
            Those of `forward`. The same tuple again has arrays of the same shapes.
        targets : tuple of array
            For each loss one like what it is of, of its dtype; or of int64, labels without the last axis.
        weights : tuple of array of the dtype, or None
            For each loss a weight for each of its values, or for each row.
        """
        cdef _Room room = self.room if inputs is self.recent else self.known_room(inputs)
        found = self.forward.run_now(self.forward_weights, inputs, 0, 0, None if room is None else room.outputs)
        if found is None:
            return None
        if room is None:
            room = self.made_room(inputs, found)
        self.recent, self.room = inputs, room
        cdef LossCall call
        cdef list losses = []
        cdef int number
        for number in range(<int> self.heads.size()):
            if not self.prepare_loss(&call, room, number, targets[number], weights[number]):
                return None
            losses.append(loss_of_batch(self.heads[number].loss, self.heads[number].options, call))
        if self.back.run_now(self.back_weights, room.back_inputs, 0, 0, self.back_outputs) is None:
            raise RuntimeError("the way back does not fit the tape")
        for total, more in self.sums:
            numpy.add(total, more, out=total)
        return losses

    def move(self, double learning_rate, long call, list carried not None):
        """Move the weights, and make them ready for the next step. The penalties on them, before it.

        Nothing has changed after an error of a constraint. An interrupt may come as soon as this returns, before what
        it returns is used: `finished` says then that the weights have moved.

        Parameters
        ----------
        learning_rate : float
        call : int
            The number of the gradients, 1 first: that of the update, if not several are accumulated.
        carried : list of (dict, dict)
            Attributes of layers, and what they become at the same moment.
        """
        self.finished = False
        cdef numpy.ndarray w = self.w
        cdef tuple slots = self.slots
        cdef bint updates = self.movement.updates_at(call), constrained = updates and len(self.constraints) > 0
        cdef double penalties
        if constrained:  # by functions of Python, which may fail
            w, slots = w.copy(), tuple([None if slot is None else slot.copy() for slot in slots])
        penalties = self.moved(w, slots, learning_rate, call)
        if constrained:
            for first, size, constraint in self.constraints:
                w[first:first + size] = constraint(w[first:first + size])
            for kept, new in zip((self.w, *self.slots), (w, *slots), strict=True):
                if kept is not None:
                    kept[:] = new
        if updates:
            self.averages_begun = True
        if self.averages:
            self.move_averages()
        self.refill()
        for attributes, new in carried:
            (<dict?> attributes).update(<dict?> new)
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
        cdef int number
        room.outputs = found if type(found) is tuple else (found,)
        room.d = [numpy.empty_like(room.outputs[self.heads[number].compared])
                  for number in range(<int> self.heads.size())]
        room.back_inputs = tuple([
            None if number == nothing else room.outputs[number] if number >= 0 else room.d[first_loss - number]
            for number in self.back_inputs])
        if len(self.rooms) >= most_rooms:
            self.rooms.clear()
        self.rooms[shapes_of(inputs)] = room
        return room

    cdef bint prepare_loss(self, LossCall *call, _Room room, int number, numpy.ndarray target,
                           numpy.ndarray weights) except -1:
        """The arguments of a loss, whose gradient will be in the room. Whether they fit."""
        cdef Head *head = &self.heads[number]
        cdef numpy.ndarray p = room.outputs[head.compared]
        cdef int kind = numpy.NPY_FLOAT32 if self.single else numpy.NPY_FLOAT64
        cdef bint sparse = head.loss == Loss.sparse_categorical_crossentropy
        cdef ptrdiff_t size = numpy.PyArray_SIZE(p)
        call.single, call.factor, call.share = self.single, 1, head.factor
        call.labels = NULL
        call.weights = NULL
        call.keep = NULL
        call.repeats = 1
        call.classes = numpy.PyArray_DIMS(p)[numpy.PyArray_NDIM(p) - 1]
        call.count = size // max(1, call.classes)
        call.p, call.d = numpy.PyArray_DATA(p), numpy.PyArray_DATA(<numpy.ndarray> room.d[number])
        if numpy.PyArray_SIZE(target) != (call.count if sparse else size) or (
                numpy.PyArray_TYPE(target) != (numpy.NPY_INT64 if sparse else kind)):
            return False
        cdef numpy.ndarray mask = None if head.mask < 0 else room.outputs[head.mask]
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
        if head.mean:
            kept = rows_that_count(call[0])
            call.factor = 1. / kept if kept else 0
        if sparse:
            call.labels = <const int64_t *> numpy.PyArray_DATA(target)
            return labels_are_classes(call[0])
        call.t = numpy.PyArray_DATA(target)
        return True

    cdef double moved(self, numpy.ndarray w, tuple slots, double learning_rate, long call) noexcept:
        """Move weights and slots, but for constraints. The penalties on the weights, before it."""
        cdef void *each[5]
        cdef int index
        for index in range(all_slots):
            each[index] = NULL
            if slots[index] is not None:
                each[index] = numpy.PyArray_DATA(<numpy.ndarray> slots[index])
        return self.movement.move(self.single, numpy.PyArray_SIZE(w), numpy.PyArray_DATA(w),
                                  numpy.PyArray_DATA(self.g), each, learning_rate, call, not self.averages_begun)

    cdef int move_averages(self) except -1:
        cdef double momentum
        cdef numpy.ndarray value, average
        for (mean, variance, count), momentum, of_mean, of_variance in self.averages:
            if not self.room.outputs[count][0]:  # the batch had nothing that counts
                continue
            for value, average in ((self.room.outputs[mean], of_mean), (self.room.outputs[variance], of_variance)):
                if self.single:
                    move_average(numpy.PyArray_SIZE(average), <const float *> numpy.PyArray_DATA(value),
                                 <float *> numpy.PyArray_DATA(average), momentum)
                else:
                    move_average_f64(numpy.PyArray_SIZE(average), <const double *> numpy.PyArray_DATA(value),
                                     <double *> numpy.PyArray_DATA(average), momentum)
        return 0


cdef enum:
    nothing = -1
    first_loss = -2
    most_rooms = 8

NOTHING = nothing


def of_loss(int number):
    """What an input of the way back is that is the gradient of a loss, by its number."""
    return first_loss - number


cdef tuple shapes_of(tuple inputs):
    return tuple([None if array is None else array.shape for array in inputs])
