# The ways back: ops that compute gradients. `d_y` is the gradient of a loss with respect to y.

cdef class WaysBack(Ops):
    """The part of a `Program` that adds ops of back-propagation."""

    def activation_gradient(self, int saved, int d_y, int d_z, ptrdiff_t last_axis, *, slot=None, name=None):
        """d_z := d_y times the derivative of the activation of this name, or of the one that the slot's weights have.

        saved : the outputs of the activation, or what it was applied to; see `plan.FROM_SUMS`
        """
        self.check_alike(saved, d_z, or_absent(slot))
        self.check_alike(d_y, d_z)
        self.check_parts(d_z, last_axis)
        if (slot is None) == (name is None):
            raise ValueError("slot or name must be given")
        cdef DifferentiateF32 f32 = NULL
        cdef DifferentiateF64 f64 = NULL
        if name is not None:
            f32 = <DifferentiateF32> differentiate_f32_of(name)
            f64 = <DifferentiateF64> differentiate_f64_of(name)
        Builder(self.program[0]).activation_gradient(or_absent(slot), f32, f64, saved, d_y, d_z, last_axis)

    def recurrent_gradient(self, int slot, int saved, int d_z, d_final, d_initial, *, mask=None,
                           recurrent_dropout=None, d_outputs=None, d_last_output=None, bint zero_output_for_mask=False):
        """d_z and d_initial := the gradients of the sums and the initial states of a recurrence.

        The slot has the recurrent kernel, transposed, and in parts where dropout has factors for each gate, or a cell
        makes something of h between its products. All views with timesteps are turned: their first timestep is the
        last one of the recurrence. `d_final` and `d_initial` have a view for each state, or None.
        """
        cdef vector[int] ends, begins
        views = (saved, d_z, mask, recurrent_dropout, d_outputs, d_last_output, *d_final, *d_initial)
        self.check_views([view for view in views if view is not None], slot)
        for view in (saved, d_z, mask, d_outputs):
            if view is not None and self.timeline_of(view) != self.timeline_of(d_z):
                raise ValueError(f"view {view} is on timeline {self.timeline_of(view)}, and d_z on "
                                 f"{self.timeline_of(d_z)}")
        for end, begin in zip(d_final, d_initial, strict=True):
            ends.push_back(or_absent(end))
            begins.push_back(or_absent(begin))
        Builder(self.program[0]).recurrent_gradient(
            slot, saved, or_absent(mask), or_absent(recurrent_dropout), or_absent(d_outputs), or_absent(d_last_output),
            ends, d_z, begins, zero_output_for_mask)

    def input_gradient(self, int slot, int d_z, int factors, int d_x):
        """d_x := the gradient of x, where dropout has had factors for each gate. The slot has the kernel, transposed,
        in a part for each gate."""
        self.check_views((d_z, factors, d_x), slot)
        self.check_beside(d_z, d_x)
        self.check_by_gate(factors, self.width_of(d_x), self.width_of(d_z))
        Builder(self.program[0]).input_gradient(slot, d_z, factors, d_x)

    cdef int check_by_gate(self, factors, ptrdiff_t each, ptrdiff_t sums) except -1:
        """Raises ValueError unless these are dropout factors, once or for each of as many gates as there can be."""
        cdef ptrdiff_t width = each if factors is None else self.width_of(factors)
        if width != each and (each == 0 or width % each or sums % (width // each)):
            raise ValueError(f"view {factors} must have {each} dropout factors for each of the gates that {sums} sums "
                             f"are of, and has {width}")
        return 0

    def kernel_gradient(self, int slot, int x, int d_z, *, mask=None, input_dropout=None, recurrent_dropout=None,
                        outputs=None, initial=None, between=None, d_kernel=None, d_recurrent_kernel=None,
                        d_bias=None, ptrdiff_t vectors=1):
        """d_kernel := the sum of x' . d_z over rows and timesteps, d_recurrent_kernel that of h' . d_z, where h is the
        output of the timestep before, and d_bias that of d_z. The slot has weights of the engine that is to compute
        them.

        between : what the last gate multiplies instead of h
        """
        views = (x, d_z, mask, input_dropout, recurrent_dropout, outputs, initial, between, d_kernel,
                 d_recurrent_kernel, d_bias)
        self.check_views([view for view in views if view is not None], slot)
        cdef ptrdiff_t sums = self.width_of(d_z) // vectors
        self.check_by_gate(input_dropout, self.width_of(x) // vectors, sums)
        self.check_by_gate(recurrent_dropout, 0 if outputs is None else self.width_of(outputs), sums)
        for view, rows in ((d_kernel, self.width_of(x) // vectors),
                           (d_recurrent_kernel, 0 if outputs is None else self.width_of(outputs)), (d_bias, 1)):
            if view is not None and (self.width_of(view) != rows * sums or not self.storage_of(view).once):
                raise ValueError(f"view {view} must hold the {rows * sums} elements of a gradient once, and has "
                                 f"{self.width_of(view)}")
        Builder(self.program[0]).kernel_gradient(
            slot, x, d_z, or_absent(mask), or_absent(input_dropout), or_absent(recurrent_dropout), or_absent(outputs),
            or_absent(initial), or_absent(between), or_absent(d_kernel), or_absent(d_recurrent_kernel),
            or_absent(d_bias), vectors)

    def batch_sum(self, int x, int out, ptrdiff_t inner=1):
        """out := the sum of x over rows and timesteps, and over all axes but one, which is as long as out: a row's
        timestep is (..., length, inner)."""
        self.check_views((x, out))
        self.check_parts(x, self.width_of(out) * inner)
        if not self.storage_of(out).once:
            raise ValueError("out must be a buffer of one row")
        Builder(self.program[0]).batch_sum(x, out, inner)

    # ------------------------------------------------------------ through ops that compute each timestep alone

    # d_x := the gradient of x; terms := what the gradient of the slot's `scale` is the sum of, over all axes but its
    # own. One of them may be None. Where d_y is zero in a whole timestep, both are: x may be NaN there.

    def relu_gradient(self, int saved, int d_y, int d_x, *, double slope=0, double threshold=0,
                      double most=float("inf")):
        """The way back through `relu`. `saved` is x, or what came out, if that tells the same: see `Taped`."""
        self.check_back(saved, d_y, d_x, None)
        Builder(self.program[0]).relu_gradient(saved, d_y, d_x, slope, threshold, most)

    def affine_gradient(self, int slot, int x, int d_y, d_x, terms, ptrdiff_t length, ptrdiff_t inner=1):
        """The way back through `affine`."""
        self.check_back(x, d_y, d_x, terms, slot)
        self.check_parts(d_y, length * inner)
        Builder(self.program[0]).affine_gradient(slot, x, d_y, or_absent(d_x), or_absent(terms), Axis(length, inner))

    def prelu_gradient(self, int slot, int x, int d_y, d_x, terms, ptrdiff_t length, ptrdiff_t inner=1):
        """The way back through `prelu`."""
        self.check_back(x, d_y, d_x, terms, slot)
        self.check_parts(d_y, length * inner)
        Builder(self.program[0]).prelu_gradient(slot, x, d_y, or_absent(d_x), or_absent(terms), Axis(length, inner))

    def layer_norm_gradient(self, int x, int d_y, d_x, terms, ptrdiff_t length, double epsilon, *, slot=None,
                            bint centered=True):
        """The way back through `layer_norm`."""
        self.check_back(x, d_y, d_x, terms, or_absent(slot))
        self.check_parts(d_y, length)
        Builder(self.program[0]).norm_gradient(or_absent(slot), x, d_y, or_absent(d_x), or_absent(terms), length,
                                               Norm.layer if centered else Norm.rms, epsilon)

    def unit_norm_gradient(self, int x, int d_y, int d_x, ptrdiff_t length, double limit):
        """The way back through `unit_norm`."""
        self.check_back(x, d_y, d_x, None)
        self.check_parts(d_y, length)
        Builder(self.program[0]).norm_gradient(-1, x, d_y, d_x, -1, length, Norm.unit, limit)

    def batch_norm_gradient(self, int slot, int x, int d_y, double epsilon, ptrdiff_t length, ptrdiff_t inner=1, *,
                            mask=None, d_x=None, d_gain=None, d_offset=None):
        """The way back through `batch_norm`, which takes the statistics again. d_gain and d_offset are `once`."""
        cdef vector[int] statistics, sums
        self.check_alike(d_y, x, slot)
        if d_x is not None:
            self.check_alike(d_y, d_x)
        self.check_parts(x, length * inner)
        self.check_mask(mask, x)
        for width in (length, length, 1):
            statistics.push_back(self.once(width))
        for view in (d_offset, d_gain):
            view = self.once(length) if view is None else view
            if self.width_of(view) != length or not self.storage_of(view).once:
                raise ValueError(f"view {view} must hold {length} elements once, and has {self.width_of(view)}")
            sums.push_back(view)
        Builder(self.program[0]).batch_norm_gradient(
            slot, x, or_absent(mask), statistics, self.once(length), d_y, self.buffer_like(x), sums, or_absent(d_x),
            Axis(length, inner), epsilon)

    def masking_gradient(self, int mask, int d_y, int d_x):
        """d_x := d_y where the mask is true, else zeros."""
        self.check_alike(d_y, d_x)
        self.check_mask(mask, d_x)
        Builder(self.program[0]).masking_gradient(mask, d_y, d_x)

    def embedding_gradient(self, int tokens, int d_y, int d_table, ptrdiff_t units):
        """d_table := the gradient of the table, (rows, units): for each row the sum of d_y where it was looked up."""
        self.check_beside(tokens, d_y, Kind.token)
        self.check_views((d_table,))
        if units < 1 or self.width_of(d_y) != self.width_of(tokens) * units or self.width_of(d_table) % units:
            raise ValueError(f"d_y and d_table must have rows of {units} elements, got widths {self.width_of(d_y)} "
                             f"and {self.width_of(d_table)}")
        if not self.storage_of(d_table).once:
            raise ValueError("d_table must be a buffer of one row")
        Builder(self.program[0]).embedding_gradient(tokens, d_y, d_table, units)

    # ------------------------------------------------------------ of several values, and over timesteps

    def merge_gradient(self, str name, int of, xs, int d_out, int d_x, *, axes, masks=()):
        """d_x := the gradient of number `of` of xs, that were merged; see `merge`. It is summed over all that this x is
        repeated for. What does not depend on their values needs none: then xs may be None."""
        cdef vector[int] views, keeps
        cdef vector[Axis] along
        self.check_views([view for view in (d_out, d_x, *xs, *masks) if view is not None])
        self.check_beside(d_x, d_out)
        if not 0 <= of < len(xs) or len(axes) != len(xs) or len(masks) not in (0, len(xs)):
            raise ValueError(f"axes and masks must be as many as xs, and of below that, got {len(axes)}, {len(masks)} "
                             f"and {of} for {len(xs)}")
        for number, (x, (length, inner)) in enumerate(zip(xs, axes)):
            self.check_parts(d_out, length * inner)
            for view in (x, d_x if number == of else None):
                if view is not None:
                    self.check_beside(view, d_out)
                    if self.width_of(view) != length:
                        raise ValueError(f"view {view} must be as wide as its axis, {length}, got "
                                         f"{self.width_of(view)}")
            if x is None and not (name in ("add", "subtract", "average") or (name == "multiply" and number == of)):
                raise ValueError(f"the gradient of {name} depends on all xs")
            views.push_back(or_absent(x))
            along.push_back(Axis(length, inner))
        for mask in masks:
            self.check_mask(mask, d_out)
            keeps.push_back(or_absent(mask))
        Builder(self.program[0]).merge_gradient(<Merge> <int> _MERGES[name], of, views, along, keeps, d_out, d_x)

    def split(self, int x, int out, ptrdiff_t first, ptrdiff_t pieces=1):
        """out := elements of x from `first` on. A row's timestep is (pieces, elements)."""
        self.check_beside(x, out, self.storage_of(out).kind)
        self.check_parts(x, pieces)
        self.check_parts(out, pieces)
        if not 0 <= first <= (self.width_of(x) - self.width_of(out)) // pieces:
            raise ValueError(f"x must have so many elements, got {first} and {self.width_of(out) // pieces} of "
                             f"{self.width_of(x) // pieces}")
        Builder(self.program[0]).split(x, out, first, pieces)

    def dot_gradient(self, int d, int y, int d_x, ptrdiff_t length, ptrdiff_t x_inner=1, ptrdiff_t y_inner=1, *,
                     bint of_first=True):
        """d_x := the gradient of x, where `dot` has multiplied it by y; of_first: x was its first argument."""
        for view, inner in ((d_x, x_inner), (y, y_inner)):
            self.check_beside(view, d_x)
            self.check_parts(view, length * inner)
        self.check_beside(d, d_x)
        if self.width_of(d_x) // length * (self.width_of(y) // length) != self.width_of(d):
            raise ValueError(f"d must have the other axes of x and y, got width {self.width_of(d)}")
        Builder(self.program[0]).dot_gradient(d, y, d_x, length, x_inner, y_inner, of_first)

    def take_gradient(self, int d, int d_x, *, ptrdiff_t before=0, ptrdiff_t stride=1, ptrdiff_t repeats=1):
        """d_x, at each timestep, := the sum of d at those that `take` has filled from it."""
        self.check_views((d, d_x))
        self.check_widths(d, d_x)
        self.check_timelines(d, d_x, True, True)
        if min(stride, repeats) < 1 or max(abs(before), stride, repeats) > most_timesteps:
            raise ValueError(f"before, stride and repeats must be numbers of timesteps, got {before}, {stride} and "
                             f"{repeats}")
        Builder(self.program[0]).take_gradient(d, d_x, before, stride, repeats)

    def pool_gradient(self, str name, x, int d, int d_x, ptrdiff_t size, ptrdiff_t stride, *, bint padded=False):
        """d_x := the gradient of `pool`, which "max" needs x for. Of equal ones the first is the largest."""
        self.check_views([view for view in (x, d, d_x) if view is not None])
        for view in (d, d if x is None else x):
            self.check_widths(view, d_x)
            self.check_timelines(view, d_x, True, True)
        if name not in ("average", "max") or (x is None) != (name == "average") or min(size, stride) < 1:
            raise ValueError(f"name must be 'average', or 'max' with x, and size and stride numbers of timesteps, got "
                             f"{name!r}, {size} and {stride}")
        if x is not None and self.timeline_of(x) != self.timeline_of(d_x):
            raise ValueError("x and d_x must have one timeline")
        Builder(self.program[0]).pool_gradient(name == "average", or_absent(x), d, d_x, size, stride, padded)

    def global_pool_gradient(self, str name, int d, int d_x, *, x=None, out=None, mask=None):
        """d_x := the gradient of `global_pool`, which "max" needs x and out for: equal ones share it."""
        self.check_views([view for view in (d, d_x, x, out) if view is not None])
        self.check_widths(d, d_x)
        self.check_timelines(d, d_x, False, True)
        if name == "max":
            if x is None or out is None or mask is not None or self.timeline_of(x) != self.timeline_of(d_x):
                raise ValueError("'max' needs x and out, and has no mask")
            self.check_widths(x, d_x)
            self.check_widths(out, d)
            self.check_timelines(out, d_x, False, True)
            Builder(self.program[0]).largest_gradient(x, out, d, d_x)
        elif name in ("average", "sum"):
            self.check_mask(mask, d_x)
            Builder(self.program[0]).total_gradient(name == "average", d, or_absent(mask), d_x)
        else:
            raise ValueError(f"name must be 'average', 'sum' or 'max', got {name!r}")
