cimport cython

from cyrnn.engine.contract cimport Engine, Weights


@cython.final
cdef class Plan:
    cdef readonly ptrdiff_t features    # of an input row
    cdef readonly ptrdiff_t units       # of a state and an output row
    cdef readonly object dtype          # numpy.dtype: float32 or float64
    cdef readonly str activation        # Keras' name
    cdef readonly str engine            # "simd" or "blas"
    cdef readonly str isa               # instruction set of the vectorised parts
    cdef bint single                    # float32
    cdef list arrays                    # what weights_* point into
    cdef const Engine *functions
    cdef Weights[float] weights_f32
    cdef Weights[double] weights_f64
