"""What the ops of a step read and fill."""

from dataclasses import dataclass


@dataclass(eq=False)
class Buffer:
    """The elements of one timestep.

    Parameters
    ----------
    kind : str
        "number", "token" or "mask".
    width : int
        How many elements there are.
    timed : bool
        Whether it has timesteps.
    always : bool
        Whether it is a mask that is true at all timesteps, and so nowhere in memory.
    place : str
        The C expression of its first element's address, once there is one; "" while nothing needs it.
    is_local : bool
        Whether that is an array of the function that fills it.
    """

    kind: str
    width: int
    timed: bool
    always: bool = False
    place: str = ""
    is_local: bool = False


@dataclass(frozen=True)
class View:
    """Some elements of a buffer, side by side: `width` of them from `column` on."""

    buffer: Buffer
    column: int
    width: int

    @property
    def is_whole(self) -> bool:
        """Whether it has all elements of the buffer."""
        return self.width == self.buffer.width

    @property
    def is_needed(self) -> bool:
        """Whether anything reads it: else it has no place."""
        return bool(self.buffer.place)

    def address(self, offset: str = "") -> str:
        """The C expression of its address, or of one that lies behind it."""
        parts = [self.buffer.place, *[str(self.column)] * (self.column > 0), *[offset] * bool(offset)]
        return " + ".join(parts)

    def at(self, index: str) -> str:
        """The C expression of one element."""
        if self.buffer.always:
            return "1"
        return f"{self.buffer.place}[{self.column} + {index}]" if self.column else f"{self.buffer.place}[{index}]"

    def columns(self, first: int, width: int) -> "View":
        """`width` of its elements, from `first` on."""
        return View(self.buffer, self.column + first, width)
