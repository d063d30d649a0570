"""Running: inputs, results, state, several runs at once, both loops."""

from __future__ import annotations

import contextvars
import dataclasses
from typing import TypedDict

import anyio
import pytest

from hush.core import (
    END,
    PARENT,
    START,
    CodeNode,
    Each,
    GraphNode,
    Hush,
    InputError,
    MapNode,
    MissingValueError,
    OutputError,
    RunEnded,
    RunError,
    code_node,
)
from hush.testing import capture_spans


def double():
    with GraphNode(name="double") as graph:
        node = CodeNode(
            name="twice",
            code_fn=lambda x: {"y": x * 2},
            inputs={"x": PARENT["x"]},
            outputs={"y": PARENT},
        )
        START >> node >> END
    return graph


def single(code_fn, *, inputs=None, outputs=None, **options):
    with GraphNode(name="g") as graph:
        node = CodeNode(name="n", code_fn=code_fn, inputs=inputs, outputs=outputs, **options)
        START >> node >> END
    return graph


async def test_result_is_a_mapping_of_outputs_and_state():
    result = await Hush(double()).run({"x": 4}, request_id="r", user_id="u", session_id="s")
    assert result["y"] == 8
    assert set(result) == {"y", "$state"}
    assert result["$state"] is result.state
    assert result.outcome == "ok"
    assert result.skipped == ()
    assert result.trace_id is None
    assert len(result.run_id) == 32
    state = result.state
    assert (state.request_id, state.user_id, state.session_id) == ("r", "u", "s")
    assert state.execution_order == ["double.twice"]
    assert state["double.twice", "y"] == 8
    assert state["double.twice", "z", "default"] == "default"
    with pytest.raises(KeyError, match="it has: y"):
        state["double.twice", "z"]
    with pytest.raises(KeyError, match=r"double\.twice"):
        state["double.other", "z"]


async def test_calling_the_engine_is_running_it():
    assert (await Hush(double())({"x": 1}))["y"] == 2


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_run_sync(backend):
    assert Hush(double()).run_sync({"x": 1}, backend=backend)["y"] == 2


async def test_run_sync_inside_a_loop_is_an_error():
    with pytest.raises(RuntimeError):
        Hush(double()).run_sync({"x": 1})


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "missing: x"),
        (None, "missing: x"),
        ({"x": 1, "z": 2}, "unknown: z"),
        ({"z": 2}, "missing: x; unknown: z"),
        ([1], "expected a mapping"),
    ],
)
async def test_wrong_inputs_start_nothing(inputs, said):
    with pytest.raises(InputError, match=said):
        await Hush(double()).run(inputs)


@pytest.mark.parametrize("deadline_s", [0, -1, float("nan"), float("inf"), "1", True])
async def test_wrong_deadlines_start_nothing(deadline_s):
    with pytest.raises(InputError, match="deadline_s"):
        await Hush(double()).run({"x": 1}, deadline_s=deadline_s)


async def test_an_input_with_a_default_may_be_left_out():
    def add(x, y=10):
        return {"z": x + y}

    graph = single(add, inputs={"x": PARENT["x"], "y": PARENT["y"]}, outputs={"z": PARENT})
    engine = Hush(graph)
    assert (await engine.run({"x": 1}))["z"] == 11
    assert (await engine.run({"x": 1, "y": 2}))["z"] == 3


async def test_an_open_graph_takes_any_input():
    with GraphNode(name="g", inputs={"*": PARENT}) as graph:
        node = CodeNode(
            name="n", code_fn=lambda **kw: {"got": kw}, inputs={"*": PARENT}, outputs={"*": PARENT}
        )
        START >> node >> END
    result = await Hush(graph).run({"a": 1, "b": 2})
    assert result["got"] == {"a": 1, "b": 2}


async def test_none_is_a_value():
    graph = single(lambda x: {"y": x}, inputs={"x": PARENT}, outputs={"y": PARENT})
    result = await Hush(graph).run({"x": None})
    assert result["y"] is None


class Answer(TypedDict):
    y: int


@dataclasses.dataclass
class Point:
    x: int
    y: int


async def test_outputs_are_declared_by_a_typed_dict():
    def good() -> Answer:
        return {"y": 1}

    def bad() -> Answer:
        return {"z": 1}  # type: ignore[typeddict-item]

    assert (await Hush(single(good, outputs={"*": PARENT})).run())["y"] == 1
    with pytest.raises(RunError, match=r"g\.n.*did not return 'y'.*returned: 'z'"):
        await Hush(single(bad)).run()


async def test_a_dataclass_is_a_mapping_of_its_fields():
    def point() -> Point:
        return Point(1, 2)

    result = await Hush(single(point, outputs={"*": PARENT})).run()
    assert (result["x"], result["y"]) == (1, 2)


async def test_a_single_return_key_takes_a_bare_value():
    graph = single(lambda: [1, 2], return_keys=["rows"], outputs={"rows": PARENT})
    assert (await Hush(graph).run())["rows"] == [1, 2]


async def test_none_is_fine_where_nothing_is_read():
    assert dict(await Hush(single(lambda: None)).run()).keys() == {"$state"}


async def test_anything_else_than_a_mapping_is_an_error():
    with pytest.raises(RunError, match=r"g\.n.*returned int, expected a mapping") as caught:
        await Hush(single(lambda: 3, outputs={"y": PARENT})).run()
    assert isinstance(caught.value.__cause__, OutputError)
    assert caught.value.__cause__.path == "g.n"


async def test_a_read_key_that_is_not_returned_names_node_and_key():
    graph = single(lambda: {"a": 1}, outputs={"b": PARENT})
    with pytest.raises(RunError, match=r"g\.n.*did not return 'b'.*returned: 'a'"):
        await Hush(graph).run()


async def test_missing_values_from_a_star_are_named():
    with GraphNode(name="g") as graph:
        a = CodeNode(name="a", code_fn=lambda: {"x": 1})
        b = CodeNode(name="b", code_fn=lambda y: {"z": y}, inputs={"*": a}, outputs={"z": PARENT})
        START >> a >> b >> END
    with pytest.raises(RunError, match=r"g\.(a|b).*'y'") as caught:
        await Hush(graph).run()
    assert isinstance(caught.value.__cause__, (MissingValueError, OutputError))


async def test_operations_on_references_are_replayed():
    with GraphNode(name="g") as graph:
        a = CodeNode(name="a", code_fn=lambda: {"rows": [{"n": 2}, {"n": 5}], "k": 1})
        b = CodeNode(
            name="b",
            code_fn=lambda n, total, big: {"out": (n, total, big)},
            inputs={
                "n": a["rows"][a["k"]]["n"] * 10,
                "total": a["rows"].apply(len),
                "big": [a["k"] > 0, PARENT["limit"] - 1],
            },
            outputs={"out": PARENT},
        )
        START >> a >> b >> END
    result = await Hush(graph).run({"limit": 3})
    assert result["out"] == (50, 2, [True, 2])


async def test_values_are_fed_by_arrows():
    with GraphNode(name="g") as graph:
        a = CodeNode(name="a", code_fn=lambda: {"y": 3})
        b = CodeNode(name="b", code_fn=lambda x: {"z": x + 1})
        a["y"] >> [b["x"], PARENT["first"]]
        b["z"] >> PARENT["second"]
        START >> a >> b >> END
    result = await Hush(graph).run()
    assert (result["first"], result["second"]) == (3, 4)


async def test_a_nested_graph_sees_only_its_inputs_and_gives_its_outputs():
    with GraphNode(name="outer") as graph:
        with GraphNode(name="inner", inputs={"v": PARENT["x"]}, outputs={"w": PARENT}) as inner:
            node = CodeNode(
                name="n",
                code_fn=lambda v: {"w": v + 1},
                inputs={"v": PARENT},
                outputs={"w": PARENT},
            )
            START >> node >> END
        START >> inner >> END
    assert (await Hush(graph).run({"x": 1}))["w"] == 2


def test_code_node_refuses_what_it_does_not_take_at_once():
    with pytest.raises(
        TypeError, match=r"a name is given where a node is made, as in step\(name='x'"
    ):
        code_node(name="x")
    with pytest.raises(TypeError, match=r"@code_node\(retries=\.\.\.\): there is no such option"):

        @code_node(retries=3)
        def step():
            return {}


async def test_code_node_keeps_the_function():
    @code_node
    def step(x):
        """Do it."""
        return {"y": x}

    assert step.__name__ == "step"
    assert step.__doc__ == "Do it."
    assert step.__wrapped__(3) == {"y": 3}
    with GraphNode(name="g") as graph:
        node = step(inputs={"x": 1}, outputs={"y": PARENT})
        START >> node >> END
    assert node.name == "step"
    assert (await Hush(graph).run())["y"] == 1


async def test_one_engine_runs_many_times_at_once():
    async def slow(x):
        await anyio.sleep(0.01)
        return {"y": x}

    engine = Hush(single(slow, inputs={"x": PARENT}, outputs={"y": PARENT}))
    results = {}

    async def one(i):
        results[i] = (await engine.run({"x": i}))["y"]

    async with anyio.create_task_group() as group:
        for i in range(50):
            group.start_soon(one, i)
    assert results == {i: i for i in range(50)}


async def test_an_engine_is_a_context_manager():
    async with Hush(double()) as engine:
        assert (await engine.run({"x": 1}))["y"] == 2


variable = contextvars.ContextVar("variable", default="unset")


async def test_context_variables_go_in_and_do_not_leak():
    seen = []

    def plain(x):
        seen.append(variable.get())
        variable.set(f"set by {x}")
        return {"y": x}

    async def loop(item):
        seen.append(variable.get())
        variable.set(f"set by {item}")
        return {"y": item}

    with GraphNode(name="g") as graph:
        a = CodeNode(name="a", code_fn=plain, inputs={"x": 1})
        b = CodeNode(name="b", code_fn=loop, inputs={"item": 2})
        with MapNode(name="m", inputs={"item": Each([1, 2, 3])}, max_concurrency=1) as m:
            c = CodeNode(name="c", code_fn=loop, inputs={"item": PARENT["item"]})
            START >> c >> END
        START >> a >> b >> m >> END
    token = variable.set("the caller's")
    try:
        await Hush(graph).run()
    finally:
        variable.reset(token)
    assert seen == ["the caller's"] * 5


async def test_a_run_inside_a_node():
    inner = Hush(double())

    async def outer(x):
        return {"y": (await inner.run({"x": x}))["y"]}

    graph = single(outer, inputs={"x": PARENT}, outputs={"y": PARENT})
    assert (await Hush(graph).run({"x": 2}))["y"] == 4


@pytest.mark.parametrize("max_threads", [0, -1, 1.5, True, "4"])
def test_max_threads_is_checked(max_threads):
    with pytest.raises(ValueError, match="max_threads"):
        Hush(double(), max_threads=max_threads)


async def test_graph_outputs_can_be_named():
    with GraphNode(name="g", outputs={"a": PARENT, "b": PARENT["renamed"]}) as graph:
        node = CodeNode(name="n", code_fn=lambda: {"a": 1, "b": 2, "c": 3}, outputs={"*": PARENT})
        START >> node >> END
    result = await Hush(graph).run()
    assert {k: v for k, v in result.items() if k != "$state"} == {"a": 1, "renamed": 2}


@pytest.mark.parametrize("deadline_s", [None, 60.0])
async def test_an_operation_on_an_output_of_the_run_that_raises_fails_the_run(deadline_s):
    graph = single(lambda: {"x": 1}, outputs={"x": PARENT})
    graph["x"].apply(lambda value: value / 0) >> PARENT["y"]
    events = []
    with capture_spans() as captured, pytest.raises(RunError, match="ZeroDivisionError") as caught:
        await Hush(graph).run(deadline_s=deadline_s, on_event=events.append)
    assert caught.value.path == graph.name
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert (type(events[-1]), events[-1].outcome) == (RunEnded, "error")
    assert captured.tree.root.record.outcome == "error"


async def test_outputs_whose_names_are_no_text_are_named_in_messages():
    result = await Hush(single(lambda: {1: 2, "a": 3})).run()
    with pytest.raises(KeyError, match="it has: 1, a"):
        result.state[result.state.execution_order[0], "zzz"]


async def test_an_output_with_a_slip_of_the_pen_is_guessed():
    with GraphNode(name="g") as graph:
        rank = CodeNode("rank", lambda: {"score": 1})
        use = CodeNode("use", lambda y: {}, inputs={"y": rank["scoer"]})
        START >> rank >> use >> END
    with pytest.raises(RunError, match=r"g\.rank.*'scoer'.*Did you mean 'score'\?"):
        await Hush(graph).run()
