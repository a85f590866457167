"""Libraries of environments are imported without a word on stdout."""

import pytest

from purejaxvpg.envs.suites import Suite


def test_libraries_that_print_when_imported_leave_stdout_alone(tmp_path, monkeypatch, capsys):
    (tmp_path / "noisy_library.py").write_text("print('Failed to import warp')\nANT = 8\n")
    (tmp_path / "noisy_need.py").write_text("print('no GPU')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert Suite("noisy_library", "brax", needs=("noisy_need",)).load().ANT == 8
    print("result")
    assert capsys.readouterr().out == "result\n"


def test_a_missing_library_is_named_with_its_extra():
    with pytest.raises(ImportError, match=r"needs missing_library.*'purejaxvpg\[navix\]'"):
        Suite("missing_library", "navix").load()
