# The ways back: ops that compute gradients. `d_y` is the gradient of a loss with respect to y.

cdef class WaysBack(Ops):
    """The part of a `Program` that adds ops of back-propagation."""

    def once(self, ptrdiff_t width):
        """A view of a new buffer that has one row for the whole batch, for sums over it."""
        cdef int view = self.buffer(None, width)
        self.storage_of(view).once = True
        return view

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

    def recurrent_gradient(self, int slot, int saved, int d_z, *, mask=None, recurrent_dropout=None, d_outputs=None,
                           d_last_output=None, d_final=None, d_initial=None, bint zero_output_for_mask=False):
        """d_z and d_initial := the gradients of the sums and the initial state of a recurrence.

        The slot has the recurrent kernel, transposed. All views with timesteps are turned: their first timestep is the
        last one of the recurrence.
        """
        views = (saved, d_z, mask, recurrent_dropout, d_outputs, d_last_output, d_final, d_initial)
        self.check_views([view for view in views if view is not None], slot)
        for view in (saved, d_z, mask, d_outputs):
            if view is not None and self.timeline_of(view) != self.timeline_of(d_z):
                raise ValueError(f"view {view} is on timeline {self.timeline_of(view)}, and d_z on "
                                 f"{self.timeline_of(d_z)}")
        Builder(self.program[0]).recurrent_gradient(
            slot, saved, or_absent(mask), or_absent(recurrent_dropout), or_absent(d_outputs), or_absent(d_last_output),
            or_absent(d_final), d_z, or_absent(d_initial), zero_output_for_mask)

    def kernel_gradient(self, int slot, int x, int d_z, *, mask=None, input_dropout=None, recurrent_dropout=None,
                        outputs=None, initial=None, d_kernel=None, d_recurrent_kernel=None, ptrdiff_t vectors=1):
        """d_kernel := the sum of x' . d_z over rows and timesteps, and d_recurrent_kernel that of h' . d_z, where h is
        the output of the timestep before. The slot has weights of the engine that is to compute them."""
        views = (x, d_z, mask, input_dropout, recurrent_dropout, outputs, initial, d_kernel, d_recurrent_kernel)
        self.check_views([view for view in views if view is not None], slot)
        cdef ptrdiff_t sums = self.width_of(d_z) // vectors
        for view, rows in ((d_kernel, self.width_of(x) // vectors),
                           (d_recurrent_kernel, 0 if outputs is None else self.width_of(outputs))):
            if view is not None and (self.width_of(view) != rows * sums or not self.storage_of(view).once):
                raise ValueError(f"view {view} must hold the {rows * sums} elements of a gradient once, and has "
                                 f"{self.width_of(view)}")
        Builder(self.program[0]).kernel_gradient(
            slot, x, d_z, or_absent(mask), or_absent(input_dropout), or_absent(recurrent_dropout), or_absent(outputs),
            or_absent(initial), or_absent(d_kernel), or_absent(d_recurrent_kernel), vectors)

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
