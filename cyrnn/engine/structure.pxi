# What a program consists of: timelines, slots, buffers, and views of them.

cdef class Structure:
    """The part of a `Program` that ops stand on: buffers and views of them."""

    def __cinit__(self, str dtype):
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}")
        self.dtype = numpy.dtype(dtype)
        self.single = dtype == "float32"
        self.shared = make_shared[CProgram](<bool> self.single)
        self.program = self.shared.get()
        self.shapes = []

    # ------------------------------------------------------------ buffers

    def timeline(self, of=None, *, constant=None, ptrdiff_t times=1, ptrdiff_t add=0, ptrdiff_t size=1,
                 ptrdiff_t stride=1):
        """A new axis of timesteps: of the length of the inputs that have it; of `constant`; or of
        max(0, (times * length + add - size) // stride + 1), where length is that of another one."""
        self.check_open()
        cdef CTimeline made
        made.of = -1 if of is None else self.checked_timeline(of)
        made.constant = -1 if constant is None else constant
        made.times, made.add, made.size, made.stride = times, add, size, stride
        if min(times, size, stride) < 1 or max(times, abs(add), size, stride) > most_timesteps:
            raise ValueError(f"times, add, size and stride must be numbers of timesteps, got {times}, {add}, {size} "
                             f"and {stride}")
        self.program.timelines.push_back(made)
        return <int> self.program.timelines.size() - 1

    def slot(self, str activation="linear", trainable={}, cell=None, str recurrent_activation="sigmoid"):
        """One more place for weights. Programs of gradients need their functions, and the shapes by name of those that
        are trainable."""
        self.check_open()
        self.program.slots += 1
        return self.program.slots - 1

    def input(self, str kind, timeline, ptrdiff_t width, *, bint optional=False, shape=None):
        """A view of the next input: of "number", "token" (integers) or "mask" (bools).

        A call brings an array (batch, [timesteps,] *shape), whose last axes are the width. Default: (width,) for
        numbers, and for tokens and masks () if that is 1.

        Where a call leaves out an `optional` one, a mask is true everywhere, and numbers and tokens are zeros. But
        dropout factors are ones.
        """
        cdef vector[ptrdiff_t] axes
        if shape is None:
            shape = () if kind != "number" and width == 1 else (width,)
        if prod(shape) != width:
            raise ValueError(f"shape must have {width} elements, got {shape}")
        for length in shape:
            axes.push_back(length)
        cdef int view = self.buffer(timeline, width, kind)
        cdef CStorage *storage = self.storage_of(view)
        storage.input = <int> self.program.inputs.size()
        self.program.inputs.push_back(self.program.views[view].storage)
        self.axes.push_back(axes)
        self.optional.push_back(optional)
        self.exact.push_back(False)
        return view

    def take_exactly(self, int view):
        """Let `run` refuse arrays of another dtype than that of the program for this input of numbers."""
        self.check_views((view,))
        if self.storage_of(view).input < 0:
            raise ValueError(f"view {view} must be an input of the program")
        self.exact[self.storage_of(view).input] = True

    def buffer(self, timeline, ptrdiff_t width, str kind="number"):
        """A view of a new buffer, for ops to fill."""
        self.check_open()
        if width < 0:
            raise ValueError(f"width must not be negative, got {width}")
        return Builder(self.program[0]).storage(
            <Kind> <int> _KINDS[kind], -1 if timeline is None else self.checked_timeline(timeline), width)

    def once(self, ptrdiff_t width):
        """A view of a new buffer that has one row for the whole batch, for sums over it."""
        cdef int view = self.buffer(None, width)
        self.storage_of(view).once = True
        return view

    def buffer_like(self, int view):
        """A view of a new buffer of the same timeline, width and kind."""
        self.check_views((view,))
        cdef int timeline = self.timeline_of(view)
        return self.buffer(None if timeline < 0 else timeline, self.width_of(view),
                           ["number", "token", "mask"][<int> self.storage_of(view).kind])

    def place_of(self, int view):
        """Of a view: the number of its buffer, and in that the first column, the width, and whether it is reversed."""
        self.check_view(view)
        cdef CView seen = self.program.views[view]
        return seen.storage, seen.column, seen.width, True if seen.reversed else False

    def form_of(self, int view):
        """Of a view's buffer: its kind, its timeline or None, its width, and which input it is, or None."""
        self.check_view(view)
        cdef CStorage *storage = self.storage_of(view)
        return (["number", "token", "mask"][<int> storage.kind], None if storage.timeline < 0 else storage.timeline,
                storage.width, None if storage.input < 0 else storage.input)

    def length_of(self, int timeline):
        """The length of a timeline where it is constant, else None."""
        cdef ptrdiff_t length = self.program.timelines[self.checked_timeline(timeline)].constant
        return None if length < 0 else length

    def whole(self, int view):
        """A view of all columns of a view's buffer, forward in time."""
        self.check_views((view,))
        cdef CView made = self.program.views[view]
        made.column, made.width, made.reversed = 0, self.storage_of(view).width, False
        return Builder(self.program[0]).view(made)

    def reversed(self, int view):
        """The same, from the last timestep to the first."""
        self.check_views((view,))
        cdef CView made = self.program.views[view]
        made.reversed = not made.reversed
        return Builder(self.program[0]).view(made)

    def columns(self, int view, ptrdiff_t first, ptrdiff_t width):
        """The elements from `first` on, `width` of them, of each row or timestep."""
        self.check_views((view,))
        cdef CView made = self.program.views[view]
        if first < 0 or width < 0 or first + width > made.width:
            raise ValueError(f"columns must lie in the {made.width} of the view, got {width} from {first} on")
        made.column += first
        made.width = width
        return Builder(self.program[0]).view(made)

    def reshaped(self, int view, timeline, ptrdiff_t width):
        """A view of a new buffer with the same elements of each row, in another form. `run` refuses timelines whose
        lengths do not fit."""
        self.check_views((view,))
        cdef int made = self.buffer(timeline, width, ["number", "token", "mask"][<int> self.storage_of(view).kind])
        Builder(self.program[0]).reshape(view, made)
        return made

    # ------------------------------------------------------------ checks

    cdef CStorage *storage_of(self, int view) noexcept:
        return &self.program.storages[self.program.views[view].storage]

    cdef int check_open(self) except -1:
        if self.finished:
            raise ValueError("a finished program does not change")
        return 0

    cdef int checked_timeline(self, int timeline) except -1:
        if not 0 <= timeline < <int> self.program.timelines.size():
            raise ValueError(f"there is no timeline {timeline}")
        return timeline

    cdef ptrdiff_t width_of(self, int view) except -1:
        self.check_views((view,))
        return self.program.views[view].width

    cdef int timeline_of(self, int view) noexcept:
        return self.storage_of(view).timeline

    cdef int check_view(self, int view) except -1:
        if not 0 <= view < <int> self.program.views.size():
            raise ValueError(f"there is no view {view}")
        return 0

    cdef int check_views(self, views, int slot=-1) except -1:
        self.check_open()
        for view in views:
            self.check_view(view)
        if slot != -1 and not 0 <= slot < self.program.slots:
            raise ValueError(f"there is no slot {slot}")
        return 0

    cdef int check_widths(self, int x, int out) except -1:
        if self.width_of(x) != self.width_of(out):
            raise ValueError(f"x and out must have one width, got {self.width_of(x)} and {self.width_of(out)}")
        if self.storage_of(x).kind != self.storage_of(out).kind:
            raise ValueError("x and out must be of one kind")
        return 0

    cdef int check_alike(self, int x, int out, int slot=-1) except -1:
        """Check an op that computes each timestep of numbers alone."""
        self.check_views((x, out), slot)
        self.check_beside(x, out)
        self.check_timelines(x, out, self.timeline_of(out) >= 0, self.timeline_of(out) >= 0)
        return self.check_widths(x, out)

    cdef int check_beside(self, int x, int out, Kind kind=Kind.number) except -1:
        """Check that x is on the timeline of out, or on none, and of this kind."""
        self.check_views((x, out))
        if self.storage_of(x).kind != kind:
            raise ValueError(f"view {x} is of another kind")
        if self.timeline_of(x) not in (-1, self.timeline_of(out)):
            raise ValueError(f"view {x} is on timeline {self.timeline_of(x)}, and out on {self.timeline_of(out)}")
        return 0

    cdef int check_mask(self, mask, int out) except -1:
        """Check a mask over the timesteps of out, or None."""
        if mask is not None:
            self.check_beside(mask, out, Kind.mask)
            if self.width_of(mask) != 1:
                raise ValueError(f"a mask must have width 1, got {self.width_of(mask)}")
        return 0

    cdef int check_timelines(self, int x, int out, bint of_x, bint of_out) except -1:
        if (self.timeline_of(x) >= 0) != of_x or (self.timeline_of(out) >= 0) != of_out:
            raise ValueError(f"x must{'' if of_x else ' not'} have timesteps, and out must{'' if of_out else ' not'}, "
                             f"got timelines {self.timeline_of(x)} and {self.timeline_of(out)}")
        return 0

    cdef int check_back(self, int saved, int d_y, d_x, terms, int slot=-1) except -1:
        """Check a way back through an op that computes each timestep of numbers alone."""
        if d_x is None and terms is None:
            raise ValueError("there must be something to fill")
        for view in (saved, d_x, terms):
            if view is not None:
                self.check_alike(d_y, view, slot)
        return 0

    cdef int check_parts(self, int view, ptrdiff_t each) except -1:
        if each < 1 or self.width_of(view) % each:
            raise ValueError(f"a view of width {self.width_of(view)} cannot be divided into parts of {each}")
        return 0
