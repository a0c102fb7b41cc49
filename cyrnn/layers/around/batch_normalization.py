"""BatchNormalization. Reference: Keras 3."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import initializers, objects
from cyrnn.arrays import quietly, to_numpy
from cyrnn.layers.around.normalization import Affine, affine_config
from cyrnn.layers.base.arguments import Array, Shape, checked_axis, checked_number, known_axis
from cyrnn.layers.base.config import LayerOptions
from cyrnn.layers.base.programs.alone import CallProgram, program_of
from cyrnn.layers.base.programs.interface import ENGINE
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import Symbolic, Value
from cyrnn.layers.base.weights import Weight, WeightSpec

_EPSILON = 1e-7  # Keras' own, added to a number of timesteps that may be 0


# as Keras 2 calls it, where its statistics come from all devices of a training too
@objects.register("keras.layers", "BatchNormalizationV1", "BatchNormalizationV2", "SyncBatchNormalization")
class BatchNormalization(Affine):
    """``(x - mean) / sqrt(variance + epsilon) * gamma + beta``, with one mean and variance for each place on `axis`.

    In inference, and where the layer is frozen, these are the weights `moving_mean` and `moving_variance`. In training
    they are those of the batch, without the timesteps that `mask` (batch, timesteps) leaves out; each call then moves
    the weights towards them:  moving * momentum + batch * (1 - momentum).

    Parameters
    ----------
    axis : int
        The axis that keeps its places, the features mostly.
    momentum, epsilon : float
        At least 0.
    center, scale : bool
        Whether there is a weight `beta`, and a weight `gamma`.
    beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer
        Those of the weights: a name, config, or callable.
    beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint
        Likewise.
    renorm, renorm_clipping, renorm_momentum
        Of Keras 2: its weights are accepted, for inference. A call in training raises ValueError.
    synchronized : bool
        Accepted; changes nothing.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`, `activity_regularizer`.
    """

    weight_of = MappingProxyType({"scale": "gamma", "gain": "gamma", "offset": "beta"})
    moving_mean = Weight()
    moving_variance = Weight()
    moving_stddev = Weight()
    renorm_mean = Weight()
    renorm_stddev = Weight()

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: Mapping[str, float] | None = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        **kwargs: Unpack[LayerOptions],
    ) -> None:
        weights = (beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer)
        super().__init__(center, scale, *weights, beta_constraint, gamma_constraint, **kwargs)
        if isinstance(axis, bool) or not hasattr(axis, "__index__"):
            raise TypeError(f"axis must be an integer, got {axis!r}")
        self.axis = axis.__index__()
        self.momentum = float(checked_number("momentum", momentum))
        self.epsilon = float(checked_number("epsilon", epsilon))
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.renorm, self.renorm_clipping, self.renorm_momentum = bool(renorm), renorm_clipping, renorm_momentum
        self.synchronized = bool(synchronized)

    def weight_specs(self, input_shape: Shape) -> list[WeightSpec]:
        shape = (known_axis(self.name, input_shape, self.axis),)
        mean, variance = self.moving_mean_initializer, self.moving_variance_initializer
        statistics = {"moving_mean": mean, "moving_variance": variance}
        if self.renorm:
            stddev = None if variance is None else functools.partial(_root_of, variance)
            statistics |= {"moving_stddev": stddev, "renorm_mean": mean, "renorm_stddev": stddev}
        return [
            *self.affine_specs(shape, self.center, self.scale),
            *(WeightSpec(name, shape, initializer, trainable=False) for name, initializer in statistics.items()),
        ]

    @quietly
    def call(self, inputs: Array, mask: ArrayLike | None = None, training: bool = False) -> Array:
        self._check_shape(inputs.shape)
        keep = None if mask is None else to_numpy("mask", mask).astype(bool, copy=False)
        if keep is not None and keep.shape != inputs.shape[:-1]:
            raise ValueError(f"mask of {self.name!r} must have shape {inputs.shape[:-1]}, got {keep.shape}")
        if training and self.trainable and inputs.size:
            program = self._program_in_training(inputs.shape, keep is not None)
            if program is not None:
                outputs: Array = program.run(inputs, keep)
                return self.returned(outputs)
            mean, variance = self._moments(inputs, keep)
            self._move(mean, variance)
        else:
            mean, variance = (w.astype(inputs.dtype) for w in (self.moving_mean, self.moving_variance))
        shape = self.weights_shape(inputs.shape, [self.axis])
        factor = 1 / np.sqrt(variance + inputs.dtype.type(self.epsilon))
        return self.returned(self.scaled(inputs - mean.reshape(shape), factor.reshape(shape), shape))

    @property
    def depends_on_training(self) -> bool:
        return self.trainable

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op, which scales and shifts by the statistics in the weights; in training by those of the batch."""
        shape = lowering.shape_after(self, inputs)
        try:
            self._check_shape(shape)
        except ValueError as error:
            raise NotLoweredError(str(error)) from None
        if mask is not None and len(shape) != 3:
            raise NotLoweredError(f"its mask must have the shape {shape[:-1]}")
        given = lowering.numbers(inputs)
        if training and self.trainable:
            return self._lowered_in_training(lowering, given, mask)
        lowering.check_mask(mask, given)
        x, length, inner = lowering.along(given, [self.axis % len(shape)])
        out = lowering.buffer(x.shape, x.timeline)
        lowering.program.affine(lowering.slot(self), x.view, out.view, length, inner)
        return lowering.in_time(out, given.timeline)

    def _lowered_in_training(self, lowering: Lowering, given: Value, mask: Any) -> Value:
        if self.renorm:
            raise NotLoweredError("renorm=True is supported in inference only")
        axis, keep = self.axis % len(given.shape), lowering.mask(mask, given)
        if keep is not None and axis == 1:
            raise NotLoweredError("its mask goes along its axis")
        statistics = lowering.statistics(len(self.moving_mean))
        x, length, inner = lowering.along(given, [axis])
        out = lowering.buffer(x.shape, x.timeline)
        views = [value.view for value in statistics]
        masked = None if keep is None else keep.view
        lowering.program.batch_norm(
            lowering.slot(self), x.view, out.view, views, self.epsilon, length, inner, mask=masked
        )
        lowering.note_statistics(self, statistics)
        return lowering.in_time(out, given.timeline)

    def _program_in_training(self, shape: Shape, masked: bool) -> CallProgram | None:
        """The program that a call in training runs; None where NumPy takes the statistics."""
        fixed = (None, *shape[1:])  # an axis of timesteps has a known length
        for form in [(None, None, *shape[2:]), fixed] if len(shape) > 2 else [fixed]:
            known, facts = self._known_program, (form, masked, self.axis, self.epsilon, self.dtype_policy.engine_dtype)
            if known is not None and known.made_for == facts:
                return known
            with contextlib.suppress(NotLoweredError):
                made = program_of(self, form, ENGINE, training=True, masked=[masked], within_its_call=True)
                made.made_for = facts
                vars(self)["_known_program"] = made
                return made
        return None

    def carry_flat(self, statistics: Sequence[Array]) -> None:
        """Move the statistics in the weights towards those of a batch, with the number of elements of a place."""
        mean, variance, count = statistics
        if count[0]:
            self._move(mean, variance)

    @property
    def averages(self) -> tuple[str, str]:
        """The weights that move towards mean and variance of each batch in training."""
        return "moving_mean", "moving_variance"

    @property
    def vectors_follow_from(self) -> tuple[Any, ...]:
        return (self.epsilon,)

    @quietly
    def vectors(self, values: Mapping[str, Array]) -> dict[str, Array]:
        dtype = self.dtype_policy.engine_dtype
        mean, variance, *affine = (
            values[name].astype(dtype) if name in values else None
            for name in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        assert mean is not None and variance is not None
        gamma, beta = affine
        scale = 1 / np.sqrt(variance + dtype.type(self.epsilon))
        return {
            "shift": mean,
            "scale": scale if gamma is None else scale * gamma,
            **({} if beta is None else {"offset": beta}),
            **({} if gamma is None else {"gain": gamma}),
        }

    @quietly
    def slopes(self, values: Mapping[str, Array]) -> dict[str, Array]:
        dtype = self.dtype_policy.engine_dtype
        return {"scale": 1 / np.sqrt(values["moving_variance"].astype(dtype) + dtype.type(self.epsilon))}

    def _check_shape(self, shape: Shape) -> None:
        axis, length = checked_axis(self.name, shape, self.axis), len(self.moving_mean)
        if len(shape) != len(self._build_shape or shape) or shape[axis] != length:
            built = [length if n == axis else "any" for n in range(len(self._build_shape or shape))]
            raise ValueError(f"inputs of {self.name!r} must have shape ({', '.join(map(str, built))}), got {shape}")

    def _moments(self, inputs: Array, keep: Array | None) -> tuple[Array, Array]:
        """Mean and variance of the batch, each (places,)."""
        axis = self.axis % inputs.ndim
        axes = tuple(n for n in range(inputs.ndim) if n != axis)
        if keep is None:
            return inputs.mean(axes), inputs.var(axes)
        kept = np.broadcast_to(keep[..., None], inputs.shape)
        count = kept.sum(axes, keepdims=True, dtype=inputs.dtype) + inputs.dtype.type(_EPSILON)
        mean = np.where(kept, inputs, 0).sum(axes, keepdims=True) / count
        variance = np.square(np.where(kept, inputs - mean, 0)).sum(axes, keepdims=True) / count
        return mean.reshape(-1), variance.reshape(-1)

    def _move(self, mean: Array, variance: Array) -> None:
        """Move the statistics in the weights towards those of a batch."""
        if self.renorm:
            raise ValueError(f"layer {self.name!r} has renorm=True, which is supported in inference only")
        share = self.momentum
        self.assign(
            {
                "moving_mean": self.moving_mean * share + mean * (1 - share),
                "moving_variance": self.moving_variance * share + variance * (1 - share),
            }
        )

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        checked_axis(self.name, tuple(input_shape), self.axis)
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        affine = affine_config(self)
        config = {
            **super().get_config(),
            "axis": self.axis,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": affine["beta_initializer"],
            "gamma_initializer": affine["gamma_initializer"],
            "moving_mean_initializer": initializers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.serialize(self.moving_variance_initializer),
            **affine,
            "synchronized": self.synchronized,
        }
        if not self.renorm:  # whose keys Keras before 3.15 refuses
            return config
        renorm = {"renorm_clipping": self.renorm_clipping, "renorm_momentum": self.renorm_momentum}
        return {**config, "renorm": True, **renorm}

    @classmethod
    def arguments_of(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Also of a config of Keras 2, which has the axis in a list."""
        axis = config.get("axis")
        if isinstance(axis, (list, tuple)) and len(axis) == 1:
            return {**config, "axis": axis[0]}
        return dict(config)


@quietly
def _root_of(initializer: Callable[..., ArrayLike], shape: tuple[int, ...], dtype: str | None = None) -> ArrayLike:
    """Standard deviations where `initializer` makes variances."""
    return np.sqrt(initializer(shape, dtype=dtype))
