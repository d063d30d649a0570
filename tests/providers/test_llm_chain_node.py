"""LLMChainNode: a prompt and its call in one node."""

from __future__ import annotations

import pytest

from hush.core import END, PARENT, START, Each, GraphError, GraphNode, MapNode, RunError
from hush.providers import LLMChainNode
from hush.testing import Answer, capture_spans

QUESTION = {"system": "Answer briefly.", "user": "{query}"}


def said(role, content):
    return {"role": role, "content": content}


@pytest.fixture
def chain(engine_of):
    """Make an engine with one LLMChainNode ``g.ask``."""

    def make(inputs, **options):
        with GraphNode(name="g") as graph:
            (
                START
                >> LLMChainNode("ask", "m", inputs=inputs, outputs={"*": PARENT}, **options)
                >> END
            )
        return engine_of(graph)

    return make


async def test_it_fills_and_asks(server, chain):
    engine = chain({"prompt": QUESTION, "query": PARENT["q"], "temperature": 0.5})
    server.script("m", Answer("Hà Nội", prompt_tokens=3, completion_tokens=2))
    with capture_spans() as captured:
        result = await engine.run({"q": "Capital of {Vietnam}?"})
    messages = [said("system", "Answer briefly."), said("user", "Capital of {Vietnam}?")]
    assert server.requests[0].body == {"model": "m", "messages": messages, "temperature": 0.5}
    assert (result["content"], result["messages"]) == ("Hà Nội", messages)
    assert result["tokens_used"]["total_tokens"] == 5
    captured.tree.assert_sound()
    assert str(captured.tree) == "run g\n  node ask\n    chat m"


async def test_history(server, chain):
    inputs = {"prompt": QUESTION, "query": "q", "conversation_history": PARENT["past"]}
    past = [said("user", "a {query}"), said("assistant", "b")]
    await chain(inputs).run({"past": past})
    sent = server.requests[0].body["messages"]
    assert sent == [said("system", "Answer briefly."), *past, said("user", "q")]


async def test_images(server, chain):
    image = {"type": "image_url", "image_url": {"url": "{photo}"}}
    prompt = {"user": [{"type": "text", "text": "What is it?"}, image]}
    result = await chain({"prompt": prompt, "photo": b"GIF89arest"}).run()
    part = server.requests[0].body["messages"][0]["content"][1]
    assert part["image_url"]["url"] == "data:image/gif;base64,R0lGODlhcmVzdA=="
    assert result["content"] == "What is it?"


async def test_an_input_that_the_prompt_names_is_a_variable(server, chain):
    inputs = {
        "prompt": "It is {temperature} degrees; {user} says.",
        "temperature": 30,
        "user": "An",
    }
    await chain({**inputs, "seed": 7}).run()
    assert server.requests[0].body == {
        "model": "m",
        "messages": [said("user", "It is 30 degrees; An says.")],
        "seed": 7,
    }


async def test_braces_in_values_take_no_parameter_away(server, chain):
    inputs = {"prompt": {"user": PARENT["q"]}, "temperature": 0.5}
    await chain(inputs).run({"q": "What is {temperature}?"})
    body = server.requests[0].body
    assert body["temperature"] == 0.5
    assert body["messages"] == [said("user", "What is {temperature}?")]


async def test_a_template_that_comes_at_run_time(server, chain):
    inputs = {"prompt": PARENT["template"], "query": "q", "max_tokens": 5}
    await chain(inputs).run({"template": "Say {query}."})
    assert server.requests[0].body["messages"] == [said("user", "Say q.")]
    assert server.requests[0].body["max_tokens"] == 5


def test_a_missing_variable(chain):
    with pytest.raises(GraphError, match=r"g\.ask: 'ask' needs the input 'query'"):
        chain({"prompt": QUESTION})


def test_a_bad_prompt(chain):
    with pytest.raises(GraphError, match=r"g\.ask: the prompt is int"):
        chain({"prompt": 3})


def test_a_bad_resource_key():
    with GraphNode(name="g") as graph:
        START >> LLMChainNode("ask", [], inputs={"prompt": "x"}) >> END
    with pytest.raises(GraphError, match=r"resource_key=\[\]"):
        graph.explain()


async def test_a_prompt_that_cannot_be_filled_makes_no_call(server, chain):
    with pytest.raises(RunError, match=r"g\.ask: .*'query'"):
        await chain({"prompt": PARENT["template"]}).run({"template": "{query}"})
    assert server.requests == []


async def test_streaming(server, chain):
    server.script("m", Answer("a b"))
    chunks = []
    engine = chain({"prompt": "x"}, stream=True, on_chunk=chunks.append)
    assert (await engine.run())["content"] == "a b"
    assert [chunk.text for chunk in chunks] == ["a", " b"]


async def test_in_a_map(server, engine_of):
    with GraphNode(name="g") as graph:
        with MapNode(name="each", inputs={"q": Each(PARENT["qs"])}, outputs={"a": PARENT}) as each:
            node = LLMChainNode(
                "ask",
                "m",
                inputs={"prompt": "Say {q}.", "q": PARENT["q"]},
                outputs={"content": PARENT["a"]},
            )
            START >> node >> END
        START >> each >> END
    result = await engine_of(graph).run({"qs": ["x", "y", "z"]})
    assert result["a"] == ["Say x.", "Say y.", "Say z."]
