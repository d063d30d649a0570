"""What a plan looks like, as text and as a Mermaid flowchart."""

from __future__ import annotations

import re

from hush.core import (
    END,
    PARENT,
    START,
    Branch,
    BranchNode,
    CodeNode,
    Each,
    First,
    ForLoopNode,
    GraphNode,
    Hush,
    MapNode,
    Quorum,
    Retry,
    WhileLoopNode,
)
from hush.plan.explain import explain
from hush.plan.mermaid import to_mermaid


def step(name, **options):
    return CodeNode(name=name, code_fn=lambda: {"v": name}, **options)


def report():
    """One of each: branch, map, race, quorum, loop, soft and hard edges, policies."""

    def load(path, limit=10):
        return {"rows": [path] * limit}

    with GraphNode(name="report") as graph:
        loader = CodeNode(
            code_fn=load,
            return_keys=["rows"],
            inputs={"path": PARENT, "limit": PARENT},
            retry=Retry(4),
            timeout_s=2.5,
            deadline_s=60,
        )
        router = BranchNode(
            name="router",
            cases={"size > 100": "big"},
            default="small",
            inputs={"size": loader["rows"].apply(len)},
        )
        with MapNode(
            name="big",
            inputs={"row": Each(loader["rows"])},
            max_concurrency=4,
            on_error="collect",
            outputs={"score": PARENT["scores"]},
        ) as big:
            score = CodeNode(
                name="score",
                code_fn=lambda row: {"score": len(row)},
                inputs={"row": PARENT},
                outputs={"score": PARENT},
            )
            START >> score >> END
        small = CodeNode(
            name="small",
            code_fn=lambda rows: {"scores": rows},
            inputs={"rows": loader},
            outputs={"scores": PARENT},
        )
        fastest = step("fastest", join=First())
        most = step("most", join=Quorum(2), on_error="capture")
        with WhileLoopNode(name="polish", condition="n < 3", inputs={"n": 0}) as polish:
            count = CodeNode(
                name="count",
                code_fn=lambda n: {"n": n + 1},
                inputs={"n": PARENT},
                outputs={"n": PARENT},
            )
            START >> count >> END
        last = CodeNode(
            name="last",
            code_fn=lambda scores: {"out": scores},
            inputs={"scores": PARENT["scores"].or_default([])},
            outputs={"out": PARENT},
        )
        START >> loader >> router >> [big, small] >> ~last
        START >> [step("east"), step("west")] >> fastest >> polish >> last >> END
        START >> [step("one"), step("two"), step("three")] >> most >> END
    return graph


EXPLAINED = """\
graph report: 15 nodes
  inputs: path, limit?
  outputs: out, scores
  code load      at start [4 attempts; timeout 2.5 s; deadline 60 s]
  code east      at start
  code west      at start
  code one       at start
  code two       at start
  code three     at start
  branch router  after load [chooses among big, small]
  code fastest   after the first of east, west
  code most      after 2 of one, two, three [on error capture]
  map big        after router [at most 4 at a time; on error collect]
      code score  at start
  code small     after router
  loop polish    after fastest
      code count  at start
  code last      after polish and any of big, small"""

DRAWN = """\
flowchart LR
    n_start((START))
    n0["load"]
    n1{"router"}
    subgraph n2["map big"]
        direction LR
        n2__start((START))
        n2_0["score"]
        n2__end((END))
        n2__start --> n2_0
        n2_0 --> n2__end
    end
    n3["small"]
    n4["fastest"]
    n5["most"]
    subgraph n6["loop polish"]
        direction LR
        n6__start((START))
        n6_0["count"]
        n6__end((END))
        n6__start --> n6_0
        n6_0 --> n6__end
    end
    n7["last"]
    n8["east"]
    n9["west"]
    n10["one"]
    n11["two"]
    n12["three"]
    n_end((END))
    n_start --> n0
    n0 --> n1
    n1 -->|choice| n2
    n1 -->|choice| n3
    n8 -->|first| n4
    n9 -->|first| n4
    n4 --> n6
    n10 -->|2 of 3| n5
    n11 -->|2 of 3| n5
    n12 -->|2 of 3| n5
    n5 --> n_end
    n6 --> n7
    n2 -.-> n7
    n3 -.-> n7
    n7 --> n_end
    n_start --> n8
    n_start --> n9
    n_start --> n10
    n_start --> n11
    n_start --> n12"""


def test_explain_says_everything():
    assert report().explain() == EXPLAINED


def test_mermaid_draws_everything():
    # The order of edges is nobody's promise; the rest is.
    lines = report().to_mermaid().splitlines()
    expected = DRAWN.splitlines()
    at = lines.index("    n_end((END))") + 1
    assert lines[:at] == expected[:at]
    assert sorted(lines[at:]) == sorted(expected[at:])


def test_a_graph_and_its_plan_are_told_alike():
    graph = report()
    plan = Hush(graph).plan
    assert explain(plan) == graph.explain()
    assert to_mermaid(plan) == graph.to_mermaid()


def test_the_text_does_not_depend_on_the_order_of_the_edges():
    def built(*, reverse):
        with GraphNode(name="g") as graph:
            a, b, c = step("a"), step("b"), step("c")
            edges = [(START, a), (START, b), (a, c), (b, c), (c, END)]
            for source, target in reversed(edges) if reverse else edges:
                source >> target
        return graph.explain().replace("b, a", "a, b")

    assert built(reverse=False) == built(reverse=True)


def test_a_graph_that_takes_and_gives_nothing():
    with GraphNode(name="g") as graph:
        START >> step("a") >> END
    lines = graph.explain().splitlines()
    assert lines[0].startswith("graph g: 1 node")
    assert lines[1:] == ["  inputs: none", "  outputs: none", "  code a  at start"]


def test_open_inputs_and_outputs_are_stars():
    with GraphNode(name="g", inputs={"*": PARENT}) as graph:
        START >> step("a", outputs={"*": PARENT}) >> END
    lines = graph.explain().splitlines()
    assert lines[1:3] == ["  inputs: *", "  outputs: *"]


def test_literal_inputs_of_the_graph_are_optional():
    with GraphNode(name="g", inputs={"x": 1, "y": PARENT}) as graph:
        both = {"x": PARENT, "y": PARENT}
        START >> CodeNode(name="a", code_fn=lambda x, y: {}, inputs=both) >> END
    assert graph.explain().splitlines()[1] == "  inputs: y, x?"


def test_long_lists_are_cut():
    with GraphNode(name="g") as graph:
        START >> [step(f"n{i}") for i in range(11)] >> step("last") >> END
    assert graph.explain().splitlines()[-1] == (
        "  code last  after all of n0, n1, n2, n3, n4, n5, n6, n7 and 3 more"
    )


def test_a_soft_start_waits_for_nothing():
    with GraphNode(name="g") as graph:
        b = step("b")
        START >> step("a") >> ~b >> END
        START >> ~b
    assert set(graph.explain().splitlines()[-2:]) == {"  code a  at start", "  code b  at start"}


def test_an_edge_that_is_hard_and_soft_is_hard_whichever_was_written_first():
    def built(*, hard_first):
        with GraphNode(name="g") as graph:
            a, b, last = step("a"), step("b"), step("last")
            START >> [a, b]
            if hard_first:
                a >> last
            [a, b] >> ~last >> END
            if not hard_first:
                a >> last
        return Hush(graph).plan

    for plan in built(hard_first=True), built(hard_first=False):
        assert plan.shape.hard[2] == (0,)
    assert explain(built(hard_first=True)) == explain(built(hard_first=False))


def test_a_maps_policies_for_its_items_are_told():
    with GraphNode(name="g") as graph:
        with MapNode(
            name="m",
            inputs={"x": Each([1])},
            max_concurrency=2,
            retry=Retry(3),
            timeout_s=5,
            deadline_s=20,
        ) as node:
            START >> step("a") >> END
        START >> node >> END
    line = graph.explain().splitlines()[3]
    for said in ("at most 2 at a time", "3 attempts", "timeout 5 s", "deadline 20 s"):
        assert said in line


def test_a_for_loop_runs_one_at_a_time():
    with GraphNode(name="g") as graph:
        with ForLoopNode(name="each", inputs={"x": Each([1])}) as node:
            START >> step("a") >> END
        START >> node >> END
    assert graph.explain().splitlines()[3] == "  loop each  at start [at most 1 at a time]"


def test_a_branch_names_each_target_once():
    with GraphNode(name="g") as graph:
        a = step("a")
        START >> Branch("r").if_(PARENT["x"] > 1, a).if_(PARENT["x"] < 0, "a").otherwise("b")
        step("b") >> END
    assert "  branch r  at start [chooses among a, b]" in graph.explain().splitlines()


def test_names_are_quoted_for_mermaid():
    name = 'say "hi" <b>&#35; |x| {y} (z)\n%% end; --> `c`'
    with GraphNode(name="g") as graph:
        with GraphNode(name=f"in {name}") as inner:
            START >> step(name) >> END
        router = Branch("if <").if_(PARENT["x"] > 1, "end")
        START >> inner >> router >> step("end") >> END
    quoted = "say &quot;hi&quot; &lt;b&gt;&amp;&num;35; |x| {y} (z) %% end; --&gt; `c`"
    lines = [line.strip() for line in graph.to_mermaid().splitlines()]
    assert f'subgraph n0["graph in {quoted}"]' in lines
    assert f'n0_0["{quoted}"]' in lines
    assert 'n1{"if &lt;"}' in lines
    assert 'n2["end"]' in lines
    assert lines.count("end") == 1


def test_every_line_of_mermaid_is_one_of_few_forms():
    form = re.compile(
        r"flowchart LR"
        r"| +direction LR"
        r"| +end"
        r"| +\w+\(\((START|END)\)\)"
        r'| +\w+\["[^"\n]*"\]'
        r'| +\w+\{"[^"\n]*"\}'
        r'| +subgraph \w+\["[^"\n]*"\]'
        r"| +\w+ -(-|\.-)>(\|[\w ]+\|)? \w+"
    )
    for line in report().to_mermaid().splitlines():
        assert form.fullmatch(line), line
