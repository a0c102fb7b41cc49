# Arrays of callers become pointers: what a program reads, and the arrays that it fills.

cdef bint take(Program self, int index, object array, Source *source, ptrdiff_t *lengths, ptrdiff_t *batch) except -1:
    """Whether an array is plain, and fits an input; then `source` is where it lies."""
    cdef CStorage *storage = &self.program.storages[self.program.inputs[index]]
    cdef const vector[ptrdiff_t] *axes = &self.axes[index]
    source.data = NULL
    if array is None:
        return self.optional[index]
    if type(array) is not numpy.ndarray:
        return False
    cdef numpy.ndarray a = <numpy.ndarray> array
    cdef int ndim = numpy.PyArray_NDIM(a), axis, before = 1 if storage.timeline < 0 else 2
    cdef numpy.npy_intp *shape = numpy.PyArray_DIMS(a)
    cdef numpy.npy_intp *strides = numpy.PyArray_STRIDES(a)
    cdef ptrdiff_t width = 1, item = numpy.PyArray_ITEMSIZE(a), step = item
    if ndim != before + <int> axes.size() or not element_of(a, &source.element) or not PyArray_ISNOTSWAPPED(a):
        return False
    if batch[0] < 0:
        batch[0] = shape[0]
    if batch[0] != shape[0]:
        return False
    if before == 2:
        if lengths[storage.timeline] < 0:
            lengths[storage.timeline] = shape[1]
        if lengths[storage.timeline] != shape[1]:
            return False
    for axis in range(ndim - 1, before - 1, -1):  # the last axes must be like one
        if shape[axis] != axes[0][axis - before]:
            return False
        if shape[axis] == 1:
            continue
        if width == 1:
            step = strides[axis]
        elif strides[axis] != step * width:
            return False
        width *= shape[axis]
    source.data = <const char *> numpy.PyArray_DATA(a)
    source.row = strides[0]
    source.time = strides[1] if before == 2 else 0
    source.item = step
    if storage.kind == Kind.mask:
        source.direct = source.element == Element.boolean and width == 1
        return source.element == Element.boolean
    if storage.kind == Kind.token and (source.element == Element.f32 or source.element == Element.f64):
        return False  # a fraction is not masked, and its token is perhaps
    cdef ptrdiff_t wanted = 8 if storage.kind == Kind.token or not self.single else 4
    cdef Element element = (
        Element.i64 if storage.kind == Kind.token else Element.f32 if self.single else Element.f64)
    if self.exact[index] and source.element != element:
        return False
    source.direct = (source.element == element and (width == 1 or step == wanted) and PyArray_ISALIGNED(a)
                     and source.row % wanted == 0 and source.time % wanted == 0)
    return True


cdef bint tokens_fit(Program self, const CCall &call) noexcept:
    cdef size_t i
    cdef int index
    cdef const CStorage *storage
    cdef const Prepared *table
    cdef ptrdiff_t timesteps, rows
    for i in range(self.program.tokens.size()):
        index = self.program.tokens[i].first
        storage = &self.program.storages[self.program.inputs[index]]
        table = call.weights[self.program.tokens[i].second]
        rows = table.f32.features if self.single else table.f64.features
        if call.sources[index].data == NULL:  # zeros
            if rows < 1:
                return False
            continue
        timesteps = 1 if storage.timeline < 0 else call.lengths[storage.timeline]
        if not indices_below(call.sources[index], call.batch, timesteps, storage.width, rows):
            return False
    return True


cdef object made(Program self, Target *targets, const ptrdiff_t *lengths, ptrdiff_t batch, tuple out):
    """The arrays for the outputs; `targets` is where they lie."""
    cdef numpy.npy_intp axes[most_axes]
    cdef int index, ndim, kind
    cdef const CStorage *storage
    cdef ptrdiff_t item
    cdef numpy.ndarray array
    cdef int count = <int> self.program.outputs.size()
    cdef list arrays = None if count == 1 else []
    for index in range(count):
        storage = &self.program.storages[self.program.outputs[index]]
        ndim = 0
        if not storage.once:
            axes[0] = batch
            ndim = 1
        if storage.timeline >= 0:
            axes[1] = lengths[storage.timeline]
            ndim = 2
        for length in <tuple> (<list> self.shapes)[index]:
            axes[ndim] = length
            ndim += 1
        kind = (numpy.NPY_BOOL if storage.kind == Kind.mask else numpy.NPY_INT64 if storage.kind == Kind.token
                else numpy.NPY_FLOAT32 if self.single else numpy.NPY_FLOAT64)
        if out is None or out[index] is None:
            array = numpy.PyArray_EMPTY(ndim, axes, kind, 0)
        else:
            array = checked_out(out[index], ndim, axes, kind, 0 if storage.once else 1 if storage.timeline < 0 else 2)
        item = numpy.PyArray_ITEMSIZE(array)
        targets[index].data = <char *> numpy.PyArray_DATA(array)
        targets[index].row = 0 if storage.once else numpy.PyArray_STRIDES(array)[0] // item
        targets[index].time = numpy.PyArray_STRIDES(array)[1] // item if storage.timeline >= 0 else 0
        if self.turned[index]:
            targets[index].data += (lengths[storage.timeline] - 1) * targets[index].time * item
            targets[index].time = -targets[index].time
        if arrays is None:
            return array
        arrays.append(array)
    return tuple(arrays)


cdef void clear_sums(Program self, const Target *targets) noexcept:
    """The sums over a batch without rows."""
    cdef int index
    cdef const CStorage *storage
    for index in range(<int> self.program.outputs.size()):
        storage = &self.program.storages[self.program.outputs[index]]
        if storage.once:
            memset(targets[index].data, 0, storage.width * (4 if self.single else 8))


cdef numpy.ndarray checked_out(object given, int ndim, const numpy.npy_intp *axes, int kind, int before):
    """An array to fill, C-contiguous after its first axes. Raises ValueError for another shape, type or layout."""
    cdef int axis
    cdef ptrdiff_t expected
    cdef bint fits = type(given) is numpy.ndarray, strided
    if fits:
        strided = numpy.PyArray_SIZE(given) > 0  # else the strides lead nowhere, and NumPy has any
        fits = (numpy.PyArray_NDIM(given) == ndim and numpy.PyArray_TYPE(given) == kind and PyArray_ISWRITEABLE(given)
                and PyArray_ISALIGNED(given) and PyArray_ISNOTSWAPPED(given))
        for axis in range(ndim if fits else 0):
            fits = fits and numpy.PyArray_DIMS(given)[axis] == axes[axis]
            fits = fits and (not strided or axes[axis] < 2
                             or numpy.PyArray_STRIDES(given)[axis] % numpy.PyArray_ITEMSIZE(given) == 0)
        expected = numpy.PyArray_ITEMSIZE(given) if fits else 0
        for axis in range(ndim - 1, before - 1, -1):
            fits = fits and (not strided or axes[axis] < 2 or numpy.PyArray_STRIDES(given)[axis] == expected)
            expected *= axes[axis]
    if not fits:
        shape = tuple([axes[axis] for axis in range(ndim)])
        raise ValueError(
            f"out must be a writeable array of shape {shape}, contiguous along its last axes, got {given!r:.200}")
    return given
