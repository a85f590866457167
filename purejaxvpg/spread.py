"""One run over several devices: each has its share of the environments, and sums are of all.

The algorithm meets its environments in two places: chance is drawn for each of them, and what they
saw is summed up.  So one program can run on every device (`jax.shard_map`), on N / D environments
of its own, if it takes its share of what is drawn and adds up the devices' sums.  Nothing else is
exchanged: nothing while acting, one sum of gradients for every step of an optimizer.  All devices
then take the same step, and have the same parameters.

The numbers are those of one device up to the order of summation.  (On a CPU also up to when spare
resets are renewed, see envs/core.py: where an episode ends within `RENEWAL` steps of another in its
environment, the spares of its device are, and not those of all.)
"""

from typing import Any, NamedTuple

import jax
from jax import Array, lax


class Spread(NamedTuple):
    """How the N environments of a run lie over D devices."""

    devices: int = 1  # D, a divisor of N
    axis: str = "envs"  # of the mesh

    def total(self, sums: Any) -> Any:
        """Sums over what this device has -> sums over what all have.  Pytrees."""
        return lax.psum(sums, self.axis) if self.devices > 1 else sums

    def own(self, x: Any, axis: int = 0) -> Any:
        """This device's part of arrays of which every device has all N environments.  Pytrees.

        Args:
          axis: of the environments, N long; N / D in the result.
        """
        if self.devices == 1:
            return x

        def part(x: Array) -> Array:
            size = x.shape[axis] // self.devices
            return lax.dynamic_slice_in_dim(x, lax.axis_index(self.axis) * size, size, axis)

        return jax.tree.map(part, x)

    def keys(self, key: Array, num_envs: int) -> Array:
        """A key for every environment of this device, `[N / D]`.  num_envs: N."""
        return self.own(jax.random.split(key, num_envs))


ALONE = Spread()
