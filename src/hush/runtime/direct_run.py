"""The straight way of a node that comes to one call: no policies, no listeners, no detours.

What is promised of it is the same as of any node (:mod:`hush.runtime.node_run`), and what
goes wrong goes the same way. But a function that never waits is over in its first step, and
for that it needs neither a task nor a coroutine around it; and most of what a node may ask
for, it does not.
"""

from __future__ import annotations

import math
from functools import partial
from inspect import isawaitable
from time import perf_counter
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import anyio

from hush import semconv
from hush.runtime.attempt import Place, Tally, answer, interrupted
from hush.runtime.instrument import NULL_OBSERVATION, OK, Scope, begin, finish
from hush.runtime.isolation import resumed
from hush.runtime.lineage import Lineage
from hush.runtime.node_run import Done, NodeRun
from hush.runtime.passing import checked, resolved, writes_of
from hush.runtime.stepping import BREATH_S, stamp_here

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping
    from contextvars import Context

    from hush.plan.plan import NodePlan
    from hush.runtime.instrument import Ending
    from hush.runtime.lookout import Lookout, Sight
    from hush.runtime.node_run import Release
    from hush.runtime.state import Frame, Run

__all__ = ("DirectRun",)


class DirectRun(NodeRun):
    """Runs nodes of one graph that come to one call, one at a time.

    A node is watched from :meth:`open` and begun with :meth:`start`; where that gives
    nothing, it waits for something and :meth:`go_on` is to be awaited; where any of these
    raises, :meth:`unusual` is. Then it is over.

    Attributes:
        token: of the node's observation.
        writes: what the node writes to PARENT; None where its plan says it.
        stamp: of the thread.
    """

    __slots__ = (
        "_around",
        "_began",
        "_context",
        "_coroutine",
        "_lookout",
        "_manager",
        "_outer",
        "_sight",
        "_waited",
        "stamp",
        "token",
        "writes",
    )

    def __init__(
        self, frame: Frame, run: Run, outer: Lineage, depth: int, lookout: Lookout | None
    ) -> None:
        """Prepare to run nodes.

        Args:
            frame: their graph's values.
            run: the run that they belong to; it has no listeners.
            outer: what contains the nodes.
            depth: frames of calls that the current task holds for the graphs around them.
            lookout: watches where they begin; None where the instrument has to be asked.
        """
        self.frame = frame
        self.run = run
        self.depth = depth
        self.seen = self.place = None
        self.over = False
        self.blocked_s = 0.0
        self.left_at = math.inf
        self.loop_wait_s = 0.0
        self.stamp = stamp_here()
        self._lookout = lookout
        self._around: Sight | None = None
        self._sight: Sight | None = None
        """The node's observation, where it comes from the lookout."""
        self._outer = outer
        self._coroutine: Coroutine[Any, Any, Any] | None = None
        self.token: object = None

    async def call(
        self,
        node: NodePlan,
        release: Release,
        context: Context,
        waits: Callable[[], None],
        *,
        late: bool,
    ) -> Done:
        """Run one node once.

        Args:
            node: comes to one call.
            release: what let it start.
            context: its own.
            waits: called where it waits for something for the first time.
            late: whether its graph has failed, and a cancellation is on its way.

        Returns:
            How it ended.

        Raises:
            BaseException: as :meth:`NodeRun.execute`.
        """
        try:
            path = f"{self.frame.path}.{node.name}"
            self.run.state.started(self.frame, path)
            if self.open(node, release, context, path) or late:
                await self.stamp.breathe(self.run.caller.turn)
            outputs = self.start()
            if outputs is None:
                waits()
                outputs = await self.go_on()
            writes = self.writes
            if writes is None:
                writes = writes_of(node, outputs, self.frame)
            return Done(self.token, outputs, writes)
        except BaseException as error:  # noqa: BLE001  # raised again unless it is a failure
            return await self.unusual(error)

    def go_inside(self, around: Sight | None) -> None:
        """Be in an item from now on.

        Args:
            around: the item, where the lookout watches it; None where it is the current one.
        """
        self._around = around

    def open(self, node: NodePlan, release: Release, context: Context, path: str) -> bool:
        """Begin to watch a node.

        Args:
            node: comes to one call.
            release: what let it start.
            context: its own.
            path: of the node; not asked for where nobody watches.

        Returns:
            Whether it is the loop's turn first.
        """
        run, stamp = self.run, self.stamp
        self.node, self.release, self._context = node, release, context
        self.left_at = math.inf
        run.started += 1
        if run.watched:
            self._watch(node, release, context, path)
        now = perf_counter()
        if now - stamp.breath_at <= BREATH_S:
            return False
        # It might begin now; what others make of the loop's turn counts as waiting for them.
        self.left_at = now
        return True

    def _watch(self, node: NodePlan, release: Release, context: Context, path: str) -> None:
        run, lookout, name = self.run, self._lookout, node.name
        self._began = run.clock()
        by, after, more, _ = release
        if lookout is not None:
            facts = (self._around, context, name, path, node.kind, more, by, after)
            if lookout.heard:
                sight = self.stamp.step(self, lookout.node, *facts)
            else:
                sight = lookout.node(*facts)
            self._sight = self.seen = sight
            self.token = sight.token
            return
        known: dict[str, Any] = {
            semconv.NODE_NAME: name,
            semconv.NODE_PATH: path,
            semconv.NODE_KIND: node.kind,
        }
        if more:
            known |= more
        scope = Scope("node", name, known, by, by is None, after)
        # Where user code runs, and nowhere else, is the span the current one.
        opened = self.stamp.step(self, context.run, begin, run.instrument, scope)
        self._manager, self.seen = opened
        self.token = self.seen.token

    def start(self) -> Mapping[str, Any] | None:
        """Make the first step.

        Returns:
            The node's outputs; None where it waits for something.
        """
        result = self.stamp.step_in(self, self._context, self._begin, self._begun)
        return None if self._coroutine is not None else result

    def _begun(self, result: Any) -> None:
        """Take what came of the first step."""
        if self._coroutine is not None:
            self._waited = result
        elif self.seen is not None:
            self._close_well()

    async def go_on(self) -> Mapping[str, Any]:
        """Make the other steps; return the node's outputs."""
        coroutine, context = self._coroutine, self._context
        assert coroutine is not None  # noqa: S101  # see start
        self._coroutine = None
        returned = await resumed(context, coroutine, self, self._waited)
        # This goes on at once: it waits for nobody in between.
        self.left_at = math.inf
        return self.stamp.step_in(self, context, partial(self._finish, returned), self._gone)

    def _gone(self, _outputs: object) -> None:
        if self.seen is not None:
            self._close_well()

    def _close_well(self) -> None:
        """End the observation in the step in which the node has ended well."""
        sight = self._sight
        if sight is None or self.loop_wait_s or self.blocked_s:
            self._tell_times()
            self._seen_off(OK)
            return
        self.seen = self._sight = None
        run_s = self.run.clock() - self._began
        self.over = True
        self.left_at = math.inf
        sight.end_well(run_s)

    def _tell_times(self) -> None:
        seen = self.seen
        assert seen is not None  # noqa: S101  # asked by who calls
        seen.annotate(semconv.RUN_S, self.run.clock() - self._began)
        if self.loop_wait_s:
            seen.annotate(semconv.WAIT_LOOP_S, self.loop_wait_s)
        self.blocked_s = self.loop_wait_s = 0.0

    def _seen_off(self, ending: Ending | None, error: BaseException | None = None) -> None:
        seen, sight = self.seen, self._sight
        assert seen is not None  # noqa: S101  # asked by who calls
        self.seen = self._sight = None
        if ending is not None:
            seen.end(ending)
        # What whoever watches does now is not the node's doing.
        self.over = True
        self.left_at = math.inf
        if sight is None:
            finish(self._manager, self._context, error)
        else:
            sight.end_outside(error)

    def _close(self, ending: Ending | None, error: BaseException | None = None) -> None:
        """End the observation in a step of its own."""
        self._tell_times()
        try:
            self.stamp.step(self, self._seen_off, ending, error)
        finally:
            self.over = False

    def _begin(self) -> Any:
        """Make the first step; return how it ended, or what the coroutine waits for."""
        direct = self.node.direct
        assert direct is not None  # noqa: S101  # only such nodes come here
        if self._sight is not None:
            self._sight.enter()
        inputs = resolved(self.node, self.frame)
        try:
            returned = direct.call(**inputs)
        except StopIteration as stop:
            # As out of any coroutine: else it would look like the end of one.
            msg = "coroutine raised StopIteration"
            raise RuntimeError(msg) from stop
        if direct.awaited or isawaitable(returned):
            coroutine = returned if type(returned) is CoroutineType else _awaiting(returned)
            try:
                waited = coroutine.send(None)
            except StopIteration as stop:
                returned = stop.value
            else:
                self._coroutine = coroutine
                return waited
        return self._finish(returned)

    def _finish(self, returned: Any) -> Mapping[str, Any]:
        node = self.node
        if type(returned) is dict and node.copies is not None:
            for key in node.expected:
                if key not in returned:
                    break
            else:
                self.writes = None
                return returned
        if type(returned) is not dict:
            direct = node.direct
            assert direct is not None  # noqa: S101  # as above
            ctx = self.run.context_type(node, self.frame, self._place(), depth=self.depth)
            returned = direct.outputs(returned, ctx)
        outputs = checked(node, returned, self.frame)
        # Where user code has a part in it, that is the node's code.
        plain = node.copies is not None and type(outputs) is dict
        self.writes = None if plain else writes_of(node, outputs, self.frame)
        return outputs

    def _place(self) -> Place:
        run, path = self.run, self.path
        self.lineage = Lineage(self._outer)
        seen = NULL_OBSERVATION if self.seen is None else self.seen
        tally = Tally(attempts=1)
        return Place(run, self.node.name, path, seen, self.lineage, tally, self.frame.index)

    async def unusual(self, error: BaseException) -> Done:
        """Say what becomes of what came out of a node; to be awaited where it is handled.

        Raises:
            BaseException: as :meth:`NodeRun.execute`.
        """
        place = self._place()
        ending: Ending | None = None
        try:
            await answer(error, place)
            raise error  # noqa: TRY301  # unless something stands in its place
        except Exception as failure:  # noqa: BLE001  # a node's failure is a result here, raised again by its graph
            done, ending = self._failed(failure, place)
            if self.seen is not None:
                self._close(ending)
            return done
        except BaseException as other:
            if isinstance(other, anyio.get_cancelled_exc_class()):
                self._hand_on_late()
                ending = interrupted(place)
            if self.seen is not None:
                self._close(ending, other)
            raise


async def _awaiting(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
