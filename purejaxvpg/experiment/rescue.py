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


def keep(folder: Path, part: Part, fingerprint: Fingerprint) -> None:
    """Write a part, its policies first: where the part is, they are."""
    write_policies(folder, part, fingerprint)
    write_part(folder, part, fingerprint)


def made_again(folder: Path, memory: Memory) -> str:
    """Make a folder again that somebody renamed or removed.

    Returns: a line that says so.
    Raises: OSError if it cannot be made.
    """
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    memory.write(folder)
    return (
        f"{folder} is gone (renamed, or removed?) and was made again, with all results so far; "
        f"policies and checkpoints from before are not in it: if it was renamed, put both together "
        f"at the end, with: purejaxvpg merge WHOLE {shlex.quote(str(folder))} THE-OTHER"
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
    missing = [p for p in memory.parts if not os.path.lexists(part_file(folder, p))]

    def write(place: Path) -> None:
        memory._replace(parts=[*missing, *unsaved]).write(place)
        if checkpoints is not None:
            checkpoints.write_unsaved(place / checkpoints.folder.relative_to(folder))

    place = _elsewhere(folder, write)
    if place is None:
        return OSError(f"{error}, and nothing could be written elsewhere")
    copy = f"cp -r {shlex.quote(str(place))}/. {shlex.quote(str(folder))}/"
    return OSError(
        f"{error}; the results that {folder} could not take are kept in {place}: once it can be "
        f"written again, copy them there with: {copy}"
    )


def _elsewhere(folder: Path, write: Callable[[Path], None]) -> Path | None:
    """Have `write` fill a new folder, beside the one that failed or else among temporary files.

    Returns: that folder; None if nothing could be written anywhere.
    """
    for parent in (folder.resolve().parent, Path(tempfile.gettempdir())):
        place = None
        with contextlib.suppress(OSError):
            place = Path(tempfile.mkdtemp(prefix=f"{folder.name}-rescued-", dir=parent))
            write(place)
            return place
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)  # made and half filled by us, just now
    return None
