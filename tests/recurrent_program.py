"""A program of one recurrent layer, or of one dense layer, with all that a call of the engine may bring."""

import numpy as np

from cyrnn.engine.plan import Slot
from cyrnn.engine.program import Program


def program_of(features, units, dtype, zero_output_for_mask=False, reverse=False, recurrent=True):
    """It returns all outputs; of a recurrent layer also the last output and the final state."""
    program = Program(dtype)
    time, slot = program.timeline(), program.slot()
    x = program.input("number", time, features)
    outputs = program.buffer(time, units)
    if not recurrent:
        program.dense(slot, x, outputs)
        program.output(outputs)
        program.finish()
        return program
    mask = program.input("mask", time, 1, optional=True)
    drops = [program.input("number", None, width, optional=True) for width in (features, units)]
    initial = program.input("number", None, units, optional=True)
    last, final = program.buffer(None, units), program.buffer(None, units)
    program.recurrent(
        slot,
        program.reversed(x) if reverse else x,
        outputs=outputs,
        last_output=last,
        mask=program.reversed(mask) if reverse else mask,
        initial=[initial],
        final=[final],
        zero_output_for_mask=zero_output_for_mask,
        input_dropout=drops[0],
        recurrent_dropout=drops[1],
    )
    for view in (outputs, last, final):
        program.output(view)
    program.finish()
    return program


def run(program, plan, x, mask=None, state=None, dropout=(None, None), num_threads=1, out=None):
    """What the program returns with these weights; x must fit."""
    slot = Slot({})
    slot.pack(slot.values, plan)
    results = program.run((slot,), (x, mask, *dropout, state), num_threads=num_threads, out=out)
    assert results is not None
    return results


def outputs_of(
    plan,
    x,
    *,
    mask=None,
    initial_state=None,
    zero_output_for_mask=False,
    go_backwards=False,
    input_dropout=None,
    recurrent_dropout=None,
    num_threads=1,
    out=None,
):
    """All outputs, the last one and the final state of a recurrent plan."""
    program = program_of(plan.features, plan.units, np.dtype(plan.dtype).name, zero_output_for_mask, go_backwards)
    return run(program, plan, x, mask, initial_state, (input_dropout, recurrent_dropout), num_threads, out)
