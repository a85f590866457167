"""Known problems of an installation: one line for each, with the remedy."""

import importlib
import os
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from purejaxvpg.experiment.surroundings import LIBRARIES, requirements, version_of

# Packages that write the same files: the last one installed wins, whatever their versions say.
SAME_FILES = (
    (("opencv-python", "opencv-python-headless", "opencv-contrib-python",
      "opencv-contrib-python-headless"), "opencv-python-headless"),
    (("pygame", "pygame-ce"), "pygame-ce"),
)  # fmt: skip
PLUGINS = ("jax-cuda12-plugin", "jax-cuda13-plugin")
NVIDIA = ("/dev/nvidia0", "/proc/driver/nvidia/version")


def conflicts(devices: list[dict[str, Any]], cache: Mapping[str, Any]) -> list[str]:
    """The problems of this installation.

    Args: devices, cache: as surroundings.py describes them; no devices if jax finds none.
    """
    return [
        *versions_apart(),
        *unmet(),
        *same_files(),
        *overwritten(),
        *without_gpu(devices),
        *cache_problems(cache),
        *slow_settings(os.environ),
    ]


def versions_apart() -> list[str]:
    """Problems of jax, jaxlib and the plugins among themselves."""
    jax, jaxlib = version_of("jax"), version_of("jaxlib")
    lines = []
    if jaxlib.startswith("0.10."):
        lines.append(
            f"jaxlib {jaxlib} can deadlock on a CPU while networks are initialised; install "
            f"another: pip install 'jax>=0.9,!=0.10.*,<0.12'"
        )
    if jax and jaxlib and jax.split(".")[:2] != jaxlib.split(".")[:2]:
        lines.append(
            f"jax {jax} and jaxlib {jaxlib} do not belong together; install both: "
            f"pip install 'jax=={jax}' 'jaxlib=={jax}'"
        )
    for plugin in PLUGINS:
        if (version := version_of(plugin)) and version != jaxlib:
            extra = plugin.split("-")[1]
            lines.append(
                f"{plugin} {version} is not for jaxlib {jaxlib}, and jax leaves the GPU unused; "
                f"pip install 'jax[{extra}]=={jax}'"
            )
    return lines


def unmet() -> list[str]:
    """Requirements of this package, and of the libraries that it needs, that are not met.

    Of an extra only what is installed counts.
    """
    try:
        from packaging.markers import UndefinedEnvironmentName
        from packaging.requirements import Requirement
    except ImportError:  # matplotlib brings it
        return []
    lines, seen = [], set()
    pairs = [("purejaxvpg", line) for line in requirements()]
    for library in LIBRARIES:
        if version_of(library):
            pairs += [(library, line) for line in metadata.requires(library) or []]
    for owner, line in pairs:
        requirement = Requirement(line)
        extra = re.search(r"extra == ['\"]([\w-]+)", line)
        if extra and owner != "purejaxvpg":
            continue
        try:
            marker = requirement.marker
            if marker and not marker.evaluate({"extra": extra[1] if extra else ""}):
                continue
        except UndefinedEnvironmentName:
            continue
        version = version_of(requirement.name)
        missing = not version and not extra
        apart = version and not requirement.specifier.contains(version, prereleases=True)
        key = (requirement.name, str(requirement.specifier))
        if (missing or apart) and key not in seen:
            seen.add(key)
            given = f"{requirement.name} {version}" if version else f"{requirement.name} is missing"
            lines.append(
                f"{given}: {owner} needs {requirement.specifier}; "
                f"pip install '{requirement.name}{requirement.specifier}'"
            )
    return lines


def same_files() -> list[str]:
    """Installed packages that have written over each other."""
    lines = []
    for packages, best in SAME_FILES:
        installed = [name for name in packages if version_of(name)]
        if len(installed) > 1:
            lines.append(
                f"{' and '.join(installed)} write the same files; keep one: "
                f"pip uninstall -y {' '.join(installed)}; pip install {best}"
            )
    return lines


def overwritten() -> list[str]:
    """gymnax whose files are another package's."""
    remedy = "pip install --force-reinstall --no-deps 'gymnax>=1.0'"
    blamed = [name for name in ("popgym-arcade", "stable-gymnax") if version_of(name)]
    others = f" (by {' and '.join(blamed)}; uninstall that first)" if blamed else ""
    try:
        environment = importlib.import_module("gymnax.environments.environment")
    except Exception as error:  # whatever is wrong with it
        words = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return [f"gymnax cannot be imported ({words}){others}; {remedy}"]
    if hasattr(environment.Environment, "is_truncated"):
        return []
    return [
        f"gymnax {version_of('gymnax')} is not what its version says: its Environment lacks "
        f"is_truncated, so its files were overwritten{others}; {remedy}"
    ]


def without_gpu(devices: list[dict[str, Any]]) -> list[str]:
    """A GPU of this machine that jax does not use."""
    there = any(Path(place).exists() for place in NVIDIA)
    used = any(device["platform"] in ("gpu", "cuda") for device in devices)
    chosen = os.environ.get("JAX_PLATFORMS", "")
    if not there or used or (chosen and "cuda" not in chosen and "gpu" not in chosen):
        return []
    if not any(version_of(plugin) for plugin in PLUGINS):
        return [
            "an NVIDIA GPU is here, and jax has no plugin for it; "
            "pip install 'purejaxvpg[cuda12]' (or cuda13, for a driver of 580 or newer)"
        ]
    path = os.environ.get("LD_LIBRARY_PATH", "")
    hint = (
        "unset LD_LIBRARY_PATH, which hides the plugin's libraries, or " if "cuda" in path else ""
    )
    return [
        f"an NVIDIA GPU is here, and jax does not use it; {hint}see what this says: "
        f"python -c \"import jax; jax.devices('cuda')\""
    ]


def cache_problems(cache: Mapping[str, Any]) -> list[str]:
    """Reasons for which programs are compiled anew at each start."""
    if not cache.get("folder"):
        return [
            "compiled programs are not kept, for there is no folder for them; set "
            "JAX_COMPILATION_CACHE_DIR=FOLDER"
        ]
    if not cache.get("exists") or not cache.get("writable"):
        state = "cannot be written" if cache.get("exists") else "is not there"
        return [
            f"compiled programs are not kept, for {cache['folder']} {state}; make it, or set "
            f"JAX_COMPILATION_CACHE_DIR=FOLDER"
        ]
    if cache["free MB"] < 100:
        return [f"the disk of {cache['folder']} is nearly full ({cache['free MB']} MB); free some"]
    return []


def slow_settings(environ: Mapping[str, str]) -> list[str]:
    """Variables, left from debugging, with which everything takes many times as long."""
    return [
        f"{name}={environ[name]} makes everything many times slower; unset {name}"
        for name in ("JAX_DISABLE_JIT", "JAX_DEBUG_NANS", "JAX_LOG_COMPILES")
        if environ.get(name, "").lower() in ("1", "true", "yes", "on")
    ]
