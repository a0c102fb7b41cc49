# Weights into the memory of a plan, and the functions that are applied to their sums.

_PLAIN = CellForm(1, 1, 1, 1, 1, 1, 0, False, 0)  # of SimpleRNN, and of a dense layer


cdef object form_of(int index):
    cdef const Cell[float] *cell = &simd_by_name(b"generic").cells_f32[index]  # of all the same
    return CellForm(cell.gates, cell.recurrent + (cell.second != 0), cell.biases, cell.states, cell.lines,
                    cell.d_lines, cell.d_recurrent, cell.second != 0, cell.second if cell.between != NULL else 0)


CELLS = {(<bytes> cell_name(index)).decode(): form_of(index) for index in range(cell_count())}


cdef object checked_cell(str cell, bint recurrent, ptrdiff_t columns):
    """The form of a cell, or that of none. Raises ValueError where it is not for kernels of so many columns."""
    if cell is None:
        return _PLAIN
    if cell not in CELLS:
        raise ValueError(f"unknown cell {cell!r}: expected one of {', '.join(CELLS)}")
    if not recurrent:
        raise ValueError("recurrent_kernel must be an array where there is a cell, got None")
    form = CELLS[cell]
    if columns % form.gates:
        raise ValueError(f"kernel must have {form.gates} columns for each unit, one for each gate of the cell, "
                         f"got {columns}")
    return form


cdef tuple checked_parts(tuple parts, cell, form, ptrdiff_t rows, bint has_more):
    """The numbers of gates that have products of their own. Raises ValueError where there cannot be such parts."""
    if not parts or (parts == (1,) * form.gates and cell is not None):
        return parts
    if cell is None and not has_more and min(parts) > 0 and rows % sum(parts) == 0:
        return parts
    raise ValueError(f"parts must be 1 for each gate of a cell, or of a kernel alone numbers that divide its {rows} "
                     f"rows evenly, got {parts}")


cdef const Cell[float] *cell_f32(const Simd *simd, str name) except? NULL:
    if name is None:
        return NULL
    return &simd.cells_f32[<int> list(CELLS).index(name)]


cdef const Cell[double] *cell_f64(const Simd *simd, str name) except? NULL:
    if name is None:
        return NULL
    return &simd.cells_f64[<int> list(CELLS).index(name)]


# ---------------------------------------------------------------- functions

cdef int fill_functions(Plan plan, const Simd *simd, Plan back) except -1:
    """The functions of a plan, and those of the one that it is a way back through, or None."""
    cdef Prepared *prepared = plan.prepared.get()
    cdef int index = ACTIVATIONS[plan.activation], gates = ACTIVATIONS[plan.recurrent_activation]
    cdef int linear = ACTIVATIONS["linear"]
    cdef size_t other
    if plan.single:
        prepared.f32.activate = simd.activate_f32[index]
        prepared.f32.activate_gates = simd.activate_f32[gates]
        prepared.f32.add_bias = simd.activate_f32[linear]
        prepared.f32.by_row = activation_by_row(index) or activation_by_row(gates)
        for other in range(prepared.more_f32.size()):
            prepared.more_f32[other].add_bias = prepared.more_f32[other].activate = simd.activate_f32[linear]
    else:
        prepared.f64.activate = simd.activate_f64[index]
        prepared.f64.activate_gates = simd.activate_f64[gates]
        prepared.f64.add_bias = simd.activate_f64[linear]
        prepared.f64.by_row = activation_by_row(index) or activation_by_row(gates)
        for other in range(prepared.more_f64.size()):
            prepared.more_f64[other].add_bias = prepared.more_f64[other].activate = simd.activate_f64[linear]
    if back is None:
        return 0
    index, gates = ACTIVATIONS[back.activation], ACTIVATIONS[back.recurrent_activation]
    if plan.single:
        prepared.f32.back.units, prepared.f32.back.cell = back.units, cell_f32(simd, back.cell)
        prepared.f32.back.activate = simd.activate_f32[index]
        prepared.f32.back.differentiate = simd.differentiate_f32[index]
        prepared.f32.back.differentiate_gates = simd.differentiate_f32[gates]
        prepared.f32.back.of_sums = activation_from_sums(index)
        prepared.f32.back.gates_of_sums = activation_from_sums(gates)
    else:
        prepared.f64.back.units, prepared.f64.back.cell = back.units, cell_f64(simd, back.cell)
        prepared.f64.back.activate = simd.activate_f64[index]
        prepared.f64.back.differentiate = simd.differentiate_f64[index]
        prepared.f64.back.differentiate_gates = simd.differentiate_f64[gates]
        prepared.f64.back.of_sums = activation_from_sums(index)
        prepared.f64.back.gates_of_sums = activation_from_sums(gates)
    return 0


# ---------------------------------------------------------------- arrays

cdef int fill_plan(Plan plan, Weights[real] *weights, vector[Weights[real]] *more, const Cell[real] *cell, kernel,
                   recurrent_kernel, bias) except -1:
    """Fill the arrays of a plan, and those of its other products."""
    cdef Prepared *prepared = plan.prepared.get()
    cdef size_t number
    whole, others = plan.laid_out(kernel, recurrent_kernel, bias)  # copies
    fill_weights[real](prepared, weights, plan.units, whole)
    more.resize(len(others))
    for number in range(more.size()):
        fill_weights[real](prepared, &more[0][number], plan.units, others[number])
    weights.part_count = len(plan.parts)
    if weights.part_count > 0:
        weights.parts = &more[0][more.size() - weights.part_count]
    if cell == NULL:
        return 0
    if cell.second != 0:
        weights.second = &more[0][0]
    weights.cell, weights.lines, weights.carried = cell, cell.lines, cell.states * plan.units
    weights.gates, weights.recurrent = cell.gates, cell.recurrent * plan.units
    weights.of_sums = plan.activation in FROM_SUMS
    weights.gates_of_sums = plan.recurrent_activation in FROM_SUMS
    if weights.of_sums or weights.gates_of_sums:
        weights.lines += cell.gates
    return 0


cdef int fill_weights(Prepared *prepared, Weights[real] *weights, ptrdiff_t units, laid_out) except -1:
    weights.features, weights.units, weights.depth = laid_out.features, units, laid_out.depth
    weights.gates, weights.lines, weights.recurrent, weights.carried = 1, 1, units, units
    weights.kernels = <const real *> kept(prepared, laid_out.kernels)
    weights.kernels_t = <const real *> kept(prepared, laid_out.kernels_t)
    weights.panels = <const real *> kept(prepared, laid_out.panels)
    weights.bias = <const real *> kept(prepared, laid_out.bias)
    if prepared.engine != NULL:
        weights.plain = &prepared.engine.f32 if real is float else &prepared.engine.f64
    return 0


cdef tuple arrays_of(Plan plan):
    """Kernel, recurrent kernel and bias that a plan was made of: new arrays, or None."""
    if plan.single:
        return arrays_of_weights[float](plan, &plan.prepared.get().f32)
    return arrays_of_weights[double](plan, &plan.prepared.get().f64)


cdef tuple arrays_of_weights(Plan plan, const Weights[real] *weights):
    kernels = kernels_of[real](plan, weights)
    bias = None if weights.bias == NULL else copied(weights.bias, plan.form.biases * weights.units, plan.dtype)
    kernel, recurrent_kernel = kernels[:weights.features], kernels[weights.features:]
    if weights.depth == weights.features:
        return kernel, None, bias
    recurrent_kernel = recurrent_kernel[:, :weights.recurrent]
    if weights.second != NULL:
        recurrent_kernel = numpy.concatenate([recurrent_kernel, kernels_of[real](plan, weights.second)], axis=1)
    return kernel, recurrent_kernel, bias


cdef object kernels_of(Plan plan, const Weights[real] *weights):
    cdef ptrdiff_t sums = weights.gates * weights.units, depth = weights.depth
    cdef ptrdiff_t columns = choose_simd(plan.isa).columns_f32 if plan.single else choose_simd(plan.isa).columns_f64
    cdef ptrdiff_t part
    cdef list parts = []
    if weights.kernels == NULL and weights.panels == NULL:
        for part in range(weights.part_count):
            parts.append(kernels_of[real](plan, &weights.parts[part]))
        return numpy.concatenate(parts)
    if weights.kernels == NULL:
        panels = copied(weights.panels, depth * padded_width(sums, columns, sizeof(real)), plan.dtype)
        return unpacked(panels, depth, sums, columns)
    return copied(weights.kernels, depth * sums, plan.dtype).reshape(depth, sums)


cdef object copied(const void *data, ptrdiff_t count, dtype):
    """A new array (count,) of what lies there."""
    array = numpy.empty(count, dtype)
    memcpy(<void *> <uintptr_t> array.ctypes.data, data, array.nbytes)
    return array


cdef object to_bfloat16(array):
    """A new array like one of float32, C-contiguous, of the nearest bfloat16."""
    made = numpy.empty_like(array)
    round_to_bfloat16(<const float *> <uintptr_t> array.ctypes.data, array.size, <float *> <uintptr_t> made.ctypes.data)
    return made


cdef const void *kept(Prepared *prepared, array) except? NULL:
    """The address of a copy that lives as long as `prepared`, or null for None."""
    if array is None:
        return NULL
    return prepared.keep(<const void *> <uintptr_t> array.ctypes.data, array.nbytes)
