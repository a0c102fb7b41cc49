# Slots: the weights of layers, that calls read and others replace meanwhile.

@cython.final
cdef class Slot:
    """Where a layer has its weights, of which programs only know the place. See `replace`.

    Calls take what all slots of a program hold at one moment. `values`, a mapping, is replaced as a whole, never
    changed. While a model is trained, `values` are asked for when they are needed: see `defer`.
    """

    def __init__(self, values=None):
        self.held = {} if values is None else values

    @property
    def values(self):
        """The weights by name."""
        if self.source is not None:
            self.source.publish()
        return self.held

    def pack(self, values, Packed ready):
        """Keep what these values are, made ready, unless others have come meanwhile."""
        with cython.critical_section(Slot):
            if self.held is values and self.source is None:
                ready.values = values
                self.packed = ready

    def __reduce__(self):
        return Slot, (self.values,)  # what was made ready holds addresses; it is made again when needed


def replace(list slots, list values, dict attributes=None, dict others=None):
    """Put a mapping of weights in each of the slots, for all calls at the same moment.

    With them come `others` into a dict of attributes: no interrupt comes between.
    """
    cdef list before = [None] * (2 * len(slots))  # let go of at the end: that may run any code
    cdef dict attributes_before = None if attributes is None else attributes.copy()
    cdef Slot slot
    cdef Py_ssize_t index
    for item in slots:
        slot = <Slot?> item
    with cython.critical_section(Slot):
        for index in range(len(slots)):
            slot = <Slot> slots[index]
            before[2 * index] = slot.held
            before[2 * index + 1] = slot.packed
            slot.held = values[index]
            slot.packed = slot.source = None
        if attributes is not None:
            attributes.update(others)


def holds(list slots, list values, source):
    """Whether each of the slots has these values, or newer ones of this source, and of no other."""
    cdef Slot slot
    cdef Py_ssize_t index
    for index in range(len(slots)):
        slot = <Slot> slots[index]
        if slot.held is not values[index] or not (slot.source is None or slot.source is source):
            return False
    return True


def defer(list slots, source):
    """Let the slots have newer values than they hold: `source.publish()` puts them there, when they are asked for."""
    cdef Slot slot
    with cython.critical_section(Slot):
        for item in slots:
            slot = <Slot> item
            slot.source = source
            slot.packed = None


@cython.final
cdef class Table(Packed):
    """The rows that an embedding looks up.

    Parameters
    ----------
    table : array (rows, units), float32 or float64
    """

    def __cinit__(self, table):
        table = numpy.asarray(table, order="C")
        if table.ndim != 2 or table.dtype not in (numpy.float32, numpy.float64):
            raise ValueError(f"table must be a float array (rows, units), got {table.dtype} of shape {table.shape}")
        self.dtype = table.dtype.newbyteorder("=")
        self.single = table.dtype == numpy.float32
        self.prepared = make_shared[Prepared]()
        cdef Prepared *prepared = self.prepared.get()
        prepared.single = self.single
        prepared.guard = choose_guard()
        rows, units = table.shape
        if self.single:
            fill_weights[float](prepared, &prepared.f32, units, LaidOut(rows, rows, table))
        else:
            fill_weights[double](prepared, &prepared.f64, units, LaidOut(rows, rows, table))

    def indices(self, table):
        """An array like the table in the order of its elements."""
        return table

    @property
    def made_of(self):
        """The table, a new array."""
        cdef Prepared *p = self.prepared.get()
        cdef ptrdiff_t rows = p.f32.features if self.single else p.f64.features
        cdef ptrdiff_t units = p.f32.units if self.single else p.f64.units
        cdef const void *kernels = <const void *> p.f32.kernels if self.single else <const void *> p.f64.kernels
        return (copied(kernels, rows * units, self.dtype).reshape(rows, units),)

    def __reduce__(self):
        return Table, self.made_of


@cython.final
cdef class Vectors(Packed):
    """Vectors along an axis: what an op scales and shifts by.

    Parameters
    ----------
    scale : array (length,), float32 or float64
    shift, offset : array (length,), optional
        Zeros where they are missing.
    gain : array (length,), optional
        What scales where the rest of the scale comes of the batch.
    """

    def __cinit__(self, scale, shift=None, offset=None, gain=None):
        scale = numpy.asarray(scale)
        if scale.ndim != 1 or scale.dtype not in (numpy.float32, numpy.float64):
            raise ValueError(f"scale must be a float array (length,), got {scale.dtype} of shape {scale.shape}")
        self.dtype = scale.dtype.newbyteorder("=")
        self.single = scale.dtype == numpy.float32
        self.prepared = make_shared[Prepared]()
        cdef Prepared *prepared = self.prepared.get()
        prepared.single = self.single
        prepared.guard = choose_guard()
        zeros = numpy.zeros(len(scale), self.dtype)
        shift, offset = zeros if shift is None else shift, zeros if offset is None else offset
        prepared.length = len(scale)
        prepared.scale = kept(prepared, checked("scale", scale, scale.shape, self.dtype))
        prepared.shift = kept(prepared, checked("shift", shift, scale.shape, self.dtype))
        prepared.offset = kept(prepared, checked("offset", offset, scale.shape, self.dtype))
        prepared.gain = kept(prepared, None if gain is None else checked("gain", gain, scale.shape, self.dtype))

    @property
    def made_of(self):
        """Scale, shift and offset: new arrays."""
        cdef Prepared *p = self.prepared.get()
        return (copied(p.scale, p.length, self.dtype), copied(p.shift, p.length, self.dtype),
                copied(p.offset, p.length, self.dtype))

    def __reduce__(self):
        cdef Prepared *p = self.prepared.get()
        return Vectors, self.made_of if p.gain == NULL else (*self.made_of, copied(p.gain, p.length, self.dtype))
