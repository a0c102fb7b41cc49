# Between arrays and what a step computes with: weights that lie flat, and rows that are gathered into batches.

cdef extern from "packing.hpp" namespace "cyrnn" nogil:
    cdef cppclass Stretch:
        pass

    void find_stretches[Index](const Index *index, ptrdiff_t count, vector[Stretch] &found) except +

    cdef cppclass Followers:
        vector[Stretch] kernels, kernels_t, panels, bias, scale, offset, gain
        void fill[T](const T *flat, const Weights[T] &weights)
        void fill_vectors[T](const T *flat, const Prepared &vectors)


cdef extern from "rows.hpp" namespace "cyrnn" nogil:
    void gather_converted[To](const Source &source, const int64_t *rows, ptrdiff_t count, ptrdiff_t width, To *to)
    void gather_bytes(const char *start, ptrdiff_t stride, const int64_t *rows, ptrdiff_t count, size_t size, char *to)


@cython.final
cdef class Refill:
    """The weights of a plan, a table or vectors of its own, which follow from flat ones.

    Parameters
    ----------
    packed : Plan, Table or Vectors
        Only the owner of this object uses it: it changes with each `fill`.
    kernel, recurrent_kernel, bias : array of integers as wide as the dtype, or None
        For each element where in the flat weights it is, 1 for the first; 0 for one that does not follow them.
    scale, offset, gain : likewise
        Of vectors.
    """

    cdef readonly Packed packed
    cdef Followers followers
    cdef vector[Followers] more  # of the plan's other products

    def __init__(self, Packed packed not None, kernel=None, recurrent_kernel=None, bias=None, *, scale=None,
                 offset=None, gain=None):
        self.packed = packed
        packed.prepared.get().let_change()
        if isinstance(packed, Vectors):
            find(scale, self.followers.scale, packed.single)
            find(offset, self.followers.offset, packed.single)
            find(gain, self.followers.gain, packed.single)
            return
        if not isinstance(packed, Plan):
            find((<Table?> packed).indices(kernel), self.followers.kernels, packed.single)
            return
        whole, others = packed.laid_out(kernel, recurrent_kernel, bias)
        find_followers(whole, self.followers, packed.single)
        self.more.resize(len(others))
        for number, other in enumerate(others):
            find_followers(other, self.more[<size_t> number], packed.single)

    cpdef fill(self, numpy.ndarray flat):
        """Take the weights of this array (size,), of the dtype."""
        cdef Prepared *prepared = self.packed.prepared.get()
        cdef size_t number
        if self.packed.single:
            self.followers.fill[float](<const float *> numpy.PyArray_DATA(flat), prepared.f32)
            self.followers.fill_vectors[float](<const float *> numpy.PyArray_DATA(flat), prepared[0])
            for number in range(self.more.size()):
                self.more[number].fill[float](<const float *> numpy.PyArray_DATA(flat), prepared.more_f32[number])
            prepared.fill_tiles()
        else:
            self.followers.fill[double](<const double *> numpy.PyArray_DATA(flat), prepared.f64)
            self.followers.fill_vectors[double](<const double *> numpy.PyArray_DATA(flat), prepared[0])
            for number in range(self.more.size()):
                self.more[number].fill[double](<const double *> numpy.PyArray_DATA(flat), prepared.more_f64[number])


cdef int find_followers(laid_out, Followers &followers, bint single) except -1:
    find(laid_out.kernels, followers.kernels, single)
    find(laid_out.kernels_t, followers.kernels_t, single)
    find(laid_out.panels, followers.panels, single)
    find(laid_out.bias, followers.bias, single)
    return 0


cdef int find(index, vector[Stretch] &found, bint single) except -1:
    if index is None:
        return 0
    cdef numpy.ndarray array = numpy.ascontiguousarray(index, numpy.int32 if single else numpy.int64)
    if single:
        find_stretches[int32_t](<const int32_t *> numpy.PyArray_DATA(array), numpy.PyArray_SIZE(array), found)
    else:
        find_stretches[int64_t](<const int64_t *> numpy.PyArray_DATA(array), numpy.PyArray_SIZE(array), found)
    return 0


def gather(numpy.ndarray source not None, numpy.ndarray rows not None, numpy.ndarray out not None):
    """out := these rows of the source, in the dtype of out. Whether that could be done: False for other layouts.

    Parameters
    ----------
    source : array (count, ...), any numbers
    rows : array of int64, contiguous, below count
    out : array (len(rows), ...), contiguous
    """
    cdef Source from_
    cdef int axis, ndim = numpy.PyArray_NDIM(source)
    cdef ptrdiff_t width = 1, count = numpy.PyArray_SIZE(rows), item = numpy.PyArray_ITEMSIZE(source), step = item
    cdef numpy.npy_intp *shape = numpy.PyArray_DIMS(source)
    cdef numpy.npy_intp *strides = numpy.PyArray_STRIDES(source)
    if ndim < 1 or not element_of(source, &from_.element) or not PyArray_ISNOTSWAPPED(source):
        return False
    for axis in range(ndim - 1, 0, -1):  # the last axes must be like one
        if shape[axis] == 1:
            continue
        if width == 1:
            step = strides[axis]
        elif strides[axis] != step * width:
            return False
        width *= shape[axis]
    if numpy.PyArray_SIZE(out) != width * count:
        return False
    cdef const int64_t *order = <const int64_t *> numpy.PyArray_DATA(rows)
    from_.data, from_.row, from_.time, from_.item = <const char *> numpy.PyArray_DATA(source), strides[0], 0, step
    if numpy.PyArray_TYPE(source) == numpy.PyArray_TYPE(out) and (width == 1 or step == item):
        gather_bytes(from_.data, from_.row, order, count, width * item, <char *> numpy.PyArray_DATA(out))
    elif numpy.PyArray_TYPE(out) == numpy.NPY_FLOAT32:
        gather_converted[float](from_, order, count, width, <float *> numpy.PyArray_DATA(out))
    elif numpy.PyArray_TYPE(out) == numpy.NPY_FLOAT64:
        gather_converted[double](from_, order, count, width, <double *> numpy.PyArray_DATA(out))
    elif numpy.PyArray_TYPE(out) == numpy.NPY_INT64:
        gather_converted[int64_t](from_, order, count, width, <int64_t *> numpy.PyArray_DATA(out))
    else:
        return False
    return True
