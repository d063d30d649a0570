"""Who holds up the event loop, what is waited for, and what runs now."""

from __future__ import annotations

import sys
import threading
import time

import anyio
import pytest

from hush import semconv
from hush.core import END, START, CodeNode, Each, GraphNode, Hush, MapNode
from hush.runtime import node_run, presence, stepping
from hush.runtime.watchdog import Watchdog, watch
from hush.testing import capture_spans


async def blocks():
    time.sleep(0.25)
    return {}


async def blocks_between():
    await anyio.sleep(0.01)
    time.sleep(0.25)
    await anyio.sleep(0.01)
    return {}


async def behaves():
    await anyio.sleep(0.3)
    return {}


def graph_of(*functions):
    with GraphNode(name="g") as graph:
        START >> [CodeNode(code_fn=function) for function in functions] >> END
    return graph


def messages(caplog, text):
    return [record.getMessage() for record in caplog.records if text in record.getMessage()]


@pytest.mark.parametrize("function", [blocks, blocks_between])
async def test_a_node_that_holds_the_loop_is_named_with_its_line(function, caplog):
    with capture_spans() as captured:
        await Hush(graph_of(function, behaves)).run()
    blamed = captured.tree.one(f"node {function.__name__}").record
    assert 0.2 < blamed.attributes[semconv.LOOP_BLOCKED_S] < 0.6
    (event,) = [one for one in blamed.events if one.name == semconv.EVENT_LOOP_BLOCKED]
    assert "test_watchdog.py:" in event.attributes[semconv.LOOP_BLOCKED_AT]
    assert function.__name__ in event.attributes[semconv.LOOP_BLOCKED_AT]
    innocent = captured.tree.one("node behaves").record
    assert semconv.LOOP_BLOCKED_S not in innocent.attributes
    (said,) = messages(caplog, "holds up the event loop")
    assert f"g.{function.__name__}" in said
    assert "run_in='thread'" in said


async def test_one_warning_for_a_node_however_many_items(caplog):
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each([1, 2, 3])}, max_concurrency=3) as items:
            START >> CodeNode(name="blocks", code_fn=lambda: time.sleep(0.15)) >> END
        START >> items >> END
    with capture_spans() as captured:
        await Hush(graph).run()
    spans = captured.tree.all("node blocks")
    assert all(node.record.attributes[semconv.LOOP_BLOCKED_S] > 0.1 for node in spans)
    assert len(messages(caplog, "holds up the event loop")) == 1
    # Neither the items nor the map did it.
    for node in [*captured.tree.all("item m"), captured.tree.one("map m")]:
        assert semconv.LOOP_BLOCKED_S not in node.record.attributes


async def test_who_waits_for_the_loop_meanwhile_says_so_and_who_sleeps_on_does_not():
    ready = anyio.Event()

    async def holds():
        await anyio.sleep(0.01)
        ready.set()
        time.sleep(0.25)
        return {}

    async def waits():
        await ready.wait()
        return {}

    async def sleeps():
        await anyio.sleep(1.5)
        return {}

    with capture_spans() as captured:
        await Hush(graph_of(holds, waits, sleeps)).run()
    tree = captured.tree
    held_s = tree.one("node holds").record.attributes[semconv.LOOP_BLOCKED_S]
    waited_s = tree.one("node waits").record.attributes[semconv.WAIT_LOOP_S]
    assert 0.5 * held_s < waited_s < 1.5 * held_s
    for name in ("node holds", "node sleeps"):
        assert semconv.WAIT_LOOP_S not in tree.one(name).record.attributes


@pytest.mark.parametrize(
    ("asleep_s", "free_s", "lost_s"),
    [(0.3, 0.0, 0.3), (0.3, 0.3, 0.0), (0.1, 0.2, 0.0), (0.35, 0.1, 0.1504), (0.35, 0.3, 0.0256)],
)
def test_of_a_wait_that_the_loop_ended_late_a_part_is_lost(asleep_s, free_s, lost_s):
    assert stepping.lost_s(asleep_s, free_s) == pytest.approx(lost_s, abs=1e-4)


async def test_a_thread_does_not_hold_the_loop():
    def works():
        time.sleep(0.25)
        return {}

    with capture_spans() as captured:
        await Hush(graph_of(works, behaves)).run()
    for node in captured.tree.walk():
        assert semconv.LOOP_BLOCKED_S not in node.record.attributes


async def test_a_node_whose_thread_cannot_start_for_want_of_the_interpreter_is_innocent(
    caplog, monkeypatch
):
    monkeypatch.setattr(node_run, "STARVED_S", 0.0)

    def computes():
        end = time.thread_time() + 0.5
        while time.thread_time() < end:
            pass
        return {}

    with GraphNode(name="g") as graph:
        START >> [CodeNode(name=f"n{i}", code_fn=computes) for i in range(3)] >> END
    interval = sys.getswitchinterval()
    # Whoever computes keeps the interpreter for so long, and lets neither the loop's thread nor
    # the watchdog's on.
    sys.setswitchinterval(0.4)
    try:
        with capture_spans() as captured:
            await Hush(graph).run()
    finally:
        sys.setswitchinterval(interval)
    for node in captured.tree.walk():
        assert semconv.LOOP_BLOCKED_S not in node.record.attributes
    assert not messages(caplog, "holds up the event loop")
    (said,) = messages(caplog, "no node held it up")
    assert "run_in='process'" in said


async def test_a_node_that_computes_on_the_loop_is_not_innocent(caplog):
    async def computes():
        end = time.thread_time() + 0.3
        while time.thread_time() < end:
            pass
        return {}

    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.4)  # the watchdog is not let on either
    try:
        with capture_spans() as captured:
            await Hush(graph_of(computes)).run()
    finally:
        sys.setswitchinterval(interval)
    blamed = captured.tree.one("node computes").record
    assert blamed.attributes[semconv.LOOP_BLOCKED_S] > 0.2
    assert messages(caplog, "holds up the event loop")


async def test_the_line_is_the_nodes_own_also_below_libraries(caplog):
    async def blocks_in_a_library():
        list(map(time.sleep, [0.1] * 3))
        threading.Event().wait(0.2)
        return {}

    with capture_spans():
        await Hush(graph_of(blocks_in_a_library)).run()
    (said,) = messages(caplog, "holds up the event loop")
    assert "blocks_in_a_library" in said


async def test_a_nested_run_is_blamed_once():
    inner = Hush(graph_of(blocks))

    async def calls():
        await inner.run()
        return {}

    with capture_spans() as captured:
        await Hush(graph_of(calls)).run()
    assert semconv.LOOP_BLOCKED_S in captured.tree.one("node blocks").record.attributes
    assert semconv.LOOP_BLOCKED_S not in captured.tree.one("node calls").record.attributes


def waiting_graph(gate):
    async def waits():
        await gate.wait()
        return {}

    with GraphNode(name="g") as graph:
        quick = CodeNode(name="quick", code_fn=lambda: {})
        slow = CodeNode(name="slow", code_fn=waits)
        with MapNode(name="m", inputs={"x": Each(range(10))}, max_concurrency=2) as items:
            START >> CodeNode(name="hangs", code_fn=waits) >> END
        join = CodeNode(name="join", code_fn=lambda: {})
        START >> [quick, slow, items] >> join >> END
    return graph


async def test_a_snapshot_shows_what_runs_and_what_waits():
    gate = anyio.Event()
    engine = Hush(waiting_graph(gate))
    other = Hush(graph_of(behaves))
    async with anyio.create_task_group() as group:
        group.start_soon(engine.run)
        group.start_soon(other.run)
        await anyio.sleep(0.1)
        seen = engine.snapshot()
        everything = presence.snapshot()
        gate.set()
    (run,) = seen.runs
    assert run.graph == "g"
    assert {node.path for node in run.nodes} == {"g.slow", "g.m[0].hangs", "g.m[1].hangs"}
    (wait,) = run.waits
    assert (wait.name, wait.arrived, set(wait.pending)) == ("join", ("quick",), {"slow", "m"})
    assert 0.05 < wait.seconds < 5
    (items,) = run.maps
    assert (items.path, items.running, items.ended, items.total) == ("g.m", 2, 0, 10)
    told = str(seen)
    assert "g.join has waited" in told
    assert "g.m runs 2 of at most 2 items, 0 of 10 ended" in told
    assert len(everything.runs) == 2
    assert engine.snapshot().runs == ()
    assert str(engine.snapshot()) == "nothing is running"
    assert presence.present() == []


async def test_a_snapshot_may_be_taken_from_any_thread_while_all_goes_on():
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each(range(300))}, max_concurrency=50) as items:
            START >> CodeNode(name="n", code_fn=anyio.sleep, inputs={"delay": 0.001}) >> END
        START >> items >> END
    engine = Hush(graph)
    faults, taken, stop = [], [], threading.Event()

    def look():
        while not stop.is_set():
            try:
                taken.append(str(engine.snapshot()))
            except Exception as error:
                faults.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        # A run takes a few milliseconds, and the other thread may not get its turn in one.
        for _ in range(100):
            await engine.run()
            if any("g.m runs" in text for text in taken):
                break
    finally:
        stop.set()
        thread.join()
    assert not faults
    assert any("g.m runs" in text for text in taken)


async def test_a_join_that_waits_long_is_logged_once(caplog, monkeypatch):
    monkeypatch.setattr(watch, "stuck_join_s", 0.1)
    gate = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(Hush(waiting_graph(gate)).run)
        with anyio.fail_after(10):
            while not messages(caplog, "a join has waited long"):
                await anyio.sleep(0.05)
        await anyio.sleep(0.5)
        gate.set()
    (said,) = messages(caplog, "a join has waited long")
    assert "g.join" in said
    assert "slow" in said
    assert "quick" in said


def test_the_thread_goes_when_nothing_runs(monkeypatch):
    monkeypatch.setattr("hush.runtime.watchdog.IDLE_S", 0.1)
    one = Watchdog()
    one.wake()
    threads = [t for t in threading.enumerate() if t.name == "hush watchdog"]
    assert threads
    for _ in range(100):
        if not one._running:
            break
        time.sleep(0.05)
    assert not one._running
    one.wake()
    assert one._running
