/* cyrnn from C: a layer's trained weights, and runners that carry its state from one timestep to the next.
 *
 * In Python, `stepper = layer.stepper(batch_size)` makes a model (the weights, which never change) and a runner (the
 * state of one stream, and its scratch memory). From C, get at them with `cyrnn_model_of(stepper)` and
 * `cyrnn_runner_of(stepper)`, or hand over the integers `stepper.model_address` and `stepper.address`; they live as
 * long as the stepper, or until you release what you retained. The functions are in one table: `cyrnn_import()`.
 *
 *     const cyrnn_api *cyrnn = cyrnn_import();
 *     cyrnn_runner *runner;
 *     if (cyrnn->runner_create(model, 1, NULL, 0, &runner) == CYRNN_OK) {
 *         cyrnn->step_f32(runner, x, output);
 *         cyrnn->runner_destroy(runner);
 *     }
 *
 * step, forward and the functions for states neither allocate, nor lock, nor call the system or Python, where
 * cyrnn_info.real_time says so; any thread may call them, also one that Python has never seen. A runner serves one
 * thread at a time (another gets CYRNN_BUSY, and so does a child that was forked meanwhile, for ever); runners of one
 * model are independent of each other. The pages of a runner are there from the beginning; those of code and stack are
 * when a first step has been made. In a thread that flushes denormals to zero, tiny numbers become zeros here too, and
 * the bits may then differ from Python's.
 *
 * Arrays are row-major and contiguous. The ABI: within one CYRNN_ABI_VERSION, structs only grow at their end, which
 * struct_size tells, and codes keep their meaning.
 */
#ifndef CYRNN_H
#define CYRNN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CYRNN_ABI_VERSION 1
#define CYRNN_API_CAPSULE "cyrnn.capi.api"

typedef struct cyrnn_model cyrnn_model;
typedef struct cyrnn_runner cyrnn_runner;

typedef int32_t cyrnn_status;
enum { /* a cyrnn_status; later versions may have more of them */
    CYRNN_OK = 0,
    CYRNN_NULL_ARGUMENT = 1,
    CYRNN_WRONG_DTYPE = 2,     /* an f32 function on a float64 model, or the other way round */
    CYRNN_OUT_OF_RANGE = 3,    /* a batch, row, layer or number of timesteps */
    CYRNN_MEMORY_TOO_SMALL = 4, /* less than runner_size says */
    CYRNN_NO_MEMORY = 5,
    CYRNN_BUSY = 6,            /* another thread is using the runner */
    CYRNN_WRONG_STRUCT = 7,    /* struct_size is not set to the size of the struct */
    CYRNN_OVERLAP = 8          /* x and outputs share memory */
};

enum { CYRNN_FLOAT32 = 0, CYRNN_FLOAT64 = 1 }; /* cyrnn_info.dtype */

typedef struct cyrnn_info {
    size_t struct_size; /* set it to sizeof(cyrnn_info) before the call; after it: how many bytes are filled in */
    int64_t features;   /* of an input row */
    int64_t units;      /* of an output row: those of the last layer */
    int32_t dtype;
    int32_t layers;     /* 1, or the cells of a stack */
    int32_t real_time;  /* 1: neither locks nor allocations in a step; 0: a BLAS is called, which may do either */
    int32_t reserved;
} cyrnn_info;

typedef struct cyrnn_api {
    size_t struct_size;
    uint32_t abi_version;
    uint32_t reserved;

    const char *(*status_text)(cyrnn_status status); /* never null */

    cyrnn_status (*model_info)(const cyrnn_model *model, cyrnn_info *info);
    cyrnn_status (*layer_units)(const cyrnn_model *model, int32_t layer, int64_t *units);
    cyrnn_status (*model_retain)(cyrnn_model *model);  /* one more holder; */
    cyrnn_status (*model_release)(cyrnn_model *model); /* the last one frees it */

    /* Bytes that a runner for `batch` rows takes: state, and scratch for step and forward. */
    cyrnn_status (*runner_size)(const cyrnn_model *model, int64_t batch, size_t *bytes);
    /* A runner, its states zeros. It lives in `memory` of `bytes` bytes, or with NULL in memory of its own. It holds the
     * model until it is destroyed, once; `memory` is the caller's to free, after that. That of a stepper is the
     * stepper's own: it destroys it. Memory, x and outputs may have any alignment. */
    cyrnn_status (*runner_create)(cyrnn_model *model, int64_t batch, void *memory, size_t bytes, cyrnn_runner **runner);
    cyrnn_status (*runner_destroy)(cyrnn_runner *runner); /* CYRNN_BUSY, and it lives on, while a thread uses it */
    cyrnn_status (*runner_batch)(const cyrnn_runner *runner, int64_t *batch);

    /* One timestep: x (batch, features), output (batch, units); they may share memory: x is read first. */
    cyrnn_status (*step_f32)(cyrnn_runner *runner, const float *x, float *output);
    cyrnn_status (*step_f64)(cyrnn_runner *runner, const double *x, double *output);

    /* Many, from the runner's state on: x (batch, timesteps, features), outputs (batch, timesteps, units) or NULL. The
     * outputs have the bits of as many steps. CYRNN_OVERLAP, and no step is made, if x and outputs share memory. */
    cyrnn_status (*forward_f32)(cyrnn_runner *runner, int64_t timesteps, const float *x, float *outputs);
    cyrnn_status (*forward_f64)(cyrnn_runner *runner, int64_t timesteps, const double *x, double *outputs);

    /* A layer's state of `rows` rows from first_row on: (rows, units of the layer). NULL sets zeros. */
    cyrnn_status (*get_state_f32)(cyrnn_runner *runner, int32_t layer, int64_t first_row, int64_t rows, float *state);
    cyrnn_status (*get_state_f64)(cyrnn_runner *runner, int32_t layer, int64_t first_row, int64_t rows, double *state);
    cyrnn_status (*set_state_f32)(cyrnn_runner *runner, int32_t layer, int64_t first_row, int64_t rows, const float *state);
    cyrnn_status (*set_state_f64)(cyrnn_runner *runner, int32_t layer, int64_t first_row, int64_t rows, const double *state);
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

static inline void *cyrnn_pointer_of(PyObject *stepper, const char *attribute, const char *name) {
    PyObject *const capsule = PyObject_GetAttrString(stepper, attribute);
    void *const pointer = capsule ? PyCapsule_GetPointer(capsule, name) : NULL;
    Py_XDECREF(capsule);
    return pointer;
}

/* Those of a stepper, which must stay alive while they are used. */
static inline cyrnn_runner *cyrnn_runner_of(PyObject *stepper) {
    return (cyrnn_runner *)cyrnn_pointer_of(stepper, "__cyrnn_runner__", "cyrnn_runner");
}
static inline cyrnn_model *cyrnn_model_of(PyObject *stepper) {
    return (cyrnn_model *)cyrnn_pointer_of(stepper, "__cyrnn_model__", "cyrnn_model");
}

#endif
