"""A line: a graph whose nodes are calls, each of which waits for the one before it only.

Which node's turn it is needs no bookkeeping here: nothing is skipped, nothing joined, and
one node runs at a time. The facts are the same as of any graph
(:mod:`hush.runtime.scheduler`).
"""

from __future__ import annotations

from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from hush.runtime import presence
from hush.runtime.chronicle import NO_FACTS
from hush.runtime.direct_run import DirectRun
from hush.runtime.failing import BodyFailedError
from hush.runtime.lookout import lookout_here
from hush.runtime.node_run import AT_ONCE, Release
from hush.runtime.presence import MapNow, NodeNow, WaitNow
from hush.runtime.trail import NO_TRAIL, along, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextvars import Context

    from hush.plan.plan import Plan
    from hush.runtime.lookout import Lookout, Sight
    from hush.runtime.node_run import Done
    from hush.runtime.state import Frame, Run
    from hush.runtime.trail import Trail

__all__ = ("LineRun", "run_line")

_new_tuple = tuple.__new__


async def run_line(frame: Frame, run: Run) -> Trail:
    """Run such a graph once.

    Args:
        frame: its values; written to.
        run: the run that it belongs to; goes the straight way.

    Returns:
        Its critical path.

    Raises:
        BodyFailedError: a node failed.
    """
    line = LineRun(run, frame, lookout_here(run.instrument))
    presence.enter(line)
    try:
        await line.drive(copy_context(), None, run.clock())
        return line.trail()
    except BaseException as error:
        if not isinstance(error, Exception):
            frame.lineage.cut = line.trail()
        raise
    finally:
        presence.leave(line)


class LineRun:
    """Runs lines, one at a time."""

    __slots__ = ("_direct", "_frame", "_node", "_since", "_took", "run")

    def __init__(self, run: Run, frame: Frame, lookout: Lookout | None) -> None:
        """Prepare to run lines.

        Args:
            run: the run that they belong to.
            frame: values of the first one.
            lookout: watches where they begin; None where the instrument has to be asked.
        """
        self.run = run
        self._frame = frame
        self._direct = DirectRun(frame, run, frame.lineage, frame.depth + 1, lookout)
        self._took: list[float] = []
        self._node = -1
        """Index of the node that is running."""
        self._since = 0.0

    async def drive(self, context: Context, around: Sight | None, began: float) -> float:
        """Run the line that the frame holds now.

        Args:
            context: each node gets a copy of it.
            around: the item that it is in, where the lookout watches that.
            began: the instant, by the run's clock.

        Returns:
            When it ended.

        Raises:
            BodyFailedError: a node failed.
        """
        run, frame, direct = self.run, self._frame, self._direct
        nodes, line, clock, release = frame.plan.nodes, frame.plan.line, run.clock, AT_ONCE
        values, wrote, copy, base = frame.values, frame.wrote, context.copy, frame.path
        cancelled, watched, top = run.caller.cancelled, run.watched, frame.index is None
        took: list[float] = []
        state = run.state
        assert line is not None  # noqa: S101  # see Plan.line
        outputs: Mapping[str, Any] | None = None
        failed: Done | None = None
        self._took, self._since = took, began
        direct.around = around
        for i in line:
            self._node = i
            node = nodes[i]
            path = f"{base}.{node.name}"
            state.started(frame, path)
            try:
                outputs = direct.begin(node, release, copy(), path)
                if outputs is None:
                    if direct.due:
                        outputs = await direct.breathe()
                    if outputs is None:
                        outputs = await direct.go_on()
            except BaseException as error:  # noqa: BLE001  # raised again unless it is a failure
                try:
                    failed = await direct.unusual(error)
                except BaseException:
                    took.append(clock() - self._since)
                    self._node = -1
                    raise
            ended = clock()
            took.append(ended - self._since)
            self._since = ended
            if failed is not None or outputs is None:
                assert failed is not None  # noqa: S101  # a node has outputs, or it has failed
                self._node = -1
                raise BodyFailedError(failed.failures, failed.culprit, self.trail())
            if node.reads:
                frame.outputs[i] = outputs
            if direct.writes is not None:
                for key, value in direct.writes.items():
                    frame.write(key, value)
            elif node.copies:
                for key, name in node.copies:
                    if name in outputs:
                        values[key] = wrote[key] = outputs[name]
            if top:
                state.keep(path, outputs)
            if cancelled():
                # A node's code has caught what asyncio delivers only once.
                await run.caller.give_way()
            if watched:
                token = direct.token
                # As the class makes it, for a third of the time.
                release = _new_tuple(Release, (token, (token,), NO_FACTS, None))
        self._node = -1
        return self._since

    def trail(self) -> Trail:
        """Return the critical path up to now."""
        return _trail_of(self._frame.plan, self._took)

    def trail_later(self) -> Callable[[], Trail]:
        """Return what gives that path, also after another line has been run."""
        return partial(_trail_of, self._frame.plan, self._took)

    # --- what is going on, asked from any thread -----------------------------------------

    @property
    def engine(self) -> object:
        """Who runs it."""
        return self.run.engine

    @property
    def run_key(self) -> tuple[str, str, float]:
        """Run id, name of the run's graph, and when the run began."""
        return self.run.state.run_id, self.run.plan.name, self.run.began

    def nodes_now(self, now: float) -> Iterator[NodeNow]:
        """Yield the node that is running."""
        i, frame, since = self._node, self._frame, self._since
        if i >= 0:
            node = frame.plan.nodes[i]
            yield NodeNow(f"{frame.path}.{node.name}", node.kind, now - since)

    def waits_now(self, now: float) -> Iterator[WaitNow]:
        """Yield nothing: nobody waits for several."""
        del now
        return iter(())

    def maps_now(self, now: float) -> Iterator[MapNow]:
        """Yield nothing: it is no map."""
        del now
        return iter(())


def _trail_of(plan: Plan, took: Sequence[float]) -> Trail:
    """Return the critical path of a line by what each node took, as far as it has come."""
    nodes = plan.nodes
    steps = zip(took, plan.line or (), strict=False)
    return shortened(along([(max(0.0, s), nodes[i].name, NO_TRAIL) for s, i in steps]))
