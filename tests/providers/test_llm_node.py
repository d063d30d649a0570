"""LLMNode: what is sent, what comes back, and how it stands in graphs."""

from __future__ import annotations

import inspect
import json
import logging
import subprocess
import sys
import time

import anyio
import pytest
from openai.resources.chat.completions import AsyncCompletions
from pydantic import BaseModel, Field

from hush.core import (
    END,
    PARENT,
    START,
    BranchNode,
    CodeNode,
    Each,
    First,
    ForLoopNode,
    GraphError,
    GraphNode,
    LLMResponseError,
    LLMStatusError,
    MapNode,
    PromptError,
    ResourceError,
    Retry,
    RunError,
    WhileLoopNode,
)
from hush.providers import LLMNode, PromptNode, ResourceHub
from hush.providers.llm_node import OUTPUTS
from hush.providers.request import PARAMETERS
from hush.providers.resources import make_client
from hush.testing import Answer, ErrorReply, Hang, Malformed, capture_spans

MESSAGES = [{"role": "user", "content": "hello there"}]
WEATHER = {"name": "weather", "arguments": {"town": "Hanoi", "unit": "celsius"}}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}
ONCE = Retry(attempts=1)
LOGPROBS = {"content": [{"token": "X", "logprob": -0.5, "bytes": None, "top_logprobs": []}]}


class Weather(BaseModel):
    """Tell the weather."""

    town: str = Field(description="Where")


def body_of(server, model="m"):
    """The body of the last request."""
    return server.requests_for(model)[-1].body


def problems_of(engine_of, **node):
    with GraphNode(name="g") as graph:
        START >> LLMNode("ask", **{"inputs": {"messages": MESSAGES}, **node}) >> END
    with pytest.raises(GraphError) as caught:
        engine_of(graph)
    assert {problem.path for problem in caught.value.problems} == {"g.ask"}
    return [str(problem) for problem in caught.value.problems]


# --- outputs ---------------------------------------------------------------------------------


async def test_all_outputs(server, ask):
    answer = Answer(
        "Xin chào",
        reasoning="hm",
        finish_reason="length",
        prompt_tokens=11,
        completion_tokens=7,
        model="m-2026",
        logprobs=LOGPROBS,
    )
    server.script("m", answer)
    prices = {"input_usd_per_million": 1.0, "output_usd_per_million": 2.0}
    result = await ask(resource=prices)
    message = {"role": "assistant", "content": "Xin chào", "refusal": None}
    message["reasoning_content"] = "hm"
    choice = {"index": 0, "finish_reason": "length", "message": message, "logprobs": LOGPROBS}
    result.pop("$state")
    assert result == {
        "content": "Xin chào",
        "role": "assistant",
        "model_used": "m-2026",
        "tokens_used": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        "tool_calls": [],
        "finish_reason": "length",
        "parsed": None,
        "reasoning": "hm",
        "refusal": None,
        "logprobs": LOGPROBS,
        "choices": [choice],
        "response_id": "chatcmpl-1",
        "resource_used": "m",
        "cost_usd": pytest.approx(25e-6),
    }
    assert result.keys() == OUTPUTS


async def test_without_prices_there_is_no_cost(ask):
    assert (await ask())["cost_usd"] is None


@pytest.mark.parametrize("stream", [False, True])
async def test_empty_content(server, ask, stream):
    server.script("m", Answer(""))
    result = await ask(stream=stream)
    assert (result["content"], result["finish_reason"]) == ("", "stop")


@pytest.mark.parametrize("stream", [False, True])
async def test_several_choices(server, ask, stream):
    server.script("m", Answer(contents=("one", "two words here")))
    result = await ask({"n": 2}, stream=stream)
    assert body_of(server)["n"] == 2
    assert result["content"] == "one"
    said = [(one["index"], one["message"]["content"]) for one in result["choices"]]
    assert said == [(0, "one"), (1, "two words here")]
    assert {one["finish_reason"] for one in result["choices"]} == {"stop"}


@pytest.mark.parametrize("stream", [False, True])
async def test_logprobs(server, ask, stream):
    entries = [{"token": t, "logprob": -0.25, "top_logprobs": []} for t in ("a", " b", " c")]
    server.script("m", Answer("a b c", logprobs={"content": entries}))
    result = await ask({"logprobs": True, "top_logprobs": 2}, stream=stream)
    assert result["logprobs"] == {"content": entries}
    assert (body_of(server)["logprobs"], body_of(server)["top_logprobs"]) == (True, 2)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_reasoning_by_whatever_name(server, ask, field, stream):
    server.script("m", Answer("42", reasoning="Let me think.", reasoning_field=field))
    result = await ask(stream=stream)
    assert (result["content"], result["reasoning"]) == ("42", "Let me think.")


async def test_an_answer_without_choices_is_an_error(server, ask):
    server.default("m", Malformed(b'{"id": "x", "choices": []}'))
    with pytest.raises(RunError, match="llm:m cannot be used: it holds no choice") as caught:
        await ask(retry=ONCE)
    assert isinstance(caught.value.__cause__, LLMResponseError)


@pytest.mark.parametrize(
    "body",
    [
        b"{not json",
        b"[]",
        b"null",
        b'{"choices": [{"message": null}]}',
        b'{"choices": [3]}',
        b"\xff\xfe",
    ],
)
async def test_an_answer_that_is_none(server, ask, body):
    server.default("m", Malformed(body))
    with pytest.raises(RunError, match=r"g\.ask: .*llm:m cannot be used") as caught:
        await ask(retry=ONCE)
    assert caught.value.__cause__.error_type == "bad_response"
    assert len(server.requests) == 1


async def test_a_broken_answer_does_not_show_what_was_said(server, ask):
    server.default("m", Malformed(b'{"choices": [{"message": {"content": "s3cret'))
    with pytest.raises(RunError, match="cannot be used") as caught:
        await ask(retry=ONCE)
    assert "s3cret" not in str(caught.value)


async def test_a_stream_that_nobody_asked_for_is_not_shown(server, ask):
    server.default("m", Malformed(b': ping\r\n\r\ndata: {"choices": [{"delta": "s3cret"}]}\r\n'))
    with pytest.raises(RunError, match="cannot be used") as caught:
        await ask(retry=ONCE)
    assert "s3cret" not in str(caught.value)


MISSHAPEN = [
    {"tool_calls": 5},
    {"tool_calls": "s3cret"},
    {"tool_calls": ["s3cret"]},
    {"tool_calls": {"s3cret": 1}},
    {"content": ["s3cret"]},
    {"content": {"text": "s3cret"}},
    {"content": 5},
    {"refusal": ["s3cret"]},
    {"role": ["s3cret"]},
]


def misshapen(message=None, **choice):
    """A body that is well-formed but for one field, as an answer and as an event alike."""
    said = {"role": "assistant", "content": "x", **(message or {})}
    whole = {"index": 0, "finish_reason": "stop", "message": said, "delta": said, **choice}
    return Malformed(json.dumps({"choices": [whole]}).encode())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        *(misshapen(message) for message in MISSHAPEN),
        misshapen(finish_reason=["s3cret"]),
        misshapen(index="s3cret"),
    ],
)
async def test_an_answer_of_another_shape_fails_its_call(server, ask, body, stream):
    server.script("m", body, Answer("good"))
    retry = Retry(attempts=2, initial_s=0.001)
    with capture_spans() as captured:
        result = await ask(stream=stream, retry=retry)
    assert result["content"] == "good"
    first, second = captured.tree.all("chat m")
    assert (first.record.outcome, second.record.outcome) == ("error", "ok")
    assert first.record.attributes["error.type"] == "bad_response"

    server.script("m", body)
    with pytest.raises(RunError, match=r"g\.ask: .*llm:m cannot be used") as caught:
        await ask(stream=stream, retry=ONCE)
    assert isinstance(caught.value.__cause__, LLMResponseError)
    assert caught.value.__cause__.transient
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("stream", [False, True])
async def test_fields_that_are_null(server, ask, stream):
    server.script("m", misshapen({"tool_calls": None, "refusal": None, "role": None}))
    # The scripted stream has no end of its own: the finish reason is enough.
    result = await ask(stream=stream, retry=ONCE)
    assert (result["content"], result["tool_calls"], result["role"]) == ("x", [], "assistant")


async def test_what_is_no_answer_is_shown(server, ask):
    server.default("m", Malformed(b"<html>Bad gateway</html>"))
    with pytest.raises(RunError, match="it begins with '<html>Bad gateway"):
        await ask(retry=ONCE)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_with_status_200(server, ask, stream):
    server.default("m", Malformed(b'{"error": {"message": "Overloaded."}}'))
    with pytest.raises(RunError, match=r"the server says: Overloaded\."):
        await ask(stream=stream, retry=ONCE)


# --- what is sent ----------------------------------------------------------------------------

GIVEN = {
    "audio": {"format": "mp3", "voice": "alloy"},
    "frequency_penalty": 0.1,
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "max_completion_tokens": 20,
    "max_tokens": 10,
    "metadata": {"a": "b"},
    "modalities": ["text"],
    "n": 1,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "x"},
    "presence_penalty": -0.5,
    "prompt_cache_key": "p1",
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
    "safety_identifier": "s1",
    "seed": 0,
    "service_tier": "auto",
    "stop": ["a", "b"],
    "store": False,
    "temperature": 0.0,
    "tool_choice": "none",
    "tools": [TOOL],
    "top_logprobs": 3,
    "top_p": 1.0,
    "user": "u1",
    "verbosity": "low",
    "web_search_options": {},
}


async def test_every_parameter_arrives_as_given(server, ask):
    extras = {
        "extra_body": {"top_k": 5},
        "extra_headers": {"x-more": "1"},
        "extra_query": {"q": "1"},
    }
    await ask({**GIVEN, **extras})
    request = server.requests[0]
    assert request.body == {"model": "m", "messages": MESSAGES, **GIVEN, "top_k": 5}
    assert request.headers["x-more"] == "1"
    assert request.path == "/v1/chat/completions?q=1"


def test_the_parameters_are_those_of_the_client():
    known = inspect.signature(AsyncCompletions.create).parameters
    assert known.keys() >= PARAMETERS
    # Each is tried above.
    assert {*GIVEN, "extra_body", "extra_headers", "extra_query"} == PARAMETERS


async def test_none_is_left_out(server, ask):
    await ask(dict.fromkeys([*GIVEN, "extra_body", "extra_headers", "extra_query"]))
    assert body_of(server) == {"model": "m", "messages": MESSAGES}


async def test_a_resources_parameters_are_defaults(server, ask):
    params = {"temperature": 0.5, "max_tokens": 7, "extra_body": {"top_k": 1}}
    inputs = {"max_tokens": 9, "temperature": None}
    await ask(inputs, resource={"params": params})
    body = body_of(server)
    assert (body["temperature"], body["max_tokens"], body["top_k"]) == (0.5, 9, 1)


async def test_a_streamed_request(server, ask):
    await ask({"temperature": 0.5}, stream=True)
    streaming = {"stream": True, "stream_options": {"include_usage": True}}
    assert body_of(server) == {"model": "m", "messages": MESSAGES, "temperature": 0.5, **streaming}


def test_an_unknown_parameter(engine_of):
    inputs = {"messages": MESSAGES, "temprature": 0.5}
    (problem,) = problems_of(engine_of, resource_key="m", inputs=inputs)
    assert "temprature" in problem


def test_messages_are_required(engine_of):
    (problem,) = problems_of(engine_of, resource_key="m", inputs={})
    assert "needs the input 'messages'" in problem


@pytest.mark.parametrize("key", [None, "", [], 3, ["m", None], "llm:"])
def test_a_bad_resource_key(engine_of, key):
    (problem,) = problems_of(engine_of, resource_key=key)
    assert f"resource_key={key!r}" in problem


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"resource_key": ["m", "m"]}, "names one twice"),
        ({"resource_key": "m", "fallback": 3}, "fallback=3"),
        ({"resource_key": ["m", "n"], "ratios": [1]}, "ratios=[1] for 2 resources"),
        ({"resource_key": "m", "ratios": [0]}, "ratios=[0]"),
        ({"resource_key": "m", "on_chunk": 3, "stream": True}, "on_chunk=3"),
        ({"resource_key": "m", "on_chunk": print}, "on_chunk without stream=True"),
        ({"resource_key": "m", "hedge_after_s": -1}, "-1"),
        ({"resource_key": "m", "timeout_s": 0}, "timeout_s=0"),
        ({"resource_key": "m", "on_error": "explode"}, "explode"),
    ],
)
def test_bad_options(engine_of, options, said):
    (problem,) = problems_of(engine_of, **options)
    assert said in problem


def test_an_unknown_output(engine_of):
    with GraphNode(name="g") as graph:
        ask = LLMNode("ask", "m", inputs={"messages": MESSAGES})
        ask["contents"] >> PARENT["x"]
        START >> ask >> END
    with pytest.raises(GraphError, match="unknown output 'contents'"):
        engine_of(graph)


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "messages is an empty list"),
        ("hi", "messages is a str"),
        (None, "messages is None"),
        ([3], r"messages\[0\] is a int"),
        ([{"content": "x"}], r"messages\[0\] is a dict, expected a mapping with 'role'"),
    ],
)
async def test_messages_that_are_none(server, ask, messages, said):
    with pytest.raises(RunError, match=said) as caught:
        await ask({"messages": messages})
    assert isinstance(caught.value.__cause__, PromptError)
    assert server.requests == []


@pytest.mark.parametrize("content", ["\ud800", {"a": 1j}, float("nan")])
async def test_messages_that_are_no_json(server, ask, content):
    with pytest.raises(RunError, match=r"g\.ask: .*the call to llm:m .* failed") as caught:
        await ask({"messages": [{"role": "user", "content": content}]})
    assert isinstance(caught.value.__cause__, LLMResponseError)
    assert server.requests == []


async def test_images_and_history_arrive_as_they_are(server, ask):
    image = {
        "type": "image_url",
        "image_url": {"url": "data:image/gif;base64,R0lG", "detail": "low"},
    }
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is {this}?", "name": "an"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {"role": "user", "content": [{"type": "text", "text": "And \u2028 ộ?"}, image]},
    ]
    await ask({"messages": messages})
    assert body_of(server)["messages"] == messages


async def test_messages_are_not_changed(ask):
    messages = ({"role": "user", "content": "x"},)
    await ask({"messages": messages})
    assert messages == ({"role": "user", "content": "x"},)


# --- tools -----------------------------------------------------------------------------------


async def test_tools_and_their_choice(server, ask):
    choice = {"type": "function", "function": {"name": "weather"}}
    await ask({"tools": [TOOL], "tool_choice": choice})
    assert body_of(server)["tools"] == [TOOL]
    assert body_of(server)["tool_choice"] == choice


async def test_a_tool_as_a_model(server, ask):
    await ask({"tools": [Weather, TOOL]})
    given, plain = body_of(server)["tools"]
    assert plain == TOOL
    function = given["function"]
    assert (function["name"], function["strict"]) == ("Weather", True)
    assert function["description"] == "Tell the weather."
    assert function["parameters"]["properties"]["town"]["description"] == "Where"
    assert function["parameters"]["additionalProperties"] is False


@pytest.mark.parametrize("stream", [False, True])
async def test_parallel_tool_calls_are_plain(server, ask, stream):
    other = {"id": "c9", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    server.script("m", Answer(tool_calls=[WEATHER, other, {**WEATHER, "name": "other"}]))
    result = await ask({"tools": [TOOL]}, stream=stream)
    assert (result["content"], result["finish_reason"]) == (None, "tool_calls")
    calls = result["tool_calls"]
    assert all(type(call) is dict and type(call["function"]) is dict for call in calls)
    assert [call["id"] for call in calls] == ["call_1_0", "c9", "call_1_2"]
    assert [call["function"]["name"] for call in calls] == ["weather", "now", "other"]
    assert json.loads(calls[0]["function"]["arguments"]) == WEATHER["arguments"]
    assert calls[1] == other
    # As they are, they go into the next request.
    assert result["choices"][0]["message"]["tool_calls"] == calls
    json.dumps(calls)


@pytest.mark.parametrize("tools", [Weather, TOOL, "weather", 3])
async def test_tools_that_are_no_list(server, ask, tools):
    with pytest.raises(RunError, match=r"g\.ask: .*tools is a \w+, expected a list") as caught:
        await ask({"tools": tools})
    assert isinstance(caught.value.__cause__, PromptError)
    assert server.requests == []


async def test_content_beside_tool_calls(server, ask):
    server.script("m", Answer("Wait.", tool_calls=[WEATHER]))
    result = await ask({"tools": [TOOL]}, stream=True)
    assert (result["content"], len(result["tool_calls"])) == ("Wait.", 1)


# --- resources -------------------------------------------------------------------------------


async def test_azure(server, ask):
    azure = {"api_type": "azure", "api_version": "2024-10-21"}
    with capture_spans() as captured:
        result = await ask({"temperature": 0.5}, resource=azure)
    assert result["content"] == "hello there"
    request = server.requests[0]
    assert request.path == "/openai/deployments/m/chat/completions?api-version=2024-10-21"
    assert request.headers["api-key"] == "test-key"
    facts = captured.tree.one("chat m").record.attributes
    assert facts["gen_ai.provider.name"] == "azure.ai.openai"


async def test_azure_streams(server, ask):
    server.script("m", Answer("one two"))
    azure = {"api_type": "azure", "api_version": "2024-10-21"}
    assert (await ask(stream=True, resource=azure))["content"] == "one two"


async def test_one_clients_headers(server, ask):
    resource = {"headers": {"x-team": "blue"}, "organization": "org-1", "project": "p-1"}
    await ask(resource=resource)
    headers = server.requests[0].headers
    assert headers["authorization"] == "Bearer test-key"
    assert (headers["x-team"], headers["openai-organization"]) == ("blue", "org-1")
    assert headers["openai-project"] == "p-1"


async def test_without_base_url_it_is_the_official_one(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_ORG_ID", "mine")
    hub = ResourceHub.from_mapping({"llm:m": {"api_key": "sk-none", "model": "m"}})
    resource = hub.resolve(["m"])["m"]
    assert resource.server == ("api.openai.com", 443)
    async with make_client(resource) as client:
        assert str(client.base_url) == "https://api.openai.com/v1/"
        assert client.max_retries == 0
        assert client.organization == "mine"


async def test_another_server_is_not_told_of_the_organisation(server, ask, monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "mine")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "mine")
    await ask()
    assert not {"openai-organization", "openai-project"} & server.requests[0].headers.keys()


def test_a_missing_resource_is_found_before_anything_runs(engine_of, server):
    with GraphNode(name="g") as graph:
        with GraphNode(name="inner") as inner:
            START >> LLMNode("ask", "nowhere", inputs={"messages": MESSAGES}) >> END
        START >> inner >> END
    with pytest.raises(ResourceError, match=r"llm:nowhere.*g\.inner\.ask"):
        engine_of(graph)
    assert server.requests == []


def test_a_missing_fallback_is_found_too(engine_of):
    with GraphNode(name="g") as graph:
        node = LLMNode("ask", "m", fallback=["nowhere"], inputs={"messages": MESSAGES})
        START >> node >> END
    with pytest.raises(ResourceError, match=r"llm:nowhere.*g\.ask"):
        engine_of(graph)


async def test_the_prefix_may_be_written(server, engine_of):
    with GraphNode(name="g") as graph:
        node = LLMNode("ask", "llm:m", inputs={"messages": MESSAGES}, outputs={"content": PARENT})
        START >> node >> END
    assert (await engine_of(graph).run())["content"] == "hello there"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_engine_keeps_its_connection(server, single, stream):
    async with single(stream=stream) as engine:
        for _ in range(3):
            await engine.run()
    assert len({request.port for request in server.requests}) == 1


def test_on_one_loop_after_the_other(server, single):
    engine = single()
    for backend in ("asyncio", "trio", "asyncio"):
        assert engine.run_sync(backend=backend)["content"] == "hello there"


LIGHT = """
import sys
import hush.providers
from hush.core import END, START, CodeNode, GraphNode, Hush
assert "openai" not in sys.modules and "pydantic" not in sys.modules
with GraphNode(name="g") as graph:
    START >> CodeNode(name="a", code_fn=lambda: {}) >> END
Hush(graph).run_sync()
assert "openai" not in sys.modules and "yaml" not in sys.modules
"""


def test_who_calls_no_model_needs_neither_client_nor_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("HUSH_CONFIG", str(tmp_path / "none.yaml"))
    subprocess.run([sys.executable, "-c", LIGHT], cwd=tmp_path, check=True, timeout=50)


# --- in graphs -------------------------------------------------------------------------------


def asking(name="ask", key="m", question=PARENT["q"], **options):
    """A prompt and a call for it."""
    prompt = PromptNode(f"{name}_prompt", inputs={"prompt": "{q}", "q": question})
    call = LLMNode(name, key, inputs={"messages": prompt["messages"]}, **options)
    prompt >> call
    return prompt, call


async def test_prompt_call_code(server, engine_of):
    with GraphNode(name="g") as graph:
        prompt, call = asking()
        shout = CodeNode(
            name="shout",
            code_fn=lambda text: {"loud": text.upper()},
            inputs={"text": call["content"]},
            outputs={"loud": PARENT},
        )
        START >> prompt
        call >> shout >> END
    with capture_spans() as captured:
        result = await engine_of(graph).run({"q": "quiet"})
    assert result["loud"] == "QUIET"
    captured.tree.assert_sound()
    assert str(captured.tree) == ("run g\n  node ask_prompt\n  node ask\n    chat m\n  node shout")


async def test_two_models_at_once(server, engine_of):
    both = {"m": Answer("one"), "n": Answer("two")}
    for model, answer in both.items():
        server.default(model, meeting(server, answer))
    with GraphNode(name="g") as graph:
        calls = [
            LLMNode(k, k, inputs={"messages": MESSAGES}, outputs={"content": PARENT[k]})
            for k in both
        ]
        START >> calls >> END
    result = await engine_of(graph).run()
    assert (result["m"], result["n"]) == ("one", "two")
    assert server.peak_active == 2


def meeting(server, answer):
    """Answer only once two requests are there."""

    def reply(_body):
        deadline = time.monotonic() + 10
        while len(server.requests) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        return answer

    return reply


async def test_a_whole_node_gives_what_is_asked_for(server, engine_of):
    with GraphNode(name="g") as graph:
        prompt = PromptNode("prompt", inputs={"prompt": "hi"})
        START >> prompt >> LLMNode("ask", "m", inputs={"messages": prompt}) >> END
    await engine_of(graph).run()
    assert body_of(server)["messages"] == [{"role": "user", "content": "hi"}]


async def test_collected_failures_in_a_map(server, engine_of):
    def reply(body):
        bad = body["messages"][0]["content"] == "q1"
        return (
            ErrorReply(400, "Bad.") if bad else Answer("ok", prompt_tokens=5, completion_tokens=1)
        )

    server.default("m", reply)
    with GraphNode(name="g") as graph:
        with MapNode(
            name="each",
            inputs={"q": Each(PARENT["qs"])},
            on_error="collect",
            outputs={"content": PARENT},
        ) as each:
            prompt, call = asking(outputs={"content": PARENT})
            START >> prompt
            call >> END
        START >> each >> END
    with capture_spans() as captured:
        result = await engine_of(graph).run({"qs": ["q0", "q1", "q2"]})
    assert result["content"] == ["ok", None, "ok"]
    assert (result.usage.calls, result.usage.total_tokens) == (3, 12)
    captured.tree.assert_sound()
    assert captured.tree.item("each", 1).record.is_red


async def test_in_a_map(server, engine_of):
    with GraphNode(name="g") as graph:
        options = {"inputs": {"q": Each(PARENT["qs"])}, "max_concurrency": 3}
        with MapNode(name="each", outputs={"content": PARENT}, **options) as each:
            prompt, call = asking(outputs={"content": PARENT})
            START >> prompt
            call >> END
        START >> each >> END
    result = await engine_of(graph).run({"qs": [f"q{i}" for i in range(8)]})
    assert result["content"] == [f"q{i}" for i in range(8)]
    assert server.peak_active <= 3


async def test_in_a_for_loop(server, engine_of):
    with GraphNode(name="g") as graph:
        with ForLoopNode(
            name="each", inputs={"q": Each(PARENT["qs"])}, outputs={"content": PARENT}
        ) as each:
            prompt, call = asking(outputs={"content": PARENT})
            START >> prompt
            call >> END
        START >> each >> END
    result = await engine_of(graph).run({"qs": ["a", "b"]})
    assert result["content"] == ["a", "b"]
    assert server.peak_active == 1


def agent():
    """A loop that calls tools until the model needs none."""

    def act(messages, calls, content):
        answers = [
            {"role": "tool", "tool_call_id": one["id"], "content": tool(one["function"])}
            for one in calls
        ]
        said = {"role": "assistant", "content": content, "tool_calls": calls}
        return {"messages": [*messages, said, *answers] if calls else messages, "done": not calls}

    def tool(function):
        return f"{function['name']}:{json.loads(function['arguments'])['town']}"

    with GraphNode(name="g") as graph:
        with WhileLoopNode(
            name="loop",
            stop_condition="done",
            inputs={"messages": PARENT["messages"]},
            outputs={"answer": PARENT},
        ) as loop:
            call = LLMNode(
                "ask",
                "m",
                inputs={"messages": PARENT["messages"], "tools": [TOOL]},
                outputs={"content": PARENT["answer"]},
            )
            acting = CodeNode(
                name="act",
                code_fn=act,
                return_keys=["messages", "done"],
                inputs={
                    "messages": PARENT["messages"],
                    "calls": call["tool_calls"],
                    "content": call["content"],
                },
                outputs={"messages": PARENT, "done": PARENT},
            )
            START >> call >> acting >> END
        START >> loop >> END
    return graph


async def test_an_agent_loop(server, engine_of):
    hue = {"name": "weather", "arguments": {"town": "Huế"}}
    server.script("m", Answer(tool_calls=[WEATHER, hue]), Answer(tool_calls=[hue]), Answer("Warm."))
    with capture_spans() as captured:
        result = await engine_of(agent()).run({"messages": MESSAGES})
    assert result["answer"] == "Warm."
    assert [len(request.body["messages"]) for request in server.requests] == [1, 4, 6]
    told = [m["content"] for m in body_of(server)["messages"] if m["role"] == "tool"]
    assert told == ["weather:Hanoi", "weather:Huế", "weather:Huế"]
    captured.tree.assert_sound()
    assert len(captured.tree.all("chat m")) == 3
    assert result.usage.calls == 3


async def test_behind_a_branch(server, engine_of):
    with GraphNode(name="g") as graph:
        route = BranchNode(
            name="route", cases={"hard": "big"}, default="small", inputs={"hard": PARENT["hard"]}
        )
        big = LLMNode("big", "m", inputs={"messages": MESSAGES}, outputs={"model_used": PARENT})
        small = LLMNode("small", "n", inputs={"messages": MESSAGES}, outputs={"model_used": PARENT})
        START >> route >> [big, small]
        [big, small] >> ~END
    engine = engine_of(graph)
    assert (await engine.run({"hard": True}))["model_used"] == "m"
    result = await engine.run({"hard": False})
    assert (result["model_used"], result.skipped) == ("n", ("g.big",))
    assert len(server.requests) == 2


async def test_a_race_of_models(server, engine_of):
    server.default("m", Hang())
    server.default("n", meeting(server, Answer("first")))
    with GraphNode(name="g") as graph:
        calls = [
            LLMNode(k, k, inputs={"messages": MESSAGES}, outputs={"model_used": PARENT})
            for k in ("m", "n")
        ]
        take = CodeNode(
            name="take",
            code_fn=lambda model: {"winner": model},
            inputs={"model": PARENT["model_used"]},
            outputs={"winner": PARENT},
            join=First(cancel_rest=True),
        )
        START >> calls >> take >> END
    with capture_spans() as captured:
        result = await engine_of(graph).run()
    assert result["winner"] == "n"
    lost = captured.tree.one("chat m").record
    assert (lost.outcome, lost.attributes["hush.cancel.reason"]) == ("cancelled", "race_lost")
    assert lost.attributes["hush.tokens.wasted"] > 0
    assert (result.usage.calls, result.usage.complete) == (2, False)
    captured.tree.assert_sound()


async def test_in_a_nested_graph(server, engine_of):
    with GraphNode(name="g") as graph:
        with GraphNode(
            name="inner", inputs={"q": PARENT["q"]}, outputs={"content": PARENT["answer"]}
        ) as inner:
            prompt, call = asking(outputs={"content": PARENT})
            START >> prompt
            call >> END
        START >> inner >> END
    result = await engine_of(graph).run({"q": "deep"})
    assert result["answer"] == "deep"
    assert result.state["g.inner.ask", "role"] == "assistant"


async def test_a_captured_failure(server, ask):
    server.default("m", ErrorReply(401))
    with capture_spans() as captured:
        result = await ask(on_error="capture")
    assert (result["content"], result["tool_calls"], result["tokens_used"]) == (None, None, None)
    error = result["error"]
    assert (error["type"], error["path"]) == ("hush.errors.LLMStatusError", "g.ask")
    assert "api_key" in error["message"]
    captured.tree.assert_sound()
    call, node = captured.tree.one("chat m").record, captured.tree.one("node ask").record
    assert (call.is_red, node.is_red) == (True, True)
    assert call.attributes["error.type"] == "401"


async def test_the_error_output_of_a_success_is_none(ask):
    assert (await ask(on_error="capture"))["error"] is None


async def test_a_failure_fails_the_run(server, ask):
    server.default("m", ErrorReply(400, "Too long.", code="context_length_exceeded"))
    with pytest.raises(RunError, match=r"g\.ask: .*llm:m answered 400 .*Too long") as caught:
        await ask()
    cause = caught.value.__cause__
    assert isinstance(cause, LLMStatusError)
    assert (cause.status, cause.code, cause.model) == (400, "context_length_exceeded", "m")
    assert len(server.requests) == 1


async def test_many_runs_at_once(server, single):
    engine = single({"messages": PARENT["messages"]})
    answers = {}

    async def run(i):
        messages = [{"role": "user", "content": f"q{i}"}]
        answers[i] = (await engine.run({"messages": messages}))["content"]

    async with engine, anyio.create_task_group() as group:
        for i in range(20):
            group.start_soon(run, i)
    assert answers == {i: f"q{i}" for i in range(20)}


def test_explaining_a_graph():
    with GraphNode(name="g") as graph:
        prompt, call = asking(outputs={"content": PARENT})
        START >> prompt
        call >> END
    # Neither needs a configuration.
    *_, first, second = graph.explain().splitlines()
    assert first.split() == ["prompt", "ask_prompt", "at", "start"]
    assert second.split() == ["llm", "ask", "after", "ask_prompt"]
    assert 'n1["ask"]' in graph.to_mermaid()
    assert "n0 --> n1" in graph.to_mermaid()


async def test_nothing_is_logged(ask, caplog):
    with caplog.at_level(logging.INFO, "hush"):
        await ask()
    assert [record for record in caplog.records if record.name.startswith("hush")] == []
