"""What torch writes around an RNN, LSTM or GRU, with both of its exporters: read, and torch's numbers."""

import importlib.util
import io
import logging
import warnings

import numpy as np
import pytest
from onnx_by_hand import close, onnx

from cyrnn.layers.base import nest
from cyrnn.saving import from_onnx

torch = pytest.importorskip("torch", reason="needs torch, which is large: pip install '.[torch]'")
nn = torch.nn
X = torch.linspace(-2, 2, 36).reshape(3, 6, 2).sin()
KINDS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}


class Around(nn.Module):
    """A recurrent module of 4 units, and what is computed with it."""

    def __init__(self, kind, then, **options):
        super().__init__()
        torch.manual_seed(0)
        self.rnn = KINDS[kind](2, 4, batch_first=True, **options)
        self.of_4, self.of_8, self.score = nn.Linear(4, 5), nn.Linear(8, 5), nn.Linear(4, 1)
        self.h0 = nn.Parameter(torch.randn(1, 1, 4))
        self.kind, self.then = kind, then

    def forward(self, *given):
        return self.then(self, *given)

    def final(self, x):
        states = self.rnn(x)[1]
        return states[0] if self.kind == "LSTM" else states

    def begun_with(self, x, h):
        """The outputs after this h, and for an LSTM a c that is its double."""
        return self.rnn(x, (h, 2 * h) if self.kind == "LSTM" else h)[0]


def packed(self, x, lengths):
    """The outputs of sequences of these lengths."""
    pack, unpack = nn.utils.rnn.pack_padded_sequence, nn.utils.rnn.pad_packed_sequence
    return unpack(self.rnn(pack(x, lengths, batch_first=True))[0], batch_first=True)[0]


FORMS = {
    "the last timestep": (lambda s, x: s.of_4(s.rnn(x)[0][:, -1]), {}),
    "learned initial states": (lambda s, x: s.begun_with(x, s.h0.expand(-1, x.shape[0], -1).contiguous()), {}),
    "repeated initial states": (lambda s, x: s.begun_with(x, s.h0.repeat(1, x.size(0), 1)), {}),
    "rows of all timesteps": (lambda s, x: s.of_4(s.rnn(x)[0].contiguous().view(-1, 4)), {}),
    "all timesteps as features": (lambda s, x: s.rnn(x)[0].reshape(x.shape[0], -1), {}),
    "both final states, flattened": (
        lambda s, x: s.of_8(s.final(x).transpose(0, 1).flatten(1)),
        {"bidirectional": True},
    ),
    "both final states, reshaped": (
        lambda s, x: s.of_8(s.final(x).permute(1, 0, 2).reshape(x.shape[0], -1)),
        {"bidirectional": True},
    ),
    "attention": (lambda s, x: (lambda o: s.of_4((torch.softmax(s.score(o), 1) * o).sum(1)))(s.rnn(x)[0]), {}),
    "the mean of the features": (lambda s, x: s.rnn(x)[0].mean(2), {}),
    "clamp": (lambda s, x: s.rnn(x)[0].clamp(-0.1, 0.1), {}),
    "two layers": (lambda s, x: s.of_4(s.rnn(x)[0]).relu(), {"num_layers": 2}),
    "two layers, both ways": (lambda s, x: s.of_8(s.rnn(x)[0]).amax(1), {"num_layers": 2, "bidirectional": True}),
}


def exported(module, arguments, **options):
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), arguments, file, dynamo=False, **options)
        return onnx.load_from_string(file.getvalue()), module(*arguments).numpy()


@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize("batch", [{}, {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}}], ids=["3", "any"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_forms(form, kind, batch, folded):
    then, options = FORMS[form]
    proto, wanted = exported(Around(kind, then, **options), (X,), do_constant_folding=folded, **batch)
    model = from_onnx(proto)
    close(model(X.numpy()), wanted)
    close(model.predict(X.numpy(), batch_size=2), wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_initial_states_of_two_layers(kind):
    h = torch.linspace(-1, 1, 24).reshape(2, 3, 4)
    proto, wanted = exported(Around(kind, Around.begun_with, num_layers=2), (X, h))
    close(from_onnx(proto)([X.numpy(), np.concatenate(list(h.numpy()), -1)]), wanted)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("both", [False, True])
def test_packed_sequences(kind, both):
    lengths = torch.tensor([6, 4, 2])
    proto, wanted = exported(Around(kind, packed, bidirectional=both), (X, lengths))
    close(from_onnx(proto)([X.numpy(), lengths.numpy()]), wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_one_sequence_without_a_batch(kind):
    proto, wanted = exported(Around(kind, lambda s, x: s.rnn(x)[0]), (X[0],))
    found = from_onnx(proto)(X.numpy())
    assert found.shape == (3, 6, 4)
    close(found[0], wanted)


@pytest.mark.parametrize("batch", ["3", "any"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["the last timestep", "two layers, both ways"])
def test_forms_of_the_newer_exporter(form, kind, batch):
    if importlib.util.find_spec("onnxscript") is None:
        pytest.skip("torch's newer exporter needs onnxscript: pip install onnxscript")
    then, options = FORMS[form]
    module = Around(kind, then, **options).eval()
    shapes = {"given": ({0: torch.export.Dim("batch", min=1, max=1024)},)} if batch == "any" else None
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            proto = torch.onnx.export(module, (X,), dynamo=True, dynamic_shapes=shapes, verbose=False).model_proto
    finally:
        logging.disable(before)
    with torch.no_grad():
        wanted = module(X).numpy()
    model = from_onnx(proto)
    close(model(X.numpy()), wanted)
    close(np.concatenate([np.asarray(nest.leaves(model(X.numpy()[n : n + 1]))[0]) for n in range(3)]), wanted)
