"""What a node may ask of the runtime while it runs."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

from hush import semconv
from hush.errors import MissingValueError
from hush.log import get_logger
from hush.model.contract import BodyOutputs, FanOut, RunIn
from hush.model.ref import MISSING
from hush.runtime.calling import Call
from hush.runtime.events import CallbackSink
from hush.runtime.fan_out import run_fan_out
from hush.runtime.iteration import run_iteration
from hush.runtime.scheduler import run_graph
from hush.runtime.state import Frame
from hush.runtime.trail import NO_TRAIL, Chain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from hush.model.contract import CallObservation, ChunkReceived
    from hush.model.usage import Usage
    from hush.plan.plan import NodePlan
    from hush.runtime.attempt import Place
    from hush.runtime.events import EventSink
    from hush.runtime.trail import Trail

__all__ = ("RuntimeContext",)

NO_BODY = BodyOutputs()


class RuntimeContext:
    """The :class:`~hush.model.contract.NodeContext` of one node's run."""

    __slots__ = ("_rounds", "depth", "frame", "limited", "node", "place", "previous_round", "trail")

    def __init__(self, node: NodePlan, frame: Frame, place: Place, *, depth: int) -> None:
        """Bind node, surroundings and observation."""
        self.node = node
        self.frame = frame
        self.place = place
        self.depth = depth
        spec = node.node
        self.limited = frame.limited or spec.timeout_s is not None or spec.deadline_s is not None
        self.trail: Trail = NO_TRAIL
        """Critical path of what the node contains."""
        self._rounds = Chain()
        self.previous_round: object = None
        """Token of the loop round before the current one."""

    @property
    def path(self) -> str:
        """The node's path."""
        return self.place.path

    @property
    def reads(self) -> frozenset[str]:
        """Names of the node's outputs that anything reads."""
        return self.node.reads

    @property
    def body_outputs(self) -> BodyOutputs:
        """What the node's body writes."""
        return NO_BODY if self.node.body is None else self.node.body.outputs

    def annotate(self, name: str, value: Any) -> None:
        """Put an attribute on the node's span."""
        self.place.seen.annotate(name, value)

    def warn(self, event: str, **facts: Any) -> None:
        """Log a warning that names the node."""
        get_logger().warning(event, **{semconv.NODE_PATH: self.path}, **facts)

    def evaluate(self, position: int) -> Any:
        """Evaluate one of the node's conditions."""
        value = self.node.conditions[position](self.frame)
        if value is MISSING:
            raise MissingValueError(self.path, "a value that its condition reads is missing")
        return value

    async def call(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        run_in: RunIn,
        abandon: bool,
    ) -> Any:
        """Call a plain function where it belongs."""
        placement = self.place.run.placement
        self.place.tally.elsewhere = run_in != "loop"
        if run_in == "process":
            value, waited_s = await placement.in_process(function, args, kwargs)
            self.place.tally.waited_s += waited_s
            return value
        if run_in == "loop":
            result = function(*args, **kwargs)
        else:
            leave = abandon or self.limited
            result, waited_s = await placement.in_thread(
                functools.partial(function, *args, **kwargs),
                on_abandon=self.abandoned if leave else None,
            )
            if waited_s:
                self.waited(semconv.LIMITER_THREADS, waited_s)
        if inspect.isawaitable(result):
            return await result
        return result

    def abandoned(self) -> None:
        """Say that a thread of the node was left behind."""
        for seen in (self.place.seen, self.place.tally.seen):
            if seen is not None:
                seen.annotate(semconv.ABANDONED, True)  # noqa: FBT003  # an attribute's value

    # --- calls to the outside ----------------------------------------------------------

    @property
    def resources(self) -> Any:
        """What the engine opened for this run of the resources that nodes name."""
        return self.place.run.resources

    def random(self) -> float:
        """Return a random number in [0, 1)."""
        return self.place.run.random.random()

    def observe_call(
        self, name: str, facts: Mapping[str, Any], *, after: CallObservation | None = None
    ) -> Call:
        """Watch one call to the outside."""
        return Call(self.place, name, facts, after)

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Put an event on the node's span."""
        self.place.seen.event(name, facts)

    def waited(self, limiter: str, seconds: float) -> None:
        """Book a wait for a limit."""
        self.place.tally.waited_s += seconds
        self.place.tally.shared_s += seconds
        self.place.lineage.waited(limiter, seconds)

    def paused(self, seconds: float) -> None:
        """Book a pause between two attempts."""
        self.place.tally.backoff_s += seconds

    def book(self, usage: Usage, model: str) -> None:
        """Book what a call used, for the node and all that contains it."""
        self.place.lineage.book(usage, model)

    def chunk_listener(
        self, on_chunk: Callable[[ChunkReceived], Any] | None
    ) -> Callable[[ChunkReceived], Awaitable[None]] | None:
        """Return what tells of a piece of a streamed answer; None where nobody listens."""
        sinks: list[EventSink] = []
        if self.place.run.events is not None:
            sinks.append(self.place.run.events)
        if on_chunk is not None:
            made = CallbackSink(on_chunk, self.place.run.caller, name="on_chunk")
            sinks.append(self.place.run.listeners.setdefault(id(on_chunk), made))
        if not sinks:
            return None

        async def tell(chunk: ChunkReceived) -> None:
            for sink in sinks:
                await sink.emit(chunk)

        return tell

    # --- bodies ------------------------------------------------------------------------

    async def run_body(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Run the body once."""
        body = self.node.body
        assert body is not None  # noqa: S101  # only nodes with a body ask for it
        target = self.place.run.targets.get(id(self.node.node))
        if target is not None:
            # Few workflows need it.
            from hush.runtime.remote.graph_call import run_graph_elsewhere  # noqa: PLC0415  # as above

            return await run_graph_elsewhere(self, values, target)
        frame = Frame(
            body,
            self.path,
            dict(values),
            self.place.lineage,
            index=self.frame.index,
            limited=self.limited,
            depth=self.depth,
        )
        self.trail = await run_graph(frame, self.place.run, self.place.seen)
        return frame.results()

    async def run_iteration(
        self, index: int, values: Mapping[str, Any], *, at_most: int, span_budget: int | None
    ) -> dict[str, Any]:
        """Run the body once as an iteration."""
        return await run_iteration(self, index, values, at_most=at_most, span_budget=span_budget)

    def ended_round(self, index: int, seconds: float, trail: Trail) -> None:
        """Take note that a round of a loop is over."""
        self._rounds.add(index, seconds, trail)
        self.trail = self._rounds.trail()

    async def fan_out(self, request: FanOut) -> None:
        """Run the body for every item of a source."""
        await run_fan_out(self, request)
