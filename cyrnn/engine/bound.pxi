# Programs bound to slots, as the layers and models call them.

cdef enum:
    one_of_the_inputs = 0
    one_of_the_masks = 1
    one_of_the_states = 2
    carried_state = 3
    never_there = 4
    drawn_anew = 5
    most_depth = 8  # of nested lists

INPUT, MASK, STATE, CARRIED, ABSENT = one_of_the_inputs, one_of_the_masks, one_of_the_states, carried_state, never_there
DRAWN = drawn_anew

cdef atomic[long] structure


def structure_changed():
    """What programs were made of has changed: those that are bound are out of date."""
    structure.fetch_add(1)


def structure_now():
    """A number that moves with `structure_changed`. Ask for it before a program is made."""
    return structure.load()


@cython.final
cdef class Drawn:
    """An input that is drawn for each call, when all others are known to fit.

    Parameters
    ----------
    source : object
        Its `drawn(batch, timesteps)` returns arrays, None for such as are absent.
    number : int
        Which of them it is.
    timed : int
        The number of an input that has the timesteps; -1 where the arrays have none.
    """

    cdef object source
    cdef int number, timed

    def __init__(self, source, int number, int timed):
        self.source, self.number, self.timed = source, number, timed


cdef list all_drawn(tuple inputs, ptrdiff_t batch):
    """The inputs of a call, with those that are drawn: once from each source."""
    cdef dict known = {}
    cdef list found = list(inputs)
    cdef Drawn one
    cdef int index
    for index in range(<int> len(found)):
        if type(found[index]) is Drawn:
            one = <Drawn> found[index]
            if one.source not in known:
                known[one.source] = one.source.drawn(batch, None if one.timed < 0 else inputs[one.timed].shape[1])
            found[index] = known[one.source][one.number]
    return found


@cython.final
cdef class Bound:
    """A program with the slots of its weights, and where in a call it finds its inputs.

    Parameters
    ----------
    program : Program
        It is finished.
    slots : tuple of Slot or Packed
    sources : tuple of (int, int)
        For each input of the program `INPUT`, `MASK` or `STATE` and the number among these in a call; `CARRIED` and the
        number in `carriers`; `DRAWN` and the number in `drawn`; or `ABSENT` for an optional one that no call has.
    carriers : tuple of (object, int)
        Objects with arrays `states` in nested lists, or None for zeros, and the number of a state in them.
    made_at : int
        `structure_now` before the program was made.
    lengths : tuple of int, optional
        The length that the second axis of each of a call's inputs must have; -1 for any.
    keys : tuple of str, optional
        The keys of the inputs where a call has them in a dict.
    keyed : bool, optional
        Whether calls have them in a dict only.
    kept : tuple of (object, tuple of int), optional
        Objects whose `states` are outputs after a call, in the lists of those before, or of `get_initial_state(1)`; and
        the numbers of these outputs.
    results : int, or structure of int, optional
        What a call returns, in lists, tuples and dicts: the numbers of outputs, each once. Default: all, in order.
    drawn : tuple of Drawn, optional
    """

    cdef readonly Program program
    cdef readonly tuple slots
    cdef tuple carriers, drawn, lengths, keys, kept, returned
    cdef bint keyed
    cdef object results
    cdef vector[int] kinds, numbers
    cdef int count, inputs, masks, states
    cdef long made_at

    def __init__(self, Program program not None, tuple slots not None, tuple sources not None, tuple carriers,
                 long made_at, tuple lengths=(), tuple keys=(), bint keyed=False, tuple kept=(), results=None,
                 tuple drawn=()):
        self.lengths, self.keys, self.keyed, self.kept = lengths, keys, keyed, kept
        cdef tuple outputs = tuple(range(program.program.outputs.size()))
        whole = outputs[0] if len(outputs) == 1 else outputs  # as `Program.run` returns them
        self.results = None if results == whole else results
        self.returned = outputs if results is None else tuple(leaves_of(results))
        self.program, self.slots, self.carriers, self.drawn, self.made_at = program, slots, carriers, drawn, made_at
        taken(slots)  # it may raise TypeError
        self.count = <int> len(sources)
        if self.count != <int> program.program.inputs.size():
            raise ValueError(f"sources must be {program.program.inputs.size()}, got {self.count}")
        for kind, number in sources:
            self.kinds.push_back(kind)
            self.numbers.push_back(number)
            if kind == INPUT or kind == MASK:
                self.inputs = max(self.inputs, <int> number + 1)
            if kind == MASK:
                self.masks += 1
            if kind == STATE:
                self.states = max(self.states, <int> number + 1)

    @property
    def up_to_date(self):
        """Whether the structure is still the one that the program was made of."""
        return self.made_at == structure.load()

    @property
    def keeps_states(self):
        """Whether objects have other states after a call."""
        return len(self.kept) > 0

    def call(self, inputs, mask=None, states=None, ptrdiff_t nominal_batch=0, int num_threads=0, tuple out=None):
        """What `Program.run` returns; None where that returns None, or where the program is out of date.

        Parameters
        ----------
        inputs : ndarray, or a list, tuple or dict of them; a single one is in a list only where there are `keys`
        mask : ndarray or None, or these in a list or tuple as the inputs are
        states : ndarray, or nested lists or tuples of them; or None
        nominal_batch, num_threads
            As in `Program.run`.
        out : tuple of ndarray, optional
            Arrays for the outputs that a call returns.
        """
        cdef tuple given = self.matched(inputs, mask, states)
        if given is None:
            return None
        if out is not None:
            out = self.for_outputs(out)
        cdef object arrays = self.program.run_now(self.slots, given, nominal_batch, num_threads, out)
        if arrays is None or (self.results is None and not self.kept):
            return arrays
        if type(arrays) is not tuple:
            arrays = (arrays,)
        if self.kept:
            self.keep(arrays)
        return arrays if self.results is None else structured(self.results, arrays)

    def with_weights(self, inputs, mask=None, states=None):
        """All outputs of a call, the weights that they were computed with, and what the inputs of the program were;
        None as in `call`. No object gets new states."""
        cdef tuple given = self.matched(inputs, mask, states)
        cdef tuple held = None if given is None else taken(self.slots)
        if held is None:
            return None
        cdef list drawn = [] if self.drawn else None
        cdef object arrays = self.program.run_now(held, given, 0, 0, None, drawn)
        if arrays is None:
            return None
        return arrays if type(arrays) is tuple else (arrays,), held, tuple(drawn) if drawn else given

    cdef tuple matched(self, inputs, mask, states):
        """The inputs of the program in a call, those that are drawn as `Drawn`; None where they are others, or the
        program is out of date."""
        cdef int index, kind, number
        cdef object item
        cdef tuple given
        if self.made_at != structure.load():
            return None
        if type(inputs) is dict:
            if not self.keys:
                return None
            inputs = [inputs.get(key) for key in self.keys]
        elif self.keyed:
            return None
        cdef bint listed = self.inputs != 1 or len(self.keys) > 0
        cdef bint alone = type(inputs) is numpy.ndarray
        if self.inputs > 1 if alone else not (listed and are_several(inputs, self.inputs)):
            return None
        cdef bint mask_alone = mask is None or type(mask) is numpy.ndarray
        if mask is not None and (not self.masks or (
                self.inputs > 1 if mask_alone else not (listed and are_several(mask, self.inputs)))):
            return None
        cdef bint state_alone = states is None or type(states) is numpy.ndarray
        if not state_alone:
            states = in_one_list(states)
        if states is not None and (self.states != 1 if state_alone else len(states) != self.states):
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
                if item is None and states is not None:
                    return None  # one of several cannot stand for zeros
            elif kind == never_there:
                item = None
            elif kind == drawn_anew:
                item = self.drawn[number]
            else:
                carrier, number = self.carriers[number]
                item = carrier.states
                if item is not None:
                    item = in_one_list(item)
                    item = item[number] if <int> len(item) > number else NotImplemented
            Py_INCREF(item)
            PyTuple_SET_ITEM(given, index, item)
        return given

    cdef tuple for_outputs(self, tuple out):
        """An array for each output that a call returns, and None for the others."""
        if len(out) != len(self.returned):
            raise ValueError(f"out must hold {len(self.returned)} arrays, got {len(out)}")
        arrays = dict(zip(self.returned, out))
        return tuple([arrays.get(number) for number in range(self.program.program.outputs.size())])

    cdef int keep(self, tuple arrays) except -1:
        """Let the objects have their new states. What the caller gets too is copied."""
        cdef list found = []
        for carrier, numbers in self.kept:
            states = [arrays[number].copy() if number in self.returned else arrays[number] for number in numbers]
            like = carrier.states
            found.append((carrier, nested_as(carrier.get_initial_state(1) if like is None else like, states)))
        for carrier, states in found:
            PyObject_GenericSetAttr(carrier, "states", states)  # arrays: nothing that a layer has to look at
        return 0


cdef list leaves_of(object structure):
    """What is in lists, tuples and dicts, in order; dicts by sorted key."""
    if isinstance(structure, dict):
        structure = [structure[key] for key in sorted(structure)]
    if not isinstance(structure, (list, tuple)):
        return [structure]
    return [leaf for part in structure for leaf in leaves_of(part)]


cdef object structured(object structure, tuple arrays):
    """The structure with arrays for its numbers."""
    cdef list parts
    if type(structure) is int:
        return arrays[structure]
    if type(structure) is dict:
        return {key: structured(part, arrays) for key, part in structure.items()}
    parts = [structured(part, arrays) for part in structure]
    return tuple(parts) if type(structure) is tuple else parts


cdef list in_one_list(object values):
    """The values in nested lists and tuples; what is in none is one."""
    cdef list found
    if type(values) is list and len(values) == 1 and type(values[0]) is numpy.ndarray:
        return values
    found = []
    spread(values, found, 0)
    return found


cdef int spread(object values, list found, int depth) except -1:
    if depth < most_depth and type(values) in (list, tuple):
        for value in values:
            spread(value, found, depth + 1)
    else:
        found.append(values)
    return 0


cdef object nested_as(object like, list values):
    """The values in the lists of others; there are as many."""
    if type(like) is list and len(like) == len(values) and type(like[0]) is numpy.ndarray:
        return values
    return packed_as(like, iter(values))


cdef object packed_as(object like, object values):
    return [packed_as(part, values) for part in like] if type(like) in (list, tuple) else next(values)


cdef inline bint are_several(object values, int count) except -1:
    return type(values) in (list, tuple) and len(values) == count


cdef inline bint has_length(object array, ptrdiff_t length) except -1:
    """Whether the second axis of an array has this length; -1 is any."""
    if length < 0 or type(array) is not numpy.ndarray or numpy.PyArray_NDIM(array) < 2:
        return length < 0
    return numpy.PyArray_DIMS(array)[1] == length
