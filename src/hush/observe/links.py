"""Links between spans: to predecessors, and to what caused a cancellation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.trace import Link

from hush import semconv

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext

    from hush.observe.own_span import OwnSpan
    from hush.runtime.instrument import Scope

__all__ = ("Token", "link_cause", "links_of")


class Token:
    """What outlives a span: its identity for links and its end for what it releases.

    Attributes:
        context: its identity.
        span: the span itself where it may be omitted.
        end_ns: when it ended, 0 before.
    """

    __slots__ = ("context", "end_ns", "span")

    def __init__(self, context: SpanContext) -> None:
        """Make the token of a span that is open."""
        self.context = context
        self.span: OwnSpan | None = None
        self.end_ns = 0


def links_of(scope: Scope) -> list[Link]:
    """Return the links to a scope's predecessors, as many as a span may have.

    Args:
        scope: begins. Its predecessors are in the same item, so none is omitted without it.
    """
    tokens = scope.links[: semconv.LINK_LIMIT]
    return [Link(token.context) for token in tokens if isinstance(token, Token)]


def link_cause(span: Span, own: Token, cause: object) -> None:
    """Link a span to what caused its cancellation, unless that is known to be omitted.

    Args:
        span: is open.
        own: its token.
        cause: token of the cause; anything else is no cause.
    """
    if not isinstance(cause, Token) or cause is own:
        return
    if cause.span is None:
        span.add_link(cause.context)
    elif not cause.span.omitted:
        span.add_link(cause.context)
        if own.span is not None:
            # One of the two may yet be omitted without the other.
            own.span.causes += (cause.span,)
