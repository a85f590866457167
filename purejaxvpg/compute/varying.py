"""Loops inside the user's own `jax.shard_map`, which tells arrays that vary over the mesh apart.

A loop's start must vary over the mesh as its results do, and a constant (zeros to add to) does not.
Outside of `shard_map`, and with check_vma=False, nothing varies and these functions change nothing.
"""

from typing import Any

import jax
from jax import Array, lax


def vary_like(tree: Any, like: Any) -> Any:
    """The same arrays, which vary over each mesh axis that an array of `like` varies over.

    Pytrees; both may hold other things than arrays.
    """
    axes = frozenset().union(*map(_axes, jax.tree.leaves(like)))

    def one(x: Any) -> Any:
        missing = tuple(sorted(axes - _axes(x)))
        return lax.pcast(x, missing, to="varying") if missing else x

    return jax.tree.map(one, tree) if axes else tree


def _axes(x: Any) -> frozenset[str]:
    """Mesh axes that an array varies over."""
    kind = jax.typeof(x) if isinstance(x, Array) else None
    kind = getattr(kind, "manual_axis_type", kind)  # jax 0.11
    return frozenset(getattr(kind, "varying", None) or getattr(kind, "vma", None) or ())
