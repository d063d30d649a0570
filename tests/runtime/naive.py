"""A workflow as plain data, and an interpreter of it that does one thing at a time.

The interpreter knows only what is promised: who waits for whom, what a branch skips,
what a failure takes with it. It goes through the nodes in order, without tasks, plans or
spans, and says what a run must give, whatever the order in which things really end.

After a failure it goes on with all that does not depend on it: a real run is cancelled
somewhere on the way. What lies in a graph that failed *may* therefore have happened;
everything else *must* have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

# --- workflows as data -------------------------------------------------------------------


@dataclass(frozen=True)
class Read:
    """A value that a node reads."""

    source: str | None
    """Name of a node of the same graph; None for PARENT."""
    key: str
    default: int | None = None
    """What ``.or_default`` gives; None without."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """Computes ``v``, ``r`` and ``xs`` from what it reads (:func:`compute`)."""

    name: str
    hard: tuple[str, ...] = ()
    soft: tuple[str, ...] = ()
    soft_start: bool = False
    how: Literal["lambda", "async", "def"] = "lambda"
    ticks: int = 0
    """How often it lets others run first, where it is async."""
    salt: int = 0
    reads: tuple[Read, ...] = ()
    fails: Literal["never", "odd", "always"] = "never"
    captures: bool = False
    writes: tuple[str, ...] = ()
    """Names under which PARENT gets ``v``."""
    wiring: int = 0
    """Which of several ways of writing the same thing is used."""


@dataclass(frozen=True, kw_only=True)
class Fork:
    """A branch: case ``i`` holds where the number that it reads is ``i``."""

    name: str
    hard: tuple[str, ...] = ()
    soft: tuple[str, ...] = ()
    soft_start: bool = False
    read: Read = Read(None, "seed")
    cases: tuple[str, ...] = ()
    default: str | None = None
    wiring: int = 0

    @property
    def targets(self) -> tuple[str, ...]:
        return self.cases if self.default is None else (*self.cases, self.default)


@dataclass(frozen=True, kw_only=True)
class Nested:
    """A graph in the graph."""

    name: str
    body: Flow
    hard: tuple[str, ...] = ()
    soft: tuple[str, ...] = ()
    soft_start: bool = False
    seed: Read = Read(None, "seed")
    offset: Read = Read(None, "offset")
    captures: bool = False
    exposes: tuple[str, ...] = ()
    """Names of its outputs that are written on, as ``<its name>_<output>``."""
    star: bool = False
    """Whether all are written on, as they are."""
    wiring: int = 0


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """A map; each item is the ``seed`` of its body."""

    name: str
    body: Flow
    hard: tuple[str, ...] = ()
    soft: tuple[str, ...] = ()
    soft_start: bool = False
    source: tuple[int, ...] | Read = ()
    kind: Literal["list", "stream", "async"] = "list"
    """What a literal source is: sized, iterable, or async iterable."""
    offset: Read = Read(None, "offset")
    width: int = 1
    on_error: Literal["raise", "collect", "capture"] = "raise"
    exposes: tuple[str, ...] = ()
    """Columns that are written on, as ``<its name>_<output>``; ``results`` and ``errors`` too."""
    wiring: int = 0

    captures = property(lambda self: self.on_error == "capture")


Step = Code | Fork | Nested | Mapped


@dataclass(frozen=True)
class Flow:
    """A graph: its nodes, each after those that it waits for."""

    steps: tuple[Step, ...]

    def names(self) -> tuple[str, ...]:
        """What its nodes may write to PARENT."""
        found: dict[str, None] = {}
        for step in self.steps:
            found |= dict.fromkeys(written_by(step))
        return tuple(found)


def written_by(step: Step) -> tuple[str, ...]:
    match step:
        case Code():
            return step.writes
        case Nested(star=True):
            return step.body.names()
        case Nested() | Mapped():
            return tuple(f"{step.name}_{key}" for key in step.exposes)
    return ()


# --- what a code node computes -------------------------------------------------------------


class BoomError(Exception):
    """What a failing node raises."""


def fold(value: Any) -> int:
    """Make a number of any value, one that does not tell which of several failures it was."""
    match value:
        case None:
            return 1
        case int():
            return int(value)
        case str():
            return len(value)
        case list() | tuple():
            return 3 + sum((i + 1) * fold(one) for i, one in enumerate(value))
        case CapturedError() | {"type": _, "message": _, "path": _}:
            return 1000
        case ErrorEntry() | {"type": _, "message": _, "attempts": _}:
            return 2000
        case FailedItem() | {"error_type": _, "index": _}:
            return 3000
        case dict():
            return 5 + sum(fold(value[key]) for key in sorted(value))
    raise TypeError(value)


def compute(step: Code, values: list[Any]) -> dict[str, Any]:
    total = (step.salt + sum((i + 1) * fold(value) for i, value in enumerate(values))) % 97
    if step.fails == "always" or (step.fails == "odd" and total % 2):
        raise BoomError(step.name)
    return {"v": total, "r": total % 3, "xs": list(range(total % 4))}


# --- what is expected ----------------------------------------------------------------------


@dataclass(frozen=True)
class CapturedError:
    """The output ``error`` of a node that captured; the path is one of these."""

    paths: frozenset[str]


@dataclass(frozen=True)
class ErrorEntry:
    """An entry in a map's ``errors``."""

    index: int


@dataclass(frozen=True)
class FailedItem:
    """Stands among whole items."""

    index: int
    names: tuple[str, ...]


@dataclass
class Began:
    """Something that has a span: a node, or an item of a map."""

    path: str
    level: str
    name: str
    outcome: str = "ok"
    certain: bool = True
    hard: tuple[str, ...] = ()
    soft: tuple[str, ...] = ()
    """Paths of the predecessors that were done well."""
    needs_soft: bool = False
    width: int | None = None
    """Of a map: how many items may run at one time."""

    @property
    def inside(self) -> str:
        """Path of what contains it."""
        item = self.path.endswith("]")
        return self.path[: self.path.rindex("[")] if item else self.path.rpartition(".")[0]


@dataclass
class Skipped:
    path: str
    certain: bool = True


@dataclass
class Noted:
    """A failure that did not fail the run; its path is one of these."""

    kind: str
    paths: frozenset[str]
    certain: bool = True


@dataclass
class Log:
    """What happened, in the order of the naive run."""

    began: list[Began] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    noted: list[Noted] = field(default_factory=list)

    def take(self, inner: Log) -> None:
        self.began += inner.began
        self.skipped += inner.skipped
        self.noted += inner.noted

    def blur(self) -> None:
        """All of it may have happened or not: something failed and the rest was cancelled."""
        for entry in (*self.began, *self.skipped, *self.noted):
            entry.certain = False


@dataclass
class Outcome:
    """What a graph, or a node, comes to."""

    values: dict[str, Any]
    """What a graph's nodes wrote; what a node gave."""
    culprits: frozenset[str]
    """Paths of the nodes any of which may be the first to fail it; empty where it is fine."""
    log: Log


# --- the interpreter -----------------------------------------------------------------------

WELL, SKIPPED, STUCK = "well", "skipped", "stuck"
"""Done well; left out; failed, or waiting for ever for what failed."""


def run_naively(flow: Flow, path: str, given: dict[str, Any]) -> Outcome:
    """Run a graph, one node after the other.

    Args:
        flow: the graph.
        path: its path.
        given: the values of PARENT to begin with.
    """
    return _Graph(flow, path, given).run()


class _Graph:
    def __init__(self, flow: Flow, path: str, given: dict[str, Any]) -> None:
        self.flow = flow
        self.path = path
        self.parent = dict(given)
        self.wrote: dict[str, Any] = {}
        self.outputs: dict[str, dict[str, Any]] = {}
        self.states: dict[str, str] = {}
        self.picked: dict[str, tuple[tuple[str, ...], str | None]] = {}
        self.culprits: set[str] = set()
        self.log = Log()

    def run(self) -> Outcome:
        for step in self.flow.steps:
            self.states[step.name] = self._state(step)
            if self.states[step.name] == SKIPPED:
                self.log.skipped.append(Skipped(f"{self.path}.{step.name}"))
            elif self.states[step.name] == WELL:
                self._run(step)
        if self.culprits:
            self.log.blur()
        return Outcome(self.wrote, frozenset(self.culprits), self.log)

    # --- who runs --------------------------------------------------------------------------

    def _edge(self, source: str, step: Step) -> str:
        targets, picked = self.picked.get(source, ((), None))
        if self.states[source] == WELL and step.name in targets and step.name != picked:
            return SKIPPED
        return self.states[source]

    def _state(self, step: Step) -> str:
        hard = [self._edge(p, step) for p in step.hard]
        soft = [self._edge(p, step) for p in step.soft]
        if step.soft_start:
            soft = [WELL]
        if SKIPPED in hard or (soft and set(soft) == {SKIPPED}):
            return SKIPPED
        if STUCK in hard or (soft and WELL not in soft):
            return STUCK
        return WELL

    # --- running one -------------------------------------------------------------------------

    def _run(self, step: Step) -> None:
        path = f"{self.path}.{step.name}"
        levels = {Nested: "graph", Mapped: "map"}
        began = Began(path, levels.get(type(step), "node"), step.name)
        began.hard = tuple(f"{self.path}.{p}" for p in step.hard)
        well = [p for p in step.soft if self._edge(p, step) == WELL]
        began.soft = tuple(f"{self.path}.{p}" for p in well)
        began.needs_soft = bool(step.soft) and not step.soft_start
        self.log.began.append(began)
        match step:
            case Code():
                outcome = self._code(step, path)
            case Fork():
                outcome = self._fork(step)
            case Nested():
                given = {"seed": self._read(step.seed), "offset": self._read(step.offset)}
                outcome = run_naively(step.body, path, given)
            case Mapped():
                began.width = step.width
                outcome = self._map(step, path)
        self.log.take(outcome.log)
        captures = not isinstance(step, Fork) and step.captures
        if outcome.culprits:
            began.outcome = "error"
            if not captures:
                self.states[step.name] = STUCK
                self.culprits |= outcome.culprits
                return
            self.log.noted.append(Noted("captured", outcome.culprits))
        values = outcome.values
        if captures and outcome.culprits:
            values = dict.fromkeys(self._all_outputs(step))
        if captures:
            values["error"] = CapturedError(outcome.culprits) if outcome.culprits else None
        self.outputs[step.name] = values
        for key, source in self._writes(step):
            if source in values:
                self.parent[key] = self.wrote[key] = values[source]

    def _all_outputs(self, step: Step) -> tuple[str, ...]:
        match step:
            case Code():
                return ("v", "r", "xs")
            case Mapped():
                return (*step.body.names(), "results", "errors")
            case Nested():
                return step.body.names()
        return ()

    def _writes(self, step: Step) -> Iterator[tuple[str, str]]:
        if isinstance(step, Code):
            yield from ((key, "v") for key in step.writes)
        elif isinstance(step, Nested) and step.star:
            yield from ((key, key) for key in step.body.names())
        elif isinstance(step, Nested | Mapped):
            yield from ((f"{step.name}_{key}", key) for key in step.exposes)

    def _read(self, read: Read) -> Any:
        source = self.parent if read.source is None else self.outputs.get(read.source, {})
        if read.default is None:
            return source[read.key]
        return source.get(read.key, read.default)

    def _code(self, step: Code, path: str) -> Outcome:
        try:
            values = compute(step, [self._read(read) for read in step.reads])
        except BoomError:
            return Outcome({}, frozenset((path,)), Log())
        return Outcome(values, frozenset(), Log())

    def _fork(self, step: Fork) -> Outcome:
        number = self._read(step.read)
        if step.read.source is None:
            number %= 3
        picked = dict(enumerate(step.cases)).get(number, step.default)
        self.picked[step.name] = (step.targets, picked)
        return Outcome({"selected": picked}, frozenset(), Log())

    def _map(self, step: Mapped, path: str) -> Outcome:
        log = Log()
        source = self._read(step.source) if isinstance(step.source, Read) else step.source
        if source is None:  # of a node that captured
            return Outcome({}, frozenset((path,)), log)
        offset = self._read(step.offset)
        culprits: set[str] = set()
        items: list[dict[str, Any] | None] = []
        for index, item in enumerate(source):
            at = f"{path}[{index}]"
            began = Began(at, "item", step.name)
            log.began.append(began)
            outcome = run_naively(step.body, at, {"seed": item, "offset": offset})
            log.take(outcome.log)
            items.append(None if outcome.culprits else outcome.values)
            if outcome.culprits:
                began.outcome = "error"
                culprits |= outcome.culprits
                if step.on_error == "collect":
                    log.noted.append(Noted("collected", outcome.culprits))
        if culprits and step.on_error != "collect":
            log.blur()
            return Outcome({}, frozenset(culprits), log)
        return Outcome(_gather(step.body.names(), items), frozenset(), log)


def _gather(names: tuple[str, ...], items: list[dict[str, Any] | None]) -> dict[str, Any]:
    """Columns, whole items and errors of a map."""
    values: dict[str, Any] = {}
    for name in names:
        values[name] = [None if item is None else item.get(name) for item in items]
    values["results"] = [
        FailedItem(i, names)
        if item is None
        else item.get(names[0])
        if len(names) == 1
        else {name: item.get(name) for name in names}
        for i, item in enumerate(items)
    ]
    values["errors"] = [ErrorEntry(i) for i, item in enumerate(items) if item is None]
    return values


# --- comparing -----------------------------------------------------------------------------


def same(actual: Any, expected: Any) -> bool:
    """Say whether a real value is what was expected."""
    match expected:
        case CapturedError() | ErrorEntry() | FailedItem():
            return isinstance(actual, dict) and _same_failure(actual, expected)
        case dict():
            keys = isinstance(actual, dict) and actual.keys() == expected.keys()
            return keys and all(same(actual[key], one) for key, one in expected.items())
        case list():
            length = isinstance(actual, list) and len(actual) == len(expected)
            return length and all(map(same, actual, expected))
    return type(actual) is type(expected) and actual == expected


def _same_failure(
    actual: dict[str, Any], expected: CapturedError | ErrorEntry | FailedItem
) -> bool:
    match expected:
        case CapturedError():
            return actual.keys() == {"type", "message", "path"} and actual["path"] in expected.paths
        case ErrorEntry():
            keys = {"index", "key", "type", "message", "attempts"}
            told = (actual.get("index"), actual.get("key"), actual.get("attempts"))
            return actual.keys() == keys and told == (expected.index, None, 1)
        case FailedItem():
            keys = {*expected.names, "error", "error_type", "index"}
            none = all(actual.get(name) is None for name in expected.names)
            return actual.keys() == keys and actual["index"] == expected.index and none
