cimport cython
from libcpp.memory cimport shared_ptr

from cyrnn.engine.contract cimport Prepared

cdef extern from *:
    """
    /* Whether items of this struct format are numbers of one kind in native byte order, which a format may spell. */
    static inline int is_of_kind(const char *format, char kind) {
        const unsigned short one = 1;
        const char native = *reinterpret_cast<const char *>(&one) ? '<' : '>';
        const char *items = format + (*format == native || *format == '=' || *format == '@');
        return items[0] == kind && items[1] == 0;
    }
    """
    bint is_of_kind(const char *format, char kind) noexcept nogil


@cython.final
cdef class Plan:
    cdef readonly ptrdiff_t features    # of an input row
    cdef readonly ptrdiff_t units       # of a state and an output row
    cdef readonly object dtype          # numpy.dtype: float32 or float64
    cdef readonly str activation        # Keras' name
    cdef readonly str engine            # "simd" or "blas"
    cdef readonly str isa               # instruction set of the vectorised parts
    cdef bint single                    # float32
    cdef shared_ptr[Prepared] prepared  # which a runner may hold longer than the plan
