"""An open lean span: the same facts as of any, put together with less ado.

See :mod:`hush.observe.spans` for what holds of all open spans, and
:mod:`hush.observe.lean_span` for the spans. Whatever fails here is told and costs the run
nothing, so nothing has to stand guard around it. This is done twice for each item of a map:
what elsewhere are several calls is one here. Imported only where there is an SDK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

from opentelemetry.attributes import _clean_attribute_value
from opentelemetry.context import _RUNTIME_CONTEXT, Context
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.propagation import _SPAN_KEY

from hush import semconv
from hush.observe.describing import attributes_of, ending_of
from hush.observe.lean_maker import EMPTY
from hush.observe.lean_span import LeanSpan, place
from hush.observe.links import Token
from hush.observe.spans import NODE_LEVELS, _Live, _open
from hush.runtime.instrument import OK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import ContextVar
    from types import TracebackType

    from opentelemetry.trace import Tracer

    from hush.observe.lean_maker import Maker
    from hush.runtime.instrument import Ending, Scope
    from hush.runtime.remote.passage import Passage

__all__ = ("LeanLive", "clean_lists", "current_context", "open_lean", "put_in")

# Where there is a lean span, this is the runtime context: see lean_choice.
current_context: ContextVar[Context] = getattr(_RUNTIME_CONTEXT, "_current_context", None)  # type: ignore[assignment]  # likewise
NOTHING: Final[dict[str, Any]] = {}
"""Said later: what is said is at once where it belongs."""
put_in = dict.__setitem__


def clean_lists(known: dict[str, Any]) -> dict[str, Any]:
    """Make of the lists among attributes what the SDK makes of them, in place."""
    for name, value in known.items():
        if type(value) is list:
            known[name] = _clean_attribute_value(value, None)
    return known


def open_lean(
    tracer: Tracer, scope: Scope, on_fault: Callable[[Exception], None]
) -> LeanLive | None:
    """Prepare to open a lean span.

    Args:
        tracer: of the instrument that is asked.
        scope: what begins.
        on_fault: gets what goes wrong.

    Returns:
        None where there can be none.
    """
    outer = _open.get()
    if outer is None or outer.maker is None or scope.level == "run":
        return None
    # Where user code has opened a span between, its parent is that one.
    if outer.maker.tracer is not tracer or current_context.get() is not outer.current:
        return None
    return LeanLive(scope, outer, outer.maker, on_fault)


class LeanLive(_Live):
    """One open lean span."""

    __slots__ = ("_on_fault", "is_open")

    _span: LeanSpan
    maker: Maker

    def __init__(
        self, scope: Scope, outer: _Live, maker: Maker, on_fault: Callable[[Exception], None]
    ) -> None:
        """Prepare to open.

        Args:
            scope: what begins.
            outer: what is open around it.
            maker: makes the span.
            on_fault: gets what goes wrong.
        """
        self._scope = scope
        self._outer = outer
        self.maker = maker
        self._on_fault = on_fault
        self._clock = outer._clock  # noqa: SLF001  # of the same kind
        self._around = outer._around  # noqa: SLF001  # likewise
        self._ending: Ending | None = None
        self._item = self._items = None
        self._late = NOTHING
        self._last_child_ns = 0
        self.is_open = False
        self.token: Token | None = None  # type: ignore[assignment]  # where opening it fails

    def __enter__(self) -> Self:
        scope, outer = self._scope, self._outer
        assert outer is not None  # noqa: S101  # see __init__
        assert outer.current is not None  # noqa: S101  # it is open
        try:
            level, links = scope.level, None
            if links_of := scope.links:
                tokens = links_of[: semconv.LINK_LIMIT]
                links = [Link(token.context, EMPTY) for token in tokens if isinstance(token, Token)]
            if scope.released_by is not None or links:
                start_ns = self._find_start()
            elif scope.ready and level in NODE_LEVELS:
                start_ns = outer._start_ns  # noqa: SLF001  # of the same kind
            else:
                start_ns = self._clock.now()
            self._start_ns = start_ns
            self._known = known = attributes_of(scope.facts)
            clean_lists(known)
            if len(links_of) > semconv.LINK_LIMIT:
                known[semconv.LINKS_DROPPED] = len(links_of) - semconv.LINK_LIMIT
            kind = SpanKind.CLIENT if level == "chat" else SpanKind.INTERNAL
            self._span = span = self.maker.make(
                f"{level} {scope.name}", kind, outer.token.context, known, links, start_ns, None
            )
            self._recording = True
            self.token = Token(span.identity)
            if self._around is not None:
                self._find_place(place)
            self.current = current = Context(outer.current)
            put_in(current, _SPAN_KEY, span)
            self._attached = current_context.set(current)
            self._opened = _open.set(self)
            self.is_open = True
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self._recording = False
            self._on_fault(error)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.is_open:
            current_context.reset(self._attached)
            _open.reset(self._opened)
            self.end_outside(exc)

    def end_outside(self, exc: BaseException | None) -> None:
        """Leave, not in the context that was entered, which is given up.

        Args:
            exc: what came out, if anything.
        """
        if not self.is_open:
            return
        self.is_open = False
        # They lead to the context, and that to this.
        self._attached = self._opened = self.current = None  # type: ignore[assignment]  # not asked for any more
        end_ns = max(self._clock.now(), self._start_ns, self._last_child_ns)
        token = self.token
        assert token is not None  # noqa: S101  # it is open
        token.end_ns = end_ns
        outer, ending, span = self._outer, self._ending, self._span
        assert outer is not None  # noqa: S101  # see __init__
        if outer._last_child_ns < end_ns:  # noqa: PLR1730, SLF001  # cheaper; of the same kind
            outer._last_child_ns = end_ns  # noqa: SLF001  # likewise
        if ending is None:
            ending = ending_of(exc)
        # Each whatever becomes of the one before: a span that is left open is never seen.
        try:
            try:
                if self._items is not None:
                    self._items.close()
            finally:
                try:
                    if ending is OK and self._items is None and "_lock" not in span.__dict__:
                        if self._item is not None:
                            self._tell_omitted()
                        self._known[semconv.OUTCOME] = semconv.OUTCOME_OK
                    else:
                        self._describe(ending, end_ns)
                finally:
                    try:
                        span.finish(end_ns)
                    finally:
                        if self._item is not None:
                            self._finish(self._item, ending, end_ns)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            if error is not exc:
                self._on_fault(error)

    def _put(self, name: str, value: Any) -> None:
        if type(value) is list:
            value = _clean_attribute_value(value, None)
        self._known[name] = value
        if self._span.touched:
            self._span.set_attribute(name, value)

    def annotate(self, name: str, value: Any) -> None:
        """Add a fact."""
        if not self.is_open:
            # What has ended is with the exporters.
            return
        if type(value) is float and self._recording and name not in semconv.CONTENT:
            self._known[name] = value
            if "_lock" in self._span.__dict__:
                self._span.set_attribute(name, value)
            return
        try:
            super().annotate(name, value)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self._on_fault(error)

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Add something that happened at this instant."""
        if not self.is_open:
            return
        try:
            super().event(name, facts)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self._on_fault(error)

    def carrier(self) -> Mapping[str, str]:
        """Return the headers by which what runs elsewhere is seen inside of it."""
        try:
            return super().carrier()
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self._on_fault(error)
            return {}

    def adopt(self, seen_elsewhere: bytes, passage: Passage) -> None:
        """Take in what was observed elsewhere inside of it."""
        try:
            if self._recording:
                self._take_in(self.maker.tracer, seen_elsewhere, passage)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self._on_fault(error)
