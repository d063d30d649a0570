"""The dashboard of fan-ins: who is waited for, and is it the limit or the item?"""

from __future__ import annotations

from typing import Any

from panels import (
    Query,
    Seen,
    add_row,
    choose,
    draw_bars,
    draw_heat,
    draw_lines,
    draw_number,
    draw_table,
    quantile_of,
    start_dashboard,
    trace_link,
)
from runs import CHOOSE_GRAPH

BY = "hush_graph_name, hush_node_name"
NAME = "{{hush_graph_name}} {{hush_node_name}}"
WHERE = 'hush_graph_name=~"$graph",hush_node_name=~"$node"'
RUN = "run ${__field.labels.hush_graph_name}"

CHOOSE_NODE = choose(
    "node",
    "Node",
    'label_values(hush_node_duration_seconds_count{hush_graph_name=~"$graph"}, hush_node_name)',
    "Which nodes, joins and maps.",
)


def build() -> Any:
    """Return the dashboard."""
    made = start_dashboard(
        "hush-fan-in",
        "Hush: fan-in health",
        "Which fan-in is slow, who came last, and was it the limit or the item?",
        [CHOOSE_GRAPH, CHOOSE_NODE],
    )
    made = add_row(
        made,
        "Now",
        draw_number(
            "Oldest waiting join",
            "How long the longest wait of a join has lasted, since its first predecessor has "
            "ended. It is seen here before any span ends. Nobody waits: 0.",
            Query(f"max(hush_fan_in_oldest_wait_seconds{{{WHERE}}}) or vector(0)"),
            Seen("s", warn=60, bad=300),
            alerts=("HushJoinStuck",),
            width=6,
        ),
        draw_number(
            "Fullest map",
            "Slots in use of the slots there are, in the fullest map. At 100 % items wait for "
            "slots: the panel on waiting says whether that matters.",
            Query(f"max(hush_graph_name_hush_node_name:hush_slots:utilisation{{{WHERE}}})"),
            Seen("percentunit", warn=0.8, bad=0.95, most=1),
            alerts=("HushSlotsSaturated",),
            width=6,
        ),
        draw_number(
            "Spread, 95 %",
            "Between the first and the last arrival at a join, in the worst twentieth. All that "
            "time, those who came early were of no use.",
            Query(quantile_of(0.95, "hush_fan_in_spread_seconds", WHERE)),
            Seen("s", warn=5, bad=30),
            width=6,
        ),
        draw_number(
            "Event loop held up",
            "Share of the time in which a node kept the event loop to itself. Everything else "
            'looks slow then: run_in="thread" is the remedy.',
            Query(
                f"max(sum by ({BY}) (rate(hush_loop_blocked_seconds_total{{{WHERE}}}"
                "[$__rate_interval]))) or vector(0)"
            ),
            Seen("percentunit", warn=0.01, bad=0.05),
            alerts=("HushEventLoopBlocked",),
            width=6,
        ),
    )
    made = add_row(
        made,
        "Who is waited for",
        draw_table(
            "Who came last",
            "For each join, who released it, and how many seconds a minute it could have gone on "
            "earlier without that one. The first line is where to begin: make it faster, start "
            "it sooner, or let the join do without it (Quorum, a time limit).",
            [
                Query(
                    "sum by (hush_graph_name, hush_node_name, hush_fan_in_last) "
                    f"(rate(hush_fan_in_releases_total{{{WHERE}}}[$__range])) * 60"
                ),
                Query(
                    "sum by (hush_graph_name, hush_node_name, hush_fan_in_last) "
                    f"(rate(hush_fan_in_lead_seconds_total{{{WHERE}}}[$__range])) * 60"
                ),
            ],
            {
                "hush_graph_name": ("Graph", ""),
                "hush_node_name": ("Join", ""),
                "hush_fan_in_last": ("Last", ""),
                "Value #A": ("Times a minute", "short"),
                "Value #B": ("Seconds lost a minute", "s"),
            },
            sort="Seconds lost a minute",
            width=14,
        ),
        draw_lines(
            "Seconds lost to the last",
            "Seconds per second that joins could have gone on earlier. Compare with the run "
            "rate: one lost second in each run is one second of each run.",
            [
                Query(
                    f"topk(5, sum by ({BY}, hush_fan_in_last) "
                    f"(rate(hush_fan_in_lead_seconds_total{{{WHERE}}}[$__rate_interval])))",
                    "{{hush_node_name}} for {{hush_fan_in_last}}",
                )
            ],
            Seen("s"),
            links=(trace_link("Runs of this graph in Jaeger", RUN),),
            width=10,
        ),
        draw_lines(
            "Spread of arrivals, 95 %",
            "A spread that grows while durations stay is a straggler; one that grows with them "
            "is load.",
            [Query(quantile_of(0.95, "hush_fan_in_spread_seconds", WHERE, BY), NAME)],
            Seen("s", warn=5, bad=30),
            links=(trace_link("Runs of this graph in Jaeger", RUN),),
        ),
        draw_lines(
            "Waiting joins",
            "Joins that wait at this moment, and since when. A line that climbs without end is "
            "stuck: the log names whom it waits for.",
            [
                Query(
                    f"max by ({BY}, instance) (hush_fan_in_oldest_wait_seconds{{{WHERE}}})",
                    NAME + " at {{instance}}",
                )
            ],
            Seen("s", warn=60, bad=300, points=True),
            alerts=("HushJoinStuck",),
            links=(trace_link("Runs of this graph in Jaeger", RUN),),
        ),
    )
    made = add_row(
        made,
        "The limit or the item",
        draw_bars(
            "Slots in use",
            "Of max_concurrency. Full and waiting: ask `hush whatif` what more would bring. Full "
            "and not waiting: it fits.",
            Query(f"hush_graph_name_hush_node_name:hush_slots:utilisation{{{WHERE}}}", NAME),
            Seen("percentunit", warn=0.8, bad=0.95, most=1),
            alerts=("HushSlotsSaturated",),
            width=8,
        ),
        draw_lines(
            "Slots in use and their limit",
            "Both rise and fall with the number of runs: each run of a map brings its own slots.",
            [
                Query(f"sum by ({BY}) (hush_slots_used{{{WHERE}}})", NAME + " used"),
                Query(f"sum by ({BY}) (hush_slots_limit{{{WHERE}}})", NAME + " limit"),
            ],
            Seen("short"),
            alerts=("HushSlotsSaturated",),
            width=8,
        ),
        draw_lines(
            "Waiting against running",
            "What an item waits before it starts, and what it then takes, on average. Waiting "
            "above running: the limit is to blame. Running alone: the item.",
            [
                Query(
                    f"sum by ({BY}) (rate(hush_item_wait_seconds_sum{{{WHERE}}}"
                    f"[$__rate_interval])) / (sum by ({BY}) "
                    f"(rate(hush_item_wait_seconds_count{{{WHERE}}}[$__rate_interval])) > 0)",
                    NAME + " waits",
                ),
                Query(
                    f"sum by ({BY}) (rate(hush_item_duration_seconds_sum{{{WHERE}}}"
                    f"[$__rate_interval])) / (sum by ({BY}) "
                    f"(rate(hush_item_duration_seconds_count{{{WHERE}}}[$__rate_interval])) > 0)",
                    NAME + " runs",
                ),
            ],
            Seen("s"),
            alerts=("HushSlotsSaturated",),
            links=(trace_link("Runs of this graph in Jaeger", RUN),),
            width=8,
        ),
        draw_heat(
            "Waits of items",
            "A band far to the right of the others is a limit that is hit in some runs only.",
            Query(
                f"sum by (le) (increase(hush_item_wait_seconds_bucket{{{WHERE}}}"
                "[$__rate_interval]))",
                "{{le}}",
            ),
            "s",
        ),
        draw_lines(
            "Waits for shared limits, and the event loop",
            "Seconds per second that nodes wait for threads and rate limits which all runs "
            "share, and that nodes hold up the event loop.",
            [
                Query(
                    f"sum by ({BY}) (rate(hush_limiter_wait_seconds_total{{{WHERE}}}"
                    "[$__rate_interval]))",
                    NAME + " waits for a limit",
                ),
                Query(
                    f"sum by ({BY}) (rate(hush_loop_blocked_seconds_total{{{WHERE}}}"
                    "[$__rate_interval]))",
                    NAME + " holds up the loop",
                ),
            ],
            Seen("s"),
            alerts=("HushEventLoopBlocked",),
        ),
    )
    return add_row(
        made,
        "Nodes",
        draw_lines(
            "Duration of nodes, 95 %",
            "The slowest ten. What is on the critical path is in the trace: `hush.critical_path`.",
            [
                Query(
                    f"topk(10, {quantile_of(0.95, 'hush_node_duration_seconds', WHERE, BY)})", NAME
                )
            ],
            Seen("s"),
            links=(trace_link("This node in Jaeger", "node ${__field.labels.hush_node_name}"),),
        ),
        draw_lines(
            "Failures of nodes",
            "By type. A node under a retry policy counts once, when it has given up.",
            [
                Query(
                    f"sum by ({BY}, error_type) (rate(hush_node_duration_seconds_count"
                    f'{{{WHERE},hush_outcome=~"error|timeout|handled"}}[$__rate_interval]))',
                    NAME + " {{error_type}}",
                )
            ],
            Seen("reqps", stacked=True),
            alerts=("HushItemFailures",),
            links=(
                trace_link(
                    "Failures of this node in Jaeger",
                    "node ${__field.labels.hush_node_name}",
                    '{"error":"true"}',
                ),
            ),
        ),
        draw_lines(
            "Threads left behind",
            "Threads of nodes that timed out and still run: Python cannot stop them. A number "
            "that grows ends in a restart.",
            [Query("max by (job, instance) (hush_threads_abandoned)", "{{instance}}")],
            Seen("short", warn=8, bad=32),
            alerts=("HushThreadsAbandoned",),
        ),
        draw_lines(
            "Cancellations",
            "Of nodes and items, by reason. fail_fast and tolerance_exceeded follow a failure; "
            "race_lost is what First() is for; external is the caller.",
            [
                Query(
                    "sum by (hush_graph_name, hush_cancel_reason) "
                    f"(rate(hush_cancellations_total{{{WHERE}}}[$__rate_interval]))",
                    "{{hush_graph_name}} {{hush_cancel_reason}}",
                )
            ],
            Seen("ops", stacked=True),
            links=(trace_link("Runs of this graph in Jaeger", RUN),),
        ),
    )
