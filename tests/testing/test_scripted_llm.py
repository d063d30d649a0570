"""The scripted model server, asked by the real client over real sockets."""

from __future__ import annotations

import gc
import json
import socket
import threading
import time
from contextlib import asynccontextmanager
from http.client import HTTPConnection

import anyio
import openai
import pytest

import hush.testing
from hush.testing import (
    Answer,
    Disconnect,
    ErrorReply,
    Hang,
    Malformed,
    ScriptedLLMServer,
    scripted_llm,
)

# The client leaves its streams' inner generators unfinished, after [DONE] too. On asyncio
# nobody minds; trio warns, and closes them itself.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Async generator '(openai|httpx|httpcore):ResourceWarning"
)

USER = [{"role": "user", "content": "hello there"}]
WEATHER = {"name": "weather", "arguments": {"town": "Hanoi", "unit": "celsius"}}


@pytest.fixture(scope="module", autouse=True)
def _left_behind():
    yield
    # Here, where the filter above holds, and not while the next file is tested.
    gc.collect()


@pytest.fixture
def server():
    with ScriptedLLMServer() as running:
        yield running
        started = time.monotonic()
    assert time.monotonic() - started < 1
    assert [t.name for t in threading.enumerate() if t.name.startswith("scripted-llm")] == []
    assert (running.active, running.open_connections) == (0, 0)


@asynccontextmanager
async def client_of(server, **options):
    settings = {"api_key": "test-key", "base_url": server.base_url, "max_retries": 0, **options}
    # Certificates, which no one needs here, would be most of the time of most tests.
    settings["http_client"] = openai.DefaultAsyncHttpxClient(verify=False)
    async with openai.AsyncOpenAI(**settings) as client:
        yield client


def ask(client, model="m", **options):
    return client.chat.completions.create(**{"model": model, "messages": USER, **options})


async def until(condition):
    with anyio.fail_after(5):
        while not condition():
            await anyio.sleep(0.005)


def post(server, body, path="/v1/chat/completions", headers=None):
    """One request by hand; its status, headers and body."""
    connection = HTTPConnection("127.0.0.1", int(server.url.rsplit(":", 1)[1]), timeout=5)
    try:
        given = {"Authorization": "Bearer test-key"} if headers is None else headers
        connection.request("POST", path, body, given)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def events_of(server, **body):
    """What a streamed answer is on the wire."""
    _, headers, raw = post(server, json.dumps({"messages": USER, "stream": True, **body}))
    assert headers["Content-Type"] == "text/event-stream"
    *events, done, end = raw.decode().split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


# --- answers -----------------------------------------------------------------------------


async def test_an_answer_with_everything(server):
    server.script(
        "m",
        Answer(
            "Xin chào",
            reasoning="hm",
            finish_reason="length",
            prompt_tokens=11,
            completion_tokens=7,
            cached_tokens=5,
            reasoning_tokens=3,
            model="m-2026",
            headers={"x-more": "1"},
            logprobs={"content": [{"token": "X", "logprob": -0.5, "top_logprobs": []}]},
        ),
    )
    async with client_of(server) as client:
        raw = await client.chat.completions.with_raw_response.create(model="m", messages=USER)
    answer = raw.parse()
    choice = answer.choices[0]
    assert (answer.id, answer.object, answer.model) == ("chatcmpl-1", "chat.completion", "m-2026")
    assert abs(answer.created - time.time()) < 60
    assert (choice.message.role, choice.message.content) == ("assistant", "Xin chào")
    assert (choice.message.reasoning_content, choice.finish_reason) == ("hm", "length")
    assert choice.logprobs.content[0].logprob == -0.5
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (11, 7, 18)
    assert usage.prompt_tokens_details.cached_tokens == 5
    assert usage.completion_tokens_details.reasoning_tokens == 3
    assert (raw.headers["x-more"], raw.headers["x-request-id"]) == ("1", "req_1")


async def test_what_is_not_scripted_is_an_echo_with_estimated_tokens(server):
    parts = [{"type": "text", "text": "hello"}, {"type": "image_url", "image_url": {"url": "x:"}}]
    messages = [
        {"role": "system", "content": "be"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "yes"},
    ]
    async with client_of(server) as client:
        answer = await ask(client, messages=messages)
        empty = await ask(client, messages=messages[:1])
    assert answer.choices[0].message.content == "hello"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (1 + 2 + 1, 2)
    assert (empty.choices[0].message.content, empty.usage.completion_tokens) == ("", 0)


async def test_several_choices(server):
    server.script("m", Answer("same"), Answer(contents=("one", "two words here")))
    async with client_of(server) as client:
        answer = await ask(client, n=3)
        assert [choice.message.content for choice in answer.choices] == ["same"] * 3
        texts = {0: "", 1: ""}
        order = []
        async for chunk in await ask(client, stream=True):
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
                order.append(choice.index)
    assert texts == {0: "one", 1: "two words here"}
    # Roles, pieces in turns, finish reasons.
    assert order == [0, 1, 0, 1, 1, 1, 0, 1]


async def test_tool_calls(server):
    long = {"id": "c9", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    server.script("m", Answer(tool_calls=[WEATHER, long]), Answer("well", tool_calls=[WEATHER]))
    async with client_of(server) as client:
        choice = (await ask(client)).choices[0]
        second = (await ask(client)).choices[0].message
    assert (choice.message.content, choice.finish_reason) == (None, "tool_calls")
    first, other = choice.message.tool_calls
    assert (first.id, first.type, first.function.name) == ("call_1_0", "function", "weather")
    assert json.loads(first.function.arguments) == WEATHER["arguments"]
    assert (other.id, other.function.arguments) == ("c9", "{}")
    assert (second.content, second.tool_calls[0].id) == ("well", "call_2_0")


# --- streams -----------------------------------------------------------------------------


async def test_a_stream_with_usage(server):
    server.script("m", Answer(chunks=("Xin ", "ch", "ào"), prompt_tokens=4, cached_tokens=2))
    async with client_of(server) as client:
        answer = await ask(client, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in answer]
    deltas = [chunk.choices[0].delta for chunk in chunks[:-1]]
    assert (deltas[0].role, deltas[0].content) == ("assistant", "")
    assert [delta.content for delta in deltas] == ["", "Xin ", "ch", "ào", None]
    assert [c.choices[0].finish_reason for c in chunks[:-1]] == [None] * 4 + ["stop"]
    assert {chunk.id for chunk in chunks} == {"chatcmpl-1"}
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 6)
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens == 2


@pytest.mark.parametrize(
    ("usage", "options"),
    [(True, None), (True, {"include_usage": False}), (False, {"include_usage": True})],
)
def test_usage_is_sent_only_when_asked_for_and_only_by_servers_that_do(server, usage, options):
    server.script("m", Answer("a b", usage=usage))
    events = events_of(server, model="m", stream_options=options)
    assert [event["choices"][0]["finish_reason"] for event in events] == [None] * 3 + ["stop"]
    assert not any("usage" in event for event in events)


def test_a_whole_answer_of_a_server_that_never_sends_usage(server):
    server.script("m", Answer("a", usage=False))
    assert "usage" not in json.loads(post(server, '{"model": "m"}')[2])


def test_a_stream_of_reasoning_text_tool_calls_and_log_probabilities(server):
    entries = [{"token": t, "logprob": -1.0} for t in "abc"]
    server.script(
        "m",
        Answer(
            " one two ",
            reasoning="so then",
            reasoning_field="reasoning",
            tool_calls=[WEATHER],
            logprobs={"content": entries},
        ),
    )
    choices = [event["choices"][0] for event in events_of(server, model="m")]
    deltas = [choice["delta"] for choice in choices]
    assert [d["reasoning"] for d in deltas if "reasoning" in d] == ["so", " then"]
    assert [d["content"] for d in deltas[1:] if "content" in d] == [" one", " two", " "]
    calls = [d["tool_calls"][0] for d in deltas if "tool_calls" in d]
    opened = {"name": "weather", "arguments": ""}
    assert calls[0] == {"index": 0, "id": "call_1_0", "type": "function", "function": opened}
    assert len(calls) > 2
    assert all(set(call) == {"index", "function"} for call in calls[1:])
    written = "".join(call["function"]["arguments"] for call in calls)
    assert json.loads(written) == WEATHER["arguments"]
    assert [c["logprobs"] for c in choices if c["logprobs"]] == [{"content": [e]} for e in entries]
    assert choices[-1]["finish_reason"] == "tool_calls"


async def test_a_slow_first_token_and_slow_pieces(server):
    server.script("m", Answer("a b", delay_s=0.2, chunk_delay_s=0.1), Answer("c", delay_s=0.1))
    async with client_of(server) as client:
        began = time.monotonic()
        answer = await ask(client, stream=True)
        first = time.monotonic() - began
        async for _ in answer:
            pass
        assert first >= 0.2
        assert time.monotonic() - began >= 0.3
        began = time.monotonic()
        await ask(client)
        assert time.monotonic() - began >= 0.1


# --- bad days ----------------------------------------------------------------------------


@pytest.mark.parametrize("cut_after", [0, 2, 3])
async def test_a_stream_that_is_cut(server, cut_after):
    server.script("m", Answer(chunks=("a", "b", "c"), cut_after=cut_after))
    got = []
    async with client_of(server) as client:
        answer = await ask(client, stream=True, stream_options={"include_usage": True})
        with pytest.raises(Exception, match=r"incomplete|closed|Connection error"):
            async for chunk in answer:
                assert (chunk.usage, chunk.choices[0].finish_reason) == (None, None)
                got.append(chunk.choices[0].delta.content)
    assert got == ["", "a", "b", "c"][: cut_after + 1]


async def test_an_answer_that_is_cut_is_no_answer(server):
    server.script("m", Answer("a", cut_after=0))
    async with client_of(server) as client:
        with pytest.raises(openai.APIConnectionError):
            await ask(client)


async def test_a_wrong_key_uses_up_nothing(server):
    server.script("m", Answer("for the right one"))
    async with client_of(server, api_key="wrong") as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await ask(client)
    assert (caught.value.status_code, caught.value.code) == (401, "invalid_api_key")
    assert caught.value.type == "invalid_request_error"
    async with client_of(server) as client:
        assert (await ask(client)).choices[0].message.content == "for the right one"
    keys = [request.headers["authorization"] for request in server.requests_for("m")]
    assert keys == ["Bearer wrong", "Bearer test-key"]


async def test_any_key():
    with ScriptedLLMServer(api_key=None) as server:
        async with client_of(server, api_key="whatever") as client:
            assert (await ask(client)).choices[0].message.content == "hello there"
        assert server.resources("m")["llm:m"]["api_key"]


async def test_unknown_models_when_strict():
    with ScriptedLLMServer(strict_models=True) as server:
        server.script("scripted")
        server.default("with-default", Answer("d"))
        async with client_of(server) as client:
            with pytest.raises(openai.NotFoundError) as caught:
                await ask(client, "unknown")
            assert caught.value.code == "model_not_found"
            assert (await ask(client, "scripted")).model == "scripted"
            assert (await ask(client, "with-default")).choices[0].message.content == "d"


@pytest.mark.parametrize(
    ("reply", "error", "expected"),
    [
        (ErrorReply(400, "no", code="content_filter"), openai.BadRequestError, "content_filter"),
        (ErrorReply(404), openai.NotFoundError, "model_not_found"),
        (ErrorReply(429), openai.RateLimitError, "rate_limit_exceeded"),
        (ErrorReply(500), openai.InternalServerError, None),
        (ErrorReply(502, delay_s=0.01), openai.InternalServerError, None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_leave_the_connection_open(server, reply, error, expected, stream):
    server.script("m", reply)
    async with client_of(server) as client:
        with pytest.raises(error) as caught:
            await ask(client, stream=stream)
        assert (caught.value.status_code, caught.value.code) == (reply.status, expected)
        assert caught.value.body["message"]
        await ask(client)
    assert len({request.port for request in server.requests}) == 1


async def test_a_rate_limit_says_when_to_come_again(server):
    server.script(
        "m", ErrorReply(429, retry_after_s=1.5, retry_after_ms=1500, headers={"x-a": "b"})
    )
    async with client_of(server) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await ask(client)
    headers = caught.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("1.5", "1500")
    assert headers["x-a"] == "b"


async def test_malformed_answers(server):
    server.script("m", Malformed(), Malformed(b"\xff", delay_s=0.01))
    async with client_of(server) as client:
        with pytest.raises(Exception, match=r"JSON|Expecting|property name"):
            await ask(client)
        with pytest.raises(ValueError, match=r"utf-8|JSON"):
            async for _ in await ask(client, stream=True):
                pass


async def test_a_hang_ends_when_the_client_gives_up(server, capfd):
    server.default("m", Hang(60))
    async with client_of(server) as client:
        with anyio.move_on_after(0.2) as scope:
            await ask(client)
        assert scope.cancelled_caught
        await until(lambda: server.active == 0 and server.open_connections == 0)
        with pytest.raises(openai.APITimeoutError):
            await ask(client, timeout=0.1)
    await until(lambda: server.active == 0)
    assert server.peak_active == 1
    assert capfd.readouterr() == ("", "")


async def test_a_hang_ends_by_itself(server):
    server.script("m", Hang(0.05), Disconnect())
    async with client_of(server) as client:
        for _ in range(2):
            with pytest.raises(openai.APIConnectionError):
                await ask(client)
            assert server.active == 0


async def test_a_client_that_leaves_within_a_stream(server, capfd):
    words = " ".join("word" for _ in range(100))
    server.default("m", Answer(words, chunk_delay_s=60))
    server.default("fast", Answer(words * 200))
    async with client_of(server) as client:
        for model in ("m", "fast"):
            async with await ask(client, model, stream=True) as answer:
                async for _ in answer:
                    break
            await until(lambda: server.active == 0 and server.open_connections == 0)
    assert capfd.readouterr() == ("", "")


async def test_stop_ends_what_hangs_and_the_same_address_comes_back(server, capfd):
    server.default("hangs", Hang())
    server.default("slow", Answer("a b", chunk_delay_s=60))
    errors = []

    async def one(model):
        try:
            async for _ in await ask(client, model, stream=True):
                pass
        except Exception as error:
            errors.append(error)

    async with client_of(server) as client:
        async with anyio.create_task_group() as group:
            for model in ("hangs", "slow") * 5:
                group.start_soon(one, model)
            await until(lambda: server.active == 10)
            began = time.monotonic()
            server.stop()
            assert time.monotonic() - began < 1
        assert (len(errors), server.active, server.open_connections) == (10, 0, 0)
        with pytest.raises(openai.APIConnectionError):
            await ask(client)
        address = server.base_url
        with server:
            assert server.base_url == address
            assert (await ask(client, "other")).choices[0].message.content == "hello there"
            with pytest.raises(RuntimeError, match="already"):
                server.start()
    server.stop()
    assert capfd.readouterr() == ("", "")


# --- scripts and records -----------------------------------------------------------------


async def test_each_model_keeps_its_order_when_all_ask_at_once(server):
    models = {f"m{i}": [f"m{i}-{j}" for j in range(20)] for i in range(3)}
    for model, texts in models.items():
        server.script(model, *(Answer(text, delay_s=0.005) for text in texts))
    got = []
    limiter = anyio.CapacityLimiter(8)

    async def one(model, number):
        async with limiter:
            answer = await ask(client, model, messages=[{"role": "user", "content": str(number)}])
        got.append((model, number, answer.choices[0].message.content))

    async with client_of(server) as client:
        async with anyio.create_task_group() as group:
            for number in range(20):
                for model in models:
                    group.start_soon(one, model, number)
        assert (server.active, len(server.requests)) == (0, 60)
        assert 2 <= server.peak_active <= 8
        assert 2 <= server.open_connections <= 8
    await until(lambda: server.open_connections == 0)
    for model, texts in models.items():
        answered = {str(number): text for name, number, text in got if name == model}
        arrived = [r.body["messages"][0]["content"] for r in server.requests_for(model)]
        assert [answered[number] for number in arrived] == texts


async def test_scripts_repeat_are_replaced_and_then_the_default_answers(server):
    server.script("m", Answer("a"), Answer("b"), repeat=True)

    async def texts(count):
        return [(await ask(client)).choices[0].message.content for _ in range(count)]

    async with client_of(server) as client:
        assert await texts(5) == ["a", "b", "a", "b", "a"]
        server.script("m", Answer("c"))
        server.default("m", Answer("d"))
        assert await texts(3) == ["c", "d", "d"]


async def test_a_default_that_depends_on_the_prompt(server):
    server.default("m", lambda body: Answer(body["messages"][0]["content"].upper()))
    server.default("raises", lambda body: body["nothing"])
    server.default("returns", lambda body: "text")
    async with client_of(server) as client:
        assert (await ask(client)).choices[0].message.content == "HELLO THERE"
        with pytest.raises(openai.BadRequestError, match=r"'raises' raised KeyError\('nothing'\)"):
            await ask(client, "raises")
        with pytest.raises(openai.BadRequestError, match="'returns' returned 'text'"):
            await ask(client, "returns")
    assert server.active == 0


async def test_requests_are_recorded_and_connections_kept(server):
    async with client_of(server) as client:
        for stream in (False, True, True, False):
            answer = await ask(client, stream=stream, temperature=0.5)
            if stream:
                async for _ in answer:
                    pass
        assert server.open_connections == 1
    first, *_ = server.requests
    assert (first.model, first.path) == ("m", "/v1/chat/completions")
    assert (first.body["temperature"], first.body["messages"]) == (0.5, USER)
    assert first.headers["content-type"] == "application/json"
    assert [r.at for r in server.requests] == sorted(r.at for r in server.requests)
    assert {r.port for r in server.requests} == {first.port}
    assert server.peak_active == 1
    assert server.requests_for("other") == []


# --- addresses ---------------------------------------------------------------------------


async def test_azure(server):
    server.script("my gpt", Answer("from azure"))
    server.default("my gpt", ErrorReply(400, code="content_filter"))
    async with openai.AsyncAzureOpenAI(
        azure_endpoint=server.url,
        azure_deployment="my gpt",
        api_version="2024-10-21",
        api_key="test-key",
        max_retries=0,
    ) as client:
        assert (await ask(client, "gpt-4o")).choices[0].message.content == "from azure"
        with pytest.raises(openai.BadRequestError):
            await ask(client, "gpt-4o")
    first, _ = server.requests_for("my gpt")
    assert first.path == "/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21"
    assert first.headers["api-key"] == "test-key"


def test_azure_wants_a_version_and_a_key(server):
    path = "/openai/deployments/d/chat/completions"
    assert post(server, "{}", path)[0] == 404
    assert post(server, "{}", f"{path}?api-version=1", {"api-key": "wrong"})[0] == 401
    assert post(server, "{}", f"{path}?api-version=1", {"api-key": "test-key"})[0] == 200
    # OpenAI takes no such header.
    assert post(server, '{"model": "d"}', headers={"api-key": "test-key"})[0] == 401


def test_requests_that_are_none(server):
    assert post(server, "{", headers=None)[0] == 400
    assert post(server, "[]")[0] == 400
    assert post(server, "{}")[0] == 400
    status, headers, body = post(server, "{}", "/v1/elsewhere")
    assert (status, headers["Content-Type"]) == (404, "application/json")
    assert json.loads(body)["error"]["code"] == "unknown_url"
    assert [request.model for request in server.requests] == [""] * 4


def test_a_request_that_never_arrives_whole(server, capfd):
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 10\r\n\r\n{")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(10) == b""
    assert server.requests == []
    assert capfd.readouterr() == ("", "")


def test_resources(server):
    assert server.resources("a", "b", max_retries=1) == {
        f"llm:{name}": {
            "api_type": "openai",
            "api_key": "test-key",
            "base_url": server.base_url,
            "model": name,
            "max_retries": 1,
        }
        for name in ("a", "b")
    }
    azure = server.resources("a", api_type="azure", api_version="1")["llm:a"]
    assert (azure["base_url"], azure["api_version"]) == (server.url, "1")


def test_there_is_no_address_before_the_start():
    with pytest.raises(RuntimeError, match="before start"):
        ScriptedLLMServer().base_url


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Answer(chunks=["a"], contents=["b"]), "leave out contents"),
        (lambda: Answer("ab", chunks=["a", "c"]), "chunks make 'ac', content is 'ab'"),
        (lambda: Answer(tool_calls=[{"id": "1"}]), "names no function"),
        (lambda: ErrorReply(200), "200 is not the status of an error"),
    ],
)
def test_replies_that_could_not_be_sent(make, problem):
    with pytest.raises(ValueError, match=problem):
        make()


def test_all_names_are_there_and_sorted():
    for module in (hush.testing, scripted_llm):
        assert list(module.__all__) == sorted(module.__all__)
        assert all(hasattr(module, name) for name in module.__all__)


async def test_it_remembers_as_many_requests_as_it_is_told_to():
    with pytest.raises(ValueError, match="remember=-1"):
        ScriptedLLMServer(remember=-1)
    for remember, kept in ((None, 5), (3, 3), (0, 0), (9, 5)):
        with ScriptedLLMServer(remember=remember) as server:
            async with client_of(server) as client:
                for number in range(5):
                    await client.chat.completions.create(
                        model="m", messages=[{"role": "user", "content": str(number)}]
                    )
            said = [request.body["messages"][0]["content"] for request in server.requests]
            assert said == [str(number) for number in range(5 - kept, 5)]
