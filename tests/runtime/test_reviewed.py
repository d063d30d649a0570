"""What the straight way and lean spans were found to do wrong once."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Mapping

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from hush import semconv
from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode, RunError
from hush.observe import lean_span
from hush.observe.tracing import override_provider
from hush.testing import capture_spans


def map_over(function, source=range(6), limit=3, **options):
    with GraphNode(name="g") as graph:
        with MapNode(
            name="m", inputs={"x": Each(source)}, max_concurrency=limit, outputs={"y": PARENT},
            **options,
        ) as each:  # fmt: skip
            node = CodeNode("w", function, inputs={"x": PARENT["x"]}, outputs={"y": PARENT})
            START >> node >> END
        START >> each >> END
    return graph


async def test_whoever_writes_while_a_span_becomes_the_sdks_writes_too(monkeypatch):
    # As a finaliser does where the collection of garbage begins just then.
    earlier = []
    make = lean_span.BoundedList

    def finalises(limit):
        monkeypatch.setattr(lean_span, "BoundedList", make)
        earlier[0].set_attribute("finalised", True)
        return make(limit)

    async def first():
        earlier.append(trace.get_current_span())
        return {}

    async def second():
        monkeypatch.setattr(lean_span, "BoundedList", finalises)
        trace.get_current_span().set_attribute("touched", True)
        earlier.append(trace.get_current_span())
        return {}

    with GraphNode(name="g") as graph:
        with GraphNode(name="inner") as inner:
            START >> CodeNode("first", first) >> CodeNode("second", second) >> END
        START >> inner >> END
    with capture_spans() as captured, anyio.fail_after(20):
        await Hush(graph).run()
    assert captured.tree.one("node second").record.attributes["touched"] is True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_makes_spans_whoever_held_the_lock():
    held, done = threading.Event(), threading.Event()

    def hold():
        with lean_span.becoming:
            held.set()
            done.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(15)
        with override_provider(TracerProvider(shutdown_on_exit=False)):
            Hush(map_over(lambda x: {"y": x})).run_sync()
        os._exit(7)
    done.set()
    holder.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


async def test_a_map_that_loses_an_item_is_not_ok(anyio_backend_name):
    if anyio_backend_name == "trio":
        pytest.skip("trio's tasks cannot be cancelled directly")

    async def cancels_its_task(x):
        if x == 2:
            asyncio.current_task().cancel()
        await anyio.sleep(0)
        return {"y": x}

    with pytest.raises(RunError, match=r"g\.m.*cancelled"):
        await Hush(map_over(cancels_its_task)).run()


@pytest.mark.parametrize("limit", [1, 4])
async def test_items_without_a_key_give_the_loop_its_turn(limit):
    turns = 0

    async def ticks():
        nonlocal turns
        while True:
            await anyio.sleep(0)
            turns += 1

    graph = map_over(
        lambda x: {"y": x}, range(200), limit, key=lambda values: 1 / 0, on_error="collect"
    )
    async with anyio.create_task_group() as group:
        group.start_soon(ticks)
        await Hush(graph).run()
        group.cancel_scope.cancel()
    assert turns >= 200 / limit / 2


class Torn(Mapping):
    """Says what it has, and raises when it is read."""

    def __getitem__(self, key):
        raise OSError("the row is gone")

    def __iter__(self):
        return iter(("y",))

    def __len__(self):
        return 1


async def test_outputs_that_cannot_be_read_are_their_nodes_failure():
    with GraphNode(name="g") as graph:
        node = CodeNode("n", lambda: Torn(), outputs={"y": PARENT})
        START >> node >> END
    with capture_spans() as captured, pytest.raises(RunError) as caught:
        await Hush(graph).run()
    assert caught.value.failures[0].path == "g.n"
    span = captured.tree.one("node n").record
    assert span.attributes[semconv.OUTCOME] == semconv.OUTCOME_ERROR
    with pytest.raises(RunError) as caught:
        await Hush(map_over(lambda x: Torn(), [1])).run()
    assert caught.value.failures[0].path == "g.m[0].w"


async def test_a_node_that_has_failed_does_not_run():
    gate, seen = anyio.Event(), []

    async def source():
        yield 1
        await gate.wait()

    def fails(x):
        raise ValueError(x)

    with GraphNode(name="g") as graph:
        with MapNode(
            name="m", inputs={"x": Each(PARENT["xs"])}, max_concurrency=1, on_error="collect"
        ) as each:
            fail = CodeNode("w", fails, inputs={"x": PARENT["x"]}, run_in="loop")
            START >> fail >> END
        START >> each >> END
    engine = Hush(graph)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: engine.run({"xs": source()}))
        give_up = time.monotonic() + 20
        while not any(now.ended for run in engine.snapshot().runs for now in run.maps):
            assert time.monotonic() < give_up
            await anyio.sleep(0.01)
        seen = [node.path for run in engine.snapshot().runs for node in run.nodes]
        gate.set()
    assert seen == []
