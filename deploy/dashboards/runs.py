"""The dashboard of runs: how many, how many fail, how long they take, by graph."""

from __future__ import annotations

from typing import Any

from panels import (
    Query,
    Seen,
    add_row,
    choose,
    draw_heat,
    draw_lines,
    draw_number,
    quantile_of,
    spans_95,
    start_dashboard,
    trace_link,
)

GRAPH = 'hush_graph_name=~"$graph"'
COUNTED = f'{GRAPH},hush_outcome!="cancelled"'
RUNS = "hush_run_duration_seconds"
SPANS = 'service_name=~"$service",span_name=~"run .*",hush_graph_name=~"$graph"'
OPERATION = "run ${__field.labels.hush_graph_name}"
# What only the run's own span has: error=true would find good runs in which something failed.
FAILED = '{"hush.run.outcome":"error"}'
TOO_LATE = '{"hush.run.outcome":"timeout"}'
THIS_OUTCOME = '{"hush.run.outcome":"${__field.labels.hush_outcome}"}'

CHOOSE_GRAPH = choose(
    "graph",
    "Graph",
    "label_values(hush_run_duration_seconds_count, hush_graph_name)",
    "Which workflows.",
)


def build() -> Any:
    """Return the dashboard."""
    made = start_dashboard(
        "hush-runs",
        "Hush: runs",
        "Are workflows well? Begin here; the other dashboards say why not.",
        [CHOOSE_GRAPH],
    )
    made = add_row(
        made,
        "Now",
        draw_number(
            "Runs a second",
            "How much is asked of the service. A sudden zero is as bad as errors: look at what "
            "starts the runs.",
            Query(f"sum(rate({RUNS}_count{{{GRAPH}}}[$__rate_interval]))"),
            Seen("reqps"),
        ),
        draw_number(
            "Failed",
            "Share of the runs that ended in error or timeout; cancelled ones are left out. Above "
            "1 % the objective is missed: open a red trace from the panel below, then ask "
            "`hush why`.",
            Query(
                f'sum(rate({RUNS}_count{{{GRAPH},hush_outcome=~"error|timeout"}}'
                f"[$__rate_interval])) / (sum(rate({RUNS}_count{{{COUNTED}}}"
                "[$__rate_interval])) > 0)"
            ),
            Seen("percentunit", warn=0.01, bad=0.05),
            alerts=("HushRunErrorsFastBurn",),
        ),
        draw_number(
            "Good with failures",
            "Share of the good runs whose results lack something: items that failed within the "
            "tolerance, errors that were captured. Nothing else shows them.",
            Query(
                f'sum(rate(hush_run_partial_failures_total{{{GRAPH},hush_outcome="ok"}}'
                f'[$__rate_interval])) / (sum(rate({RUNS}_count{{{GRAPH},hush_outcome="ok"}}'
                "[$__rate_interval])) > 0)"
            ),
            Seen("percentunit", warn=0.05, bad=0.2),
            alerts=("HushPartialFailures",),
        ),
        draw_number(
            "95 % end within",
            "The duration that one run in twenty exceeds. 10 s is the objective: beyond it, the "
            "dashboard of fan-ins says who is waited for.",
            Query(quantile_of(0.95, RUNS, COUNTED)),
            Seen("s", warn=5, bad=10),
            alerts=("HushRunLatencyFastBurn",),
        ),
        draw_number(
            "Running now",
            "Runs that have begun and not ended. Growing without end means that they are started "
            "faster than they end.",
            Query(f"sum(hush_run_active{{{GRAPH}}})"),
            Seen("short"),
        ),
        draw_number(
            "Error budget of three days",
            "What is left of the 1 % of runs that may fail, over the last three days. At zero, "
            "stop what is risky.",
            Query(f"min(1 - hush_graph_name:hush_run_errors:ratio_rate3d{{{GRAPH}}} / 0.01)"),
            Seen("percentunit", warn=0, bad=0.25, low_is_bad=True),
            alerts=("HushRunErrorsSlowBurn",),
            zero="-",
        ),
    )
    made = add_row(
        made,
        "By graph",
        draw_lines(
            "Runs",
            "By outcome. Click a line to search Jaeger for such runs.",
            [
                Query(
                    f"sum by (hush_graph_name, hush_outcome) (rate({RUNS}_count{{{GRAPH}}}"
                    "[$__rate_interval]))",
                    "{{hush_graph_name}} {{hush_outcome}}",
                )
            ],
            Seen("reqps", stacked=True),
            links=(
                trace_link("Runs of this graph in Jaeger", OPERATION),
                trace_link("Runs with this outcome in Jaeger", OPERATION, THIS_OUTCOME),
            ),
        ),
        draw_lines(
            "Errors by type",
            "What failed. The type is that of the exception which ended the run; the trace says "
            "in which node and item.",
            [
                Query(
                    "sum by (hush_graph_name, error_type) "
                    f'(rate({RUNS}_count{{{GRAPH},hush_outcome=~"error|timeout"}}'
                    "[$__rate_interval]))",
                    "{{hush_graph_name}} {{error_type}}",
                )
            ],
            Seen("reqps", stacked=True),
            alerts=("HushRunErrorsFastBurn", "HushRunErrorsSlowBurn"),
            links=(
                trace_link("Failed runs in Jaeger", OPERATION, FAILED),
                trace_link("Runs that were too late in Jaeger", OPERATION, TOO_LATE),
            ),
        ),
        draw_lines(
            "Burn rate of the error budget",
            "1 uses up exactly the budget of a month within a month. Above 14.4 over an hour or 6 "
            "over six hours somebody is called.",
            [
                Query(
                    f"hush_graph_name:hush_run_errors:ratio_rate1h{{{GRAPH}}} / 0.01",
                    "{{hush_graph_name}} 1 h",
                ),
                Query(
                    f"hush_graph_name:hush_run_errors:ratio_rate6h{{{GRAPH}}} / 0.01",
                    "{{hush_graph_name}} 6 h",
                ),
            ],
            Seen("short", warn=6, bad=14.4),
            alerts=("HushRunErrorsFastBurn", "HushRunErrorsSlowBurn"),
        ),
        draw_lines(
            "Failures in good runs",
            "Runs a second that ended as ok and bear failures. In Jaeger they are red somewhere "
            "below the run.",
            [
                Query(
                    "sum by (hush_graph_name) (rate(hush_run_partial_failures_total"
                    f"{{{GRAPH}}}[$__rate_interval]))",
                    "{{hush_graph_name}}",
                )
            ],
            Seen("reqps"),
            alerts=("HushPartialFailures",),
            links=(
                trace_link("Such runs in Jaeger", OPERATION, '{"hush.partial_failure":"true"}'),
            ),
        ),
    )
    return add_row(
        made,
        "How long they take",
        *(
            draw_lines(
                f"Duration, {share}",
                text,
                [
                    Query(
                        quantile_of(quantile, RUNS, COUNTED, "hush_graph_name"),
                        "{{hush_graph_name}}",
                    )
                ],
                Seen("s", warn=warn, bad=bad),
                alerts=alerts,
                links=(trace_link("Runs of this graph in Jaeger", OPERATION),),
                width=8,
            )
            for share, quantile, text, warn, bad, alerts in (
                (
                    "median",
                    0.5,
                    "What an ordinary run takes; compare with last week.",
                    None,
                    None,
                    (),
                ),
                (
                    "95 %",
                    0.95,
                    (
                        "Where this rises and the median does not, single items are late: "
                        "stragglers, retries, limits."
                    ),
                    5,
                    10,
                    ("HushRunLatencyFastBurn", "HushRunLatencySlowBurn"),
                ),
                (
                    "99 %",
                    0.99,
                    "The worst that people remember; `hush why` on one of them.",
                    None,
                    None,
                    (),
                ),
            )
        ),
        draw_heat(
            "Durations of runs",
            "Each column is a distribution. Two bands are two kinds of runs: choose one graph, or "
            "look at which branch they take.",
            Query(
                f"sum by (le) (increase({RUNS}_bucket{{{COUNTED}}}[$__rate_interval]))", "{{le}}"
            ),
            "s",
        ),
        draw_lines(
            "Durations from spans, with traces",
            "The same from spans, counted by Jaeger before it samples. Each point is a run: click "
            "it to open its trace. Slow and failed ones are all kept, of the others one in ten.",
            [spans_95(SPANS, "hush_graph_name", "{{hush_graph_name}} 95 %")],
            Seen("s", warn=5, bad=10),
            alerts=("HushRunLatencyFastBurn",),
            links=(trace_link("Runs of this graph in Jaeger", OPERATION),),
        ),
    )
