"""The version to build: the release and, from a checkout, its commit (0.1.0+gbf46240ab)."""

import subprocess
from pathlib import Path

RELEASE = "0.1.0"


def version() -> str:
    """The release, with the commit as its local part where there is a checkout."""
    root = Path(__file__).resolve().parents[1]
    if (root / "PKG-INFO").exists():  # of a source distribution: the version that its name has
        lines = (root / "PKG-INFO").read_text().splitlines()
        return next(line for line in lines if line.startswith("Version: ")).removeprefix(
            "Version: "
        )
    command = ["git", "-C", str(root), "rev-parse", "--short=9", "HEAD"]
    if not (root / ".git").exists():
        return RELEASE
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return RELEASE
    return f"{RELEASE}+g{commit}"
