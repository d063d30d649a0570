"""``hush export``: a trace as a file that other programs read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hush.cli import exits
from hush.cli.opening import open_named, write_file
from hush.cli.output import console, say, say_json, tidy
from hush.cli.refusal import Refusal
from hush.insight.formats.jaeger_json import to_jaeger_json
from hush.insight.formats.otlp_json import to_otlp_json
from hush.insight.wording import counted

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
    write_file(output, text, "-o")
    facts = {"trace_id": tree.trace_id, "format": form, "file": str(path.resolve())}
    if as_json:
        say_json({**facts, "spans": len(tree), "bytes": len(text.encode())})
    else:
        told = f"written: {tidy(output)}, {counted(len(tree), 'span')} in {form}"
        say(console(), told, wrap=False)
    return exits.OK
