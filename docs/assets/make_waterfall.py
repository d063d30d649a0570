"""Draws waterfall.svg beside this file: the trace of the first workflow in README.md.

    python docs/assets/make_waterfall.py

The program is taken from README.md and run for real, so the picture shows what it does.
"""

# ruff: noqa: INP001  # a file to run, not part of a package

import io
import re
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME

from hush.insight.waterfall import render_waterfall
from hush.testing import capture_spans

HERE = Path(__file__).parent
README = HERE.parents[1] / "README.md"
WIDTH = 80

# rich's own frame loads a font from elsewhere; a picture should tell nobody who looks at it.
FRAME = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>The trace of a workflow as a waterfall</title>
<style>
.{unique_id}-matrix, .{unique_id}-title {{
    font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
    font-size: {char_height}px; line-height: {line_height}px;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> None:
    """Run the program, draw its trace, write the picture."""
    found = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    if found is None:
        raise SystemExit(f"no python block in {README}")
    with capture_spans() as captured:
        exec(compile(found[1], str(README), "exec"), {})  # noqa: S102  # our own README
    console = Console(
        record=True,
        width=WIDTH,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        highlight=False,
    )
    console.print(render_waterfall(captured.tree, console=console))
    svg = console.export_svg(
        title="crawl", theme=SVG_EXPORT_THEME, code_format=FRAME, unique_id="waterfall"
    )
    # Whatever the font: the columns stay in line, and bars have no gaps.
    svg = svg.replace("textLength=", 'lengthAdjust="spacingAndGlyphs" textLength=')
    svg = re.sub(r"<text [^>]*>\s*</text>", "", svg)
    svg = "".join(f"{line.strip()}\n" for line in svg.splitlines() if line.strip())
    (HERE / "waterfall.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
