"""Whether lean spans may stand for the SDK's: only where it is known what the SDK would do.

That is a matter of its samplers, its limits, its processors one after the other, and of its
version: what its objects are made of. In all other cases the SDK makes the spans. Imported
only where there is an SDK.
"""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import _RUNTIME_CONTEXT
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    ReadableSpan,
    SpanLimits,
    SynchronousMultiSpanProcessor,
    Tracer,
    _Span,
)
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    Sampler,
    StaticSampler,
)
from opentelemetry.trace import Link, SpanContext

from hush import semconv
from hush.observe.lean_maker import Maker
from hush.observe.lean_span import LAZY, LeanSpan
from hush.observe.own_span import OwnSpan

if TYPE_CHECKING:
    from opentelemetry.trace import Span

__all__ = ("Makers", "maker_below", "nothing_below")

ATTRIBUTES: Final = 64
"""More than a span has of ours: a limit below it is the SDK's to keep."""
OF_SPAN: Final = frozenset(("_name", "_parent", "_start_time"))
"""What each span has from its start."""
OF_ATTRIBUTES: Final = frozenset(
    ("_dict", "_immutable", "_lock", "dropped", "max_value_len", "maxlen")
)
OF_LINK: Final = frozenset(("_attributes", "_context"))
RECORD: Final = frozenset(
    (
        "_attributes",
        "_context",
        "_end_time",
        "_events",
        "_instrumentation_info",
        "_instrumentation_scope",
        "_kind",
        "_links",
        "_name",
        "_parent",
        "_resource",
        "_start_time",
        "_status",
    )
)
"""What the record of a span is made of."""


class Makers:
    """Chooses what makes the spans below a run's own; each run of a provider asks the same."""

    __slots__ = ("_last", "_of")

    def __init__(self) -> None:
        """Start with nothing known."""
        self._last: Maker | None = None
        self._of: tuple[Any, ...] = ()

    def of(self, tracer: Any, span: Span, context: SpanContext) -> Maker | None:
        """Return what makes the spans; None where the SDK has to.

        Args:
            tracer: of any provider.
            span: the run's own.
            context: its identity.
        """
        # The classes themselves: of what others derive from them nothing is known.
        if type(span) not in (_Span, OwnSpan, LeanSpan):
            return None
        return self.below(tracer, context)

    def below(self, tracer: Any, context: SpanContext) -> Maker | None:
        """Return what makes the spans below any span, also one of another process.

        Args:
            tracer: of any provider.
            context: that one's identity.
        """
        if not KNOWN or type(tracer) is not Tracer:
            return None
        if type(_RUNTIME_CONTEXT) is not ContextVarsRuntimeContext:
            return None
        if not context.trace_flags.sampled or not context.is_valid:
            return None
        # What a tracer is made of might be exchanged, if hardly by anybody.
        parts = (
            tracer,
            tracer.sampler,
            tracer.span_processor,
            tracer.id_generator,
            tracer._span_limits,  # noqa: SLF001  # has no public name
        )
        last = self._last
        if last is not None and all(map(is_, parts, self._of)):
            return last.of_another_run(context)
        self._last = None
        if _understood(tracer):
            self._last, self._of = Maker(tracer, context), parts
        return self._last


def maker_below(tracer: Any, context: SpanContext) -> Maker | None:
    """Return what makes the spans below one of another process; None where the SDK has to.

    Args:
        tracer: of any provider.
        context: that one's identity.
    """
    return Makers().below(tracer, context)


def _understood(tracer: Tracer) -> bool:
    """Say whether it is known what a tracer does with each span below one that is sampled."""
    if type(tracer.span_processor) is not SynchronousMultiSpanProcessor:
        return False
    if not _keeps_sampling(tracer.sampler):
        return False
    limits = tracer._span_limits  # noqa: SLF001  # has no public name
    rooms = (
        (limits.max_span_attributes, ATTRIBUTES),
        (limits.max_links, semconv.LINK_LIMIT + 1),
    )
    if any(limit is not None and limit < room for limit, room in rooms):
        return False
    return limits.max_span_attribute_length is None and limits.max_attribute_length is None


def _is_known() -> bool:
    """Say whether the SDK's objects are made of what this module makes them of."""
    context = SpanContext(1, 2, is_remote=False)
    nothing = Resource.get_empty()
    try:
        span = vars(_Span("", context, resource=nothing, limits=SpanLimits()))
        return (
            tuple(context) == (1, 2, False, context.trace_flags, context.trace_state, True)
            and vars(ReadableSpan("", resource=nothing)).keys() == RECORD
            and vars(BoundedAttributes()).keys() == OF_ATTRIBUTES
            and vars(Link(context, {})).keys() == OF_LINK
            # What is not set has been asked for, or stands in the class.
            and all(name in LAZY or hasattr(LeanSpan, name) for name in span.keys() - OF_SPAN)
        )
    except Exception:  # noqa: BLE001  # another SDK may have changed anything
        return False


def nothing_below(tracer: Any, context: SpanContext) -> bool:
    """Say whether it is known that nothing below a span is recorded, since that is not.

    Args:
        tracer: of any provider.
        context: the span's identity.
    """
    if type(tracer) is not Tracer or context.trace_flags.sampled:
        return False
    return _decides(tracer.sampler, "_local_parent_not_sampled") is Decision.DROP


def _keeps_sampling(sampler: Sampler) -> bool:
    """Say whether a sampler takes each child of a span that it has taken, as it is."""
    return _decides(sampler, "_local_parent_sampled") is Decision.RECORD_AND_SAMPLE


def _decides(sampler: Sampler, of_parent: str) -> Decision | None:
    """Return what the SDK's samplers always decide; None where that is not known.

    Args:
        sampler: any.
        of_parent: whom one that follows the parent asks.
    """
    if isinstance(sampler, ParentBased) and _is_the_sdks(sampler, ParentBased):
        sampler = getattr(sampler, of_parent)
    if not isinstance(sampler, StaticSampler) or not _is_the_sdks(sampler, StaticSampler):
        return None
    return sampler._decision  # noqa: SLF001  # has no public name


def _is_the_sdks(sampler: Sampler, kind: type[Sampler]) -> bool:
    return type(sampler).should_sample is kind.should_sample


KNOWN: Final = _is_known()
"""Whether this is a version of the SDK that is understood; else it makes all spans itself."""
