"""State: one run's identity, what it has recorded so far, and frames of values."""

from __future__ import annotations

import os
import random
import uuid
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from hush.model.ref import MISSING
from hush.runtime.instrument import NULL_INSTRUMENT
from hush.runtime.ledger import Ledger
from hush.runtime.pace import Pace
from hush.runtime.stepping import stamp_here
from hush.runtime.trail import NO_TRAIL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hush.errors import Failure
    from hush.model.usage import Usage
    from hush.plan.plan import Plan
    from hush.runtime.events import EventSink
    from hush.runtime.instrument import Instrument, Observation
    from hush.runtime.lineage import Lineage
    from hush.runtime.node_context import RuntimeContext
    from hush.runtime.placement import Caller, Placement
    from hush.runtime.remote.target import Target
    from hush.runtime.trail import Trail

__all__ = ("Frame", "Run", "RunState")

CLOCK: Callable[[], float] = perf_counter
"""What runs tell the time by; a test may put a clock of its own here."""

ITEM_LIMIT = 10_000
"""Most entries from inside items that a run's records hold; their number has no bound."""


NOTHING_GIVEN: frozenset[str] = frozenset()

STRAIGHT = True
"""Whether nodes that come to one call go the straight way; a test may compare both ways."""


# Seeding one for each run takes 8 µs.
_dice = random.Random()  # noqa: S311  # spreads retries, hides nothing
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_dice.seed)


class Frame:
    """The values of one graph while it runs once.

    Attributes:
        plan: the graph, compiled.
        path: the graph's path, items included.
        values: PARENT's values.
        wrote: what nodes have written, by name, in order of the first time.
        outputs: outputs by node index.
        guarded: names that a node may not write any more: a race was won.
        lineage: who contains this, for the blame of cancellations.
        index: index of the innermost item around it; None outside of all.
        limited: whether a time limit is set somewhere around it.
        depth: frames of calls that the current task holds for the graphs around it.
    """

    __slots__ = (
        "depth",
        "given",
        "guarded",
        "index",
        "limited",
        "lineage",
        "outputs",
        "path",
        "plan",
        "values",
        "wrote",
    )

    def __init__(
        self,
        plan: Plan,
        path: str,
        values: dict[str, Any],
        lineage: Lineage,
        *,
        index: int | None,
        limited: bool,
        depth: int,
    ) -> None:
        """Start with what was given; ``values`` are the frame's own from now on."""
        self.plan = plan
        self.path = path
        self.values = values
        # Only what takes all of PARENT asks for it.
        self.given = frozenset(self.values) if plan.ancestors_write else NOTHING_GIVEN
        self.wrote: dict[str, Any] = {}
        self.outputs: dict[int, Mapping[str, Any]] = {}
        self.guarded: dict[int, frozenset[str]] = {}
        self.lineage = lineage
        self.index = index
        self.limited = limited
        self.depth = depth

    def renew(self, path: str, index: int, values: dict[str, Any]) -> None:
        """Become the frame of another item, now that the one before is over.

        Args:
            path: the item's path.
            index: the item's index.
            values: as at the start.
        """
        self.path = path
        self.index = index
        self.values = values
        if self.plan.ancestors_write:
            self.given = frozenset(values)
        self.wrote = {}
        self.outputs = {}

    def write(self, key: str, value: Any) -> None:
        """Write one of PARENT's values."""
        self.values[key] = value
        self.wrote[key] = value

    def results(self) -> dict[str, Any]:
        """Return what the graph's nodes wrote."""
        return self.wrote.copy()


class RunState:
    """What a run recorded: its ids, the order of starts, and the outputs of nodes.

    ``state["graph.node", "key"]`` is an output, ``state["graph.node", "key", default]``
    with a default. Outputs inside items and iterations are not kept, since their number
    has no bound; read them as a map's columns.
    """

    def __init__(self, graph: str, ids: Mapping[str, str | None]) -> None:
        """Start empty.

        Args:
            graph: name of the top graph.
            ids: ``run_id``, ``request_id``, ``user_id``, ``session_id``.
        """
        self.graph = graph
        self.run_id = str(ids["run_id"])
        self.request_id = ids["request_id"]
        self.user_id = ids["user_id"]
        self.session_id = ids["session_id"]
        self.trace_id: str | None = None
        self.execution_order: list[str] = []
        self.omitted = 0
        """Starts inside items that ``execution_order`` had no room for."""
        self.critical_path: Trail = NO_TRAIL
        """What the run's time was spent on, step by step; empty until it is over."""
        self.ledger = Ledger()
        """What models were used for, so far."""
        self._in_items = 0
        self._outputs: dict[str, Mapping[str, Any]] = {}

    @property
    def usage(self) -> Usage:
        """Tokens and cost of all calls to language models so far."""
        return self.ledger.usage

    @property
    def usage_by_model(self) -> dict[str, Usage]:
        """The same for each model that was asked for."""
        return dict(self.ledger.by_model)

    def started(self, frame: Frame, path: str) -> None:
        """Record a start.

        Args:
            frame: values of the graph.
            path: of the node.
        """
        if frame.index is not None:
            if self._in_items >= ITEM_LIMIT:
                self.omitted += 1
                return
            self._in_items += 1
        self.execution_order.append(path)

    def started_elsewhere(self, paths: Sequence[str], count: int, *, in_item: bool) -> None:
        """Record starts in a worker.

        Args:
            paths: of the nodes, in order; not necessarily of all.
            count: how many there were.
            in_item: whether they were in an item.
        """
        room = max(0, ITEM_LIMIT - self._in_items) if in_item else len(paths)
        told = paths[:room]
        if in_item:
            self._in_items += len(told)
        self.execution_order.extend(told)
        self.omitted += count - len(told)

    def keep(self, path: str, outputs: Mapping[str, Any]) -> None:
        """Record the outputs of a node outside of items."""
        self._outputs[path] = outputs

    def __getitem__(self, place: tuple[str, str] | tuple[str, str, Any]) -> Any:
        """Return an output by path and name."""
        path, key, *rest = place
        outputs = self._outputs.get(path)
        if outputs is not None and key in outputs:
            return outputs[key]
        if rest:
            return rest[0]
        if outputs is None:
            known = ", ".join(sorted(self._outputs)[:12]) or "none"
            hint = " Outputs inside items are not kept." if "[" in path else ""
            msg = f"no outputs of {path!r}; there are: {known}.{hint}"
        else:
            names = ", ".join(sorted(map(str, outputs))) or "none"
            msg = f"{path!r} has no output {key!r}; it has: {names}"
        raise KeyError(msg)

    def get(self, path: str, key: str, default: Any = None) -> Any:
        """Return an output, or the default where there is none."""
        return self[path, key, default]

    def __repr__(self) -> str:
        """Return run id and number of starts."""
        return f"<RunState {self.run_id}: {len(self.execution_order)} starts>"


@dataclass(slots=True)
class Run:
    """One run."""

    plan: Plan
    state: RunState
    instrument: Instrument
    placement: Placement
    caller: Caller
    events: EventSink | None
    context_type: Callable[..., RuntimeContext]
    """Makes what a node may ask of the runtime; given, because it runs graphs itself."""
    random: random.Random = field(default_factory=lambda: _dice)
    skipped: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    """Failures that did not fail the run: captured, collected, handled, tolerated."""
    failure_count: int = 0
    """How many of them there were; the list is bounded."""
    started: int = 0
    """Nodes started."""
    skipped_in_items: int = 0
    resources: Any = None
    """What the engine opened of the resources that nodes name; opaque here."""
    engine: object = None
    """Who runs it."""
    clock: Callable[[], float] = field(default_factory=lambda: CLOCK)
    """Tells the instants of which facts are made, in seconds since any."""
    began: float = 0.0
    """When it began, by that clock."""
    starved_s: float = 0.0
    """For how long its event loop stood still through no fault of a node."""
    warned: set[str] = field(default_factory=set)
    """Nodes of which a warning was logged, by name."""
    listeners: dict[int, EventSink] = field(default_factory=dict)
    """Callbacks of nodes, by identity: the faults of each are logged once in a run."""
    watched: bool = True
    """Whether anybody watches."""
    straight: bool = True
    """Whether nodes that come to one call go the straight way."""
    pace: Pace = field(default_factory=lambda: Pace(stamp_here()))
    """Lets the loop have its turn between its nodes and items."""
    targets: Mapping[int, Target] = field(default_factory=dict)
    """Where bodies run that do not run here, by the identity of the node that has them."""

    def __post_init__(self) -> None:
        """Choose, once for the run."""
        self.watched = self.instrument is not NULL_INSTRUMENT
        self.straight = STRAIGHT and self.events is None

    def open_in(self, seen: Observation) -> None:
        """Take note of the run's own observation: it may be known that nobody sees more.

        Args:
            seen: has been opened.
        """
        inside = getattr(self.instrument, "inside", None)
        if inside is not None:
            self.instrument = inside(seen)
            self.watched = self.instrument is not NULL_INSTRUMENT

    def note(self, failure: Failure) -> None:
        """Record a failure that does not fail the run."""
        self.failure_count += 1
        if len(self.failures) < ITEM_LIMIT:
            self.failures.append(failure)

    def skip(self, path: str, *, in_item: bool) -> None:
        """Record a skipped node."""
        if in_item:
            self.skipped_in_items += 1
            if self.skipped_in_items > ITEM_LIMIT:
                return
        self.skipped.append(path)

    def forget_skipped(self, path: str) -> bool:
        """Forget what was skipped inside something that runs again.

        Args:
            path: of a node or an item.

        Returns:
            Whether there was anything.
        """
        inside = (f"{path}.", f"{path}[")
        left = [one for one in self.skipped if not one.startswith(inside)]
        if len(left) == len(self.skipped):
            return False
        self.skipped[:] = left
        return True


def new_id() -> str:
    """Return a fresh run id, 32 hex digits."""
    return uuid.uuid4().hex


def merged_inputs(plan: Plan, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the run's inputs over the graph's defaults."""
    return {**{k: v for k, v in plan.defaults.items() if v is not MISSING}, **inputs}
