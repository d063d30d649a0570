"""What the examples' command lines have in common. No part of a workflow."""

import argparse
import importlib.util
import sys
from collections.abc import Callable
from typing import NoReturn

from hush.core import HushError


class Parser(argparse.ArgumentParser):
    """Knows --backend, and says what is wrong with the arguments in one line."""

    def __init__(self, description: str | None) -> None:
        """Take a module's docstring for the help."""
        super().__init__(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio")

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2."""
        self.exit(2, f"{self.prog}: {message}\n")

    def parse(self) -> argparse.Namespace:
        """Read the command line, and check that there is such a backend."""
        options = self.parse_args()
        if options.backend == "trio" and importlib.util.find_spec("trio") is None:
            self.error("trio is not installed: pip install trio")
        return options


def positive(text: str) -> int:
    """Read a number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, got {text!r}")
    return int(text)


def run(main: Callable[[], None]) -> NoReturn:
    """Run a program; leave with one line where it is interrupted or fails."""
    code = 0
    try:
        main()
    except* KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except* HushError as group:
        print(f"error: {group.exceptions[0]}", file=sys.stderr)
        code = 1
    sys.exit(code)
