"""A stack of cells as calls of the engine: layer after layer, or, where rows are few, as a wave through time.

Layers wait for each other over the same timesteps; a layer, and the one above it over earlier timesteps, do not. So a
sequence in parts keeps as many threads busy as there are layers, where the batch has too few rows to.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cyrnn.engine import threads
from cyrnn.engine.plan import Call, Plan
from cyrnn.layers.arguments import Array

# Multiply-adds of a part: less, and waiting for each other takes more than is won. (benchmarks/stacks.py)
_PART = 1e7
_MOST_PARTS = 32


@dataclass
class Stage:
    """One cell over the whole sequence: its plan, and the arrays that it reads and fills. See `Plan.call`."""

    plan: Plan
    x: Array
    output: Array
    whole: bool  # output has all timesteps, not the last one alone
    begin: Array | None
    state: Array | None
    options: dict[str, Any]

    def call(self, first: int, last: int) -> Call:
        """The call for these timesteps, in the order of processing; the earlier ones have been run."""
        timesteps = self.x.shape[1]
        x, output = self.x, self.output if self.whole else None
        if last - first < timesteps:
            x = x[:, timesteps - last : timesteps - first] if self.options["go_backwards"] else x[:, first:last]
            output = self.output[:, first:last] if self.whole else None
        return self.plan.call(
            x,
            initial_state=self.begin if first == 0 else self.state,
            outputs=output,
            last_output=self.output if not self.whole and last == timesteps else None,
            state=self.state,
            **self.options,
        )


def calls_of(stages: list[Stage], masked: bool) -> Iterator[list[Call]]:
    """Lists of calls that do not wait for each other; each list waits for the one before.

    A masked timestep repeats the output of an earlier one, which a part would not know of: those go as a whole.
    """
    timesteps = stages[0].x.shape[1]
    parts = 1 if masked else _parts(stages)
    if parts > 1:  # each begins with the state that the one before it left
        for stage in stages:
            if stage.state is None:
                stage.state = np.empty((len(stage.x), stage.plan.units), stage.plan.dtype)
    ends = [timesteps * part // parts for part in range(parts + 1)]
    for wave in range(parts + len(stages) - 1):
        going = range(max(0, wave - parts + 1), min(len(stages), wave + 1))
        yield [stages[level].call(ends[wave - level], ends[wave - level + 1]) for level in going]


def _parts(stages: list[Stage]) -> int:
    """How many parts the sequence is cut into; 1 where a single layer can keep the threads busy, or is soon done."""
    batch, timesteps = stages[0].x.shape[:2]
    if len(stages) == 1:
        return 1
    each = min(stage.plan.units * (stage.plan.features + stage.plan.units) for stage in stages)
    parts = int(min(batch * timesteps * each / _PART, timesteps, _MOST_PARTS))
    return 1 if parts < 2 or batch >= 4 * threads.get_num_threads() or threads.get_num_threads() == 1 else parts
