"""``hush export``: a trace as a file that other programs read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hush.cli import exits
from hush.cli.opening import open_named
from hush.cli.output import console, say, say_json, tidy
from hush.cli.refusal import Refusal
from hush.errors import text_of
from hush.insight.formats.jaeger_json import to_jaeger_json
from hush.insight.formats.otlp_json import to_otlp_json

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("export",)

_WRITERS: Final[dict[str, Callable[..., str]]] = {
    "otlp-json": to_otlp_json,
    "jaeger": to_jaeger_json,
}


def export(
    name: str,
    *,
    form: str,
    output: str | None,
    service_name: str,
    jaeger: str | None,
    store: str | None,
    as_json: bool,
) -> int:
    """Write a trace.

    Args:
        name: as for :func:`~hush.cli.opening.open_named`.
        form: ``otlp-json`` or ``jaeger``.
        output: file to write into; None writes to standard output.
        service_name: the service that the file names; spans do not hold it.
        jaeger: base URL of a Jaeger to ask as well.
        store: path of the trace store; None as the environment says.
        as_json: say as JSON what was written; without a file the trace itself is.

    Returns:
        The exit code.
    """
    writer = _WRITERS.get(form)
    if writer is None:
        raise Refusal(f"--format {form!r}: use one of {', '.join(_WRITERS)}")
    tree = open_named(name, store=store, jaeger=jaeger)
    text = writer(tree, service_name=service_name) + "\n"
    if output is None or output == "-":
        sys.stdout.write(text)
        return exits.OK
    path = Path(output)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Refusal(f"-o {output}: {error.strerror or text_of(error)}", exits.FAILED) from error
    facts = {"trace_id": tree.trace_id, "format": form, "file": str(path.resolve())}
    if as_json:
        say_json({**facts, "spans": len(tree), "bytes": len(text.encode())})
    else:
        noun = "span" if len(tree) == 1 else "spans"
        say(console(), f"written: {tidy(output)}, {len(tree):,} {noun} in {form}", wrap=False)
    return exits.OK
