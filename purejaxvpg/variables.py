"""Variables of a network: what is trained, and what is carried along.

The variables of a network are `{part: {collection: ...}}`, where a part is a torso or a head and a
collection is flax's.  `params` is trained.  All others (constants, running statistics) stay as
they were made: no gradient is taken of them, no optimizer moves or decays them, and they may hold
integers or infinities.
"""

from typing import Any

TRAINED = "params"


def trained(variables: Any) -> Any:
    """The same parts with the trained collection alone."""
    return {
        part: {name: x for name, x in collections.items() if name == TRAINED}
        for part, collections in variables.items()
    }


def with_trained(variables: Any, new: Any) -> Any:
    """The variables, with the trained collections of `new` in place of theirs."""
    return {part: {**collections, **new[part]} for part, collections in variables.items()}
