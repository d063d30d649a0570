"""How a run ended, told to people or to programs."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

from hush import semconv
from hush.cli import exits
from hush.cli.output import FAINT, console, say, say_error, say_json, tidy, tidy_line
from hush.cli.target import blame
from hush.core.result import STATE
from hush.insight.outcome import PARTIAL
from hush.insight.wording import counted, format_cost, format_duration, format_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console
    from rich.text import Text

    from hush.cli.destination import Destination
    from hush.core.result import RunResult
    from hush.errors import Failure, RunError

__all__ = ("Ending", "report_json", "report_text")

_MOST_LINES: Final = 12
"""Of one output."""
_MOST_OUTPUTS: Final = 24
_MOST_FAILURES: Final = 3
_MOST_MEMBERS: Final = 10
_MOST_CHARACTERS: Final = 160
_MOST_LEVELS: Final = 5
_COMPACT_LINES: Final = 3
"""A value that needs no more lines is not broken up by its structure."""
_MOST_MESSAGE: Final = 300
"""Characters of what an exception says."""
_OUR_ERRORS: Final = "hush.errors."  # takes room and says nothing new


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended."""

    graph: str
    result: RunResult | None
    """None unless the run has outputs."""
    error: RunError | None
    """None unless it failed."""
    run_id: str | None
    trace_id: str | None
    """None where the run was not traced."""
    duration_s: float
    interrupted: bool
    """Whether Ctrl-C or SIGTERM ended it."""
    terminated: bool
    """Whether it was SIGTERM."""
    destination: Destination | None = None
    """Where its trace has gone; None until that is known."""

    @property
    def outcome(self) -> str:
        """One of :data:`hush.insight.outcome.OUTCOMES`."""
        if self.error is not None:
            return self.error.outcome
        if self.result is None:
            return semconv.OUTCOME_CANCELLED
        return PARTIAL if self.partial_failure else semconv.OUTCOME_OK

    @property
    def reason(self) -> tuple[str, str] | None:
        """What ended it, and why; None where it has its outputs."""
        if self.error is not None:
            return self.error.path, self.error.message.removeprefix(_OUR_ERRORS)
        if self.result is not None:
            return None
        return self.graph, "ended by SIGTERM" if self.terminated else "interrupted by Ctrl-C"

    @property
    def partial_failure(self) -> bool:
        """Whether it has outputs although something failed."""
        return self.result is not None and self.result.partial_failure

    def code(self, *, partial_ok: bool) -> int:
        """Return the exit code.

        Args:
            partial_ok: failures that the run bore do not count.
        """
        if self.terminated:
            return exits.TERMINATED
        if self.interrupted:
            return exits.INTERRUPTED
        if self.error is not None:
            late = self.error.outcome == semconv.OUTCOME_TIMEOUT
            return exits.TIMEOUT if late else exits.FAILED
        return exits.PARTIAL if self.partial_failure and not partial_ok else exits.OK

    @property
    def failures(self) -> Sequence[Failure]:
        """What failed, in order."""
        if self.error is not None:
            return self.error.failures
        return () if self.result is None else self.result.failures

    @property
    def outputs(self) -> Mapping[str, Any]:
        """The graph's outputs by name."""
        return {name: value for name, value in (self.result or {}).items() if name != STATE}


# --- for programs ----------------------------------------------------------------------------


def report_json(ending: Ending, out: IO[str], *, partial_ok: bool) -> None:
    """Print an ending as one JSON object; docs/reading-traces.md tells its shape.

    Args:
        ending: of the run.
        out: where to.
        partial_ok: as for :meth:`Ending.code`.
    """
    result, error, where = ending.result, ending.error, ending.destination
    usage = result.usage if result is not None else getattr(error, "usage", None)
    count = len(ending.failures) if result is None else result.failure_count
    traced = where is not None and ending.trace_id is not None
    stored = where.store if traced and where else None
    document = {
        "graph": ending.graph,
        "run_id": ending.run_id,
        "trace_id": ending.trace_id,
        "store": None if stored is None else str(stored),
        "sent_to": where.receiver if traced and where else None,
        "trace_problem": (where.problem or None) if traced and where else None,
        "outcome": ending.outcome,
        "partial_failure": ending.partial_failure,
        "exit_code": ending.code(partial_ok=partial_ok),
        "duration_s": round(ending.duration_s, 6),
        "outputs": None if result is None else ending.outputs,
        "skipped": [] if result is None else result.skipped,
        "error": None if ending.reason is None else _reason(ending),
        "failure_count": count,
        "failures": [
            {
                "path": failure.path,
                "kind": failure.kind,
                "error_type": failure.error_type,
                "message": failure.message,
                "index": failure.index,
                "attempts": failure.attempts,
            }
            for failure in ending.failures
        ],
        "usage": usage,
    }
    say_json(document, out)


def _reason(ending: Ending) -> dict[str, str]:
    path, message = ending.reason or ("", "")
    return {"path": path, "message": ending.error.message if ending.error else message}


# --- for people ------------------------------------------------------------------------------


def report_text(ending: Ending, *, partial_ok: bool, tracebacks: bool) -> None:
    """Print an ending: outputs to standard output, what went wrong to standard error.

    Args:
        ending: of the run.
        partial_ok: as for :meth:`Ending.code`.
        tracebacks: show those of the user's code in full.
    """
    if ending.result is None:
        sys.stdout.flush()
        say_error("\n".join(_why(ending, tracebacks=tracebacks)), ending.outcome)
        _next(console(sys.stderr), ending)
        return
    place = console()
    bad = ending.partial_failure and not partial_ok
    took = format_duration(ending.duration_s)
    from rich.text import Text  # noqa: PLC0415  # see console

    style = "bold yellow" if bad else "bold green"
    head = ((tidy(ending.graph), "bold"), " ", (ending.outcome, style), f" in {took}")
    say(place, Text.assemble(*head))
    _outputs(place, ending.outputs)
    skipped = ending.result.skipped
    if skipped:
        more = f" and {len(skipped) - _MOST_MEMBERS} more" if len(skipped) > _MOST_MEMBERS else ""
        names = (path.removeprefix(f"{ending.graph}.") for path in skipped[:_MOST_MEMBERS])
        say(place, f"skipped: {tidy(', '.join(names))}{more}", FAINT)
    _failures(place, ending.result)
    _usage(place, ending.result)
    _next(place, ending)


def _why(ending: Ending, *, tracebacks: bool) -> Iterator[str]:
    took = format_duration(ending.duration_s)
    path, message = ending.reason or ("", "")
    yield f"{path}: {_bounded(message)} (after {took})"
    if ending.error is None:
        return
    first, *others = ending.error.failures or (None,)
    raised = None if first is None else first.exception
    if raised is not None and (place := blame(raised, tracebacks)):
        yield place if tracebacks else f"raised at {place}"
    for failure in others[: _MOST_FAILURES - 1]:
        if failure is not None:
            kind = failure.error_type.removeprefix(_OUR_ERRORS)
            yield f"also {failure.path}: {kind}: {_bounded(failure.message)}"
    more = len(others) - _MOST_FAILURES + 1
    if more > 0:
        yield f"and {counted(more, 'more failure')}"


def _bounded(message: object) -> str:
    """Cut a message that would fill the screen; programs get all of it."""
    text = str(message)
    if len(text) <= _MOST_MESSAGE:
        return text
    return f"{text[:_MOST_MESSAGE].rstrip()}... ({len(text):,} characters: --json has all)"


def _outputs(place: Console, outputs: Mapping[str, Any]) -> None:
    names = list(outputs)[:_MOST_OUTPUTS]
    cells = min(max((len(tidy(name)) for name in names), default=0), place.width // 3)
    for name in names:
        label = tidy(name)
        lines = _lines(outputs[name], max(20, place.width - cells - 4))
        if len(lines) == 1 and len(label) <= cells:
            first, *others = _wrapped(place, lines[0], place.width - cells - 4)
            say(place, f"  {label:<{cells}}  {first}")
            for line in others:
                say(place, line, indent=cells + 4)
            continue
        say(place, f"  {label}")
        for line in lines:
            say(place, _cut(place, line), indent=4)
    if len(outputs) > len(names):
        say(place, f"  and {len(outputs) - len(names)} more outputs: --json has all", FAINT)


def _cut(place: Console, line: str) -> Text:
    """Cut a line of a structure, whose indentation wrapping would break."""
    from rich.text import Text  # noqa: PLC0415  # see console

    cut = Text(line)
    cut.truncate(max(1, place.width - 4), overflow="ellipsis")
    return cut


def _wrapped(place: Console, line: str, width: int) -> list[str]:
    from rich.text import Text  # noqa: PLC0415  # see console

    return [part.plain.rstrip() for part in Text(line).wrap(place, max(1, width))] or [""]


def _lines(value: Any, width: int) -> list[str]:
    """Return a value in few lines, whatever its ``repr`` does."""
    from rich.pretty import pretty_repr  # noqa: PLC0415  # see console

    if isinstance(value, str) and "\n" not in value and len(value) <= width:
        return [tidy(value)]

    def formed(cells: int) -> str:
        return pretty_repr(
            value,
            max_width=cells,
            indent_size=2,
            max_length=_MOST_MEMBERS,
            max_string=_MOST_CHARACTERS,
            max_depth=_MOST_LEVELS,
        )

    try:
        text = formed(_COMPACT_LINES * width)
        if "\n" not in text and len(text) <= _COMPACT_LINES * width:
            return [tidy(text)]
        text = formed(width)
    except Exception:  # noqa: BLE001  # a container of the user's that fails
        text = f"<unprintable {type(value).__name__}>"
    raw = text.split("\n", _MOST_LINES + 1)
    lines = [tidy_line(line) for line in raw[:_MOST_LINES]]
    if len(raw) > _MOST_LINES:
        lines.append("... (--json has all)")
    return lines


def _failures(place: Console, result: RunResult) -> None:
    count = result.failure_count
    if not count:
        return
    say(place, f"{counted(count, 'failure')}, which did not stop the run:", "yellow")
    for failure in result.failures[:_MOST_FAILURES]:
        say(place, tidy(_bounded(failure)), indent=2)
    if count > _MOST_FAILURES:
        say(place, f"  and {count - _MOST_FAILURES:,} more", FAINT)


def _usage(place: Console, result: RunResult) -> None:
    usage = result.usage
    if not usage.calls:
        return
    told = (
        f"{counted(usage.calls, 'call')} to models: {format_tokens(usage.input_tokens)} tokens in, "
    )
    told += f"{format_tokens(usage.output_tokens)} out"
    told += "" if usage.cost_usd is None else f", {format_cost(usage.cost_usd)}"
    say(place, told, FAINT)


def _next(place: Console, ending: Ending) -> None:
    """Say where the trace is, and what to ask it; nothing where there is none."""
    where, trace_id = ending.destination, ending.trace_id
    if where is None or trace_id is None:
        return
    if where.problem:
        sys.stdout.flush()
        say(console(sys.stderr), f"trace {tidy(where.problem, sys.stderr.encoding)}", "yellow")
    if where.store is None and where.receiver is None:
        return
    say(place, f"trace {trace_id}", FAINT, wrap=False)
    commands = ["hush why", "hush show"]
    if ending.outcome == semconv.OUTCOME_OK:
        commands.reverse()
    if where.receiver is not None:
        asked = "" if where.store else ", which may be Jaeger or lead there"
        say(place, f"sent to {tidy(where.receiver)}{asked}", FAINT)
    hints = where.hints(trace_id, commands)
    if hints:
        hints = [tidy(hint) for hint in hints]
        one = f"next: {'   '.join(hints)}"
        lines = [one] if len(one) <= place.width else ["next:", *(f"  {hint}" for hint in hints)]
        for line in lines:
            say(place, line, FAINT, wrap=False)
