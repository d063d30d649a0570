"""Threads that may be left: what runs in them, and what is left of them."""

from __future__ import annotations

import threading
import time

import anyio
import anyio.from_thread
import pytest

from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode, RunError
from hush.executors.threads import abandoned_threads
from hush.testing import capture_spans


def graph_of(code_fn, **options):
    with GraphNode(name="g") as graph:
        START >> CodeNode(name="n", code_fn=code_fn, outputs={"*": PARENT}, **options) >> END
    return graph


async def wait_for_abandoned(count):
    with anyio.fail_after(10):
        while abandoned_threads() != count:
            await anyio.sleep(0.005)


WAYS = pytest.mark.parametrize(
    "options",
    [{}, {"timeout_s": 60}, {"abandon_on_cancel": True}],
    ids=["awaited", "limited", "abandonable"],
)


@WAYS
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_a_loop_may_run_inside(options, backend):
    inner = Hush(graph_of(lambda: {"v": 1}))

    def work():
        return {"v": inner.run_sync(backend=backend)["v"]}

    assert (await Hush(graph_of(work, **options)).run())["v"] == 1


@WAYS
async def test_the_loop_may_be_called_from_inside(options):
    loop_thread = threading.get_ident()

    async def on_loop():
        await anyio.sleep(0)
        return threading.get_ident()

    def work():
        anyio.from_thread.check_cancelled()
        seen = {anyio.from_thread.run(on_loop), anyio.from_thread.run_sync(threading.get_ident)}
        return {"v": seen}

    assert (await Hush(graph_of(work, **options)).run())["v"] == {loop_thread}


@pytest.mark.parametrize("kind", [SystemExit, ValueError])
async def test_what_is_raised_inside_comes_out(kind):
    def work():
        raise kind("no")

    with pytest.raises((RunError, SystemExit, BaseExceptionGroup)) as caught:
        await Hush(graph_of(work, timeout_s=60)).run()
    assert isinstance(caught.value, RunError) == (kind is ValueError)


async def test_an_abandoned_function_may_ask_whether_it_is():
    before = abandoned_threads()
    begun = threading.Event()
    heard = []

    def work():
        begun.set()
        try:
            while True:
                anyio.from_thread.check_cancelled()
                time.sleep(0.005)
        except BaseException as error:
            heard.append(type(error))
            raise

    with pytest.raises(RunError, match="timeout_s"):
        await Hush(graph_of(work, timeout_s=0.2)).run()
    assert begun.is_set()
    await wait_for_abandoned(before)
    assert heard == [anyio.get_cancelled_exc_class()]


# --- sources -------------------------------------------------------------------------------


class Blocking:
    """A source whose second item comes when it is released."""

    def __init__(self):
        self.begun = threading.Event()
        self.release = threading.Event()

    def __iter__(self):
        yield 1
        self.begun.set()
        self.release.wait(30)
        yield 2


def mapped(source, **options):
    with GraphNode(name="g") as graph:
        with GraphNode(name="sub", **options) as sub:
            with MapNode(name="m", inputs={"x": Each(source, run_in="thread")}) as m:
                START >> CodeNode(name="w", code_fn=lambda x: {}, inputs={"x": PARENT}) >> END
            START >> m >> END
        START >> sub >> END
    return Hush(graph)


@pytest.mark.parametrize("where", ["run", "graph"])
async def test_a_source_in_a_thread_keeps_to_the_limit_around_it(where):
    source = Blocking()
    before = abandoned_threads()
    engine = mapped(source, **({"timeout_s": 0.2} if where == "graph" else {}))
    began = time.perf_counter()
    with capture_spans() as captured, pytest.raises(RunError, match=r"0\.2"):
        await engine.run(deadline_s=0.2 if where == "run" else None)
    assert time.perf_counter() - began < 10
    assert abandoned_threads() == before + 1
    assert captured.tree.one("map m").record.attributes["hush.abandoned"] is True
    source.release.set()
    await wait_for_abandoned(before)


async def test_a_source_in_a_thread_without_limit_is_awaited():
    source = Blocking()
    engine = mapped(source)
    before = abandoned_threads()

    async def run():
        await engine.run()
        pytest.fail("it gave a result")

    async def cancel():
        while not source.begun.is_set():
            await anyio.sleep(0.001)
        group.cancel_scope.cancel()
        timer.start()

    timer = threading.Timer(0.05, source.release.set)
    async with anyio.create_task_group() as group:
        group.start_soon(run)
        group.start_soon(cancel)
    assert source.release.is_set()
    assert abandoned_threads() == before
    timer.join()
