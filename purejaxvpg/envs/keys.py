"""Where a function's random numbers come from, read off its trace."""

from collections.abc import Callable
from typing import Any

import jax
from jax import Array

_DRAWS = ("random_bits", "threefry2x32", "rng_bit_generator", "rng_uniform", "random_gamma")


def ignores_its_key(function: Callable[[Array, Any], Any], params: Any) -> bool:
    """Whether `function(key, params)` draws random numbers, and none from its key.

    One that draws no random numbers at all (an environment that starts the same each time) does
    not ignore its key.
    """
    traced = jax.make_jaxpr(lambda key: function(key, params))(jax.random.key(0))
    marks = _follow(traced.jaxpr, [{"key"}])
    return any("draw" in mark for mark in marks) and not any("key" in mark for mark in marks)


def _follow(jaxpr: Any, inputs: list[set[str]]) -> list[set[str]]:
    """For each output, the marks of its sources: those of the inputs, and "draw"."""
    marks = dict(zip(jaxpr.invars, inputs, strict=True))

    def marks_of(atoms: Any) -> list[set[str]]:
        return [marks.get(a, set()) if hasattr(a, "aval") and not hasattr(a, "val") else set()
                for a in atoms]  # fmt: skip

    for equation in jaxpr.eqns:
        inner = equation.params.get("jaxpr") or equation.params.get("call_jaxpr")
        inner = getattr(inner, "jaxpr", inner)
        sources = marks_of(equation.invars)
        if inner is not None and len(getattr(inner, "invars", ())) == len(sources):
            results = _follow(inner, sources)
        else:
            everything = set().union(*sources)
            if equation.primitive.name in _DRAWS:
                everything.add("draw")
            results = [everything] * len(equation.outvars)
        if len(results) != len(equation.outvars):
            results = [set().union(*results)] * len(equation.outvars)
        marks.update(zip(equation.outvars, results, strict=True))
    return marks_of(jaxpr.outvars)
