"""What goes to a worker and what comes back: plain data, with a version.

Values of users are bytes here, each item's by itself, so that one that cannot be unpacked
fails its item and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hush.model.usage import Usage
    from hush.runtime.trail import Trail

__all__ = ("SCHEMA", "Body", "Call", "CallItem", "CallReport", "Fault", "ItemReport", "Worker")

SCHEMA: Final = 1
"""Version of all of this. A worker refuses any other."""


@dataclass(frozen=True, slots=True)
class Body:
    """What a worker runs."""

    digest: str
    """Hash of the definition; a worker compares it with what it has loaded."""
    reference: str | None = None
    """``module:attribute`` of the top graph, which the worker imports; None by value."""
    code: bytes | None = field(default=None, repr=False)
    """The definition, pickled; None by reference."""
    python: tuple[int, int] = (0, 0)
    """Version of Python that pickled it; what is pickled by value needs the same."""


@dataclass(frozen=True, slots=True)
class CallItem:
    """One item, to be run once."""

    index: int
    key: str | None
    attempt: int
    """Number of this attempt, from 1; those lost with a worker count."""
    values: bytes = field(repr=False)
    """Its inputs by name, pickled."""
    carrier: Mapping[str, str]
    """W3C headers of the item's span."""
    idempotency_key: str
    """The same for every attempt at this item of this run."""


@dataclass(frozen=True, slots=True)
class Call:
    """A chunk of items for one worker."""

    schema: int
    run_id: str
    graph: str
    """Name of the top graph."""
    path: str
    """Path of the map or graph, items included."""
    name: str
    """Its name."""
    level: Literal["item", "graph"]
    """Whether these are items of a map, or one graph as a whole."""
    body: Body
    broadcast: bytes = field(repr=False)
    """What all items get, by name, pickled once."""
    items: tuple[CallItem, ...]
    concurrency: int
    """How many of the items run at the same time in the worker."""
    backend: Literal["asyncio", "trio"]
    timeout_s: float | None
    """Limit of one attempt at one item, in seconds."""
    deadline_s: float | None
    """Seconds from its start in the worker after which the whole chunk is cut off."""
    resources: bytes | None = field(default=None, repr=False)
    """Where language models are configured, pickled; None where the body uses none. May hold
    keys that were given in code: it is shown nowhere."""
    telemetry: bytes | None = field(default=None, repr=False)
    """How it is to be watched; only :mod:`hush.observe` can read it. None where nobody watches."""
    reads: frozenset[str] | None = None
    """Names of outputs that come back; None for all."""


@dataclass(frozen=True, slots=True)
class Worker:
    """Who ran a call."""

    host: str
    pid: int
    name: str
    """What its engine calls it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An error as data."""

    path: str
    """Of the node that raised it, items included."""
    kind: str
    """As in :class:`~hush.errors.Failure`; ``interrupt`` where it is no failure but has to come
    out of the run, such as SystemExit."""
    error_type: str
    message: str
    attempts: int = 1
    traceback: str = ""
    """Text of the traceback in the worker."""
    exception: bytes | None = field(default=None, repr=False)
    """The exception, pickled; None where it cannot be unpickled as it was."""


@dataclass(frozen=True, slots=True)
class ItemReport:
    """What became of one attempt at one item."""

    index: int
    attempt: int
    began_ns: int
    """By the worker's clock, since the epoch."""
    ended_ns: int
    outputs: bytes | None = field(default=None, repr=False)
    """The body's outputs, pickled; None where it failed."""
    faults: tuple[Fault, ...] = ()
    """Why it failed, the first cause first; empty where it did not."""
    cut_off: bool = False
    """Whether the chunk's deadline ended it."""
    trail: Trail = ()
    """Critical path of the body."""
    started: int = 0
    """Nodes started."""
    skipped: tuple[str, ...] = ()
    """Paths of nodes that were skipped; bounded."""
    order: tuple[str, ...] = ()
    """Paths of nodes in order of start; bounded."""
    noted: tuple[Fault, ...] = ()
    """Failures that did not fail the item; bounded."""
    noted_count: int = 0
    partial: bool = False
    usage: Mapping[str, Usage] = field(default_factory=dict)
    """What was used of each model."""
    waits: Mapping[str, float] = field(default_factory=dict)
    """Seconds waited for each limit."""
    spans: bytes | None = field(default=None, repr=False)
    """What was observed of the attempt; only :mod:`hush.observe` can read it."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by constructor arguments, which takes a fraction of the usual time."""
        return ItemReport, _all_of(self)


_all_of = attrgetter(*(one.name for one in fields(ItemReport)))


@dataclass(frozen=True, slots=True)
class CallReport:
    """What became of a call."""

    schema: int
    worker: Worker
    received_ns: int
    """When the worker got the call, by its clock, since the epoch."""
    answered_ns: int
    """When it was done with it."""
    items: tuple[ItemReport, ...] = ()
    refused: Fault | None = None
    """Why nothing of it was run: another version, or a definition that cannot be loaded."""
    metrics: bytes | None = field(default=None, repr=False)
    """What was counted; only :mod:`hush.observe` can read it."""
    cpu_s: float = 0.0
    """CPU seconds of the worker's process while it ran the items."""
