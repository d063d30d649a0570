"""Random workflows on both loops, against an interpreter that does one thing at a time.

Whatever the order in which things end, a run gives what :mod:`tests.runtime.naive` gives,
skips what it skips, fails with what it fails with, and its trace says so.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import anyio
import pytest
from hypothesis import HealthCheck, Phase, currently_in_test_context, given, note, settings
from hypothesis import strategies as st

from hush import semconv
from hush.core import (
    END,
    PARENT,
    START,
    Branch,
    BranchNode,
    CodeNode,
    Each,
    GraphNode,
    Hush,
    MapNode,
    RunError,
)
from hush.testing import capture_spans
from tests.runtime.naive import (
    Code,
    Flow,
    Fork,
    Mapped,
    Nested,
    Read,
    compute,
    run_naively,
    same,
)

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
AFTER_NS = 2_000

# --- drawing workflows -------------------------------------------------------------------


class Drafts:
    """The nodes of one graph, drawn one after the other."""

    def __init__(self, draw, depth, *, failing, tame):
        self.draw = draw
        self.depth = depth
        self.failing = failing
        """Whether nodes may fail at all."""
        self.tame = tame
        """Whether failures must be caught within this graph."""
        self.steps: dict[str, Code | Fork | Nested | Mapped] = {}
        self.sure: dict[str, set[str]] = {}
        """By node, what has certainly been done well when it runs."""
        self.starred = False

    def chance(self, one_in):
        # Zero is what hypothesis shrinks to.
        return self.draw(st.integers(0, one_in - 1)) == one_in - 1

    def some(self, of, most):
        every = list(of)
        return (
            self.draw(st.lists(st.sampled_from(every), unique=True, max_size=most)) if every else []
        )

    def flow(self):
        for i in range(self.draw(st.integers(1, 6 if self.depth == 0 else 4))):
            self.add(f"{'abc'[self.depth]}{i}", last=False)
        if not self.flow_so_far().names():
            self.add(f"{'abc'[self.depth]}w", last=True)
        for name, step in self.steps.items():
            if isinstance(step, Fork) and not step.targets:
                self.steps[name] = as_code(step)
        return self.flow_so_far()

    def flow_so_far(self):
        return Flow(tuple(self.steps.values()))

    # --- structure -----------------------------------------------------------------------

    def add(self, name, *, last):
        soft = self.some(self.steps, 3) if self.chance(3) else []
        hard = [p for p in self.some(self.steps, 3) if p not in soft]
        forks = [p for p, step in self.steps.items() if isinstance(step, Fork)]
        fork = self.draw(st.sampled_from([None, *forks])) if not last else None
        if fork is not None and len(self.steps[fork].targets) < 3 and not self.merges(fork, soft):
            hard = [fork, *(p for p in hard if p != fork)]
            soft = [p for p in soft if p != fork]
            self.aim(fork, name)
        # A successor of a target and of its rival would never run, which is a GraphError.
        while not self.can_run(name, hard, soft):
            (hard if len(hard) > 1 or not soft else soft).pop()
        edges = {"hard": tuple(hard), "soft": tuple(soft)}
        if soft and self.chance(6):
            edges["soft_start"] = True
        self.sure[name] = set(hard).union(*(self.sure[p] for p in hard))
        kinds = [Code, Code, Fork] if self.depth == 2 else [Code, Code, Fork, Mapped, Nested]
        kind = Code if last else self.draw(st.sampled_from(kinds))
        make = {Code: self.code, Fork: self.fork, Nested: self.nested, Mapped: self.mapped}[kind]
        wiring = self.draw(st.integers(0, 3))
        self.steps[name] = make(name=name, wiring=wiring, **edges)
        if last:
            self.steps[name] = replace(self.steps[name], writes=(name,))

    def merges(self, fork, soft):
        return fork in soft and len(soft) == 1

    def aim(self, fork, name):
        step = self.steps[fork]
        if step.default is None and self.chance(3):
            self.steps[fork] = replace(step, default=name)
        else:
            self.steps[fork] = replace(step, cases=(*step.cases, name))

    def can_run(self, name, hard, soft):
        """Say whether any choice of the branches lets the node run, trying them all."""
        probe = Code(name=name, hard=tuple(hard), soft=tuple(soft))
        forks = [step for step in self.steps.values() if isinstance(step, Fork)]
        for picks in itertools.product(*((*fork.targets, None) for fork in forks)):
            picked = dict(zip((fork.name for fork in forks), picks, strict=True))
            ran: dict[str, bool] = {}

            def way(p, step, picked=picked, ran=ran):
                mine = self.steps[p]
                aimed = isinstance(mine, Fork) and step.name in mine.targets
                return ran[p] and (not aimed or picked[p] == step.name)

            for step in (*self.steps.values(), probe):
                any_soft = not step.soft or step.soft_start
                any_soft = any_soft or any(way(p, step) for p in step.soft)
                ran[step.name] = all(way(p, step) for p in step.hard) and any_soft
            if ran[name]:
                return True
        return False

    # --- values --------------------------------------------------------------------------

    def readable(self, edges):
        """Yield what a node may read: what is there whatever the order of things."""
        yield Read(None, "seed")
        yield Read(None, "offset")
        before = set(edges["hard"]).union(*(self.sure[p] for p in edges["hard"]))
        for p in sorted(before):
            yield from self.outputs_of(p, certain=True)
        rivals = self.rivals(edges)
        for p in rivals:
            yield from self.outputs_of(p, certain=False)
        if rivals:
            key = f"pick_{self.fork_of(rivals[0])}"
            writers = [key in getattr(self.steps[p], "writes", ()) for p in rivals]
            if any(writers):
                yield Read(None, key, None if all(writers) else 41)

    def outputs_of(self, p, *, certain):
        step = self.steps[p]
        default = None if certain else 40
        match step:
            case Code():
                yield Read(p, "v", default)
                yield Read(p, "xs", default)
                if certain:
                    # Its first name is its own; others are shared with rivals.
                    yield from (Read(None, key) for key in step.writes if key == p)
            case Fork():
                if step.targets:  # without any it becomes a code node in the end
                    yield Read(p, "selected", default)
            case Nested():
                # A node in there may be skipped.
                yield from (Read(p, key, 42) for key in step.body.names())
            case Mapped():
                keys = (*step.body.names(), "results")
                yield from (Read(p, key, default) for key in keys)
                if step.on_error == "collect":
                    yield Read(p, "errors", default)
        if not isinstance(step, Fork) and step.captures:
            yield Read(p, "error", default)

    def fork_of(self, p):
        return next(
            (f for f in self.steps[p].hard if p in getattr(self.steps[f], "targets", ())), None
        )

    def rivals(self, edges):
        """Soft predecessors of which at most one runs: targets of one branch."""
        forks = {self.fork_of(p) for p in edges["soft"]}
        if "soft_start" in edges or len(forks) != 1 or None in forks:
            return []
        return list(edges["soft"])

    def reads(self, edges):
        return tuple(self.some(self.readable(edges), 4))

    def number(self, edges, key, other):
        """A read that is certainly a number: PARENT's, or of a node that does not capture."""
        safe = [
            read
            for read in self.readable(edges)
            if read.source in edges["hard"] and read.key == "v" and read.default is None
            if isinstance(self.steps[read.source], Code) and not self.steps[read.source].captures
        ]
        return self.draw(st.sampled_from([Read(None, other), *(replace(r, key=key) for r in safe)]))

    # --- kinds ----------------------------------------------------------------------------

    def code(self, name, **rest):
        captures = self.failing and self.chance(4)
        fails = "never"
        if self.failing and (captures or not self.tame):
            fails = self.draw(st.sampled_from(["never"] * 5 + ["odd", "always"]))
        writes = [name] if self.chance(2) else []
        forks = [f for f in rest["hard"] if name in getattr(self.steps[f], "targets", ())]
        if forks and self.chance(2):
            writes.append(f"pick_{forks[0]}")
        return Code(
            name=name,
            how=self.draw(st.sampled_from(["lambda", "async", "def"])),
            ticks=self.draw(st.integers(0, 6)),
            salt=self.draw(st.integers(0, 9)),
            reads=self.reads(rest),
            captures=captures,
            fails=fails,
            writes=tuple(writes),
            **rest,
        )

    def fork(self, name, **rest):
        return Fork(name=name, read=self.number(rest, "r", "seed"), **rest)

    def body(self, *, tame):
        return Drafts(self.draw, self.depth + 1, failing=self.failing, tame=tame).flow()

    def nested(self, name, **rest):
        captures = self.failing and self.chance(3)
        body = self.body(tame=self.tame and not captures)
        star = not captures and not self.starred and self.chance(3)
        self.starred |= star
        return Nested(
            name=name,
            body=body,
            seed=self.number(rest, "v", "seed"),
            offset=self.number(rest, "v", "offset"),
            captures=captures,
            exposes=tuple(self.some(body.names(), 2)),
            star=star,
            **rest,
        )

    def mapped(self, name, **rest):
        choices = ["raise", "collect", "capture"] if self.failing else ["raise", "collect"]
        on_error = self.draw(st.sampled_from(choices))
        body = self.body(tame=self.tame and on_error == "raise")
        lists = [read for read in self.readable(rest) if read.key == "xs"]
        lists = [r for r in lists if r.default is None and r.source in rest["hard"]]
        if self.tame and on_error == "raise":  # None cannot be iterated
            lists = [read for read in lists if not self.steps[read.source].captures]
        source = self.draw(st.lists(st.integers(0, 9), max_size=6).map(tuple))
        if lists and self.chance(2):
            source = self.draw(st.sampled_from(lists))
        columns = [*body.names(), "results", *(["errors"] if on_error == "collect" else [])]
        return Mapped(
            name=name,
            body=body,
            source=source,
            kind=self.draw(st.sampled_from(["list", "stream", "async"])),
            offset=self.number(rest, "v", "offset"),
            width=self.draw(st.integers(1, 4)),
            on_error=on_error,
            exposes=tuple(self.some(columns, 3)),
            **rest,
        )


def as_code(fork):
    return Code(name=fork.name, hard=fork.hard, soft=fork.soft, soft_start=fork.soft_start)


@st.composite
def flows(draw, *, failing, tame):
    return Drafts(draw, 0, failing=failing, tame=tame).flow()


# --- making them real ----------------------------------------------------------------------


class Stream:
    """Iterable again and again, of unknown length."""

    def __init__(self, values):
        self.values = values

    def __iter__(self):
        return iter(self.values)


class AsyncStream(Stream):
    __iter__ = None

    async def __aiter__(self):
        for value in self.values:
            await anyio.sleep(0)
            yield value


def build(flow, name="g"):
    inputs = {"seed": PARENT, "offset": PARENT["offset"]}
    with GraphNode(name=name, inputs=inputs) as graph:
        fill(flow)
    return graph


def fill(flow):
    made = {}
    followed = {p for step in flow.steps for p in (*step.hard, *step.soft)}
    for step in flow.steps:
        made[step.name] = node = make(step, made)
        if step.soft_start:
            START >> ~node
        elif not step.hard and not step.soft:
            START >> node
        wire(step, node, made)
        if step.name not in followed or step.wiring == 3:
            node >> (~END if step.wiring == 2 else END)


def wire(step, node, made):
    # A branch's target need not be wired to it.
    loose = [p for p in step.hard if isinstance(made[p], BranchNode) and step.wiring == 1]
    hard = [made[p] for p in step.hard if p not in loose]
    for p in loose:
        if step.name not in made[p].targets():
            made[p] >> node
    if step.wiring % 2:
        for one in hard:
            one >> node
        for p in step.soft:
            made[p] >> ~node
    else:
        hard >> node
        [made[p] for p in step.soft] >> ~node


def ref(read, made):
    owner = PARENT if read.source is None else made[read.source]
    value = owner[read.key]
    return value if read.default is None else value.or_default(read.default)


def make(step, made):
    match step:
        case Code():
            return make_code(step, made)
        case Fork():
            return make_fork(step, made)
        case Nested():
            outputs = {key: PARENT[f"{step.name}_{key}"] for key in step.exposes}
            with GraphNode(
                name=step.name,
                inputs={"seed": ref(step.seed, made), "offset": ref(step.offset, made)},
                outputs={"*": PARENT} if step.star else outputs,
                on_error="capture" if step.captures else "raise",
            ) as graph:
                fill(step.body)
            return graph
        case Mapped():
            source = step.source
            if isinstance(source, Read):
                source = ref(source, made)
            else:
                source = {"list": list, "stream": Stream, "async": AsyncStream}[step.kind](source)
            with MapNode(
                name=step.name,
                inputs={"seed": Each(source), "offset": ref(step.offset, made)},
                outputs={key: PARENT[f"{step.name}_{key}"] for key in step.exposes},
                max_concurrency=step.width,
                on_error=step.on_error,
            ) as node:
                fill(step.body)
            return node


def make_code(step, made):
    labels = [f"x{i}" for i in range(len(step.reads))]

    def values(given):
        assert set(given) == set(labels)
        return [given[label] for label in labels]

    async def coroutine(**given):
        for _ in range(step.ticks):
            await anyio.sleep(0)
        return compute(step, values(given))

    def function(**given):
        return compute(step, values(given))

    functions = {"async": coroutine, "def": function}
    code_fn = functions.get(step.how, lambda **given: compute(step, values(given)))
    refs = {label: ref(read, made) for label, read in zip(labels, step.reads, strict=True)}
    node = CodeNode(
        name=step.name,
        code_fn=code_fn,
        inputs={} if step.wiring == 2 else refs,
        outputs={"v": [PARENT[key] for key in step.writes]} if step.writes else None,
        return_keys=["v", "r", "xs"] if step.wiring == 3 else None,
        on_error="capture" if step.captures else "raise",
    )
    if step.wiring == 2:
        for label, source in refs.items():
            source >> node[label]
    return node


def make_fork(step, made):
    number = ref(step.read, made)
    if step.read.source is None:
        number = number % 3  # a reference records it; nothing is updated in place
    if step.wiring == 0:
        cases = {f"r == {i}": target for i, target in enumerate(step.cases)}
        return BranchNode(name=step.name, cases=cases, default=step.default, inputs={"r": number})
    branch = Branch(step.name, inputs={"r": number})
    for i, target in enumerate(step.cases):
        branch.if_(number == i if step.wiring == 1 else lambda r, i=i: r == i, target)
    return branch if step.default is None else branch.otherwise(step.default)


# --- comparing -------------------------------------------------------------------------------


def run_all(engine, every, backend):
    """Run with each of the inputs, all at the same time; return results and errors."""
    ended = [None] * len(every)

    async def run(i):
        try:
            ended[i] = await engine.run(every[i])
        except RunError as error:
            ended[i] = error

    async def main():
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for i in range(len(every)):
                    group.start_soon(run, i)

    anyio.run(main, backend=backend)
    return ended


def check_runs(flow, every, backend, max_threads):
    engine = Hush(build(flow), max_threads=max_threads)
    with capture_spans() as capture:
        ended = run_all(engine, every, backend)
    assert capture.open_spans == ()
    trees = capture.trees
    assert set(trees) == {one.trace_id for one in ended}
    for inputs, one in zip(every, ended, strict=True):
        expected = run_naively(flow, "g", inputs)
        tree = trees[one.trace_id]
        if currently_in_test_context():
            note(f"{inputs}: {one!r}\n{tree}")
        if expected.culprits:
            check_error(one, expected)
        else:
            check_result(one, expected)
        tree.assert_sound()
        check_trace(tree, expected)


def check_error(error, expected):
    assert isinstance(error, RunError)
    assert error.path in expected.culprits
    assert error.failures[0].path == error.path
    assert error.__cause__ is error.failures[0].exception
    paths = [failure.path for failure in error.failures]
    assert set(paths) <= expected.culprits
    assert len(set(paths)) == len(paths)


def check_result(result, expected):
    assert not isinstance(result, RunError), result
    log = expected.log
    outputs = {key: value for key, value in result.items() if key != "$state"}
    assert same(outputs, expected.values), (outputs, expected.values)
    check_between(result.skipped, log.skipped)
    check_between(result.state.execution_order, [b for b in log.began if b.level != "item"])
    check_order(result.state.execution_order, log)
    for kind in ("captured", "collected"):
        noted = [entry for entry in log.noted if entry.kind == kind]
        actual = Counter(failure.path for failure in result.failures if failure.kind == kind)
        assert all(actual[path] == 1 for path in actual)
        assert set(actual) <= set().union(*(entry.paths for entry in noted))
        for entry in noted:
            met = entry.paths & set(actual)
            assert met or not entry.certain
            # Of an item only what failed it is told; a graph may fail in several places.
            assert len(met) <= 1 or kind == "captured"
    assert {failure.kind for failure in result.failures} <= {"captured", "collected"}
    assert result.failure_count == len(result.failures)


def check_between(paths, entries):
    """Each at most once, none that cannot be, and all that must be."""
    assert len(set(paths)) == len(paths)
    assert set(paths) <= {entry.path for entry in entries}
    assert set(paths) >= {entry.path for entry in entries if entry.certain}


def check_order(paths, log):
    at = {path: position for position, path in enumerate(paths)}
    for entry in log.began:
        for p in entry.hard if entry.path in at else ():
            assert at[p] < at[entry.path]


def check_trace(tree, expected):
    log = expected.log
    spans = located(tree)
    root = tree.root
    assert root.name == "run g"
    assert root.record.attributes[semconv.OUTCOME] == ("error" if expected.culprits else "ok")
    items = {entry.path for entry in log.began if entry.level == "item"}
    assert root.record.attributes[semconv.NODE_COUNT] == len(set(spans) - items)
    check_between(list(spans), log.began)
    for entry in log.began:
        span = spans.get(entry.path)
        if span is None:
            continue
        assert span.name == f"{entry.level} {entry.name}"
        above = root if entry.inside == "g" else spans[entry.inside]
        assert span.parent is above
        outcome = span.record.attributes[semconv.OUTCOME]
        assert outcome == entry.outcome or not entry.certain
        assert outcome in {entry.outcome, "cancelled"} or span.children
        if outcome != "cancelled":
            check_links(entry, span, spans, tree)
        if entry.width is not None:
            assert overlap(span.children) <= entry.width
    check_skipped(root, spans, log)


def located(tree):
    """Spans by the path of what they are about; asserts that there is one for each."""
    found = {}
    paths = {tree.root.record.span_id: "g"}
    for span in tree.walk():
        record = span.record
        if record.prefix == "run":
            continue
        if record.prefix == "item":
            path = f"{paths[record.parent_id]}[{record.index}]"
        else:
            path = record.attributes[semconv.NODE_PATH]
        paths[record.span_id] = path
        assert path not in found, path
        found[path] = span
    return found


def check_links(entry, span, spans, tree):
    if entry.level == "item":
        return
    linked = [tree.get(link.span_id) for link in span.record.links]
    assert len({id(one) for one in linked}) == len(linked)
    ids = {one.record.span_id for one in linked}
    hard = {spans[p].record.span_id for p in entry.hard}
    soft = {spans[p].record.span_id for p in entry.soft if p in spans}
    assert hard <= ids <= hard | soft
    assert ids & soft or not entry.needs_soft
    for one in linked:
        assert span.record.start_ns >= one.record.end_ns + AFTER_NS


def overlap(spans):
    records = [span.record for span in spans]
    return max(
        (sum(a.start_ns <= b.start_ns <= a.end_ns for a in records) for b in records), default=0
    )


def check_skipped(root, spans, log):
    inside = {}
    for entry in log.skipped:
        container, _, name = entry.path.rpartition(".")
        inside.setdefault(container, []).append(replace(entry, path=name))
    for path, span in {"g": root, **spans}.items():
        named = span.record.attributes.get(semconv.SKIPPED, ())
        check_between(named, inside.get(path, []))


# --- properties --------------------------------------------------------------------------------

INPUTS = st.fixed_dictionaries({"seed": st.integers(0, 20), "offset": st.integers(0, 20)})
RUNS = st.lists(INPUTS, min_size=1, max_size=2)
THREADS = st.sampled_from([None, 1, 2])


def examples(number):
    # Drawing a whole workflow takes many choices; that is no reason to stop.
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    # Explaining a failure traces every line, which takes longer than a test may.
    phases = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]
    return settings(max_examples=number, suppress_health_check=slow, phases=phases)


@BACKENDS
@examples(100)
@given(flows(failing=False, tame=True), RUNS, THREADS)
def test_a_workflow_gives_what_it_gives_in_order(backend, flow, every, max_threads):
    check_runs(flow, every, backend, max_threads)


@BACKENDS
@examples(100)
@given(flows(failing=True, tame=True), RUNS, THREADS)
def test_what_is_caught_stays_where_it_is_caught(backend, flow, every, max_threads):
    check_runs(flow, every, backend, max_threads)


@BACKENDS
@examples(100)
@given(flows(failing=True, tame=False), RUNS, THREADS)
def test_a_failure_is_one_that_could_be_the_first(backend, flow, every, max_threads):
    check_runs(flow, every, backend, max_threads)


# --- what they have found ----------------------------------------------------------------------


@BACKENDS
def test_with_start_among_the_soft_predecessors_the_hard_ones_are_still_awaited(backend):
    flow = Flow(
        (
            Code(name="slow", how="async", ticks=9),
            Code(name="quick"),
            Fork(name="fork", cases=("left", "right")),
            Code(name="left", hard=("fork",)),
            Code(name="right", hard=("fork",)),
            Code(
                name="last",
                hard=("slow",),
                soft=("quick", "left", "right"),
                soft_start=True,
                reads=(Read("slow", "v"),),
                writes=("last",),
            ),
        )
    )
    check_runs(flow, [{"seed": seed, "offset": 0} for seed in range(3)], backend, None)


@BACKENDS
@pytest.mark.parametrize("fails", ["never", "always"])
def test_the_error_of_a_map_that_captures_is_none_where_all_went_well(backend, fails):
    body = Flow((Code(name="b", fails=fails, writes=("b",)),))
    flow = Flow(
        (
            Mapped(name="m", body=body, source=(1, 2), on_error="capture", exposes=("b",)),
            Code(name="last", hard=("m",), reads=(Read("m", "error"),), writes=("last",)),
        )
    )
    check_runs(flow, [{"seed": 0, "offset": 0}], backend, None)
