"""`Compute`: how the arithmetic of one run is carried out, on which and on how many devices.

A run may be split over D devices (`split="envs"`).  An update touches the environment axis twice:
it draws random numbers for each environment, and it sums over environments.  So every device can
run the same program (`jax.shard_map`) on N / D environments, if it takes its share of the draws
and adds its sums to those of the others.  Devices exchange nothing while acting, and one sum of
gradients for every step of an optimizer.  All devices then take the same step.

The numbers are those of one device up to the order of summation.  (On a CPU also up to when spare
resets are renewed, see resets.py: each device renews its own.)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from purejaxvpg.compute.platform import on_cpu
from purejaxvpg.compute.rows import AT_A_TIME, map_rows, summed_grad
from purejaxvpg.compute.turns import one_by_one
from purejaxvpg.compute.varying import vary_like
from purejaxvpg.variables import trained, with_trained

STEPS_AT_A_TIME = 8  # on an accelerator a loop's overhead is as large as its body: unroll


class Compute(NamedTuple):
    """How one run is computed.  With one device (the default) sums and shares are the identity."""

    gradient_rows: int | None = None  # most rows of a batch at a time, see rows.py
    devices: int = 1  # D, a divisor of N
    axis: str = "envs"  # of the mesh that `jax.shard_map` runs over
    large: bool = False  # observations, see `rows.is_large`

    def sum(self, sums: Any) -> Any:
        """Sums over this device's environments -> sums over all of them.  Pytrees."""
        return lax.psum(sums, self.axis) if self.devices > 1 else sums

    def mean_and_variance(self, x: Array, share: Array) -> tuple[Array, Array]:
        """Mean and variance `[]` of x under weights that sum to 1 over all environments."""
        mean = self.sum((share * x).sum())
        return mean, self.sum((share * jnp.square(x - mean)).sum())

    def standardized(self, x: Array, share: Array, count: Array) -> Array:
        """(x - mean) / standard deviation, of the shape of x.

        Equal x have no signal and become 0: divided by the deviation of their rounding, they would
        be as large as any.  A single row has nothing to be compared with and stays as it is: less
        its mean it would always be 0.

        Args: share: weights that sum to 1 over all environments.  count: `[]`, rows with a weight.
        """
        mean, variance = self.mean_and_variance(x, share)
        equal = self._equal(x, share, mean, variance)
        deviation = jnp.sqrt(jnp.where(equal, 1, variance))  # sqrt has no derivative at 0
        scaled = jnp.where(equal, 0, (x - mean) / (deviation + 1e-8))
        return jnp.where(count == 1, x, scaled)

    def explained_variance(self, target: Array, values: Array, share: Array) -> Array:
        """1 - Var(target - values) / Var(target) `[]`; 0 if the target is constant."""
        _, unexplained = self.mean_and_variance(target - values, share)
        mean, variance = self.mean_and_variance(target, share)
        equal = self._equal(target, share, mean, variance)
        return jnp.where(equal, 0.0, 1 - unexplained / jnp.where(equal, 1.0, variance))

    def _equal(self, x: Array, share: Array, mean: Array, variance: Array) -> Array:
        """Whether all x are equal, up to rounding.  `[]` bool"""
        # The mean of a million equal rows is off by more than 1e-5 of it; its square is taken off.
        off = self.sum((share * (x - mean)).sum())
        return constant(mean, variance - jnp.square(off))

    def grad(
        self, loss: Callable[[Any, Any], tuple[Array, Any]], params: Any, rows: Any
    ) -> tuple[tuple[Array, Any], Any]:
        """`((loss, sums), grads)` of a loss that is a sum over rows `[B, ...]` (`summed_grad`).

        params: a network's variables; grads are those of what is trained (`variables.trained`).
        """

        def of_trained(new: Any, rows: Any) -> tuple[Array, Any]:
            return loss(with_trained(params, new), rows)

        return self.sum(summed_grad(of_trained, trained(params), rows, *self._chunks))

    def map(self, function: Callable[[Any], Any], rows: Any) -> Any:
        """`function(rows)`, of a function that treats every row `[B, ...]` by itself."""
        return map_rows(function, rows, *self._chunks)

    @property
    def _chunks(self) -> tuple[int | None, int]:
        """Most rows of a chunk, and chunks at a time: activations of large observations take more
        memory (84 x 84 x 4, 128 rows: 212 MB in two chunks side by side, 87 in turn)."""
        return self.gradient_rows, 1 if self.large else AT_A_TIME

    def map_large(self, function: Callable[[Any], Any], rows: Any) -> Any:
        """As `map` where observations are large.  Others take one pass, which needs no memory to
        speak of without a gradient."""
        return self.map(function, rows) if self.large else function(rows)

    def scan(self, step: Callable[..., Any], start: Any, xs: Any) -> tuple[Any, Any]:
        """`lax.scan`, unrolled where that is faster."""
        start = vary_like(start, (start, xs))
        return lax.scan(step, start, xs, unroll=1 if on_cpu() else STEPS_AT_A_TIME)

    def in_turn(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function; under `vmap` on a CPU, one run after the other (turns.py)."""
        return one_by_one(function)

    def local(self, x: Any, axis: int = 0) -> Any:
        """This device's share of arrays that hold all N environments.  Pytrees.

        Args:
          axis: of the environments, N long; N / D in the result.
        """
        if self.devices == 1:
            return x

        def share(x: Array) -> Array:
            size = x.shape[axis] // self.devices
            return lax.dynamic_slice_in_dim(x, lax.axis_index(self.axis) * size, size, axis)

        return jax.tree.map(share, x)

    def keys(self, key: Array, local_envs: int) -> Array:
        """A key for every environment of this device, `[N / D]`.  local_envs: N / D."""
        return self.local(jax.random.split(key, local_envs * self.devices))

    def on_all_envs(self, function: Callable[[Any, Any], Array]) -> Callable[[Any, Any], Array]:
        """The same function of `[T, N]` arrays, given the columns of all devices.

        For functions that compare environments.  Every device computes all N columns and keeps
        its own.
        """
        if self.devices == 1:
            return function

        def gather(x: Array) -> Array:
            return lax.all_gather(x, self.axis, axis=1, tiled=True)

        return lambda arrays, other: self.local(
            function(jax.tree.map(gather, arrays), other), axis=1
        )


def constant(mean: Array, variance: Array) -> Array:
    """Whether a variance is that of equal numbers: below (1e-5 mean)^2 it is their rounding."""
    return variance <= jnp.square(1e-5 * mean)


def settled(params: Any) -> Any:
    """The same parameters, as the end of an optimizer's step.

    Without a barrier XLA computes the step anew in every tile of the next matrix product on an
    accelerator, and with jaxlib 0.11 fails to (its pass hoist-fused-bitcasts, for the bias of a
    layer of one output).
    """
    return params if on_cpu() else lax.optimization_barrier(params)
