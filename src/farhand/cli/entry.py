"""Where `farhand` begins: a process that stays is started without what only people need.

An agent that came through the whole command line would carry it in memory for as long as it lives.
"""

import sys
from contextlib import suppress
from importlib import import_module
from typing import Final

STAYING: Final = frozenset({"agent", "controller"})


def main() -> int:
    """Do what the command line says; return the exit code."""
    verb, *words = sys.argv[1:] or [""]
    if verb in STAYING:
        with suppress(ModuleNotFoundError):  # the command line says which extra is missing
            return int(import_module(f"farhand.boot.{verb}").main(words))
    return int(import_module("farhand.cli.main").main())


if __name__ == "__main__":
    sys.exit(main())
