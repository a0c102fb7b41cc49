# The capsules of runners and models: each holds what is in it.

cdef void let_go(object capsule) noexcept:
    Py_DECREF(<object> PyCapsule_GetContext(capsule))


cdef object held_in_capsule(cyrnn_model *model):
    """A capsule that takes over one hold of the model."""
    try:
        return PyCapsule_New(model, "cyrnn_model", release)
    except MemoryError:
        c.model_release(model)
        raise


cdef void release(object capsule) noexcept:
    c.model_release(<cyrnn_model *> PyCapsule_GetPointer(capsule, "cyrnn_model"))
