# The ops of a program.

cdef class Ops(Structure):
    """The part of a `Program` that adds ops: they read views, and fill views that were made for it."""

    # ------------------------------------------------------------ ops with weights

    def recurrent(self, int slot, int x, *, outputs=None, last_output=None, mask=None, initial=(), final=(),
                  bint zero_output_for_mask=False, input_dropout=None, recurrent_dropout=None, sums=None):
        """Run a cell over the timesteps of x, from the initial states, or zeros, to the final ones.

        sums : what it leaves in its sums; where there is no cell, what is activated
        """
        cdef vector[int] first, last
        self.check_views([view for view in (x, outputs, last_output, mask, input_dropout, recurrent_dropout, sums,
                                            *initial, *final) if view is not None], slot)
        for view in initial:
            first.push_back(view)
        for view in final:
            last.push_back(view)
        if first.size() and last.size() and first.size() != last.size():
            raise ValueError(f"initial and final must be as many, got {first.size()} and {last.size()}")
        while first.size() < last.size():
            first.push_back(-1)
        while last.size() < first.size():
            last.push_back(-1)
        if outputs is None and last_output is None and not final:
            raise ValueError("outputs, last_output or final must be given")
        Builder(self.program[0]).recurrent(
            slot, x, or_absent(mask), or_absent(input_dropout), or_absent(recurrent_dropout), or_absent(outputs),
            or_absent(last_output), first, last, zero_output_for_mask, or_absent(sums))

    def dense(self, int slot, int x, int out, ptrdiff_t vectors=1, *, sums=None):
        """out := activation(x . kernel + bias), for each of the vectors that a row's timestep consists of.

        sums : what is activated
        """
        self.check_views((x, out) if sums is None else (x, out, sums), slot)
        Builder(self.program[0]).dense(slot, x, out, vectors, or_absent(sums))

    def embedding(self, int slot, int tokens, int out):
        """out := rows of a table. The tokens are an input; `run` refuses those that are not in the table."""
        self.check_views((tokens, out), slot)
        if self.storage_of(tokens).input < 0:
            raise ValueError("tokens must be an input of the program")
        Builder(self.program[0]).embedding(slot, tokens, out)

    def nonzero(self, int tokens, int out):
        """out := tokens != 0, a mask."""
        self.check_views((tokens, out))
        Builder(self.program[0]).nonzero(tokens, out)

    def masking(self, double value, int x, int out, mask_out=None):
        """mask_out := some element of x is not `value`; out := x there, else zeros."""
        self.check_views((x, out) if mask_out is None else (x, out, mask_out))
        Builder(self.program[0]).masking(value, x, out, or_absent(mask_out))

    def activation(self, str name, int x, int out, ptrdiff_t last_axis):
        """out := activation(x). Those that need a row, as softmax does, get `last_axis` elements at a time."""
        self.check_alike(x, out)
        self.check_parts(x, last_axis)
        Builder(self.program[0]).activation(<ActivateF32> activate_f32_of(name), <ActivateF64> activate_f64_of(name),
                                            x, out, last_axis)

    def relu(self, int x, int out, *, double slope=0, double threshold=0, double most=float("inf")):
        """out := x above the threshold, at most `most`; slope * (x - threshold) below it."""
        self.check_alike(x, out)
        Builder(self.program[0]).relu(x, out, slope, threshold, most)

    def dropout(self, int x, int factors, int out):
        """out := x * factors, and 0 where a factor is 0. Factors without timesteps are those of each."""
        self.check_alike(x, out)
        self.check_beside(factors, out)
        self.check_widths(factors, out)
        Builder(self.program[0]).dropout(x, factors, out)

    def scale(self, int x, int out, *, double factor=1, double offset=0):
        """out := x * factor + offset."""
        self.check_alike(x, out)
        Builder(self.program[0]).scale(x, out, factor, offset)

    def prelu(self, int slot, int x, int out, ptrdiff_t length, ptrdiff_t inner=1):
        """out := x, and below 0  x * scale;  the slot's `Vectors` lie along an axis as in `affine`."""
        self.check_alike(x, out, slot)
        self.check_parts(x, length * inner)
        Builder(self.program[0]).prelu(slot, x, out, Axis(length, inner))

    def affine(self, int slot, int x, int out, ptrdiff_t length, ptrdiff_t inner=1):
        """out := (x - shift) * scale + offset, where the slot's `Vectors` lie along an axis of `length`: a row's
        timestep is (..., length, inner)."""
        self.check_alike(x, out, slot)
        self.check_parts(x, length * inner)
        Builder(self.program[0]).affine(slot, x, out, Axis(length, inner))

    def batch_norm(self, int slot, int x, int out, statistics, double epsilon, ptrdiff_t length, ptrdiff_t inner=1, *,
                   mask=None):
        """out := (x - mean) / sqrt(variance + epsilon) * gain + offset, with the slot's `Vectors` and the statistics of
        the whole batch along an axis as in `affine`, without the timesteps that the mask leaves out.

        statistics : the views to fill with mean, variance, and count, each `once`: elements of a place
        """
        cdef vector[int] found
        self.check_alike(x, out, slot)
        self.check_parts(x, length * inner)
        self.check_mask(mask, x)
        for view, width in zip(statistics, (length, length, 1), strict=True):
            if self.width_of(view) != width or not self.storage_of(view).once:
                raise ValueError(f"view {view} must hold {width} elements once, and has {self.width_of(view)}")
            found.push_back(view)
        Builder(self.program[0]).batch_norm(slot, x, or_absent(mask), found, self.once(length), out,
                                            Axis(length, inner), epsilon)

    def layer_norm(self, int x, int out, ptrdiff_t length, double epsilon, *, slot=None, bint centered=True):
        """out := (x - mean) / sqrt(variance + epsilon) for `length` elements at a time, then * scale + offset of the
        slot's `Vectors`. Without `centered` the mean is subtracted for the variance alone."""
        self.check_alike(x, out, or_absent(slot))
        self.check_parts(x, length)
        Builder(self.program[0]).norm(or_absent(slot), x, out, length, Norm.layer if centered else Norm.rms, epsilon)

    def unit_norm(self, int x, int out, ptrdiff_t length, double limit):
        """out := x / |x| for `length` elements at a time, but x * limit where |x| is below 1 / limit."""
        self.check_alike(x, out)
        self.check_parts(x, length)
        Builder(self.program[0]).norm(-1, x, out, length, Norm.unit, limit)

    # ------------------------------------------------------------ ops of several values

    def merge(self, str name, xs, int out, *, axes=None, masks=()):
        """out := the first of xs, merged with one after the other.

        Parameters
        ----------
        name : "add", "subtract", "multiply", "divide", "average", "maximum" or "minimum"
        xs : sequence of views
            On the timeline of out, or without one: these are repeated for all timesteps.
        out : view
        axes : sequence of (length, inner), optional
            For each x the axis of out, (..., length, inner), that it lies along: it is repeated along the others.
        masks : sequence of views or None, optional
            For each x. One that is left out counts as 1 in a product, which of none is 0; it takes no part in maximum
            and minimum, unless all are left out.
        """
        cdef vector[int] views, keeps
        cdef vector[Axis] along
        if name not in _MERGES:
            raise ValueError(f"unknown merge {name!r}: expected one of {', '.join(_MERGES)}")
        axes = [(self.width_of(out), 1)] * len(xs) if axes is None else axes
        if not xs or len(axes) != len(xs) or len(masks) not in (0, len(xs)):
            raise ValueError(f"axes and masks must be as many as xs, got {len(axes)} and {len(masks)} for {len(xs)}")
        for x, (length, inner) in zip(xs, axes):
            self.check_beside(x, out)
            self.check_parts(out, length * inner)
            if self.width_of(x) != length:
                raise ValueError(f"the axis of a view of width {self.width_of(x)} must be as long, got {length}")
            views.push_back(x)
            along.push_back(Axis(length, inner))
        for mask in masks:
            self.check_mask(mask, out)
            keeps.push_back(or_absent(mask))
        Builder(self.program[0]).merge(<Merge> <int> _MERGES[name], views, along, keeps, out)

    def merge_masks(self, masks, int out, *, bint all=False):
        """out := whether some, or all, of the masks are true."""
        cdef vector[int] views
        for mask in masks:
            self.check_mask(mask, out)
            views.push_back(mask)
        self.check_mask(out, out)
        Builder(self.program[0]).merge_masks(all, views, out)

    def join(self, xs, int out, ptrdiff_t pieces=1):
        """out := xs end to end. A row's timestep is (pieces, elements): the elements are joined."""
        cdef vector[int] views
        for x in xs:
            self.check_beside(x, out, self.storage_of(out).kind)
            self.check_parts(x, pieces)
            self.check_parts(x, self.width_of(x) // pieces)
            views.push_back(x)
        if sum([self.width_of(x) for x in xs]) != self.width_of(out):
            raise ValueError(f"out must be as wide as xs together, got {self.width_of(out)}")
        Builder(self.program[0]).join(views, out, pieces)

    def dot(self, int x, int y, int out, ptrdiff_t length, ptrdiff_t x_inner=1, ptrdiff_t y_inner=1):
        """out := sums of products along an axis of x, (..., length, x_inner), and one of y, (..., length, y_inner): the
        other axes of x, and then those of y."""
        self.check_beside(x, out)
        self.check_beside(y, out)
        self.check_parts(x, length * x_inner)
        self.check_parts(y, length * y_inner)
        if self.width_of(x) // length * (self.width_of(y) // length) != self.width_of(out):
            raise ValueError(f"out must have the other axes of x and y, got width {self.width_of(out)}")
        Builder(self.program[0]).dot(x, y, out, length, x_inner, y_inner)

    # ------------------------------------------------------------ ops over timesteps

    def copy(self, int x, int out):
        """out := x; at each timestep of out, where x has none."""
        self.check_beside(x, out, self.storage_of(out).kind)
        self.check_widths(x, out)
        Builder(self.program[0]).copy(x, out)

    def select(self, int x, int out, ptrdiff_t index):
        """out := one timestep of x, counted from the first, or with negative numbers from the last. `run` refuses
        inputs that have not so many."""
        self.check_views((x, out))
        self.check_widths(x, out)
        self.check_timelines(x, out, True, False)
        if index not in (0, -1):  # a timeline of what lies beyond: it must not be empty
            self.timeline(self.timeline_of(x), add=-index if index > 0 else index + 1)
        Builder(self.program[0]).select(x, out, index)

    def take(self, int x, int out, *, ptrdiff_t before=0, ptrdiff_t stride=1, ptrdiff_t repeats=1):
        """out, at timestep t, := x at timestep  t * stride // repeats - before;  zeros where there is none."""
        self.check_views((x, out))
        self.check_widths(x, out)
        self.check_timelines(x, out, True, True)
        if min(stride, repeats) < 1 or max(abs(before), stride, repeats) > most_timesteps:
            raise ValueError(f"before, stride and repeats must be numbers of timesteps, got {before}, {stride} and "
                             f"{repeats}")
        Builder(self.program[0]).take(x, out, before, stride, repeats)

    def pool(self, str name, int x, int out, ptrdiff_t size, ptrdiff_t stride, *, bint padded=False):
        """out := the "average", or the "max", of each window of timesteps.

        The timeline of out has one timestep for each window:  (length - size) // stride + 1  of them, or if `padded`
        (length - 1) // stride + 1.
        """
        self.check_views((x, out))
        self.check_widths(x, out)
        self.check_timelines(x, out, True, True)
        if name not in ("average", "max") or not 1 <= size <= most_timesteps or not 1 <= stride <= most_timesteps:
            raise ValueError(f"name must be 'average' or 'max', and size and stride numbers of timesteps, got "
                             f"{name!r}, {size} and {stride}")
        Builder(self.program[0]).pool(name == "average", x, out, size, stride, padded)

    def global_pool(self, str name, int x, int out, mask=None):
        """out := the "average" or "sum" of the timesteps that the mask keeps, or the "max" of all."""
        self.check_views((x, out))
        self.check_widths(x, out)
        self.check_timelines(x, out, True, False)
        if name not in ("average", "sum", "max") or (name == "max" and mask is not None):
            raise ValueError(f"name must be 'average' or 'sum', or 'max' without a mask, got {name!r}")
        self.check_mask(mask, x)
        if name == "max":
            Builder(self.program[0]).largest(x, out)
        else:
            Builder(self.program[0]).total(name == "average", x, or_absent(mask), out)

    def permute(self, int x, int out, lengths, order):
        """out := x with the axes of its rows in another order: `lengths` are those of x, where the first one is that of
        the timesteps, and `order` says which of them each axis of out is."""
        cdef vector[ptrdiff_t] lengths_
        cdef vector[int] order_
        self.check_views((x, out))
        self.check_timelines(x, out, True, True)
        if sorted(order) != list(range(len(lengths))) or prod(lengths[1:]) != self.width_of(x):
            raise ValueError(f"order must hold the axes of x, of width {self.width_of(x)}, got {order} for {lengths}")
        cdef bint fits = prod([lengths[axis] for axis in order[1:]]) == self.width_of(out)
        if order[0] == 0:
            fits = fits and self.timeline_of(x) == self.timeline_of(out)
        else:
            # `run` compares the numbers of elements: it is enough that one of both numbers of timesteps is known here.
            fits = fits and (self.program.timelines[self.timeline_of(out)].constant == lengths[order[0]]
                             or self.program.timelines[self.timeline_of(x)].constant == lengths[0])
        if not fits:
            raise ValueError(f"out must have the axes of x in the order {order}, got width {self.width_of(out)} and "
                             f"timeline {self.timeline_of(out)}")
        for length in lengths:
            lengths_.push_back(length)
        for axis in order:
            order_.push_back(axis)
        Builder(self.program[0]).permute(x, out, lengths_, order_)
