"""Work in memory that its folder cannot take, or that is gone with it: written again, elsewhere."""

import contextlib
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from purejaxvpg.experiment.checkpoints import Checkpoints
from purejaxvpg.experiment.files import write_described
from purejaxvpg.experiment.locks import lock_again
from purejaxvpg.experiment.parts import Part, part_file, write_part
from purejaxvpg.experiment.policies import write_policies
from purejaxvpg.experiment.spec import Fingerprint


class Memory(NamedTuple):
    """A study as a process has it in memory."""

    face: str  # study.json, run.json
    description: dict[str, Any]  # the face's fields
    parts: Sequence[Part]

    def write(self, folder: Path) -> None:
        """Make a folder of the study.  Raises: OSError."""
        write_described(folder / self.face, self.description)
        for part in self.parts:
            keep(folder, part, Fingerprint(self.description))

    def missing(self, folder: Path) -> list[Part]:
        """The parts that have no file in a folder."""
        return [part for part in self.parts if not os.path.lexists(part_file(folder, part))]


def keep(folder: Path, part: Part, fingerprint: Fingerprint) -> None:
    """Write a part, its policies first: where the part is, they are."""
    write_policies(folder, part, fingerprint)
    write_part(folder, part, fingerprint)


def made_again(folder: Path, memory: Memory) -> str:
    """Make a folder again that somebody renamed or removed, locked as the one before.

    Returns: a line that says so.
    Raises: OSError if it cannot be made, or if another process has it by now.
    """
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    lock_again(folder)
    memory.write(folder)
    return f"{folder} is gone (renamed, or removed?) and was made again, {_so_far(folder)}"


def filled_again(folder: Path, memory: Memory) -> str:
    """Write all results into a folder of the same study that somebody put in the place of ours.

    Returns: a line that says so; "" if nothing was missing.
    Raises: OSError.
    """
    missing = memory.missing(folder)
    for part in missing:
        keep(folder, part, Fingerprint(memory.description))
    return f"{folder} is another folder by now, and goes on, {_so_far(folder)}" if missing else ""


def _so_far(folder: Path) -> str:
    return (
        f"with all results so far; policies, states and checkpoints from before are not in it: if "
        f"the first was renamed, put both together at the end, with: purejaxvpg merge WHOLE "
        f"{shlex.quote(str(folder))} THE-OTHER"
    )


def rescued(
    error: OSError,
    folder: Path,
    memory: Memory,
    unsaved: Sequence[Part] = (),
    checkpoints: Checkpoints | None = None,
) -> OSError:
    """The error with the place where the work is kept that a folder could not take.

    Args: unsaved, checkpoints: what could not be written.
    """
    missing = memory.missing(folder)

    def write(place: Path) -> None:
        memory._replace(parts=[*missing, *unsaved]).write(place)
        if checkpoints is not None:
            checkpoints.write_unsaved(place / checkpoints.folder.relative_to(folder))

    place, partial = _elsewhere(folder, write)
    if place is None and not partial:
        return OSError(f"{error}, and nothing could be written elsewhere")
    if place is None:
        places = [shlex.quote(str(path)) for path in partial]
        return OSError(
            f"{error}; only some of the results that {folder} could not take could be written "
            f"elsewhere, in {' and '.join(places)}: once {folder} can be written again, copy them "
            f"there with: {'; '.join(map(_copy(folder), partial))}"
        )
    return OSError(
        f"{error}; the results that {folder} could not take are kept in {place}: once it can be "
        f"written again, copy them there with: {_copy(folder)(place)}"
    )


def _copy(folder: Path) -> Callable[[Path], str]:
    return lambda place: f"cp -r {shlex.quote(str(place))}/. {shlex.quote(str(folder))}/"


def _elsewhere(folder: Path, write: Callable[[Path], None]) -> tuple[Path | None, list[Path]]:
    """Have `write` fill a new folder, beside the one that failed or else among temporary files.

    Returns: that folder, or None if none could take everything; and those that took something,
    which stay.
    """
    partial = []
    for parent in (folder.resolve().parent, Path(tempfile.gettempdir())):
        place = None
        with contextlib.suppress(OSError):
            place = Path(tempfile.mkdtemp(prefix=f"{folder.name}-rescued-", dir=parent))
            write(place)
            return place, partial
        if place is not None and any(place.rglob("*.npz")):  # whole ones: others end otherwise
            partial.append(place)
        elif place is not None:
            shutil.rmtree(place, ignore_errors=True)  # made by us, just now, and without results
    return None, partial
