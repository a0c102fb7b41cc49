# What arrays hold, as the engine reads it.

cdef extern from "numpy/arrayobject.h":
    ctypedef struct Descriptor "PyArray_Descr":
        char kind
    Descriptor *descriptor_of "PyArray_DESCR"(numpy.ndarray array)
    bint PyArray_ISNOTSWAPPED(numpy.ndarray array)
    bint PyArray_ISALIGNED(numpy.ndarray array)
    bint PyArray_ISWRITEABLE(numpy.ndarray array)


cdef inline bint element_of(numpy.ndarray array, Element *element) noexcept:
    """Whether the engine reads arrays of this type."""
    cdef char kind = descriptor_of(array).kind
    cdef ptrdiff_t item = numpy.PyArray_ITEMSIZE(array)
    if kind == c"f" and item == 4:
        element[0] = Element.f32
    elif kind == c"f" and item == 8:
        element[0] = Element.f64
    elif kind == c"b":
        element[0] = Element.boolean
    elif kind == c"i":
        element[0] = (
            Element.i8 if item == 1 else Element.i16 if item == 2 else Element.i32 if item == 4 else Element.i64)
    elif kind == c"u":
        element[0] = (
            Element.u8 if item == 1 else Element.u16 if item == 2 else Element.u32 if item == 4 else Element.u64)
    else:
        return False
    return True
