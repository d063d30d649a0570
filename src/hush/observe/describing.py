"""Describing: how an ending stands on a span: outcome, status, exception, blame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Status, StatusCode

from hush import semconv
from hush.errors import type_name
from hush.observe.redaction import clean, exception_facts
from hush.observe.settings import settings
from hush.runtime.instrument import Ending

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Span

__all__ = ("attributes_of", "describe", "ending_of", "error_type_of", "value_of")


def value_of(value: Any) -> Any:
    """Return a value as an attribute: text redacted and cut, numbers as they are."""
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [value_of(one) for one in value]
    return clean(value, settings.redactor)


def attributes_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts as attributes, without what is private."""
    return {name: value_of(value) for name, value in facts.items() if name not in semconv.CONTENT}


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
    return ending.outcome if ending.error is None else type_name(ending.error)


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


def describe(span: Span, ending: Ending, start_ns: int, end_ns: int) -> None:
    """Put an ending on a span that is still open.

    Args:
        span: a recording span.
        ending: how it ends.
        start_ns: when it started, in nanoseconds since the epoch.
        end_ns: when it will have ended, likewise.
    """
    span.set_attribute(semconv.OUTCOME, ending.outcome)
    if ending.outcome == semconv.OUTCOME_CANCELLED:
        _describe_cancelled(span, ending, start_ns, end_ns)
    elif ending.outcome == semconv.OUTCOME_HANDLED:
        span.set_attribute(semconv.ERROR_TYPE, semconv.ERROR_TYPE_HANDLED)
        text = clean(ending.message or "", settings.redactor)
        span.set_status(Status(StatusCode.ERROR, text))
    elif ending.error is not None:
        _describe_error(span, ending, ending.error, end_ns)


def _describe_error(span: Span, ending: Ending, error: BaseException, end_ns: int) -> None:
    facts = exception_facts(error, settings.redactor)
    # The kind of error is what one searches for; the class stands in the text and the event.
    span.set_attribute(semconv.ERROR_TYPE, error_type_of(ending) or facts.type)
    said = f"{facts.type}: {facts.message}"
    if ending.raised_here:
        span.add_event(
            semconv.EVENT_EXCEPTION,
            {
                semconv.EXCEPTION_TYPE: facts.type,
                semconv.EXCEPTION_MESSAGE: facts.message,
                semconv.EXCEPTION_STACKTRACE: facts.stacktrace,
            },
            timestamp=end_ns,
        )
    elif not facts.message.startswith(f"{ending.failed_path}: "):
        said = f"{ending.failed_path}: {said}"
    span.set_status(Status(StatusCode.ERROR, said))


def _describe_cancelled(span: Span, ending: Ending, start_ns: int, end_ns: int) -> None:
    reason = ending.reason or semconv.REASON_EXTERNAL
    span.set_attribute(semconv.CANCEL_REASON, reason)
    span.set_attribute(semconv.WASTED_S, (end_ns - start_ns) / 1e9)
    facts = {semconv.CANCEL_REASON: reason}
    if ending.cause_path is not None:
        facts[semconv.CANCEL_CAUSE] = ending.cause_path
        span.set_attribute(semconv.CANCEL_CAUSE, ending.cause_path)
    if ending.error is not None:
        span.set_attribute(semconv.ERROR_TYPE, type_name(ending.error))
    span.add_event(semconv.EVENT_CANCELLED, facts, timestamp=end_ns)
