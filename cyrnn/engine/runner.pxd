cimport cython

from cyrnn.engine.capi cimport cyrnn_model, cyrnn_runner


cdef class Runner:
    cdef readonly ptrdiff_t batch_size
    cdef readonly object dtype            # numpy.dtype: float32 or float64
    cdef readonly tuple plans
    cdef cyrnn_model *model
    cdef cyrnn_runner *runner
    cdef ptrdiff_t features, units
    cdef bint single
    cdef bint long_steps                  # worth letting go of the GIL
    cdef ptrdiff_t carried_of(self, int layer) except -1
