"""Callbacks that write files: which, when, and what a killed process finds again."""

import json
import os
from pathlib import Path

import pytest
from helpers import run_python
from training_by_hand import FakeModel, train

from cyrnn import callbacks
from cyrnn.saving.atomic import UNFINISHED


def run(callback, results, model=None, **options):
    model = FakeModel() if model is None else model
    made = callbacks.CallbackList(callback, add_history=True, model=model, verbose=0, epochs=len(results), steps=2)
    train(made, model, results, **options)
    return model


def val_losses(*values):
    return [{"val_loss": float(value)} for value in values]


# ---------------------------------------------------------------- checkpoints


def checkpoints(tmp_path, name, results, model=None, **options):
    """Names of files and the weight in each, in the order in which they were saved."""
    given = {key: options.pop(key) for key in ("batches", "batch_results") if key in options}
    model = run(callbacks.ModelCheckpoint(tmp_path / name, **options), results, model, **given)
    found = [path.removeprefix(f"{tmp_path}/") for path in model.saved]
    return [(path, json.loads((tmp_path / path).read_text())[0]) for path in found]


def test_a_checkpoint_of_each_epoch(tmp_path):
    name = "{epoch:02d}-{val_loss:.2f}.keras"
    assert checkpoints(tmp_path, name, val_losses(3, 1)) == [("01-3.00.keras", 2), ("02-1.00.keras", 4)]
    name = "new/folder/{epoch}.weights.h5"
    expected = [("new/folder/1.weights.h5", 2), ("new/folder/2.weights.h5", 4)]
    assert checkpoints(tmp_path, name, val_losses(3, 1), save_weights_only=True) == expected


def test_a_checkpoint_of_the_best(tmp_path, capsys):
    found = checkpoints(tmp_path, "{epoch}.h5", val_losses(3, 4, 1, 1), save_best_only=True, verbose=1)
    assert found == [("1.h5", 2), ("3.h5", 6)]
    first, second, third = (tmp_path / f"{epoch}.h5" for epoch in (1, 3, 4))
    assert capsys.readouterr().out == (
        f"\nEpoch 1: val_loss improved from None to 3.00000, saving model to {first}\n"
        f"\nEpoch 1: finished saving model to {first}\n"
        "\nEpoch 2: val_loss did not improve from 3.00000\n"
        f"\nEpoch 3: val_loss improved from 3.00000 to 1.00000, saving model to {second}\n"
        f"\nEpoch 3: finished saving model to {second}\n"
        "\nEpoch 4: val_loss did not improve from 1.00000\n"
    )
    assert not third.exists()
    found = checkpoints(tmp_path, "{epoch}.h5", val_losses(3, 2), save_best_only=True, initial_value_threshold=2.5)
    assert found == [("2.h5", 4)]
    found = checkpoints(tmp_path, "{epoch}.h5", val_losses(3, 4), save_best_only=True, mode="max")
    assert [path for path, _ in found] == ["1.h5", "2.h5"]


def test_the_best_is_that_of_all_trainings(tmp_path):
    callback, model = callbacks.ModelCheckpoint(tmp_path / "a.keras", save_best_only=True), FakeModel()
    run(callback, val_losses(2, 1), model)
    run(callback, val_losses(1.5, 0.5), model)
    assert len(model.saved) == 3 and callback.best == 0.5


def test_a_checkpoint_that_could_not_be_written_is_not_the_best(tmp_path):
    callback, model = callbacks.ModelCheckpoint(tmp_path / "a.keras", save_best_only=True), FakeModel()
    save = model.save

    def full(path):
        raise OSError("no space left")

    model.save = full
    with pytest.raises(OSError, match="no space left"):
        run(callback, val_losses(1), model)
    assert callback.best is None
    model.save = save
    run(callback, val_losses(2), model)
    assert len(model.saved) == 1 and callback.best == 2


def test_checkpoints_of_batches(tmp_path):
    name = "{epoch}-{batch}.keras"
    found = checkpoints(tmp_path, name, [{}] * 3, batches=4, save_freq=3)
    assert found == [("1-3.keras", 3), ("2-2.keras", 6), ("3-1.keras", 9), ("3-4.keras", 12)]
    losses = [{"loss": value} for value in (3.0, 4.0, 1.0, 2.0)]
    found = checkpoints(
        tmp_path, name, [{}], batches=4, batch_results=losses, monitor="loss", save_freq=1, save_best_only=True
    )
    assert found == [("1-1.keras", 1), ("1-3.keras", 3)]


def test_only_who_wants_the_best_needs_a_direction(tmp_path):
    results = [{"mine": 1.0}]
    assert len(checkpoints(tmp_path, "a.keras", results, monitor="mine")) == 1
    with pytest.raises(ValueError, match="monitor='mine', and it is not known whether"):
        checkpoints(tmp_path, "a.keras", results, monitor="mine", save_best_only=True)
    model = FakeModel(mine="max")
    assert len(checkpoints(tmp_path, "a.keras", results, model, monitor="mine", save_best_only=True)) == 1


def test_a_checkpoint_without_its_result(tmp_path):
    with pytest.warns(UserWarning, match="Can save best model only with val_loss available"):
        assert len(checkpoints(tmp_path, "a.keras", [{"loss": 1.0}], save_best_only=True)) == 1
    with pytest.warns(UserWarning, match="only when `monitor` is a scalar value"):
        assert len(checkpoints(tmp_path, "a.keras", [{"val_loss": [1, 2]}], save_best_only=True)) == 1
    with pytest.raises(KeyError, match="Failed to format this callback filepath: .*val_loss.*, there are epoch, loss"):
        checkpoints(tmp_path, "{val_loss}.keras", [{"loss": 1.0}])
    (tmp_path / "folder.keras").mkdir()
    with pytest.raises(IsADirectoryError, match="specify a non-directory filepath for ModelCheckpoint"):
        checkpoints(tmp_path, "folder.keras", [{"loss": 1.0}])


# ---------------------------------------------------------------- backups


class Interrupt(callbacks.Callback):
    """Ends training with an error, before an epoch or after a batch."""

    def __init__(self, epoch, batch=None):
        self.at, self.epoch = (epoch, batch), None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        if self.at == (epoch, None):
            raise InterruptedError

    def on_train_batch_end(self, batch, logs=None):
        if self.at == (self.epoch, batch):
            raise InterruptedError


def interrupted(callback, at, epochs=5):
    with pytest.raises(InterruptedError):
        run([callback, Interrupt(*at)], [{"loss": 1.0}] * epochs)


@pytest.mark.parametrize("double", [False, True])
def test_training_continues_where_it_was_interrupted(tmp_path, double):
    folder = tmp_path / "some" / "backup"
    interrupted(callbacks.BackupAndRestore(folder, double_checkpoint=double), at=(3, 1))
    callback = callbacks.BackupAndRestore(folder, double_checkpoint=double)
    model = run(callback, [{"loss": 1.0}] * 5)
    assert model.history.epoch == [3, 4] and model.weights[0] == 10 and model.optimizer.iterations == 10
    assert not folder.exists() and folder.parent.exists()
    model = run(callback, [{"loss": 1.0}] * 5)  # the epoch does not stick
    assert model.history.epoch == [0, 1, 2, 3, 4]


def test_backups_after_batches(tmp_path):
    interrupted(callbacks.BackupAndRestore(tmp_path, save_freq=3), at=(2, 0))  # after the third of all batches
    for epoch in (1, 2, 2):  # the epoch begins again
        assert json.loads((tmp_path / "training_metadata.json").read_text())["epoch"] == epoch
        interrupted(callbacks.BackupAndRestore(tmp_path, save_freq=1), at=(2, 0))
    model = run(callbacks.BackupAndRestore(tmp_path, save_freq=1), [{}] * 3)
    assert model.history.epoch == [2] and model.weights[0] == 3 + (2 + 1) + 1 + 1 + 2


def test_a_backup_may_stay(tmp_path):
    (tmp_path / "mine.txt").touch()
    callback = callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
    run(callback, [{}] * 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "backup-2.weights.h5", "mine.txt", "training_metadata.json",
    ]  # fmt: skip
    assert run(callback, [{}] * 2).history.epoch == []
    (tmp_path / f"{UNFINISHED}1").touch()
    assert run(callbacks.BackupAndRestore(tmp_path), [{}] * 3).history.epoch == [2]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]  # what is not ours is left alone


@pytest.mark.parametrize("name", ["backup-3.weights.h5", "training_metadata.json"])
@pytest.mark.parametrize("damage", ["{", "", None])
def test_of_two_backups_one_may_be_damaged(tmp_path, name, damage):
    callback = callbacks.BackupAndRestore(tmp_path, double_checkpoint=True)
    interrupted(callback, at=(3, 0))
    if damage is None and name.startswith("backup"):
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(damage or "[1]")
    model = FakeModel()
    with pytest.raises(InterruptedError):
        run([callback, Interrupt(2, 0)], [{}] * 5, model)
    assert callback.restored_epoch == 2 and model.weights[0] == 5
    model = run(callback, [{}] * 3)
    assert model.history.epoch == [2] and model.weights[0] == 6


def test_a_damaged_backup_is_named(tmp_path):
    interrupted(callbacks.BackupAndRestore(tmp_path), at=(1, 0))
    for content in ('{"epoch": 1, "batch": 0}', '{"epoch": -1, "batch": 0, "backup": 1}', '["epoch"]', "{", ""):
        (tmp_path / "training_metadata.json").write_text(content)
        match = f"training_metadata.json must have the numbers epoch, batch, backup, got.*remove the folder {tmp_path}"
        with pytest.raises(ValueError, match=match):
            run(callbacks.BackupAndRestore(tmp_path), [{}])
    unbuilt = FakeModel()
    unbuilt.built = False
    with pytest.raises(ValueError, match="your model must be built before you call `fit"):
        run(callbacks.BackupAndRestore(tmp_path), [{}], unbuilt)


KILLED = """
import os, pathlib, shutil, sys
sys.path.insert(0, sys.argv[1])
from training_by_hand import FakeModel, train
from cyrnn import callbacks

folder, double = sys.argv[2], sys.argv[3] == "True"


class Model(FakeModel):
    def save_weights(self, filepath):  # not at once
        with open(filepath, "w") as file:
            file.write("[")
            file.flush()
            sys.audit("half.written")
            file.write(f"{self.weights[0][0]}, {self.optimizer.iterations}]")


def training(kill_at=None):
    count = 0

    def kill(event, arguments):
        nonlocal count
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "half.written", "os.listdir"):
            count += 1
            if count == kill_at:
                os._exit(7)

    model, seen = Model(), []
    backup = callbacks.BackupAndRestore(folder, double_checkpoint=double)
    note = callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: seen.append((epoch, float(model.weights[0][0]))))
    made = callbacks.CallbackList([backup, note], model=model)
    if kill_at is not None:
        sys.addaudithook(kill)
    train(made, model, [{"loss": 1.0}] * 4)
    return seen


for moment in range(1, 1000):
    child = os.fork()
    if not child:
        training(moment)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seen = training()
    assert seen == [(epoch, 2.0 * epoch) for epoch in range(4 - len(seen), 4)], (moment, seen)
    assert not os.path.exists(folder), os.listdir(folder)
    if code == 0:
        break
    assert code == 7
print(moment)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("double", [False, True])
def test_a_backup_survives_a_kill_at_any_moment(tmp_path, double):
    """Before each thing that a training does with files it is killed; the next one finds weights of its epoch."""
    moments = int(run_python(KILLED, Path(__file__).parent, tmp_path / "backup", double).stdout)
    assert moments > 30
