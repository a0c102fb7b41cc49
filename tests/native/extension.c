/* A consumer of cyrnn.h that is a Python extension: the table by its capsule, the runner by a stepper's. */
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

static PyMethodDef methods[] = {{"step", step, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "extension", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_extension(void) {
    cyrnn = cyrnn_import();
    return cyrnn ? PyModule_Create(&module) : NULL;
}
