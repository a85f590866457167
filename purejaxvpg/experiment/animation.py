"""Episodes as an animation: GIF, MP4 where there is an ffmpeg, SVG of pgx's environments."""

import contextlib
import io
import itertools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from purejaxvpg.envs.clock import Clocked
from purejaxvpg.envs.pictures import enlarged
from purejaxvpg.experiment.files import write_whole
from purejaxvpg.experiment.paths import expanded
from purejaxvpg.experiment.playing import Episode
from purejaxvpg.extras import require
from purejaxvpg.fields import check_count

NAME = "play.gif"  # in the folder of a run or study, where its report looks for it
MARK = "made by purejaxvpg"  # in every file of ours

SMALL = 160  # pixels; a picture whose shorter side has fewer is enlarged
MOST_FPS = {".gif": 50, ".mp4": 240, ".svg": 50}  # a browser shows a faster GIF slowly
MOST_SCALE = 64
REST = 0.5  # seconds that the end of an episode stays
STRIP = 14  # pixels of the line of text below


def write_animation(
    path: str | os.PathLike,
    episodes: Sequence[Episode],
    fps: int = 20,
    scale: int | None = None,
    text: bool = True,
    note: str = "",
) -> int:
    """Write episodes, one after another, as an animation.

    Args:
      path: its file, .gif, .mp4 or .svg.  An animation of this package is replaced.
      fps: steps a second.
      scale: side of a pixel; None: as large as small pictures need to be seen.
      text: number of the step and return so far in a line below.
      note: a few words on the policy, kept in the file; a report shows them.

    Returns: the number of frames.
    Raises: ValueError for another suffix, numbers out of range, or pictures of several sizes;
    FileExistsError for a file that this package did not write; ImportError, RuntimeError or
    OSError, in one line, for a library, an ffmpeg or a folder that is missing, or a machine that
    cannot draw.
    """
    path = check_place(path)
    check_count("fps", fps, MOST_FPS[path.suffix])
    check_count("scale", 1 if scale is None else scale, MOST_SCALE)
    comment = f"{MARK}: {note}".encode("ascii", "replace").decode()[:200].replace("--", "- -")
    data = ENCODERS[path.suffix](episodes, comment, fps, scale, text)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror}; choose another place") from None
    return sum(len(episode.drawn) for episode in episodes)


def check_place(path: str | os.PathLike) -> Path:
    """The path of an animation.

    Raises: ValueError for an unknown suffix; RuntimeError for an MP4 without an ffmpeg;
    FileExistsError for a file that this package did not write.
    """
    path = expanded(path)
    if path.suffix not in ENCODERS:
        raise ValueError(f"{path} ends in none of {', '.join(ENCODERS)}; name a file that does")
    if path.suffix == ".mp4":
        _ffmpeg()
    if not path.is_symlink() and path.exists() and not is_ours(path):
        raise FileExistsError(
            f"{path} is no animation of this package, and stays as it is; choose another place"
        )
    return path


def is_ours(path: Path) -> bool:
    """Whether this package wrote an animation."""
    return path.is_file() and MARK.encode() in path.read_bytes()


def note_of(data: bytes) -> str:
    """The note in an animation of this package; "" without one."""
    match = re.search(rb"made by purejaxvpg: ([ -~]*)", data)
    return match[1].decode().removesuffix(" -->").strip() if match else ""


def animation_in(folder: Path) -> Path | None:
    """The animation of this package in the folder of a run or study, if there is one."""
    paths = [folder / f"{Path(NAME).stem}{suffix}" for suffix in ENCODERS]
    return next((path for path in paths if not path.is_symlink() and is_ours(path)), None)


# -------------------------------------------------------------------------------------- FRAMES


def frames_of(
    episodes: Sequence[Episode], scale: int | None = None, text: bool = True
) -> Iterator[np.ndarray]:
    """Frames, uint8 `[H, W, 3]`, of episodes one after another, each drawn when it is asked for.

    Args, Raises: as of `write_animation`.
    """
    shape = None
    for number, episode in enumerate(episodes, 1):
        title = f"episode {number}  " if len(episodes) > 1 else ""
        for step, picture in zip(episode.drawn, episode.pictures(), strict=True):
            if shape not in (None, picture.shape):
                raise ValueError(
                    f"{episode.env.name}.render gave pictures of {list(shape or ())} and "
                    f"{list(picture.shape)}; expected one size"
                )
            shape = picture.shape
            times = scale or max(1, -(-SMALL // min(picture.shape[:2])))
            frame = enlarged(picture, times)
            if text:
                line = f"{title}step {step}  return {_short(episode.returns[step])}"
                frame = np.concatenate([frame, _strip(line, frame.shape[1])])
            yield frame


def holds_of(episodes: Sequence[Episode], fps: int) -> list[int]:
    """How long each frame stays, in steps: one, and the end of an episode longer."""
    rest = max(1, round(fps * REST))
    return [hold for x in episodes for hold in [*[1] * (len(x.drawn) - 1), rest]]


def _short(value: Any) -> str:
    return f"{float(value):.6g}" if abs(value) >= 1000 else f"{float(value):.2f}"


def _strip(line: str, width: int) -> np.ndarray:
    """A line of text, black on white, uint8 `[STRIP, width, 3]`; cut where it does not fit."""
    image = require("PIL.Image", "cli").new("RGB", (width, STRIP), (255, 255, 255))
    font = require("PIL.ImageFont", "cli").load_default()
    require("PIL.ImageDraw", "cli").Draw(image).text((3, 1), line, fill=(0, 0, 0), font=font)
    return np.asarray(image, np.uint8)


# --------------------------------------------------------------------------------------- FILES


def _gif(
    episodes: Sequence[Episode], comment: str, fps: int, scale: int | None, text: bool
) -> bytes:
    from_array = require("PIL.Image", "cli").fromarray
    # A GIF counts in hundredths of a second: ends are rounded, so that 30 a second stay 30.
    ends = np.rint(np.cumsum(holds_of(episodes, fps)) * 100 / fps).astype(int)
    durations = (10 * np.diff(ends, prepend=0)).tolist()
    images = map(from_array, frames_of(episodes, scale, text))
    file, first = io.BytesIO(), next(images)
    options = {"save_all": True, "append_images": images, "duration": durations, "loop": 0}
    first.save(file, "GIF", comment=comment.encode(), **options)
    return file.getvalue()


def _ffmpeg() -> str:
    """The program ffmpeg.  Raises: RuntimeError, in one line, without it."""
    if path := shutil.which("ffmpeg"):
        return path
    try:
        return require("imageio_ffmpeg", "cli").get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        raise RuntimeError(
            "an mp4 needs ffmpeg, which is not installed; run: pip install imageio-ffmpeg, or "
            "write a .gif"
        ) from None


def _mp4(
    episodes: Sequence[Episode], comment: str, fps: int, scale: int | None, text: bool
) -> bytes:
    frames, holds = frames_of(episodes, scale, text), holds_of(episodes, fps)
    first = next(frames)
    height, width, _ = first.shape
    size = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{fps}"]
    even = "pad=ceil(iw/2)*2:ceil(ih/2)*2"  # the format that players know has even sides
    kind = ["-vf", even, "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    with tempfile.TemporaryDirectory() as folder:
        file, errors = Path(folder) / "play.mp4", Path(folder) / "errors"
        command = [_ffmpeg(), "-y", "-v", "error", *size, "-i", "-", *kind]
        command += ["-metadata", f"comment={comment}", str(file)]
        with errors.open("wb") as stderr:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": stderr}
            program = subprocess.Popen(command, **pipes)
        # A pipe breaks where the program ends early; its errors say why.
        with contextlib.suppress(BrokenPipeError), program:
            assert program.stdin is not None
            for frame, hold in zip(itertools.chain([first], frames), holds, strict=True):
                program.stdin.write(frame.tobytes() * hold)
        if program.returncode or not file.exists():
            reason = " ".join(errors.read_text(errors="replace").split())
            raise RuntimeError(f"ffmpeg could not write an mp4 ({reason}); write a .gif")
        return file.read_bytes()


def _svg(
    episodes: Sequence[Episode], comment: str, fps: int, scale: int | None, text: bool
) -> bytes:
    """pgx's own animation, of its states."""
    name = episodes[0].env.name
    if not name.startswith("pgx/") or name.startswith("pgx/minatar"):
        raise ValueError(f"{name} has no SVG, which pgx's board games alone have; write a .gif")
    states = [
        moment.state.inner if isinstance(moment.state, Clocked) else moment.state
        for episode in episodes
        for moment in episode.moments
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "play.svg"
        options = {"frame_duration_seconds": 1 / fps, "scale": scale}
        require("pgx", "pgx").save_svg_animation(states, file, **options)
        return file.read_bytes() + f"\n<!-- {comment} -->\n".encode()


ENCODERS: dict[str, Callable[..., bytes]] = {".gif": _gif, ".mp4": _mp4, ".svg": _svg}
