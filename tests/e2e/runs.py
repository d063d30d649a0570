"""Runs of workflows as Jaeger shows them: exported as in production, read back by trace id.

At the end: workflows of which it is known what they waited for.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import anyio
import pytest
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import get_current_span

from hush.core import (
    END,
    PARENT,
    START,
    BranchNode,
    CodeNode,
    Each,
    First,
    ForLoopNode,
    GraphNode,
    Hush,
    MapNode,
    Node,
    Retry,
    RunError,
    RunResult,
    WhileLoopNode,
)
from hush.observe.tracing import override_provider
from tests.e2e.critical_path import critical_path
from tests.e2e.jaeger_server import JaegerLog, JaegerServer, JaegerSpan, JaegerTrace

Backend = Literal["asyncio", "trio"]

ARRIVAL_S = 10.0
"""How long a trace may take to arrive."""
LEVELS = ("run", "node", "graph", "map", "item", "loop", "iteration", "attempt", "chat")
OUTCOMES = {"ok", "handled", "error", "timeout", "cancelled"}
RED = {"error", "timeout", "handled"}

_services = (f"hush-runs-{number}" for number in itertools.count())


class _Tally(SpanProcessor):
    """Counts spans by trace, so that the test knows for how many to wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.started: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        with self._lock:
            self.started[_trace_id(span)] += 1

    def on_end(self, span: ReadableSpan) -> None:
        with self._lock:
            self.ended[_trace_id(span)] += 1


def _trace_id(span: ReadableSpan) -> str:
    return format(span.get_span_context().trace_id, "032x")


class Exported:
    """A tracer provider of one test, whose spans go to Jaeger over OTLP/HTTP."""

    def __init__(self, jaeger: JaegerServer) -> None:
        self.jaeger = jaeger
        self.service = next(_services)
        self.provider = TracerProvider(
            resource=Resource({"service.name": self.service}), shutdown_on_exit=False
        )
        self._tally = _Tally()
        self.provider.add_span_processor(self._tally)
        exporter = OTLPSpanExporter(endpoint=f"{jaeger.otlp_http}/v1/traces")
        self.provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer = self.provider.get_tracer("users")
        """Opens spans as an application or its libraries would."""

    def run(
        self,
        graph: GraphNode,
        inputs: Any = None,
        *,
        backend: Backend,
        resources: Any = None,
        **options: Any,
    ) -> tuple[RunResult, JaegerTrace]:
        """Run a graph that must not fail."""
        with override_provider(self.provider):
            result = Hush(graph, resources=resources).run_sync(inputs, backend=backend, **options)
        assert result.trace_id is not None
        return result, self.read(result.trace_id)

    def fail(
        self, graph: GraphNode, inputs: Any = None, *, backend: Backend, **options: Any
    ) -> tuple[RunError, JaegerTrace]:
        """Run a graph that must fail."""
        with override_provider(self.provider), pytest.raises(RunError) as caught:
            Hush(graph).run_sync(inputs, backend=backend, **options)
        assert caught.value.trace_id is not None
        return caught.value, self.read(caught.value.trace_id)

    def read(self, trace_id: str) -> JaegerTrace:
        """Wait for a trace whose spans have all ended, and check what holds for every one."""
        ended = self._tally.ended[trace_id]
        assert self._tally.started[trace_id] == ended, "spans were left open"
        self.provider.force_flush()
        trace = self.jaeger.client.trace(trace_id, spans=ended, timeout_s=ARRIVAL_S)
        assert_sound(trace)
        return trace


@contextlib.contextmanager
def exporting(jaeger: JaegerServer) -> Iterator[Exported]:
    exported = Exported(jaeger)
    try:
        yield exported
    finally:
        exported.provider.shutdown()


# --- reading a trace ------------------------------------------------------------------------


def level(span: JaegerSpan) -> str | None:
    """Return what a span of ours stands for, None for a user's span."""
    first = span.name.partition(" ")[0]
    return first if first in LEVELS and span.tags.get("otel.scope.name") == "hush" else None


def index(span: JaegerSpan) -> int | None:
    for name in ("hush.item.index", "hush.iteration.index", "hush.attempt"):
        if name in span.tags:
            return span.tags[name]
    return None


def label(span: JaegerSpan) -> str:
    """Return what names a span in its trace: the path of a node, else name and index."""
    path = span.tags.get("hush.node.path")
    if path is not None:
        return path
    number = index(span)
    return span.name if number is None else f"{span.name}[{number}]"


def outline(trace: JaegerTrace) -> str:
    """Return the trace as an indented tree, the same for every run that does the same.

    One line a span, with its index and its outcome unless that is ``ok``; siblings by
    index, then in the order of their starts.
    """
    lines: list[str] = []
    stack = [(0, root) for root in reversed(trace.roots)]
    while stack:
        depth, span = stack.pop()
        number = index(span)
        said = span.name if number is None else f"{span.name}[{number}]"
        outcome = span.tags.get("hush.outcome", "ok")
        lines.append("  " * depth + said + ("" if outcome == "ok" else f" {outcome}"))
        below = sorted(trace.children(span), key=lambda s: (index(s) or 0, s.start_us, s.name))
        stack.extend((depth + 1, child) for child in reversed(below))
    return "\n".join(lines)


def events(span: JaegerSpan, name: str) -> list[JaegerLog]:
    return [log for log in span.logs if log.fields.get("event") == name]


def raised_at(trace: JaegerTrace) -> tuple[JaegerSpan, ...]:
    """Return the spans that carry a recorded exception."""
    return tuple(span for span in trace.spans if events(span, "exception"))


def ancestors(trace: JaegerTrace, span: JaegerSpan) -> list[JaegerSpan]:
    """Return what contains a span, from the inside out."""
    found = []
    above = trace.parent(span)
    while above is not None:
        found.append(above)
        above = trace.parent(above)
    return found


def at(trace: JaegerTrace, path: str) -> JaegerSpan:
    """Return the only span of the node with that path."""
    found = [span for span in trace.spans if span.tags.get("hush.node.path") == path]
    assert len(found) == 1, f"{len(found)} spans of {path} in:\n{outline(trace)}"
    return found[0]


def item(trace: JaegerTrace, name: str, number: int) -> JaegerSpan:
    found = [span for span in trace.named(name) if index(span) == number]
    assert len(found) == 1, f"{len(found)} spans of {name}[{number}] in:\n{outline(trace)}"
    return found[0]


def linked(trace: JaegerTrace, span: JaegerSpan) -> list[str]:
    """Return the labels of the spans to which a span links, in order."""
    return [label(trace.by_id[link.span_id]) for link in span.links]


def on_path(trace: JaegerTrace) -> list[JaegerSpan]:
    """Return the innermost spans on the critical path that Jaeger draws, in order of time."""
    containers = {span.parent_id for span in trace.spans}
    leaves = [
        section.span
        for section in critical_path(trace.spans)
        if section.span.span_id not in containers
    ]
    return [leaf for leaf, _ in itertools.groupby(leaves)]


def path_labels(trace: JaegerTrace) -> list[str]:
    return [label(span) for span in on_path(trace)]


# --- what holds for every trace ---------------------------------------------------------------


def assert_sound(trace: JaegerTrace) -> None:
    """Check what holds for every trace of a run, as Jaeger has it, in whole microseconds."""
    wrong = [f"{label(span)} {said}" for span in trace.spans for said in _wrong(trace, span)]
    if len(trace.roots) != 1:
        wrong.append(f"{len(trace.roots)} roots")
    assert not wrong, "\n".join([*wrong, "in:", outline(trace)])


def _wrong(trace: JaegerTrace, span: JaegerSpan) -> Iterator[str]:
    if span.warnings:
        yield f"has warnings of Jaeger's: {span.warnings}"
    if span.duration_us < 0:
        yield "ends before it starts"
    yield from _misplaced(trace, span)
    if level(span) is not None:
        yield from _misdescribed(span)
        yield from _mislinked(trace, span)


def _misplaced(trace: JaegerTrace, span: JaegerSpan) -> Iterator[str]:
    parent = trace.parent(span)
    if parent is None:
        if any(ref.trace_id == trace.trace_id for ref in span.links):
            yield "is a root and links into its own trace"
        return
    # A start and a duration are cut to whole microseconds each, and so an end that Jaeger adds
    # up from them may be one too early.
    if span.start_us < parent.start_us:
        yield f"starts {parent.start_us - span.start_us} µs before {label(parent)}"
    if span.end_us > parent.end_us + 1:
        yield f"ends {span.end_us - parent.end_us} µs after {label(parent)}"


def _misdescribed(span: JaegerSpan) -> Iterator[str]:
    outcome = span.tags.get("hush.outcome")
    if outcome not in OUTCOMES:
        yield f"has the outcome {outcome!r}"
    if span.is_red != (outcome in RED):
        yield f"is {outcome}, yet its status is {span.tags.get('otel.status_code')}"
    if span.is_red and not span.status_text:
        yield "is red and does not say why"
    if span.is_red and "error.type" not in span.tags:
        yield "is red and has no error.type"
    if not span.is_red and "otel.status_code" in span.tags:
        yield f"is not red and has the status {span.tags['otel.status_code']}"
    if (outcome == "cancelled") != ("hush.cancel.reason" in span.tags):
        yield f"is {outcome}, cancelled because of {span.tags.get('hush.cancel.reason')}"


def _mislinked(trace: JaegerTrace, span: JaegerSpan) -> Iterator[str]:
    links = [trace.by_id.get(link.span_id) for link in span.links]
    if None in links:
        yield "links to a span that is not in the trace"
    # Cancelled spans link to their culprit too, which may have ended at any time.
    if span.tags.get("hush.outcome") == "cancelled":
        return
    for other in links:
        if other is not None and other.end_us >= span.start_us:
            yield f"starts {other.end_us - span.start_us} µs before its predecessor {label(other)} ends"


# --- parts of workflows ---------------------------------------------------------------------


SLEPT = "test.slept_ms"
"""On the span of whatever slept: for how long it meant to."""
STALL_MS = 8


async def sleep(ms: float) -> None:
    get_current_span().set_attribute(SLEPT, ms)
    await anyio.sleep(ms / 1000)


def sleep_in_thread(ms: float) -> None:
    get_current_span().set_attribute(SLEPT, ms)
    time.sleep(ms / 1000)


def stalled(found: JaegerTrace) -> bool:
    """Say whether the machine was too busy to wake a sleeper in time.

    What happened in which order is then chance, and the run is no test of who waited for whom.
    """
    return any(
        span.duration_us / 1000 > span.tags[SLEPT] + STALL_MS
        for span in found.spans
        if SLEPT in span.tags
    )


def nap(name: str, ms: float = 1, **options: Any) -> CodeNode:
    async def work() -> None:
        await sleep(ms)

    return CodeNode(name=name, code_fn=work, **options)


def instant(name: str, **options: Any) -> CodeNode:
    return CodeNode(name=name, code_fn=lambda: None, **options)


def chain(*nodes: Node) -> None:
    for before, after in itertools.pairwise(nodes):
        before >> after
    START >> nodes[0]
    nodes[-1] >> END


def map_of(code_fn: Callable[..., Any], *, limit: int = 16, node: Any = None, **options: Any):
    """A map ``m`` over ``items`` with one node ``w``."""
    with MapNode(
        name="m", inputs={"item": Each(PARENT["items"])}, max_concurrency=limit, **options
    ) as made:
        worker = CodeNode(
            name="w", code_fn=code_fn, inputs={"item": PARENT["item"]}, **(node or {})
        )
        START >> worker >> END
    return made


async def nap_item(item: float) -> None:
    await sleep(item)


def thread_item(item: float) -> None:
    sleep_in_thread(item)


def flaky(times: int) -> Callable[[], Any]:
    tries = itertools.count(1)

    async def call() -> None:
        await sleep(5)
        number = next(tries)
        if number <= times:
            raise ConnectionError(f"try {number}")

    return call


# --- graphs of which it is known what they waited for ------------------------------------------


class Known(NamedTuple):
    """A graph of which it is known what it waited for."""

    build: Callable[[], Any]
    path: list[str]
    inputs: dict[str, Any] = {}  # noqa: RUF012  # a default of a tuple, never written to


def build_chain() -> None:
    chain(nap("a", 20), nap("b", 20), nap("c", 20))


def build_diamond() -> None:
    START >> nap("a", 20) >> [nap("fast", 20), nap("slow", 60)] >> nap("join", 20) >> END


def build_threads() -> None:
    def work(ms: float) -> Callable[[], None]:
        def nap_in_thread() -> None:
            sleep_in_thread(ms)

        return nap_in_thread

    first, fast, slow, join = (
        CodeNode(name=name, code_fn=work(ms))
        for name, ms in (("a", 20), ("fast", 20), ("slow", 60), ("join", 20))
    )
    START >> first >> [fast, slow] >> join >> END


def build_fan_in() -> None:
    branches = [nap(f"p{number}", 60 if number == 3 else 20) for number in range(5)]
    START >> branches >> nap("join", 20) >> END


def build_map(limit: int) -> None:
    chain(nap("before", 20), map_of(nap_item, limit=limit), nap("after", 20))


def build_thread_map(limit: int) -> None:
    chain(nap("before", 20), map_of(thread_item, limit=limit), nap("after", 20))


def build_nested() -> None:
    with GraphNode(name="sub") as sub:
        START >> nap("x", 20) >> [nap("fast", 20), nap("slow", 60)] >> nap("y", 20) >> END
    chain(nap("a", 20), sub, nap("b", 20))


def build_soft(after_ms: float) -> None:
    START >> [nap("fast", 20), nap("slow", 50)] >> ~nap("join", after_ms) >> END


def build_mixed() -> None:
    """The join waits for the hard one and for the first of the soft ones."""
    hard, soft, late, join = nap("hard", 40), nap("soft", 20), nap("late", 60), nap("join", 40)
    START >> [hard, soft, late]
    hard >> join
    [soft, late] >> ~join
    join >> END


def build_branch() -> None:
    """Two ways, of which a run takes one, and a node behind both."""
    first = nap("a", 20)
    router = BranchNode(
        name="router",
        cases={"score >= 5": "high"},
        default="low",
        inputs={"score": PARENT["score"]},
    )
    high, low, join = nap("high", 20), nap("low", 20), nap("join", 20)
    START >> first >> router >> [high, low]
    [high, low] >> ~join
    join >> END


def build_race() -> None:
    START >> [nap("quick", 20), nap("slow", 30_000)] >> nap("pick", 20, join=First()) >> END


def build_loops() -> None:
    with ForLoopNode(name="each", inputs={"item": Each([0, 1, 2])}) as each:
        START >> nap("step", 20) >> END
    with WhileLoopNode(name="again", inputs={"n": 0}, condition="n < 2") as again:
        add = CodeNode(
            name="add", code_fn=lambda n: {"n": n + 1}, inputs={"n": PARENT}, outputs={"n": PARENT}
        )
        START >> nap("wait", 20) >> add >> END
    chain(each, again)


def build_retry() -> None:
    policy = Retry(3, initial_s=0.02, factor=1, jitter=0)
    flaky_node = CodeNode(name="flaky", code_fn=flaky(2), retry=policy)
    START >> [nap("beside", 20), flaky_node] >> nap("join", 20) >> END


# Item 0 made room for the straggler, the other ran beside it.
STRAGGLER = {"items": [20, 60, 80]}
# Two workers: 0 (20) 2 (60) 5 (40), beside 1 (40) 3 (20) 4 (40).
STAIRCASE = {"items": [20, 40, 60, 20, 40, 40]}

KNOWN: dict[str, Known] = {
    "chain": Known(build_chain, ["a", "b", "c"]),
    "diamond": Known(build_diamond, ["a", "slow", "join"]),
    "diamond-of-threads": Known(build_threads, ["a", "slow", "join"]),
    "fan-in": Known(build_fan_in, ["p3", "join"]),
    "map-straggler": Known(
        functools.partial(build_map, 2), ["before", "m[0].w", "m[2].w", "after"], STRAGGLER
    ),
    "map-straggler-of-threads": Known(
        functools.partial(build_thread_map, 2), ["before", "m[0].w", "m[2].w", "after"], STRAGGLER
    ),
    "map-staircase": Known(
        functools.partial(build_map, 2),
        ["before", "m[0].w", "m[2].w", "m[5].w", "after"],
        STAIRCASE,
    ),
    "map-handover": Known(
        functools.partial(build_map, 1),
        ["before", "m[0].w", "m[1].w", "m[2].w", "m[3].w", "after"],
        {"items": [20, 20, 20, 20]},
    ),
    "map-handover-of-threads": Known(
        functools.partial(build_thread_map, 1),
        ["before", "m[0].w", "m[1].w", "m[2].w", "m[3].w", "after"],
        {"items": [20, 20, 20, 20]},
    ),
    "nested": Known(build_nested, ["a", "sub.x", "sub.slow", "sub.y", "b"]),
    "soft-released-by-the-fast": Known(functools.partial(build_soft, 60), ["fast", "join"]),
    "soft-but-the-slow-ends-last": Known(functools.partial(build_soft, 1), ["slow"]),
    "hard-and-soft": Known(build_mixed, ["hard", "join"]),
    "branch": Known(build_branch, ["a", "router", "high", "join"], {"score": 7}),
    "race": Known(build_race, ["quick", "pick"]),
    "loops": Known(
        build_loops,
        [
            "each[0].step", "each[1].step", "each[2].step",
            "again[0].wait", "again[0].add", "again[1].wait", "again[1].add",
        ],
    ),
    "retry": Known(
        build_retry, ["attempt flaky[1]", "attempt flaky[2]", "attempt flaky[3]", "join"]
    ),
}  # fmt: skip


# --- the same of instants: nothing but the order of microseconds ---------------------------------


def instant_chain() -> list[str]:
    names = [f"n{number}" for number in range(30)]
    chain(*(instant(name) for name in names))
    return names


def instant_graphs() -> list[str]:
    graphs = []
    for number in range(10):
        with GraphNode(name=f"sub{number}") as sub:
            chain(instant("x"), instant("y"))
        graphs.append(sub)
    chain(*graphs)
    return [f"sub{number}.{name}" for number in range(10) for name in "xy"]


def instant_items() -> list[str]:
    START >> map_of(lambda item: None, limit=1) >> END
    return [f"m[{number}].w" for number in range(30)]


def instant_iterations() -> list[str]:
    with ForLoopNode(name="each", inputs={"item": Each(PARENT["items"])}) as each:
        chain(instant("x"), instant("y"))
    START >> each >> END
    return [f"each[{number}].{name}" for number in range(30) for name in "xy"]


def instant_rounds() -> list[str]:
    with WhileLoopNode(name="again", inputs={"n": 0}, condition="n < 30") as again:
        add = CodeNode(
            name="add", code_fn=lambda n: {"n": n + 1}, inputs={"n": PARENT}, outputs={"n": PARENT}
        )
        START >> add >> END
    START >> again >> END
    return [f"again[{number}].add" for number in range(30)]


def instant_attempts() -> list[str]:
    tries = itertools.count(1)

    async def tenth_time() -> None:
        if next(tries) % 10:
            raise ConnectionError("not yet")

    flaky_node = CodeNode(name="flaky", code_fn=tenth_time, retry=Retry(10, initial_s=0))
    chain(instant("a"), flaky_node, instant("b"))
    return ["a", *(f"attempt flaky[{number}]" for number in range(1, 11)), "b"]


INSTANT: dict[str, tuple[Callable[[], list[str]], dict[str, Any]]] = {
    "chain": (instant_chain, {}),
    "graphs": (instant_graphs, {}),
    "items": (instant_items, {"items": range(30)}),
    "iterations": (instant_iterations, {"items": range(30)}),
    "rounds": (instant_rounds, {}),
    "attempts": (instant_attempts, {}),
}
"""How to build a sequence, which gives the nodes in their order, and the inputs of a run."""
