"""Names of environments as text: one form for each, and shorter ones to look at.

CartPole-v1, gymnax/CartPole-v1      gymnax's, or registered by the user
suite/NameAsInThatLibrary            of a library (suites.py)
module:Name, path/mine.py:Name       the user's (by_path.py)
"""

import ntpath
import re
from typing import Any

from purejaxvpg.user_code import split_file, whole


def canonical(env: Any) -> Any:
    """The one form of a name: without `gymnax/`, and with the whole path of a file, so that it is
    the same file from every working directory.  Other names, and objects, as they are."""
    if file := split_file(env):
        return f"{whole(file[0])}:{file[1]}"
    if isinstance(env, str) and env.startswith("gymnax/") and env.count("/") == 1:
        return env.removeprefix("gymnax/") or env
    return env


def shown(env: Any) -> str:
    """The name as a person reads it: of a file without its folder, of an object its kind."""
    if file := split_file(env):
        return f"{ntpath.basename(file[0])}:{file[1]}"
    return env if isinstance(env, str) else getattr(env, "name", None) or type(env).__name__


def in_folder_names(env: Any) -> str:
    """The name as part of a folder's: brax-ant, mine-MyEnv."""
    text = re.sub(r"\.py:", ":", shown(canonical(env)))
    return re.sub(r"[^\w.+-]+", "-", text).strip("-.")[:100] or "envs"
