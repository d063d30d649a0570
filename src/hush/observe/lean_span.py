"""A lean span: one of the SDK's, of which only that is made which somebody looks at.

Most spans of a run are opened and closed by us and read by exporters, and nobody else ever
touches them. Such a span needs no lock, no bounded lists and no cleaning of what is known to
be clean. So its record is made at its end; and whoever does touch it before, finds a span of
the SDK's, which it becomes at that moment.

What makes them is :mod:`hush.observe.lean_maker`; where there may be one is known to
:mod:`hush.observe.lean_choice`. Imported only where there is an SDK.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import SpanKind, Status, StatusCode

from hush.observe.own_span import OwnSpan, gate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.trace import Link, Span, SpanContext

    from hush.observe.budget import Count
    from hush.observe.lean_maker import Maker
    from hush.observe.own_span import Home

__all__ = ("LAZY", "UNSET", "LeanSpan", "becoming", "place")

LAZY: Final = frozenset(
    (
        "_attributes",
        "_events",
        "_instrumentation_info",
        "_instrumentation_scope",
        "_limits",
        "_links",
        "_lock",
        "_record_end_metrics",
        "_resource",
        "_sampler",
        "_span_processor",
    )
)
"""What a span of the SDK's has and this one gets once it is asked for."""

UNSET: Final = Status(StatusCode.UNSET)

becoming = threading.RLock()
"""Held where it is decided what a span is. The same thread may come again: finalisers and
signal handlers write on spans too, wherever they find it."""


class Sight(Protocol):
    """What a hull is the span of."""

    became: bool
    """Whether the hull has become one of the SDK's."""

    def contents(self) -> dict[str, Any]:
        """Return what it holds."""

    def leave(self, *, omitted: bool) -> None:
        """Hand the span to the processors.

        Args:
            omitted: whether it is only to be known that it has ended.
        """


class LeanSpan(OwnSpan):
    """A span that becomes one of the SDK's once anybody but us does anything with it."""

    # What the SDK's constructor sets, where it is the same for most.
    _kind = SpanKind.INTERNAL
    _status = UNSET
    _end_time: int | None = None
    _record_exception = False
    _set_status_on_exception = False
    _trace_config = None
    _held: dict[str, Any]
    _held_links: Sequence[Link] = ()
    _maker: Maker
    home: Home | None = None
    sight: Sight | None = None
    """Where a hull finds what it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if self.sight is not None:
            self._fill(self.sight)
            if name in self.__dict__:
                return self.__dict__[name]
        if name not in LAZY:
            msg = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(msg)
        self._become()
        return self.__dict__[name]

    def _fill(self, sight: Sight) -> None:
        """Hold what it would have been made with; whatever it has by now stays."""
        mine = self.__dict__
        for name, value in sight.contents().items():
            mine.setdefault(name, value)

    @property
    def touched(self) -> bool:
        """Whether it has become one of the SDK's."""
        return "_lock" in self.__dict__

    def _become(self) -> None:
        # Made before the lock is taken: whatever makes objects may set off the collection of
        # garbage, and that may run anybody's code.
        made = self._made()
        with becoming:
            mine = self.__dict__
            if "_lock" not in mine:
                mine.update(made)
            if self.sight is not None:
                self.sight.became = True

    def _made(self) -> dict[str, Any]:
        """Return what makes it one of the SDK's."""
        maker = self._maker
        tracer, limits = maker.tracer, maker.limits
        self.__dict__["_limits"] = limits  # asked for by what makes the links
        attributes = BoundedAttributes(
            limits.max_span_attributes,
            immutable=False,
            max_value_len=limits.max_span_attribute_length,
        )
        attributes._dict.update(self._held)  # noqa: SLF001  # they are clean
        attributes._immutable = self._end_time is not None  # noqa: SLF001  # as at the SDK's end
        return {
            "_resource": tracer.resource,
            "_instrumentation_scope": tracer._instrumentation_scope,  # noqa: SLF001  # as the SDK's tracer
            "_instrumentation_info": tracer.instrumentation_info,
            "_sampler": tracer.sampler,
            "_span_processor": gate,
            "_record_end_metrics": self.__dict__.get("_record_end_metrics"),
            "_attributes": attributes,
            "_events": BoundedList(limits.max_events),
            "_links": self._new_links(self._held_links),
            "_lock": threading.Lock(),
        }

    def finish(self, end_ns: int) -> None:
        """End, as far as we are concerned.

        Args:
            end_ns: when, in nanoseconds since the epoch.
        """
        mine = self.__dict__
        if self.sight is not None:
            self._fill(self.sight)
        with becoming:
            # From here on nobody else can end it; or somebody did something with it.
            bare = "_lock" not in mine
            if bare:
                mine["_end_time"] = end_ns
        if not bare:
            there = self._attributes or {}
            late = {name: value for name, value in self._held.items() if name not in there}
            if late and self._end_time is None:
                # Written while it was becoming another.
                self.set_attributes(late)
            self.end(end_time=end_ns)
            return
        if "_record_end_metrics" in mine:
            mine["_record_end_metrics"]()
        if self._maker.endings:
            gate._on_ending(self)  # noqa: SLF001  # as the SDK's span
        if self.home is None:
            self.leave()
        else:
            self.home.ended(self)

    def leave(self) -> None:
        """Hand the span to the processors, now that it is decided."""
        sight = self.sight
        if sight is not None and not sight.became and not self.causes:
            sight.leave(omitted=self.omitted)
            return
        mine = self.__dict__
        if "_lock" in mine or self.causes:
            super().leave()
            return
        self._maker.hand_on(
            mine["_name"],
            mine["identity"],
            mine["_parent"],
            mine["_start_time"],
            mine["_end_time"],
            mine["_held"],
            mine.get("_held_links", ()),
            mine.get("_kind", SpanKind.INTERNAL),
            omitted=self.omitted,
        )


def _renew() -> None:
    """Be as new in a forked child: whoever held a lock there is not in it."""
    becoming._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001  # as the standard library's own do it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def place(span: Span, context: SpanContext, home: Home, count: Count) -> OwnSpan | None:
    """Give a lean span its home; arguments as for :func:`hush.observe.own_span.adopt`."""
    del context
    assert isinstance(span, LeanSpan)  # noqa: S101  # only such spans are asked for
    span.home, span.count = home, count
    return span
