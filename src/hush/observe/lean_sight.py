"""One open span of a lookout: the same as any lean one, opened and closed in one call each.

See :mod:`hush.observe.lean_live` for what holds of all open lean spans. This is done twice for
each item of a map. Imported only where there is an SDK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context as Surroundings
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation import _SPAN_KEY as SPAN_KEY

from hush import semconv
from hush.observe.lean_live import NOTHING, LeanLive, current_context, put_in
from hush.observe.lean_span import LeanSpan, becoming, place
from hush.observe.links import Token
from hush.observe.spans import _Live, _open
from hush.runtime.instrument import OK
from hush.semconv import OUTCOME, OUTCOME_OK, RUN_S

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextvars import Context

    from opentelemetry.trace import Link

    from hush.observe.lean_lookout import LeanLookout
    from hush.observe.own_span import Home
    from hush.runtime.instrument import Scope

__all__ = ("LeanSight",)

_new = object.__new__
acquire, release = becoming.acquire, becoming.release


class LeanSight(LeanLive):
    """One span of a lookout, open from its start.

    Where no item decides on it and nobody touches it, its span is an empty hull that finds
    here what it is asked for.
    """

    __slots__ = ("_home", "_links", "_title", "became")

    _home: Home | None
    """Decides on the span; None where it is kept in any case."""

    def __init__(
        self,
        lookout: LeanLookout,
        outer: _Live,
        scope: Scope,
        title: str,
        attributes: dict[str, Any],
        links: Sequence[Link],
        start_ns: int,
        context: Context,
    ) -> None:
        """Open; what goes wrong is told.

        Args:
            lookout: whose it is.
            outer: what is open around it.
            scope: without its facts.
            title: the span's name.
            attributes: its own from now on.
            links: of the span.
            start_ns: when it starts, in nanoseconds since the epoch.
            context: what it runs in.
        """
        self.maker = maker = lookout.maker
        self._on_fault = lookout.on_fault
        self._clock = lookout.clock
        self._around = around = outer._around  # noqa: SLF001  # of the same kind
        self._outer, self._scope, self._known = outer, scope, attributes
        self._start_ns, self._last_child_ns = start_ns, 0
        self._ending = self._item = self._items = self._home = self.token = None
        self._late = NOTHING
        self._title, self._links = title, links
        # Until it is entered, what opens inside finds what is around it.
        self.current = outer.current
        self.is_open = self._recording = self.became = False
        try:
            if maker.plain():
                # As the class makes it, for half of the time.
                identity = maker.identity()
                token = self.token = _new(Token)
                token.context, token.span, token.end_ns = identity, None, 0
                span = self._span = _new(LeanSpan)
                span.sight = self
            else:
                # Once it is made, there is no other way to end it.
                self.became = True
                parent = outer.token.context
                span = self._span = maker.make(
                    title, SpanKind.INTERNAL, parent, attributes, links, start_ns, context
                )
                self.token = Token(span.identity)
            self._recording = True
            if around is not None and (around.home is not None or scope.budget is not None):
                self._find_place(place)
                self._home = span.home
            self.is_open = True
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self._recording = False
            self._on_fault(error)

    def contents(self) -> dict[str, Any]:
        """Return what the hull holds once somebody looks into it."""
        token, outer = self.token, self._outer
        assert token is not None  # noqa: S101  # it was opened
        assert outer is not None  # noqa: S101  # see __init__
        found = {
            "identity": token.context,
            "_maker": self.maker,
            "_name": self._title,
            "_parent": outer.token.context,
            "_start_time": self._start_ns,
            "_held": self._known,
            "processor": self.maker.processor,
        }
        return {**found, "_held_links": self._links} if self._links else found

    def enter(self) -> None:
        """Be the current one, in a context that is given up afterwards."""
        if self.is_open:
            assert self.current is not None  # noqa: S101  # see __init__
            self.current = current = Surroundings(self.current)
            put_in(current, SPAN_KEY, self._span)
            current_context.set(current)
            _open.set(self)

    def end_well(self, run_s: float) -> None:
        """End as most do: :meth:`annotate`, :meth:`end` and :meth:`end_outside` in one.

        Args:
            run_s: how long it ran.
        """
        if not self.is_open or self.became or self._items is not None:
            self._end_touched(run_s)
            return
        end_ns = self._clock.now()
        if end_ns < self._start_ns or end_ns < self._last_child_ns:
            end_ns = max(self._start_ns, self._last_child_ns)
        token, outer, known, span = self.token, self._outer, self._known, self._span
        assert token is not None  # noqa: S101  # it is open
        assert outer is not None  # noqa: S101  # see __init__
        known[RUN_S] = run_s
        if self._item is not None and self._item.lost:
            known[semconv.SPANS_OMITTED] = self._item.lost
        known[OUTCOME] = OUTCOME_OK
        acquire()
        try:
            # From here on nobody else can end it; or somebody did something with it.
            touched = self.became
            if not touched:
                span._end_time = end_ns  # noqa: SLF001  # as the SDK's span
        finally:
            release()
        if touched:
            self._end_touched(run_s)
            return
        self.is_open = False
        token.end_ns = end_ns
        if outer._last_child_ns < end_ns:  # noqa: PLR1730, SLF001  # cheaper; of the same kind
            outer._last_child_ns = end_ns  # noqa: SLF001  # likewise
        home = self._home
        # The span leads to this.
        self.current = self._span = None  # type: ignore[assignment]  # not asked for any more
        try:
            if home is None:
                self.maker.hand_on(
                    self._title,
                    token.context,
                    outer.token.context,
                    self._start_ns,
                    end_ns,
                    known,
                    self._links,
                )
                return
            try:
                home.ended(span)
            finally:
                if self._item is not None:
                    self._finish(self._item, OK, end_ns)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self._on_fault(error)

    def leave(self, *, omitted: bool) -> None:
        """Hand the span, which nobody has touched, to the processors, now that it is decided.

        Args:
            omitted: whether it is only to be known that it has ended.
        """
        token, outer = self.token, self._outer
        assert token is not None  # noqa: S101  # it was opened
        assert outer is not None  # noqa: S101  # see __init__
        self.maker.hand_on(
            self._title,
            token.context,
            outer.token.context,
            self._start_ns,
            token.end_ns,
            self._known,
            self._links,
            omitted=omitted,
        )

    def _end_touched(self, run_s: float) -> None:
        self.annotate(RUN_S, run_s)
        self._ending = OK
        self.end_outside(None)

    def end_outside(self, exc: BaseException | None) -> None:
        """End as was said by ``end``."""
        if self.is_open:
            super().end_outside(exc)
            # The span leads to this.
            self._span = None  # type: ignore[assignment]  # not asked for any more
