"""The dashboard of the telemetry's own way: spool, collector, sampling, store."""

from __future__ import annotations

from typing import Any

from panels import Query, Seen, add_row, draw_bars, draw_lines, draw_number, start_dashboard

EVERY = "[$__rate_interval]"


def build() -> Any:
    """Return the dashboard."""
    made = start_dashboard(
        "hush-export",
        "Hush: export health",
        "Does everything that is recorded arrive? Spool of each process, collector, Jaeger.",
        [],
    )
    made = add_row(
        made,
        "Now",
        draw_number(
            "Spooled",
            "Telemetry on the disks of all processes that has not left yet. Some of it is "
            "ordinary; growth for a quarter of an hour is not: is the collector there? A folder that "
            "several processes share counts once for each of them.",
            Query("sum(hush_export_spooled_bytes)"),
            Seen("bytes", warn=16_777_216, bad=67_108_864),
            alerts=("HushSpoolGrows",),
            width=6,
        ),
        draw_number(
            "Oldest in a spool",
            "How long the oldest batch has been waiting. Traces younger than this are not to be "
            "expected in Jaeger.",
            Query("max(hush_export_oldest_age_seconds)"),
            Seen("s", warn=60, bad=600),
            alerts=("HushSpoolOld",),
            width=6,
        ),
        draw_number(
            "Given up in an hour",
            "Spans, points and lines that will never arrive. Anything but 0: absence of a trace "
            "proves nothing.",
            Query("sum(increase(hush_export_dropped_total[1h])) or vector(0)"),
            Seen("short", bad=1),
            alerts=("HushTelemetryDropped",),
            width=6,
        ),
        draw_number(
            "Programs down",
            "That Prometheus cannot read; `up == 0` says which.",
            Query("count(up == 0) or vector(0)"),
            Seen("short", bad=1),
            alerts=("HushTargetDown",),
            width=6,
        ),
    )
    made = add_row(
        made,
        "Spools",
        draw_lines(
            "Spooled bytes",
            "By process. A saw-tooth is health: written, sent, deleted. A ramp is a receiver "
            "that is away.",
            [
                Query(
                    "max by (job, instance, hush_export_signal) (hush_export_spooled_bytes)",
                    "{{instance}} {{hush_export_signal}}",
                )
            ],
            Seen("bytes", bad=67_108_864),
            alerts=("HushSpoolGrows",),
        ),
        draw_lines(
            "Age of the oldest batch",
            "A line at 45 degrees: nothing leaves any more. Look at the failed requests.",
            [
                Query(
                    "max by (job, instance, hush_export_signal) (hush_export_oldest_age_seconds)",
                    "{{instance}} {{hush_export_signal}}",
                )
            ],
            Seen("s", warn=60, bad=600),
            alerts=("HushSpoolOld",),
        ),
        draw_lines(
            "Given up",
            "A second, by reason. spool_full and too_old are caps that a long outage reached; "
            "rejected is what the receiver called wrong, kept in rejected/.",
            [
                Query(
                    "sum by (hush_export_signal, hush_export_reason) "
                    f"(rate(hush_export_dropped_total{EVERY})) "
                    'or label_replace(vector(0), "hush_export_reason", "none", "", "")',
                    "{{hush_export_signal}} {{hush_export_reason}}",
                )
            ],
            Seen("ops", bad=0.001, stacked=True),
            alerts=("HushTelemetryDropped",),
        ),
        draw_lines(
            "Sent",
            "A second, by what it is, and as the processes count it. Compare with what arrives.",
            [
                Query(
                    f"sum by (hush_export_signal) (rate(hush_export_sent_total{EVERY}))",
                    "{{hush_export_signal}}",
                )
            ],
            Seen("ops"),
            alerts=("HushSpoolOld",),
        ),
        draw_lines(
            "Failed requests",
            "To the receiver, by what it said: a status, connection, timeout, redirect. What was "
            "in them is sent again.",
            [
                Query(
                    "sum by (hush_export_signal, error_type) "
                    f"(rate(hush_export_failures_total{EVERY})) "
                    'or label_replace(vector(0), "error_type", "none", "", "")',
                    "{{hush_export_signal}} {{error_type}}",
                )
            ],
            Seen("ops", stacked=True),
            alerts=("HushSpoolOld", "HushSpoolGrows"),
        ),
        draw_lines(
            "Waiting for the disk",
            "Spans and other items in memory, and runs a second whose start was held up for "
            "them. The disk is slow or full.",
            [
                Query(
                    "sum by (instance, hush_export_signal) (hush_export_queued)",
                    "{{instance}} {{hush_export_signal}}",
                ),
                Query(
                    f"sum by (instance) (rate(hush_export_held_runs_total{EVERY}))",
                    "{{instance}} runs held up",
                ),
            ],
            Seen("short", warn=32_768),
            alerts=("HushRunsHeldUp",),
        ),
        draw_lines(
            "Spans that arrive",
            "At the collector and at Jaeger. Apart for long: the collector's queue fills, or "
            "empties.",
            [
                Query(
                    f"sum by (job) (rate(otelcol_receiver_accepted_spans_total{EVERY}))",
                    "{{job}}",
                )
            ],
            Seen("ops"),
            alerts=("HushTargetDown",),
        ),
    )
    return add_row(
        made,
        "Collector and Jaeger",
        draw_bars(
            "Queues",
            "How full they are. The collector's is on disk and survives a restart; Jaeger's is "
            "in memory.",
            Query(
                "max by (job, exporter) (otelcol_exporter_queue_size / "
                "otelcol_exporter_queue_capacity)",
                "{{job}} {{exporter}}",
            ),
            Seen("percentunit", warn=0.25, bad=0.5, most=1),
            alerts=("HushCollectorQueueFills",),
        ),
        draw_lines(
            "Refused and lost spans",
            "Refused ones are kept by their senders, lost ones are lost. A full disk is the usual "
            "reason for the latter.",
            [
                Query(
                    f"sum by (job) (rate(otelcol_receiver_refused_spans_total{EVERY}))",
                    "{{job}} refuses",
                ),
                Query(
                    f"sum by (job) (rate(otelcol_exporter_send_failed_spans_total{EVERY}))",
                    "{{job}} loses",
                ),
            ],
            Seen("ops", bad=0.001),
            alerts=("HushSpansRefused", "HushSpansNotStored"),
        ),
        draw_lines(
            "Traces kept",
            "A second, by the policy that wants them. Several may want the same one. "
            "share-of-the-rest is a tenth of all unless it was set otherwise.",
            [
                Query(
                    "sum by (policy) (rate(otelcol_processor_tail_sampling_"
                    f'count_traces_sampled_total{{sampled="true"}}{EVERY}))',
                    "{{policy}}",
                )
            ],
            Seen("ops"),
        ),
        draw_lines(
            "Traces that wait for their decision",
            "In Jaeger's memory, for 30 s each. At 50,000 it makes senders wait: give it memory, "
            "or decide earlier.",
            [
                Query(
                    "max by (instance) (otelcol_processor_tail_sampling_sampling_traces_on_memory)",
                    "{{instance}}",
                )
            ],
            Seen("short", warn=25_000, bad=45_000),
            alerts=("HushSpansRefused",),
        ),
        draw_lines(
            "Memory",
            "Of the two programs. They begin to refuse spans at 75 % of their container's limit.",
            [
                Query(
                    "max by (job) (otelcol_process_memory_rss_bytes)",
                    "{{job}}",
                )
            ],
            Seen("bytes"),
            alerts=("HushSpansRefused",),
            width=24,
        ),
    )
