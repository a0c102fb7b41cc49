# The inputs and outputs of a step, and the arrays for them.

# Cython's own conversions and loops copy strings where nothing catches that there is no memory.

cdef int take_names(names, vector[string] &to) except -1:
    cdef size_t index
    encoded = [(<str?> name).encode() for name in names]
    to.resize(len(encoded))
    for index in range(to.size()):
        to[index].assign(<const char *> <bytes> encoded[index], <size_t> len(encoded[index]))
    return 0


cdef tuple described(const vector[CPort] &ports, shapes):
    """A `Port` for each; without shapes, its axes are one of the width, or none for a token or a mask alone."""
    cdef size_t index
    cdef int number
    cdef const CPort *port
    cdef list found = []
    for index in range(ports.size()):
        port = &ports[index]
        number = port.index
        kind = "number" if port.kind == Kind.number else "token" if port.kind == Kind.token else "mask"
        if shapes is not None:
            shape = tuple(shapes[number])
        else:
            shape = () if port.kind != Kind.number and port.width == 1 else (port.width,)
        found.append(Port((<bytes> port.name).decode(), kind, shape, number))
    return tuple(found)


cdef Expected expected_of(port, Runner runner) except *:
    cdef Expected expected
    cdef int axis
    if len(port.shape) >= most_axes:
        raise ValueError(f"an input or output must have at most {most_axes} axes, got {1 + len(port.shape)}")
    expected.ndim = 1 + <int> len(port.shape)
    expected.axes[0] = runner.batch_size
    for axis in range(1, expected.ndim):
        expected.axes[axis] = port.shape[axis - 1]
    if port.kind == "number":
        expected.type = numpy.NPY_FLOAT32 if runner.single else numpy.NPY_FLOAT64
    else:
        expected.type = numpy.NPY_INT64 if port.kind == "token" else numpy.NPY_BOOL
    return expected


cdef inline bint fits(numpy.ndarray array, const Expected *expected, bint written) noexcept:
    """Whether a step can read the array where it is, or fill it."""
    cdef int axis
    if (numpy.PyArray_TYPE(array) != expected.type or numpy.PyArray_NDIM(array) != expected.ndim
            or not numpy.PyArray_CHKFLAGS(array, numpy.NPY_ARRAY_CARRAY if written else numpy.NPY_ARRAY_CARRAY_RO)
            or not PyArray_ISNOTSWAPPED(array)):
        return False
    for axis in range(expected.ndim):
        if numpy.PyArray_DIMS(array)[axis] != expected.axes[axis]:
            return False
    return True


cdef object several(str name, values, int count):
    """The arrays of several inputs or outputs. Raises ValueError for anything else."""
    if not isinstance(values, (list, tuple)) or len(values) != count:
        got = f"{len(values)}" if isinstance(values, (list, tuple)) else type(values).__name__
        raise ValueError(f"{name} must be a tuple or list of {count} arrays, got {got}")
    return tuple(values)


cdef tuple shape_of(const Expected &expected):
    return tuple([expected.axes[axis] for axis in range(expected.ndim)])


cdef object dtype_of(int type_number):
    return <object> numpy.PyArray_DescrFromType(type_number)


cdef str shown(array):
    if not isinstance(array, numpy.ndarray):
        return type(array).__name__
    flags = array.flags
    wrong = [("read-only", not flags.writeable), ("not C-contiguous", not flags.c_contiguous),
             ("not aligned", not flags.aligned)]
    return ", ".join([f"{array.shape} {array.dtype}", *(text for text, holds in wrong if holds)])
