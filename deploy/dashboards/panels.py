"""What the dashboards have in common: queries, panels, variables, links. Knows no metric of Hush."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.builders import bargauge, common, heatmap, prometheus, stat, table
from grafana_foundation_sdk.builders import dashboard as building
from grafana_foundation_sdk.builders import timeseries as lines
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heat
from grafana_foundation_sdk.models import prometheus as promql

if TYPE_CHECKING:
    from collections.abc import Sequence

PROMETHEUS = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
RUNBOOKS = "http://127.0.0.1:8000/runbooks"
"""Where docs/runbooks is to be read; a variable of each dashboard, as in prometheus.yml."""
JAEGER_UI = "http://127.0.0.1:16686"
TAG = "hush"
WIDTH = 24
GREEN, YELLOW, RED = "green", "yellow", "red"


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression of a panel."""

    expr: str
    legend: str = "__auto"
    exemplars: bool = False
    """Points that lead to traces are shown with it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How a panel presents its numbers."""

    unit: str
    warn: float | None = None
    """From here on yellow; None for no thresholds."""
    bad: float | None = None
    """From here on red."""
    low_is_bad: bool = False
    most: float | None = None
    """The end of the axis; None leaves it to the data."""
    stacked: bool = False
    points: bool = False


def quantile_of(quantile: float, metric: str, where: str, by: str = "") -> str:
    """Return the expression for a quantile of a histogram, over all series or by labels."""
    labels = ", ".join(filter(None, ("le", by)))
    return (
        f"histogram_quantile({quantile}, sum by ({labels}) "
        f"(rate({metric}_bucket{{{where}}}[$__rate_interval])))"
    )


def spans_95(where: str, by: str, legend: str) -> Query:
    """Return the query for how long spans took, whose points lead to traces."""
    metric = "traces_span_metrics_duration_seconds"
    return Query(quantile_of(0.95, metric, where, by), legend, exemplars=True)


def build_targets(queries: Sequence[Query], *, instant: bool = False) -> list[Any]:
    """Return the queries of a panel, named A, B, C."""
    targets = []
    for name, query in zip("ABCDEFGH", queries, strict=False):
        target = (
            prometheus.Dataquery()
            .ref_id(name)
            .expr(query.expr)
            .legend_format(query.legend)
            .datasource(PROMETHEUS)
            .editor_mode(promql.QueryEditorMode.CODE)
        )
        if instant:
            target = target.instant().format(promql.PromQueryFormat.TABLE)
        else:
            target = target.range()
        if query.exemplars:
            target = target.exemplar(exemplar=True)
        targets.append(target)
    return targets


def build_thresholds(seen: Seen) -> Any:
    """Return the thresholds: one colour, or two or three of them."""
    first, last = (RED, GREEN) if seen.low_is_bad else (GREEN, RED)
    steps = [models.Threshold(value=None, color=first)]
    if seen.warn is not None:
        steps.append(models.Threshold(value=seen.warn, color=YELLOW))
    if seen.bad is not None:
        steps.append(models.Threshold(value=seen.bad, color=last))
    return building.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _begin(
    panel: Any, title: str, text: str, targets: Sequence[Any], width: int, height: int
) -> Any:
    panel = panel.title(title).description(text).datasource(PROMETHEUS).targets(list(targets))
    return panel.span(width).height(height)


def _present(panel: Any, seen: Seen, alerts: Sequence[str]) -> Any:
    panel = (
        panel.unit(seen.unit)
        .thresholds(build_thresholds(seen))
        .links([runbook_link(alert) for alert in alerts])
    )
    if seen.most is not None:
        panel = panel.max(seen.most)
    return panel


def runbook_link(alert: str) -> Any:
    """Return the link to the page of an alert."""
    return (
        building.DashboardLink(f"Runbook: {alert}")
        .type(models.DashboardLinkType.LINK)
        .url(f"${{runbooks}}/{alert}/")
        .target_blank(target_blank=True)
    )


def trace_link(title: str, operation: str, tags: str = "") -> Any:
    """Return the link from a point to the search in Jaeger around its time.

    Args:
        title: what the link is called.
        operation: the name of the span, where Grafana's variables may stand for parts.
        tags: which tags the span must have, as JSON; empty for any.
    """
    from urllib.parse import quote  # noqa: PLC0415  # the only place

    keep = "${}_.:"
    url = (
        f"${{jaeger_ui}}/search?service=${{service}}&operation={quote(operation, safe=keep)}"
        "&start=${__from}000&end=${__to}000&limit=20"
    )
    if tags:
        url += f"&tags={quote(tags, safe=keep)}"
    return building.DashboardLink(title).url(url).target_blank(target_blank=True)


def draw_lines(
    title: str,
    text: str,
    queries: Sequence[Query],
    seen: Seen,
    *,
    alerts: Sequence[str] = (),
    links: Sequence[Any] = (),
    width: int = 12,
    height: int = 8,
) -> Any:
    """Return a panel with one line for each series over time."""
    panel = _begin(lines.Panel(), title, text, build_targets(queries), width, height)
    panel = (
        _present(panel, seen, alerts)
        .min(0)
        .fill_opacity(35 if seen.stacked else 8)
        .line_width(1)
        .show_points(shapes.VisibilityMode.ALWAYS if seen.points else shapes.VisibilityMode.AUTO)
        .legend(
            common.VizLegendOptions()
            .display_mode(shapes.LegendDisplayMode.TABLE)
            .placement(shapes.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(shapes.TooltipDisplayMode.MULTI)
            .sort(shapes.SortOrder.DESCENDING)
        )
    )
    if seen.stacked:
        panel = panel.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL))
    if seen.warn is not None or seen.bad is not None:
        panel = panel.thresholds_style(
            common.GraphThresholdsStyleConfig().mode(shapes.GraphThresholdsStyleMode.DASHED)
        )
    if links:
        panel = panel.data_links(list(links))
    return panel


def draw_number(
    title: str,
    text: str,
    query: Query,
    seen: Seen,
    *,
    alerts: Sequence[str] = (),
    width: int = 4,
    zero: str = "0",
) -> Any:
    """Return a panel with one number, its colour saying whether that is good."""
    panel = _begin(stat.Panel(), title, text, build_targets([query]), width, 4)
    return (
        _present(panel, seen, alerts)
        .no_value(zero)
        .color_mode(shapes.BigValueColorMode.VALUE)
        .graph_mode(shapes.BigValueGraphMode.AREA)
        .reduce_options(_last_value())
    )


def _last_value() -> Any:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(values=False)


def draw_bars(
    title: str,
    text: str,
    query: Query,
    seen: Seen,
    *,
    alerts: Sequence[str] = (),
    width: int = 12,
    height: int = 8,
) -> Any:
    """Return a panel with a bar for each series: how full it is now."""
    panel = _begin(bargauge.Panel(), title, text, build_targets([query]), width, height)
    return (
        _present(panel, seen, alerts)
        .min(0)
        .orientation(shapes.VizOrientation.HORIZONTAL)
        .display_mode(shapes.BarGaugeDisplayMode.LCD)
        .reduce_options(_last_value())
    )


def draw_heat(
    title: str, text: str, query: Query, unit: str, *, width: int = 12, height: int = 8
) -> Any:
    """Return a heat map of a histogram's buckets over time."""
    targets = [target.format(promql.PromQueryFormat.HEATMAP) for target in build_targets([query])]
    return (
        _begin(heatmap.Panel(), title, text, targets, width, height)
        .calculate(calculate=False)
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heat.HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .steps(64)
        )
        .cell_gap(1)
    )


def draw_table(
    title: str,
    text: str,
    queries: Sequence[Query],
    columns: dict[str, tuple[str, str]],
    *,
    alerts: Sequence[str] = (),
    width: int = 12,
    height: int = 8,
    sort: str = "",
) -> Any:
    """Return a table of what holds now.

    Args:
        title: of the panel.
        text: what to do with it.
        queries: one for each column of numbers; joined by their labels.
        columns: what Prometheus calls a column, and what it is called here, with its unit.
        alerts: whose runbooks are linked.
        width: of 24.
        height: in units of Grafana's grid.
        sort: by which column, highest first; empty for no order.
    """
    targets = build_targets(queries, instant=True)
    panel = (
        _begin(table.Panel(), title, text, targets, width, height)
        .links([runbook_link(alert) for alert in alerts])
        .with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            models.DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": {"Time": True},
                    "renameByName": {name: shown for name, (shown, _) in columns.items()},
                },
            )
        )
    )
    for shown, unit in columns.values():
        if unit:
            panel = panel.override_by_name(
                shown, [models.DynamicConfigValue(id_val="unit", value=unit)]
            )
    if sort:
        panel = panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(desc=True)])
    return panel


def choose(name: str, label: str, query: str, text: str) -> Any:
    """Return a variable whose values are those of a label; several may be chosen."""
    return (
        _values(name, label, query, text)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(models.VariableOption(selected=True, text="All", value="$__all"))
    )


def _values(name: str, label: str, query: str, text: str) -> Any:
    return (
        building.QueryVariable(name)
        .label(label)
        .description(text)
        .query({"query": query, "refId": name})
        .datasource(PROMETHEUS)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )


def _address(name: str, label: str, default: str, text: str) -> Any:
    return building.TextBoxVariable(name).label(label).description(text).default_value(default)


def start_dashboard(uid: str, title: str, text: str, variables: Sequence[Any]) -> Any:
    """Return a dashboard with what all of them have: variables, links to the others."""
    made = (
        building.Dashboard(title)
        .uid(uid)
        .description(text)
        .tags([TAG])
        .timezone("browser")
        .refresh("30s")
        .time("now-1h", "now")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .editable()
        .with_variable(
            building.DatasourceVariable("datasource")
            .label("Metrics")
            .type("prometheus")
            .current(models.VariableOption(selected=True, text="Prometheus", value="prometheus"))
        )
    )
    service = _values(
        "service",
        "Service",
        'label_values(traces_span_metrics_calls_total{span_name=~"run .*"}, service_name)',
        "Whose traces the links to Jaeger search.",
    )
    jaeger = _address("jaeger_ui", "Jaeger", JAEGER_UI, "Where the browser finds Jaeger.")
    runbooks = _address(
        "runbooks", "Runbooks", RUNBOOKS, "Where the browser finds the pages of docs/runbooks."
    )
    for variable in (*variables, service, jaeger, runbooks):
        made = made.with_variable(variable)
    return made.link(
        building.DashboardLink("Hush")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(as_dropdown=True)
        .include_vars(include_vars=True)
        .keep_time(keep_time=True)
    )


def add_row(made: Any, title: str, *panels: Any) -> Any:
    """Add a row and its panels."""
    made = made.with_row(building.Row(title))
    for panel in panels:
        made = made.with_panel(panel)
    return made
