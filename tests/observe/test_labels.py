"""Labels stay few, whatever names graphs, nodes and errors have."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hush import semconv
from hush.core import END, START, CodeNode, GraphNode, Hush, RunError
from hush.observe.labels import GRAPHS, NODES, SERIES, VALUE_LENGTH, VALUES, Names, Series
from hush.observe.metrics import remember
from tests.observe.measuring import measuring


def failing(name, node, error):
    def fail():
        raise error

    with GraphNode(name=name) as graph:
        START >> CodeNode(name=node, code_fn=fail, run_in="loop") >> END
    return Hush(graph)


def test_thousands_of_generated_names():
    hostile = 'evil\n{} "quoted" \\\\ {{é}} 漢字 ' + "x" * 300
    with measuring(gauges=True) as metrics:
        for number in range(2_500):
            kind = type(f"Error{number}", (Exception,), {})
            name = hostile.format(number) if number % 2 else f"graph_{number}"
            try:
                failing(name, f"node_{number}", kind()).run_sync()
            except RunError:
                pass
            else:
                raise AssertionError("did not fail")
        for name in (semconv.METRIC_RUN_DURATION, semconv.METRIC_NODE_DURATION):
            labels = [dict(point.attributes) for point in metrics.points(name)]
            assert metrics.total(name) == 2_500  # bounded, and nothing is lost
            assert len(labels) <= SERIES + 50
            assert len({one["hush.graph.name"] for one in labels}) <= GRAPHS + 1
            assert len({one["error.type"] for one in labels}) <= VALUES + 1
            assert len({one.get("hush.node.name") for one in labels}) <= NODES + 1
            assert all(len(value) <= VALUE_LENGTH for one in labels for value in one.values())
            assert "other" in {one["hush.graph.name"] for one in labels}
            assert "_OTHER" in {one["error.type"] for one in labels}
            assert {one["hush.outcome"] for one in labels} == {"error"}
            # Ours is reached first: the SDK's would take away all labels.
            assert not any("otel.metric.overflow" in one for one in labels)
        active = metrics.numbers(semconv.METRIC_RUN_ACTIVE, "graph")
        assert len(active) <= GRAPHS + 1
        assert sum(active.values()) == 0


@given(st.lists(st.tuples(st.text(), st.text(), st.text()), max_size=50))
def test_label_sets_are_bounded_and_never_raise(keys):
    names = Names()
    series = Series(semconv.GRAPH_NAME, semconv.NODE_NAME, semconv.ERROR_TYPE)
    for graph, node, error in keys:
        labels = series.of(names.graph(graph), names.node(node), error)
        assert labels is series.of(names.graph(graph), names.node(node), error)
        for value in labels.values():
            assert type(value) is str


def test_label_sets_beyond_the_bound_share_one_for_each_outcome():
    series = Series(semconv.GRAPH_NAME, semconv.OUTCOME, semconv.ERROR_TYPE)
    made = {tuple(series.of(f"g{n}", "ok", None).items()) for n in range(SERIES)}
    assert len(made) == SERIES
    for n in range(5_000):
        assert series.of(f"h{n}", "ok", None) == {
            semconv.GRAPH_NAME: "other",
            semconv.OUTCOME: "ok",
        }
        assert series.of(f"h{n}", "error", f"E{n}") == {
            semconv.GRAPH_NAME: "other",
            semconv.OUTCOME: "error",
            semconv.ERROR_TYPE: "_OTHER",
        }
    assert len(series._known) == SERIES + 2
    # Those that came first keep theirs.
    assert series.of("g7", "ok", None)[semconv.GRAPH_NAME] == "g7"


def test_made_up_names_fill_no_memory():
    names = Names()
    for n in range(5_000):
        names.graph("long" * 100 + str(n))
        names.node(f"node{n}")
    assert len(names._known) <= GRAPHS + NODES
    assert names.node("node0") == "node0"
    assert names.node("node4999") == "other"
    with measuring(gauges=True) as metrics:
        for n in range(3_000):
            remember(f"g{n}", f"m{n}")
        assert len(metrics.points(semconv.METRIC_SLOTS_USED)) <= SERIES


def test_labels_pass_the_redactor():
    key = "sk-proj-" + "a1B2" * 12
    assert key not in Names().graph(f"graph of {key}")
