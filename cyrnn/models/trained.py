"""How models are trained: Keras' `compile`, `fit`, `evaluate`, and their calls for one batch."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from cyrnn.engine import precision as products
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.building import unbuilt_on_error
from cyrnn.layers.base.samples.sequences import padded
from cyrnn.models.programs.parts import OfOutputs, Results
from cyrnn.models.training.compilable import Compilable
from cyrnn.notices.keywords import suggesting_keywords

if TYPE_CHECKING:  # imported when a model is trained
    from cyrnn.callbacks import History
    from cyrnn.training.compiled import Compiled
    from cyrnn.training.protocol import CompiledStep, Pullback


_NOT_CALLED = ("train_step", "test_step", "compute_loss", "compute_metrics")  # with which Keras' users change `fit`


class Trained(Compilable):
    """A model that can be trained."""

    stop_training: bool = False  # callbacks set it: training ends after the step
    history: Any = None  # of the last `fit`
    _of_no_structure: ClassVar[frozenset[str]] = Compilable._of_no_structure | {"stop_training", "history"}

    # ------------------------------------------------------------ many batches

    @suggesting_keywords
    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: Any = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: Any = 1,
        *,
        lengths: Any = None,
    ) -> "History":
        """Train the model for some epochs.

        Parameters
        ----------
        x : array (rows, ...), a list or dict of arrays, a generator, or an object with `__getitem__` and `__len__`
            The inputs; or batches, tuples ``(x, y)`` or ``(x, y, sample_weight)``. Memory maps may be larger than
            memory: their rows are gathered batch by batch. For one input also a list of sequences, as in `predict`.
        y : array (rows, ...), or a list or dict of arrays by output
            The truth.
        batch_size : int, optional
            Rows of a step; default 32, or the rows of a stateful model.
        epochs : int
            The number of the last epoch.
        verbose : "auto", 0, 1 or 2
            1 shows a progress bar, 2 a line for each epoch, 0 nothing. "auto" is 1 in a terminal, else 0.
        callbacks : list of Callback, optional
            See `cyrnn.callbacks`.
        validation_split : float
            This part of the rows, the last ones, is held out to validate with.
        validation_data : tuple (x, y) or (x, y, sample_weight), or an object that has batches, optional
            What the model is validated with after each epoch.
        shuffle : bool or "batch"
            Whether rows come in another order in each epoch, drawn from NumPy's global generator, which
            `cyrnn.utils.set_random_seed` seeds; "batch" moves them within each batch only.
        class_weight : dict of int to float, optional
            What rows, or timesteps, weigh by their class; 1 for classes that it has not.
        sample_weight : array (rows,) or (rows, timesteps), optional
            What rows, or timesteps, weigh; for several outputs one for all, or a list or dict.
        initial_epoch : int
            The number of the first epoch.
        steps_per_epoch : int, optional
            Batches of an epoch; None for all there are.
        validation_steps, validation_batch_size : int, optional
            The same of the validation.
        validation_freq : int, or list of int
            After each so many epochs the model is validated, or after those of these numbers, from 1 on.
        lengths : array (rows,) of integers, or a list or dict of such, optional
            How many timesteps of each row count, where x is padded on the right. Losses follow this mask as others.

        Returns
        -------
        History
            Its `history` has a list for each log: loss and metrics of each epoch, and those of the validation as
            ``val_...``. The loss is the mean over rows, as each was before the step.

        Raises
        ------
        ValueError, TypeError
            If the model is not compiled, or arguments do not fit; before the first step. Nothing has changed then.

        Notes
        -----
        Ctrl-C ends it with the weights of the last finished step.
        """
        from cyrnn.training import loop

        options = loop.FitOptions(
            batch_size, epochs, verbose, callbacks, validation_split, validation_data, shuffle, class_weight,
            initial_epoch, steps_per_epoch, validation_steps, validation_batch_size, validation_freq,
        )  # fmt: skip
        compiled = self._checked_compiled()
        with compiled.open_again_on_error():
            with self._built_for(x, lengths) as (x, lengths):
                training = loop.Fit(self, compiled, x, y, sample_weight, options, lengths)
            return training.run()

    @suggesting_keywords
    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        *,
        lengths: Any = None,
    ) -> Any:
        """Loss and metrics of the model, in inference.

        Parameters
        ----------
        x, y, batch_size, verbose, sample_weight, callbacks, lengths
            See `fit`.
        steps : int, optional
            The number of batches; None for all there are.
        return_dict : bool
            Whether to return a dict by name.

        Returns
        -------
        float, list of float, or dict
            The loss alone; or loss and metrics in a list, in the order of `metrics_names`.

        Raises
        ------
        ValueError, TypeError
            If the model is not compiled, or arguments do not fit.
        """
        from cyrnn.training import loop

        compiled = self._checked_compiled()
        with compiled.open_again_on_error(), self._built_for(x, lengths) as (x, lengths):
            found = loop.evaluate(self, compiled, x, y, sample_weight, batch_size, verbose, steps, callbacks, lengths)
        return _returned(found, return_dict)

    # ------------------------------------------------------------ one batch

    @suggesting_keywords
    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Make one step with all rows of x, and return loss and metrics of this batch, as they were before it.

        Parameters
        ----------
        x, y, sample_weight, class_weight
            See `fit`.
        return_dict : bool, default False
            As in `evaluate`.

        Returns
        -------
        float, list of float or dict
            As `evaluate` returns them.

        Raises
        ------
        ValueError, TypeError
            If the model is not compiled, or arguments do not fit. Nothing has changed then.
        """
        from cyrnn.training import loop

        compiled = self._checked_compiled()
        with compiled.open_again_on_error():
            with self._built_for(x):
                batch = loop.batch_to_train_on(self, compiled, x, y, sample_weight, class_weight)
            return _returned(loop.train_on_batch(self, compiled, batch), return_dict)

    @suggesting_keywords
    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Loss and metrics of one batch, in inference.

        Parameters
        ----------
        x, y, sample_weight
            See `fit`.
        return_dict : bool, default False
            As in `evaluate`.

        Returns
        -------
        float, list of float or dict
            As `evaluate` returns them.
        """
        from cyrnn.training import loop
        from cyrnn.training.data import checked_batch

        compiled = self._checked_compiled()
        with compiled.open_again_on_error(), self._built_for(x):
            found = loop.test_on_batch(self, compiled, checked_batch(self, x, y, sample_weight))
        return _returned(found, return_dict)

    @suggesting_keywords
    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        *,
        num_threads: int | None = None,
        out: Any = None,
        progress: Any = False,
        lengths: Any = None,
        precision: str | None = None,
    ) -> Array:
        """Compute the output for all samples, batch by batch: see `cyrnn.layers.RNN.predict`.

        Parameters
        ----------
        x, batch_size, num_threads, out, progress, lengths, precision
            See there. x may also be a generator, or another object that has batches: see `fit`; each is an array, a
            dict of such, or a tuple as in `fit`.
        verbose
            Changes nothing, unless there are `steps`, `callbacks` or batches; then as in `fit`.
        steps : int, optional
            The number of batches; None for all there are.
        callbacks : list of Callback, optional
            What has hooks such as `on_predict_batch_end`, whose logs have the "outputs".

        Returns
        -------
        array, or a structure of arrays
            For arrays of Dask such of Dask, as `cyrnn.dask.predict` returns them.

        Raises
        ------
        ValueError, TypeError
            For inputs that do not fit.
        """
        if type(x) is not np.ndarray and _is_lazy(x):
            for name, value in (
                ("out", out),
                ("steps", steps),
                ("callbacks", callbacks),
                ("progress", progress or None),
            ):
                if value is not None:
                    raise ValueError(f"{name} must not be given for a Dask array, whose result is lazy")
            from cyrnn.dask.arrays.predict import predict

            tasks_threads = 1 if num_threads is None else num_threads
            return predict(self, x, lengths, tasks_threads, batch_size=batch_size, precision=precision)
        if precision is not None:
            with products.using(precision):
                return self.predict(
                    x, batch_size, verbose, steps, callbacks,
                    num_threads=num_threads, out=out, progress=progress, lengths=lengths,
                )  # fmt: skip
        batches = type(x) is not np.ndarray and _has_batches(x)
        if steps is None and callbacks is None and not batches:
            return super().predict(x, batch_size, num_threads=num_threads, out=out, progress=progress, lengths=lengths)
        if out is not None or progress is not False or num_threads is not None:
            raise ValueError("out, progress and num_threads need arrays, without steps and callbacks")
        if lengths is not None and batches:
            raise ValueError(f"lengths need arrays, got {type(x).__name__}: batches are lists of sequences instead")
        from cyrnn.training import loop

        with self._built_for(x, lengths) as (x, lengths):
            return loop.predict(self, x, batch_size, verbose, steps, callbacks, lengths)

    @suggesting_keywords
    def predict_on_batch(self, x: Any) -> Array:
        """The outputs for one batch: what a call in inference returns.

        Parameters
        ----------
        x : array, or a structure of arrays

        Returns
        -------
        array, or a structure of arrays
        """
        return self(x)

    # ------------------------------------------------------------ what training asks for

    def taped(self, x: Any, mask: Any = None) -> "tuple[Results, Pullback]":
        """What a call in training returns for a loss, and its pullback.

        That takes a pair: the gradients of the outputs, and for each output that of its logits, or None.
        """
        outputs, pullback = self.vjp(x, training=True, **({} if mask is None else {"mask": mask}))
        return Results(outputs, None, []), OfOutputs(pullback)

    def compiled_step(self, compiled: "Compiled", masked: tuple[bool, ...] = ()) -> "CompiledStep | None":
        """A step of training as one compiled call; None where there is none.

        `masked` says which inputs have masks; none of them if it is empty.
        """
        return None

    def called(self, x: Any, mask: Any = None) -> Results:
        """What a call in inference returns for a loss."""
        return Results(self(x) if mask is None else self(x, mask=mask), None, [])

    def shapes_of_outputs(self, shapes: list[Any], like: Any) -> list[tuple[int, ...]] | None:
        """For inputs of these shapes, in the structure of `like`; None where that is not known before a call."""
        return None

    def tables_of_inputs(self) -> list[tuple[int, Any]]:
        """The layers that look up an input as it is, as far as they are known, each with the number of that input."""
        return []

    @property
    def names_of_targets(self) -> list[str]:
        """For each output the name that losses, metrics and targets have it by."""
        return self.output_names

    @property
    def output_rank(self) -> int:
        """The number of axes of the first output."""
        return len(nest.leaves_of_shapes(self.compute_output_shape(self.input_shape))[0])

    def _checked_compiled(self) -> "Compiled":
        if self._compiled is None:
            raise ValueError(f"model {self.name!r} must be compiled before it is trained: call compile()")
        for name in _NOT_CALLED:
            if hasattr(self, name):
                raise ValueError(
                    f"{type(self).__name__} has a method {name}, which cyrnn does not call: train it in a loop of your "
                    "own, with vjp() and optimizer.apply()"
                )
        return self._compiled

    @contextlib.contextmanager
    def _built_for(self, x: Any, lengths: Any = None) -> Iterator[tuple[Any, Any]]:
        """Context manager: build the model for inputs like x, if it is not built, and x is no data that has batches
        itself. It is as before if the block fails.

        That gets x and lengths, and arrays of both for a list of sequences.
        """
        if x is None:
            raise ValueError("x must be arrays, or data that has batches, got None")
        from cyrnn.training.data import has_batches, parts_of_x, without_lists

        x, lengths = padded(self, x, lengths)
        if self.built or has_batches(x):
            yield x, lengths
            return
        with unbuilt_on_error(self):
            given = without_lists(x)
            arrays: list[Array] = parts_of_x(self, given)
            self.build(self.in_structure([(None, *array.shape[1:]) for array in arrays], given))
            yield x, lengths


def _is_lazy(x: Any) -> bool:
    """Whether there are arrays of Dask in x, which is not imported."""
    return any(hasattr(leaf, "__dask_graph__") for leaf in nest.leaves(x))


def _has_batches(x: Any) -> bool:
    from cyrnn.training.data import has_batches

    return has_batches(x)


def _returned(found: dict[str, Any], as_dict: bool) -> Any:
    """What calls return of the logs, which are in order."""
    if as_dict:
        return dict(sorted(found.items()))
    first, *others = found.values()
    return [first, *others] if others else first
