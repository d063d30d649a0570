"""response_format: what is asked for, and the answer as an instance."""

from __future__ import annotations

import json
from typing import Literal

import pytest
from pydantic import BaseModel

from hush.core import PARENT, LLMResponseError, PromptError, RunError
from hush.testing import Answer, Malformed, capture_spans


class Place(BaseModel):
    name: str
    country: Literal["Vietnam", "Laos"] = "Vietnam"


class Trip(BaseModel):
    """A journey."""

    places: list[Place]
    days: int


TRIP = Trip(places=[Place(name="Huế")], days=3)
FORM = {"response_format": Trip}


def refusing(content=None):
    """An answer that refuses; the scripted server has no word for it."""
    message = {"role": "assistant", "content": content, "refusal": "I won't."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return Malformed(json.dumps({"model": "m", "choices": [choice]}).encode())


async def failure(ask, **options):
    with pytest.raises(RunError) as caught:
        await ask(FORM, **options)
    error = caught.value.__cause__
    assert isinstance(error, LLMResponseError)
    assert "llm:m answered is no Trip" in error.message
    return error.message


# --- what is asked for -----------------------------------------------------------------------

MAPPINGS = [
    {"type": "text"},
    {"type": "json_object"},
    {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
]


@pytest.mark.parametrize("form", MAPPINGS)
async def test_a_mapping_goes_as_it_is(server, ask, form):
    server.script("m", Answer('{"a": 1}'))
    with capture_spans() as captured:
        result = await ask({"response_format": form})
    assert server.requests[0].body["response_format"] == form
    assert (result["content"], result["parsed"]) == ('{"a": 1}', None)
    kind = captured.tree.one("chat m").record.attributes["gen_ai.output.type"]
    assert kind == ("text" if form["type"] == "text" else "json")


async def test_a_model_goes_as_a_strict_schema(server, ask):
    server.script("m", Answer(TRIP.model_dump_json()))
    await ask(FORM)
    form = server.requests[0].body["response_format"]
    assert (form["type"], form["json_schema"]["name"]) == ("json_schema", "Trip")
    assert form["json_schema"]["strict"] is True
    schema = form["json_schema"]["schema"]
    # What servers demand in strict mode, also of what is nested.
    for one in (schema, schema["$defs"]["Place"]):
        assert one["additionalProperties"] is False
        assert set(one["required"]) == one["properties"].keys()


@pytest.mark.parametrize("form", [3, "json", Trip(places=[], days=1), int, [Trip]])
async def test_something_else(server, ask, form):
    with pytest.raises(RunError, match=r"g\.ask: .*response_format is a") as caught:
        await ask({"response_format": form})
    assert isinstance(caught.value.__cause__, PromptError)
    assert server.requests == []


# --- instances -------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_the_instance_is_an_output(server, ask, stream):
    server.script("m", Answer(TRIP.model_dump_json()))
    result = await ask(FORM, stream=stream)
    assert result["parsed"] == TRIP
    assert type(result["parsed"]) is Trip
    assert json.loads(result["content"])["days"] == 3


async def test_the_model_may_come_at_run_time(server, single):
    server.script("m", Answer(TRIP.model_dump_json()))
    engine = single({"response_format": PARENT["form"]})
    assert (await engine.run({"form": Trip}))["parsed"] == TRIP


async def test_several_choices_are_a_list(server, ask):
    other = Trip(places=[], days=1)
    server.script("m", Answer(contents=(TRIP.model_dump_json(), other.model_dump_json())))
    result = await ask({**FORM, "n": 2})
    assert result["parsed"] == [TRIP, other]


@pytest.mark.parametrize("content", [None, "", "I won't."])
async def test_a_refusal_is_no_instance(server, ask, content):
    server.script("m", refusing(content))
    result = await ask(FORM)
    assert (result["parsed"], result["refusal"], result["content"]) == (None, "I won't.", content)


async def test_a_tool_call_instead(server, ask):
    server.script("m", Answer(tool_calls=[{"name": "f", "arguments": {}}]))
    result = await ask(FORM)
    assert (result["parsed"], len(result["tool_calls"])) == (None, 1)


# --- what does not fit -----------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_no_json(server, ask, stream):
    server.default("m", Answer("Surely, s3cret!"))
    message = await failure(ask, stream=stream)
    assert "finish_reason stop" in message
    assert "Invalid JSON" in message
    assert "Retry it, or mend the prompt" in message
    assert "s3cret" not in message


async def test_a_wrong_shape(server, ask):
    wrong = {
        "places": [{"name": 1234567}, {"name": "s3cret", "country": "s3cret"}],
        "days": "s3cret",
    }
    server.default("m", Answer(json.dumps(wrong)))
    message = await failure(ask)
    assert "places.0.name: Input should be a valid string" in message
    assert "places.1.country: Input should be 'Vietnam' or 'Laos'" in message
    assert "s3cret" not in message
    assert "1234567" not in message


async def test_only_some_problems_are_told(server, ask):
    server.default("m", Answer(json.dumps({"places": [{}] * 50, "days": 1})))
    message = await failure(ask)
    assert message.count("Field required") == 3


async def test_a_cut_answer_says_what_to_do(server, ask):
    server.default("m", Answer('{"places": [{"name": "s3cret', finish_reason="length"))
    message = await failure(ask)
    assert "finish_reason length" in message
    assert "Raise max_tokens" in message
    assert "s3cret" not in message


async def test_no_content_at_all(server, ask):
    choice = {"index": 0, "message": {"role": "assistant"}, "finish_reason": "content_filter"}
    server.default("m", Malformed(json.dumps({"choices": [choice]}).encode()))
    assert "there is no content" in await failure(ask)


async def test_what_does_not_fit_is_not_asked_for_again(server, ask):
    server.default("m", Answer("no"))
    await failure(ask)
    assert len(server.requests) == 1


async def test_what_does_not_fit_is_wasted(server, single):
    server.default("m", Answer("no", prompt_tokens=9, completion_tokens=4))
    prices = {"input_usd_per_million": 1.0, "output_usd_per_million": 2.0}
    with capture_spans() as captured, pytest.raises(RunError) as caught:
        await single(FORM, resource=prices).run()
    usage = caught.value.usage
    assert (usage.input_tokens, usage.output_tokens, usage.wasted_tokens) == (0, 0, 13)
    assert usage.wasted_usd == pytest.approx(17e-6)
    assert usage.complete
    record = captured.tree.one("chat m").record
    assert record.attributes["gen_ai.usage.input_tokens"] == 9
    assert record.attributes["hush.tokens.wasted"] == 13
    captured.tree.assert_sound()
