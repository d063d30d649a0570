"""Streams: every piece in order, whatever the bytes look like, and what is left of a cut one."""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import pytest

from hush.core import (
    END,
    PARENT,
    START,
    ChunkReceived,
    Each,
    GraphNode,
    Hush,
    LLMResponseError,
    LLMStreamError,
    LLMTimeoutError,
    MapNode,
    NodeEnded,
    NodeStarted,
    Retry,
    RunError,
)
from hush.providers import LLMNode
from hush.testing import Answer, Malformed, capture_spans

MESSAGES = [{"role": "user", "content": "hello there"}]
ONCE = Retry(attempts=1)
WORDS = ("Xin ", "ch", "ào", "\u2028", " 🌊", "\n\n", "data: [DONE]\r\n", '"')
WEATHER = {"name": "weather", "arguments": {"town": "Hanoi"}}


def event(delta=None, finish=None, **more):
    """One event as a server writes it."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "x", "model": "m", "choices": [choice], **more}


def sse(*events, end="\n"):
    """Events as bytes of a stream; what is bytes already stays."""
    lines = [
        one if isinstance(one, bytes) else json.dumps(one, ensure_ascii=False).encode()
        for one in events
    ]
    return b"".join(b"data: " + line + 2 * end.encode() for line in [*lines, b"[DONE]"])


SAID = sse(event({"content": "Huế "}), event({"content": "🌊"}), event(finish="stop"))


@pytest.fixture
def over(wire):
    """Stream from bytes that a test wrote; return the result and the texts of the chunks."""

    async def run(*pieces):
        wire.pieces = list(pieces)
        chunks = []
        with GraphNode(name="g") as graph:
            node = LLMNode(
                "ask",
                "m",
                inputs={"messages": MESSAGES},
                outputs={"*": PARENT},
                stream=True,
                on_chunk=lambda chunk: chunks.append(chunk.text),
                retry=ONCE,
            )
            START >> node >> END
        return await Hush(graph, resources=wire.resources("m")).run(), chunks

    return run


async def collected(engine, inputs=None):
    """The events and the result of a run that is consumed as a stream."""
    async with engine.stream(inputs) as events:
        return [event async for event in events], events.result


def chunks_in(events):
    return [one for one in events if isinstance(one, ChunkReceived)]


# --- pieces --------------------------------------------------------------------------------


async def test_pieces_come_in_order_and_completely(server, single):
    server.script("m", Answer(chunks=WORDS))
    events, result = await collected(single(stream=True))
    chunks = chunks_in(events)
    assert tuple(chunk.text for chunk in chunks) == WORDS
    assert result["content"] == "".join(WORDS)
    assert chunks[0] == ChunkReceived("g.ask", "ask", "Xin ", "content", 0, 1, "m")
    with pytest.raises(dataclasses.FrozenInstanceError):
        chunks[0].text = "x"


async def test_pieces_come_between_a_nodes_start_and_end(server, single):
    server.script("m", Answer("a b c"))
    events, _ = await collected(single(stream=True))
    kinds = [type(one) for one in events if getattr(one, "path", "") == "g.ask"]
    assert kinds == [NodeStarted, *[ChunkReceived] * 3, NodeEnded]


async def test_all_that_a_stream_may_hold(server, single):
    server.script("m", Answer("a b", reasoning="hm so", tool_calls=[WEATHER]))
    events, result = await collected(single(stream=True))
    texts = {}
    for chunk in chunks_in(events):
        texts[chunk.part] = texts.get(chunk.part, "") + chunk.text
    assert list(texts) == ["reasoning", "content", "tool_call"]
    assert (texts["reasoning"], texts["content"]) == ("hm so", "a b")
    assert json.loads(texts["tool_call"]) == WEATHER["arguments"]
    assert result["tool_calls"][0]["function"]["arguments"] == texts["tool_call"]


async def test_choices_are_told_apart(server, single):
    server.script("m", Answer(contents=("a b", "c d e")))
    events, _ = await collected(single({"n": 2}, stream=True))
    texts = {0: "", 1: ""}
    for chunk in chunks_in(events):
        texts[chunk.choice] += chunk.text
    assert texts == {0: "a b", 1: "c d e"}


async def test_without_streaming_there_are_no_pieces(single):
    events, _ = await collected(single())
    assert chunks_in(events) == []


async def test_nobody_has_to_listen(server, ask):
    server.script("m", Answer(chunks=WORDS))
    assert (await ask(stream=True))["content"] == "".join(WORDS)


@pytest.mark.parametrize("is_async", [True, False])
async def test_callbacks(server, single, is_async):
    server.script("m", Answer(chunks=WORDS))
    own, events = [], []

    async def later(chunk):
        await anyio.sleep(0)
        own.append(chunk)

    engine = single(stream=True, on_chunk=later if is_async else own.append)
    await engine.run(on_event=events.append)
    assert tuple(chunk.text for chunk in own) == WORDS
    assert chunks_in(events) == own


async def test_a_raising_callback_is_logged_once_and_the_run_goes_on(server, single, caplog):
    def broken(chunk):
        raise ValueError("observer")

    server.script("m", Answer("a b c"))
    with caplog.at_level(logging.ERROR, "hush"):
        result = await single(stream=True, on_chunk=broken).run()
    assert result["content"] == "a b c"
    assert len([r for r in caplog.records if "on_chunk raised" in r.getMessage()]) == 1


def mapped(engine_of, **options):
    with GraphNode(name="g") as graph:
        with MapNode(
            name="each",
            inputs={"i": Each(PARENT["numbers"])},
            outputs={"content": PARENT},
            max_concurrency=4,
        ) as each:
            messages = [{"role": "user", "content": PARENT["i"].apply("n{} a b".format)}]
            node = LLMNode(
                "ask",
                "m",
                inputs={"messages": messages},
                outputs={"content": PARENT},
                stream=True,
                **options,
            )
            START >> node >> END
        START >> each >> END
    return engine_of(graph)


async def test_in_a_map_pieces_say_whose_they_are(server, engine_of):
    events, result = await collected(mapped(engine_of), {"numbers": range(6)})
    texts = {}
    for chunk in chunks_in(events):
        texts[chunk.path] = texts.get(chunk.path, "") + chunk.text
    assert texts == {f"g.each[{i}].ask": f"n{i} a b" for i in range(6)}
    assert result["content"] == [f"n{i} a b" for i in range(6)]


async def test_in_a_map_a_raising_callback_is_logged_once(server, engine_of, caplog):
    def broken(chunk):
        raise ValueError("observer")

    with caplog.at_level(logging.ERROR, "hush"):
        await mapped(engine_of, on_chunk=broken).run({"numbers": range(3)})
    assert len([r for r in caplog.records if "on_chunk raised" in r.getMessage()]) == 1


async def test_a_slow_consumer_loses_nothing(server, single):
    words = [f"w{i} " for i in range(500)]
    server.script("m", Answer(chunks=words))
    got = []
    async with single(stream=True).stream() as events:
        async for one in events:
            if isinstance(one, ChunkReceived):
                got.append(one.text)
                await anyio.sleep(0)
                if len(got) == 1:
                    # The server is not held up by whoever listens.
                    with anyio.fail_after(10):
                        while server.active:
                            await anyio.sleep(0.001)
    assert got == words


async def test_leaving_a_stream_half_way_closes_the_call(server, single):
    server.script("m", Answer(chunks=["a ", "b"], chunk_delay_s=600))
    with capture_spans() as captured:
        async with single(stream=True).stream() as events:
            async for one in events:
                if isinstance(one, ChunkReceived):
                    break
    assert captured.open_spans == ()
    assert captured.tree.one("chat m").record.outcome == "cancelled"


# --- what a span says ------------------------------------------------------------------------


async def test_the_span_of_a_stream(server, ask):
    answer = Answer(
        "a b", prompt_tokens=9, completion_tokens=4, cached_tokens=3, reasoning_tokens=2
    )
    server.script("m", answer)
    with capture_spans() as captured:
        result = await ask(stream=True)
    assert result["tokens_used"] == {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    record = captured.tree.one("chat m").record
    facts = record.attributes
    assert facts["gen_ai.request.stream"] is True
    assert 0 < facts["gen_ai.response.time_to_first_chunk"] <= record.duration_s
    assert (facts["gen_ai.usage.input_tokens"], facts["gen_ai.usage.output_tokens"]) == (9, 4)
    assert facts["gen_ai.usage.cache_read.input_tokens"] == 3
    assert facts["gen_ai.usage.reasoning.output_tokens"] == 2
    assert facts["gen_ai.response.finish_reasons"] == ("stop",)
    assert [one.name for one in record.events] == ["gen_ai.first_chunk"]
    assert "hush.tokens.complete" not in facts


async def test_no_first_chunk_without_streaming(ask):
    with capture_spans() as captured:
        await ask()
    facts = captured.tree.one("chat m").record.attributes
    assert facts["gen_ai.request.stream"] is False
    assert "gen_ai.response.time_to_first_chunk" not in facts


# --- bytes -----------------------------------------------------------------------------------


async def test_characters_may_be_cut_anywhere(over):
    result, chunks = await over(*(bytes([byte]) for byte in SAID))
    assert (result["content"], chunks) == ("Huế 🌊", ["Huế ", "🌊"])


async def test_all_in_one_piece(over):
    result, chunks = await over(SAID)
    assert (result["content"], chunks) == ("Huế 🌊", ["Huế ", "🌊"])


async def test_line_ends_of_windows(over):
    result, _ = await over(sse(event({"content": "a"}), event(finish="stop"), end="\r\n"))
    assert result["content"] == "a"


async def test_only_line_feeds_end_lines(over):
    text = "a\u2028b\u2029c\x85d\x0be"
    raw = sse(event({"content": text}), event(finish="stop"))
    assert "\u2028".encode() in raw
    result, chunks = await over(raw)
    assert (result["content"], chunks) == (text, [text])


async def test_comments_and_other_fields_are_passed_over(over):
    noise = b": keep-alive\n\nevent: message\nid: 3\nretry: 10\n\ndata:\n\n"
    result, _ = await over(noise, b"event: x\n" + SAID.replace(b"data: ", b"data:"), noise)
    assert result["content"] == "Huế 🌊"


async def test_usage_may_come_with_the_last_piece(over):
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    result, _ = await over(sse(event({"content": "a"}), event(finish="stop", usage=usage)))
    assert result["tokens_used"]["total_tokens"] == 7


async def test_a_long_stream(over):
    words = [f"{i}🌊" for i in range(5000)]
    raw = sse(*(event({"content": word}) for word in words), event(finish="stop"))
    result, chunks = await over(*(raw[i : i + 997] for i in range(0, len(raw), 997)))
    assert result["content"] == "".join(words)
    assert chunks == words


async def test_tool_calls_of_a_server_that_does_not_number_them(over):
    def call(i):
        return {"id": f"c{i}", "function": {"name": f"f{i}", "arguments": "{}"}}

    one = event({"tool_calls": [call(0), call(1)]})
    result, _ = await over(sse(one, event({"tool_calls": [call(2)]}), event(finish="tool_calls")))
    assert [each["id"] for each in result["tool_calls"]] == ["c0", "c1", "c2"]
    assert [each["function"]["name"] for each in result["tool_calls"]] == ["f0", "f1", "f2"]


async def test_a_refusal(over):
    pieces = (event({"refusal": "I "}), event({"refusal": "won't."}), event(finish="stop"))
    result, chunks = await over(sse(*pieces))
    assert (result["content"], result["refusal"]) == (None, "I won't.")
    assert chunks == ["I ", "won't."]


@pytest.mark.parametrize("tools", [False, True])
async def test_a_server_that_does_not_stream(wire, over, tools):
    wire.content_type = "application/json"
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": "whole"} | ({"tool_calls": [call]} if tools else {})
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    result, chunks = await over(json.dumps({"choices": [choice], "usage": usage}).encode())
    assert (result["content"], result["tokens_used"]["total_tokens"]) == ("whole", 7)
    # Who listens gets all there is, if only at once.
    assert chunks == (["whole", "{}"] if tools else ["whole"])


async def test_a_custom_tool_call(over):
    def call(**more):
        return event({"tool_calls": [{"index": 0, **more}]})

    result, chunks = await over(
        sse(
            call(id="c", type="custom", custom={"name": "sql", "input": ""}),
            call(custom={"input": "SELECT "}),
            # Servers repeat the type, and send fields of the other kind as null.
            call(type="custom", custom={"input": "1"}, function=None),
            event(finish="tool_calls"),
        )
    )
    custom = {"name": "sql", "input": "SELECT 1"}
    assert result["tool_calls"] == [{"id": "c", "type": "custom", "custom": custom}]
    assert (result["content"], chunks) == (None, ["SELECT ", "1"])


async def test_the_type_of_a_tool_call_may_go_without_saying(over):
    sent = [
        {"index": 0, "id": "a", "custom": {"name": "sql", "input": "x"}},
        {"index": 1, "id": "b", "function": {"name": "f", "arguments": "{}"}},
        {"index": 2, "id": "c"},
        {"index": 3, "id": "d", "type": "custom"},
    ]
    result, _ = await over(sse(event({"tool_calls": sent}), event(finish="tool_calls")))
    assert result["tool_calls"] == [
        {"id": "a", "type": "custom", "custom": {"name": "sql", "input": "x"}},
        {"id": "b", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "c", "type": "function", "function": {"name": "", "arguments": ""}},
        {"id": "d", "type": "custom", "custom": {"name": "", "input": ""}},
    ]


async def test_pieces_of_a_custom_tool_call_are_told_as_such(wire):
    call = {"index": 0, "id": "c", "type": "custom", "custom": {"name": "sql", "input": "x"}}
    wire.pieces = [sse(event({"tool_calls": [call]}), event(finish="tool_calls"))]
    with GraphNode(name="g") as graph:
        START >> LLMNode("ask", "m", inputs={"messages": MESSAGES}, stream=True) >> END
    events, _ = await collected(Hush(graph, resources=wire.resources("m")))
    assert [(chunk.text, chunk.part) for chunk in chunks_in(events)] == [("x", "tool_call")]


async def test_logprobs_of_a_refusal(over):
    def said(text, **logprobs):
        one = event({"refusal": text})
        one["choices"][0]["logprobs"] = logprobs
        return one

    first, second = {"token": "No", "logprob": -1.0}, {"token": ".", "logprob": -2.0}
    raw = sse(
        said("No", content=None, refusal=[first]),
        said(".", content=[], refusal=[second]),
        event(finish="stop"),
    )
    result, _ = await over(raw)
    assert result["refusal"] == "No."
    assert result["logprobs"] == {"content": None, "refusal": [first, second]}


# --- types of bodies -------------------------------------------------------------------------

TYPES = ["text/plain", "Text/Event-Stream; charset=utf-8", "application/octet-stream"]


@pytest.mark.parametrize("kind", [*TYPES, "application/json", ""])
async def test_a_stream_is_one_whatever_it_is_called(wire, over, kind):
    wire.content_type = kind
    result, chunks = await over(SAID)
    assert (result["content"], chunks) == ("Huế 🌊", ["Huế ", "🌊"])


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\n\n", b": ping\n\n", b"event: x\n"])
async def test_what_may_stand_before_a_stream(wire, over, before):
    wire.content_type = "text/plain"
    result, _ = await over(*(bytes([byte]) for byte in before), SAID)
    assert result["content"] == "Huế 🌊"


@pytest.mark.parametrize("kind", [*TYPES, "Application/JSON; charset=UTF-8"])
async def test_a_whole_answer_is_one_whatever_it_is_called(wire, over, kind):
    wire.content_type = kind
    choice = {"index": 0, "message": {"content": "whole"}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice]}, indent=1).encode()
    # Servers send blanks while they think, to keep the connection.
    result, chunks = await over(b"\n", b" \n", body[:9], body[9:])
    assert (result["content"], chunks) == ("whole", ["whole"])


@pytest.mark.parametrize("kind", ["text/html", "text/event-stream", "application/json"])
async def test_a_page_in_the_place_of_a_stream_is_shown(wire, over, kind):
    wire.content_type = kind
    with pytest.raises(RunError, match="it begins with '<html>Bad gateway") as caught:
        await over(b"<html>Bad gate", b"way</html>")
    assert isinstance(caught.value.__cause__, LLMResponseError)


async def test_a_long_page_is_not_shown(wire, over):
    with pytest.raises(RunError, match="neither JSON nor a stream"):
        await over(b"<html>", b"x" * 70_000)


@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
async def test_the_start_of_an_answer_is_never_shown(wire, over, kind):
    wire.content_type = kind
    for raw in (
        b'data: {"choices": [{"delta": {"content": "s3cret',
        b'["s3cret',
        b'x\ndata: "s3cret',
    ):
        with pytest.raises(RunError) as caught:
            await over(raw)
        assert "s3cret" not in str(caught.value)


# --- ends ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["cut", "open"])
async def test_what_has_been_said_to_be_done_is_done(wire, over, ending):
    wire.ending = ending
    result, chunks = await over(SAID)
    assert (result["content"], chunks) == ("Huế 🌊", ["Huế ", "🌊"])
    assert result.usage.wasted_tokens == 0


# --- broken streams --------------------------------------------------------------------------


async def test_a_broken_event_does_not_show_what_was_said(over):
    with pytest.raises(RunError, match="cannot be used") as caught:
        await over(b'data: {"choices": [{"delta": {"content": "s3cret\n\n')
    assert "s3cret" not in str(caught.value)


async def test_what_is_no_event_is_shown(over):
    with pytest.raises(RunError, match="it begins with 'upstream failed'"):
        await over(b"data: upstream failed\n\n")


BAD = [b"{not json", b"[]", b"3", b'{"choices": [3]}', b'{"choices": 3}', b"\xff"]


@pytest.mark.parametrize("bad", BAD)
async def test_a_malformed_event(over, bad):
    with pytest.raises(RunError, match=r"g\.ask: .*llm:m cannot be used") as caught:
        await over(sse(event({"content": "a"}), bad))
    assert isinstance(caught.value.__cause__, LLMResponseError)


@pytest.mark.parametrize(
    "bad", [b'{"error": {"message": "Overloaded."}}', b'{"error": "Overloaded."}']
)
async def test_an_error_event(over, bad):
    with pytest.raises(RunError, match=r"g\.ask: .*the server says: Overloaded\.") as caught:
        await over(sse(event({"content": "a"}), bad, event(finish="stop")))
    assert isinstance(caught.value.__cause__, LLMStreamError)


async def test_a_stream_that_ends_too_early(over):
    with pytest.raises(RunError, match="broke off before its end") as caught:
        await over(sse(event({"content": "a"})))
    assert isinstance(caught.value.__cause__, LLMStreamError)


async def test_an_empty_stream(over):
    with pytest.raises(RunError) as caught:
        await over()
    assert isinstance(caught.value.__cause__, LLMStreamError)


async def test_a_cut_stream_is_no_answer(server, single):
    server.default("m", Answer("one two three four five", cut_after=3))
    prices = {"input_usd_per_million": 1.0, "output_usd_per_million": 2.0}
    chunks = []
    engine = single(stream=True, retry=ONCE, on_chunk=chunks.append, resource=prices)
    with capture_spans() as captured, pytest.raises(RunError) as caught:
        await engine.run()
    assert isinstance(caught.value.__cause__, LLMStreamError)
    assert "".join(chunk.text for chunk in chunks) == "one two three"
    tree = captured.tree
    tree.assert_sound()
    call = tree.one("chat m").record.attributes
    assert call["hush.tokens.complete"] is False
    assert call["hush.tokens.wasted"] > 0
    assert not [name for name in call if name.startswith("gen_ai.usage.")]
    for name in ("node ask", "run g"):
        facts = tree.one(name).record.attributes
        assert facts["hush.tokens.complete"] is False
        assert facts["hush.tokens.wasted"] == call["hush.tokens.wasted"]
        # Nothing is known: that is not the same as nothing.
        assert "hush.tokens.input" not in facts
        assert "hush.tokens.output" not in facts
    usage = caught.value.usage
    assert (usage.calls, usage.complete, usage.cost_usd) == (1, False, None)
    assert usage.wasted_tokens == call["hush.tokens.wasted"]
    assert usage.wasted_usd > 0


async def test_counts_on_the_way_are_not_the_last_ones(wire, over):
    wire.ending = "cut"
    so_far = {"prompt_tokens": 50, "completion_tokens": 0}
    with pytest.raises(RunError) as caught:
        await over(sse(event({"content": "a" * 40}, usage=so_far)).replace(b"data: [DONE]", b""))
    usage = caught.value.usage
    assert (usage.complete, usage.wasted_tokens) == (False, 50 + 40 // 4)


async def test_a_stream_cut_before_its_first_piece(server, ask):
    server.default("m", Answer("one two", cut_after=0))
    with pytest.raises(RunError) as caught:
        await ask(stream=True, retry=ONCE)
    assert isinstance(caught.value.__cause__, LLMStreamError)


async def test_a_stream_is_begun_anew(server, single):
    server.script("m", Answer("one two", cut_after=1), Answer("one two"))
    retry = Retry(attempts=2, initial_s=0.001)
    with capture_spans() as captured:
        events, result = await collected(single(stream=True, retry=retry))
    assert result["content"] == "one two"
    said = [(chunk.attempt, chunk.text) for chunk in chunks_in(events)]
    assert said == [(1, "one"), (2, "one"), (2, " two")]
    first, second = captured.tree.all("chat m")
    assert (first.record.outcome, second.record.outcome) == ("error", "ok")
    assert result.usage.calls == 2
    assert result.usage.complete is False


async def test_a_malformed_event_of_the_scripted_server(server, ask):
    server.default("m", Malformed())
    with pytest.raises(RunError, match="cannot be used"):
        await ask(stream=True, retry=ONCE)


# --- silence ---------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
BEGUN = HEAD + b"\r\n" + sse(event({"content": "a"})).replace(b"data: [DONE]\n\n", b"")


class Dripping(ThreadingHTTPServer):
    """Writes whole responses, head included, as a generator gives their pieces."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Drops)
        self.drops = iter
        self.left = threading.Event()
        """Set when the client has hung up on it."""
        self.over = threading.Event()

    def endless(self, head, drop):
        """A response that goes on and on."""

        def drops():
            yield head
            while not self.over.wait(0.02):
                yield drop

        self.drops = drops

    def ask(self, timeout_s, on_chunk=None):
        url = f"http://127.0.0.1:{self.server_port}/v1"
        resource = {"api_key": "k", "base_url": url, "model": "m", "timeout_s": timeout_s}
        with GraphNode(name="g") as graph:
            node = LLMNode(
                "ask",
                "m",
                inputs={"messages": MESSAGES},
                outputs={"*": PARENT},
                stream=True,
                on_chunk=on_chunk,
                retry=ONCE,
            )
            START >> node >> END
        return Hush(graph, resources={"llm:m": resource}).run()


class _Drops(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        try:
            for piece in self.server.drops():
                self.wfile.write(piece)
        except OSError:
            self.server.left.set()

    def log_message(self, *args):
        pass


@pytest.fixture
def dripping():
    with Dripping() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.over.set()
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("head", "drop", "said"),
    [
        (HEAD, b"X-More: 1\r\n", "no event"),
        (HEAD + b"\r\n", b": ping\n\n", "no event"),
        (HEAD + b"\r\n", b"data:\n\n", "no event"),
        (HEAD + b"\r\n", b"\n", "no event"),
        (HEAD + b"\r\n{", b" ", "no event"),
        (HEAD + b"\r\ndata: {", b" ", "no event"),
        (BEGUN, b": ping\n\n", "no further event"),
        (BEGUN + b"data: {", b" ", "no further event"),
    ],
)
async def test_bytes_are_no_events(dripping, head, drop, said):
    dripping.endless(head, drop)
    with capture_spans() as captured, pytest.raises(RunError) as caught:
        await dripping.ask(0.5)
    assert isinstance(caught.value.__cause__, LLMTimeoutError)
    told = f"llm:m sent nothing for timeout_s=0.5 that counts: {said} of its stream. Raise the res"
    assert told in str(caught.value)
    captured.tree.assert_sound()
    assert captured.tree.one("chat m").record.outcome == "timeout"
    assert dripping.left.wait(5)


async def test_a_stream_may_take_as_long_as_it_goes_on(dripping):
    def drops():
        yield HEAD + b"\r\n"
        for _ in range(8):
            time.sleep(0.2)
            yield b": ping\n\n" + BEGUN.partition(b"\r\n\r\n")[2]
        yield sse(event(finish="stop"))

    dripping.drops = drops
    assert (await dripping.ask(1.0))["content"] == "a" * 8


@pytest.mark.parametrize("blocking", [False, True])
async def test_who_listens_slowly_is_not_the_servers_silence(dripping, blocking):
    heard, sent = threading.Event(), threading.Event()

    def drops():
        yield BEGUN
        # The rest is on its way while somebody is busy with the beginning.
        heard.wait(10)
        yield SAID
        sent.set()

    async def later(chunk):
        heard.set()
        await anyio.sleep(0.8)

    def at_once(chunk):
        heard.set()
        assert sent.wait(10)
        time.sleep(0.8)

    dripping.drops = drops
    result = await dripping.ask(0.5, at_once if blocking else later)
    assert result["content"] == "aHuế 🌊"
