/* A consumer of cyrnn.h that is a Python extension: the table, models and runners by their capsules. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cyrnn.h>

static const cyrnn_api *cyrnn;

/* step(stepper, x, output): buffers of one row, float32 */
static PyObject *step(PyObject *self, PyObject *arguments) {
    PyObject *stepper;
    Py_buffer x, output;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "Oy*w*", &stepper, &x, &output)) return NULL;
    cyrnn_runner *const runner = cyrnn_runner_of(stepper);
    cyrnn_status status = CYRNN_OK;
    if (runner) status = cyrnn->step_f32(runner, (const float *)x.buf, (float *)output.buf);
    PyBuffer_Release(&x);
    PyBuffer_Release(&output);
    if (!runner) return NULL;
    if (status != CYRNN_OK) return PyErr_Format(PyExc_RuntimeError, "%s", cyrnn->status_text(status));
    Py_RETURN_NONE;
}

/* forward(layer, timesteps, x, outputs): buffers of one row, float32; in a runner of its own */
static PyObject *forward(PyObject *self, PyObject *arguments) {
    PyObject *layer;
    Py_ssize_t timesteps;
    Py_buffer x, outputs;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "Ony*w*", &layer, &timesteps, &x, &outputs)) return NULL;
    cyrnn_model *const model = cyrnn_model_of(layer);
    cyrnn_runner *runner = NULL;
    cyrnn_status status = CYRNN_OK;
    if (model) {
        status = cyrnn->runner_create(model, 1, NULL, 0, &runner);
        cyrnn->model_release(model); /* the runner holds it */
        if (status == CYRNN_OK) status = cyrnn->forward_f32(runner, timesteps, (const float *)x.buf, (float *)outputs.buf);
        if (runner) cyrnn->runner_destroy(runner);
    }
    PyBuffer_Release(&x);
    PyBuffer_Release(&outputs);
    if (!model) return NULL;
    if (status != CYRNN_OK) return PyErr_Format(PyExc_RuntimeError, "%s", cyrnn->status_text(status));
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {{"step", step, METH_VARARGS, NULL}, {"forward", forward, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "extension", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_extension(void) {
    cyrnn = cyrnn_import();
    return cyrnn ? PyModule_Create(&module) : NULL;
}
