# The faces of builder.hpp, layout.hpp and execution.hpp for Cython; the comments are there.
from libc.stdint cimport int64_t, uint8_t
from libcpp cimport bool
from libcpp.memory cimport shared_ptr, unique_ptr
from libcpp.pair cimport pair
from libcpp.vector cimport vector

from cyrnn.engine.plan cimport Packed
from cyrnn.engine.contract cimport ActivateF32, ActivateF64, DifferentiateF32, DifferentiateF64, Prepared


cdef enum:
    most_axes = 32  # of an array that the engine makes, or takes in a step


cdef extern from "program.hpp" namespace "cyrnn" nogil:
    enum class Kind(uint8_t):
        number
        token
        mask

    cdef cppclass CTimeline "cyrnn::Timeline":
        int of
        ptrdiff_t constant, times, add, size, stride

    cdef cppclass CStorage "cyrnn::Storage":
        Kind kind
        int timeline
        ptrdiff_t width
        int input, output
        bool once

    cdef cppclass CView "cyrnn::View":
        int storage
        ptrdiff_t column, width
        bool reversed

    cdef cppclass COp "cyrnn::Op":
        int slot
        bool fits(const Prepared *weights)
        bool moves()

    cdef cppclass CProgram "cyrnn::Program":
        CProgram(bool single) except +
        vector[CTimeline] timelines
        vector[CStorage] storages
        vector[CView] views
        vector[int] inputs, outputs
        vector[pair[int, int]] tokens
        vector[unique_ptr[COp]] ops
        int slots
        bool measure(ptrdiff_t *lengths)
        void finish() except +


cdef extern from "ops_pointwise.hpp" namespace "cyrnn" nogil:
    struct Axis:
        ptrdiff_t length, inner

    enum class Norm(int):
        layer
        rms
        unit


cdef extern from "ops_merge.hpp" namespace "cyrnn" nogil:
    enum class Merge(int):
        add
        subtract
        multiply
        divide
        average
        maximum
        minimum


cdef extern from "builder.hpp" namespace "cyrnn" nogil:
    cdef cppclass Builder:
        Builder(CProgram &program)
        int storage(Kind kind, int timeline, ptrdiff_t width) except +
        int view(CView made) except +
        void recurrent(int slot, int x, int mask, int input_dropout, int recurrent_dropout, int outputs,
                       int last_output, const vector[int] &initial, const vector[int] &final,
                       bool zero_output_for_mask, int sums) except +
        void dense(int slot, int x, int out, ptrdiff_t vectors, int sums) except +
        void embedding(int slot, int tokens, int out) except +
        void nonzero(int tokens, int out) except +
        void dropout(int x, int factors, int out) except +
        void masking(double value, int x, int out, int mask) except +
        void activation(ActivateF32 f32, ActivateF64 f64, int x, int out, ptrdiff_t units) except +
        void relu(int x, int out, double slope, double threshold, double most) except +
        void scale(int x, int out, double factor, double offset) except +
        void affine(int slot, int x, int out, Axis axis) except +
        void prelu(int slot, int x, int out, Axis axis) except +
        void norm(int slot, int x, int out, ptrdiff_t length, Norm norm, double parameter) except +
        void merge(Merge kind, const vector[int] &xs, const vector[Axis] &axes, const vector[int] &masks,
                   int out) except +
        void merge_masks(bool all, const vector[int] &masks, int out) except +
        void join(const vector[int] &xs, int out, ptrdiff_t pieces) except +
        void dot(int x, int y, int out, ptrdiff_t length, ptrdiff_t x_inner, ptrdiff_t y_inner) except +
        void copy(int x, int out) except +
        void select(int x, int out, ptrdiff_t index) except +
        void take(int x, int out, ptrdiff_t before, ptrdiff_t stride, ptrdiff_t repeats) except +
        void pool(bool mean, int x, int out, ptrdiff_t size, ptrdiff_t stride, bool padded) except +
        void largest(int x, int out) except +
        void total(bool mean, int x, int mask, int out) except +
        void reshape(int x, int out) except +
        void permute(int x, int out, const vector[ptrdiff_t] &lengths, const vector[int] &order) except +
        void activation_gradient(int slot, DifferentiateF32 f32, DifferentiateF64 f64, int saved, int d_y, int d_z,
                                 ptrdiff_t units) except +
        void recurrent_gradient(int slot, int saved, int mask, int recurrent_dropout, int d_outputs, int d_last_output,
                                const vector[int] &d_final, int d_z, const vector[int] &d_initial,
                                bool zero_output_for_mask) except +
        void kernel_gradient(int slot, int x, int d_z, int mask, int input_dropout, int recurrent_dropout, int outputs,
                             int initial, int between, int d_kernel, int d_recurrent_kernel, int d_bias,
                             ptrdiff_t vectors) except +
        void input_gradient(int slot, int d_z, int factors, int d_x) except +
        void batch_sum(int x, int out, ptrdiff_t inner) except +
        void relu_gradient(int saved, int d_y, int d_x, double slope, double threshold, double most) except +
        void affine_gradient(int slot, int x, int d_y, int d_x, int terms, Axis axis) except +
        void prelu_gradient(int slot, int x, int d_y, int d_x, int terms, Axis axis) except +
        void norm_gradient(int slot, int x, int d_y, int d_x, int terms, ptrdiff_t length, Norm norm,
                           double parameter) except +
        void batch_norm(int slot, int x, int mask, const vector[int] &statistics, int factor, int out, Axis axis,
                        double epsilon) except +
        void batch_norm_gradient(int slot, int x, int mask, const vector[int] &statistics, int factor, int d_y,
                                 int terms, const vector[int] &sums, int d_x, Axis axis, double epsilon) except +
        void masking_gradient(int mask, int d_y, int d_x) except +
        void embedding_gradient(int tokens, int d_y, int d_table, ptrdiff_t units) except +
        void merge_gradient(Merge kind, int of, const vector[int] &xs, const vector[Axis] &axes,
                            const vector[int] &masks, int d_out, int d_x) except +
        void split(int x, int out, ptrdiff_t first, ptrdiff_t pieces) except +
        void dot_gradient(int d, int y, int d_x, ptrdiff_t length, ptrdiff_t x_inner, ptrdiff_t y_inner,
                          bool of_first) except +
        void take_gradient(int d, int d_x, ptrdiff_t before, ptrdiff_t stride, ptrdiff_t repeats) except +
        void pool_gradient(bool mean, int x, int d, int d_x, ptrdiff_t size, ptrdiff_t stride, bool padded) except +
        void largest_gradient(int x, int out, int d, int d_x) except +
        void total_gradient(bool mean, int d, int mask, int d_x) except +
        int timeline_of(int view)
        ptrdiff_t width_of(int view)


cdef extern from "layout.hpp" namespace "cyrnn" nogil:
    enum class Element(uint8_t):
        f32
        f64
        i8
        i16
        i32
        i64
        u8
        u16
        u32
        u64
        boolean

    cdef cppclass Source:
        const char *data
        ptrdiff_t row, time, item
        Element element
        bool direct

    cdef cppclass Tables:
        T *take[T](size_t count) except +

    cdef cppclass Target:
        char *data
        ptrdiff_t row, time

    bool indices_below(const Source &source, ptrdiff_t rows, ptrdiff_t timesteps, ptrdiff_t width, ptrdiff_t limit)

    cdef cppclass CCall "cyrnn::Call":
        const CProgram *program
        ptrdiff_t batch, nominal_batch
        const ptrdiff_t *lengths
        const Source *sources
        const Target *targets
        const Prepared *const *weights
        int threads
        bool (*interrupted)() noexcept nogil

    double work_of(const CCall &call)


cdef extern from "execution.hpp" namespace "cyrnn" nogil:
    enum class Outcome(int):
        done
        interrupted
        no_memory
        forked

    const double least_parallel_work
    Outcome execute(const CCall &call) noexcept


cdef extern from "crew.hpp" namespace "cyrnn" nogil:
    cdef cppclass Crew:
        @staticmethod
        Crew *take(int helpers)


cdef class Structure:
    cdef shared_ptr[CProgram] shared   # which a model in C may hold longer
    cdef CProgram *program             # the same
    cdef readonly object dtype         # numpy.dtype: float32 or float64
    cdef bint single, finished
    cdef list shapes                   # of each output: its axes after batch and time
    cdef vector[vector[ptrdiff_t]] axes  # of each input: its axes after batch and time
    cdef vector[bint] optional         # of each input: whether it may be absent
    cdef vector[bint] exact            # of each input: whether only arrays of the program's dtype are taken
    cdef vector[bint] turned           # of each output: whether it is filled from its last timestep on
    cdef CStorage *storage_of(self, int view) noexcept
    cdef int timeline_of(self, int view) noexcept
    cdef ptrdiff_t width_of(self, int view) except -1
    cdef int check_open(self) except -1
    cdef int checked_timeline(self, int timeline) except -1
    cdef int check_view(self, int view) except -1
    cdef int check_views(self, views, int slot=*) except -1
    cdef int check_widths(self, int x, int out) except -1
    cdef int check_alike(self, int x, int out, int slot=*) except -1
    cdef int check_beside(self, int x, int out, Kind kind=*) except -1
    cdef int check_mask(self, mask, int out) except -1
    cdef int check_timelines(self, int x, int out, bint of_x, bint of_out) except -1
    cdef int check_parts(self, int view, ptrdiff_t each) except -1
    cdef int check_back(self, int saved, int d_y, d_x, terms, int slot=*) except -1


cdef class Ops(Structure):
    pass


cdef class WaysBack(Ops):
    cdef int check_by_gate(self, factors, ptrdiff_t each, ptrdiff_t sums) except -1


cdef class Program(WaysBack):
    cdef object run_now(self, tuple slots, tuple inputs, ptrdiff_t nominal_batch, int num_threads, tuple out,
                        list drawn=*)


cdef Packed of_precision(Packed packed)
cdef Crew *take_crew(int helpers) noexcept nogil
