"""A lookout that makes lean spans: what is known of a place is asked for once.

For the straight way: the nodes of a line, the items of a map. What it opens are
:mod:`hush.observe.lean_sight`. Imported only where there is an SDK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hush import semconv
from hush.observe.clock import AFTER_NS
from hush.observe.describing import attributes_of, path_is_clean
from hush.observe.lean_live import clean_lists, current_context
from hush.observe.lean_maker import link_to
from hush.observe.lean_sight import LeanSight
from hush.observe.links import Token
from hush.observe.settings import settings
from hush.observe.spans import _Live, _open
from hush.runtime.instrument import Scope
from hush.semconv import NODE_PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextvars import Context

    from opentelemetry.trace import Link, Tracer

    from hush.observe.lean_maker import Maker
    from hush.observe.redaction import Redactor
    from hush.runtime.instrument import Level

__all__ = ("LeanLookout",)

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
