"""What the tests of calls share: graphs that ask a scripted server, and how to read what came."""

from __future__ import annotations

import anyio

from hush.core import END, PARENT, START, Each, GraphNode, Hush, MapNode, Retry, RunError
from hush.providers import LLMNode
from hush.testing import capture_spans

FAST = Retry(attempts=3, initial_s=0.01, jitter=0.0)
"""The default policy without its pauses."""


def say(text):
    return [{"role": "user", "content": str(text)}]


def asks(resource_key="m", **options):
    """A graph of one node that asks; its output is the content, and what is asked for."""
    options = {
        "inputs": {"messages": say("hello you")},
        "outputs": {"content": PARENT, "resource_used": PARENT},
        "retry": FAST,
        **options,
    }
    with GraphNode(name="g") as graph:
        START >> LLMNode(name="ask", resource_key=resource_key, **options) >> END
    return graph


def asks_each(texts, max_concurrency, map_options=None, resource_key="m", **options):
    """A graph of a map that asks for each text; its output is the column of contents."""
    with GraphNode(name="g") as graph:
        with MapNode(
            name="each",
            inputs={"text": Each(texts)},
            max_concurrency=max_concurrency,
            outputs={"content": PARENT},
            **(map_options or {}),
        ) as each:
            ask = LLMNode(
                name="ask",
                resource_key=resource_key,
                inputs={"messages": PARENT["text"].apply(say)},
                outputs={"content": PARENT},
                **{"retry": FAST, **options},
            )
            START >> ask >> END
        START >> each >> END
    return graph


def asks_at_once(*names, resource_key="m", **options):
    """A graph of several nodes that ask at the same time."""
    with GraphNode(name="g") as graph:
        nodes = [
            LLMNode(
                name=name,
                resource_key=resource_key,
                inputs={"messages": say(name)},
                **{"retry": FAST, **options},
            )
            for name in names
        ]
        START >> nodes >> END
    return graph


async def traced(engine, inputs=None, **options):
    """Run; return what came, be it a result or the RunError, and the tree of spans."""
    with capture_spans() as captured:
        try:
            came = await engine.run(inputs, **options)
        except RunError as error:
            came = error
    assert captured.open_spans == ()
    captured.tree.assert_sound()
    return came, captured.tree


async def ask(server, graph=None, *models, inputs=None, **options):
    """Run a graph against a server once; as :func:`traced`."""
    resources = server.resources(*(models or ("m",)), **options)
    return await traced(Hush(graph or asks(), resources=resources), inputs)


def chats(tree):
    """The spans of the calls, in the order of their numbers."""
    found = [node.record for node in tree.all("chat *")]
    return sorted(found, key=lambda record: record.attributes["hush.attempt"])


def outcomes(tree):
    return [record.outcome for record in chats(tree)]


def events(record, name):
    return [event.attributes for event in record.events if event.name == name]


async def until(condition):
    """Wait until a condition holds that another thread brings about."""
    with anyio.fail_after(10):
        while not condition():
            await anyio.sleep(0.002)


async def nothing_left(server):
    """Wait until the server, too, has noticed that nobody is there any more."""
    await until(lambda: server.open_connections == 0 and server.active == 0)
