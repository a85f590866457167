"""Libraries of environments, by the name before the slash: `brax/ant`, `navix/Navix-Empty-5x5-v0`.

Each has one adapter file, imported when one of its names is made or listed.  An adapter has

    NAMES            names of the library's environments, written out: listing imports no library
    DOWNLOADS        those of NAMES that download something when they are made
    REFUSED          (optional) other names of the library, and why they are none for one learner
    accepts(name)    (optional) whether a name that is not listed may be one all the same
    make(name, **kwargs) -> Environment      imports the library

A name without a slash is gymnax's.
"""

import contextlib
import importlib
import io
from importlib.util import find_spec
from typing import Any, NamedTuple

from purejaxvpg.by_name import did_you_mean, suggest
from purejaxvpg.envs.protocol import Environment
from purejaxvpg.extras import require


class Suite(NamedTuple):
    """A library of environments."""

    package: str  # the module to import
    extra: str  # of this package, that installs it
    needs: tuple[str, ...] = ()  # modules that it imports and does not declare

    def load(self) -> Any:
        """The library.  Raises: ImportError, in one line that names the extra.

        Its import may print (mujoco.mjx: that it has no warp), but stdout is for results.
        """
        with contextlib.redirect_stdout(io.StringIO()):
            for module in self.needs:
                require(module, self.extra)
            return require(self.package, self.extra)

    @property
    def installed(self) -> bool:
        """Whether the library is there; it is not imported."""
        return find_spec(self.package.partition(".")[0]) is not None


SUITES: dict[str, Suite] = {
    "brax": Suite("brax", "brax"),
    "playground": Suite("mujoco_playground", "playground"),
    "craftax": Suite("craftax", "craftax"),
    "envelope": Suite("envelope", "envelope"),
    "navix": Suite("navix", "navix"),
    "xminigrid": Suite("xminigrid", "xminigrid"),
    "gymnasium": Suite("gymnasium", "gymnasium"),
    "jaxnasium": Suite("jaxnasium", "jaxnasium"),
    "jumanji": Suite("jumanji", "jumanji"),
    "octax": Suite("octax", "octax", needs=("cv2",)),
    "pgx": Suite("pgx", "pgx"),
}
"""Libraries by the name before the slash; the adapter of `x` is envs/x_adapter.py."""


def split(name: str) -> tuple[str, str] | None:
    """Suite and name in it; None for a name without a slash, or of a file (`path/mine.py:Name`)."""
    suite, slash, rest = name.partition("/")
    of_file = ":" in name.replace("::", "")  # `envelope/brax::ant` is of a suite
    return None if not slash or of_file else (suite, rest)


def is_of_envelope(value: Any) -> bool:
    """Whether it is an `envelope.Environment` or a class of them; envelope is not imported."""
    bases = (value if isinstance(value, type) else type(value)).__mro__
    return any((b.__module__, b.__name__) == ("envelope.environment", "Environment") for b in bases)


def adapter(suite: str) -> Any:
    """The module that adapts a suite.  Raises: ValueError, in one line, for an unknown suite."""
    if suite not in SUITES:
        raise ValueError(f"suite {suite!r} is unknown; {suggest(suite, [*SUITES, 'gymnax'])}")
    return importlib.import_module(f"purejaxvpg.envs.{suite}_adapter")


def names(suite: str) -> list[str]:
    """Names of a suite's environments, as `make` takes them; its library is not imported.

    Raises: ValueError, in one line, for an unknown suite.
    """
    return [f"{suite}/{name}" for name in adapter(suite).NAMES]


def of_any(name: str) -> list[str]:
    """Names of all suites with this one behind the slash, in capitals or not."""
    everything = [full for suite in SUITES for full in names(suite)]
    return [full for full in everything if full.partition("/")[2].lower() == name.lower()]


def make(name: str, /, **kwargs: Any) -> Environment:
    """The environment `suite/name`, as yet unchecked.

    Raises: ValueError for an unknown suite, name or keyword (with the close ones), and for an
    environment of several players; ImportError, in one line, if the suite is not installed.
    """
    suite, rest = split(name) or ("gymnax", name)
    module = adapter(suite)
    reason = getattr(module, "REFUSED", {}).get(rest)
    if reason:
        raise ValueError(f"environment {name!r} is refused: it is {reason}")
    accepts = getattr(module, "accepts", lambda name: False)
    if rest not in module.NAMES and not accepts(rest):
        close = did_you_mean(rest, module.NAMES) or f"see: purejaxvpg envs {suite}"
        raise ValueError(f"environment {name!r} is unknown; {close}")
    SUITES[suite].load()
    return module.make(rest, **kwargs)._replace(name=name)
