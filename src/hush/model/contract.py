"""What passes between a node, the compiler and the runtime: plain data and one protocol.

A kind of node says what it takes, gives and asks for in these terms, and knows nothing
of how the answer comes about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from contextlib import AbstractContextManager

    from hush.model.ref import Ref
    from hush.model.retry import Retry
    from hush.model.usage import Usage

__all__ = (
    "BodyOutputs",
    "CallObservation",
    "ChunkReceived",
    "Direct",
    "FanOut",
    "Flaw",
    "ItemRecord",
    "NodeContext",
    "OutputMap",
    "Parameters",
    "RunIn",
    "Selection",
)

RunIn = Literal["loop", "thread", "process"]


@dataclass(frozen=True, slots=True)
class Flaw:
    """A problem that a node knows of itself; its path is added when it is reported."""

    rule: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Parameters:
    """Which inputs a node takes."""

    required: frozenset[str] = frozenset()
    """Names without which it cannot run."""
    optional: frozenset[str] = frozenset()
    """Names that have a default of their own."""
    open: bool = False
    """Whether any other name is taken too, as with ``**kwargs``."""

    def takes(self, name: str) -> bool:
        """Say whether ``name`` is taken."""
        return self.open or name in self.required or name in self.optional


@dataclass(frozen=True, slots=True)
class BodyOutputs:
    """What the nodes of a graph write to PARENT."""

    names: frozenset[str] = frozenset()
    """Names that are known before running."""
    open: bool = False
    """Whether further names appear at run time (``{"*": PARENT}`` without declaration)."""


@dataclass(frozen=True, slots=True, eq=False)
class Direct:
    """What a node's ``execute`` comes to where it needs nothing of the runtime."""

    call: Callable[..., Any]
    """Takes the inputs by name, on the event loop."""
    awaited: bool
    """Whether calling gives a coroutine."""
    outputs: Callable[[Any, NodeContext], Mapping[str, Any]]
    """Makes outputs of what came back, where that is no plain dictionary."""


@dataclass(frozen=True, slots=True, eq=False)
class OutputMap:
    """One value on its way from a node to its containing graph."""

    source: Ref
    """A reference to the node's output, with operations."""
    key: str
    """The containing graph's name for it."""


class Selection(dict[str, Any]):
    """Outputs of a node that chooses among its successors, with the names it chose."""

    __slots__ = ("chosen",)

    def __init__(self, outputs: Mapping[str, Any], chosen: Iterable[str]) -> None:
        """Keep outputs and choice.

        Args:
            outputs: the node's outputs.
            chosen: names of the selected targets; targets that are not among them
                are skipped.
        """
        super().__init__(outputs)
        self.chosen = frozenset(chosen)


class ItemRecord(NamedTuple):
    """What became of one item of a fan-out."""

    index: int  # type: ignore[assignment]  # nobody looks for a value in it
    key: str | None
    outcome: str
    outputs: Mapping[str, Any] | None
    """The body's outputs; None where the item failed."""
    error_type: str | None = None
    message: str | None = None
    attempts: int = 1
    run_s: float = 0.0
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FanOut:
    """What a map asks of the runtime. Fields mean what MapNode's arguments mean."""

    each: Mapping[str, Any]
    """Input name to source object."""
    each_in_thread: frozenset[str]
    """Names of those sources whose ``next`` runs in a thread."""
    broadcast: Mapping[str, Any]
    max_concurrency: int
    on_item: Callable[[ItemRecord], None]
    """Called once per finished item, in order of completion, on the loop."""
    collect: bool
    """Whether failing items leave the others running."""
    max_failures: int | float | None
    retry: Retry | None
    timeout_s: float | None
    deadline_s: float | None
    key: Callable[[dict[str, Any]], Any] | None
    failed_when: Callable[[Mapping[str, Any]], str | None] | None
    """Gives the text of a handled failure, None where there is none."""
    carry: bool = False
    """Whether an item sees what the item before it wrote (a for loop)."""
    iterations: bool = False
    """Whether items are called iterations in spans and paths."""
    span_budget: int | None = None
    """How many items need to be told of; None for all."""
    reads: frozenset[str] | None = None
    """Names of the body's outputs that anything looks at; None where that may be any. Others need
    not come back from where the items run."""


@dataclass(frozen=True, slots=True)
class ChunkReceived:
    """A piece of a streamed answer arrived; an event of the run."""

    path: str
    """Path of the node, items included."""
    name: str
    """Name of the node."""
    text: str
    """What was added."""
    part: str = "content"
    """``content``, ``reasoning``, ``refusal`` or ``tool_call`` (of a call's arguments)."""
    choice: int = 0
    """Index of the choice, where several were asked for."""
    attempt: int = 1
    """Number of the call. A higher one begins anew: the call before it broke off."""
    model: str = ""
    """The model that was asked for."""


class CallObservation(Protocol):
    """One call to the outside that is being watched."""

    def annotate(self, name: str, value: Any) -> None:
        """Put an attribute on the call's span; a name from :mod:`hush.semconv`."""

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Put an event on the call's span."""

    def lost_to(self, winner: CallObservation) -> None:
        """Say that a cancellation from now on means: lost a race against ``winner``."""


class NodeContext(Protocol):
    """What a node may ask for while it runs; given by the runtime."""

    @property
    def path(self) -> str:
        """The node's path, items included."""

    @property
    def reads(self) -> frozenset[str]:
        """Names of this node's outputs that anything reads; ``*`` where all are."""

    @property
    def body_outputs(self) -> BodyOutputs:
        """What this node's body writes; empty where it has no body."""

    def annotate(self, name: str, value: Any) -> None:
        """Put an attribute on the node's span; a name from :mod:`hush.semconv`."""

    def warn(self, event: str, **facts: Any) -> None:
        """Log a warning that names the node."""

    def evaluate(self, position: int) -> Any:
        """Evaluate one of the node's :meth:`Node.conditions` against its surroundings."""

    def call(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        run_in: RunIn,
        abandon: bool,
    ) -> Awaitable[Any]:
        """Call a plain function on the loop, in a thread or in a process."""

    def run_body(self, values: Mapping[str, Any]) -> Awaitable[dict[str, Any]]:
        """Run the body once with ``values`` as PARENT; return what it wrote."""

    def run_iteration(
        self, index: int, values: Mapping[str, Any], *, at_most: int, span_budget: int | None
    ) -> Awaitable[dict[str, Any]]:
        """Run the body once as an iteration with its own span and path.

        Args:
            index: number of the round, from 0.
            values: what the body reads as PARENT.
            at_most: how many rounds there can be.
            span_budget: how many of them need to be told of; None for all.
        """

    def fan_out(self, request: FanOut) -> Awaitable[None]:
        """Run the body for every item of a source."""

    @property
    def resources(self) -> Any:
        """What the engine opened of the resources that nodes name; None where none does."""

    def random(self) -> float:
        """Return a random number in [0, 1)."""

    def observe_call(
        self, name: str, facts: Mapping[str, Any], *, after: CallObservation | None = None
    ) -> AbstractContextManager[CallObservation]:
        """Watch one call to the outside for as long as the context manager is open.

        Args:
            name: name of what is called, such as the model; low-cardinality.
            facts: what is known at the start, by names of :mod:`hush.semconv`.
            after: the call that this one follows upon, for a link.
        """

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Put an event on the node's span."""

    def waited(self, limiter: str, seconds: float) -> None:
        """Book a wait for a limit; it is no part of the node's own time."""

    def paused(self, seconds: float) -> None:
        """Book a pause between two attempts; it is no part of the node's own time."""

    def book(self, usage: Usage, model: str) -> None:
        """Book what a call used, for the node and all that contains it."""

    def chunk_listener(
        self, on_chunk: Callable[[ChunkReceived], Any] | None
    ) -> Callable[[ChunkReceived], Awaitable[None]] | None:
        """Return what tells of a piece of a streamed answer; None where nobody listens.

        Args:
            on_chunk: the node's own callback, sync or async; its faults are logged once.
        """
