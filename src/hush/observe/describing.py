"""Describing: how facts and endings stand on a span: attributes, status, exception, blame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import Status, StatusCode

from hush import semconv
from hush.observe.credentials import SEPARATED, redact_secrets
from hush.observe.exceptions import class_of, exception_facts
from hush.observe.redaction import FAILED, clean
from hush.observe.settings import settings
from hush.runtime.instrument import Ending

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.trace import Span

    from hush.observe.redaction import Redactor

__all__ = ("attributes_of", "describe", "ending_of", "error_type_of", "path_is_clean", "value_of")


SMALLEST: Final = -(2**63)
BIGGEST: Final = 2**63 - 1
"""A whole number beyond these is refused at export, and its span with it."""

DEPTH: Final = 4
"""How deep lists are read: one may contain itself."""

NAMES: Final = frozenset(
    (
        semconv.GRAPH_NAME,
        semconv.NODE_NAME,
        semconv.NODE_KIND,
        semconv.GEN_AI_OPERATION,
        semconv.GEN_AI_PROVIDER,
        semconv.GEN_AI_REQUEST_MODEL,
        semconv.SERVER_ADDRESS,
        semconv.LLM_RESOURCE,
    )
)
"""Facts whose few values come again on many spans."""
REMEMBERED: Final = 1_024
"""Most names whose redacted form is kept."""
NAME_LENGTH: Final = 128
"""Longest of them, in characters."""
PATH_LENGTH: Final = 1_024
"""Longest path whose parts are looked at one by one."""


class _Names:
    """What the redactor made of names, for as long as it is the same redactor."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        # One pair, exchanged as a whole: a thread never sees one redactor's answers as
        # those of another.
        self._known: tuple[Redactor | None, dict[str, str]] = (None, {})

    def cleaned(self, name: str) -> str:
        """Return a name as it may leave."""
        redactor = settings.redactor
        by, known = self._known
        if by is not redactor:
            known = {}
            self._known = (redactor, known)
        text = known.get(name)
        if text is None:
            text = clean(name, redactor)
            # Names of graphs that are made up on the go must not fill the memory; a
            # redactor that failed may yet do better.
            if len(known) < REMEMBERED and len(name) <= NAME_LENGTH and text != FAILED:
                known[name] = text
        return text


class _Paths:
    """Paths of nodes in items, which differ in the indexes only.

    The redactor of this package finds nothing that goes across a bracket in a text without
    blanks, equals signs and colons (:mod:`hush.observe.credentials`), and nothing in an
    index. So where the parts between indexes are clean, the path is.
    """

    __slots__ = ("_clean",)

    def __init__(self) -> None:
        self._clean: set[str] = set()

    def cleaned(self, path: str) -> str:
        """Return a path as it may leave."""
        return path if self.is_clean(path) else clean(path, settings.redactor)

    def is_clean(self, path: str) -> bool:
        """Say whether it is known that a path may leave as it is, whatever its indexes are."""
        if settings.redactor is not redact_secrets or len(path) > PATH_LENGTH:
            return False
        known = self._clean
        for piece in path.split("]"):
            part, _, index = piece.partition("[")
            if (part not in known and not self._is_clean(part)) or not (
                index.isdecimal() or not index
            ):
                return False
        return True

    def _is_clean(self, part: str) -> bool:
        same = not SEPARATED.search(part) and clean(part, redact_secrets) == part
        if same and len(self._clean) < REMEMBERED:
            self._clean.add(part)
        return same


_names = _Names()
_paths = _Paths()

path_is_clean = _paths.is_clean


def value_of(value: Any, depth: int = DEPTH) -> Any:
    """Return a value as an attribute: text redacted and cut, numbers as they are.

    Args:
        value: anything; whatever it is, this does not raise.
        depth: how deep lists are read; what lies deeper becomes text.
    """
    try:
        if isinstance(value, (bool, float)):
            return value
        if isinstance(value, int):
            return value if SMALLEST <= value <= BIGGEST else clean(value, settings.redactor)
        if depth and isinstance(value, (list, tuple)):
            if value and settings.redactor is redact_secrets and _are_clean(value):
                return list(value)
            return [value_of(one, depth - 1) for one in value]
    except Exception:  # noqa: BLE001  # a subclass may do as it likes
        return f"<unreadable {type(value).__name__}>"
    return clean(value, settings.redactor)


def _are_clean(texts: Sequence[Any]) -> bool:
    """Say whether the redactor of this package finds nothing in any of some short texts.

    Each of its rules may stop at an end of line, so what it finds in one it finds in all.
    """
    if not all(type(text) is str and text.isascii() for text in texts):
        return False
    joined = "\n".join(texts)
    few = len(joined) <= semconv.TEXT_LIMIT and joined.count("\n") == len(texts) - 1
    return few and redact_secrets(joined) == joined


def attributes_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts as attributes, without what is private."""
    attributes: dict[str, Any] = {}
    for name, value in facts.items():
        # The classes themselves, as what is derived from them may do as it likes.
        kind = type(value)
        if kind is str and name in NAMES:
            attributes[name] = _names.cleaned(value)
        elif kind is str and name == semconv.NODE_PATH:
            attributes[name] = _paths.cleaned(value)
        elif name in semconv.CONTENT:
            continue
        elif kind is float or kind is bool or (kind is int and SMALLEST <= value <= BIGGEST):
            attributes[name] = value
        else:
            attributes[name] = value_of(value)
    return attributes


def error_type_of(ending: Ending) -> str | None:
    """Return what kind of error an ending is.

    Args:
        ending: any.

    Returns:
        A name low in cardinality: the ending's own, else the exception's class; None
        where it is no error, and a cancellation is none.
    """
    if ending.outcome == semconv.OUTCOME_HANDLED:
        return semconv.ERROR_TYPE_HANDLED
    if ending.outcome in {semconv.OUTCOME_OK, semconv.OUTCOME_CANCELLED}:
        return None
    if ending.error_type is not None:
        return clean(ending.error_type, settings.redactor)
    return ending.outcome if ending.error is None else class_of(ending.error)


def ending_of(exc: BaseException | None) -> Ending:
    """Return the ending of a scope that nobody described.

    Args:
        exc: what came out of it, if anything.
    """
    if exc is None:
        return Ending(semconv.OUTCOME_OK)
    if isinstance(exc, Exception):
        return Ending(semconv.OUTCOME_ERROR, error=exc, raised_here=True)
    # An interrupt is neither an error of the workflow nor a success.
    return Ending(semconv.OUTCOME_CANCELLED, error=exc, reason=semconv.REASON_EXTERNAL)


def describe(
    span: Span, put: Callable[[str, Any], None], ending: Ending, start_ns: int, end_ns: int
) -> None:
    """Put an ending on a span that is still open.

    Args:
        span: a recording span.
        put: sets an attribute of it.
        ending: how it ends.
        start_ns: when it started, in nanoseconds since the epoch.
        end_ns: when it will have ended, likewise.
    """
    put(semconv.OUTCOME, ending.outcome)
    if ending.outcome == semconv.OUTCOME_CANCELLED:
        _describe_cancelled(span, put, ending, start_ns, end_ns)
    elif ending.outcome == semconv.OUTCOME_HANDLED:
        put(semconv.ERROR_TYPE, semconv.ERROR_TYPE_HANDLED)
        text = clean(ending.message or "", settings.redactor)
        span.set_status(Status(StatusCode.ERROR, text))
    elif ending.error is not None:
        _describe_error(span, put, ending, ending.error, end_ns)


def _describe_error(
    span: Span,
    put: Callable[[str, Any], None],
    ending: Ending,
    error: BaseException,
    end_ns: int,
) -> None:
    here = ending.raised_here
    path = None if here else ending.failed_path
    facts = exception_facts(error, settings.redactor, path=path, with_trace=here)
    # The kind of error is what one searches for; the class stands in the text and the event.
    put(semconv.ERROR_TYPE, error_type_of(ending) or facts.type)
    span.set_status(Status(StatusCode.ERROR, facts.status))
    if here:
        span.add_event(
            semconv.EVENT_EXCEPTION,
            {
                semconv.EXCEPTION_TYPE: facts.type,
                semconv.EXCEPTION_MESSAGE: facts.message,
                semconv.EXCEPTION_STACKTRACE: facts.stacktrace,
            },
            timestamp=end_ns,
        )


def _describe_cancelled(
    span: Span, put: Callable[[str, Any], None], ending: Ending, start_ns: int, end_ns: int
) -> None:
    reason = ending.reason or semconv.REASON_EXTERNAL
    put(semconv.CANCEL_REASON, reason)
    put(semconv.WASTED_S, (end_ns - start_ns) / 1e9)
    facts = {semconv.CANCEL_REASON: reason}
    if ending.cause_path is not None:
        facts[semconv.CANCEL_CAUSE] = ending.cause_path
        put(semconv.CANCEL_CAUSE, ending.cause_path)
    if ending.error is not None:
        put(semconv.ERROR_TYPE, class_of(ending.error))
    span.add_event(semconv.EVENT_CANCELLED, facts, timestamp=end_ns)
