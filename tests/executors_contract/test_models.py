"""Models asked from workers, and what is said of a run: the same as in this process."""

from __future__ import annotations

import re

import anyio
import pytest

from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode
from hush.insight.diagnosis import diagnose
from hush.providers import LLMNode
from hush.testing import Answer, ErrorReply, ScriptedLLMServer, capture_spans
from tests.observe.measuring import measuring
from tests.providers.asking import FAST, asks_each

METRICS = (
    "hush.run.duration",
    "hush.node.duration",
    "hush.item.duration",
    "gen_ai.client.operation.duration",
    "gen_ai.client.token.usage",
)
TEXTS = [f"question {number}" for number in range(8)]


@pytest.fixture
def server():
    with ScriptedLLMServer() as running:
        yield running


async def asked(server, **options):
    server.script("m", ErrorReply(500))
    server.default("m", Answer("so it is", prompt_tokens=11, completion_tokens=3, delay_s=0.05))
    graph = asks_each(TEXTS, 4, retry=FAST)
    engine = Hush(graph, resources=server.resources("m"), **options)
    with capture_spans() as captured, measuring() as metrics:
        result = await engine.run()
    captured.tree.assert_sound()
    return result, captured.tree, metrics


def of(tree, name):
    """Return what a span says, but for times and ids."""
    same = ("hush.tokens", "hush.node.count", "hush.outcome", "hush.partial_failure")
    same += tuple(f"hush.map.{name}" for name in ("items", "ok", "failed", "handled", "retried"))
    facts = tree.one(name).record.attributes
    return {key: value for key, value in facts.items() if key.startswith(same)}


async def test_tokens_costs_and_metrics_are_the_same(place, server):
    here, tree_here, metrics_here = await asked(server)
    there, tree_there, metrics_there = await asked(server, executor=place.make())
    assert there["content"] == here["content"] == ["so it is"] * 8
    assert there.usage == here.usage
    assert there.usage.calls == 9
    assert (there.usage.input_tokens, there.usage.output_tokens) == (88, 24)
    for name in ("run g", "map each"):
        assert of(tree_there, name) == of(tree_here, name)
    chats = tree_there.all("chat m")
    assert len(chats) == 9
    assert {chat.parent.name for chat in chats} == {"node ask"}
    for name in METRICS:
        assert counted(metrics_there, name) == counted(metrics_here, name), name


def counted(metrics, name):
    """Return how often each combination of labels was counted."""
    found = [(sorted(point.attributes.items()), point.count) for point in metrics.points(name)]
    assert found
    return sorted(found, key=str)


def uneven(executor):
    """Return a run whose time one item takes."""

    async def nap(x):
        await anyio.sleep(1.5 if x == 3 else 0.05)
        return {"y": x}

    with GraphNode(name="g") as graph:
        with MapNode(
            name="m",
            inputs={"x": Each(range(8))},
            outputs={"y": PARENT},
            max_concurrency=8,
            executor=executor,
        ) as over:
            (
                START
                >> CodeNode(name="n", code_fn=nap, inputs={"x": PARENT}, outputs={"*": PARENT})
                >> END
            )
        done = CodeNode(name="done", code_fn=lambda y: {"sum": sum(y)}, inputs={"y": over["y"]})
        START >> over >> done >> END
    return Hush(graph)


async def test_the_straggler_is_found_wherever_it_was(place):
    found, paths, bounds = [], [], []
    async with (executor := place.make()):
        for engine in (uneven(None), uneven(executor)):
            with capture_spans() as captured:
                await engine.run()
            tree = captured.tree
            of_run = tree.one("run g").record.attributes
            of_map = tree.one("map m").record.attributes
            found.append(diagnose(tree).first)
            paths.append([step(entry) for entry in of_run["hush.critical_path"]])
            bounds.append((of_map["hush.map.bound_by"], of_map["hush.map.slowest"][0][:2]))
    assert bounds[0] == bounds[1] == ("straggler", "3:")
    assert (found[0].kind, found[0].path) == (found[1].kind, found[1].path)
    # Waiting for the engine is a step of its own; what lay ready behind the straggler may be one.
    for path in paths:
        worked = [entry for entry in path if "(" not in entry]
        assert (worked[0], worked[-1]) == ("m[3].n", "done")


def step(entry):
    """Return a step of a critical path without its seconds and its share."""
    return re.sub(r" [\d.e-]+s \d+%$", "", entry)


def plans(executor, server):
    """Return a graph that asks in a graph that runs elsewhere as a whole."""
    with GraphNode(name="g") as graph:
        with GraphNode(name="inner", inputs={"text": PARENT["text"]}, executor=executor) as inner:
            ask = LLMNode(
                name="ask",
                resource_key="m",
                inputs={"messages": [{"role": "user", "content": "hello"}]},
                outputs={"content": PARENT},
            )
            START >> ask >> END
        inner["content"] >> PARENT["content"]
        START >> inner >> END
    return Hush(graph, resources=server.resources("m"))


async def test_a_graph_as_a_whole(place, server):
    server.default("m", Answer("yes", prompt_tokens=5, completion_tokens=1))
    seen = []
    for executor in (None, place.make()):
        with capture_spans() as captured:
            result = await plans(executor, server).run({"text": "hello"})
        captured.tree.assert_sound()
        seen.append((result["content"], result.usage, of(captured.tree, "run g")))
    assert seen[0] == seen[1]
