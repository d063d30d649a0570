"""Content of model calls: nowhere by default; redacted, bounded and in the convention's shape."""

from __future__ import annotations

import json
import logging

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from hush import semconv
from hush.observe import content as content_module
from hush.observe import tracing
from hush.observe.messages import LIMIT_BYTES, Content
from hush.observe.settings import settings
from hush.observe.tracing import current_instrument, override_logger_provider, override_provider
from hush.runtime.instrument import NULL_INSTRUMENT, Ending, Guard, Scope
from hush.testing import capture_spans

FACTS = {
    semconv.GEN_AI_OPERATION: "chat",
    semconv.GEN_AI_PROVIDER: "openai",
    semconv.GEN_AI_REQUEST_MODEL: "m",
    semconv.SERVER_ADDRESS: "localhost",
    semconv.SERVER_PORT: 8080,
    semconv.LLM_RESOURCE: "llm",
}
QUESTION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "CONFIDENTIAL question, api_key=SECRETSECRET"},
]
ANSWER = [
    {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": "CONFIDENTIAL answer"},
    }
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look",
            "description": "CONFIDENTIAL tool",
            "parameters": {"type": "object", "properties": {"password": {"type": "string"}}},
        },
    }
]


def chat(question=QUESTION, answer=ANSWER, tools=TOOLS, ending=None):
    """Do as the runtime does with one call to a model."""
    with current_instrument().observe(Scope("chat", "m", FACTS)) as seen:
        seen.annotate(semconv.GEN_AI_INPUT_MESSAGES, question)
        seen.annotate(semconv.GEN_AI_TOOL_DEFINITIONS, tools)
        seen.annotate(semconv.GEN_AI_RESPONSE_MODEL, "m-1")
        seen.annotate(semconv.GEN_AI_OUTPUT_MESSAGES, answer)
        if ending is not None:
            seen.end(ending)


@pytest.fixture
def log():
    """What reaches OpenTelemetry's logs."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    with override_logger_provider(provider):
        yield exporter
    provider.shutdown()


@pytest.fixture
def on_span(monkeypatch):
    monkeypatch.setenv(semconv.CAPTURE_VARIABLE, "SPAN_ONLY")


def captured_by(question=None, answer=None, tools=None):
    """Return the attributes of a call's span."""
    with capture_spans() as captured:
        chat(question, answer, tools)
    (span,) = captured.spans
    return span.attributes


def asked(*messages):
    return json.loads(captured_by(list(messages))[semconv.GEN_AI_INPUT_MESSAGES])


def parts_of(message):
    (converted,) = asked(message)
    return converted["parts"]


def answered(message, finish_reason="stop"):
    choice = {"index": 0, "finish_reason": finish_reason, "message": message}
    (converted,) = json.loads(captured_by(answer=[choice])[semconv.GEN_AI_OUTPUT_MESSAGES])
    return converted


# --- where it may go ----------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, "", "  ", "NO_CONTENT", "no_content", "true", "wrong"])
def test_by_default_nothing_of_it_leaves(value, monkeypatch, log, caplog):
    monkeypatch.delenv(semconv.CAPTURE_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(semconv.CAPTURE_VARIABLE, value)
    calls = []
    monkeypatch.setattr(settings, "redactor", lambda text: calls.append(text) or text)
    with capture_spans() as captured, caplog.at_level(logging.DEBUG):
        with current_instrument().observe(
            Scope("chat", "m", FACTS | dict.fromkeys(ALL, ANSWER))
        ) as s:
            s.event("gen_ai.first_chunk", dict.fromkeys(ALL, "CONFIDENTIAL"))
            for name in ALL:
                s.annotate(name, QUESTION)
        chat()
    assert "CONFIDENTIAL" not in repr(captured.spans) + caplog.text
    assert not any("CONFIDENTIAL" in text for text in calls)
    assert not any(name in span.attributes for span in captured.spans for name in ALL)
    assert log.get_finished_logs() == ()


ALL = sorted(semconv.CONTENT)


@pytest.mark.parametrize(
    ("value", "span", "event"),
    [
        ("SPAN_ONLY", True, False),
        ("event_only", False, True),
        (" Span_And_Event ", True, True),
    ],
)
def test_the_variable_says_where_it_goes(value, span, event, monkeypatch, log):
    monkeypatch.setenv(semconv.CAPTURE_VARIABLE, value)
    with capture_spans() as captured:
        chat()
    assert [name in captured.spans[0].attributes for name in ALL] == [span] * 3
    assert ("CONFIDENTIAL question" in repr(captured.spans)) is span
    records = log.get_finished_logs()
    assert len(records) == event
    assert ("CONFIDENTIAL question" in repr([r.log_record.attributes for r in records])) is event


def test_an_unknown_value_is_logged_once_with_the_valid_ones(monkeypatch, caplog):
    monkeypatch.setattr(content_module, "_logged", set())
    monkeypatch.setenv(semconv.CAPTURE_VARIABLE, "everything")
    with caplog.at_level(logging.WARNING, "hush"):
        current_instrument()
        current_instrument()
    (record,) = caplog.records
    for said in ("everything", "NO_CONTENT", "SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT"):
        assert said in record.getMessage()


def test_without_any_provider_there_is_nothing_to_capture_for(on_span):
    assert current_instrument() is NULL_INSTRUMENT


def test_what_is_not_sampled_is_not_read(on_span, monkeypatch):
    calls = []
    monkeypatch.setattr(settings, "redactor", lambda text: calls.append(text) or text)
    with override_provider(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)):
        chat()
    assert not any("CONFIDENTIAL" in text for text in calls)


# --- events -------------------------------------------------------------------------------


def test_an_event_stands_in_the_trace_and_says_which_call_it_was(monkeypatch, log):
    monkeypatch.setenv(semconv.CAPTURE_VARIABLE, "EVENT_ONLY")
    with capture_spans() as captured:
        chat(ending=Ending("error", ValueError("no"), raised_here=True, error_type="429"))
    (span,) = captured.spans
    record = log.get_finished_logs()[0].log_record
    assert record.event_name == "gen_ai.client.inference.operation.details"
    assert f"{record.trace_id:032x}" == span.trace_id
    assert f"{record.span_id:016x}" == span.span_id
    facts = dict(record.attributes)
    content = {name: facts.pop(name) for name in ALL}
    assert facts == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "m-1",
        "server.address": "localhost",
        "server.port": 8080,
        "error.type": "429",
    }
    first, second = content["gen_ai.input.messages"]
    assert first["role"] == "system"
    assert dict(second["parts"][0]) == {
        "type": "text",
        "content": "CONFIDENTIAL question, api_key=[redacted]",
    }
    assert content["gen_ai.output.messages"][0]["finish_reason"] == "stop"


def test_events_need_no_tracer(monkeypatch, log):
    monkeypatch.setenv(semconv.CAPTURE_VARIABLE, "SPAN_AND_EVENT")
    chat()
    (record,) = log.get_finished_logs()
    assert record.log_record.trace_id == 0


def test_without_a_log_the_events_are_not_made(monkeypatch):
    monkeypatch.setenv(semconv.CAPTURE_VARIABLE, "EVENT_ONLY")
    with capture_spans() as captured:
        chat()
    assert "CONFIDENTIAL" not in repr(captured.spans)


def test_a_message_that_changes_later_is_captured_as_it_was_sent(monkeypatch, log):
    monkeypatch.setenv(semconv.CAPTURE_VARIABLE, "SPAN_AND_EVENT")
    messages = [{"role": "user", "content": "first"}]
    with capture_spans() as captured:
        with current_instrument().observe(Scope("chat", "m", FACTS)) as seen:
            seen.annotate(semconv.GEN_AI_INPUT_MESSAGES, messages)
            messages.append({"role": "user", "content": "later"})
    assert "later" not in repr(captured.spans)
    assert "later" not in repr(log.get_finished_logs()[0].log_record.attributes)


# --- shape --------------------------------------------------------------------------------


def test_messages_are_made_of_parts(on_span):
    found = asked(
        {"role": "system", "content": "Be brief."},
        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "Hi"}, "there"]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "rainy"},
        {"role": "assistant", "content": "", "refusal": "I will not."},
    )
    assert found == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {
            "role": "user",
            "name": "ann",
            "parts": [{"type": "text", "content": "Hi"}, {"type": "text", "content": "there"}],
        },
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "c1", "name": "f", "arguments": {"x": 1}}],
        },
        {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": "c1", "response": "rainy"}],
        },
        {"role": "assistant", "parts": [{"type": "refusal", "content": "I will not."}]},
    ]


def test_an_answer_has_its_reasoning_first_and_says_why_it_ended(on_span):
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {
        "role": "assistant",
        "content": "So be it.",
        "reasoning_content": "Hm.",
        "reasoning": "Hm.",
        "tool_calls": [call],
    }
    assert answered(message, "tool_calls") == {
        "role": "assistant",
        "parts": [
            {"type": "reasoning", "content": "Hm."},
            {"type": "text", "content": "So be it."},
            {"type": "tool_call", "id": "c", "name": "f", "arguments": {}},
        ],
        "finish_reason": "tool_call",
    }
    assert answered({"role": "assistant", "content": "cut"}, None)["finish_reason"] == "unknown"


def test_images_and_files_are_named_and_never_copied(on_span):
    data = "QUJD" * 1_000
    parts = parts_of(
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
                {"type": "image_url", "image_url": {"url": "DATA:image/svg+xml,<svg/>"}},
                {"type": "image_url", "image_url": "https://user:SECRET@host/a.png"},
                {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}},
                {"type": "file", "file": {"file_id": "file-1"}},
                {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{data}"}},
            ],
        }
    )
    assert data[:20] not in repr(parts)
    assert parts == [
        {"type": "blob", "modality": "image", "content": "[3000 bytes]", "mime_type": "image/png"},
        {"type": "blob", "modality": "image", "content": "[6 bytes]", "mime_type": "image/svg+xml"},
        {"type": "uri", "modality": "image", "uri": "https://user:[redacted]@host/a.png"},
        {"type": "blob", "modality": "audio", "content": "[3000 bytes]", "mime_type": "audio/wav"},
        {"type": "file", "modality": "document", "file_id": "file-1"},
        {
            "type": "blob",
            "modality": "document",
            "content": "[3000 bytes]",
            "mime_type": "application/pdf",
        },
    ]


def test_tools_are_described_flat(on_span):
    tools = [*TOOLS, {"type": "web_search", "web_search": {"size": 3}}, {"name": "bare"}]
    found = json.loads(captured_by(tools=tools)[semconv.GEN_AI_TOOL_DEFINITIONS])
    assert found == [
        {"type": "function", **TOOLS[0]["function"]},
        {"type": "web_search", "name": "unknown", "size": 3},
        {"type": "unknown", "name": "bare"},
    ]


def test_parts_of_unknown_kinds_are_kept(on_span):
    assert parts_of({"role": "user", "content": [{"type": "video", "video": {"id": 7}}, {}]}) == [
        {"type": "video", "video": {"id": 7}},
        {"type": "unknown"},
    ]


# --- redaction ----------------------------------------------------------------------------


def test_secrets_are_taken_out_wherever_they_stand(on_span):
    secret = "hunter2hunter2"
    arguments = json.dumps(
        {
            "password": secret,
            "note": "Bearer " + secret,
            "inner": {"secret": {"value": secret, "pin": 12345678}},
            "tokens": [{"api_key": [secret]}],
            "city": "Paris",
            f"api_key={secret}": True,
        }
    )
    call = {"id": "c", "function": {"name": "f", "arguments": arguments}}
    found = asked(
        {"role": "user", "content": f"my password: {secret}"},
        {"role": "user", "content": [{"type": "text", "text": f"api_key={secret}"}]},
        {"role": "user", "content": [{"type": "odd", "password": secret}]},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": f'{{"password": "{secret}"}}'},
        {"role": "tool", "content": [{"type": "text", "text": f"secret={secret}"}]},
        {"role": f"secret={secret}", "name": f"secret={secret}", "content": ""},
    )
    assert secret not in json.dumps(found)
    assert "12345678" not in json.dumps(found)
    assert found[3]["parts"][0]["arguments"]["city"] == "Paris"


def test_arguments_that_are_no_json_are_redacted_as_text(on_span):
    call = {"function": {"name": "f", "arguments": '{"password": "hunter2hunter2'}}
    (part,) = parts_of({"role": "assistant", "tool_calls": [call]})
    assert part["arguments"] == '{"password": [redacted]'


@pytest.mark.parametrize("mode", ["SPAN_ONLY", "SPAN_AND_EVENT"])
def test_the_applications_redactor_is_used_before_anything_is_encoded(mode, monkeypatch, log):
    monkeypatch.setenv(semconv.CAPTURE_VARIABLE, mode)
    monkeypatch.setattr(settings, "redactor", lambda text: text.replace("CONFIDENTIAL", '"}]'))
    attributes = captured_by(QUESTION, ANSWER, TOOLS)
    for name in ALL:
        json.loads(attributes[name])
        assert "CONFIDENTIAL" not in attributes[name]
    for record in log.get_finished_logs():
        assert "CONFIDENTIAL" not in repr(record.log_record.attributes)


def test_a_redactor_that_changes_every_text_leaves_the_values(on_span, monkeypatch):
    monkeypatch.setattr(settings, "redactor", str.upper)
    call = {"function": {"name": "f", "arguments": '{"city": "Paris"}'}}
    (part,) = parts_of({"role": "assistant", "tool_calls": [call]})
    assert part["arguments"] == {"CITY": "PARIS"}


@pytest.mark.parametrize("mode", ["SPAN_ONLY", "SPAN_AND_EVENT"])
@pytest.mark.parametrize("redactor", [lambda text: 1 / 0, lambda text: None])
def test_a_redactor_that_fails_lets_nothing_through(mode, redactor, monkeypatch, log):
    monkeypatch.setenv(semconv.CAPTURE_VARIABLE, mode)
    monkeypatch.setattr(settings, "redactor", redactor)
    call = {"function": {"name": "f", "arguments": '{"city": "CONFIDENTIAL", "n": 77777}'}}
    question = [*QUESTION, {"role": "assistant", "tool_calls": [call]}]
    with capture_spans() as captured:
        chat(question)
    seen = repr(captured.spans) + repr([r.log_record.attributes for r in log.get_finished_logs()])
    assert "CONFIDENTIAL" not in seen
    assert "77777" not in seen
    assert "[redaction failed]" in seen


# --- bounds -------------------------------------------------------------------------------


def test_long_texts_are_cut(on_span):
    (part,) = parts_of({"role": "user", "content": "x" * 1_000_000})
    assert part["content"] == "x" * 4_096 + "…[+995904]"


@pytest.mark.parametrize("text", ["x" * 5_000, "\x00" * 5_000, "日" * 5_000, "\ud800"])
def test_of_a_long_history_the_newest_messages_are_kept(text, on_span):
    history = [{"role": "user", "content": f"{i} {text}"} for i in range(2_000)]
    attribute = captured_by(history)[semconv.GEN_AI_INPUT_MESSAGES]
    assert len(attribute.encode()) <= LIMIT_BYTES
    found = json.loads(attribute)
    assert found[-1]["parts"][0]["content"].startswith("1999 ")
    left_out = 2_000 - (len(found) - 1)
    assert found[0] == {
        "role": "omitted",
        "parts": [{"type": "text", "content": f"[{left_out} older messages left out]"}],
    }
    assert found[1]["parts"][0]["content"].startswith(f"{left_out} ")


def test_further_choices_and_tools_are_counted(on_span):
    choices = [{"finish_reason": "stop", "message": {"content": "x" * 4_000}}] * 100
    tools = [{"type": "function", "function": {"name": "f", "description": "x" * 4_000}}] * 100
    attributes = captured_by(answer=choices, tools=tools)
    said = json.loads(attributes[semconv.GEN_AI_OUTPUT_MESSAGES])
    assert said[-1]["parts"][0]["content"] == f"[{101 - len(said)} further choices left out]"
    described = json.loads(attributes[semconv.GEN_AI_TOOL_DEFINITIONS])
    assert described[-1]["name"] == f"[{101 - len(described)} tools left out]"


SHARED = ["x"]
for _ in range(40):
    SHARED = [SHARED] * 10
WIDE = {str(i): i for i in range(100_000)}
IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [{"type": "text", "text": "\x00" * 9_000}] * 100_000},
        {"role": "user", "content": [IMAGE] * 100_000},
        {"role": "user", "content": [""] * 100_000},
        {"role": "user", "content": [{"type": "odd", "value": SHARED}]},
        {"role": "user", "content": [{"type": "odd", "value": WIDE}]},
        {"role": "user", "content": [{"type": "odd", "value": [[]] * 100_000}]},
        {"role": "user", "content": [{"type": "odd", "value": [None] * 100_000}]},
        {"role": "x", "tool_calls": [{"function": {"name": "f", "arguments": WIDE}}] * 1_000},
        {"role": "x", "tool_calls": [{}] * 100_000},
        {"role": "\x00" * 9_000, "name": "\x00" * 9_000, "content": "\x00" * 9_000},
    ],
    ids=range(10),
)
def test_one_huge_message_is_bounded_and_still_there(message, on_span):
    attribute = captured_by([message])[semconv.GEN_AI_INPUT_MESSAGES]
    assert len(attribute.encode()) <= LIMIT_BYTES
    (found,) = json.loads(attribute)
    assert found["parts"]


# --- what is not as the API promises --------------------------------------------------------


class Broken:
    def __str__(self):
        raise ValueError("no text")

    __repr__ = __str__


CYCLE: dict = {"type": "odd"}
CYCLE["self"] = [CYCLE]


@pytest.mark.parametrize(
    "raw",
    [
        "text",
        7,
        b"bytes",
        {"role": "user", "content": "alone"},
        [None, 1, "text", [], Broken()],
        [{"role": ["list"], "content": {"no": "type"}}],
        [{"role": "user", "content": Broken(), "tool_calls": "no list", "audio": {"data": 1}}],
        [{"role": "user", "content": [CYCLE, Broken(), {"type": Broken()}, {"type": ["x"]}]}],
        [{"role": "x", "content": [{"type": "image_url", "image_url": {"url": 1}}]}],
        [{"role": "x", "content": [{"type": "file", "file": {"file_data": 1}}]}],
        [{"role": "x", "tool_calls": [{"function": {"arguments": CYCLE}}, 1, {"custom": {}}]}],
        [{"role": "x", "tool_calls": [{"function": {"arguments": "{" * 50_000}}]}],
        [{"role": "x", "tool_calls": [{"function": {"arguments": '{"a":' * 50_000}}]}],
        [{"role": "x", "tool_calls": [{"function": {"arguments": '{"a": NaN, "b": 1e999}'}}]}],
        [{"role": "x", "content": [{"type": "odd", "n": 10**5_000, "f": float("nan")}]}],
        [{"role": "x", "content": [{"type": "odd", 1: b"x" * 9, None: object(), "": {1}}]}],
        [{"role": "\ud800", "content": "half \ud800"}],
        [{"message": None, "finish_reason": 3}],
        [{"type": 3, "function": 3}, {"type": "function", "function": "f"}],
    ],
    ids=range(19),
)
def test_broken_content_is_taken_as_well_as_can_be(raw, monkeypatch, log):
    """Nothing is raised: capture_spans() would say so."""
    monkeypatch.setenv(semconv.CAPTURE_VARIABLE, "SPAN_AND_EVENT")
    attributes = captured_by(raw, raw, raw)
    for name in ALL:
        assert json.loads(attributes[name])
        assert attributes[name].encode()
    (record,) = log.get_finished_logs()
    assert set(ALL) <= set(record.log_record.attributes)


class Hostile(dict):
    def get(self, *_):
        raise OSError("hostile, CONFIDENTIAL")


@pytest.mark.parametrize("mode", ["SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT"])
def test_what_cannot_be_read_at_all_is_a_telemetry_fault(mode, monkeypatch, log, caplog):
    monkeypatch.setenv(semconv.CAPTURE_VARIABLE, mode)
    monkeypatch.setattr(tracing, "_listening", Guard(NULL_INSTRUMENT))
    with override_provider(TracerProvider(shutdown_on_exit=False)):
        with caplog.at_level(logging.ERROR, "hush"):
            chat([Hostile(role="user", content="CONFIDENTIAL")])
            chat([Hostile(role="user", content="CONFIDENTIAL")])
    assert len([r for r in caplog.records if "telemetry failed" in r.getMessage()]) == 1
    assert len(log.get_finished_logs()) == (0 if mode == "SPAN_ONLY" else 2)


def test_a_logger_that_raises_costs_nothing_but_the_event(monkeypatch, caplog):
    class Raising(LoggerProvider):
        def get_logger(self, *args, **kwargs):
            raise OSError("no logger")

    monkeypatch.setenv(semconv.CAPTURE_VARIABLE, "SPAN_AND_EVENT")
    monkeypatch.setattr(tracing, "_listening", Guard(NULL_INSTRUMENT))
    from hush.testing.capture import _Keeper

    provider, keeper = TracerProvider(shutdown_on_exit=False), _Keeper()
    provider.add_span_processor(keeper)
    with override_logger_provider(Raising(shutdown_on_exit=False)), override_provider(provider):
        with caplog.at_level(logging.ERROR, "hush"):
            chat()
    assert "no logger" in caplog.text
    assert [span.name for span in keeper.finished] == ["chat m"]


def test_content_is_read_once():
    raw = [{"role": "user", "content": "x"}]
    content = Content(semconv.GEN_AI_INPUT_MESSAGES, raw)
    assert json.loads(content.json) == content.structure
    assert content.structure is content.structure
