"""`python -m purejaxvpg` and the command `purejaxvpg`."""

import sys


def main() -> int:
    """Run the command line; the exit code is 2 for bad input, with one line on stderr."""
    try:
        from purejaxvpg import cli
    except ImportError as error:  # tyro or rich is missing
        print(f"purejaxvpg: error: {error}", file=sys.stderr)
        return 2
    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
