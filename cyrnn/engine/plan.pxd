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


cdef class Packed:
    """Weights of one layer made ready for the engine."""
    cdef readonly object dtype          # numpy.dtype: float32 or float64
    cdef readonly object values         # the mapping of weights that a slot has it for; or None
    cdef dict transposes                # of these weights by name, made ready when they were asked for
    cdef bint single                    # float32
    cdef bint may_block                 # its engine takes locks
    cdef shared_ptr[Prepared] prepared  # which a runner may hold longer


@cython.final
cdef class Plan(Packed):
    cdef readonly ptrdiff_t features    # of an input row
    cdef readonly ptrdiff_t units       # of an output row
    cdef readonly ptrdiff_t carried     # elements of a row's state: the units, for each state that the cell has
    cdef readonly str activation        # Keras' name
    cdef readonly str cell              # its name in `CELLS`, or None
    cdef readonly str recurrent_activation  # of a cell's gates
    cdef readonly tuple parts           # of gates: see `Plan`
    cdef Plan rounded                   # the same with operands rounded to bfloat16, when it was asked for
    cdef Plan in_bfloat16(self)
    cdef readonly object form           # the `CellForm`; that of SimpleRNN and dense where there is no cell
    cdef readonly str engine            # "simd" or "blas"
    cdef readonly str precision         # of the operands of products: "float32", also for float64, or "bfloat16"
    cdef readonly str isa               # instruction set of the vectorised parts


@cython.final
cdef class Table(Packed):
    pass


@cython.final
cdef class Vectors(Packed):
    pass


@cython.final
cdef class Slot:
    cdef object held                    # a mapping: the weights by name
    cdef object source                  # what has newer ones; or None
    cdef readonly Packed packed         # the same, made ready; or None


cdef void *activate_f32_of(str name) except NULL
cdef void *activate_f64_of(str name) except NULL
cdef void *differentiate_f32_of(str name) except NULL
cdef void *differentiate_f64_of(str name) except NULL
