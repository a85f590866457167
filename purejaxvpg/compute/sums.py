"""Sums over long episodes, in two float32.

A plain float32 sum of 2,000,000 rewards of 0.1 is 197,025, and one of ones stops at 2^24: each
addition is rounded to the sum's last place.  The second number holds what was rounded away.
"""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

PLAIN_STEPS = 1024
"""Sums of so few rewards stay plain: right to 1e-5, and to the last bit those of earlier versions,
so that learning curves can be compared with theirs."""


def add(total: Array, lost: Array, x: Array, steps: ArrayLike) -> tuple[Array, Array]:
    """A sum with one more number, and what it has lost to rounding.

        s = total + x, rounded;     e = lost + (total + x - s);     (s, e)  ->  (s + e, the rest)

    Source: Knuth 1997, "The Art of Computer Programming", volume 2, section 4.2.2, theorems B and
    C.  (XLA keeps the order of additions; a product in x that is fused into the sum does no harm.)

    Args: steps: how many numbers were added, this one included.
    """
    plain = total + x
    added = plain - total
    error = lost + ((total - (plain - added)) + (x - added))
    whole = plain + error
    rest = error - (whole - plain)
    finite = jnp.isfinite(plain)  # if not: infinity less itself is NaN
    long = finite & (steps > PLAIN_STEPS)
    return jnp.where(long, whole, plain), jnp.where(long, rest, jnp.where(finite, error, 0))
