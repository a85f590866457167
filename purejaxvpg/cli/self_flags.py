"""Flags of the commands about this installation: doctor, completion."""

import dataclasses

from purejaxvpg.cli.flag_kinds import place, switch

SHELLS = ("bash", "zsh", "fish")

Doctor = dataclasses.make_dataclass(
    "Doctor",
    [
        switch("json", "As JSON."),
        switch("quick", "Without the self-test."),
    ],
)
Completion = dataclasses.make_dataclass(
    "Completion",
    [
        (
            "shell",
            place("SHELL", "bash, zsh or fish (default: that of SHELL, your login shell)."),
            dataclasses.field(default=""),
        ),
        switch("install", "Write it where the shell looks for it, in your home folder."),
    ],
)
