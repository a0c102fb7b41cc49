# The declarations of cyrnn.h for Cython; the comments are there.
from libc.stdint cimport int32_t, int64_t


cdef extern from "cyrnn.h" nogil:
    ctypedef int32_t cyrnn_status

    enum:
        CYRNN_OK
        CYRNN_NULL_ARGUMENT
        CYRNN_WRONG_DTYPE
        CYRNN_OUT_OF_RANGE
        CYRNN_MEMORY_TOO_SMALL
        CYRNN_NO_MEMORY
        CYRNN_BUSY
        CYRNN_WRONG_STRUCT
        CYRNN_OVERLAP
        CYRNN_WRONG_PORTS
        CYRNN_WRONG_TOKEN
        CYRNN_NO_MASK

    enum:
        CYRNN_ABI_VERSION
        CYRNN_FLOAT32
        CYRNN_FLOAT64
        CYRNN_NUMBER
        CYRNN_TOKEN
        CYRNN_MASK

    ctypedef struct cyrnn_model:
        pass

    ctypedef struct cyrnn_runner:
        pass

    ctypedef struct cyrnn_info:
        size_t struct_size
        int64_t features
        int64_t units
        int32_t dtype
        int32_t inputs
        int32_t outputs
        int32_t states
        int32_t takes_lengths
        int32_t real_time

    ctypedef struct cyrnn_port:
        size_t struct_size
        int32_t kind
        int32_t timed
        int64_t width
        const char *name

    ctypedef struct cyrnn_api:
        size_t struct_size
        int abi_version
        const char *(*status_text)(cyrnn_status status) noexcept nogil
        cyrnn_status (*model_info)(const cyrnn_model *model, cyrnn_info *info) noexcept nogil
        cyrnn_status (*input_info)(const cyrnn_model *model, int32_t index, cyrnn_port *port) noexcept nogil
        cyrnn_status (*output_info)(const cyrnn_model *model, int32_t index, cyrnn_port *port) noexcept nogil
        cyrnn_status (*state_info)(const cyrnn_model *model, int32_t index, cyrnn_port *port) noexcept nogil
        cyrnn_status (*model_retain)(cyrnn_model *model) noexcept nogil
        cyrnn_status (*model_release)(cyrnn_model *model) noexcept nogil
        cyrnn_status (*runner_size)(const cyrnn_model *model, int64_t batch, size_t *size) noexcept nogil
        cyrnn_status (*runner_create)(
            cyrnn_model *model, int64_t batch, void *memory, size_t size, cyrnn_runner **runner) noexcept nogil
        cyrnn_status (*runner_destroy)(cyrnn_runner *runner) noexcept nogil
        cyrnn_status (*runner_batch)(const cyrnn_runner *runner, int64_t *batch) noexcept nogil
        cyrnn_status (*step)(
            cyrnn_runner *runner, const void *const *inputs, void *const *outputs) noexcept nogil
        cyrnn_status (*step_f32)(cyrnn_runner *runner, const float *x, float *output) noexcept nogil
        cyrnn_status (*step_f64)(cyrnn_runner *runner, const double *x, double *output) noexcept nogil
        cyrnn_status (*step_tokens_f32)(cyrnn_runner *runner, const int64_t *tokens, float *output) noexcept nogil
        cyrnn_status (*step_tokens_f64)(cyrnn_runner *runner, const int64_t *tokens, double *output) noexcept nogil
        cyrnn_status (*forward)(
            cyrnn_runner *runner, int64_t timesteps, const int64_t *lengths, const void *const *inputs,
            void *const *outputs) noexcept nogil
        cyrnn_status (*forward_f32)(
            cyrnn_runner *runner, int64_t timesteps, const float *x, float *outputs) noexcept nogil
        cyrnn_status (*forward_f64)(
            cyrnn_runner *runner, int64_t timesteps, const double *x, double *outputs) noexcept nogil
        cyrnn_status (*forward_tokens_f32)(
            cyrnn_runner *runner, int64_t timesteps, const int64_t *tokens, float *outputs) noexcept nogil
        cyrnn_status (*forward_tokens_f64)(
            cyrnn_runner *runner, int64_t timesteps, const int64_t *tokens, double *outputs) noexcept nogil
        cyrnn_status (*get_state_f32)(
            cyrnn_runner *runner, int32_t index, int64_t first_row, int64_t rows, float *state) noexcept nogil
        cyrnn_status (*get_state_f64)(
            cyrnn_runner *runner, int32_t index, int64_t first_row, int64_t rows, double *state) noexcept nogil
        cyrnn_status (*set_state_f32)(
            cyrnn_runner *runner, int32_t index, int64_t first_row, int64_t rows, const float *state) noexcept nogil
        cyrnn_status (*set_state_f64)(
            cyrnn_runner *runner, int32_t index, int64_t first_row, int64_t rows, const double *state) noexcept nogil
        cyrnn_status (*reset)(cyrnn_runner *runner) noexcept nogil


cdef extern from "cyrnn.h":
    const cyrnn_api *cyrnn_import() except NULL
    cyrnn_runner *cyrnn_runner_of(object stepper) except NULL
    cyrnn_model *cyrnn_model_of(object layer) except NULL
