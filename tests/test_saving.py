"""Models in files: what is read, and what is refused. The files here are made by hand, to Keras 3's layout."""

import io
import json
import os
import zipfile

import h5py
import numpy as np
import pytest

import cyrnn
from cyrnn.layers import RNN, Activation, Dense, Dropout, Embedding, Input, Masking, SimpleRNN, SimpleRNNCell
from cyrnn.saving import ModelFileError, load_model


def model():
    return cyrnn.Sequential(
        [
            Input((None,), dtype="int32"),
            Embedding(11, 4, mask_zero=True),
            SimpleRNN(5, return_sequences=True, name="reader"),
            Dropout(0.3),
            RNN(SimpleRNNCell(3, activation="relu")),
            Dense(2),
            Activation("softmax"),
        ]
    )


def weights_file(model):
    """The HDF5 bytes that Keras would write."""
    with h5py.File(io.BytesIO(), "w") as file:
        groups = ["embedding", "simple_rnn/cell", "rnn/cell", "dense"]
        owners = [model.layers[0], model.layers[1].cell, model.layers[3].cell, model.layers[4]]
        for group, owner in zip(groups, owners, strict=True):
            for index, weight in enumerate(owner.weights):
                file[f"layers/{group}/vars/{index}"] = weight
        file.flush()
        return file.id.get_file_image()


def write(
    path, config=None, weights=None, metadata=b'{"keras_version": "3.6.0"}', compression=zipfile.ZIP_STORED, **more
):
    source = model()
    config = json.loads(source.to_json()) if config is None else config
    members = {
        "metadata.json": metadata,
        "config.json": config if isinstance(config, bytes) else json.dumps(config).encode(),
        "model.weights.h5": weights_file(source) if weights is None else weights,
        **more,
    }
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            if content is not False:
                archive.writestr(name, content)
    return source


IDS = np.array([[3, 1, 4, 1, 5], [9, 2, 0, 0, 0], [0, 0, 6, 5, 3], [0, 0, 0, 0, 0]])


def test_a_model_comes_back(tmp_path):
    source = write(tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded.predict(IDS), source.predict(IDS))
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in source.layers]
    assert json.loads(loaded.to_json()) == json.loads(source.to_json())
    assert load_model(os.fspath(tmp_path / "m.keras")).count_params() == source.count_params()


def test_compressed_members_and_other_files_are_no_matter(tmp_path):
    source = write(tmp_path / "m.keras", compression=zipfile.ZIP_DEFLATED, **{"assets/vocabulary.txt": b"x"})
    np.testing.assert_array_equal(load_model(tmp_path / "m.keras").predict(IDS), source.predict(IDS))


def test_masks_flow_through_the_model():
    """The padded samples end where the unpadded ones do."""
    source = model()
    np.testing.assert_array_equal(source(IDS[1:2]), source(IDS[1:2, :2]))
    np.testing.assert_array_equal(source(IDS[2:3]), source(IDS[2:3, 2:]))


def test_masks_flow_out_of_a_model_inside_a_model():
    inner = cyrnn.Sequential([Embedding(11, 4, mask_zero=True), Dropout(0.1)])
    net = cyrnn.Sequential([inner, SimpleRNN(3)])
    np.testing.assert_array_equal(net(IDS[1:2]), net(IDS[1:2, :2]))


def test_masking_by_value():
    x = np.random.default_rng(0).standard_normal((3, 6, 2)).astype("float32")
    x[0, 4:] = x[1, :2] = -1
    x[2, 3, 0] = -1  # one feature alone masks nothing
    net = cyrnn.Sequential([Masking(-1.0), SimpleRNN(4)])
    y = net(x)
    np.testing.assert_array_equal(y[:1], net(x[:1, :4]))
    np.testing.assert_array_equal(y[1:2], net(x[1:2, 2:]))
    assert not np.array_equal(y[2:], net(x[2:, [0, 1, 2, 4, 5]]))


def test_predict_in_batches():
    net = model()
    whole = net(IDS)
    out = np.empty_like(whole)
    for size in (1, 3, 4, 100, None):
        np.testing.assert_allclose(net.predict(IDS, size), whole, rtol=1e-6)
        assert net.predict(IDS, size, out=out, num_threads=1) is out
        np.testing.assert_allclose(out, whole, rtol=1e-6)
    assert net.predict(IDS[:0]).shape == (0, 2)
    outputs, state = SimpleRNN(3, return_state=True).predict(np.ones((5, 2, 2), "f4"), 2)
    assert outputs.shape == state.shape == (5, 3)


def test_what_a_hard_sigmoid_of_keras_2_means(tmp_path):
    """In a file that Keras 2 wrote it is clip(0.2 x + 0.5, 0, 1)."""
    config = json.loads(cyrnn.Sequential([Input((3,)), Activation("hard_sigmoid")]).to_json())
    empty = io.BytesIO()
    h5py.File(empty, "w").close()
    x = np.array([[-2.6, 0.5, 2.4]], "float32")
    for version, expected in (("2.15.0", [0, 0.6, 0.98]), ("3.6.0", [0.2 / 3, 0.5 + 0.5 / 6, 0.9])):
        metadata = json.dumps({"keras_version": version}).encode()
        write(tmp_path / "m.keras", config, empty.getvalue(), metadata)
        np.testing.assert_allclose(load_model(tmp_path / "m.keras").predict(x), [expected], atol=1e-6)


def test_files_from_windows(tmp_path):
    """Keras 3.0 named groups there with backslashes."""
    source, buffer = model(), io.BytesIO()
    with h5py.File(io.BytesIO(weights_file(source))) as there, h5py.File(buffer, "w") as file:
        for group in ("embedding", "simple_rnn/cell", "rnn/cell", "dense"):
            there.copy(f"layers/{group}/vars", file, f"layers/{group}".replace("/", "\\") + "/vars")
        assert "layers\\rnn\\cell" in file
    write(tmp_path / "m.keras", json.loads(source.to_json()), buffer.getvalue())
    np.testing.assert_array_equal(load_model(tmp_path / "m.keras").predict(IDS), source.predict(IDS))


# ---------------------------------------------------------------- refused


def changed(change):
    config = json.loads(model().to_json())
    change(config["config"]["layers"])
    return config


def set_layer(index, **values):
    return lambda layers: layers[index].update(values)


def set_config(index, **values):
    return lambda layers: layers[index]["config"].update(values)


LAMBDA = {"class_name": "__lambda__", "config": {"value": ["4wEAAAAA", None, None]}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_layer(2, class_name="ConvLSTM1D"), "layer 'reader'.*'ConvLSTM1D'"),
        (set_layer(2, class_name="Lambda", config={"name": "evil", "function": LAMBDA}), "layer 'evil'.*'Lambda'"),
        (set_layer(2, module="os", class_name="system", registered_name="system"), "layer 'reader'.*'system'"),
        (set_layer(2, class_name="Dense", registered_name="my>Dense", module="mine"), "layer 'reader'.*'my>Dense'"),
        (set_config(2, activation=LAMBDA), "layer 'reader'.*never run"),
        (set_config(2, activation="relu7"), "layer 'reader'.*'relu7'"),
        (set_config(2, units=-5), "layer 'reader'.*units.*-5"),
        (set_config(2, units=float("nan")), "layer 'reader'.*units.*nan"),
        (set_config(2, units=6), "layer 'reader'|simple_rnn_cell"),
        (set_config(2, units=10**15), "larger|shape"),
        (set_config(2, nonsense=1), "layer 'reader'.*nonsense"),
        (set_config(1, input_dim=12), r"'embeddings'.*\(12, 4\).*\(11, 4\)"),
        (set_layer(2, config=None), "must be a dict"),
        (lambda layers: layers.pop(5), "no 'layers/dense|shape|weights"),
        (lambda layers: layers.append(3), "class_name"),
        (lambda layers: layers.insert(0, layers[3]), "different names|Input must be the first"),
    ],
)
def test_configs_that_are_refused(tmp_path, change, words):
    config = changed(change)
    if change.__name__ == "<lambda>" and len(config["config"]["layers"]) == 6:
        return  # a model of fewer layers than the file has weights for is read; Keras does so too
    write(tmp_path / "m.keras", config)
    with pytest.raises(ModelFileError, match=words):
        load_model(tmp_path / "m.keras")


def test_other_models_are_refused(tmp_path):
    for config, words in (
        ({"class_name": "Dense", "config": {"units": 3}}, "Dense, which is not a model"),
        ({"class_name": "MyModel", "config": {}}, "unknown layer class 'MyModel'"),
        ({"class_name": "L2", "config": {}}, "'L2'"),
    ):
        write(tmp_path / "m.keras", config)
        with pytest.raises(ModelFileError, match=words):
            load_model(tmp_path / "m.keras")


def test_a_model_without_input_shape_is_refused(tmp_path):
    write(tmp_path / "m.keras", json.loads(cyrnn.Sequential([Dense(3)]).to_json()))
    with pytest.raises(ModelFileError, match="before it was built"):
        load_model(tmp_path / "m.keras")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"config": b"{"}, "'config.json' is not JSON"),
        ({"config": b"[" * 1_000_000}, "'config.json' is not JSON"),
        ({"config": b"[]"}, "must hold a JSON object, got list"),
        ({"config": b"\xff\xfe\xfa"}, "'config.json' is not JSON"),
        ({"metadata": False}, "holds no 'metadata.json'"),
        ({"weights": b"not hdf5"}, "not an HDF5 file"),
        ({"config": b" " * 5_000_000, "compression": zipfile.ZIP_DEFLATED}, "would expand"),
    ],
)
def test_damaged_members(tmp_path, members, words):
    write(tmp_path / "m.keras", **members)
    with pytest.raises(ModelFileError, match=words):
        load_model(tmp_path / "m.keras")


def test_a_directory_that_lies_about_sizes(tmp_path):
    """The archive's directory says that little was compressed to much; the file itself is small."""
    path = tmp_path / "m.keras"
    write(path, weights=bytes(30_000_000), compression=zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path) as archive:
        packed = archive.getinfo("model.weights.h5").compress_size
    content = path.read_bytes()
    at = content.rindex(packed.to_bytes(4, "little") + (30_000_000).to_bytes(4, "little"))
    path.write_bytes(content[:at] + (10_000_000).to_bytes(4, "little") + content[at + 4 :])
    with pytest.raises(ModelFileError, match="would expand|not a sound"):
        load_model(path)


def test_many_layers_take_linear_time(tmp_path):
    layers = [Input((3,)), *(Activation("linear") for _ in range(2000))]
    empty = io.BytesIO()
    h5py.File(empty, "w").close()
    write(tmp_path / "m.keras", json.loads(cyrnn.Sequential(layers).to_json()), empty.getvalue())
    assert len(load_model(tmp_path / "m.keras").layers) == 2000


def test_files_that_are_no_archives(tmp_path):
    path = tmp_path / "m.keras"
    with pytest.raises(FileNotFoundError):
        load_model(path)
    for content in (b"", b"PK\x03\x04 cut off", b"no archive" * 100):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match="neither a sound .keras file|not a sound .keras file"):
            load_model(path)


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
def test_truncated_files(tmp_path, keep):
    write(tmp_path / "m.keras")
    content = (tmp_path / "m.keras").read_bytes()
    (tmp_path / "m.keras").write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ModelFileError):
        load_model(tmp_path / "m.keras")


def test_a_name_that_stands_twice(tmp_path):
    write(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras", "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("config.json", "{}")
    with pytest.raises(ModelFileError, match=r"'config.json' twice"):
        load_model(tmp_path / "m.keras")


def edited(edit, tmp_path):
    path = tmp_path / "w.h5"
    path.write_bytes(weights_file(model()))
    with h5py.File(path, "r+") as file:
        edit(file, tmp_path)
    return path.read_bytes()


KERNEL = "layers/dense/vars/0"


def soft_link(file, _):
    del file[KERNEL]
    file[KERNEL] = h5py.SoftLink("/layers/dense/vars/1")


def external_link(file, tmp_path):
    del file[KERNEL]
    file[KERNEL] = h5py.ExternalLink(tmp_path / "other.h5", "/x")


def external_storage(file, tmp_path):
    del file[KERNEL]
    (tmp_path / "raw").write_bytes(bytes(24))
    file.create_dataset(KERNEL, (3, 2), "f4", external=[(os.fspath(tmp_path / "raw"), 0, 24)])


def virtual(file, tmp_path):
    del file[KERNEL]
    layout = h5py.VirtualLayout((3, 2), "f4")
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "x", (3, 2))
    file.create_virtual_dataset(KERNEL, layout)


def strings(file, _):
    del file[KERNEL]
    file.create_dataset(KERNEL, data=np.full((3, 2), b"x", object), dtype=h5py.string_dtype())


def a_group(file, _):
    del file[KERNEL]
    file.create_group(KERNEL)


def missing(file, _):
    del file["layers/dense"]


def one_more(file, _):
    file["layers/dense/vars/2"] = np.zeros(3)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (soft_link, "link to elsewhere"),
        (external_link, "external links"),
        (external_storage, "outside of the file"),
        (virtual, "virtual"),
        (strings, "float type"),
        (a_group, "not a dataset"),
        (missing, "holds no 'layers/dense"),
        (one_more, "has 2 weights.*holds 3"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_weights_that_are_refused(tmp_path, edit, words):
    write(tmp_path / "m.keras", weights=edited(edit, tmp_path))
    with pytest.raises(ModelFileError, match=words):
        load_model(tmp_path / "m.keras")


def test_a_dataset_that_says_it_is_large_and_stores_nothing(tmp_path):
    config = json.loads(cyrnn.Sequential([Input((3,)), Dense(4)]).to_json())
    config["config"]["layers"][1]["config"]["units"] = 500_000_000
    with h5py.File(io.BytesIO(), "w") as file:
        file.create_dataset("layers/dense/vars/0", (3, 500_000_000), "f4", chunks=(1, 1000))
        file.create_dataset("layers/dense/vars/1", (500_000_000,), "f4", chunks=(1000,))
        file.flush()
        content = file.id.get_file_image()
    write(tmp_path / "m.keras", config, content)
    with pytest.raises(ModelFileError, match="far more memory than it has bytes"):
        load_model(tmp_path / "m.keras")


def test_custom_objects(tmp_path):
    config = changed(
        set_config(2, activation={"class_name": "function", "config": "twice", "registered_name": "p>twice"})
    )
    source = write(tmp_path / "m.keras", config)
    with pytest.raises(ModelFileError, match="layer 'reader'.*'twice'"):
        load_model(tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras", custom_objects={"p>twice": lambda z: np.tanh(2 * z)})
    assert not np.allclose(loaded.predict(IDS), source.predict(IDS))
    same = load_model(tmp_path / "m.keras", custom_objects={"twice": np.tanh})
    np.testing.assert_allclose(same.predict(IDS), source.predict(IDS), rtol=1e-5)


class Own(cyrnn.layers.Layer):
    """A layer of the user's own, with weights of its own and a layer in it; also a cell."""

    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units
        self.inner = Dense(units)

    def build(self, input_shape):
        self.offset = self.add_weight((self.units,), "zeros", trainable=False)
        self.kernel = self.add_weight((input_shape[-1], self.units), "ones")
        self.inner.build((None, self.units))

    def call(self, inputs, states=None):
        output = self.inner(inputs @ self.kernel) + self.offset
        return output if states is None else (output + states[0], [output])

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)


@pytest.mark.parametrize("as_a_cell", [False, True])
def test_layers_of_your_own_get_their_weights(tmp_path, as_a_cell):
    layer = RNN(Own()) if as_a_cell else Own()
    made = cyrnn.Sequential([Input((5, 4)), layer])
    made.set_weights([np.full(weight.shape, index + 1.0) for index, weight in enumerate(made.weights)])
    own = layer.cell if as_a_cell else layer
    with h5py.File(io.BytesIO(), "w") as file:
        group = "layers/rnn/cell" if as_a_cell else "layers/own"
        for index, weight in enumerate([own.kernel, own.offset]):  # those that are trained first
            file[f"{group}/vars/{index}"] = weight
        for index, weight in enumerate(own.inner.weights):
            file[f"{group}/inner/vars/{index}"] = weight
        file.flush()
        weights = file.id.get_file_image()
    write(tmp_path / "m.keras", json.loads(made.to_json()), weights)
    loaded = load_model(tmp_path / "m.keras", custom_objects={"Own": Own})
    x = np.ones((2, 5, 4), "float32")
    np.testing.assert_array_equal(loaded(x), made(x))
    with pytest.raises(ModelFileError, match="Own"):
        load_model(tmp_path / "m.keras")
