"""The commands as users see them: names, arguments, options and what ``--help`` says.

Each is declared here and done in a module of its own, which is loaded only when the
command is called, so that ``hush --help`` is there at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ("app",)

app = typer.Typer(
    name="hush",
    help="Run workflows, and ask their traces why they took so long.",
    epilog=(
        "ID: a trace's id, abbreviated or whole; last, last~1 and so on; a file in OTLP JSON or "
        "Jaeger JSON, - for standard input; or the address of a trace in Jaeger. Exit codes: 0 ok, 1 failed, 2 wrong "
        "usage, 3 partial failure, 4 no such trace, 124 timed out, 130 interrupted."
    ),
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)

_ID = "the trace; see hush --help"
Trace = Annotated[str, typer.Argument(metavar="ID", help=_ID, show_default=True)]
Store = Annotated[
    str | None,
    typer.Option(
        "--store", metavar="FILE", help="the trace store; else $HUSH_TRACE_STORE, else the user's"
    ),
]
Jaeger = Annotated[
    str | None,
    typer.Option("--jaeger", metavar="URL", help="a Jaeger to ask for what the store lacks"),
]
Json = Annotated[bool, typer.Option("--json", help="print JSON for programs")]


@app.callback(invoke_without_command=True)
def hush(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="show the version")] = False,
) -> int:
    """Run workflows, and ask their traces why they took so long."""
    if version:
        from hush import __version__

        typer.echo(f"hush {__version__}")
    elif ctx.invoked_subcommand is None:
        raise typer.BadParameter("a command is missing")
    return 0


@app.command()
def run(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="module:graph or path/file.py:graph")
    ],
    input_: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="NAME=VALUE", help="an input, as JSON, else as text"),
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option("--inputs", metavar="FILE", help="inputs as a JSON object; - reads stdin"),
    ] = None,
    backend: Annotated[
        str, typer.Option("--backend", metavar="LOOP", help="asyncio or trio")
    ] = "asyncio",
    deadline: Annotated[
        str | None,
        typer.Option("--deadline", metavar="TIME", help="limit of the run, such as 30s or 5m"),
    ] = None,
    partial_ok: Annotated[
        bool, typer.Option("--partial-ok", help="exit with 0 where failures did not stop the run")
    ] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="show the whole traceback of what failed")
    ] = False,
    store: Store = None,
    json: Json = False,
) -> int:
    """Run a workflow; kill -USR1 shows how it stands.

    TARGET names a graph, an engine, or a function that returns one.
    """
    from hush.cli.run import run as command

    return command(
        target,
        input_ or [],
        inputs,
        backend=backend,
        deadline=deadline,
        store=store,
        as_json=json,
        partial_ok=partial_ok,
        tracebacks=traceback,
    )


@app.command()
def traces(
    graph: Annotated[
        str | None, typer.Option("--graph", metavar="NAME", help="runs of this graph")
    ] = None,
    outcome: Annotated[
        str | None,
        typer.Option(
            "--outcome",
            metavar="OUTCOME",
            help="ok, partial, error, timeout, cancelled or unfinished",
        ),
    ] = None,
    min_duration: Annotated[
        str | None,
        typer.Option("--min-duration", metavar="TIME", help="that took at least 2s, 500ms ..."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="TIME", help="started in the last 1h, 2d ... or since a date"
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="at most so many")] = 20,
    store: Store = None,
    json: Json = False,
) -> int:
    """List stored traces, the newest first."""
    from hush.cli.traces import traces as command

    return command(
        graph=graph,
        outcome=outcome,
        min_duration=min_duration,
        since=since,
        limit=limit,
        store=store,
        as_json=json,
    )


@app.command()
def show(
    trace: Trace = "last",
    html: Annotated[
        str | None,
        typer.Option("--html", metavar="FILE", help="write one self-contained page instead"),
    ] = None,
    max_rows: Annotated[
        int, typer.Option("--max-rows", metavar="N", help="items that are shown of each map")
    ] = 12,
    jaeger: Jaeger = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Draw a trace: waterfall, critical path, fan-ins in words."""
    from hush.cli.show import show as command

    return command(trace, html=html, max_items=max_rows, jaeger=jaeger, store=store, as_json=json)


@app.command()
def why(
    trace: Trace = "last", jaeger: Jaeger = None, store: Store = None, json: Json = False
) -> int:
    """Say why a run took so long or failed, and what would help."""
    from hush.cli.why import why as command

    return command(trace, jaeger=jaeger, store=store, as_json=json)


@app.command()
def whatif(
    trace: Trace = "last",
    max_concurrency: Annotated[
        str | None,
        typer.Option("--max-concurrency", metavar="N,N,...", help="limits to try, such as 2,8,16"),
    ] = None,
    map_path: Annotated[
        str | None, typer.Option("--map", metavar="PATH", help="which map; else the most promising")
    ] = None,
    jaeger: Jaeger = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Predict the wall time under other limits of a map."""
    from hush.cli.whatif import whatif as command

    return command(
        trace, max_concurrency, map_path=map_path, jaeger=jaeger, store=store, as_json=json
    )


@app.command()
def diff(
    first: Annotated[str, typer.Argument(metavar="A", help=_ID)],
    second: Annotated[str, typer.Argument(metavar="B", help=_ID)] = "last",
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="changes of each kind")] = 10,
    jaeger: Jaeger = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Compare two runs of a workflow."""
    from hush.cli.diff import diff as command

    return command(first, second, limit=limit, jaeger=jaeger, store=store, as_json=json)


@app.command()
def export(
    trace: Trace = "last",
    form: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="otlp-json or jaeger")
    ] = "otlp-json",
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="else standard output")
    ] = None,
    service: Annotated[
        str, typer.Option("--service", metavar="NAME", help="the service that it names")
    ] = "hush",
    jaeger: Jaeger = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Write a trace for other programs."""
    from hush.cli.export import export as command

    return command(
        trace,
        form=form,
        output=output,
        service_name=service,
        jaeger=jaeger,
        store=store,
        as_json=json,
    )


@app.command()
def doctor(
    target: Annotated[
        str | None,
        typer.Argument(metavar="TARGET", help="a workflow whose own set-up is examined too"),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint", metavar="URL", help="the receiver; else OTEL_EXPORTER_OTLP_ENDPOINT"
        ),
    ] = None,
    jaeger: Annotated[
        str | None,
        typer.Option("--jaeger", metavar="URL", help="where to look for the span that is sent"),
    ] = None,
    wait: Annotated[
        str, typer.Option("--wait", metavar="TIME", help="for how long to look for it")
    ] = "10s",
    no_send: Annotated[bool, typer.Option("--no-send", help="send nothing")] = False,
    json: Json = False,
) -> int:
    """Say whether telemetry arrives, and what to mend.

    The exit code is 1 where something has to be mended.
    """
    from hush.cli.doctor.command import doctor as command
    from hush.cli.reading import read_duration

    return command(
        target,
        endpoint=endpoint,
        jaeger=jaeger,
        send=not no_send,
        wait_s=read_duration(wait, "--wait"),
        as_json=json,
    )


spool_app = typer.Typer(
    help="Show what waits on the disk for receivers of telemetry.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
app.add_typer(spool_app, name="spool")
Spool = Annotated[
    str | None,
    typer.Option("--spool", metavar="FOLDER", help="the spools; else $HUSH_SPOOL, else the user's"),
]


@spool_app.callback()
def spool(ctx: typer.Context, spool: Spool = None, json: Json = False) -> int:
    """Show what waits on the disk for receivers of telemetry."""
    if ctx.invoked_subcommand is not None:
        return 0
    from hush.cli.spool import list_spools

    return list_spools(path=spool, as_json=json)


@spool_app.command("send")
def spool_send(
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint", metavar="URL", help="the receiver; else OTEL_EXPORTER_OTLP_ENDPOINT"
        ),
    ] = None,
    rejected: Annotated[
        bool, typer.Option("--rejected", help="send once more what it had refused")
    ] = False,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="TIME", help="for how long, such as 30s")
    ] = "60s",
    spool: Spool = None,
    json: Json = False,
) -> int:
    """Send now what waits for a receiver; exits with 1 where something is left."""
    from hush.cli.reading import read_duration
    from hush.cli.spool import send_spool

    return send_spool(
        path=spool,
        endpoint=endpoint,
        rejected=rejected,
        timeout_s=read_duration(timeout, "--timeout"),
        as_json=json,
    )
