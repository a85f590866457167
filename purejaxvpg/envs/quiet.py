"""Functions of a library without the warnings that its user cannot mend."""

import warnings
from collections.abc import Callable
from typing import Any


def quietly(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function without its warnings of mixed types (such as a float stored among integers).

    jax gives them when a function is traced, for what a later jax will refuse.
    """

    def quiet(*arguments: Any, **keywords: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "scatter inputs have incompatible", FutureWarning)
            return function(*arguments, **keywords)

    return quiet
