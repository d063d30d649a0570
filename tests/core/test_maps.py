"""Maps: order, columns, failures, sources, concurrency."""

from __future__ import annotations

import threading
import time

import anyio
import pytest

from hush.core import (
    END,
    PARENT,
    START,
    CodeNode,
    Each,
    GraphNode,
    Hush,
    ItemFailure,
    MapNode,
    MapSourceError,
    Retry,
    RunError,
    ToleranceError,
)
from hush.testing import capture_spans


def mapped(code_fn, source=None, *, body_outputs=("y",), node_options=None, **options):
    """A graph of one map over ``items`` with one node in its body."""
    options.setdefault("outputs", dict.fromkeys(body_outputs, PARENT))
    each = Each(PARENT["items"]) if source is None else source
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"item": each}, **options) as m:
            node = CodeNode(
                name="w",
                code_fn=code_fn,
                inputs={"item": PARENT["item"]},
                outputs=dict.fromkeys(body_outputs, PARENT),
                **(node_options or {}),
            )
            START >> node >> END
        START >> m >> END
    return graph


async def test_results_are_in_the_order_of_the_items():
    async def later_first(item):
        await anyio.sleep((5 - item) * 0.004)
        return {"y": item}

    result = await Hush(mapped(later_first)).run({"items": range(5)})
    assert result["y"] == [0, 1, 2, 3, 4]


async def test_a_name_that_is_no_output_collects_whole_items():
    graph = mapped(
        lambda item: {"a": item, "b": -item},
        body_outputs=("a", "b"),
        outputs={"results": PARENT, "b": PARENT["minus"]},
    )
    result = await Hush(graph).run({"items": [1, 2]})
    assert result["results"] == [{"a": 1, "b": -1}, {"a": 2, "b": -2}]
    assert result["minus"] == [-1, -2]


async def test_of_a_single_output_whole_items_are_bare_values():
    graph = mapped(lambda item: {"y": item * 2}, outputs={"results": PARENT})
    assert (await Hush(graph).run({"items": [1, 2]}))["results"] == [2, 4]


async def test_a_star_gives_columns_and_metrics():
    graph = mapped(lambda item: {"y": item * 2}, outputs={"*": PARENT})
    result = await Hush(graph).run({"items": [1, 2]})
    assert result["y"] == [2, 4]


async def test_an_empty_source_gives_empty_lists():
    graph = mapped(lambda item: {"y": item}, outputs={"y": PARENT, "iteration_metrics": PARENT})
    result = await Hush(graph).run({"items": []})
    assert result["y"] == []
    assert result["iteration_metrics"]["total_iterations"] == 0


async def test_several_each_are_zipped_and_others_are_broadcast():
    with GraphNode(name="g") as graph:
        with MapNode(
            name="m",
            inputs={"a": Each([1, 2]), "b": Each(PARENT["bs"]), "c": PARENT["c"]},
            outputs={"y": PARENT},
        ) as m:
            node = CodeNode(
                name="w",
                code_fn=lambda a, b, c: {"y": (a, b, c)},
                inputs={"a": PARENT, "b": PARENT, "c": PARENT},
                outputs={"y": PARENT},
            )
            START >> node >> END
        START >> m >> END
    result = await Hush(graph).run({"bs": ["x", "y"], "c": 9})
    assert result["y"] == [(1, "x", 9), (2, "y", 9)]


def two_sources(first, second):
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"a": Each(PARENT["a"]), "b": Each(PARENT["b"])}) as m:
            START >> CodeNode(name="w", code_fn=lambda: {}) >> END
        START >> m >> END
    return Hush(graph).run({"a": first, "b": second})


async def test_lengths_must_agree():
    with pytest.raises(RunError, match=r"g\.m: .*differ in length: 'a' has 1, 'b' has 2") as caught:
        await two_sources([1], [1, 2])
    assert isinstance(caught.value.__cause__, MapSourceError)
    with pytest.raises(RunError, match="'a' ended after 1 items, 'b' has more"):
        await two_sources(iter([1]), [1, 2])


@pytest.mark.parametrize("source", [3, None, object()])
async def test_what_cannot_be_iterated_is_named(source):
    with pytest.raises(RunError, match=r"g\.m: .*'item'.*cannot be iterated"):
        await Hush(mapped(lambda item: {"y": 1})).run({"items": source})


async def test_a_source_that_raises_fails_the_map_after_what_it_gave():
    def source():
        yield 1
        raise OSError("disk")

    done = []
    graph = mapped(lambda item: done.append(item) or {"y": 1}, max_concurrency=1)
    with pytest.raises(RunError, match=r"g\.m: .*raised at item 1: OSError: disk") as caught:
        await Hush(graph).run({"items": source()})
    assert done == [1]
    assert isinstance(caught.value.__cause__, MapSourceError)


async def test_async_sources():
    closed = []

    async def source():
        try:
            for i in range(4):
                await anyio.sleep(0)
                yield i
        finally:
            closed.append(True)

    result = await Hush(mapped(lambda item: {"y": item})).run({"items": source()})
    assert result["y"] == [0, 1, 2, 3]
    assert closed == [True]


async def test_an_async_source_is_closed_when_an_item_fails():
    closed = []

    async def source():
        try:
            i = 0
            while True:
                yield i
                i += 1
        finally:
            closed.append(True)

    def work(item):
        if item == 3:
            raise ValueError("three")
        return {"y": item}

    with pytest.raises(RunError, match=r"g\.m\[3\]\.w: .*three") as caught:
        await Hush(mapped(work, max_concurrency=2)).run({"items": source()})
    assert caught.value.index == 3
    assert closed == [True]


async def test_a_source_in_a_thread_may_block():
    threads = set()

    def source():
        for i in range(3):
            time.sleep(0.001)
            threads.add(threading.current_thread())
            yield i

    graph = mapped(lambda item: {"y": item}, Each(PARENT["items"], run_in="thread"))
    result = await Hush(graph).run({"items": source()})
    assert result["y"] == [0, 1, 2]
    assert threading.current_thread() not in threads


async def test_a_source_is_pulled_no_faster_than_the_workers():
    pulled = []
    running = set()
    most_ahead = 0

    def source():
        for i in range(50):
            pulled.append(i)
            yield i

    async def work(item):
        nonlocal most_ahead
        running.add(item)
        most_ahead = max(most_ahead, len(pulled) - (len(finished) + len(running)))
        await anyio.sleep(0)
        running.discard(item)
        finished.append(item)
        return {"y": item}

    finished = []
    await Hush(mapped(work, max_concurrency=4)).run({"items": source()})
    assert len(finished) == 50
    assert most_ahead <= 4


# --- failures -----------------------------------------------------------------------------


def odd_fails(item):
    if item % 2:
        raise ValueError(f"odd {item}")
    return {"y": item}


async def test_raise_cancels_the_rest():
    async def work(item):
        if item == 2:
            await anyio.sleep(0.01)
            raise ValueError("two")
        await anyio.sleep(30)
        return {"y": item}

    with capture_spans() as captured:
        with pytest.raises(RunError, match=r"g\.m\[2\]\.w: ValueError: two") as caught:
            await Hush(mapped(work, max_concurrency=3)).run({"items": range(100)})
    assert caught.value.index == 2
    tree = captured.tree
    tree.assert_sound()
    assert str(tree) == (
        "run g error\n"
        "  map m error\n"
        "    item m[0] cancelled\n"
        "      node w cancelled\n"
        "    item m[1] cancelled\n"
        "      node w cancelled\n"
        "    item m[2] error\n"
        "      node w error"
    )
    facts = tree.one("map m").record.attributes
    assert facts["hush.map.items"] == 100
    assert facts["hush.map.failed"] == 1
    assert facts["hush.map.cancelled"] == 2
    assert "hush.partial_failure" not in facts  # it failed altogether
    victim = tree.item("m", 0)
    culprit = tree.item("m", 2)
    assert victim.record.attributes["hush.cancel.cause"] == "g.m[2].w"
    leaf = next(node for node in tree.all("node w") if node.record.outcome == "error")
    assert victim.record.links[-1].span_id == leaf.record.span_id
    assert culprit.record.status_description == "g.m[2].w: ValueError: two"
    assert [e.name for e in tree.one("map m").record.events] == ["hush.first_failure"]


async def test_collect_keeps_the_others():
    graph = mapped(
        odd_fails,
        on_error="collect",
        key=lambda inputs: f"key {inputs['item']}",
        retry=Retry(2, initial_s=0),
        outputs={"y": PARENT, "results": PARENT, "errors": PARENT, "iteration_metrics": PARENT},
    )
    with capture_spans() as captured:
        result = await Hush(graph).run({"items": range(4)})
    assert result["y"] == [0, None, 2, None]
    failure = result["results"][1]
    assert isinstance(failure, ItemFailure)
    assert failure == {"error": "odd 1", "error_type": "ValueError", "index": 1, "y": None}
    assert failure.index == 1
    assert result["results"][0] == 0
    assert result["errors"] == [
        {"index": i, "key": f"key {i}", "type": "ValueError", "message": f"odd {i}", "attempts": 2}
        for i in (1, 3)
    ]
    metrics = result["iteration_metrics"]
    counts = {name: metrics[name] for name in ("total_iterations", "success_count", "error_count")}
    assert counts == {"total_iterations": 4, "success_count": 2, "error_count": 2}
    assert result.partial_failure
    assert sorted((f.path, f.kind, f.attempts) for f in result.failures) == [
        ("g.m[1].w", "collected", 2),
        ("g.m[3].w", "collected", 2),
    ] or sorted(f.index for f in result.failures) == [1, 3]
    tree = captured.tree
    tree.assert_sound()
    red = {n.record.index for n in tree.all("item m") if n.record.is_red}
    assert red == {1, 3}
    assert not tree.one("map m").record.is_red
    assert tree.root.record.attributes["hush.partial_failure"] is True
    assert tree.one("map m").record.attributes["hush.map.retried"] == 2


@pytest.mark.parametrize(
    ("limit", "passes"), [(2, True), (1, False), (0.5, True), (0.49, False), (0, False)]
)
async def test_tolerance(limit, passes):
    graph = mapped(odd_fails, on_error="collect", max_failures=limit)
    engine = Hush(graph)
    if passes:
        assert (await engine.run({"items": range(4)}))["y"] == [0, None, 2, None]
        return
    with (
        capture_spans() as captured,
        pytest.raises(RunError, match=r"g\.m: .*max_failures") as caught,
    ):
        await engine.run({"items": range(4)})
    assert isinstance(caught.value.__cause__, ToleranceError)
    assert any(f.error_type == "ValueError" for f in caught.value.failures)
    captured.tree.assert_sound()


async def test_beyond_the_tolerance_what_is_left_is_cancelled():
    async def work(item):
        if item == 0:
            raise ValueError("zero")
        await anyio.sleep(30)

    graph = mapped(work, on_error="collect", max_failures=0, max_concurrency=3)
    with capture_spans() as captured, pytest.raises(RunError):
        await Hush(graph).run({"items": range(3)})
    victim = captured.tree.item("m", 1).record
    assert victim.attributes["hush.cancel.reason"] == "tolerance_exceeded"
    assert victim.attributes["hush.cancel.cause"] == "g.m"
    captured.tree.assert_sound()


async def test_what_was_beyond_the_tolerance_stands_in_the_order_of_the_items():
    last_failed = anyio.Event()

    async def work(item):
        if item == 1:
            last_failed.set()
        else:
            await last_failed.wait()
        raise ValueError(item)

    graph = mapped(work, on_error="collect", max_failures=1, max_concurrency=2)
    with pytest.raises(RunError) as caught:
        await Hush(graph).run({"items": range(2)})
    assert [f.path for f in caught.value.failures] == ["g.m", "g.m[0].w", "g.m[1].w"]


async def test_a_share_of_an_unsized_source_is_judged_of_what_was_seen():
    graph = mapped(odd_fails, on_error="collect", max_failures=0.6)
    result = await Hush(graph).run({"items": iter(range(40))})
    assert len(result["y"]) == 40
    graph = mapped(odd_fails, on_error="collect", max_failures=0.4, max_concurrency=1)
    with pytest.raises(RunError, match="max_failures"):
        await Hush(graph).run({"items": iter(range(1_000))})


# --- handled failures ---------------------------------------------------------------------


def handles(item):
    error = f"bad {item}" if item == 1 else None
    return {"y": item, "error": error}


async def test_a_handled_failure_is_red_counted_and_left_as_it_is():
    graph = mapped(
        handles,
        body_outputs=("y", "error"),
        outputs={"results": PARENT, "iteration_metrics": PARENT},
    )
    with capture_spans() as captured:
        result = await Hush(graph).run({"items": range(3)})
    assert result["results"][1] == {"y": 1, "error": "bad 1"}
    metrics = result["iteration_metrics"]
    assert (metrics["success_count"], metrics["handled_count"], metrics["error_count"]) == (2, 1, 0)
    assert [(f.path, f.kind, f.message) for f in result.failures] == [
        ("g.m[1]", "handled", "bad 1")
    ]
    tree = captured.tree
    tree.assert_sound()
    item = tree.item("m", 1).record
    assert item.is_red
    assert item.outcome == "handled"
    assert item.attributes["error.type"] == "handled"
    assert item.status_description == "bad 1"
    assert tree.one("map m").record.attributes["hush.map.handled"] == 1
    assert tree.one("map m").record.attributes["hush.map.failed"] == 0
    assert not tree.root.record.is_red


@pytest.mark.parametrize(
    ("rule", "handled"),
    [
        (None, []),
        ("y", [0, 1, 2]),
        (lambda out: out["y"] == 2, [2]),
        (lambda out: "said" if out["y"] == 0 else None, [0]),
        ("absent", []),
    ],
)
async def test_failed_when(rule, handled):
    graph = mapped(handles, body_outputs=("y", "error"), failed_when=rule)
    result = await Hush(graph).run({"items": range(3)})
    assert sorted(f.index for f in result.failures) == handled


async def test_an_error_of_false_is_none():
    graph = mapped(lambda item: {"y": 1, "error": False}, body_outputs=("y", "error"))
    assert not (await Hush(graph).run({"items": [1]})).partial_failure


async def test_a_key_that_raises_fails_its_item():
    graph = mapped(
        lambda item: {"y": item},
        on_error="collect",
        key=lambda i: 1 / i["item"],
        outputs={"y": PARENT},
    )
    result = await Hush(graph).run({"items": [1, 0]})
    assert result["y"] == [1, None]


async def test_a_failed_when_that_raises_fails_its_item():
    graph = mapped(
        lambda item: {"y": item}, on_error="collect", failed_when=lambda out: out["no such"]
    )
    result = await Hush(graph).run({"items": [1]})
    assert result["y"] == [None]
    assert result.failures[0].error_type == "KeyError"


async def test_a_map_can_capture():
    graph = mapped(odd_fails, on_error="capture", outputs={"y": PARENT, "error": PARENT})
    result = await Hush(graph).run({"items": [1]})
    assert result["error"]["path"] == "g.m[0].w"
    assert result["y"] is None


# --- concurrency --------------------------------------------------------------------------


class Gauge:
    def __init__(self):
        self.now = self.peak = 0
        self.lock = threading.Lock()

    def __enter__(self):
        with self.lock:
            self.now += 1
            self.peak = max(self.peak, self.now)

    def __exit__(self, *_exc):
        with self.lock:
            self.now -= 1


@pytest.mark.parametrize("limit", [1, 5, 100, 300])
@pytest.mark.parametrize("sized", [True, False])
async def test_async_items_reach_the_limit_and_never_pass_it(limit, sized):
    gauge = Gauge()
    full = anyio.Event()

    async def work(item):
        with gauge:
            if gauge.now == limit:
                full.set()
            # Held until the limit is reached: proof that it can be, without a stopwatch.
            await full.wait()
            await anyio.sleep(0)
        return {"y": item}

    items = list(range(limit * 3))
    with capture_spans() as captured:
        await Hush(mapped(work, max_concurrency=limit)).run(
            {"items": items if sized else iter(items)}
        )
    assert gauge.peak == limit
    assert captured.tree.max_overlap("item m") == limit
    assert captured.tree.one("map m").record.attributes["hush.map.peak_concurrency"] == limit


@pytest.mark.parametrize("limit", [1, 5, 100, 300])
async def test_plain_functions_reach_the_limit_and_never_pass_it(limit):
    gauge = Gauge()
    full = threading.Event()

    def work(item):
        with gauge:
            if gauge.now == limit:
                full.set()
            assert full.wait(30)
        return {"y": item}

    await Hush(mapped(work, max_concurrency=limit)).run({"items": range(limit * 2)})
    assert gauge.peak == limit


async def test_where_max_threads_makes_a_node_wait_that_is_recorded():
    def work(item):
        time.sleep(0.02)
        return {"y": item}

    with capture_spans() as captured:
        await Hush(mapped(work, max_concurrency=4), max_threads=1).run({"items": range(4)})
    waits = [n.record.seconds("hush.wait.limiter_s") for n in captured.tree.all("node w")]
    assert sum(wait > 0.01 for wait in waits) == 3


async def test_waits_for_a_slot_are_told():
    async def work(item):
        await anyio.sleep(0.02)
        return {"y": item}

    with capture_spans() as captured:
        await Hush(mapped(work, max_concurrency=1)).run({"items": range(3)})
    waits = [captured.tree.item("m", i).record.attributes["hush.wait.slot_s"] for i in range(3)]
    assert waits[0] < 0.01 < waits[1] < waits[2]


async def test_maps_nest():
    with GraphNode(name="g") as graph:
        with MapNode(
            name="rows", inputs={"row": Each(PARENT["rows"])}, outputs={"s": PARENT}
        ) as rows:
            with MapNode(
                name="cells", inputs={"c": Each(PARENT["row"])}, outputs={"d": PARENT}
            ) as cells:
                node = CodeNode(
                    name="double",
                    code_fn=lambda c: {"d": c * 2},
                    inputs={"c": PARENT},
                    outputs={"d": PARENT},
                )
                START >> node >> END
            total = CodeNode(
                name="sum",
                code_fn=lambda d: {"s": sum(d)},
                inputs={"d": PARENT},
                outputs={"s": PARENT},
            )
            START >> cells >> total >> END
        START >> rows >> END
    with capture_spans() as captured:
        result = await Hush(graph).run({"rows": [[1, 2], [3], []]})
    assert result["s"] == [6, 6, 0]
    captured.tree.assert_sound()
    paths = {n.record.attributes["hush.node.path"] for n in captured.tree.all("node double")}
    assert paths == {
        "g.rows[0].cells[0].double",
        "g.rows[0].cells[1].double",
        "g.rows[1].cells[0].double",
    }


async def test_a_captured_failure_inside_makes_every_map_around_it_partial():
    with GraphNode(name="g") as graph:
        with MapNode(name="outer", inputs={"x": Each([1])}) as outer:
            with MapNode(name="inner", inputs={"y": Each([0, 1])}) as inner:
                node = CodeNode(
                    name="w",
                    code_fn=lambda y: {"z": 1 / y},
                    inputs={"y": PARENT},
                    on_error="capture",
                )
                START >> node >> END
            START >> inner >> END
        with MapNode(name="other", inputs={"x": Each([1])}) as other:
            START >> CodeNode(name="fine", code_fn=lambda: {}) >> END
        START >> [outer, other] >> END
    with capture_spans() as captured:
        await Hush(graph).run()
    partial = {
        n.name for n in captured.tree if n.record.attributes.get("hush.partial_failure") is True
    }
    assert partial == {"run g", "map outer", "item outer", "map inner", "item inner"}


async def test_a_wait_for_a_thread_is_not_time_of_running():
    def work(item):
        time.sleep(0.03)
        return {"y": item}

    with capture_spans() as captured:
        await Hush(mapped(work, max_concurrency=2), max_threads=1).run({"items": range(2)})
    for node in captured.tree.all("node w"):
        facts = node.record
        assert facts.seconds("hush.run_s") + facts.seconds("hush.wait.limiter_s") == pytest.approx(
            facts.duration_s, abs=0.01
        )
    assert max(n.record.seconds("hush.wait.limiter_s") for n in captured.tree.all("node w")) > 0.02
