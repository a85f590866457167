"""Tab completion: what it offers, and where it is installed."""

import subprocess

import pytest

from purejaxvpg import cli
from purejaxvpg.cli.completion_words import commands, script


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder of nobody."""
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "BASH_COMPLETION_USER_DIR", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def offered(*words):
    """What bash offers for the last of the words."""
    listed = " ".join(f"'{word}'" for word in ("purejaxvpg", *words))
    code = f"{script('bash')}\nCOMP_WORDS=({listed}); COMP_CWORD={len(words)}\n"
    code += '_purejaxvpg; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sw"], ["sweep"]),
        (["train", "CartP"], ["CartPole-v1"]),
        (["train", "craftax/Craftax-S"], ["craftax/Craftax-Symbolic-v1"]),
        (["train", "CartPole-v1", "--netw"], ["--network"]),
        (["train", "CartPole-v1", "--network", ""], ["auto", "mlp", "cnn"]),
        (["train", "CartPole-v1", "--network", "=", "m"], ["mlp"]),
        (["train", "CartPole-v1", "--no-norm"],
         ["--no-normalize-advantages", "--no-normalize-obs", "--no-normalize-rewards"]),
        (["train", "CartPole-v1", "--impo"], ["--import"]),
        (["train", "CartPole-v1", "--out", "r"], []),  # bash goes on with files
        (["export", "run", "--onn"], ["--onnx"]),
        (["envs", "juman"], ["jumanji"]),
        (["completion", "f"], ["fish"]),
    ],
)  # fmt: skip
def test_bash_offers(words, expected):
    got = offered(*words)
    if words[0] == "envs":
        got = [word for word in got if "/" not in word]
    assert got == expected


def test_every_command_and_flag_is_in_every_script():
    scripts = {shell: script(shell) for shell in ("bash", "zsh", "fish")}
    for command in commands():
        assert all(command.name in text for text in scripts.values())
        for flag in command.flags:
            assert flag.name in scripts["bash"]
            assert f"'{flag.name}[" in scripts["zsh"]
            assert f" -l {flag.name[2:]} " in scripts["fish"]
            assert "'" not in flag.text


@pytest.mark.parametrize(
    ("shell", "place"),
    [
        ("bash", ".local/share/bash-completion/completions/purejaxvpg"),
        ("zsh", ".zfunc/_purejaxvpg"),
        ("fish", ".config/fish/completions/purejaxvpg.fish"),
    ],
)
def test_it_is_installed_once(home, capsys, monkeypatch, shell, place):
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    assert cli.main(["completion", "--install"]) == 0
    path = home / place
    assert path.read_text() == script(shell)
    assert f"wrote {path}" in capsys.readouterr().out
    before = path.stat().st_mtime_ns
    assert cli.main(["completion", shell, "--install"]) == 0
    assert "is there already, and up to date" in capsys.readouterr().out
    assert path.stat().st_mtime_ns == before
    path.write_text(path.read_text().replace("sweep", "swap"))
    assert cli.main(["completion", "--install"]) == 0
    assert "renewed" in capsys.readouterr().out
    assert path.read_text() == script(shell)


def test_the_script_of_somebody_else_stays(home, capsys):
    path = home / ".zfunc" / "_purejaxvpg"
    path.parent.mkdir()
    path.write_text("mine\n")
    assert cli.main(["completion", "zsh", "--install"]) == 2
    assert "is another completion, which is left as it is" in capsys.readouterr().err
    assert path.read_text() == "mine\n"


def test_without_install_it_is_printed(home, capsys):
    assert cli.main(["completion", "fish"]) == 0
    assert capsys.readouterr().out == script("fish")
    assert list(home.iterdir()) == []


def test_an_unknown_shell_is_refused(home, capsys, monkeypatch):
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert cli.main(["completion"]) == 2
    assert "SHELL=/bin/tcsh is no shell with completion; accepted: purejaxvpg completion bash" in (
        capsys.readouterr().err
    )
