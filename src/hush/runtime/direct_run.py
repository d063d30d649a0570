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
from hush.runtime.stepping import stamp_here

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

    A node is begun with :meth:`begin`. Where that gives nothing, :meth:`breathe` is to be awaited
    if it is ``due``; where it then waits for something, :meth:`go_on` is; where any of these
    raises, :meth:`unusual` is. Then it is over.

    Attributes:
        around: the item that the nodes are in, where the lookout watches it.
        due: whether it is the loop's turn before the node makes its first step.
        token: of the node's observation.
        writes: what the node writes to PARENT; None where its plan says it.
        stamp: of the thread.
    """

    __slots__ = (
        "_began",
        "_context",
        "_coroutine",
        "_lookout",
        "_manager",
        "_outer",
        "_sight",
        "_waited",
        "around",
        "due",
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
        self.around: Sight | None = None
        self.due = False
        self._sight: Sight | None = None
        """The node's observation, where it comes from the lookout."""
        self._outer = outer
        self._coroutine: Coroutine[Any, Any, Any] | None = None
        self.token: object = None
        self.writes: dict[str, Any] | None = None

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
            outputs = self.begin(node, release, context, path, at_once=not late)
            if outputs is None:
                if self.due:
                    outputs = await self.breathe()
                if outputs is None:
                    waits()
                    outputs = await self.go_on()
            writes = self.writes
            if writes is None:
                writes = writes_of(node, outputs, self.frame)
            return Done(self.token, outputs, writes)
        except BaseException as error:  # noqa: BLE001  # raised again unless it is a failure
            return await self.unusual(error)

    def begin(
        self, node: NodePlan, release: Release, context: Context, path: str, *, at_once: bool = True
    ) -> Mapping[str, Any] | None:
        """Begin to watch a node, and make its first step unless it is the loop's turn first.

        Args:
            node: comes to one call.
            release: what let it start.
            context: its own.
            path: of the node; not asked for where nobody watches.
            at_once: whether it may begin before the loop had its turn.

        Returns:
            The node's outputs; None where it is ``due`` to breathe, or waits for something.
        """
        run, stamp = self.run, self.stamp
        self.node, self.release, self._context = node, release, context
        self.left_at = math.inf
        run.started += 1
        end = None
        if run.watched:
            self._began = run.clock()
            lookout = self._lookout
            if lookout is None or lookout.heard:
                self._watch(node, release, context, path)
            else:
                by, after, more, _ = release
                sight = lookout.node(
                    self.around, context, node.name, path, node.kind, more, by, after
                )
                self._sight = self.seen = sight
                self.token = sight.token
            end = self._begun
        now = perf_counter()
        if at_once and now <= stamp.until:
            self.due = False
            result = stamp.step_in(self, context, self._begin, end, now)
            return None if self._coroutine is not None else result
        # It might begin now; what others make of the loop's turn counts as waiting for them.
        self.left_at = now
        self.due = True
        return None

    async def breathe(self) -> Mapping[str, Any] | None:
        """Let the loop have its turn; return as :meth:`begin`, which was due to it."""
        stamp = self.stamp
        await self.run.pace.breathe(self.run.caller.turn)
        self.due = False
        end = None if self.seen is None else self._begun
        result = stamp.step_in(self, self._context, self._begin, end, perf_counter())
        return None if self._coroutine is not None else result

    def _watch(self, node: NodePlan, release: Release, context: Context, path: str) -> None:
        run, lookout, name = self.run, self._lookout, node.name
        by, after, more, _ = release
        if lookout is not None:
            facts = (self.around, context, name, path, node.kind, more, by, after)
            sight = self._sight = self.seen = self.stamp.step(self, lookout.node, *facts)
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

    async def go_on(self) -> Mapping[str, Any]:
        """Make the other steps; return the node's outputs."""
        coroutine, context = self._coroutine, self._context
        assert coroutine is not None  # noqa: S101  # see start
        self._coroutine = None
        returned = await resumed(context, coroutine, self, self._waited)
        # This goes on at once: it waits for nobody in between.
        self.left_at = math.inf
        end = None if self.seen is None else self._begun
        finish_it: Callable[[], Mapping[str, Any]] = partial(self._finish, returned)
        now = perf_counter()
        self.stamp.had_turn(now)
        return self.stamp.step_in(self, context, finish_it, end, now)

    def _begun(self, _result: Any) -> None:
        """Take what came of a step: where it was the last one, end the observation with it."""
        if self._coroutine is not None:
            return
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

    def _begin(self) -> Mapping[str, Any] | None:
        """Make the first step; return outputs, where it does not wait."""
        node, frame = self.node, self.frame
        direct = node.direct
        assert direct is not None  # noqa: S101  # only such nodes come here
        if self._sight is not None:
            self._sight.enter()
        inputs = resolved(node, frame)
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
                self._coroutine, self._waited = coroutine, waited
                return None
        if type(returned) is dict and node.copies is not None:
            for key in node.expected:
                if key not in returned:
                    break
            else:
                # What :meth:`_finish` comes to for nearly all.
                self.writes = None
                return returned
        return self._finish(returned)

    def _finish(self, returned: Any) -> Mapping[str, Any]:
        node = self.node
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
        if getattr(self, "node", None) is None:
            # An interrupt, between two lines of ours: nothing had begun that could be ended.
            raise error
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
