"""Files of a user's code, and processes that know nothing of what was imported before."""

import contextlib
import os
import sys

from purejaxvpg import envs, user_code
from purejaxvpg.compute import forget

ENVS = '''
from support import probes
from purejaxvpg import envs


class Five(probes.Mortal):
    """Five numbers to see."""

    def __init__(self, length=5):
        super().__init__(length)


instance = Five(2)
made = envs.make(Five(4))


def annotated(length: int = 6) -> envs.Environment:
    return envs.make(Five(length))


def factory(length=7):
    return Five(length)


def nothing():
    return 1


envs.register("Named-v0", lambda: Five(3))
'''


def write(folder, text=ENVS, name="mine.py"):
    """A file of code.  Returns: its path, as text."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return str(folder / name)


@contextlib.contextmanager
def other_process():
    """Context in which no file is named, read or imported yet, as at a process's start."""
    before = [dict(x) for x in (user_code._given, user_code._registered, envs._user_factories)]
    reads, paths, modules = set(user_code._read), list(sys.path), dict(sys.modules)
    tables = (user_code._given, user_code._registered, envs._user_factories)

    def start():
        for table in (*tables, user_code._read):
            table.clear()
        for name in set(sys.modules) - set(modules):
            if name.startswith("my_") or user_code.is_file(name):
                del sys.modules[name]
        forget()

    start()
    try:
        yield start
    finally:
        start()
        for table, copy in zip(tables, before, strict=True):
            table.update(copy)
        user_code._read.update(reads)
        sys.path[:] = paths


@contextlib.contextmanager
def in_folder(folder):
    """Context with another working directory."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
