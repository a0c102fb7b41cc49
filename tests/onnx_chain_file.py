"""A graph of ONNX nodes around recurrent ones, of which each shape is known: for random chains, see onnx_chains.

Of each tensor the shape is known for the batch that the file is made with. The length of the batch is an `int` of a
type of its own, so that it is never confused with another of the same length.
"""

import itertools
import string

import numpy as np
from onnx_by_hand import onnx

OPSETS = (11, 13, 17, 18, 21)
WORDS = 7


class Batch(int):
    """The length of the batch."""


class Graph:
    """A graph under construction. ONNX Runtime does not run `layout` 1: see `proto`."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.opset = int(self.rng.choice(OPSETS))
        self.nodes, self.constants, self.inputs, self.shapes = [], {}, [], {}
        self.names = itertools.count()
        self.batch, self.units = Batch(self.one_of(1, 2, 3, 5)), self.one_of(1, 2, 3, 4, 6)
        self.timesteps, self.features = self.one_of(1, 2, 3, 5, 6), self.one_of(1, 2, 3)
        self.fixed, self.open_timesteps = self.sometimes(0.3), self.sometimes(0.2)
        self.time_first, self.layout = self.sometimes(0.2), int(self.opset >= 17 and self.sometimes(0.15))
        self.words = self.sometimes(0.1)  # whether the input is integers, for a table
        self.own = {}  # outputs of RNNs as they are: the axes of the directions and the batch

    # ------------------------------------------------------------ chance

    def one_of(self, *values):
        return values[self.rng.integers(len(values))]

    def sometimes(self, chance):
        return bool(self.rng.random() < chance)

    def array(self, *shape):
        return (self.rng.uniform(0.2, 0.9, shape) * self.rng.choice([-1, 1], shape)).astype("f4")

    # ------------------------------------------------------------ nodes

    def constant(self, array, name="c"):
        name = f"{name}{next(self.names)}"
        self.constants[name] = np.asarray(array)
        return name

    def integers(self, *values):
        return self.constant(np.array(values, np.int64))

    def node(self, operator, inputs, *shapes, **attributes):
        """The names of what the node returns, which has these shapes."""
        names = [f"v{next(self.names)}" for _ in shapes]
        self.nodes.append(onnx.helper.make_node(operator, list(inputs), names, f"{operator}_{names[0]}", **attributes))
        self.shapes.update(zip(names, shapes, strict=True))
        return names[0] if len(names) == 1 else names

    def with_axes(self, operator, inputs, shape, axes, since, **attributes):
        """A node whose axes are an input from an opset on, an attribute before; None leaves them out."""
        if axes is None:
            return self.node(operator, inputs, shape, **attributes)
        if self.opset >= since:
            return self.node(operator, [*inputs, self.integers(*axes)], shape, **attributes)
        return self.node(operator, inputs, shape, axes=list(axes), **attributes)

    def some_axis(self, shape, least=1):
        batch = self.sometimes(0.1)
        found = [axis for axis, n in enumerate(shape) if n >= least and (batch or n is not self.batch)]
        return int(self.rng.choice(found)) if found else None

    def signed(self, axis, rank):
        return axis - rank if self.sometimes(0.4) else axis

    # ------------------------------------------------------------ the RNN

    def input(self, name, *shape):
        self.inputs.append((name, shape))
        self.shapes[name] = shape
        return name

    def recurrent(self, x, time_first):
        """An RNN, LSTM or GRU over sequences; Y, Y_h and perhaps Y_c."""
        operator = self.one_of("RNN", "LSTM", "GRU")
        gates, count_of_states = {"RNN": (1, 1), "LSTM": (4, 2), "GRU": (3, 1)}[operator]
        shape, units = self.shapes[x], self.units
        if bool(time_first) == bool(self.layout):
            x = self.transposed(x, (1, 0, 2))
        direction = self.one_of("forward", "reverse", "bidirectional")
        count = 2 if direction == "bidirectional" else 1
        weights = [
            self.constant(self.array(count, gates * units, shape[-1]), "W"),
            self.constant(self.array(count, gates * units, units), "R"),
        ]
        weights.append(self.constant(self.array(count, 2 * gates * units), "B") if self.sometimes(0.6) else "")
        b, t = self.batch, shape[0 if time_first else 1]
        state = (b, count, units) if self.layout else (count, b, units)
        steps = (b, t, count, units) if self.layout else (t, count, b, units)
        initial = [self.initial_state(x, state) for _ in range(count_of_states)]
        attributes = {"linear_before_reset": self.one_of(0, 1)} if operator == "GRU" else {}
        y, *states = self.node(
            operator,
            [x, *weights, "", *initial],
            steps,
            *[state] * count_of_states,
            hidden_size=units,
            direction=direction,
            layout=self.layout,
            **attributes,
        )
        self.own |= {y: (0, 2) if self.layout else (2, 1)}
        self.own |= dict.fromkeys(states, (0, 1) if self.layout else (1, 0))
        return [y, *states]

    def initial_state(self, x, shape):
        kind = self.one_of("", "", "zeros", "made", "input")
        if kind == "zeros":
            return self.constant(np.zeros(shape, "f4")) if self.fixed else ""
        if kind == "made":
            b = self.batch
            lengths = [self.length_of(x, batch_of(self.shapes[x])) if n is b else self.integers(n) for n in shape]
            return self.node("ConstantOfShape", [self.node("Concat", lengths, (3,), axis=0)], shape)
        return self.input(f"h{len(self.inputs)}", *shape) if kind == "input" else ""

    def length_of(self, x, axis):
        shape = self.node("Shape", [x], (len(self.shapes[x]),))
        if self.sometimes(0.5):
            return self.node("Gather", [shape, self.integers(axis)], (1,), axis=0)
        one = self.node("Gather", [shape, self.constant(np.array(axis))], (), axis=0)
        return self.with_axes("Unsqueeze", [one], (1,), [0], 13)

    def transposed(self, x, order=None):
        shape = self.shapes[x]
        if order is None and self.sometimes(0.2):
            return self.node("Transpose", [x], shape[::-1])
        order = [int(n) for n in self.rng.permutation(len(shape))] if order is None else order
        return self.node("Transpose", [x], tuple(shape[n] for n in order), perm=order)

    # ------------------------------------------------------------ files

    def proto(self, runnable=False):
        """The file; or one that ONNX Runtime runs, where transpositions around layout 0 stand for layout 1."""
        nodes = []
        for node in self.nodes:
            if node.op_type in ("RNN", "LSTM", "GRU"):
                node = onnx.NodeProto.FromString(node.SerializeToString())
                (layout,) = [attribute for attribute in node.attribute if attribute.name == "layout"]
                node.attribute.remove(layout)
                if layout.i and runnable:
                    nodes += _in_layout_0(node)
                    continue
                if layout.i:
                    node.attribute.append(layout)
            nodes.append(node)
        described = [
            onnx.helper.make_tensor_value_info(
                name,
                onnx.TensorProto.INT64 if self.words and name == "x" else onnx.TensorProto.FLOAT,
                [self._length(n, axis, shape) for axis, n in enumerate(shape)],
            )
            for name, shape in self.inputs
        ]
        outputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in self.results]
        constants = [onnx.numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        versions = [onnx.helper.make_opsetid("", self.opset)]
        whole = onnx.helper.make_graph(nodes, "chain", described, outputs, constants)
        return onnx.helper.make_model(whole, opset_imports=versions, ir_version=8)

    def _length(self, n, axis, shape):
        if n is self.batch:
            return n if self.fixed else "batch"
        return (
            "timesteps"
            if self.open_timesteps and shape is self.inputs[0][1] and axis == (0 if self.time_first else 1)
            else int(n)
        )

    def arrays(self, batch):
        """Inputs for the file of so many rows."""
        rng = np.random.default_rng(batch)
        found = {}
        for name, shape in self.inputs:
            lengths = [batch if n is self.batch else n for n in shape]
            words = self.words and name == "x"
            found[name] = rng.integers(0, WORDS, lengths) if words else rng.standard_normal(lengths).astype("f4")
        return found

    def for_the_model(self, arrays):
        """The same inputs as the model takes them: the batch first, the directions of states beside each other."""
        found = []
        for name, shape in self.inputs:
            array = np.moveaxis(arrays[name], batch_of(shape), 0)
            found.append(array.reshape(len(array), -1) if name != "x" else array)
        return found

    def wanted(self, name, array, batch):
        """What the model may return for an output of the file. Where the sequences come with the timesteps first, the
        batch is one of the axes of its length, which is moved to the front."""
        if name in self.own:
            place, directions = self.own[name]
            parts = [np.moveaxis(part, place - (directions < place), 0) for part in np.moveaxis(array, directions, 0)]
            return [np.concatenate(parts, axis=-1)]
        if self.time_first:
            return [np.moveaxis(array, axis, 0) for axis, n in enumerate(array.shape) if n == batch]
        return [array]

    def __str__(self):
        lines = [f"opset {self.opset}, fixed {self.fixed}, time first {self.time_first}, layout {self.layout}"]
        lines += [f"{name} {tuple(map(int, shape))}" for name, shape in self.inputs]
        for node in self.nodes:
            facts = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            small = {
                n: self.constants[n].tolist()
                for n in node.input
                if n in self.constants and self.constants[n].dtype == np.int64
            }
            shapes = [tuple(self.shapes[n]) for n in node.output]
            lines.append(
                f"{', '.join(node.output)} = {node.op_type}({', '.join(node.input)}) {facts} {small} -> {shapes}"
            )
        return "\n".join([*lines, f"outputs {self.results}"])


def _in_layout_0(node):
    """A recurrent node of layout 1 as one of layout 0."""
    names = (f"{node.output[0]}_{letter}" for letter in string.ascii_lowercase)
    make = onnx.helper.make_node
    before, after = [], []
    for place, name in enumerate(node.input):
        if name and (place == 0 or place >= 5):
            node.input[place] = next(names)
            before.append(make("Transpose", [name], [node.input[place]], perm=[1, 0, 2]))
    for place, name in enumerate(node.output):
        node.output[place] = next(names)
        perm = [1, 0, 2] if place else [2, 0, 1, 3]
        after.append(make("Transpose", [node.output[place]], [name], perm=perm))
    return [*before, node, *after]


def batch_of(shape):
    """The axis of the batch, None if it is part of another axis."""
    return next((axis for axis, n in enumerate(shape) if isinstance(n, Batch)), None)
