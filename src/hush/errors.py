"""Every exception that Hush raises on purpose.

Each one subclasses :class:`HushError` and the builtin that fits, carries what it
knows as attributes, and its message names the offending node's path, what was
expected and the remedy::

    HushError
    ├── GraphError (ValueError)             a graph is wrong; every problem at once
    ├── ExecutorError (RuntimeError)        an engine for items failed, or is not there
    │   └── WorkerLostError                 a worker died, or the connection to it did
    ├── InputError (ValueError, TypeError)  what was passed to run() does not fit
    ├── NodeError (RuntimeError)            a fault that the runtime found in a node
    │   ├── ConditionError                  a branch or loop condition raised
    │   ├── JoinError                       a join cannot be met any more
    │   ├── LLMError                        a language model gave no usable answer
    │   │   ├── LLMCircuitError             not called: it had failed too often just before
    │   │   ├── LLMConnectionError          no connection, or it broke
    │   │   ├── LLMResponseError            the answer is not what was asked for
    │   │   ├── LLMStatusError              the server answered with an error status
    │   │   ├── LLMStreamError              a stream broke off
    │   │   └── LLMTimeoutError             timeout_s of one call (also a NodeTimeoutError)
    │   ├── LoopLimitError                  a loop reached its guard
    │   ├── MapSourceError                  an ``Each`` source raised, or lengths differ
    │   ├── OutputError                     a node returned something it may not
    │   ├── PayloadError (TypeError)        something cannot travel to a worker or back
    │   ├── MissingValueError               a value that was read does not exist
    │   ├── PromptError (ValueError)        a prompt cannot be filled
    │   ├── ToleranceError                  more items failed than max_failures allows
    │   ├── UnexpectedCancellationError     cancelled although no scope asked for it
    │   └── NodeTimeoutError (TimeoutError) timeout_s or deadline_s was exceeded
    ├── RemoteError (RuntimeError)          stands for a worker's exception that cannot travel
    ├── ResourceError (ValueError)          the configuration of a resource is wrong
    ├── RunError (RuntimeError)             a run failed; holds every failure
    ├── RunNotFinishedError (RuntimeError)  a result was asked for too early
    └── TelemetryError (RuntimeError)       an instrument failed (raised in tests only)

This module knows nothing of graphs, loops or spans.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = (
    "ConditionError",
    "ExecutorError",
    "Failure",
    "GraphError",
    "HushError",
    "InputError",
    "JoinError",
    "LLMCircuitError",
    "LLMConnectionError",
    "LLMError",
    "LLMResponseError",
    "LLMStatusError",
    "LLMStreamError",
    "LLMTimeoutError",
    "LoopLimitError",
    "MapSourceError",
    "MissingValueError",
    "NodeError",
    "NodeTimeoutError",
    "OutputError",
    "PayloadError",
    "Problem",
    "PromptError",
    "RemoteError",
    "ResourceError",
    "RunError",
    "RunNotFinishedError",
    "TelemetryError",
    "ToleranceError",
    "UnexpectedCancellationError",
    "WorkerLostError",
    "text_of",
)


def text_of(error: BaseException) -> str:
    """Return an exception's text, whatever its ``__str__`` does.

    Args:
        error: any exception.

    Returns:
        ``str(error)``, or a placeholder where that raises.
    """
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # a broken __str__ must not hide the failure itself
        return f"<unprintable {type(error).__name__}>"


def type_name(error: BaseException) -> str:
    """Return the qualified name of an exception's class, builtins without module."""
    if isinstance(error, RemoteError):
        return error.error_type
    kind = type(error)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a graph."""

    rule: str
    """The rule's short name, such as ``cycle`` or ``unknown-output``."""
    path: str
    """Dotted path of the offending node from the top graph's name."""
    message: str
    """What is wrong."""
    remedy: str
    """What to do about it."""

    def __str__(self) -> str:
        """Return path, message and remedy on one line."""
        return f"{self.path}: {self.message}. {self.remedy}"


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure that happened in a run, in the order in which they happened."""

    path: str
    """Path of the node that failed, items included (``graph.map[3].node``)."""
    kind: str
    """``raised``, ``timeout``, ``handled``, ``captured``, ``collected`` or ``tolerated``."""
    error_type: str
    """Qualified name of the exception's class, or ``handled``."""
    message: str
    """The exception's text, or the handled error's."""
    index: int | None = None
    """Index of the innermost map item in which it happened; None outside of maps."""
    attempts: int = 1
    """How many attempts were made."""
    exception: BaseException | None = field(default=None, compare=False, repr=False)
    """The exception itself; None for a handled failure."""

    def __str__(self) -> str:
        """Return path, type and message on one line."""
        return f"{self.path}: {self.error_type}: {self.message}"


class HushError(Exception):
    """Base of all errors of this package."""


class GraphError(HushError, ValueError):
    """A graph cannot be run; ``problems`` holds all that is wrong with it."""

    def __init__(self, graph: str, problems: Sequence[Problem]) -> None:
        """Join the problems into one message.

        Args:
            graph: name of the top graph.
            problems: at least one.
        """
        self.graph = graph
        self.problems = tuple(problems)
        count = len(self.problems)
        noun = "problem" if count == 1 else "problems"
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"graph {graph!r} has {count} {noun}:{lines}")

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by constructor arguments."""
        return type(self), (self.graph, self.problems)


class ExecutorError(HushError, RuntimeError):
    """An engine that runs items elsewhere failed, or there is none to connect to."""


class WorkerLostError(ExecutorError):
    """A worker died, or the connection to it did; what it was doing may have been done."""


class RemoteError(HushError, RuntimeError):
    """Stands for an exception of a worker that cannot be pickled, or not be unpickled.

    Its text is that of the original. Where the original's class is known here, the stand-in is
    of that class too, with such attributes as could travel: what ``except`` and ``retry=`` look
    for, they find.
    """

    def __init__(self, error_type: str, message: str, traceback: str = "") -> None:
        """Keep what is known of the original.

        Args:
            error_type: qualified name of its class.
            message: its text.
            traceback: text of its traceback in the worker; empty where that is not known.
        """
        self.error_type = error_type
        self.message = message
        self.traceback = traceback
        super().__init__(message)

    def __str__(self) -> str:
        """Return the original's text."""
        return self.message

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by constructor arguments."""
        return RemoteError, (self.error_type, self.message, self.traceback)


class InputError(HushError, ValueError, TypeError):
    """The inputs of a run do not fit its graph; nothing was started."""


class NodeError(HushError, RuntimeError):
    """A fault that the runtime found in a node; ``path`` names the node."""

    def __init__(self, path: str, message: str) -> None:
        """Keep the path as an attribute and put it before the message.

        Args:
            path: path of the node, items included.
            message: what happened, what was expected, and the remedy.
        """
        self.path = path
        self.message = message
        super().__init__(f"{path}: {message}")

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by constructor arguments."""
        return type(self), (self.path, self.message)


class ConditionError(NodeError):
    """A branch's or loop's condition raised; never read as False."""


class JoinError(NodeError):
    """A ``Quorum`` or ``First`` cannot be met any more; ``failures`` says why."""

    def __init__(self, path: str, message: str, failures: Sequence[Failure] = ()) -> None:
        """Keep the failures of the predecessors.

        Args:
            path: path of the joining node.
            message: what was needed and what is left.
            failures: one per failed predecessor.
        """
        self.failures = tuple(failures)
        super().__init__(path, message)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by constructor arguments."""
        return type(self), (self.path, self.message, self.failures)


class LoopLimitError(NodeError):
    """A while loop reached its guard before its condition ended it."""


class MapSourceError(NodeError):
    """An ``Each`` source raised, is not iterable, or sources differ in length."""


class MissingValueError(NodeError):
    """A value that a node reads was not produced."""


class OutputError(NodeError):
    """A node returned something else than its outputs."""


class PayloadError(NodeError, TypeError):
    """A definition, an input or a result cannot be pickled, or not be unpickled."""


class ToleranceError(NodeError):
    """More items of a map failed than its ``max_failures`` allows."""


class UnexpectedCancellationError(NodeError):
    """A node was cancelled although no scope of the run had asked for it."""


class NodeTimeoutError(NodeError, TimeoutError):
    """A ``timeout_s`` or ``deadline_s`` was exceeded."""

    late: tuple[Failure, ...] = ()
    """What failed because the limit ended it: clean-up that raised."""


class PromptError(NodeError, ValueError):
    """A prompt cannot be filled, or what a call was given is no prompt or no parameter."""


class LLMError(NodeError):
    """A call to a language model gave no usable answer. Never holds an API key."""

    error_type: str = "llm_error"
    """Low-cardinality kind for ``error.type``, as OpenTelemetry's conventions want it."""
    transient: bool = False
    """Whether the same call may well succeed a little later."""

    def __init__(
        self,
        path: str,
        message: str,
        *,
        resource: str | None = None,
        model: str | None = None,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
        transient: bool | None = None,
        history: Sequence[str] = (),
    ) -> None:
        """Keep what is known of the call.

        Args:
            path: path of the node, items included.
            message: what happened, and the remedy.
            resource: name of the resource that was called.
            model: name of the model that was asked for.
            status: HTTP status; None where there was no response.
            code: the server's own code, such as ``content_filter``.
            request_id: the server's id of the request, for its support.
            retry_after_s: how long the server asked to wait, in seconds.
            transient: whether the same call may succeed later; None as the class says.
            history: one line for each call that was made, where there were several.
        """
        self.resource = resource
        self.model = model
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.history = tuple(history)
        if transient is not None:
            self.transient = transient
        if status is not None:
            self.error_type = str(status)
        super().__init__(path, message)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by constructor arguments."""
        facts = {
            "resource": self.resource,
            "model": self.model,
            "status": self.status,
            "code": self.code,
            "request_id": self.request_id,
            "retry_after_s": self.retry_after_s,
            "transient": self.transient,
            "history": self.history,
        }
        return _llm_error, (type(self), self.path, self.message, facts)


def _llm_error(kind: type[LLMError], path: str, message: str, facts: dict[str, Any]) -> LLMError:
    return kind(path, message, **facts)


class LLMStatusError(LLMError):
    """The server answered with an error status; ``status`` and ``code`` tell which."""


class LLMConnectionError(LLMError):
    """The server could not be reached, or the connection broke before the answer."""

    error_type = "connection"
    transient = True


class LLMTimeoutError(LLMError, NodeTimeoutError):
    """The ``timeout_s`` of one call to a language model was exceeded."""

    error_type = "timeout"
    transient = True


class LLMStreamError(LLMError):
    """A stream broke off before its end; what had arrived is not an answer."""

    error_type = "stream_broken"
    transient = True


class LLMResponseError(LLMError):
    """The server answered, but not with what was asked for: broken JSON, no choice,
    a refusal, or content that does not fit ``response_format``.
    """

    error_type = "bad_response"


class LLMCircuitError(LLMError):
    """Not called: the resource had failed too often just before."""

    error_type = "circuit_open"


class ResourceError(HushError, ValueError):
    """The configuration of a resource is missing or wrong; nothing was started.

    Names the file, the key and the remedy, and never shows a value that may be secret.
    """

    def __init__(self, source: str, problems: Sequence[tuple[str, str]]) -> None:
        """Join the problems into one message.

        Args:
            source: the file's path, or what else the configuration came from.
            problems: pairs of the key, such as ``llm:gpt-4o.api_key`` or empty where the
                whole is meant, and what is wrong with it, remedy included.
        """
        self.source = source
        self.problems = tuple(problems)
        said = [f"{key}: {text}" if key else text for key, text in self.problems]
        if len(said) == 1:
            message = f"{source}: {said[0]}"
        else:
            lines = "".join(f"\n  - {line}" for line in said)
            message = f"{source} has {len(said)} problems:{lines}"
        super().__init__(message)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that have problems."""
        return tuple(key for key, _ in self.problems)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by constructor arguments."""
        return type(self), (self.source, self.problems)


class RunError(HushError, RuntimeError):
    """A run failed. The first failure is the ``__cause__``; all are in ``failures``."""

    def __init__(
        self,
        path: str,
        message: str,
        failures: Sequence[Failure] = (),
        *,
        run_id: str | None = None,
        trace_id: str | None = None,
    ) -> None:
        """Name the failing node and keep everything that failed.

        Args:
            path: path of the node that failed first, items included.
            message: type and text of that failure.
            failures: every failure of the run, in order, the first one first.
            run_id: the run's id.
            trace_id: the run's trace id as 32 hex digits; None when untraced.
        """
        self.path = path
        self.message = message
        self.failures = tuple(failures)
        self.run_id = run_id
        self.trace_id = trace_id
        self.usage: Any = None
        """Tokens and cost of the run's calls to language models until it failed, a
        :class:`hush.model.usage.Usage`; None where it is not known."""
        super().__init__(f"{path}: {message}")

    @property
    def index(self) -> int | None:
        """Index of the innermost map item that failed first; None outside of maps."""
        return self.failures[0].index if self.failures else None

    @property
    def outcome(self) -> str:
        """``timeout`` where the first failure is one, else ``error``."""
        cause = self.failures[0].exception if self.failures else None
        return "timeout" if isinstance(cause, NodeTimeoutError) else "error"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by constructor arguments."""
        ids = {"run_id": self.run_id, "trace_id": self.trace_id}
        return _run_error, (self.path, self.message, self.failures, ids, self.usage)


def _run_error(
    path: str,
    message: str,
    failures: Sequence[Failure],
    ids: dict[str, Any],
    usage: object,
) -> RunError:
    error = RunError(path, message, failures, **ids)
    error.usage = usage
    return error


class RunNotFinishedError(HushError, RuntimeError):
    """The result of a streamed run was asked for before the run was over."""


class TelemetryError(HushError, RuntimeError):
    """A span processor, exporter or instrument raised; only raised inside tests."""
