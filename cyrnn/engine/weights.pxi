# Weights into the memory of a plan, and the cell that they are for.

cdef int fill_weights(Prepared *prepared, Weights[real] *weights, ptrdiff_t features, ptrdiff_t units, ptrdiff_t depth,
                      kernels, kernels_t, panels, bias) except -1:
    weights.features, weights.units, weights.depth = features, units, depth
    weights.gates, weights.carried = 1, units
    weights.kernels = <const real *> kept(prepared, kernels)
    weights.kernels_t = <const real *> kept(prepared, kernels_t)
    weights.panels = <const real *> kept(prepared, panels)
    weights.bias = <const real *> kept(prepared, bias)
    return 0


cdef const Cells *cells_of(capsule, bint recurrent, ptrdiff_t columns) except? NULL:
    """The cell in the capsule, or null for None. Raises ValueError where it is not for kernels of so many columns."""
    if capsule is None:
        return NULL
    cdef const Cells *cells = <const Cells *> PyCapsule_GetPointer(capsule, "cyrnn.engine.Cell")
    if not recurrent:
        raise ValueError("recurrent_kernel must be an array where there is a cell, got None")
    if columns % cells.f32.gates:
        raise ValueError(f"kernel must have {cells.f32.gates} columns for each unit, one for each gate of the cell, "
                         f"got {columns}")
    return cells


cdef void set_cell(Weights[real] *weights, const Cell[real] *cell) noexcept:
    weights.cell = cell
    weights.gates, weights.carried = cell.gates, cell.states * weights.units


cdef tuple arrays_of(Plan plan):
    """Kernel, recurrent kernel and bias that a plan was made of: new arrays, or None."""
    if plan.single:
        return arrays_of_weights[float](plan, &plan.prepared.get().f32)
    return arrays_of_weights[double](plan, &plan.prepared.get().f64)


cdef tuple arrays_of_weights(Plan plan, const Weights[real] *weights):
    cdef ptrdiff_t units = weights.units, depth = weights.depth
    if weights.cell != NULL:
        raise TypeError("a plan with a cell cannot be pickled")
    cdef ptrdiff_t columns = choose_simd(plan.isa).columns_f32 if plan.single else choose_simd(plan.isa).columns_f64
    if weights.kernels == NULL:
        panels = copied(weights.panels, depth * padded_width(units, columns, sizeof(real)), plan.dtype)
        kernels = unpacked(panels, depth, units, columns)
    else:
        kernels = copied(weights.kernels, depth * units, plan.dtype).reshape(depth, units)
    kernel, recurrent_kernel = kernels[:weights.features], kernels[weights.features:]
    bias = None if weights.bias == NULL else copied(weights.bias, units, plan.dtype)
    return kernel, recurrent_kernel if depth > weights.features else None, bias


cdef object copied(const void *data, ptrdiff_t count, dtype):
    """A new array (count,) of what lies there."""
    array = numpy.empty(count, dtype)
    memcpy(<void *> <uintptr_t> array.ctypes.data, data, array.nbytes)
    return array


cdef const void *kept(Prepared *prepared, array) except? NULL:
    """The address of a copy that lives as long as `prepared`, or null for None."""
    if array is None:
        return NULL
    return prepared.keep(<const void *> <uintptr_t> array.ctypes.data, array.nbytes)
