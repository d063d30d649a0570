"""For each alert a story in numbers: what Prometheus reads, and when the alert is there.

Values are promtool's: ``a+bxn`` is a, a+b, ... n more times, one each minute; ``_`` is nothing.
A story whose ``fires`` is empty is one that the alert must not take for trouble.
"""

from __future__ import annotations

from dataclasses import dataclass, field

RUNS = 'hush_run_duration_seconds_count{hush_graph_name="crawl",hush_outcome="%s"}'
UNDER_10 = 'hush_run_duration_seconds_bucket{hush_graph_name="crawl",hush_outcome="ok",le="10.0"}'
PARTIAL = 'hush_run_partial_failures_total{hush_graph_name="crawl",hush_outcome="ok"}'
ITEMS = (
    'hush_item_duration_seconds_count{hush_graph_name="crawl",hush_node_name="pages",'
    'hush_outcome="%s"}'
)
MAP = '{hush_graph_name="crawl",hush_node_name="pages"}'
CALLS = (
    'gen_ai_client_operation_duration_seconds_count{gen_ai_request_model="mini",error_type="%s"}'
)
COST = 'hush_llm_cost_total{gen_ai_request_model="mini"}'
PROCESS = '{job="hush",instance="a:9464"'
NODE = PROCESS + ',hush_graph_name="crawl",hush_node_name="merge"}'

TRACES = PROCESS + ',hush_export_signal="traces"}'
FULL = PROCESS + ',hush_export_signal="traces",hush_export_reason="spool_full"}'

GRAPH = {"hush_graph_name": "crawl"}
OF_MAP = {"hush_graph_name": "crawl", "hush_node_name": "pages"}
OF_PROCESS = {"job": "hush", "instance": "a:9464"}
OF_FULL = {**OF_PROCESS, "hush_export_signal": "traces", "hush_export_reason": "spool_full"}
OF_NODE = {**OF_PROCESS, "hush_graph_name": "crawl", "hush_node_name": "merge"}


@dataclass(frozen=True)
class Story:
    alert: str
    what: str
    series: dict[str, str]
    fires: dict[str, str] = field(default_factory=dict)
    """When it is there, and what it then says of the value."""
    quiet: tuple[str, ...] = ()
    """When it is not: before, and after the trouble has ended."""
    labels: dict[str, str] = field(default_factory=dict)
    every: str = "1m"
    """How often there is a sample: less often in a story of days."""


STORIES = (
    # --- burn rates: a healthy time, trouble, a healthy time again -------------------------
    Story(
        "HushRunErrorsFastBurn",
        "half of the runs fail for half an hour",
        {
            RUNS % "ok": "0+60x120 7230+30x29 8130+60x180",
            RUNS % "error": "0+0x120 30+30x29 900+0x180",
        },
        fires={"140m": "16.67%", "160m": "9.404%"},
        quiet=("120m", "200m"),
        labels=GRAPH,
    ),
    Story(
        "HushRunErrorsFastBurn",
        "one run in twelve times out, for hours",
        {RUNS % "ok": "0+55x420", RUNS % "timeout": "0+5x420"},
        fires={"400m": "8.333%"},
        labels=GRAPH,
    ),
    Story(
        "HushRunErrorsFastBurn",
        "a blip of two minutes",
        {RUNS % "ok": "0+60x120 7200+0x1 7260+60x120", RUNS % "error": "0+0x120 60+60x1 120+0x120"},
        quiet=("121m", "122m", "125m", "150m", "180m"),
    ),
    Story(
        "HushRunErrorsFastBurn",
        "all of three runs fail, which is too few to say",
        {RUNS % "error": "0x30 1 2 3x60"},
        quiet=("33m", "60m", "90m"),
    ),
    Story(
        "HushRunErrorsFastBurn",
        "callers cancel half of the runs",
        {RUNS % "ok": "0+30x240", RUNS % "cancelled": "0+30x240"},
        quiet=("60m", "120m", "240m"),
    ),
    Story(
        "HushRunErrorsSlowBurn",
        "two in a hundred runs fail for three days, then none",
        {
            RUNS % "ok": "0+588x320 188748+600x200",
            RUNS % "error": "0+12x320 3840+0x200",
        },
        fires={"1500m": "2%", "1600m": "2%"},
        # A step is five minutes here; after six hours without errors the short window is clean.
        quiet=("5m", "2200m"),
        labels=GRAPH,
        every="5m",
    ),
    Story(
        "HushRunErrorsSlowBurn",
        "one in two hundred runs fails, which is within what was agreed",
        {RUNS % "ok": "0+597x400", RUNS % "error": "0+3x400"},
        quiet=("600m", "1500m", "2000m"),
        every="5m",
    ),
    Story(
        "HushRunLatencyFastBurn",
        "all runs are slow for an hour",
        {RUNS % "ok": "0+60x300", UNDER_10: "0+60x120 7200+0x59 7200+60x120"},
        fires={"170m": "83.33%"},
        quiet=("120m", "230m"),
        labels=GRAPH,
    ),
    Story(
        "HushRunLatencyFastBurn",
        "four in a hundred are slow, which is within what was agreed",
        {RUNS % "ok": "0+100x300", UNDER_10: "0+96x300"},
        quiet=("60m", "180m", "300m"),
    ),
    Story(
        "HushRunLatencySlowBurn",
        "one in ten runs is slow for days",
        {RUNS % "ok": "0+100x520", UNDER_10: "0+100x100 10090+90x220 29900+100x200"},
        fires={"1500m": "6.667%"},
        quiet=("5m", "500m", "2200m"),
        labels=GRAPH,
        every="5m",
    ),
    Story(
        "HushRunLatencySlowBurn",
        "all are slow for ten minutes",
        {RUNS % "ok": "0+100x500", UNDER_10: "0+100x200 20000+0x1 20100+100x290"},
        quiet=("1010m", "1020m", "1500m", "2400m"),
        every="5m",
    ),
    Story(
        "HushPartialFailures",
        "every third good run bears failures for an hour",
        {RUNS % "ok": "0+30x200", PARTIAL: "0+0x60 0+10x60 600+0x80"},
        fires={"110m": "33.33%"},
        quiet=("60m", "75m", "150m"),
        labels=GRAPH,
    ),
    Story(
        "HushPartialFailures",
        "one in ten does",
        {RUNS % "ok": "0+30x200", PARTIAL: "0+3x200"},
        quiet=("60m", "120m", "200m"),
    ),
    # --- fan-ins and maps -------------------------------------------------------------------
    Story(
        "HushJoinStuck",
        "a join waits for a quarter of an hour",
        {"hush_fan_in_oldest_wait_seconds" + NODE: "_x9 0+60x15 stale _x10"},
        fires={"18m": "9m 0s"},
        quiet=("9m", "14m", "30m"),
        labels=OF_NODE,
    ),
    Story(
        "HushJoinStuck",
        "joins wait for four minutes, again and again",
        {"hush_fan_in_oldest_wait_seconds" + NODE: "0+60x4 0+60x4 0+60x4 0+60x4"},
        quiet=("4m", "9m", "19m"),
    ),
    Story(
        "HushSlotsSaturated",
        "a map is full and its items wait for half a minute, then it is idle",
        {
            "hush_slots_used" + MAP: "1x30 8x60 0x30",
            "hush_slots_limit" + MAP: "8x91 8x30",
            "hush_item_wait_seconds_sum" + MAP: "0+1x30 30+240x60 14430+0x30",
            "hush_item_wait_seconds_count" + MAP: "0+8x90 720+0x30",
        },
        fires={"70m": "100%"},
        quiet=("30m", "110m"),
        labels=OF_MAP,
    ),
    Story(
        "HushSlotsSaturated",
        "a map is full and nobody waits",
        {
            "hush_slots_used" + MAP: "8x90",
            "hush_slots_limit" + MAP: "8x90",
            "hush_item_wait_seconds_sum" + MAP: "0+8x90",
            "hush_item_wait_seconds_count" + MAP: "0+8x90",
        },
        quiet=("30m", "60m", "90m"),
    ),
    Story(
        "HushSlotsSaturated",
        "a batch fills its slots for seven minutes and is gone",
        {
            "hush_slots_used" + MAP: "_x20 4x7 stale _x30",
            "hush_slots_limit" + MAP: "_x20 4x7 stale _x30",
            "hush_item_wait_seconds_sum" + MAP: "0x20 0+3600x7 25200x30",
            "hush_item_wait_seconds_count" + MAP: "0x20 0+60x7 420x30",
        },
        quiet=("20m", "26m", "28m", "33m", "45m"),
    ),
    Story(
        "HushItemFailures",
        "a quarter of the items fail, is handled or is late, for half an hour",
        {
            ITEMS % "ok": "0+75x120",
            ITEMS % "error": "0x30 0+10x30 300x60",
            ITEMS % "handled": "0x30 0+10x30 300x60",
            ITEMS % "timeout": "0x30 0+5x30 150x60",
        },
        fires={"60m": "25%"},
        quiet=("30m", "38m", "80m"),
        labels=OF_MAP,
    ),
    Story(
        "HushItemFailures",
        "two of four items fail, which is too few to say",
        {ITEMS % "ok": "0x30 1 2x60", ITEMS % "error": "0x30 1 2x60"},
        quiet=("32m", "45m", "60m"),
    ),
    Story(
        "HushEventLoopBlocked",
        "a node holds up the loop for a tenth of the time",
        {"hush_loop_blocked_seconds_total" + NODE: "0x20 0+6x30 180x30"},
        fires={"45m": "10%"},
        quiet=("20m", "28m", "65m"),
        labels=OF_NODE,
    ),
    Story(
        "HushEventLoopBlocked",
        "once, for two seconds",
        {"hush_loop_blocked_seconds_total" + NODE: "0x20 2x40"},
        quiet=("21m", "31m", "45m"),
    ),
    Story(
        "HushThreadsAbandoned",
        "more and more threads are left behind, until a restart",
        {"hush_threads_abandoned" + PROCESS + "}": "0+2x60 0x30"},
        fires={"45m": "90"},
        quiet=("16m", "65m"),
        labels=OF_PROCESS,
    ),
    Story(
        "HushThreadsAbandoned",
        "forty, and no more",
        {"hush_threads_abandoned" + PROCESS + "}": "40x90"},
        quiet=("30m", "60m", "90m"),
    ),
    # --- models --------------------------------------------------------------------------------
    Story(
        "HushLlmRateLimited",
        "a fifth of the calls is refused",
        {CALLS % "": "0+80x100", CALLS % "429": "0x30 0+20x30 600x40"},
        fires={"60m": "20%"},
        quiet=("30m", "38m", "80m"),
        labels={"gen_ai_request_model": "mini"},
    ),
    Story(
        "HushLlmRateLimited",
        "one in twenty is",
        {CALLS % "": "0+95x100", CALLS % "429": "0+5x100"},
        quiet=("30m", "60m", "100m"),
    ),
    Story(
        "HushLlmErrors",
        "the key is wrong",
        {CALLS % "": "0+10x30 300x60", CALLS % "401": "0x30 0+10x60"},
        fires={"60m": "100%"},
        quiet=("30m", "35m"),
        labels={"gen_ai_request_model": "mini"},
    ),
    Story(
        "HushLlmErrors",
        "refusals and lost races are no errors",
        {
            CALLS % "": "0+10x90",
            CALLS % "429": "0+10x90",
            CALLS % "cancelled": "0+10x90",
        },
        quiet=("30m", "60m", "90m"),
    ),
    Story(
        "HushLlmCostSpike",
        "ten times as much as all day, for two hours",
        {COST: "0+0.01x600 6+0.1x120 18+0.01x300"},
        fires={"700m": "6.00"},
        quiet=("300m", "600m", "900m"),
        labels={"gen_ai_request_model": "mini"},
    ),
    Story(
        "HushLlmCostSpike",
        "ten times next to nothing",
        {COST: "0+0.0001x600 0.06+0.001x120"},
        quiet=("600m", "700m"),
    ),
    Story(
        "HushLlmCostSpike",
        "a model that nobody has called before costs a hundred dollars a minute, then nothing",
        {COST: "_x5 0+100x90 9000x80"},
        fires={"58m": "5300.00", "90m": "6000.00"},
        quiet=("5m", "14m", "165m"),
        labels={"gen_ai_request_model": "mini"},
    ),
    Story(
        "HushLlmCostSpike",
        "a model that nobody has called before costs six dollars an hour",
        {COST: "_x5 0+0.1x170"},
        quiet=("30m", "70m", "170m"),
    ),
    # --- export -----------------------------------------------------------------------------
    Story(
        "HushSpoolGrows",
        "ten megabytes a minute are written and none leaves, then all does",
        {"hush_export_spooled_bytes" + TRACES: "0+10485760x60 0x30"},
        fires={"40m": "400Mi"},
        quiet=("6m", "20m", "65m"),
        labels=OF_PROCESS,
    ),
    Story(
        "HushSpoolGrows",
        "much is spooled and it becomes less",
        {"hush_export_spooled_bytes" + TRACES: "629145600-5242880x100"},
        quiet=("20m", "60m", "90m"),
    ),
    Story(
        "HushSpoolOld",
        "nothing leaves for half an hour",
        {"hush_export_oldest_age_seconds" + TRACES: "0+60x30 0x20"},
        fires={"20m": "20m 0s"},
        quiet=("10m", "14m", "33m"),
        labels={**OF_PROCESS, "hush_export_signal": "traces"},
    ),
    Story(
        "HushSpoolOld",
        "nine minutes",
        {"hush_export_oldest_age_seconds" + TRACES: "0+60x9 0x5 0+60x9 0x10"},
        quiet=("9m", "24m", "30m"),
    ),
    Story(
        "HushTelemetryDropped",
        "the spool is full and gives up its first batch, and later a second",
        {"hush_export_dropped_total" + FULL: "_x20 512x30 1024x60"},
        fires={"22m": "512", "53m": "512"},
        quiet=("19m", "40m", "75m"),
        labels=OF_FULL,
    ),
    Story(
        "HushTelemetryDropped",
        "nothing was given up since long ago",
        {"hush_export_dropped_total" + FULL: "512x80"},
        quiet=("20m", "60m"),
    ),
    Story(
        "HushTelemetryDropped",
        "the counter grows from zero",
        {"hush_export_dropped_total" + FULL: "0x20 512x30"},
        fires={"22m": "512"},
        quiet=("19m", "40m"),
        labels=OF_FULL,
    ),
    Story(
        "HushTelemetryDropped",
        "a process finds at its start that batches are too old",
        {
            "hush_export_dropped_total" + FULL: "_x30 512x60",
            "process_start_time_seconds" + PROCESS + "}": "_x30 1790x60",
        },
        fires={"31m": "512", "40m": "512"},
        quiet=("29m", "50m"),
        labels=OF_FULL,
    ),
    Story(
        "HushTelemetryDropped",
        "Prometheus does not look for twenty minutes and sees what it has seen before",
        {"hush_export_dropped_total" + FULL: "512x60 _x20 512x60"},
        quiet=("60m", "82m", "90m", "97m", "130m"),
    ),
    Story(
        "HushTelemetryDropped",
        "Prometheus does not look for three hours and sees what it has seen before",
        {
            "hush_export_dropped_total" + FULL: "512x60 _x180 512x60",
            "process_start_time_seconds" + PROCESS + "}": "0x60 _x180 0x60",
        },
        quiet=("60m", "242m", "250m", "257m", "290m"),
    ),
    Story(
        "HushTelemetryDropped",
        "something is given up while Prometheus does not look",
        {
            "hush_export_dropped_total" + FULL: "512x60 _x20 600x60",
            "process_start_time_seconds" + PROCESS + "}": "0x60 _x20 0x60",
        },
        fires={"82m": "88", "90m": "88"},
        quiet=("60m", "100m"),
        labels=OF_FULL,
    ),
    Story(
        "HushRunsHeldUp",
        "the disk is slow for half an hour",
        {"hush_export_held_runs_total" + PROCESS + "}": "0x10 0+30x30 900x30"},
        fires={"35m": "500m"},
        quiet=("10m", "18m", "60m"),
        labels=OF_PROCESS,
    ),
    Story(
        "HushRunsHeldUp",
        "a burst held up five",
        {"hush_export_held_runs_total" + PROCESS + "}": "0x10 5x30"},
        quiet=("11m", "20m", "30m"),
    ),
    # --- the pipeline ------------------------------------------------------------------------
    Story(
        "HushTargetDown",
        "Jaeger is down for ten minutes",
        {'up{job="jaeger",instance="jaeger:8888"}': "1x10 0x10 1x20"},
        fires={"18m": ""},
        quiet=("10m", "14m", "25m"),
        labels={"job": "jaeger", "instance": "jaeger:8888"},
    ),
    Story(
        "HushTargetDown",
        "something else is down",
        {'up{job="node",instance="n:9100"}': "0x30"},
        quiet=("10m", "30m"),
    ),
    Story(
        "HushCollectorQueueFills",
        "Jaeger is away until the queue is nearly full",
        {
            'otelcol_exporter_queue_size{job="otel-collector",instance="c:8888",'
            'exporter="otlp/jaeger"}': "0+20x45 0x20",
            'otelcol_exporter_queue_capacity{job="otel-collector",instance="c:8888",'
            'exporter="otlp/jaeger"}': "1000x70",
        },
        fires={"40m": "80%"},
        quiet=("25m", "30m", "50m"),
        labels={"job": "otel-collector", "instance": "c:8888", "exporter": "otlp/jaeger"},
    ),
    Story(
        "HushCollectorQueueFills",
        "a quarter full",
        {
            'otelcol_exporter_queue_size{job="otel-collector",exporter="otlp/jaeger"}': "250x60",
            'otelcol_exporter_queue_capacity{job="otel-collector",exporter="otlp/jaeger"}': "1000x60",
        },
        quiet=("30m", "60m"),
    ),
    Story(
        "HushSpansRefused",
        "the memory limit is reached for twenty minutes",
        {
            'otelcol_receiver_refused_spans_total{job="jaeger",instance="j:8888"}': (
                "0x10 0+600x20 12000x20"
            )
        },
        fires={"28m": "10"},
        quiet=("10m", "18m", "40m"),
        labels={"job": "jaeger", "instance": "j:8888"},
    ),
    Story(
        "HushSpansRefused",
        "a single batch",
        {'otelcol_receiver_refused_spans_total{job="jaeger",instance="j:8888"}': "0x10 512x40"},
        quiet=("11m", "20m", "30m"),
    ),
    Story(
        "HushSpansNotStored",
        "the disk is full",
        {
            'otelcol_exporter_send_failed_spans_total{job="jaeger",instance="j:8888",'
            'exporter="jaeger_storage_exporter"}': "0x10 0+60x20 1200x20"
        },
        fires={"25m": "1"},
        quiet=("10m", "14m", "40m"),
        labels={"job": "jaeger", "instance": "j:8888"},
    ),
    Story(
        "HushSpansNotStored",
        "some are refused by the disk, others by the queue before it",
        {
            'otelcol_exporter_send_failed_spans_total{job="jaeger",instance="j:8888",'
            'exporter="jaeger_storage_exporter"}': "0x10 0+60x20 1200x20",
            'otelcol_exporter_enqueue_failed_spans_total{job="jaeger",instance="j:8888",'
            'exporter="jaeger_storage_exporter"}': "0x10 0+120x20 2400x20",
        },
        fires={"25m": "3"},
        quiet=("10m", "14m", "40m"),
        labels={"job": "jaeger", "instance": "j:8888"},
    ),
    Story(
        "HushSpansNotStored",
        "the collector's queue is full, which its senders are told",
        {
            'otelcol_exporter_send_failed_spans_total{job="otel-collector",instance="c:8888",'
            'exporter="otlp/jaeger"}': "0x60",
            'otelcol_exporter_enqueue_failed_spans_total{job="otel-collector",instance="c:8888",'
            'exporter="otlp/jaeger"}': "0x10 0+600x50",
        },
        quiet=("10m", "30m", "60m"),
    ),
    Story(
        "HushSpansNotStored",
        "the collector hands on what Jaeger refuses for good",
        {
            'otelcol_exporter_send_failed_spans_total{job="otel-collector",instance="c:8888",'
            'exporter="otlp/jaeger"}': "0x10 0+60x20 1200x20",
            'otelcol_exporter_enqueue_failed_spans_total{job="otel-collector",instance="c:8888",'
            'exporter="otlp/jaeger"}': "0x10 0+600x40",
        },
        fires={"25m": "1"},
        quiet=("10m", "14m", "40m"),
        labels={"job": "otel-collector", "instance": "c:8888"},
    ),
    Story(
        "HushSpansNotStored",
        "all are stored",
        {
            'otelcol_exporter_sent_spans_total{job="jaeger",instance="j:8888"}': "0+60x60",
            'otelcol_exporter_send_failed_spans_total{job="jaeger",instance="j:8888"}': "0x60",
        },
        quiet=("10m", "30m", "60m"),
    ),
)
