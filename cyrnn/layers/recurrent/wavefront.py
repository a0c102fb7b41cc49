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
from cyrnn.layers.base.arguments import Array

# Multiply-adds of a part: less, and waiting for each other takes more than is won. (benchmarks/stacks.py)
_PART = 1e7
_MOST_PARTS = 32


@dataclass
class Stage:
    """One cell over the whole sequence: its plan, and the arrays that it reads and fills. See `Plan.call`."""

    plan: Plan
    batch: int
    timesteps: int
    whole: bool  # output has all timesteps, not the last one alone
    output: Array | None  # made when it is first written to, if it is not given
    begin: Array | None
    state: Array | None
    options: dict[str, Any]

    def call(self, x: Array, first: int, last: int) -> Call:
        """The call for these timesteps, in the order of processing; the earlier ones have been run."""
        timesteps = self.timesteps
        if self.output is None:
            shape = (self.batch, timesteps, self.plan.units) if self.whole else (self.batch, self.plan.units)
            self.output = np.empty(shape, self.plan.dtype)
        output = self.output if self.whole else None
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


def calls_of(stages: list[Stage], x: Array, masked: bool) -> Iterator[list[Call]]:
    """Lists of calls that do not wait for each other; each list waits for the one before.

    A masked timestep repeats the output of an earlier one, which a part would not know of: those go as a whole. What
    lies between two layers is let go of when the upper one has read it.
    """
    parts = 1 if masked else _parts(stages)
    if parts > 1:  # each begins with the state that the one before it left
        for stage in stages:
            if stage.state is None:
                stage.state = np.empty((stage.batch, stage.plan.units), stage.plan.dtype)
    ends = [stages[0].timesteps * part // parts for part in range(parts + 1)]
    inputs: list[Array | None] = [x, *[None] * (len(stages) - 1)]
    for wave in range(parts + len(stages) - 1):
        calls = []
        for level in range(max(0, wave - parts + 1), min(len(stages), wave + 1)):
            given = inputs[level] if level == 0 else stages[level - 1].output
            assert given is not None  # the stage below has been called, and is let go of later
            calls.append(stages[level].call(given, ends[wave - level], ends[wave - level + 1]))
        yield calls
        finished = wave - parts + 1  # the stage that has run its last part
        del calls, given
        if finished == 0:
            inputs[0] = None
        elif finished > 0:
            stages[finished - 1].output = None


def _parts(stages: list[Stage]) -> int:
    """How many parts the sequence is cut into; 1 where a single layer can keep the threads busy, or is soon done."""
    batch, timesteps = stages[0].batch, stages[0].timesteps
    if len(stages) == 1:
        return 1
    each = min(stage.plan.units * (stage.plan.features + stage.plan.units) for stage in stages)
    parts = int(min(batch * timesteps * each / _PART, timesteps, _MOST_PARTS))
    return 1 if parts < 2 or batch >= 4 * threads.get_num_threads() or threads.get_num_threads() == 1 else parts
