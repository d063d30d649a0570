"""What a trace says of calls to language models: tokens, cost, tries, waits for limits.

A call is a span ``chat {model}``; what calls used is summed up on the spans around them.
Everything here is text for one line; this module knows nothing of terminals' widths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hush import semconv
from hush.insight.glyphs import FINE
from hush.insight.wording import format_cost, format_duration, format_tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hush.insight.glyphs import Glyphs
    from hush.insight.record import EventRecord, SpanRecord
    from hush.insight.tree import TraceTree, TreeNode

__all__ = (
    "call_facts",
    "failure_kind",
    "is_call",
    "notes_of",
    "retried_after",
    "sums",
    "usage_line",
    "was_overcome",
)

_TELLING_SHARE = 0.05  # a shorter part of a span's time is no wait worth a line
_LONGEST_KIND = 16
_MOST_NOTES = 3
_WAITING = frozenset({semconv.SPAN_MAP, semconv.SPAN_ITEM, semconv.SPAN_NODE, semconv.SPAN_CHAT})
_SUMMED = frozenset(
    {
        semconv.SPAN_RUN,
        semconv.SPAN_GRAPH,
        semconv.SPAN_MAP,
        semconv.SPAN_ITEM,
        semconv.SPAN_LOOP,
        semconv.SPAN_ITERATION,
        semconv.SPAN_NODE,
    }
)


def is_call(record: SpanRecord) -> bool:
    """Say whether a span is one of our calls to a language model."""
    return record.prefix == semconv.SPAN_CHAT


def failure_kind(record: SpanRecord) -> str:
    """Return the kind of a red call in a word: ``429``, ``timeout``; empty where unknown."""
    if not record.is_red:
        return ""
    kind = str(record.attributes.get(semconv.ERROR_TYPE, "")).rpartition(".")[2]
    return kind if len(kind) <= _LONGEST_KIND else ""


def was_overcome(node: TreeNode) -> bool:
    """Say whether a call failed of a known kind, and who called went on nevertheless."""
    calm = node.parent is not None and node.parent.record.outcome == semconv.OUTCOME_OK
    return calm and is_call(node.record) and bool(failure_kind(node.record))


def call_facts(record: SpanRecord, glyphs: Glyphs, *, merged: bool = False) -> list[str]:
    """Say what is to be known of a call, the most telling first.

    Args:
        record: a call.
        glyphs: says how "to" is written.
        merged: whether the call shares the line of another span, which names neither the
            model nor what went wrong.

    Returns:
        Texts not yet made safe, such as ``["#2", "412→38", "$0.0012"]``.
    """
    facts = []
    model = record.name.partition(" ")[2]
    if merged:
        facts += [model, *filter(None, [failure_kind(record)])]
    resource = record.attributes.get(semconv.LLM_RESOURCE)
    if resource and resource != model:
        facts.append(f"({resource})")
    attempt = record.attributes.get(semconv.ATTEMPT)
    if isinstance(attempt, int) and attempt > 1:
        facts.append(f"#{attempt}")
    if record.attributes.get(semconv.LLM_HEDGE):
        facts.append("hedge")
    if record.attributes.get(semconv.CANCEL_REASON) == semconv.REASON_RACE_LOST:
        facts.append("lost")
    told = _tokens(record, semconv.GEN_AI_USAGE_INPUT, semconv.GEN_AI_USAGE_OUTPUT, glyphs)
    if told and not _number(record, semconv.TOKENS_WASTED):
        facts.append(told)
        facts += _cost(record, semconv.LLM_COST_USD)
    facts += _wasted(record)
    if first_s := record.seconds(semconv.GEN_AI_TIME_TO_FIRST_CHUNK):
        facts.append(f"first {format_duration(first_s, glyphs)}")
    return facts


def sums(record: SpanRecord, glyphs: Glyphs) -> list[str]:
    """Say what the calls inside a span used.

    Args:
        record: any span.
        glyphs: says how "to" is written.

    Returns:
        Tokens in and out, and the cost where it is known; empty where there were no calls.
    """
    if record.prefix not in _SUMMED:
        return []
    told = _tokens(record, semconv.TOKENS_INPUT, semconv.TOKENS_OUTPUT, glyphs)
    return [told, *_cost(record, semconv.COST_USD)] if told else []


def retried_after(node: TreeNode) -> str:
    """Return the kinds of failure after which a node tried again: ``429 500``."""
    kinds = [
        str(event.attributes.get(semconv.ERROR_TYPE, "")).rpartition(".")[2]
        for event in node.record.events
        if event.name in {semconv.EVENT_RETRY, semconv.EVENT_FALLBACK}
    ]
    return " ".join(filter(None, dict.fromkeys(kinds)))


def usage_line(tree: TraceTree) -> str:
    """Say in one line what all calls of a trace used.

    Args:
        tree: of any size.

    Returns:
        For example ``12 calls, tokens 2,912 in, 418 out, $0.012; wasted ~18 tokens, $0.0001``;
        empty where no model was called.
    """
    calls = sum(is_call(node.record) for node in tree)
    records = list(_outermost(tree.roots))
    counts = [
        [_number(record, name) for record in records]
        for name in (semconv.TOKENS_INPUT, semconv.TOKENS_OUTPUT, semconv.TOKENS_WASTED)
    ]
    into, out, wasted = (sum(filter(None, numbers)) for numbers in counts)
    if not calls and not into and not out:
        return ""
    parts = [f"{calls} call{'' if calls == 1 else 's'}"] if calls else []
    parts.append(f"tokens {into:,} in, {out:,} out")
    cost = [usd for record in records if (usd := _dollars(record, semconv.COST_USD)) is not None]
    if cost:
        parts.append(format_cost(sum(cost)))
    line = ", ".join(parts)
    partial = any(record.attributes.get(semconv.TOKENS_COMPLETE) is False for record in records)
    if wasted:
        lost = [usd for r in records if (usd := _dollars(r, semconv.WASTED_USD)) is not None]
        about = "~" if partial else ""
        line += f"; wasted {about}{wasted:,} tokens"
        line += f", {format_cost(sum(lost))}" if lost else ""
    return f"{line} (not all counted)" if partial and not wasted else line


def _outermost(roots: Iterable[TreeNode]) -> Iterator[SpanRecord]:
    """Yield the spans that sum up all calls below them: runs, also those inside of a request."""
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        if node.record.prefix in _SUMMED:
            yield node.record
        else:
            waiting += node.children


def notes_of(chain: Iterable[TreeNode], glyphs: Glyphs = FINE) -> tuple[str, ...]:
    """Say what happened to a span that its own line and its bar do not tell.

    Args:
        chain: the span and those that share its line.
        glyphs: says how micro is written.

    Returns:
        Waits for a limiter, fallbacks, hedges and opened circuits, not yet made safe; of
        many only the first.
    """
    said: list[str] = []
    for node in chain:
        said += _wait(node, glyphs)
        for event in node.record.events:
            said += _happened(event, glyphs)
    return tuple(dict.fromkeys(said))[:_MOST_NOTES]


def _happened(event: EventRecord, glyphs: Glyphs) -> Iterator[str]:
    facts = event.attributes
    resource = facts.get(semconv.LLM_RESOURCE, "")
    if event.name == semconv.EVENT_FALLBACK:
        kind = str(facts.get(semconv.ERROR_TYPE, "")).rpartition(".")[2]
        why = f" after {kind}" if kind else ""
        yield f"fallback from {resource} to {facts.get(semconv.FALLBACK_TO, '')}{why}"
    limit = facts.get(semconv.LIMIT_S)
    if not isinstance(limit, int | float):
        return
    if event.name == semconv.EVENT_HEDGE:
        yield f"hedged after {format_duration(limit, glyphs)}"
    elif event.name == semconv.EVENT_CIRCUIT_OPEN:
        yield f"circuit of {resource} opened for {format_duration(limit, glyphs)}"


def _wait(node: TreeNode, glyphs: Glyphs) -> Iterator[str]:
    record = node.record
    waited_s = record.seconds(semconv.WAIT_LIMITER_S)
    limiter = record.attributes.get(semconv.WAIT_LIMITER)
    if record.prefix not in _WAITING or waited_s < _TELLING_SHARE * record.duration_s:
        return
    if not limiter:
        return
    waited = format_duration(waited_s, glyphs)
    if record.prefix != semconv.SPAN_MAP:
        # What the map has told is not repeated by each of its items.
        around = node.parent
        while around is not None:
            told = around.record.attributes.get(semconv.WAIT_LIMITER) == limiter
            if told and around.record.prefix == semconv.SPAN_MAP:
                return
            around = around.parent
        yield f"waited {waited} for {limiter}"
    elif record.attributes.get(semconv.MAP_BOUND_BY) == semconv.BOUND_BY_RATE_LIMIT:
        yield f"bound by {limiter}: items waited {waited} in all"
    else:
        yield f"items waited {waited} in all for {limiter}"


def _number(record: SpanRecord, name: str) -> int | None:
    value = record.attributes.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _dollars(record: SpanRecord, name: str) -> float | None:
    value = record.attributes.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _tokens(record: SpanRecord, name_in: str, name_out: str, glyphs: Glyphs) -> str:
    into, out = _number(record, name_in), _number(record, name_out)
    if not into and not out:
        return ""
    return f"{format_tokens(into or 0)}{glyphs.to}{format_tokens(out or 0)}"


def _cost(record: SpanRecord, name: str) -> list[str]:
    usd = _dollars(record, name)
    return [] if usd is None else [format_cost(usd)]


def _wasted(record: SpanRecord) -> list[str]:
    wasted = _number(record, semconv.TOKENS_WASTED)
    if not wasted:
        return []
    about = "~" if record.attributes.get(semconv.TOKENS_ESTIMATED) else ""
    return [f"wasted {about}{format_tokens(wasted)}", *_cost(record, semconv.WASTED_USD)]
