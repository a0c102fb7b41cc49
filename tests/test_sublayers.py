"""Sub-layers are noted when they are assigned, weights follow, and what is the user's stays the user's."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cyrnn import Sequential
from cyrnn.layers import Dense, Input, Layer, SimpleRNN
from cyrnn.layers.base.sublayers import HasSublayers, looked_at
from cyrnn.saving import save_weights


class Holder(Layer):
    """Dense layers in every kind of attribute."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = []
        self.head = Dense(2, name="head")
        for number in range(2):
            self.blocks.append(Dense(2, name=f"block_{number}"))
        self.by_name = {"a": (Dense(2, name="a"),)}

    def call(self, inputs):
        for block in (*self.blocks, self.head, *self.by_name["a"]):
            inputs = block(inputs)
        return inputs


def names(layer):
    return [sublayer.name for _, sublayer in layer.sublayers]


X = np.ones((1, 2), "float32")


def test_lists_and_dicts_that_are_filled_after_they_are_assigned():
    holder = Holder()
    assert names(holder) == ["block_0", "block_1", "head", "a"]
    holder(X)
    assert names(holder) == ["block_0", "block_1", "head", "a"]
    assert len(holder.weights) == 8


def test_lists_that_change_after_the_layer_was_built(tmp_path):
    class Grows(Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.blocks = []

        def call(self, inputs):
            if not self.blocks:
                self.blocks.append(Dense(2, name="first"))
            return self.blocks[0](inputs)

    layer = Grows()
    layer(X)
    assert len(layer.weights) == 2
    layer.blocks[0] = Dense(5, name="second")
    layer(X)
    assert [weight.shape for weight in layer.weights] == [(2, 5), (5,)]
    save_weights(layer, tmp_path / "weights.npz")
    with np.load(tmp_path / "weights.npz") as saved:
        assert sorted(saved[name].shape for name in saved) == [(2, 5), (5,)]
    assert names(layer) == ["second"]


def test_assigning_and_deleting_after_the_layer_was_built():
    holder = Holder()
    holder(X)
    model = Sequential([Input((2,)), holder])
    assert len(model.layers_within()) == 6
    holder.head = Dense(2, name="new")
    holder.extra = [Dense(2, name="extra")]
    assert names(holder) == ["block_0", "block_1", "new", "a", "extra"]
    assert [layer.name for layer in model.layers_within()][2:] == ["block_0", "block_1", "new", "a", "extra"]
    del holder.extra
    holder.by_name = None
    assert names(holder) == ["block_0", "block_1", "new"]
    assert len(model.layers_within()) == 5


def test_a_layer_that_was_added_or_removed_is_seen_at_once():
    model = Sequential([Input((None, 2)), SimpleRNN(2, return_sequences=True)])
    model(X[None])
    count = len(model.layers_within())
    model.add(SimpleRNN(2, stateful=False))
    model(X[None])
    assert len(model.layers_within()) == count + 2
    model.pop()
    assert len(model.layers_within()) == count


def test_an_argument_of_the_constructor_is_a_sublayer_under_its_attribute():
    class Wrap(Layer):
        def __init__(self, inner, **kwargs):
            super().__init__(**kwargs)
            self.inner = inner

        def call(self, inputs):
            return self.inner(inputs)

    assert Wrap(Dense(2)).sublayers[0][0] == "inner"


def test_calls_search_nothing(monkeypatch):
    """A vocabulary of any size costs a call nothing."""

    class Words(dict):
        searches = 0

        def values(self):
            Words.searches += 1
            return super().values()

    class Embeds(Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.words = Words({str(n): n for n in range(100)})
            self.dense = Dense(2)

        def call(self, inputs):
            return self.dense(inputs)

    model = Sequential([Input((2,)), Embeds()])
    model(X)
    Words.searches = 0
    for _ in range(3):
        model(X)
        model.predict(X)
    assert Words.searches == 0


def test_layers_that_refer_to_themselves_and_to_each_other():
    class Parent(Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.child = Dense(2)
            self.child.parent = self
            self.ring = [self.child]
            self.ring.append(self.ring)
            self.table = {}
            self.table["self"] = self.table

        def call(self, inputs):
            return self.child(inputs)

    parent = Parent()
    assert parent(X).shape == (1, 2)
    assert [type(layer) for layer in parent.layers_within()] == [Parent, Dense]
    assert len(parent.weights) == 2
    parent.set_weights([np.eye(2), np.ones(2)])
    assert np.array_equal(parent(X), [[2, 2]])


def test_a_layer_that_remembers_results_is_called_by_several_threads():
    class Remembers(Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.memo = {}

        def build(self, input_shape):
            self.kernel = self.add_weight((2, 2), "ones", name="kernel")

        def call(self, inputs):
            for _ in range(50):
                self.memo[len(self.memo), threading.get_ident()] = inputs
            return inputs @ self.kernel

    layer = Remembers()
    model = Sequential([Input((2,)), layer])
    stop = threading.Event()

    def replace():
        while not stop.is_set():
            layer.set_weights([np.ones((2, 2))])

    def call():
        return all(np.array_equal(model(X), [[2, 2]]) for _ in range(200))

    with ThreadPoolExecutor(3) as threads:
        replacing = threads.submit(replace)
        calls = [threads.submit(call) for _ in range(2)]
        assert all(done.result() for done in calls)
        stop.set()
        replacing.result()


def test_lists_and_dicts_of_the_users_stay_the_same_objects():
    class Lists(Layer):
        def build(self, input_shape):
            self.kernels = [self.add_weight((2, 2), "zeros", name=f"kernel_{n}") for n in range(2)]
            self.alias = self.kernels
            self.table = {"pair": (self.kernels[0], "first"), "log": LOG}

        def call(self, inputs):
            return inputs @ self.kernels[0] + self.table["pair"][0].sum()

    LOG = ["a line"]
    layer = Lists()
    layer(X)
    kernels, table = layer.kernels, layer.table
    layer.set_weights([np.full((2, 2), 1.0), np.full((2, 2), 2.0)])
    assert layer.kernels is kernels and layer.alias is kernels and layer.table is table and table["log"] is LOG
    assert [kernel[0, 0] for kernel in kernels] == [1, 2]
    assert table["pair"][0] is kernels[0]
    assert np.array_equal(layer(X), [[6, 6]])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_have_layers_and_read_only_weights_of_their_own(duplicate):
    holder = SimpleRNN(2)
    holder.build((None, None, 2))
    twin = duplicate(holder)
    assert twin.sublayers[0][1] is twin.cell is not holder.cell
    twin.set_weights([w + 1 for w in twin.get_weights()])
    assert not np.array_equal(twin.kernel, holder.kernel)
    for weight in (*twin.weights, *duplicate(holder).weights):
        with pytest.raises(ValueError, match="WRITEABLE"):
            weight.flags.writeable = True


def test_weights_cannot_be_made_writeable():
    for layer in (SimpleRNN(2), Holder()):
        layer.build((None, None, 2)) if isinstance(layer, SimpleRNN) else layer(X)
        for weight in layer.weights:
            with pytest.raises(ValueError, match="read-only"):
                weight[...] = 0
            with pytest.raises(ValueError, match="WRITEABLE"):
                weight.flags.writeable = True


def test_builds_of_different_layers_do_not_wait_for_each_other():
    inside, go_on = threading.Event(), threading.Event()

    class Slow(Layer):
        def build(self, input_shape):
            inside.set()
            assert go_on.wait(60)

        def call(self, inputs):
            return inputs

    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(Slow(), X)
        assert inside.wait(60)
        assert Dense(2)(X).shape == (1, 2)  # while the other build waits
        go_on.set()
        slow.result(60)


def test_a_build_may_build_its_parts_in_other_threads():
    class Parts(Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.parts = [Dense(2) for _ in range(4)]

        def build(self, input_shape):
            with ThreadPoolExecutor(2) as threads:
                list(threads.map(lambda part: part.build(input_shape), self.parts))

        def call(self, inputs):
            return sum(part(inputs) for part in self.parts)

    layer = Parts()
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(layer, X).result(60).shape == (1, 2)
    assert layer.built and len(layer.weights) == 8


def test_several_threads_build_a_layer_once():
    built = []

    class Counts(Layer):
        def build(self, input_shape):
            built.append(threading.get_ident())
            self.kernel = self.add_weight((2, 2), name="kernel")

        def call(self, inputs):
            return inputs @ self.kernel

    layer = Counts()
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: layer(X), range(8)))
    assert len(built) == 1
    assert all(np.array_equal(result, results[0]) for result in results)


def test_nothing_keeps_a_layer_alive_but_its_users():
    import weakref

    layer = SimpleRNN(2)
    layer(np.ones((1, 1, 2)))
    layer.layers_within()
    assert isinstance(layer, HasSublayers)
    there = weakref.ref(layer)
    del layer
    assert there() is None


class Options(Layer):
    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = units

    def call(self, inputs):
        return inputs


class Positional(Layer):
    def __init__(self, units, *more, **kwargs):
        super().__init__(**kwargs)
        self.units, self.more = units, more

    def call(self, inputs):
        return inputs


@pytest.mark.parametrize("cls", [Options, Positional])
def test_arguments_of_a_custom_constructor_are_its_config(cls):
    layer = cls(3, name="a", trainable=False)
    config = layer.get_config()
    assert config == {"name": "a", "trainable": False, "dtype": config["dtype"], "units": 3}
    again = cls.from_config(config)
    assert (again.name, again.units, again.trainable) == ("a", 3, False)


def test_arguments_without_names_need_a_get_config():
    with pytest.raises(ValueError, match=r"'a'.*\*more.*get_config|'a'.*\*args.*get_config"):
        Positional(3, 4, name="a").get_config()


def test_a_step_looks_at_attributes_once():
    """What comes to a list meanwhile is seen by the next one."""
    holder = Holder()
    holder.build((None, 2))
    count = len(holder.weights)
    with looked_at(holder):
        holder.blocks.append(Dense(2))
        holder.blocks[-1].build((None, 2))
        with looked_at(holder):
            assert len(holder.weights) == count
        assert len(holder.weights) == count
    assert len(holder.weights) == count + 2
    with pytest.raises(ZeroDivisionError), looked_at(holder):
        _ = 1 / 0
    holder.blocks.pop()
    assert len(holder.weights) == count
