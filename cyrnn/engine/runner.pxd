# The faces of capi.hpp and steps.hpp for Cython; the comments are there.
from libc.stdint cimport uint8_t
from libcpp cimport bool
from libcpp.memory cimport shared_ptr
from libcpp.string cimport string
from libcpp.vector cimport vector
cimport numpy

from cyrnn.engine.capi cimport cyrnn_api, cyrnn_model, cyrnn_runner
from cyrnn.engine.contract cimport Load, Prepared
from cyrnn.engine.program cimport CProgram, Crew, Kind, Program, most_axes


cdef extern from "steps.hpp" namespace "cyrnn" nogil:
    enum:
        most_ports

    cdef cppclass CNames "cyrnn::Names":
        vector[string] inputs, outputs, ops

    cdef cppclass CPort "cyrnn::Port":
        Kind kind
        ptrdiff_t width
        string name
        int index
        ptrdiff_t limit

    cdef cppclass Steps:
        vector[CPort] inputs, outputs, states
        vector[ptrdiff_t] carried
        Load load(ptrdiff_t batch)


cdef extern from "capi.hpp" namespace "cyrnn" nogil:
    cdef cppclass Making:
        shared_ptr[CProgram] program
        vector[shared_ptr[Prepared]] weights
        CNames names
        vector[bool] optional, turned
        vector[int] order
        bool real_time
        int op
        string reason

    const cyrnn_api *c_api()
    cyrnn_model *make_model(Making &making) noexcept
    const Steps &steps_of(const cyrnn_model *model)
    void share_steps(cyrnn_runner *runner, int threads, Crew *(*take_crew)(int) noexcept nogil)
    void take_seen(cyrnn_runner *runner, uint8_t *seen)
    void put_seen(cyrnn_runner *runner, const uint8_t *seen)


cdef struct Expected:  # the array of a step for an input or output
    int ndim
    numpy.npy_intp axes[most_axes]
    int type           # NumPy's number


cdef class Runner:
    cdef readonly ptrdiff_t batch_size
    cdef readonly int threads
    cdef readonly object dtype              # numpy.dtype: float32 or float64
    cdef readonly Program program
    cdef readonly tuple packed
    cdef readonly object names, order
    cdef readonly tuple inputs, outputs, states
    cdef cyrnn_model *model
    cdef cyrnn_runner *runner
    cdef vector[Expected] taken, filled     # for each input, and for each output
    cdef bint single
    cdef bint simple                        # one input and one output of numbers
    cdef bint long_steps                    # worth letting go of the GIL
    cdef numpy.ndarray array_taken(self, x_t, int index)
    cdef numpy.ndarray array_filled(self, out, int index)
    cdef numpy.ndarray new_output(self, int index)
    cdef object step_all(self, x_t, out)
    cdef int check_step(self, int status, list arrays) except -1
    cdef ptrdiff_t width_of_state(self, int index) except -1
