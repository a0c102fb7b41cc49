"""What an act takes at most, for fuzzing: CPU time of its process, and memory of Python and NumPy."""

import contextlib
import time
import tracemalloc
from collections.abc import Iterator


@contextlib.contextmanager
def within(seconds: float, memory: int) -> Iterator[None]:
    """Check that the block takes no more CPU time and bytes, also where it raises."""
    tracemalloc.start()
    begun = time.process_time()
    try:
        yield
    finally:
        taken, most = time.process_time() - begun, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert taken < seconds and most < memory, (taken, most)
