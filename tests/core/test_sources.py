"""Sources that fail: while they are pulled, while they are closed, while a map fails anyway."""

from __future__ import annotations

import asyncio

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
    MapNode,
    MapSourceError,
    RunError,
    UnexpectedCancellationError,
)
from hush.testing import capture_spans


def mapped(code_fn, **options):
    with GraphNode(name="g") as graph:
        with MapNode(
            name="m", inputs={"x": Each(PARENT["xs"])}, outputs={"y": PARENT}, **options
        ) as m:
            (
                START
                >> CodeNode(name="w", code_fn=code_fn, inputs={"x": PARENT}, outputs={"y": PARENT})
                >> END
            )
        START >> m >> END
    return Hush(graph)


async def spoils_its_end(count, pause_s=0.0):
    try:
        for i in range(count):
            yield i
            await anyio.sleep(pause_s)
        await anyio.sleep(pause_s)
    finally:
        raise KeyError("closing")


async def fails_later(x):
    await anyio.sleep(0.01)
    raise ValueError(f"item {x}")


@pytest.mark.parametrize("max_concurrency", [1, 2, 3])
@pytest.mark.parametrize("pause_s", [0.0, 30.0], ids=["closing", "waiting"])
async def test_an_items_failure_goes_before_that_of_its_source(max_concurrency, pause_s):
    # With a pause, a worker is waiting in the source when the item fails.
    engine = mapped(fails_later, max_concurrency=max_concurrency)
    source = spoils_its_end(5, pause_s)
    with capture_spans() as captured, pytest.raises(RunError, match=r"item \d") as caught:
        await engine.run({"xs": source})
    assert isinstance(caught.value.__cause__, ValueError)
    *items, last = caught.value.failures
    assert {failure.error_type for failure in items} == {"ValueError"}
    assert (last.path, last.error_type) == ("g.m", "hush.errors.MapSourceError")
    captured.tree.assert_sound()


async def test_a_source_that_raises_when_closed_fails_a_map_that_was_well():
    with GraphNode(name="g") as graph:
        with MapNode(
            name="m", inputs={"x": Each(PARENT["xs"])}, on_error="collect", max_failures=0
        ) as m:
            START >> CodeNode(name="w", code_fn=lambda x: {}, inputs={"x": PARENT}) >> END
        START >> m >> END
    with pytest.raises(RunError, match=r"g\.m.*KeyError: 'closing'") as caught:
        await Hush(graph).run({"xs": spoils_its_end(2)})
    assert isinstance(caught.value.__cause__, MapSourceError)
    assert isinstance(caught.value.__cause__.__cause__, KeyError)


async def test_two_sources_are_both_closed():
    closed = []

    async def source(name):
        try:
            for i in range(9):
                yield i
        finally:
            closed.append(name)
            raise KeyError(name)

    with GraphNode(name="g") as graph:
        with MapNode(
            name="m", inputs={"x": Each(PARENT["a"]), "y": Each(PARENT["b"])}, max_concurrency=1
        ) as m:
            START >> CodeNode(name="w", code_fn=fails_later, inputs={"x": PARENT}) >> END
        START >> m >> END
    with pytest.raises(RunError, match=r"item \d") as caught:
        await Hush(graph).run({"a": source("a"), "b": source("b")})
    assert closed == ["a", "b"]
    assert [failure.path for failure in caught.value.failures] == ["g.m[0].w", "g.m", "g.m"]


@pytest.mark.parametrize("max_concurrency", [1, 2])
async def test_a_source_with_a_made_up_cancellation_fails_the_map(
    max_concurrency, anyio_backend_name
):
    if anyio_backend_name == "trio":
        pytest.skip("trio has no cancellation without a scope")

    async def source():
        yield 1
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    engine = mapped(lambda x: {"y": x}, max_concurrency=max_concurrency)
    with pytest.raises(RunError, match=r"g\.m.*source was cancelled") as caught:
        await engine.run({"xs": source()})
    assert isinstance(caught.value.__cause__, UnexpectedCancellationError)
