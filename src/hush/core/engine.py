"""Hush: compiles a graph once and runs it many times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict

import anyio

from hush.core.limits import process_limit, thread_limit
from hush.core.placing import executors_of, targets_of
from hush.core.single_run import SingleRun
from hush.core.stream import RunStream
from hush.errors import InputError
from hush.executors.local_placement import LocalPlacement
from hush.plan.compile import compile_graph
from hush.runtime.events import CallbackSink
from hush.runtime.failing import (
    only_interrupt,
)
from hush.runtime.presence import snapshot
from hush.runtime.state import merged_inputs

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Unpack

    from hush.core.result import RunResult
    from hush.model.executor import Executor
    from hush.model.graph import Graph
    from hush.providers.hub import ResourceHub
    from hush.providers.resources import Resources
    from hush.runtime.events import Event, EventSink
    from hush.runtime.presence import Snapshot

__all__ = ("Hush",)


class RunOptions(TypedDict, total=False):
    """What :meth:`Hush.run` takes besides the inputs."""

    request_id: str | None
    user_id: str | None
    session_id: str | None
    deadline_s: float | None
    on_event: Callable[[Event], Any] | None


class Hush:
    """A workflow, ready to run.

    Compiling and validating is all that the constructor does; nothing starts and nothing
    connects before a run. One engine may run many times at once, on asyncio and on
    trio; runs share nothing but limits.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        resources: ResourceHub | Mapping[str, Any] | None = None,
        max_threads: int | None = None,
        executor: Executor | None = None,
    ) -> None:
        """Compile a graph.

        Args:
            graph: the top graph.
            resources: where language models are configured: a hub, or a mapping for
                :meth:`hush.providers.ResourceHub.from_mapping`. None finds the file
                ``resources.yaml``, and only where a node uses a resource.
            max_threads: most worker threads for plain functions, over all runs of this
                engine on one loop. None means 256, or the largest ``max_concurrency``
                in the graph where that is more, so that no map is held back by it.
                What runs in processes has at most as many of these, and at most one for
                each CPU or what the widest map around such a node asks for.
            executor: where the items of maps run that are in no other map and name none
                themselves: one of :mod:`hush.executors`. None is this process.

        Raises:
            GraphError: the graph has problems; all of them are in it. One is what cannot be
                pickled and would have to run elsewhere.
            ResourceError: a resource that a node uses is missing or wrong.
            ValueError: ``max_threads`` is not a positive integer.
        """
        self.plan = compile_graph(graph)
        hub = _hub_of(resources, self.plan.resources)
        self._resources = _resolved(hub, self.plan.resources)
        threads = thread_limit(self.plan, max_threads)
        self._placement = LocalPlacement(threads, process_limit(self.plan, threads))
        self._targets = targets_of(self.plan, executor, hub)
        self._executors = executors_of(self._targets)
        self._single = SingleRun(self.plan, self._placement, self._resources, self._targets)

    async def run(
        self,
        inputs: Mapping[str, Any] | None = None,
        *,
        request_id: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        deadline_s: float | None = None,
        on_event: Callable[[Event], Any] | None = None,
    ) -> RunResult:
        """Run the workflow once, on whichever loop is running.

        Args:
            inputs: the graph's inputs by name.
            request_id: the caller's id of the request, for spans and state.
            user_id: the user's id, likewise.
            session_id: the session's id, likewise.
            deadline_s: limit of the whole run in seconds; None has none.
            on_event: called with each event, sync or async; a slow one slows the run.
                When it raises, that is logged once and the run goes on.

        Returns:
            The outputs. Everything that the run started is over.

        Raises:
            InputError: the inputs do not fit the graph; nothing was started.
            RunError: a node failed, or the deadline passed; everything is over.
            BaseException: cancellation comes out as it came in, once everything is over.
        """
        sink = None if on_event is None else CallbackSink(on_event, self._placement.caller())
        ids = {"request_id": request_id, "user_id": user_id, "session_id": session_id}
        return await self._single.execute(self, self.check_inputs(inputs), ids, deadline_s, sink)

    async def __call__(
        self, inputs: Mapping[str, Any] | None = None, **options: Unpack[RunOptions]
    ) -> RunResult:
        """Run the workflow once; the same as :meth:`run`."""
        return await self.run(inputs, **options)

    def run_sync(
        self,
        inputs: Mapping[str, Any] | None = None,
        *,
        backend: Literal["asyncio", "trio"] = "asyncio",
        **options: Unpack[RunOptions],
    ) -> RunResult:
        """Run the workflow once in an event loop of its own.

        Args:
            inputs: the graph's inputs by name.
            backend: ``asyncio`` or ``trio``.
            **options: as for :meth:`run`.

        Returns:
            The outputs.

        Raises:
            InputError: the inputs do not fit the graph; nothing was started.
            RunError: a node failed.
            KeyboardInterrupt: Ctrl-C, bare on both loops; likewise SystemExit.
            RuntimeError: an event loop is already running in this thread.
        """

        async def main() -> RunResult:
            return await self.run(inputs, **options)

        try:
            return anyio.run(main, backend=backend)
        except BaseExceptionGroup as group:
            interrupt = only_interrupt(group)
            if interrupt is None:
                raise
            # trio wraps what Ctrl-C raises in a group for each scope that it passes; a script's
            # "except KeyboardInterrupt" has to see it all the same.
            raise interrupt from None

    def stream(
        self,
        inputs: Mapping[str, Any] | None = None,
        *,
        request_id: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        deadline_s: float | None = None,
    ) -> RunStream:
        """Run the workflow and iterate over its events.

        ``async with engine.stream(inputs) as events`` starts the run; ``async for event in
        events`` gets its events in order and raises its RunError at the end where it
        failed; leaving the block cancels what still runs; ``events.result`` is the
        result once the run is over.

        Args:
            inputs: the graph's inputs by name.
            request_id: as for :meth:`run`.
            user_id: as for :meth:`run`.
            session_id: as for :meth:`run`.
            deadline_s: as for :meth:`run`.

        Returns:
            An async context manager and iterator.

        Raises:
            InputError: the inputs do not fit the graph; nothing was started.
        """
        values = self.check_inputs(inputs)
        ids = {"request_id": request_id, "user_id": user_id, "session_id": session_id}

        async def run(sink: EventSink) -> RunResult:
            return await self._single.execute(self, values, ids, deadline_s, sink)

        return RunStream(run)

    async def __aenter__(self) -> Self:
        """Open a block in which runs share what they open, such as connections and workers.

        Raises:
            ExecutorError: there is no engine to connect to.
        """
        async with AsyncExitStack() as entered:
            if self._executors:
                # Few workflows need it.
                from hush.runtime.remote.exchange import enter  # noqa: PLC0415  # as above

                for executor in self._executors:
                    await enter(entered, executor)
            if self._resources is not None:
                self._resources.hold()
            entered.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the block and what its runs have left open."""
        async with AsyncExitStack() as entered:
            for executor in self._executors:
                entered.push_async_exit(executor)
            if self._resources is not None:
                await self._resources.release()

    # --- inside ------------------------------------------------------------------------

    def check_inputs(self, inputs: Mapping[str, Any] | None) -> dict[str, Any]:
        """Check a run's inputs against the graph.

        Args:
            inputs: by name; None for none.

        Returns:
            The values to start with, defaults filled in.

        Raises:
            InputError: one is missing or unknown.
        """
        plan = self.plan
        if inputs is None:
            inputs = {}
        if not isinstance(inputs, Mapping):
            msg = f"{plan.name}: inputs are {type(inputs).__name__}, expected a mapping by name"
            raise InputError(msg)
        known = plan.required | plan.optional
        said = []
        missing = plan.required - inputs.keys()
        if missing:
            said.append(f"missing: {', '.join(sorted(missing))}")
        unknown = [] if plan.open_inputs else [name for name in inputs if name not in known]
        if unknown:
            said.append(f"unknown: {', '.join(sorted(map(str, unknown)))}")
        if said:
            takes = ", ".join(
                [*sorted(plan.required), *(f"{name} (optional)" for name in sorted(plan.optional))]
            )
            msg = f"{plan.name}: inputs {'; '.join(said)}. The graph takes: {takes or 'none'}"
            raise InputError(msg)
        return merged_inputs(plan, inputs)

    def snapshot(self) -> Snapshot:
        """Return what this engine is running and waiting for now, from any thread.

        Returns:
            Every run that is under way, with its running nodes, the joins that wait and
            for whom, and its maps; ``str()`` of it is for people.
        """
        return snapshot(self)

    def __repr__(self) -> str:
        """Return the graph's name and size."""
        return f"<Hush {self.plan.name}: {self.plan.size} nodes>"


def _hub_of(
    resources: ResourceHub | Mapping[str, Any] | None, users: Mapping[str, str]
) -> ResourceHub | None:
    """Find where resources are configured; None where no node uses any.

    Args:
        resources: as for :class:`Hush`.
        users: names of resources, with the path of a node that uses each.
    """
    if not users and resources is None:
        return None
    # Only here is it known that the graph calls models; what does not shall not load them.
    from hush.providers.hub import ResourceHub  # noqa: PLC0415  # needs pydantic and yaml

    if resources is None:
        return ResourceHub.default()
    if isinstance(resources, ResourceHub):
        return resources
    return ResourceHub.from_mapping(resources)


def _resolved(hub: ResourceHub | None, users: Mapping[str, str]) -> Resources | None:
    """Check the resources that nodes use; None where none uses any."""
    if hub is None or not users:
        return None
    from hush.providers.resources import Resources  # noqa: PLC0415  # needs openai

    return Resources(hub, users)
