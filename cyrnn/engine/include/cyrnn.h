/* cyrnn from C: the trained weights of a layer or a model, and runners that carry its states from one timestep to the next.
 *
 * A model (the weights, which never change) comes from Python: from a layer or a model of layers, or from a stepper,
 * `stepper = layer.stepper(batch_size)`, which has a runner too (the states of one stream, and scratch memory). In C they
 * come from `cyrnn_model_of(object)`, which you release, and `cyrnn_runner_of(stepper)`; or as the integers
 * `stepper.model_address` and `stepper.address`, which live as long as the stepper, or until you release what you retained.
 * The functions are in one table: `cyrnn_import()`.
 *
 *     const cyrnn_api *cyrnn = cyrnn_import();
 *     cyrnn_runner *runner;
 *     if (cyrnn->runner_create(model, 1, NULL, 0, &runner) == CYRNN_OK) {
 *         cyrnn->step_f32(runner, x, output);
 *         cyrnn->runner_destroy(runner);
 *     }
 *
 * step, forward and the functions for states neither allocate, nor lock, nor call the system or Python, where
 * cyrnn_info.real_time says so. Any thread may call them, also one that Python has never seen. A runner serves one
 * thread at a time (another gets CYRNN_BUSY, and so does a child that was forked meanwhile, permanently); runners of one
 * model are independent of each other. The pages of a runner are there from the beginning; those of code and stack are
 * there after a first step. In a thread that flushes denormals to zero, tiny numbers become zeros here too, and
 * the bits may then differ from Python's.
 *
 * Arrays are row-major and contiguous. The ABI: within one CYRNN_ABI_VERSION, structs only grow at their end, which
 * struct_size says, and codes keep their meaning.
 */
#ifndef CYRNN_H
#define CYRNN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CYRNN_ABI_VERSION 2
#define CYRNN_API_CAPSULE "cyrnn.capi.api"

typedef struct cyrnn_model cyrnn_model;
typedef struct cyrnn_runner cyrnn_runner;

typedef int32_t cyrnn_status;
enum { /* a cyrnn_status; later versions may have more of them */
    CYRNN_OK = 0,
    CYRNN_NULL_ARGUMENT = 1,
    CYRNN_WRONG_DTYPE = 2,     /* an f32 function on a float64 model, or the other way round */
    CYRNN_OUT_OF_RANGE = 3,    /* a batch, row, index, length or number of timesteps */
    CYRNN_MEMORY_TOO_SMALL = 4, /* less than runner_size says */
    CYRNN_NO_MEMORY = 5,
    CYRNN_BUSY = 6,            /* another thread is using the runner */
    CYRNN_WRONG_STRUCT = 7,    /* struct_size is not set to the size of the struct */
    CYRNN_OVERLAP = 8,         /* inputs and outputs of forward share memory, or two outputs do */
    CYRNN_WRONG_PORTS = 9,     /* a function for one input and one output, and the model has others */
    CYRNN_WRONG_TOKEN = 10,    /* a token that is not in the model's table */
    CYRNN_NO_MASK = 11         /* lengths for a model that takes no mask */
};

enum { CYRNN_FLOAT32 = 0, CYRNN_FLOAT64 = 1 }; /* cyrnn_info.dtype */

/* cyrnn_port.kind: float or double, as cyrnn_info.dtype says; int64_t; uint8_t, 1 for a timestep that counts and 0 for others */
enum { CYRNN_NUMBER = 0, CYRNN_TOKEN = 1, CYRNN_MASK = 2 };

typedef struct cyrnn_info {
    size_t struct_size; /* set it to sizeof(cyrnn_info) before the call; after it: how many bytes are filled in */
    int64_t features;   /* the width of the first input */
    int64_t units;      /* the width of the first output */
    int32_t dtype;
    int32_t inputs;     /* how many, at most 64; */
    int32_t outputs;    /* the same */
    int32_t states;
    int32_t takes_lengths; /* 1: forward takes them */
    int32_t real_time;  /* 1: neither locks nor allocations in a step; 0: a BLAS is called, which may do either */
} cyrnn_info;

typedef struct cyrnn_port { /* an input, an output or a state */
    size_t struct_size; /* as in cyrnn_info */
    int32_t kind;
    int32_t timed;      /* 1: it has a value for each timestep; 0: an input that has one for all of them */
    int64_t width;      /* elements of a row, or of one timestep of it: all axes after these, folded */
    const char *name;   /* of the input, of the output, or of the layer with the state; it lives as long as the model */
} cyrnn_port;

typedef struct cyrnn_api {
    size_t struct_size;
    uint32_t abi_version;
    uint32_t reserved;

    const char *(*status_text)(cyrnn_status status); /* never null */

    /* Inputs, outputs and states count from 0, in the order of the model's. A layer with several states, or a stack, has
     * them one after another. */
    cyrnn_status (*model_info)(const cyrnn_model *model, cyrnn_info *info);
    cyrnn_status (*input_info)(const cyrnn_model *model, int32_t index, cyrnn_port *port);
    cyrnn_status (*output_info)(const cyrnn_model *model, int32_t index, cyrnn_port *port);
    cyrnn_status (*state_info)(const cyrnn_model *model, int32_t index, cyrnn_port *port);
    cyrnn_status (*model_retain)(cyrnn_model *model);  /* one more holder; */
    cyrnn_status (*model_release)(cyrnn_model *model); /* the last one frees it */

    /* Bytes that a runner for `batch` rows takes: states, and scratch for step and forward. */
    cyrnn_status (*runner_size)(const cyrnn_model *model, int64_t batch, size_t *bytes);
    /* A runner, its states zeros. It lives in `memory` of `bytes` bytes, or with NULL in memory that it allocates. It
     * holds the model until it is destroyed, once; `memory` is the caller's to free, after that. A stepper destroys its
     * runner itself. Memory, inputs and outputs may have any alignment. */
    cyrnn_status (*runner_create)(cyrnn_model *model, int64_t batch, void *memory, size_t bytes, cyrnn_runner **runner);
    cyrnn_status (*runner_destroy)(cyrnn_runner *runner); /* CYRNN_BUSY, and it lives on, while a thread uses it */
    cyrnn_status (*runner_batch)(const cyrnn_runner *runner, int64_t *batch);

    /* One timestep: all inputs (batch, width), and the outputs (batch, width), of which those that are NULL are not
     * computed. An output may share memory with inputs: these are read first. What a model has once for a sequence is
     * here what it would be if the sequence ended at this timestep. */
    cyrnn_status (*step)(cyrnn_runner *runner, const void *const *inputs, void *const *outputs);
    /* The same for a model of one input and one output. */
    cyrnn_status (*step_f32)(cyrnn_runner *runner, const float *x, float *output);
    cyrnn_status (*step_f64)(cyrnn_runner *runner, const double *x, double *output);
    cyrnn_status (*step_tokens_f32)(cyrnn_runner *runner, const int64_t *tokens, float *output);
    cyrnn_status (*step_tokens_f64)(cyrnn_runner *runner, const int64_t *tokens, double *output);

    /* Many, from the runner's states on: inputs (batch, timesteps, width), but (batch, width) for those that are not
     * timed; outputs (batch, timesteps, width), or NULL, one or all. The outputs have the bits of as many steps.
     * CYRNN_OVERLAP, and no step is made, if an output shares memory with an input or another output.
     * `lengths` (batch), or NULL: of each row the timesteps that count. Those from there on are masked, as by the mask
     * of a call: the states stay as they are, and what a layer does with masked timesteps is done. */
    cyrnn_status (*forward)(cyrnn_runner *runner, int64_t timesteps, const int64_t *lengths, const void *const *inputs,
                            void *const *outputs);
    /* The same for a model of one input and one output, without lengths. */
    cyrnn_status (*forward_f32)(cyrnn_runner *runner, int64_t timesteps, const float *x, float *outputs);
    cyrnn_status (*forward_f64)(cyrnn_runner *runner, int64_t timesteps, const double *x, double *outputs);
    cyrnn_status (*forward_tokens_f32)(cyrnn_runner *runner, int64_t timesteps, const int64_t *tokens, float *outputs);
    cyrnn_status (*forward_tokens_f64)(cyrnn_runner *runner, int64_t timesteps, const int64_t *tokens, double *outputs);

    /* A state of `rows` rows from first_row on: (rows, width of the state). NULL sets zeros. Rows that are set begin anew:
     * at masked timesteps their outputs are zeros until there is one that counts. */
    cyrnn_status (*get_state_f32)(cyrnn_runner *runner, int32_t index, int64_t first_row, int64_t rows, float *state);
    cyrnn_status (*get_state_f64)(cyrnn_runner *runner, int32_t index, int64_t first_row, int64_t rows, double *state);
    cyrnn_status (*set_state_f32)(cyrnn_runner *runner, int32_t index, int64_t first_row, int64_t rows, const float *state);
    cyrnn_status (*set_state_f64)(cyrnn_runner *runner, int32_t index, int64_t first_row, int64_t rows, const double *state);
    cyrnn_status (*reset)(cyrnn_runner *runner); /* all states to zeros */
} cyrnn_api;

#ifdef __cplusplus
}
#endif

#endif

#if defined(Py_PYTHON_H) && !defined(CYRNN_H_PYTHON) /* after Python.h: these need the GIL, return NULL with an exception set, and are called once */

#define CYRNN_H_PYTHON

static inline const cyrnn_api *cyrnn_import(void) {
    const cyrnn_api *api = (const cyrnn_api *)PyCapsule_Import(CYRNN_API_CAPSULE, 0);
    if (api && (api->abi_version != CYRNN_ABI_VERSION || api->struct_size < sizeof(cyrnn_api))) {
        PyErr_Format(PyExc_ImportError, "cyrnn has ABI %u of %zu bytes; this was compiled for %d of %zu", (unsigned)api->abi_version,
                     api->struct_size, CYRNN_ABI_VERSION, sizeof(cyrnn_api));
        return NULL;
    }
    return api;
}

/* That of a stepper, which must stay alive while it is used. */
static inline cyrnn_runner *cyrnn_runner_of(PyObject *stepper) {
    PyObject *const capsule = PyObject_GetAttrString(stepper, "__cyrnn_runner__");
    cyrnn_runner *const runner = capsule ? (cyrnn_runner *)PyCapsule_GetPointer(capsule, "cyrnn_runner") : NULL;
    Py_XDECREF(capsule);
    return runner;
}
/* That of a layer, a model of layers, or a stepper. You hold it, and release it when you need it no more. */
static inline cyrnn_model *cyrnn_model_of(PyObject *object) {
    const cyrnn_api *const api = cyrnn_import();
    PyObject *const capsule = api ? PyObject_GetAttrString(object, "__cyrnn_model__") : NULL;
    cyrnn_model *const model = capsule ? (cyrnn_model *)PyCapsule_GetPointer(capsule, "cyrnn_model") : NULL;
    if (model) api->model_retain(model);
    Py_XDECREF(capsule);
    return model;
}

#endif
