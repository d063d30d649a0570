"""A lookout that makes lean spans: what is known of a place is asked for once.

The same spans as of :mod:`hush.observe.lean_live`, for the straight way: the nodes of a line,
the items of a map. Imported only where there is an SDK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import Context as Surroundings
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation import _SPAN_KEY as SPAN_KEY

from hush import semconv
from hush.observe.clock import AFTER_NS
from hush.observe.describing import attributes_of, path_is_clean
from hush.observe.lean_live import NOTHING, LeanLive, clean_lists, current_context, put_in
from hush.observe.lean_span import LeanSpan, becoming, link_to, place
from hush.observe.links import Token
from hush.observe.settings import settings
from hush.observe.spans import _Live, _open
from hush.runtime.instrument import OK, Scope
from hush.semconv import NODE_PATH, OUTCOME, OUTCOME_OK, RUN_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextvars import Context

    from opentelemetry.trace import Link, Tracer

    from hush.observe.lean_span import Maker
    from hush.observe.own_span import Home
    from hush.observe.redaction import Redactor
    from hush.runtime.instrument import Level

__all__ = ("LeanLookout",)

_new = object.__new__
acquire, release = becoming.acquire, becoming.release
KINDS: Final = 2_048
"""Most nodes of which it is remembered what their spans have in common."""


def lean_lookout(tracer: Tracer, on_fault: Callable[[Exception], None]) -> LeanLookout | None:
    """Look out from the current context.

    Args:
        tracer: of the instrument that is asked.
        on_fault: gets what goes wrong.

    Returns:
        None where there can be no lean spans, or user code has opened a span between.
    """
    outer = _open.get()
    if outer is None or outer.maker is None or outer.maker.tracer is not tracer:
        return None
    if outer.current is None or current_context.get() is not outer.current:
        return None
    return LeanLookout(outer, outer.maker, on_fault)


class _Kind:
    """What the spans of nodes of one name have in common."""

    __slots__ = ("clean", "facts", "scope", "title")

    def __init__(self, name: str, path: str, kind: str) -> None:
        self.scope = Scope("node", name)
        self.title = f"node {name}"
        self.facts = attributes_of(
            {semconv.NODE_NAME: name, semconv.NODE_PATH: path, semconv.NODE_KIND: kind}
        )
        self.clean = path_is_clean(path)
        """Whether a path that differs in indexes only may leave as it is."""


class _Kinds:
    """Kinds by path and kind, for as long as the redactor is the same: runs come again."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        # One pair, exchanged as a whole: threads may come at once.
        self._known: tuple[Redactor | None, dict[tuple[str, str], _Kind]] = (None, {})

    def of(self, name: str, path: str, kind: str) -> _Kind:
        by, known = self._known
        if by is not settings.redactor:
            by, known = self._known = (settings.redactor, {})
        found = known.get((path, kind))
        if found is None or found.scope.name != name:
            found = _Kind(name, path, kind)
            if len(known) < KINDS and by is settings.redactor:
                known[path, kind] = found
        return found


_kinds = _Kinds()


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
                token = self.token = _new(Token)
                token.context, token.span, token.end_ns = maker.identity(), None, 0
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


class LeanLookout:
    """Watches what begins in one context, which nobody else writes on."""

    __slots__ = ("_items", "_kinds", "_outer", "_redactor", "clock", "heard", "maker", "on_fault")

    def __init__(self, outer: _Live, maker: Maker, on_fault: Callable[[Exception], None]) -> None:
        """Look out.

        Args:
            outer: what is open in the context.
            maker: makes the spans.
            on_fault: gets what goes wrong.
        """
        self.maker = maker
        self.heard = maker.heard()
        self.on_fault = on_fault
        self.clock = outer._clock  # noqa: SLF001  # of the same kind
        self._outer = outer
        self._redactor: Redactor = settings.redactor
        self._kinds: dict[str, _Kind] = {}
        self._items: dict[str, tuple[Scope, str]] = {}

    def node(
        self,
        around: LeanSight | None,
        context: Context,
        name: str,
        path: str,
        kind: str,
        facts: Mapping[str, Any],
        released_by: object,
        links: Sequence[object],
    ) -> LeanSight:
        """Open a node's span; arguments as for :class:`hush.runtime.lookout.Lookout`."""
        # Where the item's span could not be opened, it is missing between.
        outer = self._outer if around is None or not around.is_open else around
        if self._redactor is not settings.redactor:
            self._kinds, self._redactor = {}, settings.redactor
        known = self._kinds.get(name)
        if known is None:
            # As many as one graph has nodes.
            known = self._kinds[name] = _kinds.of(name, path, kind)
        attributes = known.facts.copy()
        if known.clean:
            attributes[NODE_PATH] = path
        else:
            attributes |= attributes_of({NODE_PATH: path})
        if facts:
            attributes |= clean_lists(attributes_of(facts))
        made: Sequence[Link]
        if released_by is None and not links:
            start_ns, made = outer._start_ns, ()  # noqa: SLF001  # of the same kind
        elif type(released_by) is Token and len(links) == 1 and links[0] is released_by:
            # One after the other, as nearly all are.
            start_ns, made = released_by.end_ns + AFTER_NS, (link_to(released_by.context),)
        else:
            start_ns, made = _after(outer, attributes, released_by, links)
        return LeanSight(self, outer, known.scope, known.title, attributes, made, start_ns, context)

    def item(
        self,
        context: Context,
        level: Level,
        name: str,
        numbers: dict[str, Any],
        key: str | None,
        released_by: object,
        budget: int | None,
        total: int | None,
    ) -> LeanSight:
        """Open an item's span; arguments as for :class:`hush.runtime.lookout.Lookout`."""
        known = self._items.get(level)
        if known is None:
            scope = Scope(level, name, budget=budget, total=total)
            known = self._items[level] = scope, f"{level} {name}"
        if key is not None:
            numbers |= attributes_of({semconv.ITEM_KEY: key})
        start_ns = self.clock.now()
        if isinstance(released_by, Token) and start_ns < released_by.end_ns + AFTER_NS:
            start_ns = released_by.end_ns + AFTER_NS
        return LeanSight(self, self._outer, *known, numbers, (), start_ns, context)


def _after(
    outer: _Live, attributes: dict[str, Any], released_by: object, links: Sequence[object]
) -> tuple[int, Sequence[Link]]:
    """Return when a node starts, and its links."""
    if len(links) > semconv.LINK_LIMIT:
        attributes[semconv.LINKS_DROPPED] = len(links) - semconv.LINK_LIMIT
    tokens = [one for one in (released_by, *links) if isinstance(one, Token)]
    made = [link_to(one.context) for one in links[: semconv.LINK_LIMIT] if isinstance(one, Token)]
    if tokens:
        return max(one.end_ns for one in tokens) + AFTER_NS, made
    ready = released_by is None
    return outer._start_ns if ready else outer._clock.now(), made  # noqa: SLF001  # of the same kind
