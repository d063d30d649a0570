"""The dashboard of calls to language models: tokens, cost, first token, refusals, by model."""

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

CALLS = "gen_ai_client_operation_duration_seconds"
FIRST = "gen_ai_client_operation_time_to_first_chunk_seconds"
TOKENS = "gen_ai_client_token_usage"
WHERE = 'gen_ai_request_model=~"$model"'
MODEL = "{{gen_ai_request_model}}"
CHAT = "chat ${__field.labels.gen_ai_request_model}"
CALLS_IN_JAEGER = trace_link("Calls to this model in Jaeger", CHAT)
FAILED_IN_JAEGER = trace_link("Failed calls in Jaeger", CHAT, '{"error":"true"}')


def build() -> Any:
    """Return the dashboard."""
    made = start_dashboard(
        "hush-models",
        "Hush: language models",
        "What calls to models take, cost and lose.",
        [
            choose(
                "model",
                "Model",
                f"label_values({CALLS}_count, gen_ai_request_model)",
                "Which models, as they are asked for.",
            )
        ],
    )
    made = add_row(
        made,
        "Now",
        draw_number(
            "Calls a second",
            "Each attempt is a call, and so is each fallback.",
            Query(f"sum(rate({CALLS}_count{{{WHERE}}}[$__rate_interval]))"),
            Seen("reqps"),
        ),
        draw_number(
            "USD an hour",
            "At the present rate, where prices are known (resources.yaml). Nothing is known of "
            "what costs nothing here.",
            Query(f"sum(rate(hush_llm_cost_total{{{WHERE}}}[$__rate_interval])) * 3600"),
            Seen("currencyUSD"),
            alerts=("HushLlmCostSpike",),
        ),
        draw_number(
            "Tokens a second",
            "Input and output together; the panels below tell them apart.",
            Query(f"sum(rate({TOKENS}_sum{{{WHERE}}}[$__rate_interval]))"),
            Seen("short"),
        ),
        draw_number(
            "First token, 95 %",
            "Of streamed calls: how long somebody stares at nothing.",
            Query(quantile_of(0.95, FIRST, WHERE)),
            Seen("s", warn=2, bad=5),
        ),
        draw_number(
            "Refused (429)",
            "Share of the calls that the provider refuses as too many. Set requests and tokens a "
            "minute in resources.yaml below what the provider allows.",
            Query(
                f'sum(rate({CALLS}_count{{{WHERE},error_type="429"}}[$__rate_interval])) / '
                f"(sum(rate({CALLS}_count{{{WHERE}}}[$__rate_interval])) > 0)"
            ),
            Seen("percentunit", warn=0.02, bad=0.1),
            alerts=("HushLlmRateLimited",),
        ),
        draw_number(
            "Failed otherwise",
            "Share of the calls that fail for other reasons: keys, names, time limits, 5xx.",
            Query(
                f'sum(rate({CALLS}_count{{{WHERE},error_type!="",error_type!~"429|cancelled"}}'
                f"[$__rate_interval])) / (sum(rate({CALLS}_count{{{WHERE}}}"
                "[$__rate_interval])) > 0)"
            ),
            Seen("percentunit", warn=0.05, bad=0.2),
            alerts=("HushLlmErrors",),
        ),
    )
    made = add_row(
        made,
        "Cost and tokens",
        draw_lines(
            "Cost",
            "USD an hour, by model. A step without more calls is longer prompts: look at the "
            "tokens.",
            [
                Query(
                    "sum by (gen_ai_request_model) (rate(hush_llm_cost_total"
                    f"{{{WHERE}}}[$__rate_interval])) * 3600",
                    MODEL,
                )
            ],
            Seen("currencyUSD", stacked=True),
            alerts=("HushLlmCostSpike",),
            links=(CALLS_IN_JAEGER,),
        ),
        draw_lines(
            "Tokens",
            "A second, by model and direction. Input costs less and grows unseen.",
            [
                Query(
                    "sum by (gen_ai_request_model, gen_ai_token_type) "
                    f"(rate({TOKENS}_sum{{{WHERE}}}[$__rate_interval]))",
                    MODEL + " {{gen_ai_token_type}}",
                )
            ],
            Seen("short", stacked=True),
            alerts=("HushLlmCostSpike",),
            links=(CALLS_IN_JAEGER,),
        ),
        draw_lines(
            "Tokens of a call",
            "On average. Input that grows from hour to hour is a history that nobody cuts.",
            [
                Query(
                    "sum by (gen_ai_request_model, gen_ai_token_type) "
                    f"(rate({TOKENS}_sum{{{WHERE}}}[$__rate_interval])) / "
                    "(sum by (gen_ai_request_model, gen_ai_token_type) "
                    f"(rate({TOKENS}_count{{{WHERE}}}[$__rate_interval])) > 0)",
                    MODEL + " {{gen_ai_token_type}}",
                )
            ],
            Seen("short"),
            links=(CALLS_IN_JAEGER,),
        ),
        draw_lines(
            "Wasted",
            "Tokens a second and USD an hour of calls whose answer nobody used: lost races, "
            "cancelled runs, cut streams.",
            [
                Query(
                    "sum by (hush_graph_name) (rate(hush_llm_tokens_wasted_total"
                    "[$__rate_interval]))",
                    "{{hush_graph_name}} tokens",
                ),
                Query(
                    "sum by (hush_graph_name) (rate(hush_llm_cost_wasted_total"
                    "[$__rate_interval])) * 3600",
                    "{{hush_graph_name}} USD",
                ),
            ],
            Seen("short"),
            alerts=("HushLlmCostSpike",),
        ),
    )
    return add_row(
        made,
        "Speed and failures",
        draw_lines(
            "Duration of calls",
            "Median and 95 %, by model. When the provider slows down, all graphs do.",
            [
                Query(
                    quantile_of(quantile, CALLS, WHERE, "gen_ai_request_model"), f"{MODEL} {shown}"
                )
                for quantile, shown in ((0.5, "median"), (0.95, "95 %"))
            ],
            Seen("s"),
            links=(CALLS_IN_JAEGER,),
        ),
        draw_lines(
            "Time to the first token",
            "Of streamed calls, median and 95 %: what people wait for.",
            [
                Query(
                    quantile_of(quantile, FIRST, WHERE, "gen_ai_request_model"), f"{MODEL} {shown}"
                )
                for quantile, shown in ((0.5, "median"), (0.95, "95 %"))
            ],
            Seen("s", warn=2, bad=5),
            links=(CALLS_IN_JAEGER,),
        ),
        draw_lines(
            "Failed calls",
            "By what the server said. 429 is a limit, 401 a key, 404 a name, cancelled a lost "
            "race or a cancelled run.",
            [
                Query(
                    "sum by (gen_ai_request_model, error_type) "
                    f'(rate({CALLS}_count{{{WHERE},error_type!=""}}[$__rate_interval]))',
                    MODEL + " {{error_type}}",
                )
            ],
            Seen("reqps", stacked=True),
            alerts=("HushLlmRateLimited", "HushLlmErrors"),
            links=(FAILED_IN_JAEGER,),
        ),
        draw_heat(
            "Durations of calls",
            "Each column is a distribution; a band at the time limit is calls that were given up.",
            Query(f"sum by (le) (increase({CALLS}_bucket{{{WHERE}}}[$__rate_interval]))", "{{le}}"),
            "s",
        ),
        draw_lines(
            "Calls as spans, with traces",
            "Durations from spans, 95 %; each point opens the trace of a call.",
            [
                spans_95(
                    'service_name=~"$service",span_name=~"chat ($model)"',
                    "span_name",
                    "{{span_name}}",
                )
            ],
            Seen("s"),
            links=(trace_link("These calls in Jaeger", "${__field.labels.span_name}"),),
            width=24,
        ),
    )
