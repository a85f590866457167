"""The command line started by a process that has imported jax, as `!purejaxvpg` in a notebook."""

import pytest

from purejaxvpg import __main__

LEVEL = "TF_CPP_MIN_LOG_LEVEL"


@pytest.mark.parametrize(
    ("given", "jaxlib", "level"),
    [
        (None, "0.9.2", "3"),
        ("1", "0.9.2", "3"),  # jax's own, which it leaves in the environment
        ("0", "0.9.2", "0"),
        ("2", "0.9.2", "2"),
        (None, "0.11.2", None),
        ("1", "0.11.2", "1"),
    ],
)
def test_jaxlib_is_quiet_about_kept_programs_unless_somebody_asked(given, jaxlib, level):
    environ = {} if given is None else {LEVEL: given}
    __main__._be_quiet(environ, jaxlib)
    assert environ.get(LEVEL) == level
