"""`python -m purejaxvpg` and the command `purejaxvpg`."""

import gc
import os
import sys
from importlib import metadata


def main() -> int:
    """Run the command line; the exit code is 2 for bad input, with one line on stderr."""
    # Imports and tracing make a million objects that stay: looking through them for garbage again
    # and again takes half a second of the four that a start takes.
    gc.set_threshold(200_000, 20, 100)
    if metadata.version("jaxlib").startswith("0.9."):
        # On a CPU it prints three screens for every program that it takes from the cache.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        from purejaxvpg import cli
    except ImportError as error:  # tyro or rich is missing
        print(f"purejaxvpg: error: {error}", file=sys.stderr)
        return 2
    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
