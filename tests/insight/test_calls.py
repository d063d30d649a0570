"""What is said of calls to language models."""

from __future__ import annotations

from typing import Any

import pytest

from hush import semconv
from hush.insight.calls import (
    call_facts,
    failure_kind,
    is_call,
    notes_of,
    retried_after,
    sums,
    usage_line,
    was_overcome,
)
from hush.insight.glyphs import ASCII, FINE
from hush.insight.record import EventRecord, SpanRecord
from hush.insight.tree import TraceTree

S = 1_000_000_000
OK = {semconv.OUTCOME: semconv.OUTCOME_OK}


def span(
    name: str,
    span_id: str = "a",
    inside: str | None = None,
    took_s: float = 1.0,
    events: tuple[EventRecord, ...] = (),
    **attributes: Any,
) -> SpanRecord:
    failed = attributes.get(semconv.OUTCOME) == semconv.OUTCOME_ERROR
    return SpanRecord(
        "t",
        span_id,
        inside,
        name,
        0,
        int(took_s * S),
        "error" if failed else "unset",
        attributes=attributes,
        events=events,
        scope="hush",
    )


def chat(**attributes: Any) -> SpanRecord:
    return span("chat gpt-4o", **attributes)


def event(name: str, **attributes: Any) -> EventRecord:
    return EventRecord(name, 0, attributes)


def failed(kind: str) -> dict[str, Any]:
    return {semconv.OUTCOME: semconv.OUTCOME_ERROR, semconv.ERROR_TYPE: kind}


USED = {
    semconv.GEN_AI_USAGE_INPUT: 412,
    semconv.GEN_AI_USAGE_OUTPUT: 38,
    semconv.LLM_COST_USD: 0.00141,
}


def test_calls_are_ours_only():
    assert is_call(chat())
    assert not is_call(span("node chat"))
    assert not is_call(SpanRecord("t", "s", None, "chat gpt-4o", 0, 1, scope="other.library"))


def test_answer_with_all_facts():
    facts = {
        **OK,
        **USED,
        semconv.ATTEMPT: 2,
        semconv.LLM_HEDGE: True,
        semconv.LLM_RESOURCE: "big",
        semconv.GEN_AI_TIME_TO_FIRST_CHUNK: 0.21,
    }
    said = ["(big)", "#2", "hedge", "412→38", "$0.0014", "first 210 ms"]
    assert call_facts(chat(**facts), FINE) == said
    assert call_facts(chat(**facts), FINE, merged=True) == ["gpt-4o", *said]
    assert "412>38" in call_facts(chat(**facts), ASCII)


def test_first_attempt_and_resource_of_the_models_name_are_not_said():
    assert call_facts(chat(**{semconv.ATTEMPT: 1, semconv.LLM_RESOURCE: "gpt-4o"}), FINE) == []


def test_no_price_no_cost():
    facts = {**USED, semconv.LLM_COST_USD: None}
    assert call_facts(chat(**facts), FINE) == ["412→38"]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("429", "429"),
        ("timeout", "timeout"),
        ("some.package.OddError", "OddError"),
        ("some.package.ErrorWithAVeryLongName", ""),
        ("", ""),
    ],
)
def test_kind_of_failure(kind: str, said: str):
    assert failure_kind(chat(**failed(kind))) == said
    named = ["gpt-4o", said] if said else ["gpt-4o"]
    assert call_facts(chat(**failed(kind)), FINE, merged=True) == named
    # Where the line is its own, the kind stands in its name.
    assert call_facts(chat(**failed(kind)), FINE) == []


def test_kind_is_that_of_red_spans_only():
    assert failure_kind(chat(**OK, **{semconv.ERROR_TYPE: "429"})) == ""


def test_loser_of_a_race_and_what_it_wasted():
    facts = {
        semconv.OUTCOME: semconv.OUTCOME_CANCELLED,
        semconv.CANCEL_REASON: semconv.REASON_RACE_LOST,
        semconv.TOKENS_WASTED: 18,
        semconv.TOKENS_ESTIMATED: True,
        semconv.WASTED_USD: 0.00006,
    }
    assert call_facts(chat(**facts), FINE) == ["lost", "wasted ~18", "$0.00006"]


def test_tokens_of_an_answer_that_was_no_use_are_said_once():
    facts = {**failed("bad_response"), **USED, semconv.TOKENS_WASTED: 450}
    assert call_facts(chat(**facts), FINE) == ["wasted 450"]


def test_sums_are_those_of_containers():
    used = {semconv.TOKENS_INPUT: 12_345, semconv.TOKENS_OUTPUT: 0, semconv.COST_USD: 1.5}
    assert sums(span("run r", **used), FINE) == ["12.3k→0", "$1.50"]
    assert sums(span("run r"), FINE) == []
    assert sums(chat(**used), FINE) == []
    assert sums(SpanRecord("t", "s", None, "GET /", 0, 1, attributes=used, scope="x"), FINE) == []


def test_nonsense_in_attributes_is_left_out():
    odd = {
        semconv.GEN_AI_USAGE_INPUT: "many",
        semconv.GEN_AI_USAGE_OUTPUT: True,
        semconv.ATTEMPT: "2",
        semconv.TOKENS_WASTED: 1.5,
        semconv.GEN_AI_TIME_TO_FIRST_CHUNK: -1,
    }
    assert call_facts(chat(**odd), FINE) == []
    (node,) = TraceTree([span("node a", events=(event(semconv.EVENT_HEDGE),))])
    assert notes_of([node]) == ()


def test_failed_call_is_overcome_where_its_node_went_on():
    def tree(outcome: str, kind: str) -> bool:
        records = [
            span("node a", "a", **{semconv.OUTCOME: outcome}),
            span("chat m", "b", "a", **failed(kind)),
        ]
        _, call = TraceTree(records)
        return was_overcome(call)

    assert tree(semconv.OUTCOME_OK, "429")
    assert not tree(semconv.OUTCOME_ERROR, "429")
    # Its kind is not known: the text has to tell.
    assert not tree(semconv.OUTCOME_OK, "")


def test_what_a_node_went_through():
    events = (
        event(semconv.EVENT_RETRY, **{semconv.ERROR_TYPE: "429", semconv.ATTEMPT: 1}),
        event(semconv.EVENT_RETRY, **{semconv.ERROR_TYPE: "429", semconv.ATTEMPT: 2}),
        event(
            semconv.EVENT_FALLBACK,
            **{
                semconv.ERROR_TYPE: "503",
                semconv.LLM_RESOURCE: "a",
                semconv.FALLBACK_TO: "b",
            },
        ),
        event(semconv.EVENT_HEDGE, **{semconv.LLM_RESOURCE: "b", semconv.LIMIT_S: 0.2}),
        event(semconv.EVENT_CIRCUIT_OPEN, **{semconv.LLM_RESOURCE: "a", semconv.LIMIT_S: 30.0}),
    )
    (node,) = TraceTree([span("node a", events=events)])
    assert retried_after(node) == "429 503"
    assert notes_of([node]) == (
        "fallback from a to b after 503",
        "hedged after 200 ms",
        "circuit of a opened for 30.0 s",
    )


def test_notes_are_few():
    hedges = (event(semconv.EVENT_HEDGE, **{semconv.LIMIT_S: float(n)}) for n in range(1, 99))
    (node,) = TraceTree([span("node a", events=tuple(hedges))])
    assert len(notes_of([node])) == 3


# --- waits for limits ---------------------------------------------------------------------

LIMIT = "llm:gpt-4o/requests_per_minute"
WAITED = {semconv.WAIT_LIMITER_S: 1.2, semconv.WAIT_LIMITER: LIMIT}


def test_wait_of_a_node():
    (node,) = TraceTree([span("node a", took_s=2, **WAITED)])
    assert notes_of([node]) == (f"waited 1.20 s for {LIMIT}",)


def test_short_waits_and_those_of_several_at_once_are_not_worth_a_line():
    for record in (
        span("node a", took_s=60, **WAITED),
        span("run r", took_s=2, **WAITED),
        span("graph g", took_s=2, **WAITED),
        span("node a", took_s=2, **{semconv.WAIT_LIMITER_S: 1.2}),
    ):
        (node,) = TraceTree([record])
        assert notes_of([node]) == ()


def test_what_the_map_says_its_items_do_not_repeat():
    other = {**WAITED, semconv.WAIT_LIMITER: "llm:x/max_concurrency"}
    records = [
        span("map m", "a", took_s=2, **WAITED, **{semconv.MAP_BOUND_BY: "rate_limit"}),
        span("item m", "b", "a", took_s=2, **WAITED),
        span("item m", "c", "a", took_s=2, **other),
    ]
    over, one, two = TraceTree(records)
    assert notes_of([over]) == (f"bound by {LIMIT}: items waited 1.20 s in all",)
    assert notes_of([one]) == ()
    assert notes_of([two]) == ("waited 1.20 s for llm:x/max_concurrency",)


def test_map_that_waited_and_was_bound_by_something_else():
    (over,) = TraceTree([span("map m", took_s=2, **WAITED, **{semconv.MAP_BOUND_BY: "straggler"})])
    assert notes_of([over]) == (f"items waited 1.20 s in all for {LIMIT}",)


# --- the heading --------------------------------------------------------------------------


def test_usage_of_a_run():
    used = {semconv.TOKENS_INPUT: 2_912, semconv.TOKENS_OUTPUT: 418, semconv.COST_USD: 0.0115}
    wasted = {semconv.TOKENS_WASTED: 18, semconv.WASTED_USD: 0.00006}
    one = [span("run r", "a", **used), span("chat m", "b", "a")]
    assert usage_line(TraceTree(one)) == "1 call, tokens 2,912 in, 418 out, $0.011"
    two = [span("run r", "a", **used, **wasted), span("chat m", "b", "a"), span("chat m", "c", "a")]
    line = "2 calls, tokens 2,912 in, 418 out, $0.011; wasted 18 tokens, $0.00006"
    assert usage_line(TraceTree(two)) == line
    two[0] = span("run r", "a", **used, **wasted, **{semconv.TOKENS_COMPLETE: False})
    assert usage_line(TraceTree(two)) == line.replace("wasted 18", "wasted ~18")


def test_usage_of_runs_inside_of_a_request():
    # The service's own span around them, as an instrumentation makes it, sums up nothing.
    used = {semconv.TOKENS_INPUT: 20, semconv.TOKENS_OUTPUT: 4}
    records = [
        span("POST /orders", "a"),
        span("middleware", "b", "a"),
        span("run r", "c", "b", **used),
        span("node n", "d", "c", **used),
        span("chat m", "e", "d"),
        span("run s", "f", "a", **used),
    ]
    assert usage_line(TraceTree(records)) == "1 call, tokens 40 in, 8 out"


def test_usage_that_is_not_known():
    assert usage_line(TraceTree([span("run r")])) == ""
    assert usage_line(TraceTree([])) == ""
    records = [span("run r", "a", **{semconv.TOKENS_COMPLETE: False}), span("chat m", "b", "a")]
    assert usage_line(TraceTree(records)) == "1 call, tokens 0 in, 0 out (not all counted)"
