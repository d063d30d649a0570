"""Traces to look at, with all the facts that the scheduler leaves on spans."""

from __future__ import annotations

import random
from typing import Any

from hush import semconv
from hush.insight.record import EventRecord, LinkRecord, SpanRecord
from hush.insight.tree import TraceTree

__all__ = ("ATTACK", "STACK", "TRACE", "TURNED", "Spans", "crawl", "large", "straggling")

TRACE = "0af7651916cd43dd8448eb211c80319c"
# Text that tries to leave its place, and text that turns what stands around it.
ATTACK = "</script><img src=x onerror=\"document.title='owned'\"><!--<script>"
TURNED = "abc\u202etxt.exe\u2066 \U0001f469\u200d\U0001f680 עברית \ud800 \x1b[31m"
BEGAN_MS = 1_795_550_400_000
MS = 1_000_000
STACK = """\
Traceback (most recent call last):
  File "crawl.py", line 31, in fetch
    response = await client.get(url)
  File "crawl.py", line 58, in get
    raise ConnectionResetError("connection reset by peer")
ConnectionResetError: connection reset by peer
"""


class Spans(list[SpanRecord]):
    """Spans of one trace, times in milliseconds after its start."""

    began_ms = BEGAN_MS

    def add(
        self,
        name: str,
        start: float,
        end: float,
        inside: SpanRecord | None = None,
        *,
        outcome: str | None = semconv.OUTCOME_OK,
        error: str = "",
        events: tuple[EventRecord, ...] = (),
        after: tuple[SpanRecord, ...] = (),
        facts: dict[str, Any] | None = None,
        kind: str = "internal",
        scope: str = "hush",
    ) -> SpanRecord:
        attributes = {**(facts or {})}
        if outcome is not None:
            attributes[semconv.OUTCOME] = outcome
        record = SpanRecord(
            trace_id=TRACE,
            span_id=f"{len(self) + 1:016x}",
            parent_id=None if inside is None else inside.span_id,
            name=name,
            start_ns=round((self.began_ms + start) * MS),
            end_ns=round((self.began_ms + end) * MS),
            status="error" if error else "unset",
            status_description=error or None,
            attributes=attributes,
            events=events,
            links=tuple(LinkRecord(TRACE, other.span_id) for other in after),
            kind=kind,
            scope=scope,
        )
        self.append(record)
        return record

    @property
    def tree(self) -> TraceTree:
        return TraceTree(self)


def at(ms: float) -> int:
    return round((BEGAN_MS + ms) * MS)


def crawl() -> TraceTree:
    """Some thirty spans: a slow item, one that failed, a handled one, a fan-in of three."""
    spans = Spans()
    run = spans.add(
        "run crawl",
        0,
        1242,
        kind="server",
        facts={
            semconv.RUN_ID: "d36416bf53844fec99a6b9991ce4678e",
            semconv.GRAPH_NAME: "crawl",
            semconv.NODE_COUNT: 14,
            semconv.PARTIAL_FAILURE: True,
            semconv.TOKENS_INPUT: 2912,
            semconv.TOKENS_OUTPUT: 418,
            semconv.COST_USD: 0.0123,
            semconv.SKIPPED: ["notify"],
            semconv.CRITICAL_PATH: [
                "sitemap 0.092s 7%",
                "pages (2 more items) 0.204s 16%",
                "pages[6].fetch 0.602s 48%",
                "report 0.020s 2%",
                "summary 0.318s 26%",
                "(3 shorter steps) 0.004s 0%",
            ],
        },
    )

    def node(name: str, start: float, end: float, inside: SpanRecord, **more: Any) -> SpanRecord:
        path = more.pop("path", f"crawl.{name}")
        facts = {
            semconv.NODE_NAME: name,
            semconv.NODE_PATH: path,
            semconv.NODE_KIND: more.pop("shape", "code"),
            semconv.RUN_S: (end - start) / 1e3,
            **more.pop("facts", {}),
        }
        return spans.add(
            f"{more.pop('prefix', 'node')} {name}", start, end, inside, facts=facts, **more
        )

    sitemap = node("sitemap", 1, 93, run)
    spans.add(
        "GET",
        6,
        88,
        sitemap,
        outcome=None,
        kind="client",
        scope="httpx",
        facts={"url.full": "https://example.org/sitemap.xml", "http.response.status_code": 200},
    )
    robots = node("robots", 1, 41, run)
    prices = node("prices", 94, 420, run, after=(sitemap,))
    pages = node(
        "pages",
        94,
        902,
        run,
        prefix="map",
        shape="map",
        after=(sitemap,),
        events=(EventRecord(semconv.EVENT_FIRST_FAILURE, at(201), {semconv.ITEM_INDEX: 3}),),
        facts={
            semconv.MAP_ITEMS: 10,
            semconv.MAP_MAX_CONCURRENCY: 4,
            semconv.MAP_OK: 8,
            semconv.MAP_FAILED: 1,
            semconv.MAP_HANDLED: 1,
            semconv.MAP_CANCELLED: 0,
            semconv.MAP_RETRIED: 1,
            semconv.MAP_PEAK_CONCURRENCY: 4,
            semconv.MAP_UTILISATION: 0.561,
            semconv.MAP_AT_LIMIT_S: 0.302,
            semconv.MAP_IDLE_TAIL_S: 0.497,
            semconv.MAP_RUN_P50_S: 0.102,
            semconv.MAP_RUN_P95_S: 0.361,
            semconv.MAP_RUN_MAX_S: 0.603,
            semconv.MAP_WAIT_P95_S: 0.204,
            semconv.MAP_WAIT_MAX_S: 0.205,
            semconv.MAP_SLOWEST: ["6:0.603", "7:0.292", "3:0.104", "4:0.103", "1:0.102"],
            semconv.MAP_LAST_INDEX: 6,
            semconv.MAP_BOUND_BY: semconv.BOUND_BY_STRAGGLER,
            semconv.PARTIAL_FAILURE: True,
        },
    )
    starts = {0: 95, 1: 95, 2: 95, 3: 95, 4: 197, 5: 198, 6: 298, 7: 201, 8: 302, 9: 405}
    ends = {0: 197, 1: 197, 2: 198, 3: 201, 4: 298, 5: 302, 6: 901, 7: 493, 8: 405, 9: 507}
    for i in range(10):
        start, end = starts[i], ends[i]
        more: dict[str, Any] = {}
        inner: dict[str, Any] = {}
        facts: dict[str, Any] = {
            semconv.ITEM_INDEX: i,
            semconv.ITEM_KEY: f"https://example.org/page/{i}",
            semconv.WAIT_SLOT_S: (start - 94) / 1e3,
            semconv.RUN_S: (end - start) / 1e3,
        }
        if i == 3:
            more = {"outcome": semconv.OUTCOME_HANDLED, "error": "503 Service Unavailable"}
            facts[semconv.ERROR_TYPE] = "handled"
        if i == 8:
            text = "ConnectionResetError: connection reset by peer"
            more = {"outcome": semconv.OUTCOME_ERROR, "error": f"fetch: {text}"}
            raised = EventRecord(
                semconv.EVENT_EXCEPTION,
                at(end - 1),
                {
                    semconv.EXCEPTION_TYPE: "ConnectionResetError",
                    semconv.EXCEPTION_MESSAGE: "connection reset by peer",
                    semconv.EXCEPTION_STACKTRACE: STACK,
                },
            )
            inner = {"outcome": semconv.OUTCOME_ERROR, "error": text, "events": (raised,)}
            facts[semconv.ERROR_TYPE] = "ConnectionResetError"
        if i == 7:
            retry = EventRecord(
                semconv.EVENT_RETRY,
                at(start + 101),
                {semconv.ATTEMPT: 1, semconv.ERROR_TYPE: "ReadTimeout", semconv.BACKOFF_S: 0.09},
            )
            inner = {"events": (retry,), "facts": {semconv.ATTEMPTS: 2, semconv.BACKOFF_S: 0.09}}
            facts[semconv.ATTEMPTS] = 2
            facts[semconv.BACKOFF_S] = 0.09
        item = spans.add("item pages", start, end, pages, facts=facts, **more)
        node("fetch", start + 0.4, end - 0.4, item, path=f"crawl.pages[{i}].fetch", **inner)
    report = node(
        "report",
        902.2,
        922,
        run,
        after=(robots, prices, pages),
        facts={
            semconv.FAN_IN_COUNT: 3,
            semconv.FAN_IN_MODE: semconv.FAN_IN_ALL,
            semconv.FAN_IN_LAST: "pages",
            semconv.FAN_IN_LEAD_S: 0.482,
            semconv.FAN_IN_SPREAD_S: 0.861,
            semconv.FAN_IN_ARRIVALS: ["robots +0.000000s", "prices +0.379000s", "pages +0.861000s"],
        },
    )
    summary = node(
        "summary",
        922.2,
        1241,
        run,
        shape="llm",
        after=(report,),
        facts={
            semconv.WAIT_LIMITER_S: 0.06,
            semconv.WAIT_LIMITER: "requests per minute",
            semconv.TOKENS_INPUT: 2912,
            semconv.TOKENS_OUTPUT: 418,
            semconv.COST_USD: 0.0123,
        },
    )
    spans.add(
        "chat gpt-5-mini",
        982.5,
        1240,
        summary,
        kind="client",
        facts={
            semconv.GEN_AI_OPERATION: "chat",
            semconv.GEN_AI_PROVIDER: "openai",
            semconv.GEN_AI_REQUEST_MODEL: "gpt-5-mini",
            semconv.GEN_AI_USAGE_INPUT: 2912,
            semconv.GEN_AI_USAGE_OUTPUT: 418,
            semconv.GEN_AI_TIME_TO_FIRST_CHUNK: 0.081,
            semconv.LLM_COST_USD: 0.0123,
            semconv.WAIT_LIMITER_S: 0.06,
            semconv.ATTEMPT: 1,
        },
    )
    return spans.tree


def large(count: int, limit: int = 16, seed: int = 4) -> TraceTree:
    """About so many spans: a map of items with a node each, some slow, failed or retried."""
    dice = random.Random(seed)
    spans = Spans()
    items = max(1, (count - 4) // 2)
    free = [1.0] * limit
    plan = []
    for i in range(items):
        slot = min(range(limit), key=free.__getitem__)
        took = dice.lognormvariate(4.0, 0.35) * (12 if i in {items // 3, items - 9} else 1)
        plan.append((free[slot], free[slot] + took))
        free[slot] += took + 0.01
    end = max(free)
    last = max(range(items), key=lambda i: plan[i][1])
    run = spans.add(
        "run index",
        0,
        end + 42,
        kind="server",
        facts={
            semconv.GRAPH_NAME: "index",
            semconv.CRITICAL_PATH: [
                f"documents ({items // limit} more items) {(plan[last][0]) / 1e3:.3f}s 90%",
                f"documents[{last}].embed {(plan[last][1] - plan[last][0]) / 1e3:.3f}s 8%",
                "store 0.040s 2%",
            ],
        },
    )
    whole = spans.add(
        "map documents",
        0.5,
        end,
        run,
        facts={
            semconv.NODE_NAME: "documents",
            semconv.NODE_PATH: "index.documents",
            semconv.MAP_ITEMS: items,
            semconv.MAP_MAX_CONCURRENCY: limit,
            semconv.MAP_PEAK_CONCURRENCY: limit,
            semconv.MAP_UTILISATION: 0.97,
            semconv.MAP_AT_LIMIT_S: end * 0.96 / 1e3,
            semconv.MAP_BOUND_BY: semconv.BOUND_BY_LIMIT,
        },
    )
    for i, (start, stop) in enumerate(plan):
        broken = i % 487 == 100
        handled = i % 331 == 50
        outcome = semconv.OUTCOME_ERROR if broken else semconv.OUTCOME_HANDLED if handled else "ok"
        error = "ValueError: no text in the document" if broken else "empty" if handled else ""
        item = spans.add(
            "item documents",
            start,
            stop,
            whole,
            outcome=outcome,
            error=error,
            facts={
                semconv.ITEM_INDEX: i,
                semconv.ITEM_KEY: f"doc-{i:05}.pdf",
                semconv.WAIT_SLOT_S: max(0.0, start - 0.5) / 1e3,
                semconv.WAIT_SOURCE_S: 0.0,
                semconv.RUN_S: (stop - start) / 1e3,
            },
        )
        spans.add(
            "node embed",
            start + 0.1,
            stop - 0.1,
            item,
            outcome="error" if broken else "ok",
            error=error if broken else "",
            events=(EventRecord("exception", at(stop - 1), {semconv.EXCEPTION_STACKTRACE: STACK}),)
            if broken
            else (),
            facts={
                semconv.NODE_NAME: "embed",
                semconv.NODE_PATH: f"index.documents[{i}].embed",
                semconv.NODE_KIND: "code",
                semconv.RUN_S: (stop - start - 0.2) / 1e3,
            },
        )
    spans.add(
        "node store",
        end + 0.5,
        end + 41,
        run,
        after=(whole,),
        facts={semconv.NODE_NAME: "store", semconv.NODE_PATH: "index.store"},
    )
    return spans.tree


def straggling(count: int = 300, guilty: int = 250) -> TraceTree:
    """Return a map of equal items, all at once, of which one takes forty times as long."""
    spans = Spans()
    end = 4_000
    run = spans.add("run prices", 0, end + 1, facts={semconv.GRAPH_NAME: "prices"})
    facts = {semconv.NODE_PATH: "prices.skus", semconv.MAP_ITEMS: count}
    facts |= {semconv.MAP_MAX_CONCURRENCY: count, semconv.MAP_PEAK_CONCURRENCY: count}
    over = spans.add("map skus", 0, end, run, facts=facts)
    for index in range(count):
        last = end if index == guilty else 100 + index % 7
        item = spans.add("item skus", 0, last, over, facts={semconv.ITEM_INDEX: index})
        path = {semconv.NODE_PATH: f"prices.skus[{index}].ask", semconv.NODE_NAME: "ask"}
        spans.add("node ask", 0, last, item, facts=path)
    return spans.tree
