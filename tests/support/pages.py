"""Pages in Markdown: their blocks, commands, links and anchors; and their blocks, run.

A page's blocks run from top to bottom in one folder, those of python in one namespace.  The comment
on the line before a block says otherwise:

    <!-- not run: REASON -->       only parsed
    <!-- after the commands -->    python that needs what the page's commands wrote
    <!-- file: NAME -->            a file of that name; so is one that begins `# NAME.py`
"""

import contextlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(
    r"^(?:<!--\s*(?P<note>[^\n]*?)\s*-->\n)?(?P<fence>```+|~~~+)(?P<language>[^\n`]*)\n"
    r"(?P<code>.*?)^(?P=fence)\s*$",
    re.MULTILINE | re.DOTALL,
)
_FIRST_LINE = re.compile(r"# ([\w./-]+\.\w+)(?::.*)?$")
_SHELL = ("bash", "sh", "console")
_INSTALLS = ("pip", "git", "conda", "uv", "apt", "apt-get", "docker", "sbatch", "srun", "ray",
             "scripts/quickstart", "scripts/test", "scripts/docs", "source", "ssh")  # fmt: skip


class Block(NamedTuple):
    """A block of a page, between fences."""

    language: str
    code: str
    note: str  # of the comment before it
    line: int

    @property
    def runs(self) -> bool:
        return not self.note.startswith("not run:")

    @property
    def needs_commands(self) -> bool:
        return self.note == "after the commands"

    @property
    def file(self) -> str | None:
        """The name of the file that the block is."""
        if self.note.startswith("file:"):
            return self.note.removeprefix("file:").strip()
        first = _FIRST_LINE.match(self.code.split("\n", 1)[0])
        return first[1] if first else None


def pages() -> list[str]:
    """Names of the pages, in the documentation's folder."""
    return sorted(str(p.relative_to(DOCS)) for p in DOCS.glob("*.md") if p.name != "README.md")


def blocks(text: str, *languages: str) -> list[Block]:
    """Blocks of a page, in some languages or all."""
    every = [
        Block(m["language"].strip(), m["code"], m["note"] or "", text[: m.start()].count("\n") + 1)
        for m in _FENCE.finditer(text)
    ]
    return [block for block in every if not languages or block.language in languages]


def is_notebook(text: str) -> bool:
    """Whether the build executes the page."""
    return text.startswith("---\n") and "file_format: mystnb" in text.split("---")[1]


def commands(code: str) -> list[list[str]]:
    """Commands of a block of shell, each as its words, without pipes, redirections and settings."""
    code = re.sub(r"<<-?\s*'?(\w+)'?.*?^\1$", "", code, flags=re.MULTILINE | re.DOTALL)
    found = []
    for line in code.replace("\\\n", " ").split("\n"):
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|&;<>()")
        lexer.whitespace_split, lexer.commenters = True, "#"
        command: list[str] = []
        for word in [*lexer, ";"]:
            if word and set(word) <= set("|&;()"):
                found += [command] if command else []
                command = []
            elif set(word) <= set("<>") or (command and command[-1:] == [">"]):
                command.append(">")
            elif command or not re.match(r"[A-Za-z_]\w*=", word):
                command.append(re.sub(r"\$\{?\w+\}?", "1", word))
    return [words[: words.index(">")] if ">" in words else words for words in found if words]


def check_command(words: list[str]) -> None:
    """A command line of ours parses, and what is run of the repository is there."""
    from purejaxvpg.cli import flags, parsing
    from purejaxvpg.cli.arguments import spec_of

    program, *arguments = words
    if program == "purejaxvpg":
        if not {"--help", "-h", "--version"} & set(arguments) and arguments:
            parsed = parsing.parse(arguments)
            studies = flags.Train | flags.Sweep | flags.Plan
            if isinstance(parsed, studies) and not parsed.resume:
                spec_of(parsed)
        return
    target = arguments[0] if program.startswith("python") and arguments else program
    if target.split("/")[0] in ("scripts", "examples", "benchmarks"):
        assert (ROOT / target).is_file(), f"{' '.join(words)}: there is no {target}"


def installs(words: list[str]) -> bool:
    """Whether a command changes the machine, or needs another: it is not run by a test."""
    return words[0] in _INSTALLS or words[1:3] == ["-m", "pip"] or words[1:3] == ["-m", "venv"]


# Links


def _prose(text: str) -> str:
    """A page without its blocks and code."""
    return re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))


def links(text: str) -> list[str]:
    """Targets of a page's links and pictures that are no addresses of the network."""
    targets = re.findall(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)", _prose(text))
    return [x for x in targets if not re.match(r"[a-z]+:", x)]


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as code hosts and MyST make them, and of its labels."""
    found: set[str] = set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))
    found |= set(re.findall(r"\{#([\w-]+)", text))
    for heading in re.findall(r"^#{1,6} +(.*)$", _FENCE.sub("", text), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\s-]", "", words.strip().lower()).replace(" ", "-")
        number = 0
        while (name := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(name)
    return found


def broken_links(page: Path) -> list[str]:
    """Relative links of a page whose file or anchor is not there."""
    text, broken = page.read_text(), []
    for link in links(text):
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors(target.read_text())
        ):
            broken.append(link)
    return broken


# Running


def prepare(folder: Path, every: list[Block]) -> None:
    """Files that the blocks are, and the repository's folders that commands name."""
    for name in ("examples", "scripts", "benchmarks"):
        if (ROOT / name).is_dir():
            (folder / name).symlink_to(ROOT / name)
    for block in every:
        if block.file and block.language not in _SHELL:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.code)


def run_python(block: Block, page: str, namespace: dict[str, Any]) -> None:
    """Run a block of python; its traceback names the page and line."""
    code = "\n" * block.line + block.code
    exec(compile(code, page, "exec"), namespace)


def run_shell(block: Block, page: str) -> None:
    """Run a block of commands in the working directory.  AssertionError where one fails."""
    code = re.sub(r"^\$ ", "", block.code, flags=re.MULTILINE)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)},
    )
    ends = f"{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    assert done.returncode == 0, f"{page}:{block.line} ended with {done.returncode}\n{code}\n{ends}"


@contextlib.contextmanager
def _modules_of(folder: Path):
    """Context in which modules of a folder can be imported; afterwards they are forgotten."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", "")).startswith(str(folder)):
                del sys.modules[name]


def run(page: str, folder: Path, shell: bool) -> None:
    """Run the blocks of a page, in a folder that is the working directory.

    Args: shell: those of commands too, and python that needs them.
    """
    text = (DOCS / page).read_text()
    every = [block for block in blocks(text) if block.runs]
    if is_notebook(text):  # the build runs its cells; other blocks of python are quotations
        every = [block for block in every if block.language != "python"]
    prepare(folder, every)
    namespace: dict[str, Any] = {"__name__": Path(page).stem}
    with _modules_of(folder):
        for block in every:
            if block.language == "python" and (shell or not block.needs_commands):
                run_python(block, page, namespace)
            elif block.language in _SHELL and shell:
                run_shell(block, page)


if __name__ == "__main__":  # python -m support.pages PAGE, as a user's process would
    run(sys.argv[1], Path.cwd(), shell=True)
