"""What commands write: text for people, JSON for programs, errors in a line or two.

Text from a trace or from a user's code is foreign; whatever is written passes
:func:`~hush.insight.wording.clean` first. Colours are for terminals only.
"""

from __future__ import annotations

import json
import os
import sys
from typing import IO, TYPE_CHECKING, Any, Literal

from hush.cli.plain import plain
from hush.insight.wording import clean, counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = (
    "FAINT",
    "console",
    "say",
    "say_error",
    "say_json",
    "tidy",
    "tidy_line",
)

FAINT = "dim"
_LINES = 100
"""Most lines of one error: a graph may have many problems, a fault in it one text of any size."""


def console(file: IO[str] | None = None) -> Console:
    """Return a console: the terminal's width, or 80 where there is none.

    Args:
        file: where to; None is standard output.
    """
    from rich.console import Console as RichConsole  # noqa: PLC0415  # takes a fifth of a second

    class Quiet(RichConsole):
        def on_broken_pipe(self) -> None:
            # rich would end the process itself, with another code.
            raise BrokenPipeError

    # rich by itself would keep bold and dim under NO_COLOR, which are escape sequences too.
    colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    return Quiet(
        file=file, color_system=colours, highlight=False, markup=False, emoji=False, soft_wrap=False
    )


def tidy(text: object, encoding: str | None = None) -> str:
    """Make foreign text safe to print on one line.

    Args:
        text: anything.
        encoding: of the output; None is standard output's.
    """
    try:
        return clean(text, encoding or sys.stdout.encoding or "utf-8")
    except LookupError:  # an encoding that nobody knows
        return clean(text, "ascii")


def tidy_line(line: str, encoding: str | None = None) -> str:
    """Make a line safe to print and keep its indentation, which tells what belongs to what.

    Args:
        line: without its end.
        encoding: as for :func:`tidy`.
    """
    text = line.lstrip(" ")
    return " " * (len(line) - len(text)) + tidy(text, encoding)


def say(
    place: Console, text: str | Text = "", style: str = "", *, indent: int = 0, wrap: bool = True
) -> None:
    """Print text.

    Args:
        place: the console.
        text: made safe already.
        style: rich's.
        indent: cells in front of each line.
        wrap: break it at the width; not what is there to be copied, such as a path.
    """
    from rich.text import Text as RichText  # noqa: PLC0415  # see console

    line = RichText(text, style) if isinstance(text, str) else text
    if not wrap:
        place.print(line, soft_wrap=True)
        return
    # By hand: rich leaves white space at the ends of lines, and knows no indentation.
    for part in line.wrap(place, max(1, place.width - indent)) or [line]:
        part.rstrip()
        if indent:
            part.pad_left(indent)
        place.print(part)


def say_json(value: Any, file: IO[str] | None = None) -> None:
    """Print one JSON document, indented, in ASCII.

    Args:
        value: anything; what JSON does not know becomes text.
        file: where to; None is standard output.
    """
    out = sys.stdout if file is None else file
    out.write(json.dumps(plain(value), indent=2, allow_nan=False) + "\n")
    out.flush()


def say_error(message: str, word: str = "error") -> None:
    """Print an error to standard error.

    Args:
        message: its first line says what is wrong; the others are details.
        word: what stands before it.
    """
    encoding = sys.stderr.encoding
    first, *others = message.splitlines() or [""]
    mark = f"{word}:"
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        mark = f"\x1b[1;31m{mark}\x1b[0m"
    lines = [f"{mark} {tidy(first, encoding)}"]
    for line in others[:_LINES]:
        said = tidy_line(line, encoding)
        lines.append(said if said.startswith("  ") else f"  {said}")
    if len(others) > _LINES:
        lines.append(f"  and {counted(len(others) - _LINES, 'more line')}")
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()
