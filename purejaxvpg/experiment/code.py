"""Code of the user that a study needs: files of its environments, modules to import first.

Its folder has the whole path of each, and the sum of each file.  So it is used from every working
directory, and code that is another by then is named.  Reading a folder imports nothing.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from purejaxvpg import user_code
from purejaxvpg.experiment.folder import face_of, read_spec
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.spec import Spec


def files_of(spec: Spec) -> list[str]:
    """Whole paths of the files of a study's environments."""
    names = dict.fromkeys(setting.get("env", spec.config.env) for setting in spec.design.settings())
    return [file[0] for name in names if (file := user_code.split_file(name))]


def sums(names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of each file, by its whole path; "" for a module, or a file that is not there."""
    return {
        (path := user_code.whole(name) if user_code.is_file(name) else name): _sum(path)
        for name in names
    }


def changed(record: StudyRecord) -> list[str]:
    """A line for each file that is not as it was when the study was begun, or is elsewhere."""
    lines = []
    for path, begun in {**record.imports, **record.files}.items():
        place = user_code.where(path)
        if begun and (now := _sum(path)) and (now != begun or place != path):
            changes = ["is taken for it"] if place != path else []
            changes += ["was changed since: the numbers may be others"] if now != begun else []
            moved = f"{path} is not there, and " if place != path else ""
            lines.append(f"{moved}{place} {' and '.join(changes)}")
    return lines


def as_begun(spec: Spec, folder: Path | None) -> Spec:
    """The study with its files where the folder has them, if they are the same ones: of the same
    name and content.  So it goes on when the files were moved, and on another machine."""
    if folder is None or not (files := files_of(spec)) or face_of(folder) is None:
        return spec
    there = moved(spec, sums(files), read_spec(folder)[1].files)
    if there is not spec:
        for path in [*filter(os.path.isfile, files_of(there)), *files]:
            user_code.give(path)  # what the user named, and the same at another place
    return there


def moved(spec: Spec, mine: Mapping[str, str], theirs: Mapping[str, str]) -> Spec:
    """The study with other places for the files of the same name and content.

    Args: mine, theirs: sums of files by their paths.
    """
    places = {
        path: other
        for path, content in mine.items()
        for other, begun in (theirs.items() if path not in theirs and content else ())
        if content == begun and os.path.basename(path) == os.path.basename(other)
    }
    if not places:
        return spec

    def there(value: object) -> object:
        file = user_code.split_file(value)
        return f"{places.get(file[0], file[0])}:{file[1]}" if file else value

    axes = [
        axis._replace(
            points=tuple(
                tuple(
                    there(x) if name == "env" else x
                    for name, x in zip(axis.names, point, strict=True)
                )
                for point in axis.points
            )
        )
        for axis in spec.design.axes
    ]
    return spec._replace(
        config=dataclasses.replace(spec.config, env=there(spec.config.env)),
        design=spec.design._replace(axes=tuple(axes)),
    )


def _sum(path: str) -> str:
    if not user_code.is_file(path) or not os.path.isfile(place := user_code.where(path)):
        return ""
    try:
        return hashlib.sha256(Path(place).read_bytes()).hexdigest()
    except OSError:
        return ""
