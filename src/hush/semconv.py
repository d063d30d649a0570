"""Every span, attribute, event and metric name that Hush emits, and nothing else.

Whoever looks at a run in Jaeger, Prometheus or a log search finds these names; a
name that is written anywhere else in the code is a mistake. Names follow the
OpenTelemetry naming rules: lower case, dotted namespaces, units in metric metadata.
"""

from __future__ import annotations

from typing import Final

__all__ = (
    "ABANDONED",
    "ATTEMPT",
    "ATTEMPTS",
    "BACKOFF_S",
    "CANCEL_CAUSE",
    "CANCEL_REASON",
    "ERROR_TYPE",
    "ERROR_TYPE_HANDLED",
    "EVENT_CANCELLED",
    "EVENT_EXCEPTION",
    "EVENT_FIRST_FAILURE",
    "EVENT_RETRY",
    "EVENT_TIMEOUT",
    "EXCEPTION_MESSAGE",
    "EXCEPTION_STACKTRACE",
    "EXCEPTION_TYPE",
    "FAILED_NODE",
    "GRAPH_NAME",
    "ITEM_INDEX",
    "ITEM_KEY",
    "ITERATION_INDEX",
    "LIMIT_S",
    "LINKS_DROPPED",
    "LINK_LIMIT",
    "LOOP_EXHAUSTED",
    "LOOP_ITERATIONS",
    "MAP_CANCELLED",
    "MAP_FAILED",
    "MAP_HANDLED",
    "MAP_ITEMS",
    "MAP_MAX_CONCURRENCY",
    "MAP_OK",
    "MAP_PEAK_CONCURRENCY",
    "MAP_RETRIED",
    "METRIC_THREADS_ABANDONED",
    "NODE_COUNT",
    "NODE_KIND",
    "NODE_NAME",
    "NODE_PATH",
    "OUTCOME",
    "OUTCOMES",
    "OUTCOME_CANCELLED",
    "OUTCOME_ERROR",
    "OUTCOME_HANDLED",
    "OUTCOME_OK",
    "OUTCOME_TIMEOUT",
    "PARTIAL_FAILURE",
    "REASON_EXTERNAL",
    "REASON_FAIL_FAST",
    "REASON_RACE_LOST",
    "REASON_TIMEOUT",
    "REASON_TOLERANCE_EXCEEDED",
    "REQUEST_ID",
    "RUN_ID",
    "RUN_S",
    "SESSION_ID",
    "SKIPPED",
    "SKIPPED_COUNT",
    "SKIPPED_LIMIT",
    "SPAN_ATTEMPT",
    "SPAN_GRAPH",
    "SPAN_ITEM",
    "SPAN_ITERATION",
    "SPAN_LOOP",
    "SPAN_MAP",
    "SPAN_NODE",
    "SPAN_RUN",
    "TEXT_LIMIT",
    "USER_ID",
    "WAIT_LIMITER_S",
    "WAIT_SLOT_S",
    "WAIT_SOURCE_S",
    "WASTED_S",
)

# --- span names: "<prefix> <graph or node>", low-cardinality -----------------------
SPAN_RUN: Final = "run"
SPAN_NODE: Final = "node"
SPAN_GRAPH: Final = "graph"
SPAN_MAP: Final = "map"
SPAN_ITEM: Final = "item"
SPAN_LOOP: Final = "loop"
SPAN_ITERATION: Final = "iteration"
SPAN_ATTEMPT: Final = "attempt"

# --- on every span -----------------------------------------------------------------
OUTCOME: Final = "hush.outcome"
ABANDONED: Final = "hush.abandoned"
SKIPPED: Final = "hush.skipped"
SKIPPED_COUNT: Final = "hush.skipped.count"
PARTIAL_FAILURE: Final = "hush.partial_failure"
ERROR_TYPE: Final = "error.type"
LINKS_DROPPED: Final = "hush.links.dropped"

OUTCOME_OK: Final = "ok"
OUTCOME_HANDLED: Final = "handled"
OUTCOME_ERROR: Final = "error"
OUTCOME_TIMEOUT: Final = "timeout"
OUTCOME_CANCELLED: Final = "cancelled"
OUTCOMES: Final = (
    OUTCOME_OK,
    OUTCOME_HANDLED,
    OUTCOME_ERROR,
    OUTCOME_TIMEOUT,
    OUTCOME_CANCELLED,
)

# --- cancelled spans ----------------------------------------------------------------
CANCEL_REASON: Final = "hush.cancel.reason"
CANCEL_CAUSE: Final = "hush.cancel.cause"
WASTED_S: Final = "hush.wasted_s"

REASON_FAIL_FAST: Final = "fail_fast"
REASON_TOLERANCE_EXCEEDED: Final = "tolerance_exceeded"
REASON_RACE_LOST: Final = "race_lost"
REASON_TIMEOUT: Final = "timeout"
REASON_EXTERNAL: Final = "external"

# --- run ------------------------------------------------------------------------------
RUN_ID: Final = "hush.run.id"
REQUEST_ID: Final = "hush.request.id"
GRAPH_NAME: Final = "hush.graph.name"
USER_ID: Final = "user.id"
SESSION_ID: Final = "session.id"
FAILED_NODE: Final = "hush.failed.node"
NODE_COUNT: Final = "hush.node.count"

# --- node ------------------------------------------------------------------------------
NODE_NAME: Final = "hush.node.name"
NODE_PATH: Final = "hush.node.path"
NODE_KIND: Final = "hush.node.kind"
ATTEMPTS: Final = "hush.attempts"
WAIT_LIMITER_S: Final = "hush.wait.limiter_s"
RUN_S: Final = "hush.run_s"
BACKOFF_S: Final = "hush.backoff_s"

# --- map and item -------------------------------------------------------------------------
MAP_ITEMS: Final = "hush.map.items"
MAP_MAX_CONCURRENCY: Final = "hush.map.max_concurrency"
MAP_OK: Final = "hush.map.ok"
MAP_FAILED: Final = "hush.map.failed"
MAP_HANDLED: Final = "hush.map.handled"
MAP_CANCELLED: Final = "hush.map.cancelled"
MAP_RETRIED: Final = "hush.map.retried"
MAP_PEAK_CONCURRENCY: Final = "hush.map.peak_concurrency"
ITEM_INDEX: Final = "hush.item.index"
ITEM_KEY: Final = "hush.item.key"
WAIT_SLOT_S: Final = "hush.wait.slot_s"
WAIT_SOURCE_S: Final = "hush.wait.source_s"

# --- loop and iteration ------------------------------------------------------------------
LOOP_ITERATIONS: Final = "hush.loop.iterations"
LOOP_EXHAUSTED: Final = "hush.loop.exhausted"
ITERATION_INDEX: Final = "hush.iteration.index"

# --- attempt --------------------------------------------------------------------------------
ATTEMPT: Final = "hush.attempt"

# --- events -----------------------------------------------------------------------------------
EVENT_RETRY: Final = "hush.retry"
EVENT_TIMEOUT: Final = "hush.timeout"
EVENT_CANCELLED: Final = "hush.cancelled"
EVENT_FIRST_FAILURE: Final = "hush.first_failure"
EVENT_EXCEPTION: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
LIMIT_S: Final = "hush.limit_s"

# --- metrics ------------------------------------------------------------------------------------
METRIC_THREADS_ABANDONED: Final = "hush.threads.abandoned"

ERROR_TYPE_HANDLED: Final = "handled"

TEXT_LIMIT: Final = 4_096
"""Longest text on a span, in characters; OpenTelemetry itself sets no limit."""
LINK_LIMIT: Final = 32
"""Most links of one span; the rest is counted in ``hush.links.dropped``."""
SKIPPED_LIMIT: Final = 32
"""Most names in ``hush.skipped``."""
