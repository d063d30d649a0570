"""A trace as one HTML page that needs nothing else: no network, no server, no build.

    Path("trace.html").write_text(render_page(tree), encoding="utf-8")

A trace holds foreign text. The page carries it as JSON, writes it as text only (the
policy in its head forbids anything else), and runs no script but its own, known by hash.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from hush.insight.page.payload import payload_of
from hush.insight.wording import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hush.insight.diagnosis import Diagnosis
    from hush.insight.tree import TraceTree

__all__ = ("render_page",)

_SCRIPTS: Final = (
    "text.js",
    "model.js",
    "window.js",
    "head.js",
    "minimap.js",
    "bars.js",
    "waterfall.js",
    "pointer.js",
    "details.js",
    "finding.js",
    "page.js",
)
"""In the order in which they need each other."""
# In JSON these occur in texts only, where an escape stands for the same: nothing in the
# data can end the element around it or look like markup.
_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def render_page(
    tree: TraceTree, *, title: str | None = None, diagnosis: Diagnosis | Sequence[str] = ()
) -> str:
    """Write a trace as a page.

    Args:
        tree: of any size, also empty; 30,000 spans can still be used.
        title: of the page; None takes the graph's name.
        diagnosis: what :func:`~hush.insight.diagnosis.diagnose` says of the trace; the page
            then opens with the row of its first finding in sight. Or sentences to show on top,
            the most important first. Paths of spans (``pages[6].fetch``) become jumps.

    Returns:
        The whole document. It is ASCII where the trace's own title is, and valid UTF-8
        in any case.
    """
    payload = payload_of(tree, title=title, diagnosis=diagnosis)
    data = json.dumps(payload, separators=(",", ":"), allow_nan=False).translate(_ESCAPES)
    frame, style, script = _assets()
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_source(script)}",
            f"style-src {_source(style)}",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    parts = {
        "policy": html.escape(policy),
        "title": html.escape(clean(payload["title"])),
        "style": style,
        "data": data,
        "script": script,
    }
    # Piece by piece: what was put in is never searched for another placeholder.
    page, rest = [], frame
    for name, text in parts.items():
        before, _, rest = rest.partition(f"%{name}%")
        page += [before, text]
    return "".join([*page, rest])


@cache
def _assets() -> tuple[str, str, str]:
    """Return the frame, the style sheet and the script."""
    folder = files("hush.insight.page") / "assets"
    scripts = [(folder / "js" / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    # One scope for all files, and none of their names outside it.
    script = "\n".join(['"use strict";', "(() => {", *scripts, "})();"])
    style = (folder / "page.css").read_text(encoding="utf-8")
    return (folder / "page.html").read_text(encoding="utf-8"), f"\n{style}", f"\n{script}\n"


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
