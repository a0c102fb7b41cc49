"""The ways back through the ops that have weights: see ops_gradient.hpp."""

from collections.abc import Sequence

from cyrnn.engine.gradients.noted import Note, Noted, SlotFacts, View, Way
from cyrnn.engine.plan import CELLS, FROM_SUMS


class Weighted(Noted):
    """The part of a program with notes that adds recurrences and dense layers."""

    def dense(self, slot: int, x: View, out: View, vectors: int = 1, *, sums: View | None = None) -> None:
        sums = self._sums(slot, out) if sums is None else sums
        super().dense(slot, x, out, vectors, sums=sums)

        def back(way: Way) -> None:
            parts = [] if sums is None or (of_sums := way.gradient(sums)) is None else [of_sums]
            d_y = way.gradient(out)
            if d_y is not None and self.facts[slot].activation != "linear":
                d_y, of_output = way.program.buffer_like(d_y), d_y
                saved = way.value(sums if sums is not None and self.facts[slot].activation in FROM_SUMS else out)
                units = self.place_of(out)[2] // vectors
                way.program.activation_gradient(saved, of_output, d_y, units, slot=way.slot(slot, "kernel"))
            parts += [] if d_y is None else [d_y]
            if not parts:
                return
            d_z = parts[0]
            if len(parts) > 1:
                d_z = way.program.buffer_like(d_z)
                way.program.merge("add", parts, d_z)
            if way.reaches(x):
                d_x = way.like(x)
                way.program.dense(way.slot(slot, "kernel"), d_z, d_x, vectors)
                way.add(x, d_x)
            features, units = self.place_of(x)[2] // vectors, self.place_of(out)[2] // vectors
            d_kernel = way.weight(slot, "kernel", (features, units)) if way.trains(slot, "kernel") else None
            d_bias = way.weight(slot, "bias", (units,)) if way.trains(slot, "bias") else None
            if d_kernel is not None or d_bias is not None:
                way.program.kernel_gradient(
                    way.slot(slot, "kernel"), way.value(x), d_z, d_kernel=d_kernel, d_bias=d_bias, vectors=vectors
                )

        self.notes.append(Note((x,), (out,) if sums is None else (out, sums), slot, back))

    def recurrent(
        self,
        slot: int,
        x: View,
        *,
        outputs: View | None = None,
        last_output: View | None = None,
        mask: View | None = None,
        initial: Sequence[View] = (),
        final: Sequence[View] = (),
        zero_output_for_mask: bool = False,
        input_dropout: View | None = None,
        recurrent_dropout: View | None = None,
        sums: View | None = None,
    ) -> None:
        facts = self.facts[slot]
        saved_lines, d_lines, d_recurrent = _lines_of(facts)
        form = None if facts.cell is None else CELLS[facts.cell]
        anywhere = next(view for view in (outputs, last_output, *final) if view is not None)
        units, timeline = self.place_of(anywhere)[2], self.form_of(x)[1]
        turned = self.place_of(x)[3]
        states = outputs
        if states is None:  # the way back reads them all
            states = self.buffer(timeline, units)
            states = self.reversed(states) if turned else states
        assert sums is None
        if saved_lines:
            sums = self.buffer(timeline, saved_lines * units)
            sums = self.reversed(sums) if turned else sums
        super().recurrent(
            slot,
            x,
            outputs=states,
            last_output=last_output,
            mask=mask,
            initial=initial,
            final=final,
            zero_output_for_mask=zero_output_for_mask,
            input_dropout=input_dropout,
            recurrent_dropout=recurrent_dropout,
            sums=sums,
        )

        def back(way: Way) -> None:
            d_outputs = None if outputs is None else way.gradient(outputs)
            d_last = None if last_output is None else way.gradient(last_output)
            count = 1 if form is None else form.states
            d_final = [way.gradient(view) for view in final] or [None] * count
            if d_outputs is None and d_last is None and d_final == [None] * count:
                return
            d_z = way.like(x, d_lines * units)
            d_initial = [way.like(view) if way.reaches(view) else None for view in initial] or [None] * count
            keep = None if mask is None else way.value(mask)
            factors = None if recurrent_dropout is None else way.value(recurrent_dropout)
            turn = way.program.reversed
            parts: tuple[int, ...] = ()  # gates of the recurrent kernel, each with an h of their own
            if form is not None and recurrent_dropout is not None and self.place_of(recurrent_dropout)[2] > units:
                parts = (1,) * form.recurrent
            elif form is not None and form.between:
                parts = (form.recurrent - 1, 1)
            way.program.recurrent_gradient(
                way.slot(slot, "recurrent_kernel", parts),
                turn(way.value(states if sums is None else sums)),
                turn(d_z),
                d_final,
                d_initial,
                mask=None if keep is None else turn(keep),
                recurrent_dropout=factors,
                d_outputs=None if d_outputs is None else turn(d_outputs),
                d_last_output=d_last,
                zero_output_for_mask=zero_output_for_mask,
            )
            for view, d_state in zip(initial, d_initial, strict=False):
                if d_state is not None:
                    way.add(view, d_state)
            of_x, of_h = d_z, d_z  # the gradients of the sums of x, and of those of h
            if d_recurrent:
                of_x, of_h = (
                    way.program.columns(d_z, first * units, count * units)
                    for first, count in ((0, d_recurrent), (d_recurrent, d_lines - d_recurrent))
                )
            of_inputs = None if input_dropout is None else way.value(input_dropout)
            if way.reaches(x):
                d_x = way.like(x)
                features = self.place_of(x)[2]
                if form is not None and of_inputs is not None and way.program.place_of(of_inputs)[2] > features:
                    way.program.input_gradient(way.slot(slot, "kernel", (1,) * form.gates), of_x, of_inputs, d_x)
                else:
                    way.program.dense(way.slot(slot, "kernel"), of_x, d_x)
                    if of_inputs is not None:
                        d_x, before = way.like(x), d_x
                        way.program.merge("multiply", [before, of_inputs], d_x)
                way.add(x, d_x)
            d_kernel, d_recurrent_kernel, d_bias = (
                way.weight(slot, name, facts.trainable[name]) if way.trains(slot, name) else None
                for name in ("kernel", "recurrent_kernel", "bias")
            )
            between = None
            if form is not None and form.between and sums is not None:
                between = way.program.columns(way.value(sums), form.between * units, units)
            terms = [(of_x, d_kernel, d_recurrent_kernel, d_bias)]
            if of_x != of_h:
                biases = [
                    None if d_bias is None else way.program.columns(d_bias, first * units, count * units)
                    for first, count in ((0, d_recurrent), (d_recurrent, d_lines - d_recurrent))
                ]
                terms = [(of_x, d_kernel, None, biases[0]), (of_h, None, d_recurrent_kernel, biases[1])]
            for d_sums, *d_weights in terms:
                if d_weights != [None, None, None]:
                    way.program.kernel_gradient(
                        way.slot(slot, "recurrent_kernel", parts),
                        way.value(x),
                        d_sums,
                        mask=keep,
                        input_dropout=None if d_weights[0] is None else of_inputs,
                        recurrent_dropout=None if d_weights[1] is None else factors,
                        outputs=way.value(states),
                        initial=way.value(initial[0]) if initial else None,
                        between=None if d_weights[1] is None else between,
                        d_kernel=d_weights[0],
                        d_recurrent_kernel=d_weights[1],
                        d_bias=d_weights[2],
                    )

        fills = tuple(view for view in (outputs, last_output, *final) if view is not None)
        self.notes.append(Note((x, *initial), fills, slot, back))

    def _sums(self, slot: int, out: View) -> View | None:
        """A buffer for what an activation is applied to, where its derivative is made of that."""
        return self.buffer_like(out) if self.facts[slot].activation in FROM_SUMS else None


def _lines_of(facts: SlotFacts) -> tuple[int, int, int]:
    """Of a recurrence, for each unit: what the way back reads beside the outputs, the gradients of its sums, and the
    first of them that is of a sum of h."""
    if facts.cell is None:
        return int(facts.activation in FROM_SUMS), 1, 0
    form = CELLS[facts.cell]
    sums = form.gates if FROM_SUMS & {facts.activation, facts.recurrent_activation} else 0
    return form.saved + sums, form.d_sums, form.d_recurrent
