"""The dashboard of maps: items per second, failures, retries, and what holds each map back."""

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
    draw_table,
    quantile_of,
    spans_95,
    start_dashboard,
    trace_link,
)
from runs import CHOOSE_GRAPH

BY = "hush_graph_name, hush_node_name"
NAME = "{{hush_graph_name}} {{hush_node_name}}"
WHERE = 'hush_graph_name=~"$graph",hush_node_name=~"$node"'
ITEMS = "hush_item_duration_seconds"
BAD = 'hush_outcome=~"error|timeout|handled"'
ITEM = "item ${__field.labels.hush_node_name}"
FAILED_ITEMS = trace_link("Failed items in Jaeger", ITEM, '{"error":"true"}')

CHOOSE_MAP = choose(
    "node",
    "Map",
    'label_values(hush_item_duration_seconds_count{hush_graph_name=~"$graph"}, hush_node_name)',
    "Which maps.",
)


def build() -> Any:
    """Return the dashboard."""
    made = start_dashboard(
        "hush-maps",
        "Hush: maps",
        "How fast maps go through their items, how many fail, and what holds them back.",
        [CHOOSE_GRAPH, CHOOSE_MAP],
    )
    made = add_row(
        made,
        "Now",
        draw_number(
            "Items a second",
            "Over all chosen maps. What it could be, `hush whatif` says.",
            Query(f"sum(rate({ITEMS}_count{{{WHERE}}}[$__rate_interval]))"),
            Seen("ops"),
            width=6,
        ),
        draw_number(
            "Failed items",
            "Failed, timed out and handled. The tolerance of a map (`max_failures`) decides when "
            "that ends a run; below it, results lack these items.",
            Query(
                f"sum(rate({ITEMS}_count{{{WHERE},{BAD}}}[$__rate_interval])) / "
                f'(sum(rate({ITEMS}_count{{{WHERE},hush_outcome!="cancelled"}}'
                "[$__rate_interval])) > 0)"
            ),
            Seen("percentunit", warn=0.02, bad=0.1),
            alerts=("HushItemFailures",),
            width=6,
        ),
        draw_number(
            "Retries for each item",
            "Retries of nodes and items, by the number of items. Retries make runs slow before "
            "they make them fail.",
            Query(
                f"sum(rate(hush_retries_total{{{WHERE}}}[$__rate_interval])) / "
                f"(sum(rate({ITEMS}_count{{{WHERE}}}[$__rate_interval])) > 0)"
            ),
            Seen("short", warn=0.1, bad=0.5),
            width=6,
        ),
        draw_number(
            "Items in progress",
            "Mean number of slots in use, from the time that items take.",
            Query(f"sum(rate({ITEMS}_sum{{{WHERE}}}[$__rate_interval]))"),
            Seen("short"),
            width=6,
        ),
    )
    made = add_row(
        made,
        "Throughput and failures",
        draw_lines(
            "Items",
            "By map. A fall while runs stay the same is a slow source or a slow body.",
            [Query(f"sum by ({BY}) (rate({ITEMS}_count{{{WHERE}}}[$__rate_interval]))", NAME)],
            Seen("ops"),
            links=(trace_link("These items in Jaeger", ITEM),),
        ),
        draw_lines(
            "Failed items",
            "By outcome. handled is what the body caught itself and returned as an error.",
            [
                Query(
                    f"sum by ({BY}, hush_outcome) (rate({ITEMS}_count{{{WHERE},{BAD}}}"
                    "[$__rate_interval]))",
                    NAME + " {{hush_outcome}}",
                )
            ],
            Seen("ops", stacked=True),
            alerts=("HushItemFailures",),
            links=(FAILED_ITEMS,),
        ),
        draw_lines(
            "Share of failed items",
            "Compare with max_failures of the map: beyond it the map fails, and with it the run.",
            [
                Query(
                    f"hush_graph_name_hush_node_name:hush_item_failures:ratio_rate10m{{{WHERE}}}",
                    NAME,
                )
            ],
            Seen("percentunit", warn=0.02, bad=0.1),
            alerts=("HushItemFailures",),
            links=(FAILED_ITEMS,),
        ),
        draw_lines(
            "Given up",
            "Items that were cancelled, by reason. tolerance_exceeded: more failed than "
            "max_failures allows.",
            [
                Query(
                    f"sum by ({BY}, hush_cancel_reason) (rate(hush_cancellations_total"
                    f'{{{WHERE},hush_node_kind="item"}}[$__rate_interval]))',
                    NAME + " {{hush_cancel_reason}}",
                )
            ],
            Seen("ops", stacked=True),
            alerts=("HushItemFailures",),
            links=(trace_link("These items in Jaeger", ITEM),),
        ),
        draw_lines(
            "Retries",
            "By what went wrong. Many of one kind are one cause: find it before adding attempts.",
            [
                Query(
                    f"sum by ({BY}, error_type) (rate(hush_retries_total"
                    '{hush_graph_name=~"$graph"}[$__rate_interval]))',
                    NAME + " {{error_type}}",
                )
            ],
            Seen("ops", stacked=True),
            links=(
                trace_link(
                    "Retried items in Jaeger",
                    "attempt ${__field.labels.hush_node_name}",
                    '{"error":"true"}',
                ),
            ),
        ),
    )
    return add_row(
        made,
        "What holds them back",
        draw_table(
            "Bound by",
            "How often each map was held back by what. limit: more slots help. straggler: one "
            "item was late, more slots do not help. source: the source is slow. rate_limit: a "
            "limit that all runs share.",
            [
                Query(
                    f"sum by ({BY}, hush_map_bound_by) "
                    f"(increase(hush_maps_total{{{WHERE}}}[$__range]))"
                )
            ],
            {
                "hush_graph_name": ("Graph", ""),
                "hush_node_name": ("Map", ""),
                "hush_map_bound_by": ("Bound by", ""),
                "Value": ("Maps", "short"),
            },
            alerts=("HushSlotsSaturated",),
            sort="Maps",
        ),
        draw_lines(
            "Bound by",
            "The same over time. A change here explains a change in duration.",
            [
                Query(
                    "sum by (hush_map_bound_by) (rate(hush_maps_total"
                    f"{{{WHERE}}}[$__rate_interval]))",
                    "{{hush_map_bound_by}}",
                )
            ],
            Seen("ops", stacked=True),
        ),
        draw_lines(
            "Duration of items",
            "Median and 99 %. Far apart: stragglers decide how long the map takes.",
            [
                Query(quantile_of(quantile, ITEMS, WHERE, BY), NAME + f" {shown}")
                for quantile, shown in ((0.5, "median"), (0.99, "99 %"))
            ],
            Seen("s"),
            links=(trace_link("These items in Jaeger", ITEM),),
        ),
        draw_heat(
            "Durations of items",
            "A second band far above the first is a time limit, a retry, or another kind of item.",
            Query(f"sum by (le) (increase({ITEMS}_bucket{{{WHERE}}}[$__rate_interval]))", "{{le}}"),
            "s",
        ),
        draw_lines(
            "Spans of items, with traces",
            "Durations of items from their spans; each point opens a trace. Large maps keep the "
            "spans of some items only: the failed, the slowest, and a sample.",
            [
                spans_95(
                    'service_name=~"$service",span_name=~"item ($node)"',
                    "span_name",
                    "{{span_name}}",
                )
            ],
            Seen("s"),
            links=(trace_link("These items in Jaeger", "${__field.labels.span_name}"),),
        ),
    )
