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
    "BOUND_BY_LIMIT",
    "BOUND_BY_NONE",
    "BOUND_BY_RATE_LIMIT",
    "BOUND_BY_SOURCE",
    "BOUND_BY_STRAGGLER",
    "CANCEL_CAUSE",
    "CANCEL_REASON",
    "CAPTURE_VARIABLE",
    "CLOCK_SKEW_S",
    "CONTENT",
    "COST_USD",
    "CPU_S",
    "CRITICAL_PATH",
    "ERROR_TYPE",
    "ERROR_TYPE_HANDLED",
    "EVENT_CANCELLED",
    "EVENT_CIRCUIT_OPEN",
    "EVENT_EXCEPTION",
    "EVENT_FALLBACK",
    "EVENT_FIRST_CHUNK",
    "EVENT_FIRST_FAILURE",
    "EVENT_GEN_AI_DETAILS",
    "EVENT_HEDGE",
    "EVENT_LOOP_BLOCKED",
    "EVENT_RETRY",
    "EVENT_TIMEOUT",
    "EVENT_WORKER_LOST",
    "EXCEPTION_MESSAGE",
    "EXCEPTION_STACKTRACE",
    "EXCEPTION_TYPE",
    "EXPORT_REASON",
    "EXPORT_SIGNAL",
    "FAILED_NODE",
    "FALLBACK_TO",
    "FAN_IN_ALL",
    "FAN_IN_ANY",
    "FAN_IN_ARRIVALS",
    "FAN_IN_CANCELLED",
    "FAN_IN_COUNT",
    "FAN_IN_FIRST",
    "FAN_IN_LAST",
    "FAN_IN_LATE",
    "FAN_IN_LEAD_S",
    "FAN_IN_MODE",
    "FAN_IN_QUORUM",
    "FAN_IN_SPREAD_S",
    "GEN_AI_CHOICE_COUNT",
    "GEN_AI_FINISH_REASONS",
    "GEN_AI_FREQUENCY_PENALTY",
    "GEN_AI_INPUT_MESSAGES",
    "GEN_AI_MAX_TOKENS",
    "GEN_AI_OPERATION",
    "GEN_AI_OPERATION_CHAT",
    "GEN_AI_OUTPUT_MESSAGES",
    "GEN_AI_OUTPUT_TYPE",
    "GEN_AI_PRESENCE_PENALTY",
    "GEN_AI_PROVIDER",
    "GEN_AI_REQUEST_MODEL",
    "GEN_AI_RESPONSE_ID",
    "GEN_AI_RESPONSE_MODEL",
    "GEN_AI_SEED",
    "GEN_AI_STOP_SEQUENCES",
    "GEN_AI_STREAM",
    "GEN_AI_TEMPERATURE",
    "GEN_AI_TIME_TO_FIRST_CHUNK",
    "GEN_AI_TOKEN_TYPE",
    "GEN_AI_TOOL_DEFINITIONS",
    "GEN_AI_TOP_P",
    "GEN_AI_USAGE_CACHED",
    "GEN_AI_USAGE_INPUT",
    "GEN_AI_USAGE_OUTPUT",
    "GEN_AI_USAGE_REASONING",
    "GRAPH_NAME",
    "HOST_LOAD",
    "HOST_NAME",
    "IDEMPOTENCY_KEY",
    "ITEM_INDEX",
    "ITEM_KEY",
    "ITERATION_INDEX",
    "LIMITER_THREADS",
    "LIMIT_S",
    "LINKS_DROPPED",
    "LINK_LIMIT",
    "LLM_COST_USD",
    "LLM_HEDGE",
    "LLM_RESOURCE",
    "LOG_EVENT",
    "LOG_LEVEL",
    "LOG_LOGGER",
    "LOG_SPAN_ID",
    "LOG_STACK",
    "LOG_TIMESTAMP",
    "LOG_TRACE_ID",
    "LOOP_BLOCKED_AT",
    "LOOP_BLOCKED_S",
    "LOOP_EXHAUSTED",
    "LOOP_ITERATIONS",
    "MAP_AT_LIMIT_S",
    "MAP_BOUND_BY",
    "MAP_CANCELLED",
    "MAP_FAILED",
    "MAP_HANDLED",
    "MAP_IDLE_TAIL_S",
    "MAP_ITEMS",
    "MAP_LAST_INDEX",
    "MAP_MAX_CONCURRENCY",
    "MAP_OK",
    "MAP_PEAK_CONCURRENCY",
    "MAP_RETRIED",
    "MAP_RUN_MAX_S",
    "MAP_RUN_P50_S",
    "MAP_RUN_P95_S",
    "MAP_SLOWEST",
    "MAP_SPANS_OMITTED",
    "MAP_SPANS_PINNED",
    "MAP_UTILISATION",
    "MAP_WAIT_MAX_S",
    "MAP_WAIT_P95_S",
    "METRIC_CANCELLATIONS",
    "METRIC_EXPORT_DROPPED",
    "METRIC_EXPORT_FAILURES",
    "METRIC_EXPORT_HELD_RUNS",
    "METRIC_EXPORT_OLDEST_AGE",
    "METRIC_EXPORT_QUEUED",
    "METRIC_EXPORT_SENT",
    "METRIC_EXPORT_SPOOLED_BYTES",
    "METRIC_FAN_IN_LEAD",
    "METRIC_FAN_IN_OLDEST_WAIT",
    "METRIC_FAN_IN_RELEASES",
    "METRIC_FAN_IN_SPREAD",
    "METRIC_GEN_AI_DURATION",
    "METRIC_GEN_AI_TIME_TO_FIRST_CHUNK",
    "METRIC_GEN_AI_TOKENS",
    "METRIC_ITEM_DURATION",
    "METRIC_ITEM_WAIT",
    "METRIC_LIMITER_WAIT",
    "METRIC_LLM_COST",
    "METRIC_LLM_COST_WASTED",
    "METRIC_LLM_TOKENS_WASTED",
    "METRIC_LOOP_BLOCKED",
    "METRIC_MAPS",
    "METRIC_NODE_DURATION",
    "METRIC_RETRIES",
    "METRIC_RUN_ACTIVE",
    "METRIC_RUN_DURATION",
    "METRIC_RUN_PARTIAL_FAILURES",
    "METRIC_SLOTS_LIMIT",
    "METRIC_SLOTS_USED",
    "METRIC_THREADS_ABANDONED",
    "NODE_COUNT",
    "NODE_KIND",
    "NODE_NAME",
    "NODE_PATH",
    "OTHER",
    "OTHER_ERROR",
    "OUTCOME",
    "OUTCOMES",
    "OUTCOME_CANCELLED",
    "OUTCOME_ERROR",
    "OUTCOME_HANDLED",
    "OUTCOME_OK",
    "OUTCOME_TIMEOUT",
    "PARTIAL_FAILURE",
    "PROCESS_PID",
    "REASON_EXTERNAL",
    "REASON_FAIL_FAST",
    "REASON_RACE_LOST",
    "REASON_TIMEOUT",
    "REASON_TOLERANCE_EXCEEDED",
    "REQUEST_ID",
    "RUN_ID",
    "RUN_OUTCOME",
    "RUN_S",
    "SERVER_ADDRESS",
    "SERVER_PORT",
    "SESSION_ID",
    "SKIPPED",
    "SKIPPED_COUNT",
    "SKIPPED_LIMIT",
    "SPANS_OMITTED",
    "SPAN_ATTEMPT",
    "SPAN_CHAT",
    "SPAN_GRAPH",
    "SPAN_ITEM",
    "SPAN_ITERATION",
    "SPAN_LOOP",
    "SPAN_MAP",
    "SPAN_NODE",
    "SPAN_RUN",
    "TEXT_LIMIT",
    "TOKENS_COMPLETE",
    "TOKENS_ESTIMATED",
    "TOKENS_INPUT",
    "TOKENS_OUTPUT",
    "TOKENS_WASTED",
    "USER_ID",
    "WAIT_ANSWER_S",
    "WAIT_CHUNK_S",
    "WAIT_LIMITER",
    "WAIT_LIMITER_S",
    "WAIT_LOOP_S",
    "WAIT_QUEUE_S",
    "WAIT_SLOT_S",
    "WAIT_SOURCE_S",
    "WASTED_S",
    "WASTED_USD",
    "WORKER_NAME",
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
SPAN_CHAT: Final = "chat"

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
RUN_OUTCOME: Final = "hush.run.outcome"
"""As ``hush.outcome``, on no other span: stores that match names and tags each with any span of
a trace find failed runs by it, and not runs in which something failed."""
NODE_COUNT: Final = "hush.node.count"
CRITICAL_PATH: Final = "hush.critical_path"
SPANS_OMITTED: Final = "hush.spans_omitted"
CPU_S: Final = "hush.cpu_s"
HOST_LOAD: Final = "hush.host.load"

# --- node ------------------------------------------------------------------------------
NODE_NAME: Final = "hush.node.name"
NODE_PATH: Final = "hush.node.path"
NODE_KIND: Final = "hush.node.kind"
ATTEMPTS: Final = "hush.attempts"
WAIT_LIMITER_S: Final = "hush.wait.limiter_s"
WAIT_LIMITER: Final = "hush.wait.limiter"
LIMITER_THREADS: Final = "threads"
RUN_S: Final = "hush.run_s"
BACKOFF_S: Final = "hush.backoff_s"
LOOP_BLOCKED_S: Final = "hush.loop_blocked_s"
WAIT_LOOP_S: Final = "hush.wait.loop_s"
LOOP_BLOCKED_AT: Final = "hush.loop_blocked.at"

# --- fan-in: a node that waited for several -------------------------------------------------
FAN_IN_COUNT: Final = "hush.fan_in.count"
FAN_IN_MODE: Final = "hush.fan_in.mode"
FAN_IN_LAST: Final = "hush.fan_in.last"
FAN_IN_LEAD_S: Final = "hush.fan_in.lead_s"
FAN_IN_SPREAD_S: Final = "hush.fan_in.spread_s"
FAN_IN_ARRIVALS: Final = "hush.fan_in.arrivals"
FAN_IN_LATE: Final = "hush.fan_in.late"
FAN_IN_CANCELLED: Final = "hush.fan_in.cancelled"

FAN_IN_ALL: Final = "all"
FAN_IN_ANY: Final = "any"
FAN_IN_QUORUM: Final = "quorum"
FAN_IN_FIRST: Final = "first"

# --- map and item -------------------------------------------------------------------------
MAP_ITEMS: Final = "hush.map.items"
MAP_MAX_CONCURRENCY: Final = "hush.map.max_concurrency"
MAP_OK: Final = "hush.map.ok"
MAP_FAILED: Final = "hush.map.failed"
MAP_HANDLED: Final = "hush.map.handled"
MAP_CANCELLED: Final = "hush.map.cancelled"
MAP_RETRIED: Final = "hush.map.retried"
MAP_PEAK_CONCURRENCY: Final = "hush.map.peak_concurrency"
MAP_BOUND_BY: Final = "hush.map.bound_by"
MAP_UTILISATION: Final = "hush.map.utilisation"
MAP_AT_LIMIT_S: Final = "hush.map.at_limit_s"
MAP_IDLE_TAIL_S: Final = "hush.map.idle_tail_s"
MAP_RUN_P50_S: Final = "hush.map.run_p50_s"
MAP_RUN_P95_S: Final = "hush.map.run_p95_s"
MAP_RUN_MAX_S: Final = "hush.map.run_max_s"
MAP_WAIT_P95_S: Final = "hush.map.wait_p95_s"
MAP_WAIT_MAX_S: Final = "hush.map.wait_max_s"
MAP_SLOWEST: Final = "hush.map.slowest"
MAP_LAST_INDEX: Final = "hush.map.last_index"
MAP_SPANS_OMITTED: Final = "hush.map.spans_omitted"
MAP_SPANS_PINNED: Final = "hush.map.spans_pinned"

BOUND_BY_LIMIT: Final = "limit"
BOUND_BY_STRAGGLER: Final = "straggler"
BOUND_BY_SOURCE: Final = "source"
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
IDEMPOTENCY_KEY: Final = "hush.idempotency_key"

# --- an attempt in a worker: see hush.runtime.remote.passage ------------------------------------
WAIT_QUEUE_S: Final = "hush.wait.queue_s"
WAIT_CHUNK_S: Final = "hush.wait.chunk_s"
WAIT_ANSWER_S: Final = "hush.wait.answer_s"
CLOCK_SKEW_S: Final = "hush.clock_skew_s"
# On the resource, beside host.name and process.pid, which are OpenTelemetry's.
WORKER_NAME: Final = "hush.worker.name"
HOST_NAME: Final = "host.name"
PROCESS_PID: Final = "process.pid"

# --- calls to language models ------------------------------------------------------------------
LLM_RESOURCE: Final = "hush.llm.resource"
LLM_HEDGE: Final = "hush.llm.hedge"
LLM_COST_USD: Final = "hush.llm.cost_usd"

# Sums over nodes, items, maps, graphs and runs; never gen_ai.usage.* there, or a backend that
# sums those would count every token once for each level.
TOKENS_INPUT: Final = "hush.tokens.input"
TOKENS_OUTPUT: Final = "hush.tokens.output"
TOKENS_COMPLETE: Final = "hush.tokens.complete"
TOKENS_WASTED: Final = "hush.tokens.wasted"
TOKENS_ESTIMATED: Final = "hush.tokens.estimated"
COST_USD: Final = "hush.cost_usd"
WASTED_USD: Final = "hush.wasted_usd"

BOUND_BY_RATE_LIMIT: Final = "rate_limit"

# OpenTelemetry's conventions for generative AI (open-telemetry/semantic-conventions-genai,
# status: development), pinned here as of semantic conventions 1.41 and genai 0.1.
GEN_AI_OPERATION: Final = "gen_ai.operation.name"
GEN_AI_OPERATION_CHAT: Final = "chat"
GEN_AI_PROVIDER: Final = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_TEMPERATURE: Final = "gen_ai.request.temperature"
GEN_AI_TOP_P: Final = "gen_ai.request.top_p"
GEN_AI_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
GEN_AI_SEED: Final = "gen_ai.request.seed"
GEN_AI_STREAM: Final = "gen_ai.request.stream"
GEN_AI_CHOICE_COUNT: Final = "gen_ai.request.choice.count"
GEN_AI_FREQUENCY_PENALTY: Final = "gen_ai.request.frequency_penalty"
GEN_AI_PRESENCE_PENALTY: Final = "gen_ai.request.presence_penalty"
GEN_AI_STOP_SEQUENCES: Final = "gen_ai.request.stop_sequences"
GEN_AI_OUTPUT_TYPE: Final = "gen_ai.output.type"
GEN_AI_RESPONSE_ID: Final = "gen_ai.response.id"
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GEN_AI_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
GEN_AI_TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
GEN_AI_USAGE_INPUT: Final = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT: Final = "gen_ai.usage.output_tokens"
GEN_AI_USAGE_CACHED: Final = "gen_ai.usage.cache_read.input_tokens"
GEN_AI_USAGE_REASONING: Final = "gen_ai.usage.reasoning.output_tokens"
GEN_AI_TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105  # an attribute's name
GEN_AI_INPUT_MESSAGES: Final = "gen_ai.input.messages"
GEN_AI_OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
GEN_AI_TOOL_DEFINITIONS: Final = "gen_ai.tool.definitions"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"

CONTENT: Final = frozenset((GEN_AI_INPUT_MESSAGES, GEN_AI_OUTPUT_MESSAGES, GEN_AI_TOOL_DEFINITIONS))
"""What is private: it leaves the process only where CAPTURE_VARIABLE asks for it."""
CAPTURE_VARIABLE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
EVENT_GEN_AI_DETAILS: Final = "gen_ai.client.inference.operation.details"

# --- events -----------------------------------------------------------------------------------
EVENT_RETRY: Final = "hush.retry"
EVENT_TIMEOUT: Final = "hush.timeout"
EVENT_CANCELLED: Final = "hush.cancelled"
EVENT_FIRST_FAILURE: Final = "hush.first_failure"
EVENT_FALLBACK: Final = "hush.fallback"
FALLBACK_TO: Final = "hush.fallback.to"
EVENT_HEDGE: Final = "hush.hedge"
EVENT_CIRCUIT_OPEN: Final = "hush.circuit_open"
EVENT_LOOP_BLOCKED: Final = "hush.loop_blocked"
EVENT_WORKER_LOST: Final = "hush.worker_lost"
EVENT_FIRST_CHUNK: Final = "gen_ai.first_chunk"
EVENT_EXCEPTION: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
LIMIT_S: Final = "hush.limit_s"

# --- metrics ------------------------------------------------------------------------------------
METRIC_THREADS_ABANDONED: Final = "hush.threads.abandoned"
METRIC_FAN_IN_OLDEST_WAIT: Final = "hush.fan_in.oldest_wait"
METRIC_RUN_DURATION: Final = "hush.run.duration"
METRIC_RUN_ACTIVE: Final = "hush.run.active"
METRIC_RUN_PARTIAL_FAILURES: Final = "hush.run.partial_failures"
METRIC_NODE_DURATION: Final = "hush.node.duration"
METRIC_ITEM_DURATION: Final = "hush.item.duration"
METRIC_ITEM_WAIT: Final = "hush.item.wait"
METRIC_SLOTS_USED: Final = "hush.slots.used"
METRIC_SLOTS_LIMIT: Final = "hush.slots.limit"
METRIC_MAPS: Final = "hush.maps"
METRIC_FAN_IN_SPREAD: Final = "hush.fan_in.spread"
METRIC_FAN_IN_RELEASES: Final = "hush.fan_in.releases"
METRIC_FAN_IN_LEAD: Final = "hush.fan_in.lead"
METRIC_RETRIES: Final = "hush.retries"
METRIC_CANCELLATIONS: Final = "hush.cancellations"
METRIC_LOOP_BLOCKED: Final = "hush.loop.blocked"
METRIC_LIMITER_WAIT: Final = "hush.limiter.wait"
METRIC_LLM_TOKENS_WASTED: Final = "hush.llm.tokens.wasted"
METRIC_LLM_COST_WASTED: Final = "hush.llm.cost.wasted"
METRIC_GEN_AI_DURATION: Final = "gen_ai.client.operation.duration"
METRIC_GEN_AI_TOKENS: Final = "gen_ai.client.token.usage"
METRIC_GEN_AI_TIME_TO_FIRST_CHUNK: Final = "gen_ai.client.operation.time_to_first_chunk"
METRIC_LLM_COST: Final = "hush.llm.cost"

# --- lines of the log: fields besides the names above ------------------------------------------
LOG_TIMESTAMP: Final = "timestamp"
LOG_LEVEL: Final = "level"
LOG_LOGGER: Final = "logger"
LOG_EVENT: Final = "event"
LOG_TRACE_ID: Final = "trace_id"
LOG_SPAN_ID: Final = "span_id"
LOG_STACK: Final = "stack"

OTHER: Final = "other"
"""Stands for all values of a label beyond its bound."""
OTHER_ERROR: Final = "_OTHER"
"""The same of kinds of errors: OpenTelemetry's word for one that has no name."""
BOUND_BY_NONE: Final = "none"
"""Of a map none of whose items came to an end."""

# Of the export itself; reasons and errors are closed sets, see docs/export.md.
METRIC_EXPORT_SPOOLED_BYTES: Final = "hush.export.spooled_bytes"
METRIC_EXPORT_OLDEST_AGE: Final = "hush.export.oldest_age"
METRIC_EXPORT_QUEUED: Final = "hush.export.queued"
METRIC_EXPORT_DROPPED: Final = "hush.export.dropped"
METRIC_EXPORT_SENT: Final = "hush.export.sent"
METRIC_EXPORT_FAILURES: Final = "hush.export.failures"
METRIC_EXPORT_HELD_RUNS: Final = "hush.export.held_runs"
EXPORT_SIGNAL: Final = "hush.export.signal"
EXPORT_REASON: Final = "hush.export.reason"

ERROR_TYPE_HANDLED: Final = "handled"

TEXT_LIMIT: Final = 4_096
"""Longest text on a span, in characters; OpenTelemetry itself sets no limit."""
LINK_LIMIT: Final = 32
"""Most links of one span; the rest is counted in ``hush.links.dropped``."""
SKIPPED_LIMIT: Final = 32
"""Most names in ``hush.skipped``."""
