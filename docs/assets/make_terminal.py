"""Draws hush-show.svg and hush-why.svg beside this file: what the commands print in colour.

    python docs/assets/make_terminal.py

The workflow is that of docs/reading-traces.md. It is run by the real command, and what the
real commands print to a terminal of 80 columns is drawn, so the pictures show what they do.
"""

# ruff: noqa: INP001  # a file to run, not part of a package

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from make_waterfall import FRAME
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

HERE = Path(__file__).parent
PAGE = HERE.parent / "reading-traces.md"
WIDTH = 80
INPUT = f"pages={list(range(1, 17))}"
TITLES = {
    "why": "What the command hush why prints",
    "show": "What the command hush show prints",
}


def main() -> None:
    """Run the workflow, ask its trace, draw the answers."""
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    if found is None:
        raise SystemExit(f"no python block in {PAGE}")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "crawl.py").write_text(found[1], encoding="utf-8")
        print(hush(folder, "run", "crawl.py:crawl", "--input", INPUT, "--partial-ok"))  # noqa: T201  # a program
        for command in TITLES:
            draw(command, hush(folder, command, "last"))
        for more in (("whatif", "--max-concurrency", "2,8,16"), ("traces",)):
            print(hush(folder, *more))  # noqa: T201  # for the page's text


def hush(folder: str, *arguments: str) -> str:
    """Run a command as in a terminal of true colours, and return what it prints."""
    terminal = {"FORCE_COLOR": "1", "COLORTERM": "truecolor", "TERM": "xterm-256color"}
    terminal |= {"COLUMNS": str(WIDTH), "HUSH_TRACE_STORE": str(Path(folder) / "traces.sqlite3")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.run(  # noqa: S603  # our own command
        [sys.executable, "-m", "hush.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # progress
        encoding="utf-8",
        cwd=folder,
        env={**kept, **terminal, "PYTHONIOENCODING": "utf-8"},
        check=True,
    ).stdout


def draw(command: str, printed: str) -> None:
    """Write a picture of what a command printed."""
    console = Console(
        record=True,
        width=WIDTH,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        highlight=False,
    )
    console.print(Text(f"$ hush {command} last", "bold"))
    console.print(Text.from_ansi(printed), end="")
    frame = FRAME.replace("The trace of a workflow as a waterfall", TITLES[command])
    svg = console.export_svg(
        title=f"hush {command}",
        theme=SVG_EXPORT_THEME,
        code_format=frame,
        unique_id=f"hush-{command}",
    )
    # Whatever the font: the columns stay in line, and bars have no gaps.
    svg = svg.replace("textLength=", 'lengthAdjust="spacingAndGlyphs" textLength=')
    svg = re.sub(r"<text [^>]*>\s*</text>", "", svg)
    svg = "".join(f"{line.strip()}\n" for line in svg.splitlines() if line.strip())
    (HERE / f"hush-{command}.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
