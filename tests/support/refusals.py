"""Commands that are refused."""

from purejaxvpg import cli


def assert_refused(words, message, capsys):
    """Exit code 2, and one line on stderr that has the message.  Returns: what was printed."""
    assert cli.main(words) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert message in printed.err
    return printed
