"""doctor: an installation in lines that can be pasted into an issue, and what is wrong with it."""

import json
from typing import Any

from purejaxvpg.cli.terminal import say
from purejaxvpg.compute import NUMBERS
from purejaxvpg.experiment import conflicts, surroundings
from purejaxvpg.experiment.devices import start_devices
from purejaxvpg.experiment.self_test import TOLERANCE, Outcome, self_test

USUAL = ("", "standard", "allow")  # texts of settings of jax that nobody has changed


def doctor(args: Any) -> int:
    """Print what is installed, problems with their remedies, and a self-test.

    Returns: the exit code, 1 if there is a problem.
    """
    facts = examined(quick=args.quick)
    if args.json:
        print(surroundings.private(json.dumps(facts, indent=2)))
    else:
        say(*[surroundings.private(line) for line in lines_of(facts)])
    return int(bool(facts["problems"]))


def examined(quick: bool) -> dict[str, Any]:
    """The facts and the problems, as JSON has them.  quick: without the self-test."""
    problems: list[str] = []
    devices: list[dict[str, Any]] = []
    try:
        start_devices()
        devices = surroundings.devices()
    except ValueError as error:
        problems.append(str(error))
    cache = surroundings.cache()
    problems += conflicts.conflicts(devices, cache)
    test: dict[str, Any] | None = None
    if devices and not quick:
        test, more = _tested()
        problems += more
    return {
        "versions": surroundings.versions(),
        "extras": surroundings.extras(),
        "machine": surroundings.machine(),
        "devices": devices,
        "settings": surroundings.settings(),
        "cache": cache,
        "self-test": test,
        "problems": problems,
    }


def _tested() -> tuple[dict[str, Any] | None, list[str]]:
    """The self-test's outcome, and a line if it is wrong."""
    try:
        outcome = self_test()
    except Exception as error:  # whatever an installation can be broken by
        words = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return None, [f"the self-test failed: {words}; please report it, with these lines"]
    fields = {
        "numbers": outcome.numbers,
        "differing": list(outcome.differing),
        "seconds": round(outcome.seconds, 1),
    }
    line = _difference(outcome)
    return fields | {"expected with these settings": not line}, [line] if line else []


def _difference(outcome: Outcome) -> str:
    """A line for numbers that differ without a setting that explains it; "" otherwise."""
    if not outcome.differing or outcome.unusual:
        return ""
    each = [
        f"{name} is {number:.7g} and not {recorded:.7g}"
        for name, (number, recorded) in outcome.differing.items()
    ]
    return (
        f"the self-test trained to other numbers ({', '.join(each)}); please report it, with these "
        f"lines"
    )


# ---------------------------------------------------------------------------------------- LINES


def lines_of(facts: dict[str, Any]) -> list[str]:
    """The facts as lines to read, problems last."""
    versions, machine = dict(facts["versions"]), facts["machine"]
    package, commit = versions.pop("purejaxvpg"), versions.pop("commit")
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    places = [_device(device) for device in facts["devices"]]
    each = [f"{n} x {place}" for place in dict.fromkeys(places) if (n := places.count(place))]
    problems = facts["problems"]
    return [
        f"purejaxvpg {package}{f', commit {commit}' if commit else ''}",
        libraries,
        f"extras: {'; '.join(map(_extra, facts['extras'].items())) or 'unknown'}",
        "machine: " + ", ".join(f"{name} {value}" for name, value in machine.items()),
        f"devices: {', '.join(each) or 'none'}",
        f"settings: {_settings(facts['settings'])}",
        f"compiled programs: {_cache(facts['cache'])}",
        f"self-test: {_test(facts['self-test'])}",
        *[f"problem: {line}" for line in problems],
        *([] if problems else ["no problem found"]),
    ]


def _device(device: dict[str, Any]) -> str:
    memory, platform, kind = device.get("memory (GiB)"), device["platform"], device["kind"]
    name = platform if kind == platform else f"{platform} {kind}"  # a CPU's kind is cpu
    return f"{name}{f' ({memory} GiB)' if memory else ''}"


def _extra(pair: tuple[str, dict[str, str]]) -> str:
    """An extra with its versions, or how much of it there is."""
    name, packages = pair
    if not any(packages.values()):
        return f"{name} no"
    missing = [package for package, version in packages.items() if not version]
    if missing:
        return f"{name} without {', '.join(missing)}"
    return f"{name} {', '.join(f'{package} {version}' for package, version in packages.items())}"


def _settings(settings: dict[str, Any]) -> str:
    """Settings that give other numbers, and of all others those that are not as usual."""

    def unusual(value: Any) -> bool:
        return value is True or (isinstance(value, str) and value not in USUAL)

    return ", ".join(f"{k}={v}" for k, v in settings.items() if k in NUMBERS or unusual(v))


def _cache(cache: dict[str, Any]) -> str:
    if not cache.get("folder"):
        return "not kept"
    if not cache.get("exists"):
        return f"{cache['folder']}, which is not there"
    state = "writable" if cache["writable"] else "not writable"
    unused = "" if cache["used"] else ", not used"
    return f"{cache['programs']} in {cache['folder']}, {cache['MB']} MB, {state}{unused}"


def _test(test: dict[str, Any] | None) -> str:
    if test is None:
        return "none"
    number = len(test["numbers"])
    if not test["differing"]:
        return (
            f"two updates in {test['seconds']} s, {number} numbers as recorded (within "
            f"{TOLERANCE:g})"
        )
    expected = (
        "as expected with these settings" if test["expected with these settings"] else "see below"
    )
    return f"{len(test['differing'])} of {number} numbers are others than recorded, {expected}"
