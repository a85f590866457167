"""The surroundings of a study: versions, devices, settings, cache.

`private` takes the home folder, the user and the host out of a text that is to be published.
"""

import contextlib
import getpass
import os
import platform
import re
import shutil
import socket
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from purejaxvpg.compute import number_settings, traced_settings_named
from purejaxvpg.experiment.jax_settings import FLAGS, VARIABLES
from purejaxvpg.experiment.record import commit

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "distrax", "gymnax", "chex", "numpy", "scipy",
             "filelock")  # fmt: skip
SETTINGS = ("JAX_PLATFORMS", "JAX_NUM_CPU_DEVICES", "XLA_PYTHON_CLIENT_PREALLOCATE",
            "XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_ALLOCATOR",
            "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "PYTHONOPTIMIZE")  # fmt: skip
GIB = 2**30


def private(text: str) -> str:
    """The text without the home folder, the name of the user, and that of the machine."""
    home, user = os.path.expanduser("~"), ""
    with contextlib.suppress(OSError, KeyError, ImportError):  # a user without a name
        user = getpass.getuser()
    hosts = {socket.gethostname(), platform.node()}
    if home not in ("", "/", "~"):
        text = re.sub(rf"{re.escape(home)}(?=$|[/:\\\s])", "~", text)
    if user:  # in paths alone, for a user may be called jax
        text = re.sub(rf"(?<=/){re.escape(user)}(?![\w.-])", "USER", text)
    for host in hosts - {"", "localhost"}:
        text = re.sub(rf"(?<![\w.-]){re.escape(host)}(?![\w-])", "HOST", text)
    return text


def version_of(name: str) -> str:
    """The version of an installed package, which is not imported; "" if it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def requirements() -> list[str]:
    """The requirements of this package, as its installation has them; [] of a bare checkout."""
    try:
        return metadata.requires("purejaxvpg") or []
    except metadata.PackageNotFoundError:
        return []


def extras() -> dict[str, dict[str, str]]:
    """The packages of each extra with their versions; "" for one that is not installed."""
    each: dict[str, dict[str, str]] = {}
    for line in requirements():
        line = re.sub(r"^jax\[(cuda\d+)\]", r"jax-\1-plugin", line)
        match = re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]", line)
        if match and match[2] not in ("test", "dev", "docs"):
            each.setdefault(match[2], {})[match[1]] = version_of(match[1])
    return each


def versions() -> dict[str, str]:
    """This package with its commit, Python, and the libraries that it needs."""
    here = {"purejaxvpg": version_of("purejaxvpg") or "not installed", "commit": commit()}
    here["python"] = platform.python_version()
    return here | {name: version_of(name) or "not installed" for name in LIBRARIES}


def machine() -> dict[str, Any]:
    """Platform, cores, memory."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts: dict[str, Any] = {
        "platform": f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}",
        "cores": usable,
        "cores of the machine": os.cpu_count(),
    }
    with contextlib.suppress(OSError, ValueError, IndexError):  # not Linux
        lines = dict(x.split(":", 1) for x in Path("/proc/meminfo").read_text().splitlines())
        for name, key in (("memory", "MemTotal"), ("memory free", "MemAvailable")):
            facts[f"{name} (GiB)"] = round(int(lines[key].split()[0]) * 1024 / GIB, 1)
    return facts


def devices() -> list[dict[str, Any]]:
    """Kind and memory of each device.  Raises: as `jax.devices`."""
    described = []
    for device in jax.devices():
        facts: dict[str, Any] = {"platform": device.platform, "kind": device.device_kind}
        with contextlib.suppress(Exception):  # a CPU says nothing, and plugins raise what they like
            if stats := device.memory_stats():
                facts["memory (GiB)"] = round(stats["bytes_limit"] / GIB, 1)
        described.append(facts)
    return described


def settings() -> dict[str, Any]:
    """Settings of jax, and variables that change its numbers or its memory, where they are set."""
    names = (FLAGS, *VARIABLES, *SETTINGS)
    variables = {name: os.environ[name] for name in names if os.environ.get(name)}
    return {**number_settings(), **traced_settings_named(), **variables}


def cache() -> dict[str, Any]:
    """The folder of compiled programs: where, how many, how large, and whether it is writable."""
    folder = getattr(jax.config, "jax_compilation_cache_dir", None)
    if not folder:
        return {"folder": None}
    path = Path(folder)
    if not path.is_dir():
        return {"folder": str(path), "exists": False}
    sizes = []
    for file in path.iterdir():
        with contextlib.suppress(OSError):  # removed meanwhile
            sizes.append(file.stat().st_size)
    return {
        "folder": str(path),
        "exists": True,
        "programs": sum(file.name.endswith("-cache") for file in path.iterdir()),
        "MB": round(sum(sizes) / 1e6, 1),
        "free MB": round(shutil.disk_usage(path).free / 1e6),
        "writable": os.access(path, os.W_OK),
        "used": bool(jax.config.jax_enable_compilation_cache),  # pyright: ignore
    }
