"""Tab completion: print the script of a shell, or write it to the user's folder for such."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from purejaxvpg.cli.completion_words import MARK, script
from purejaxvpg.cli.self_flags import SHELLS
from purejaxvpg.cli.terminal import say, user_errors
from purejaxvpg.experiment.files import read_bytes, write_whole


def completion(args: Any) -> None:
    """Print the completion script of a shell, or install it."""
    with user_errors():
        shell = shell_of(args.shell, os.environ)
        text = script(shell)
        if not args.install:
            print(text, end="")
            return
        path = place_of(shell, os.environ, Path.home())
        say(installed(path, text), *hints(shell, path, os.environ))


def shell_of(name: str, environ: Mapping[str, str]) -> str:
    """The shell to complete for.  Raises: ValueError, in one line, for one that is unknown."""
    shell = name or Path(environ.get("SHELL", "")).name
    if shell in SHELLS:
        return shell
    given = f"SHELL {name}" if name else f"the variable SHELL={environ.get('SHELL', '')}"
    raise ValueError(
        f"{given} is no shell with completion; accepted: purejaxvpg completion {' | '.join(SHELLS)}"
    )


def place_of(shell: str, environ: Mapping[str, str], home: Path) -> Path:
    """The file that the shell reads when the command is completed for the first time."""
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    if shell == "bash":
        user = environ.get("BASH_COMPLETION_USER_DIR")
        return Path(user or data / "bash-completion") / "completions" / "purejaxvpg"
    if shell == "zsh":
        return Path(environ.get("ZDOTDIR") or home) / ".zfunc" / "_purejaxvpg"
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    return config / "fish" / "completions" / "purejaxvpg.fish"


def installed(path: Path, text: str) -> str:
    """Write the script, and say what was done.

    Raises: ValueError, in one line, for a file of that name that is somebody else's; OSError.
    """
    before = read_bytes(path).decode(errors="replace") if path.exists() else None
    if before == text:
        return f"{path} is there already, and up to date"
    if before is not None and MARK not in before:
        raise ValueError(
            f"{path} is another completion, which is left as it is; move it away first"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())
    return f"{'wrote' if before is None else 'renewed'} {path}"


def hints(shell: str, path: Path, environ: Mapping[str, str]) -> list[str]:
    """Lines on the steps that may be left to the user."""
    if shell == "bash":
        return [
            "new shells complete it, where the package bash-completion is installed; elsewhere add "
            f"to ~/.bashrc: source {path}"
        ]
    if shell == "zsh":
        lines = f"fpath+=({path.parent}); autoload -Uz compinit; compinit"
        return [f"new shells complete it, if ~/.zshrc has this line: {lines}"]
    return ["new shells complete it"]
