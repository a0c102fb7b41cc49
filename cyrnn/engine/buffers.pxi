# The buffers of arrays that `activate` and `differentiate` read and change, checked and held.

cdef struct Shape:
    int ndim
    ptrdiff_t axes[3]


cdef inline Shape shaped(int ndim, ptrdiff_t first, ptrdiff_t second=0, ptrdiff_t third=0) noexcept:
    cdef Shape shape
    shape.ndim = ndim
    shape.axes[0], shape.axes[1], shape.axes[2] = first, second, third
    return shape


cdef class _Buffers:
    """Buffers, taken one by one, released together."""

    cdef Py_buffer views[8]
    cdef const char *names[8]
    cdef bint written[8]
    cdef int count

    def __dealloc__(self):
        for index in range(self.count):
            PyBuffer_Release(&self.views[index])

    cdef Py_buffer *take(self, const char *name, array, Shape shape, char kind, bint written=False) except NULL:
        """A buffer of this shape with items of this struct format."""
        cdef Py_buffer *view = &self.views[self.count]
        PyObject_GetBuffer(array, view, PyBUF_STRIDED_RO | PyBUF_FORMAT | (PyBUF_WRITABLE if written else 0))
        self.names[self.count], self.written[self.count] = name, written
        self.count += 1
        cdef bint fits = view.ndim == shape.ndim and is_of_kind(view.format, kind)
        cdef int axis
        for axis in range(view.ndim if fits else 0):
            fits = fits and shape.axes[axis] == view.shape[axis]
            fits = fits and (view.shape[axis] < 2 or view.strides[axis] % view.itemsize == 0)
        if not fits or <uintptr_t> view.buf % <uintptr_t> view.itemsize != 0:
            expected = tuple(shape.axes[axis] for axis in range(shape.ndim))
            got = tuple(view.shape[axis] for axis in range(view.ndim))
            raise ValueError(f"{name.decode()} must be an aligned array of shape {expected} and format {chr(kind)!r}, "
                             f"got shape {got} and format {view.format!r}")
        return view

    cdef void *take_contiguous(self, const char *name, array, Shape shape, char kind, bint written=False) except? NULL:
        """The address of a C-contiguous array, or null for None."""
        if array is None:
            return NULL
        cdef Py_buffer *view = self.take(name, array, shape, kind, written)
        check_contiguous(name, view, 0)
        return view.buf

    cdef int check_apart(self) except -1:
        """ValueError where an array to fill shares memory with another one."""
        cdef int i, j
        for i in range(self.count):
            for j in range(i):
                if (self.written[i] or self.written[j]) and meet(&self.views[i], &self.views[j]):
                    self.check_elements_apart(i, j)
        return 0

    cdef int check_elements_apart(self, int i, int j) except -1:
        """The same for two arrays that lie in the same part of the memory, perhaps between each other's elements."""
        cdef bytes first = self.names[j], second = self.names[i]
        try:
            shared = numpy.shares_memory(<object> self.views[i].obj, <object> self.views[j].obj, max_work=10_000)
        except numpy.exceptions.TooHardError:
            shared = True
        if shared:
            raise ValueError(f"{second.decode()} must have memory of its own, but shares some with {first.decode()}")
        return 0


cdef bint meet(const Py_buffer *a, const Py_buffer *b) noexcept:
    """Whether the stretches of memory from the first to the last byte of two arrays overlap."""
    cdef uintptr_t a_first, a_end, b_first, b_end
    extent(a, &a_first, &a_end)
    extent(b, &b_first, &b_end)
    return a_first < b_end and b_first < a_end


cdef void extent(const Py_buffer *view, uintptr_t *first, uintptr_t *end) noexcept:
    """From where to where an array's bytes lie; the same place twice for none."""
    cdef int axis
    first[0] = <uintptr_t> view.buf
    end[0] = first[0] + view.itemsize
    for axis in range(view.ndim):
        if view.shape[axis] == 0:
            first[0] = end[0] = 0
            return
        if view.strides[axis] < 0:
            first[0] += view.strides[axis] * (view.shape[axis] - 1)
        else:
            end[0] += view.strides[axis] * (view.shape[axis] - 1)


cdef int check_contiguous(const char *name, const Py_buffer *view, int first_axis) except -1:
    cdef ptrdiff_t expected = view.itemsize
    cdef int axis
    for axis in reversed(range(first_axis, view.ndim)):
        if view.shape[axis] > 1 and view.strides[axis] != expected:
            raise ValueError(
                f"{name.decode()} must be {'contiguous along its last axis' if first_axis else 'C-contiguous'}")
        expected *= view.shape[axis]
    return 0
