"""Random chains of ONNX nodes around an RNN, for comparison with ONNX Runtime."""

import math

import numpy as np
from onnx_chain_file import WORDS, Batch, Graph, batch_of

FAR = (1 << 31) - 1, (1 << 63) - 1
ACTIVATIONS = ("Tanh", "Relu", "Sigmoid", "Neg", "Abs", "Softsign", "Elu", "LeakyRelu", "HardSigmoid", "Identity")
ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Max", "Min")


class Chain(Graph):
    """A graph that has a few tensors from which it may continue."""

    def unsqueezed(self, x):
        shape = self.shapes[x]
        count = self.one_of(1, 1, 2)
        rank = len(shape) + count
        axes = sorted(int(n) for n in self.rng.choice(rank, count, replace=False))
        rest = iter(shape)
        new = tuple(1 if n in axes else next(rest) for n in range(rank))
        signed = [self.signed(n, rank) for n in axes]
        return self.with_axes("Unsqueeze", [x], new, signed, 13)

    def squeezed(self, x):
        shape = self.shapes[x]
        ones = [axis for axis, n in enumerate(shape) if n == 1 and (self.fixed or n is not self.batch)]
        if not ones and not self.fixed:
            return None
        if self.sometimes(0.25):
            return self.node("Squeeze", [x], tuple(n for axis, n in enumerate(shape) if n != 1))
        if not ones:
            return None
        gone = sorted(int(n) for n in self.rng.choice(ones, self.rng.integers(1, len(ones) + 1), replace=False))
        new = tuple(n for axis, n in enumerate(shape) if axis not in gone)
        return self.with_axes("Squeeze", [x], new, [self.signed(n, len(shape)) for n in gone], 13)

    def sliced(self, x):
        shape = self.shapes[x]
        axes = sorted({self.some_axis(shape) or 0 for _ in range(self.one_of(1, 1, 2))})
        new, starts, ends, steps = list(shape), [], [], []
        for axis in axes:
            n = shape[axis]
            step = self.one_of(1, 1, 1, 2, -1, -1, -2, 3)
            start = int(self.rng.integers(-n - 1, n + 1))
            end = self.one_of(int(self.rng.integers(-n - 1, n + 2)), FAR[0], FAR[1], -FAR[0], -FAR[1])
            if axis == 0 and self.sometimes(0.2):
                start, end, step = 0, FAR[1], 1
            starts, ends, steps = [*starts, start], [*ends, end], [*steps, step]
            kept = len(_runtime_slice(int(n), start, end, step))
            if kept == 0:
                return None
            new[axis] = n if kept == n else kept
        signed = [self.signed(n, len(shape)) for n in axes]
        inputs = [self.integers(*starts), self.integers(*ends), self.integers(*signed)]
        if any(step != 1 for step in steps) or self.sometimes(0.5):
            inputs.append(self.integers(*steps))
        return self.node("Slice", [x, *inputs], tuple(new))

    def gathered(self, x):
        shape = self.shapes[x]
        axis = self.some_axis(shape)
        if axis is None:
            return None
        n = int(shape[axis])
        form = self.one_of((), (), (1,), (2,), (3,), (1, 1))
        places = self.rng.integers(-n, n, form)
        if form == (3,) and self.sometimes(0.5):
            places = np.arange(3) % n
        name = self.constant(np.asarray(places, np.int64))
        return self.node(
            "Gather", [x, name], (*shape[:axis], *form, *shape[axis + 1 :]), axis=self.signed(axis, len(shape))
        )

    def reshaped(self, x):
        shape = self.shapes[x]
        parts = [(n,) for n in shape]
        for _ in range(self.one_of(1, 1, 2)):
            place = int(self.rng.integers(len(parts))) if parts else 0
            change = self.one_of("join", "join", "cut", "cut", "one", "same")
            if change == "join" and place + 1 < len(parts):
                parts[place : place + 2] = [parts[place] + parts[place + 1]]
            elif change == "cut" and parts and math.prod(parts[place]) % 2 == 0 and math.prod(parts[place]) > 2:
                halves = [(2,), (math.prod(parts[place]) // 2,)]
                parts[place : place + 1] = halves[:: self.one_of(1, -1)]
            elif change == "one":
                parts.insert(place, ())
        if self.sometimes(0.1):
            self.rng.shuffle(parts)
        new = tuple(map(self.joined, parts))
        if not new:
            return None
        lengths = [int(n) for n in new]
        batch = next(
            (n for n, part in enumerate(parts) if self.batch in part and any(m is self.batch for m in part)), None
        )
        if batch is not None and not self.fixed:
            lengths[batch] = -1
        elif self.sometimes(0.4):
            lengths[int(self.rng.integers(len(lengths)))] = -1
        for place in range(min(len(new), len(shape))):
            if new[place] is shape[place] and self.sometimes(0.4):
                lengths[place] = 0
        if self.sometimes(0.25):
            whole = [n for n, part in enumerate(parts) if len(part) == 1 and part[0] is self.batch]
            names = [
                self.length_of(x, batch_of(shape)) if n in whole else self.integers(length)
                for n, length in enumerate(lengths)
            ]
            return self.node("Reshape", [x, self.node("Concat", names, (len(names),), axis=0)], new)
        return self.node("Reshape", [x, self.integers(*lengths)], new)

    def flattened(self, x):
        shape = self.shapes[x]
        axis = int(self.rng.integers(len(shape) + 1))
        return self.node("Flatten", [x], (self.joined(shape[:axis]), self.joined(shape[axis:])), axis=axis)

    def joined(self, lengths):
        """Of axes that become one: the batch, if it is the only one that is longer than 1."""
        alone = [n for n in lengths if n is self.batch or n != 1]
        return alone[0] if len(alone) == 1 else math.prod(lengths)

    def concatenated(self, x):
        shape = self.shapes[x]
        axis = self.some_axis(shape)
        if axis is None:
            return None
        alike = [name for name, other in self.shapes.items() if name in self.pool and self._fits(shape, other, axis)]
        names = [x, *(self.one_of(*alike) for _ in range(self.one_of(1, 1, 2)))]
        if self.sometimes(0.3):
            names.insert(1, self.activated(x))
        if self.sometimes(0.5):
            self.rng.shuffle(names)
        total = sum(self.shapes[name][axis] for name in names)
        whole = self.node(
            "Concat", names, (*shape[:axis], total, *shape[axis + 1 :]), axis=self.signed(axis, len(shape))
        )
        if all(self.own.get(name, ()) == self.own.get(x) for name in names) and self.own[x] == (axis + 1, axis):
            self.own[whole] = self.own[x]
        return whole

    @staticmethod
    def _fits(shape, other, axis):
        return len(shape) == len(other) and all(shape[n] == other[n] for n in range(len(shape)) if n != axis)

    def stacked(self, x):
        """As torch writes it: Unsqueeze of each, and Concat."""
        shape = self.shapes[x]
        alike = [name for name in self.pool if self.shapes[name] == shape]
        names = [x, *(self.one_of(*alike) for _ in range(self.one_of(1, 2)))]
        axis = int(self.rng.integers(len(shape) + 1))
        new = (*shape[:axis], 1, *shape[axis:])
        parts = [self.with_axes("Unsqueeze", [name], new, [axis], 13) for name in names]
        return self.node("Concat", parts, (*shape[:axis], len(names), *shape[axis:]), axis=axis)

    def split(self, x):
        shape = self.shapes[x]
        axis = self.some_axis(shape, 2)
        if axis is None:
            return None
        n = int(shape[axis])
        cut = int(self.rng.integers(1, n))
        sizes, attributes, inputs = [cut, n - cut], {"axis": self.signed(axis, len(shape))}, [x]
        if n % 2 == 0 and self.sometimes(0.4):
            sizes = [n // 2, n // 2]
            attributes |= {"num_outputs": 2} if self.opset >= 18 else {}
        elif self.opset >= 13:
            inputs.append(self.integers(*sizes))
        else:
            attributes["split"] = sizes
        shapes = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
        parts = self.node("Split", inputs, *shapes, **attributes)
        if self.sometimes(0.4):
            order = self.one_of(parts, parts, parts[::-1], [parts[1], parts[1]], [*parts, parts[1]])
            total = sum(self.shapes[part][axis] for part in order)
            return self.node("Concat", order, (*shape[:axis], total, *shape[axis + 1 :]), axis=axis)
        return list(parts)

    def reduced(self, x):
        shape = self.shapes[x]
        operator = self.one_of("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum")
        keep = self.one_of(0, 1)
        others = (
            [axis for axis, n in enumerate(shape) if n is not self.batch] if self.sometimes(0.8) else range(len(shape))
        )
        axes = (
            sorted(int(n) for n in self.rng.choice(others, min(len(others), self.one_of(1, 1, 2)), replace=False))
            if others
            else []
        )
        if not axes or self.sometimes(0.05):
            return self.node(operator, [x], (1,) * len(shape) if keep else (), keepdims=keep)
        new = tuple(1 if axis in axes else n for axis, n in enumerate(shape) if keep or axis not in axes)
        since = 13 if operator == "ReduceSum" else 18
        return self.with_axes(operator, [x], new, [self.signed(n, len(shape)) for n in axes], since, keepdims=keep)

    def scaled(self, x):
        """Arithmetic with a constant."""
        shape = self.shapes[x]
        ones = [1 if self.sometimes(0.5) or (n is self.batch and self.sometimes(0.9)) else int(n) for n in shape]
        for _ in range(self.one_of(0, 0, 0, 1, 2)):
            ones = ones[1:] if ones[:1] == [1] else ones
        if self.sometimes(0.08):
            ones = [1, *ones]
        if self.sometimes(0.1) and ones:
            place = int(self.rng.integers(min(len(ones), len(shape)))) + 1
            ones[-place] = 3 if ones[-place] == shape[-place] == 1 else ones[-place]
        pair = [x, self.constant(self.array(*ones))]
        new = [
            max(m, n)
            for m, n in zip(
                [1] * (len(ones) - len(shape)) + list(shape), [1] * (len(shape) - len(ones)) + ones, strict=True
            )
        ]
        new = [self.batch if any(n is self.batch for n in (m,)) else m for m in new]
        return self.node(self.one_of(*ARITHMETIC), pair[:: self.one_of(1, 1, -1)], tuple(new))

    def crossed(self, x):
        """Axes in another order, and a constant along several of them."""
        y = self.transposed(x)
        shape = self.shapes[y]
        constant = self.constant(self.array(*(1 if n is self.batch else n for n in shape)))
        return self.node(self.one_of(*ARITHMETIC), [y, constant][:: self.one_of(1, -1)], shape)

    def combined(self, x):
        """Arithmetic of two tensors."""
        shape = self.shapes[x]
        fits = [name for name in self.pool if _broadcast(shape, self.shapes[name]) is not None]
        other = self.one_of(*fits)
        new = _broadcast(shape, self.shapes[other])
        return self.node(self.one_of(*ARITHMETIC), [x, other][:: self.one_of(1, -1)], new)

    def multiplied(self, x):
        shape, width = self.shapes[x], self.one_of(1, 2, 3)
        if shape[-1] is self.batch and self.sometimes(0.9):
            return None
        if self.sometimes(0.1):
            return self.node("MatMul", [x, self.constant(self.array(shape[-1]))], shape[:-1])
        y = self.node("MatMul", [x, self.constant(self.array(shape[-1], width))], (*shape[:-1], width))
        if self.sometimes(0.5):
            pair = [y, self.constant(self.array(width))]
            return self.node("Add", pair[:: self.one_of(1, -1)], (*shape[:-1], width))
        return y

    def gemm(self, x):
        shape = self.shapes[x]
        if len(shape) != 2:
            return None
        attributes, width = {}, self.one_of(1, 2, 3)
        rows, columns = shape
        if self.sometimes(0.3):
            attributes["transA"], (columns, rows) = 1, shape
        kernel = self.array(columns, width)
        if self.sometimes(0.5):
            attributes["transB"], kernel = 1, kernel.T
        attributes |= {name: self.one_of(0.5, 2.0) for name in ("alpha", "beta") if self.sometimes(0.3)}
        form = self.one_of(None, (), (1,), (width,), (1, width), (int(rows), 1), (int(rows), width))
        offset = [] if form is None else [self.constant(self.array(*form))]
        return self.node("Gemm", [x, self.constant(np.ascontiguousarray(kernel)), *offset], (rows, width), **attributes)

    def activated(self, x):
        shape, operator = (
            self.shapes[x],
            self.one_of(*ACTIVATIONS, "Softmax", "Softmax", "LogSoftmax", "Clip", "Dropout"),
        )
        if operator in ("Identity", "Dropout"):
            y = self.node(operator, [x], shape)
            if x in self.own:
                self.own[y] = self.own[x]
            return y
        if operator.endswith("Softmax") and shape:
            axis = self.some_axis(shape) or 0
            given = {"axis": self.signed(axis, len(shape))} if self.sometimes(0.9) or len(shape) == 1 else {}
            return self.node(operator, [x], shape, **given)
        if operator == "Clip":
            bounds = [self.constant(np.float32(n)) for n in self.one_of((-1, 1), (0, 0.5), (-0.2, 0.3))]
            return self.node("Clip", [x, *bounds], shape)
        return self.node("Tanh" if operator.endswith("Softmax") else operator, [x], shape)

    def normalized(self, x):
        shape = self.shapes[x]
        if self.opset >= 17 and shape and self.sometimes(0.5):
            weights = [self.constant(self.array(shape[-1])) for _ in range(self.one_of(1, 2))]
            return self.node("LayerNormalization", [x, *weights], shape, axis=-1)
        if len(shape) < 2 or shape[1] is self.batch:
            return None
        weights = [self.constant(self.array(shape[1])) for _ in range(3)]
        return self.node("BatchNormalization", [x, *weights, self.constant(abs(self.array(shape[1])))], shape)

    def again(self, x):
        """Another RNN."""
        shape = self.shapes[x]
        if len(shape) != 3 or sum(n is self.batch for n in shape[:2]) != 1 or len(self.own) > 4:
            return None
        return self.recurrent(x, shape[1] is self.batch)

    def plain(self, x):
        """What exporters write after an RNN: directions after the batch, and as features."""
        if x not in self.own or len(self.shapes[x]) != 4 or self.layout:
            return None
        t, count, b, units = self.shapes[x]
        y = self.transposed(x, (0, 2, 1, 3))
        y = self.node("Reshape", [y, self.integers(0, 0, -1)], (t, b, count * units))
        return self.transposed(y, (1, 0, 2)) if self.sometimes(0.7) else y

    def begin(self):
        b, t, f = self.batch, self.timesteps, self.features
        x = self.input("x", *((t, b, f) if self.time_first else (b, t, f))[: 2 if self.words else 3])
        if self.words:
            table = self.constant(self.array(WORDS, f), "table")
            x = self.node("Gather", [table, x], (*self.shapes[x], f), axis=0)
        if self.sometimes(0.2):
            y = self.scaled(x)
            x = y if len(self.shapes[y]) == 3 and batch_of(self.shapes[y]) is not None else x
        return self.recurrent(x, self.time_first)

    def build(self, length):
        self.pool = self.begin()
        steps = [
            self.transposed,
            self.unsqueezed,
            self.squeezed,
            self.sliced,
            self.gathered,
            self.reshaped,
            self.flattened,
        ]
        steps += [self.concatenated, self.stacked, self.split, self.reduced, self.reduced, self.scaled, self.scaled]
        steps += [
            self.combined,
            self.multiplied,
            self.multiplied,
            self.gemm,
            self.gemm,
            self.activated,
            self.normalized,
        ]
        steps += [self.again, self.plain, self.plain, self.plain, self.crossed]
        for _ in range(length):
            x = self.pool[-1] if self.sometimes(0.6) else self.one_of(*self.pool)
            found = self.one_of(*steps)(x)
            found = found if isinstance(found, list) else [found]
            for name in found:
                if name is not None and 0 < len(self.shapes[name]) <= 6 and math.prod(self.shapes[name]) < 5000:
                    self.pool.append(name)
        results = [self.pool[-1]] + ([self.one_of(*self.pool)] if self.sometimes(0.25) else [])
        for n, name in enumerate(results):
            shape = self.shapes[name]
            place = batch_of(shape)
            if name not in self.own and place and self.sometimes(0.8):
                results[n] = self.transposed(name, [place, *(axis for axis in range(len(shape)) if axis != place)])
        self.results = list(dict.fromkeys(results))
        return self


def _runtime_slice(n, start, end, step):
    """What ONNX Runtime's Slice takes of an axis."""
    start = start + n if start < 0 else start
    last = end + n if end < 0 else end
    if step > 0:
        return range(min(max(start, 0), n), min(max(last, 0), n), step)
    last = -1 if end in FAR else last
    return range(min(max(start, 0), n - 1), min(max(last, -1), n - 1), step)


def _broadcast(a, b):
    rank = max(len(a), len(b))
    found = []
    for m, n in zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b, strict=True):
        if m != n and 1 not in (m, n):
            return None
        found.append(n if m == 1 and not isinstance(m, Batch) else m)
    return tuple(found)
