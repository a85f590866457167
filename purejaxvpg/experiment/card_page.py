"""`card.md`: the card of a saved policy as a page to read."""

from collections.abc import Mapping
from typing import Any


def card_page(card: Mapping[str, Any]) -> str:
    """The page, Markdown, of a card with the part `use`."""
    use = card["use"]
    version = card["versions"].get("purejaxvpg", "")
    facts = [f"- **Normalisation**: {use['normalization']}."]
    facts += [
        f"- **{name.capitalize()}**: {use[name]}." for name in ("mask", "memory") if use[name]
    ]
    scores = [f"- {name}: {_number(value)}" for name, value in card["scores"].items()]
    lines = [
        f"# A policy for {use['environment']}",
        "",
        f"Trained with purejaxvpg {version}. `card.json` has all of it for programs to read, with "
        "every setting.",
        "",
        "## Observations",
        "",
        *_table(("name", "shape", "dtype", "low", "high", "seen as"), use["observations"]),
        "",
        "Every array has a leading axis B, the batch.",
        "",
        *facts,
        "",
        "## Actions",
        "",
        *_table(("name", "shape", "dtype", "low", "high"), use["actions"]),
        "",
        *_program(
            "policy.jax",
            use["policy.jax"],
            "`purejaxvpg export`",
            "the greedy action, or a drawn one if it was exported with --sampled (then "
            "`jax.random.key_data(key)` is the last argument)",
        ),
        *_program(
            "policy.onnx",
            use["policy.onnx"],
            "`purejaxvpg export --onnx`",
            "the greedy action, and numbers to draw by",
        ),
        "| output | array |",
        "|---|---|",
        *[f"| {name} | {text} |" for name, text in use["policy.onnx"]["outputs"].items()],
        "",
        "To draw actions:",
        "",
        *[f"- {action['name']}: {action['drawn']}" for action in use["actions"]],
        *(["", "## Scores", "", *scores] if scores else []),
    ]
    return "\n".join(lines) + "\n"


def _program(name: str, program: Mapping[str, Any], writer: str, gives: str) -> list[str]:
    return [
        f"## {name}",
        "",
        f"{writer} writes it. It needs {program['needs']}, and gives {gives}.",
        "",
        "```python",
        program["example"],
        "```",
        "",
    ]


def _table(columns: tuple[str, ...], rows: list[Mapping[str, Any]]) -> list[str]:
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    ruler = "|" + "---|" * len(columns)
    return [f"| {' | '.join(columns)} |", ruler, *[f"| {' | '.join(row)} |" for row in cells]]


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_cell(x) for x in value)}]"
    return "-" if value is None else _number(value)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
