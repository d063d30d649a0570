"""``hush run``: one run of a workflow, its progress, its result and where its trace is."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from hush import semconv
from hush.cli import exits
from hush.cli.destination import Destination
from hush.cli.opening import checked_store
from hush.cli.progress import Progress
from hush.cli.reading import read_duration, read_inputs
from hush.cli.refusal import Refusal
from hush.cli.report import Ending, report_json, report_text
from hush.cli.signals import Signals
from hush.cli.target import load_engine
from hush.errors import RunError, text_of
from hush.insight.source_errors import TraceStoreError
from hush.insight.store_owner import refuse_foreign
from hush.observe.configuration import configure
from hush.observe.log_output import LineHandler
from hush.runtime.failing import only_interrupt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import IO

    from hush.core.engine import Hush
    from hush.core.result import RunResult
    from hush.observe.configuration import Telemetry

__all__ = ("run",)

IDS = frozenset((semconv.LOG_TRACE_ID, semconv.LOG_SPAN_ID, semconv.RUN_ID, semconv.GRAPH_NAME))
"""Fields that are the same on all lines of a run, or of use to programs only."""
_FLUSH_S = 10.0
_LEAVE_S = 1.0


def run(
    target: str,
    pairs: Sequence[str],
    file: str | None,
    *,
    backend: str,
    deadline: str | None,
    store: str | None,
    as_json: bool,
    partial_ok: bool,
    tracebacks: bool,
) -> int:
    """Run a workflow once.

    Args:
        target: as for :func:`~hush.cli.target.load_engine`.
        pairs: inputs as ``name=value``.
        file: path of inputs as JSON, ``-`` for standard input; None for none.
        backend: ``asyncio`` or ``trio``.
        deadline: limit of the whole run; None has none.
        store: path of the trace store; None as the environment says.
        as_json: print the ending as JSON.
        partial_ok: a run that ended well but for failures that it bore has exit code 0.
        tracebacks: show those of the user's code in full.

    Returns:
        The exit code.

    Raises:
        Refusal: nothing was run.
    """
    loop = _backend(backend)
    deadline_s = None if deadline is None else read_duration(deadline, "--deadline")
    if deadline_s is not None and not 0 < deadline_s < float("inf"):
        raise Refusal(f"--deadline {deadline!r}: expected more than 0 s")
    with _own_output(as_json) as out:
        ending = _ran(target, read_inputs(pairs, file), loop, deadline_s, store)
        if as_json:
            report_json(ending, out, partial_ok=partial_ok)
        else:
            report_text(ending, partial_ok=partial_ok, tracebacks=tracebacks)
    return ending.code(partial_ok=partial_ok)


def _backend(name: str) -> Literal["asyncio", "trio"]:
    if name == "asyncio":
        return "asyncio"
    if name != "trio":
        raise Refusal(f"--backend {name!r}: use asyncio or trio")
    from importlib.util import find_spec  # noqa: PLC0415  # asked for here only

    if find_spec("trio") is None:
        raise Refusal("--backend trio: trio is not installed: pip install 'hush-runtime[trio]'")
    return "trio"


def _configure(store: str | None) -> Telemetry:
    try:
        telemetry = configure(store=checked_store(store))
    except (ImportError, OSError, ValueError) as error:
        raise Refusal(text_of(error)) from error
    try:
        if telemetry.store is not None:
            refuse_foreign(telemetry.store)
    except TraceStoreError as error:
        raise Refusal(text_of(error)) from error
    except OSError:
        pass  # the run goes on without a trace; what is wrong is told below its result
    return telemetry


@contextmanager
def _own_output(as_json: bool) -> Iterator[IO[str]]:  # noqa: FBT001  # one switch
    """Keep standard output for the result, where programs read it.

    What the user's code prints goes to standard error instead, that of its threads and
    child processes too.

    Args:
        as_json: whether programs read it.
    """
    if not as_json:
        yield sys.stdout
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(kept, "w", encoding="utf-8") as out:
            yield out
            sys.stdout.flush()
            os.dup2(out.fileno(), 1)
    except BaseException:
        sys.stdout.flush()
        raise


def _ran(
    target: str,
    inputs: Mapping[str, Any],
    backend: Literal["asyncio", "trio"],
    deadline_s: float | None,
    store: str | None,
) -> Ending:
    progress = Progress()
    engine: Hush | None = None
    telemetry: Telemetry | None = None

    def picture() -> None:
        progress.show("nothing is running yet" if engine is None else engine.snapshot())

    def leave() -> None:
        if telemetry is not None:
            telemetry.flush(_LEAVE_S)

    # From the beginning: who asks too early must not end the process.
    with Signals(picture, progress.stopping, leave) as signals:
        try:
            engine = load_engine(target)
        except KeyboardInterrupt:
            if signals.terminated:
                raise Refusal("ended by SIGTERM before the run", exits.TERMINATED) from None
            raise
        # After the import: a module may set up tracing of its own, which then counts.
        telemetry = _configure(store)
        engine.check_inputs(inputs)
        with Destination(telemetry, store) as destination, _own_log(destination):
            ending = _once(engine, inputs, backend, deadline_s, progress, signals)
            destination.arrived = telemetry.flush(_FLUSH_S)
            telemetry.shutdown()
    return replace(ending, destination=destination)


@contextmanager
def _own_log(destination: Destination) -> Iterator[None]:
    """Show what is logged from warnings on, above the progress, unless the user's code has
    set that up already.

    Args:
        destination: what it tells of below the result is not shown as well.
    """
    import logging  # noqa: PLC0415  # for a run only

    if logging.getLogger().handlers:
        yield
        return
    from hush.observe.logs import configure_logging  # noqa: PLC0415  # for a run only

    made = configure_logging("console", level="WARNING", stream="stderr", export=False)
    for handler in made.handlers:
        handler.addFilter(lambda record: not destination.tells(record))
        if isinstance(handler, LineHandler):
            # There is one run, and its ids stand below.
            handler.hidden = IDS
    try:
        yield
    finally:
        made.restore()


def _once(
    engine: Hush,
    inputs: Mapping[str, Any],
    backend: Literal["asyncio", "trio"],
    deadline_s: float | None,
    progress: Progress,
    signals: Signals,
) -> Ending:
    import anyio  # noqa: PLC0415  # loads an event loop

    result: RunResult | None = None
    error: RunError | None = None

    async def main() -> RunResult:
        with signals.interrupts():
            return await engine.run(inputs, deadline_s=deadline_s, on_event=progress)

    began = perf_counter()
    interrupted = False
    try:
        with progress, signals.held():
            result = anyio.run(main, backend=backend)
    except RunError as raised:
        error = raised
    except KeyboardInterrupt:
        interrupted = True
    except BaseExceptionGroup as group:
        if not isinstance(only_interrupt(group), KeyboardInterrupt):
            raise
        interrupted = True
    return Ending(
        graph=engine.plan.name,
        result=result,
        error=error,
        run_id=progress.run_id,
        trace_id=progress.trace_id,
        # Without what it takes to start an event loop and to load what the run needs.
        duration_s=perf_counter() - began if progress.run_s is None else progress.run_s,
        interrupted=interrupted,
        terminated=signals.terminated,
    )
