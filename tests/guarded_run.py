"""Runs the engine over arrays between pages that fault: ``python guarded_run.py ENGINE ISA FIRST CASES``.

It prints each case before it runs it. So when the process dies of a fault, the last line names the case.
"""

import ctypes
import os
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from guard_pages import Fenced, random_strides
from program_models import Model, call_from_c, stack
from recurrent_program import outputs_of, program_of

import cyrnn
from cyrnn.engine import plan as engine
from cyrnn.engine.plan import ACTIVATIONS, Plan, Slot
from cyrnn.engine.program import Program
from cyrnn.engine.runner import Runner
from cyrnn.layers import GRU, LSTM, Dense, Embedding, SimpleRNN
from cyrnn.models.programs import flat_weights, training_step

C = cyrnn.capi.functions()
TRAINING_EVERY = 9  # cases: it takes long too
FEW_UNITS_EVERY = 4
SHARED_ROW_EVERY = 26
Weights = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]


class Case:
    """Sizes and options that follow from a number: in 2210 of them, all pairs of units and batch in both dtypes.

    With `few_units` there are more rows than that, which the engine computes side by side. With `shared_row` there is
    one of many units, which threads share.
    """

    def __init__(self, number: int, place: str, few_units: bool = False, shared_row: bool = False) -> None:
        self.number, self.place = number, place
        self.units, self.batch = 1 + number % 65, 1 + number % 17
        self.features = 1 + (37 * number + number // 65) % 65
        self.timesteps = 1 + number // 65 % 5
        if few_units:
            self.units, self.batch = 1 + number // FEW_UNITS_EVERY % 19, 1 + 7 * number % 71
            self.features, self.timesteps = 1 + 5 * number % 23, 2 + number % 37
        self.dtype = ("float32", "float64")[number % 2]
        self.activation = list(ACTIVATIONS)[number % len(ACTIVATIONS)]
        if shared_row:
            self.units, self.batch, self.timesteps, self.activation = 256 + self.units, 1, 40, "tanh"
        self.rng = np.random.default_rng(number)

    def __str__(self) -> str:
        sizes = f"batch {self.batch}, timesteps {self.timesteps}, features {self.features}, units {self.units}"
        return f"case {self.number}: {sizes}, {self.dtype}, {self.activation}, {self.place} end at a page that faults"

    def draw(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(self.dtype)

    def chance(self) -> bool:
        return bool(self.rng.random() < 0.5)

    def weights(self, features: int, recurrent: bool = True) -> Weights:
        kernel, recurrent_kernel = self.draw(features, self.units), self.draw(self.units, self.units)
        return kernel, recurrent_kernel if recurrent else None, self.draw(self.units) if self.chance() else None

    def fenced(self, values: np.ndarray | None, any_strides: bool = False) -> np.ndarray | None:
        """The same values in an array that lies at a page that faults, and can only be read."""
        if values is None:
            return None
        strides = random_strides(self.rng, values.shape) if any_strides else None
        return Fenced(values.shape, values.dtype, self.place, strides, values).array

    def to_fill(self, *shape: int, any_rows: bool = False) -> Fenced:
        strides = random_strides(self.rng, shape, contiguous_rows=True) if any_rows else None
        return Fenced(shape, self.dtype, self.place, strides)


def in_sequence(plans: Sequence[Plan]) -> Program:
    """Each plan over the outputs of the one before."""
    program = Program(plans[0].dtype.name)
    timeline = program.timeline()
    x = program.input("number", timeline, plans[0].features)
    for plan in plans:
        outputs = program.buffer(timeline, plan.units)
        program.recurrent(program.slot(), x, outputs=outputs)
        x = outputs
    program.output(x)
    program.finish()
    return program


def same(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.tobytes() == expected.tobytes(), "other bits than in ordinary memory"


@contextmanager
def weights_guarded(place: str) -> Any:
    """Plans that are made meanwhile keep their weights at a page that faults."""
    os.environ["CYRNN_GUARD_PAGES"] = place
    try:
        yield
    finally:
        del os.environ["CYRNN_GUARD_PAGES"]


class FencedNumPy:
    """NumPy, whose new arrays lie at a page that faults."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def empty(self, shape: Any, dtype: Any) -> np.ndarray:
        return Fenced(shape if isinstance(shape, tuple) else (shape,), dtype, self.place).array

    def zeros(self, shape: Any, dtype: Any) -> np.ndarray:
        array = self.empty(shape, dtype)
        array[...] = 0
        return array

    def concatenate(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        joined = np.concatenate(arrays)
        array = self.empty(joined.shape, joined.dtype)
        array[...] = joined
        return array


@contextmanager
def arrays_fenced(place: str) -> Any:
    """What steps of training that are made meanwhile compute in lies at a page that faults."""
    modules: Any = (flat_weights, training_step)
    for module in modules:
        module.np = FencedNumPy(place)
    try:
        yield
    finally:
        for module in modules:
            module.np = np


class Checks:
    """What is run with the same weights in ordinary memory, and with everything between pages that fault."""

    def __init__(self, case: Case, engine_name: str, isa: str) -> None:
        self.case, self.engine, self.isa = case, engine_name, isa

    def plans(self, weights: Weights) -> tuple[Plan, Plan]:
        """The same plan in ordinary memory and between pages that fault; some round what they multiply."""
        options = self.case.activation, self.isa, self.engine
        precision = "bfloat16" if self.case.number % 5 == 4 else "float32"
        plain = Plan(*weights, *options, precision=precision)
        with weights_guarded(self.case.place):
            return plain, Plan(*map(self.case.fenced, weights), *options, precision=precision)

    def call(self) -> None:
        """Recurrent and dense plans: inputs of all layouts, masks, states, dropout, outputs."""
        case = self.case
        batch, timesteps, features, units = case.batch, case.timesteps, case.features, case.units
        plain, guarded = self.plans(case.weights(features, recurrent=case.number % 7 > 0))
        x = case.draw(batch, timesteps, features)
        mask = case.rng.random((batch, timesteps)) < 0.6 if case.chance() else None
        flags = {"zero_output_for_mask": case.chance(), "go_backwards": case.chance()}
        read = {"initial_state": case.draw(batch, units) if case.chance() else None}
        if case.number % 3 == 0:
            read |= {"input_dropout": case.draw(batch, features), "recurrent_dropout": case.draw(batch, units)}
        x_fenced = case.fenced(x, any_strides=case.chance())
        if case.number % 7 == 0:
            program, slots = program_of(features, units, case.dtype, recurrent=False), []
            for plan in (plain, guarded):
                slots.append(Slot({}))
                slots[-1].pack(slots[-1].values, plan)
            filled = [case.to_fill(batch, timesteps, units, any_rows=True)]
            expected = (program.run((slots[0],), (x,)),)
            program.run((slots[1],), (x_fenced,), out=(filled[0].array,))
        else:
            filled = [case.to_fill(*shape, any_rows=True) for shape in ((batch, timesteps, units), (batch, units))]
            filled.append(case.to_fill(batch, units))
            expected = outputs_of(plain, x, mask=mask, **flags, **read)
            outputs_of(
                guarded,
                x_fenced,
                mask=case.fenced(mask, any_strides=True),
                **flags,
                **{name: case.fenced(values) for name, values in read.items()},
                num_threads=3,
                out=tuple(room.array for room in filled),
            )
        for room, values in zip(filled, expected, strict=True):
            same(room.filled(), values)

    def cell(self) -> None:
        """A layer with gates and its gradients, with a mask or without, with dropout or without."""
        case = self.case
        kind, own = ((LSTM, {}), (GRU, {}), (GRU, {"reset_after": False}))[case.number // FEW_UNITS_EVERY % 3]
        own = {**own, "dropout": 0.3, "recurrent_dropout": 0.3, "seed": 5} if case.chance() else own
        plain, guarded = (
            kind(case.units, dtype=case.dtype, return_sequences=True, recurrent_initializer="zeros", **own)
            for _ in range(2)
        )
        x = case.draw(case.batch, case.timesteps, case.features)
        mask = case.rng.random(x.shape[:2]) < 0.7 if case.chance() else None
        for layer in (plain, guarded):
            layer.build(x.shape)
        plain.set_weights([case.draw(*weight.shape) for weight in plain.weights])
        guarded.set_weights(plain.get_weights())
        with weights_guarded(case.place):
            same(guarded(case.fenced(x, True), mask=case.fenced(mask, True)), plain(x, mask=mask))
            out = case.to_fill(*x.shape[:2], case.units)
            guarded.predict(case.fenced(x), batch_size=case.batch, out=out.array)
        same(out.filled(), plain(x))
        self.gradients(plain, guarded, x, mask=mask, training=True)

    def gradients(self, plain: Any, guarded: Any, x: np.ndarray, **options: Any) -> None:
        """Those of two layers with the same weights, the second between pages that fault."""
        case = self.case
        y, pullback = plain.vjp(x, **options)
        dy = case.draw(*y.shape)
        wanted = pullback(dy)
        guarded_y, guarded_pullback = guarded.vjp(case.fenced(x), **options)
        same(guarded_y, y)
        with weights_guarded(case.place):  # they are transposed now
            found = guarded_pullback(case.fenced(dy))
        for gradient, other in zip([found.inputs, *found.weights], [wanted.inputs, *wanted.weights], strict=True):
            same(gradient, other)

    def runners(self) -> tuple[Runner, Runner]:
        """Of one plan, or of two in sequence."""
        case = self.case
        features = [case.features, case.units][: 1 + case.number % 2]
        plain, guarded = zip(*(self.plans(case.weights(f)) for f in features), strict=True)
        program = in_sequence(plain)
        return Runner(program, plain, case.batch), Runner(program, guarded, case.batch)

    def steps(self) -> None:
        plain, guarded = self.runners()
        for _ in range(self.case.timesteps):
            x_t, out = (
                self.case.draw(self.case.batch, self.case.features),
                self.case.to_fill(self.case.batch, self.case.units),
            )
            guarded.step(self.case.fenced(x_t), out.array)
            same(out.filled(), plain.step(x_t))

    def c_interface(self) -> None:
        """The functions of cyrnn.h, on a runner in memory that lies at a page that faults."""
        case, f = self.case, C
        plain, guarded = self.runners()
        size, runner = ctypes.c_size_t(), ctypes.c_void_p()
        assert f["runner_size"](guarded.model_address, case.batch, ctypes.addressof(size)) == 0
        spare = 64  # bytes that it takes for memory that begins anywhere; this begins where no such byte is needed
        memory = Fenced((size.value - spare,), np.uint8, case.place).array
        made = f["runner_create"](guarded.model_address, case.batch, memory.ctypes.data, size, ctypes.addressof(runner))
        assert made == 0 and runner.value == memory.ctypes.data

        def call(name: str, *arguments: Any) -> None:
            pointers = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments]
            assert f[f"{name}_f{np.dtype(case.dtype).itemsize * 8}"](runner, *pointers) == 0

        last, rows, units = len(plain.packed) - 1, case.batch, case.units
        x, x_t, state = (
            case.draw(rows, case.timesteps, case.features),
            case.draw(rows, case.features),
            case.draw(rows, units),
        )
        outputs, output, got = (
            case.to_fill(rows, case.timesteps, units),
            case.to_fill(rows, units),
            case.to_fill(rows, units),
        )
        plain.set_state(last, state)
        call("set_state", last, 0, rows, case.fenced(state))
        call("forward", case.timesteps, case.fenced(x), outputs.array)
        same(outputs.filled(), np.stack([plain.step(x[:, t]) for t in range(case.timesteps)], 1))
        call("step", case.fenced(x_t), output.array)
        same(output.filled(), plain.step(x_t))
        call("get_state", last, 0, rows, got.array)
        same(got.filled(), plain.get_state(last))
        assert f["runner_destroy"](runner) == 0

    def model(self) -> None:
        """A program of several ops: its call, its steps, and the functions of cyrnn.h for it."""
        case = self.case

        def made() -> Model:
            model = Model(np.random.default_rng(case.number), case.dtype, engine=self.engine, isa=self.isa)
            tokens = model.input(1, "token")
            h = model.recurrent(model.embedding(tokens, 9, case.features), case.units, mask=model.nonzero(tokens))
            return model.finished(h, model.dense(h, 3, "softmax"))

        plain = made()
        with weights_guarded(case.place):
            guarded = made()
        tokens = case.rng.integers(0, 9, (case.batch, case.timesteps))
        called = plain.call(tokens)
        for array, expected in zip(guarded.call(case.fenced(tokens)), called, strict=True):
            same(array, expected)
        one, other = plain.runner(case.batch), guarded.runner(case.batch)
        filled, expected = [case.to_fill(*array.shape) for array in called], [np.empty_like(array) for array in called]
        arrays = [room.array for room in filled]
        assert call_from_c("forward", other, case.timesteps, None, [case.fenced(tokens)], arrays) == "ok"
        assert call_from_c("forward", one, case.timesteps, None, [tokens], expected) == "ok"
        for room, array in zip(filled, expected, strict=True):
            same(room.filled(), array)
        filled = [case.to_fill(case.batch, width) for width in (case.units, 3)]
        other.step(case.fenced(tokens[:, 0].copy()), tuple(room.array for room in filled))
        for room, array in zip(filled, one.step(tokens[:, 0]), strict=True):
            same(room.filled(), array)

    def lengths(self) -> None:
        """A program that takes lengths, from cyrnn.h."""
        case = self.case
        model = stack(np.random.default_rng(case.number), case.dtype, engine=self.engine, isa=self.isa)
        x, lengths = case.draw(case.batch, case.timesteps, 5), case.rng.integers(0, case.timesteps + 1, case.batch)
        expected = [np.empty(array.shape, case.dtype) for array in model.call(x)]
        filled = [case.to_fill(*array.shape) for array in expected]
        for arguments in (
            (lengths, [x], expected),
            (case.fenced(lengths), [case.fenced(x)], [room.array for room in filled]),
        ):
            assert call_from_c("forward", model.runner(case.batch), case.timesteps, *arguments) == "ok"
        for room, array in zip(filled, expected, strict=True):
            same(room.filled(), array)

    def layer(self) -> None:
        """A layer's call, `predict`, stepper and gradients; without initial states, so that the shortest way is taken
        too."""
        case = self.case
        options = {"dtype": case.dtype, "return_sequences": True, "recurrent_initializer": "zeros"}  # which is quick
        layers = [SimpleRNN(case.units, case.activation, **options) for _ in range(2)]
        x, weights = case.draw(case.batch, case.timesteps, case.features), case.weights(case.features)
        weights = *weights[:2], np.zeros(case.units, case.dtype) if weights[2] is None else weights[2]
        for layer, values in zip(layers, (weights, map(case.fenced, weights)), strict=True):
            layer.build(x.shape)
            layer.set_weights(list(values))
        plain, guarded = layers
        expected, out = plain(x), case.to_fill(*x.shape[:2], case.units)
        with weights_guarded(case.place):
            same(guarded(case.fenced(x)), expected)
            stepper = guarded.stepper(case.batch)
        guarded.predict(case.fenced(x), batch_size=case.batch, out=out.array)
        same(out.filled(), expected)
        same(stepper.step(case.fenced(x[:, 0].copy())), np.ascontiguousarray(expected[:, 0]))
        self.gradients(plain, guarded, x)

    def training(self) -> None:
        """Steps of training: with data, memory, weights and slots at pages that fault."""
        case = self.case
        turn = case.number // TRAINING_EVERY
        losses = cyrnn.losses.MeanSquaredError, cyrnn.losses.BinaryCrossentropy, cyrnn.losses.CategoricalCrossentropy
        optimizer, rnn = ("adam", "rmsprop", "sgd", "adadelta")[turn % 4], (SimpleRNN, LSTM, GRU)[turn // 3 % 3]
        options = {"dtype": case.dtype, "recurrent_initializer": "zeros"}
        models = []
        for _ in range(2):
            model = cyrnn.Sequential([
                cyrnn.Input((case.timesteps,)),
                Embedding(9, case.features, mask_zero=bool(turn % 2), dtype=case.dtype),
                rnn(case.units, return_sequences=True, **options),
                Dense(3, "softmax", dtype=case.dtype),
            ])  # fmt: skip
            model.compile(optimizer, losses[turn % 3](dtype=case.dtype))
            models.append(model)
        plain, guarded = models
        guarded.set_weights(plain.get_weights())
        x, y = case.rng.integers(0, 9, (case.batch, case.timesteps)), case.draw(case.batch, case.timesteps, 3)
        weights = case.draw(case.batch) if case.chance() else case.draw(case.batch, case.timesteps)
        expected = [plain.train_on_batch(x, y, weights) for _ in range(2)]
        with weights_guarded(case.place), arrays_fenced(case.place):
            fenced = case.fenced(x, True), case.fenced(y), case.fenced(weights)
            found = [guarded.train_on_batch(*fenced) for _ in range(2)]
        assert guarded._compiled._step[1]._begun is not None
        assert found == expected
        for array, other in zip(guarded.get_weights(), plain.get_weights(), strict=True):
            same(array, other)

    def activation(self) -> None:
        case = self.case
        z, bias = case.draw(1 + case.number % 3, case.units), case.draw(case.units) if case.chance() else None
        fenced = case.to_fill(*z.shape)
        fenced.array[:] = z
        engine.activate(case.activation, z, bias, self.isa)
        engine.activate(case.activation, fenced.array, case.fenced(bias), self.isa)
        same(fenced.filled(), z)


def main(engine_name: str, isa: str, first: str, cases: str) -> None:
    os.environ.update(CYRNN_ENGINE=engine_name, CYRNN_ISA=isa)
    for number in range(int(first), int(first) + int(cases)):
        for place in ("upper", "lower"):
            checks = Checks(Case(number, place), engine_name, isa)
            layers = [checks.layer] if number % 8 == 0 else []  # they take long to make
            layers += [checks.training] if number % TRAINING_EVERY == 0 else []
            every = [
                checks.call,
                checks.steps,
                checks.c_interface,
                checks.model,
                checks.lengths,
                checks.activation,
                *layers,
            ]
            if number % FEW_UNITS_EVERY == 0:
                few = Checks(Case(number, place, few_units=True), engine_name, isa)
                every = [few.call, few.cell, *every]
            if number % SHARED_ROW_EVERY == 0:
                every = [Checks(Case(number, place, shared_row=True), engine_name, isa).call, *every]
            for check in every:
                print(check.__name__, check.__self__.case, sep=", ", flush=True)
                check()


if __name__ == "__main__":
    main(*sys.argv[1:])
