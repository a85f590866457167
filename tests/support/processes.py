"""Processes of the command line: started, signalled, killed; and what they leave."""

import contextlib
import os
import subprocess
import sys
import time

MAIN = [sys.executable, "-m", "purejaxvpg"]


def environment(cache):
    """Of a process that shares compiled programs with others, so that each starts in seconds.

    Args: cache: a folder for the programs.
    """
    inherited = ("JAX_", "TF_CPP_", "XLA_")
    own = {name: x for name, x in os.environ.items() if not name.startswith(inherited)}
    return own | {"XDG_CACHE_HOME": str(cache)}


def start(arguments, environment, code=None):
    """A process of the command line; or of Python code that gets the arguments."""
    begin = MAIN if code is None else [sys.executable, "-c", code]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*begin, *map(str, arguments)], env=environment, text=True, **pipes)


def finish(process, seconds=200):
    """Wait for its end.  Returns: exit code, stdout, stderr."""
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return process.returncode, out, err


def checkpoints(folder):
    """The checkpoints of a folder's running chunks."""
    return sorted(folder.glob("chunks/*/*.npz"))


def wait_for_a_checkpoint(folder, process):
    """Return when the process has kept one."""
    while not checkpoints(folder):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


@contextlib.contextmanager
def in_use(folder, part=""):
    """Another process has the lock of a folder, or of a shard of it, until it is killed."""
    code = f"""
import time
from pathlib import Path
from purejaxvpg.experiment.locks import locked
with locked(Path({str(folder)!r}), {part!r}):
    print("mine", flush=True)
    time.sleep(100)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "mine\n"
        yield process
    finally:
        process.kill()
        process.communicate()
