"""Windows of a long sequence as batches: `timeseries_dataset_from_array`."""

import numpy as np
import pytest

import cyrnn
from cyrnn.utils import timeseries_dataset_from_array

DATA = np.arange(20.0)


def windows(**options):
    return [np.asarray(batch).tolist() for batch in timeseries_dataset_from_array(DATA, None, **options)]


def test_windows_have_strides_and_rates():
    assert windows(sequence_length=3, sequence_stride=5, sampling_rate=2, batch_size=2) == [
        [[0, 2, 4], [5, 7, 9]],
        [[10, 12, 14], [15, 17, 19]],
    ]
    assert windows(sequence_length=2, sequence_stride=3, batch_size=9, start_index=4, end_index=9) == [[[4, 5], [7, 8]]]
    assert windows(sequence_length=19, batch_size=None) == [list(range(19)), list(range(1, 20))]
    assert windows(sequence_length=21) == []


def test_targets_are_those_of_the_first_steps():
    dataset = timeseries_dataset_from_array(DATA[:-3], DATA[3:] * 10, 3, batch_size=4, start_index=2)
    assert len(dataset) == 4
    for x, y in dataset:
        np.testing.assert_array_equal(y, (x[:, 0] + 3) * 10)
    short = timeseries_dataset_from_array(DATA, DATA[:5], 2, batch_size=4)
    assert [len(y) for _, y in short] == [4, 1]


def test_scripts_call_numpy_and_take():
    dataset = timeseries_dataset_from_array(DATA[:, None], DATA, 4, batch_size=8)
    assert dataset.take(0) == []
    assert len(dataset.take(-1)) == len(dataset) == 3
    for x, y in dataset.take(1):
        assert x.numpy().shape == (8, 4, 1)
        assert type(x[0][:, 0].numpy()) is np.ndarray
        assert y.numpy().tolist() == list(range(8))


def test_orders_are_those_of_the_seed():
    def orders(seed):
        dataset = timeseries_dataset_from_array(DATA, None, 1, shuffle=True, seed=seed)
        return [next(iter(dataset)).ravel().tolist() for _ in range(3)]

    assert orders(1) == orders(1)
    assert orders(1) != orders(2)
    first, second, _ = orders(1)
    assert first != second
    assert sorted(first) == DATA.tolist()


def test_a_model_is_trained_with_them():
    x = np.sin(np.arange(300) / 5).astype(np.float32)[:, None]
    dataset = timeseries_dataset_from_array(x[:-10], x[10:], 10, batch_size=32, shuffle=True, seed=0)
    model = cyrnn.Sequential([cyrnn.Input((10, 1)), cyrnn.layers.SimpleRNN(8), cyrnn.layers.Dense(1)])
    model.compile(cyrnn.optimizers.Adam(0.01), "mse")
    history = model.fit(dataset, epochs=20, validation_data=dataset, verbose=0).history
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    assert model.evaluate(dataset, verbose=0) == pytest.approx(history["val_loss"][-1])
    assert model.predict(dataset).shape == (281, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sequence_length": 0}, "sequence_length must be at least 1, got 0"),
        ({"sequence_length": 2, "sampling_rate": 20}, "sampling_rate must be less than the 20 steps of data, got 20"),
        ({"sequence_length": 2, "start_index": 5, "end_index": 5}, "start_index and end_index must be in order"),
        ({"sequence_length": 2, "end_index": 21}, "from 0 to 20, got None and 21"),
        ({"sequence_length": 2, "batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_what_is_out_of_range_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        timeseries_dataset_from_array(DATA, None, **options)
