"""Numbers as people type them: 1000000, 1_000_000, 1e6; 64,64 or 64 64 for several; 0.003, 3e-3."""

import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from tyro.constructors import PrimitiveConstructorSpec

DIGITS = 100  # of a number; more are a slip of the hand, and slow to read


def whole(text: str) -> int:
    """The number.  Raises: ValueError, in one line, if it is not whole: 1.5, 1e6.5, 1e-3."""
    shown = text if len(text) <= 30 else f"{text[:30]}..."
    try:
        number = Decimal(text)  # exact, where a float is not: 1e23
        if number.is_finite() and abs(number.adjusted()) > DIGITS:
            raise ValueError(f"{shown} is out of range; accepted: at most {DIGITS} digits")
        if not number.is_finite() or number != number.to_integral_value():
            raise InvalidOperation
    except InvalidOperation:
        raise ValueError(
            f"{shown} is no whole number; write for example 1000000, 1_000_000 or 1e6"
        ) from None
    return int(number)


def number(text: str) -> float:
    """The number.  Raises: ValueError, in one line."""
    for point in (text, text.replace(",", ".")):
        try:
            value = float(point)
        except ValueError:
            continue
        if point == text:
            return value
        raise ValueError(f"{text} is no number; write for example {point}")
    points = re.fullmatch(r"[^,]*[.e][^,]*(,[^,]+)+", text)  # 1e-3,1e-2, and not 1,000,000
    several = "; to compare several: purejaxvpg sweep --grid name=A,B" if points else ""
    raise ValueError(f"{text[:30]} is no number; write for example 0.003 or 3e-3{several}")


def _as(metavar: str, nargs: Any, read: Any, kind: Any, words: Any) -> PrimitiveConstructorSpec:
    return PrimitiveConstructorSpec(
        nargs=nargs,
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, kind),
        str_from_instance=words,
    )


def _sizes(words: list[str]) -> tuple[int, ...]:
    pieces = [piece for word in words for piece in word.strip("()[]").split(",")]
    return tuple(whole(piece) for piece in pieces if piece.strip())


AS_TYPED = {
    int: Annotated[int, _as("INT", 1, lambda words: whole(words[0]), int, lambda x: [str(x)])],
    int | None: Annotated[
        int | None,
        _as(
            "{None}|INT",
            1,
            lambda words: None if words[0] == "None" else whole(words[0]),
            int | None,
            lambda x: [str(x)],
        ),
    ],
    float: Annotated[
        float,
        _as("FLOAT", 1, lambda words: number(words[0]), int | float, lambda x: [str(x)]),
    ],
    float | None: Annotated[
        float | None,
        _as(
            "{None}|FLOAT",
            1,
            lambda words: None if words[0] == "None" else number(words[0]),
            int | float | None,
            lambda x: [str(x)],
        ),
    ],
    tuple[int, ...]: Annotated[
        tuple[int, ...], _as("INT,INT,...", "*", _sizes, tuple, lambda x: [str(i) for i in x])
    ],
}
"""Type of a field -> type of its flag, for tyro."""


_UNITS = {"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def bytes_of(text: str) -> int | None:
    """ "8GB" as a number of bytes; None for "".  Raises: ValueError."""
    if not text:
        return None
    match = re.fullmatch(r"([\d.]+)\s*([A-Za-z]*)", text)
    try:
        assert match
        return int(float(match[1]) * _UNITS[match[2].upper()])
    except (AssertionError, KeyError, ValueError, OverflowError):
        raise ValueError(
            f"--memory-limit {text} is no size; write for example 800MB, 8GB or 2GiB"
        ) from None
