"""Draws docs/assets/trace-page.png: the page of a trace, as Chromium shows it.

python -m tests.insight.page_picture
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hush.insight.diagnosis import diagnose
from hush.insight.page.render import render_page
from tests.insight.chromium import Chromium, find_chromium
from tests.insight.page_traces import crawl

PICTURE = Path(__file__).parents[2] / "docs" / "assets" / "trace-page.png"


def main() -> None:
    """Open the page, look at the fan-in, take the picture."""
    program = find_chromium()
    if program is None:
        raise SystemExit("no Chromium found")
    with TemporaryDirectory() as folder, Chromium(program) as browser:
        file = Path(folder) / "trace.html"
        tree = crawl()
        file.write_text(render_page(tree, diagnosis=diagnose(tree)), encoding="utf-8")
        browser.size(1280, 880)
        browser.dark(False)
        browser.open(file)
        browser.run(
            "[...document.querySelectorAll('.step')].find(s => s.textContent.startsWith('report'))"
            ".click()"
        )
        browser.picture(PICTURE)
    print(PICTURE, PICTURE.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
