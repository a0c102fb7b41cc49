# Programs bound to slots, as the layers and models call them.

cdef enum:
    one_of_the_inputs = 0
    one_of_the_masks = 1
    one_of_the_states = 2
    carried_state = 3
    never_there = 4

INPUT, MASK, STATE, CARRIED, ABSENT = one_of_the_inputs, one_of_the_masks, one_of_the_states, carried_state, never_there

cdef long structure = 0


def structure_changed():
    """What programs were made of has changed: those that are bound are out of date."""
    global structure
    structure += 1


def structure_now():
    """A number that moves with `structure_changed`. Ask for it before a program is made."""
    return structure


@cython.final
cdef class Bound:
    """A program with the slots of its weights, and where in a call it finds its inputs.

    Parameters
    ----------
    program : Program
        It is finished.
    slots : tuple of Slot
    sources : tuple of (int, int)
        For each input of the program `INPUT`, `MASK` or `STATE` and the number among these in a call; `CARRIED` and the
        number in `carriers`; or `ABSENT` for an optional one that no call has.
    carriers : tuple of (object, int)
        Objects with a list of arrays `states`, or None for zeros, and the number of a state in it.
    made_at : int
        `structure_now` before the program was made.
    lengths : tuple of int, optional
        The length that the second axis of each of a call's inputs must have; -1 for any.
    """

    cdef readonly Program program
    cdef readonly tuple slots
    cdef tuple carriers, lengths
    cdef int kinds[most]
    cdef int numbers[most]
    cdef int count, inputs, masks, states
    cdef long made_at

    def __init__(self, Program program not None, tuple slots not None, tuple sources not None, tuple carriers,
                 long made_at, tuple lengths=()):
        self.lengths = lengths
        self.program, self.slots, self.carriers, self.made_at = program, slots, carriers, made_at
        self.count = <int> len(sources)
        if self.count != <int> program.program.inputs.size():
            raise ValueError(f"sources must be {program.program.inputs.size()}, got {self.count}")
        for index, (kind, number) in enumerate(sources):
            self.kinds[index], self.numbers[index] = kind, number
            if kind == INPUT or kind == MASK:
                self.inputs = max(self.inputs, <int> number + 1)
            if kind == MASK:
                self.masks += 1
            if kind == STATE:
                self.states = max(self.states, <int> number + 1)

    @property
    def up_to_date(self):
        """Whether the structure is still the one that the program was made of."""
        return self.made_at == structure

    def call(self, inputs, mask=None, states=None, ptrdiff_t nominal_batch=0, int num_threads=0, tuple out=None):
        """What `Program.run` returns; None where that returns None, or where the program is out of date.

        Parameters
        ----------
        inputs : ndarray, or a list or tuple of them
        mask : ndarray or None, or a list or tuple of these for several inputs
        states : ndarray, or a list or tuple of them; or None
        nominal_batch, num_threads, out
            As in `Program.run`.
        """
        cdef int index, kind, number
        cdef object item
        cdef tuple given
        if self.made_at != structure:
            return None
        cdef bint alone = type(inputs) is numpy.ndarray
        if alone:
            if self.inputs > 1:
                return None
        elif not are_several(inputs, self.inputs):
            return None
        cdef bint mask_alone = mask is None or type(mask) is numpy.ndarray
        if mask is not None and (not self.masks or (
                self.inputs > 1 if mask_alone else not are_several(mask, self.inputs))):
            return None
        cdef bint state_alone = states is None or type(states) is numpy.ndarray
        if states is not None and (self.states != 1 if state_alone else not are_several(states, self.states)):
            return None
        given = PyTuple_New(self.count)
        for index in range(self.count):
            kind, number = self.kinds[index], self.numbers[index]
            if kind == one_of_the_inputs:
                item = inputs if alone else inputs[number]
                if self.lengths and not has_length(item, self.lengths[number]):
                    return None
            elif kind == one_of_the_masks:
                item = mask if mask_alone else mask[number]
            elif kind == one_of_the_states:
                item = states if state_alone else states[number]
            elif kind == never_there:
                item = None
            else:
                carrier, number = self.carriers[number]
                item = carrier.states
                if item is not None:
                    item = item[number] if type(item) is list else NotImplemented
            Py_INCREF(item)
            PyTuple_SET_ITEM(given, index, item)
        return self.program.run(self.slots, given, nominal_batch, num_threads, out)


cdef inline bint are_several(object values, int count) except -1:
    return type(values) in (list, tuple) and len(values) == count


cdef inline bint has_length(object array, ptrdiff_t length) except -1:
    """Whether the second axis of an array has this length; -1 is any."""
    if length < 0 or type(array) is not numpy.ndarray or numpy.PyArray_NDIM(array) < 2:
        return length < 0
    return numpy.PyArray_DIMS(array)[1] == length
