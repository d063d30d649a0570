"""Packing: what a worker gets of a workflow, and what it says about what does not travel."""

from __future__ import annotations

import functools
import hashlib
import operator
import os
import pickle
import re
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hush.core import (
    END,
    PARENT,
    START,
    BranchNode,
    CodeNode,
    Each,
    ForLoopNode,
    GraphError,
    GraphNode,
    MapNode,
    PayloadError,
    Retry,
    WhileLoopNode,
)
from hush.model.edge import Parent
from hush.model.ref import MISSING, parts
from hush.plan.compile import compile_body, compile_graph
from hush.runtime.remote import packing
from hush.runtime.remote.definition import definition_digest
from hush.runtime.remote.packing import (
    body_problems,
    load_body,
    pack_body,
    pack_values,
    unpack_call,
    unpack_report,
    unpack_values,
)
from hush.runtime.remote.pickling import loads
from hush.runtime.remote.unpicklable import why_not
from tests.runtime.remote import shipped

REFERENCE = "tests.runtime.remote.shipped:graph"


class Marked(RuntimeError):
    """Must not travel."""

    def __reduce__(self) -> Any:
        raise AssertionError("the rest of the workflow was pickled")


def workflow(function: Any, **options: Any) -> tuple[Any, Any]:
    """Return a graph whose other nodes must not travel, and its map."""
    mine = Marked()
    with GraphNode(name="g") as graph:
        before = CodeNode("before", lambda: {"xs": [1], "seen": str(mine)})
        with MapNode(
            name="m",
            inputs={"x": Each(before["xs"]), "z": before["seen"]},
            outputs={"y": PARENT},
            key=lambda values: f"{mine}{values}",
            failed_when=lambda outputs: str(mine),
            retry=Retry(2, on=lambda error: bool(mine)),
            **options,
        ) as m:
            node = CodeNode("f", function, inputs={"x": PARENT}, outputs={"y": PARENT})
            START >> node >> END
        after = CodeNode("after", lambda y: {"n": len(y), "mine": str(mine)}, inputs={"y": m})
        START >> before >> m >> after >> END
    return graph, m


def test_a_body_travels_without_its_surroundings() -> None:
    graph, m = workflow(lambda x: {"y": x})
    compile_graph(graph)
    body = pack_body(m, "g.m")
    assert body.python == sys.version_info[:2]
    assert body.reference is None
    plan = load_body(body, "g.m[3].inner[0]".partition("[")[0])
    assert [node.name for node in plan.nodes] == ["f"]
    assert plan.graph.parent is None
    assert m.parent is graph, "nothing is changed here"
    assert m.key is not None


def test_markers_stay_themselves() -> None:
    with GraphNode(name="g"):
        with GraphNode(name="s", inputs={"x": 1}) as s:
            one = CodeNode("one", lambda x: {"y": x}, inputs={"x": PARENT["x"] + 1})
            two = CodeNode("two", lambda y: {"z": y}, inputs={"y": one["y"].or_default(MISSING)})
            START >> one >> two >> END
        START >> s >> END
    loaded: Any = load_body(pack_body(s, "g.s"), "g.s").graph
    assert {edge.source for edge in loaded.edges} & {START} == {START}
    assert END in {edge.target for edge in loaded.edges}
    assert isinstance(parts(loaded.nodes[0].inputs["x"]).owner, Parent)
    assert parts(loaded.nodes[0].inputs["x"]).owner is PARENT
    assert parts(loaded.nodes[1].inputs["y"]).default is MISSING
    assert parts(loaded.nodes[1].inputs["y"]).owner is loaded.nodes[0]


def test_each_kind_of_node_travels() -> None:
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each(PARENT["xs"])}) as m:
            route = BranchNode(
                name="route", cases={"x >= 1": "sub"}, default="other", inputs={"x": PARENT}
            )
            with GraphNode(name="sub", inputs={"x": PARENT}) as sub:
                with ForLoopNode(
                    name="each", inputs={"i": Each([1, 2]), "t": 0}, outputs={"t": PARENT}
                ) as each:
                    add = CodeNode(
                        "add",
                        lambda i, t: {"t": t + i},
                        inputs={"*": PARENT},
                        outputs={"t": PARENT},
                    )
                    START >> add >> END
                with WhileLoopNode(
                    name="until", stop_condition="n > 2", inputs={"n": 0}, max_iterations=9
                ) as until:
                    inc = CodeNode(
                        "inc", lambda n: {"n": n + 1}, inputs={"n": PARENT}, outputs={"n": PARENT}
                    )
                    START >> inc >> END
                START >> each >> until >> END
            other = CodeNode("other", lambda: {})
            START >> route >> [sub, other]
            sub >> ~END
            other >> ~END
        START >> m >> END
    here = compile_graph(graph).nodes[0].body
    assert here is not None
    there = load_body(pack_body(m, "g.m"), "g.m")
    assert there.shape.__class__ is here.shape.__class__
    for name in ("hard", "soft", "successors", "choices", "lanes"):
        assert getattr(there.shape, name) == getattr(here.shape, name)
    assert (there.size, there.widest, there.outputs) == (here.size, here.widest, here.outputs)


def test_another_python_is_refused(monkeypatch: Any) -> None:
    _, m = workflow(lambda x: {"y": x})
    body = replace(pack_body(m, "g.m"), python=(3, 9))
    with pytest.raises(PayloadError, match=r"pickled by Python 3\.9, and the worker is Python 3"):
        load_body(body, "g.m")


def test_a_changed_body_is_refused() -> None:
    _, m = workflow(lambda x: {"y": x})
    body = pack_body(m, "g.m")
    with pytest.raises(PayloadError, match="changed on its way"):
        load_body(replace(body, code=(body.code or b"") + b"."), "g.m")


def test_a_body_whose_module_is_not_there_says_so() -> None:
    _, m = workflow(lambda x: {"y": x})
    missing = b"cnosuchmodule\nthing\n."
    body = pack_body(m, "g.m")
    broken = replace(body, code=missing, digest=hashlib.sha256(missing).hexdigest())
    with pytest.raises(PayloadError, match=r"nosuchmodule.*installed there"):
        load_body(broken, "g.m")


# --- what cannot be pickled -----------------------------------------------------------------------


def problem_of(function: Any) -> str:
    _, m = workflow(function)
    with pytest.raises(GraphError) as raised:
        pack_body(m, "g.m")
    (problem,) = raised.value.problems
    assert problem.rule == "unpicklable"
    assert problem.path == "g.m.f"
    assert "body='module:attribute'" in problem.remedy
    return problem.message


LOCK = threading.Lock()


def test_a_closure_over_a_lock_is_named() -> None:
    lock = threading.Lock()

    def fetch(x: int) -> dict[str, Any]:
        with lock:
            return {"y": x}

    said = problem_of(fetch)
    assert (
        said == "its function closes over 'lock', a _thread.lock, which cannot be sent to a worker"
    )


def test_what_is_deep_inside_is_named_with_its_way() -> None:
    class Client:
        def __init__(self) -> None:
            self.pool = {"main": sqlite3.connect(":memory:")}

    client = Client()
    said = problem_of(lambda x: {"y": client.pool})
    assert "closes over 'client', whose .pool['main'] is a sqlite3.Connection" in said
    client.pool["main"].close()


def test_defaults_partials_and_methods_are_named() -> None:
    def with_default(x: int, lock: Any = LOCK) -> dict[str, Any]:
        return {"y": x}

    assert "has the default of 'lock', a _thread.lock" in problem_of(with_default)

    def with_two(lock: Any, x: int) -> dict[str, Any]:
        return {"y": x}

    assert "a partial with the argument 0, a _thread.lock" in problem_of(
        functools.partial(with_two, LOCK)
    )

    class Holder:
        def __init__(self) -> None:
            self.lock = LOCK

        def work(self, x: int) -> dict[str, Any]:
            return {"y": x}

    assert "is a method, whose .lock is a _thread.lock" in problem_of(Holder().work)


def test_all_problems_come_at_once() -> None:
    with GraphNode(name="g"):
        with MapNode(name="m", inputs={"x": Each([1])}) as m:
            a = CodeNode("a", lambda x, lock=LOCK: {"y": x}, inputs={"x": PARENT})
            b = CodeNode("b", lambda y, held=None: {}, inputs={"y": a, "held": LOCK})
            START >> a >> b >> END
        START >> m >> END
    found = body_problems(m, "g.m")
    assert [problem.path for problem in found] == ["g.m.a", "g.m.b"]
    assert "its input 'held' is a _thread.lock" in found[1].message


def test_a_generator_and_an_open_file_are_named(tmp_path: Any) -> None:
    with (tmp_path / "f").open("w") as file:
        assert "_io.TextIOWrapper" in (why_not({"a": [file]}) or "")
        assert (why_not({"a": [file]}) or "").startswith("['a'][0] is ")
    assert "is a generator" in (why_not(i for i in ()) or "")
    assert why_not({"a": 1}) is None


def test_a_value_that_refuses_with_anything_is_no_surprise() -> None:
    class Awkward:
        def __reduce__(self) -> Any:
            raise LookupError("not me")

        def __repr__(self) -> str:
            raise ZeroDivisionError

    with pytest.raises(PayloadError, match=r"g\.m\[1\]: its input 'x'.*Awkward \(not me\)"):
        pack_values("g.m[1]", {"w": 1, "x": Awkward()})


def test_one_that_contains_itself_ends() -> None:
    loop: list[Any] = [LOCK]
    loop.append(loop)
    assert "_thread.lock" in (why_not(loop) or "")


def test_a_large_body_is_worth_a_warning(caplog: Any) -> None:
    small, large = "x", b"x" * (packing.LARGE_BYTES + 1)
    _, m = workflow(lambda x: {"y": small})
    pack_body(m, "g.m")
    assert caplog.text == ""
    _, m = workflow(lambda x: {"y": large})
    pack_body(m, "g.m")
    assert "each call to a worker carries it" in caplog.text
    assert "g.m" in caplog.text


# --- by reference -----------------------------------------------------------------------------------


def test_by_reference_a_worker_imports_the_graph() -> None:
    body = pack_body(shipped.inner, "shipped.m", REFERENCE)
    assert body.code is None
    assert load_body(body, "shipped.m[4]").graph is shipped.inner
    engine = replace(body, reference="tests.runtime.remote.shipped:engine")
    assert load_body(engine, "shipped.m").graph is shipped.inner


def test_another_definition_in_the_worker_is_refused_with_both_hashes() -> None:
    body = pack_body(shipped.inner, "shipped.m", REFERENCE)
    other = replace(body, digest="f" * 64)
    with pytest.raises(PayloadError) as raised:
        load_body(other, "shipped.m")
    said = str(raised.value)
    assert "f" * 16 in said
    assert body.digest[:16] in said
    assert "restart the workers" in said


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("__main__:graph", "a __main__ of their own"),
        ("nowhere.at.all:graph", "cannot be used"),
        ("tests.runtime.remote.shipped", "no 'module:attribute'"),
        ("tests.runtime.remote.shipped:nothing", "cannot be used"),
        ("tests.runtime.remote.shipped:OFFSET", "expected a GraphNode or a Hush"),
        ("tests.runtime.remote.shipped:inner", "is the graph 'm', expected 'shipped'"),
    ],
)
def test_a_reference_that_leads_nowhere_is_a_problem_of_the_graph(
    reference: str, said: str
) -> None:
    (problem,) = body_problems(shipped.inner, "shipped.m", reference)
    assert problem.rule == "bad-reference"
    assert said in problem.message


def test_a_reference_to_another_graph_is_a_problem() -> None:
    with GraphNode(name="shipped"):
        with MapNode(name="m", inputs={"x": Each([1])}) as m:
            START >> CodeNode("shift", lambda x: {"y": x}, inputs={"x": PARENT}) >> END
        START >> m >> END
    (problem,) = body_problems(m, "shipped.m", REFERENCE)
    assert "another graph" in problem.message


# --- the definition's hash ------------------------------------------------------------------------

PRINTED = """
from tests.runtime.remote import shipped
from hush.runtime.remote.definition import definition_digest
print(definition_digest(shipped.inner))
"""


def test_the_hash_is_the_same_in_every_process() -> None:
    here = definition_digest(shipped.inner)
    for seed in ("0", "1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", PRINTED],
            capture_output=True,
            check=True,
            env=environment,
            text=True,
            timeout=50,
        )
        assert done.stdout.strip() == here


def digest_of(function: Any, **options: Any) -> str:
    name = options.pop("name", "f")
    with GraphNode(name="g"):
        with MapNode(name="m", inputs={"x": Each([1])}) as m:
            START >> CodeNode(name, function, inputs={"x": PARENT}, **options) >> END
        START >> m >> END
    return definition_digest(m)


def test_the_hash_knows_what_matters() -> None:
    def made(factor: int, default: int = 1) -> Any:
        def scale(x: int, by: int = default) -> dict[str, int]:
            return {"y": x * factor * by}

        return scale

    base = digest_of(made(2))
    assert digest_of(made(2)) == base
    others = {
        "closure": digest_of(made(3)),
        "default": digest_of(made(2, 5)),
        "code": digest_of(lambda x: {"y": x}),
        "name": digest_of(made(2), name="g"),
        "option": digest_of(made(2), timeout_s=3.0),
        "retry": digest_of(made(2), retry=Retry(3)),
    }
    assert len({base, *others.values()}) == 1 + len(others), others


def test_the_hash_knows_the_helpers_of_a_module_and_not_its_lines() -> None:
    def module(text: str) -> dict[str, Any]:
        space: dict[str, Any] = {"__name__": "made"}
        exec(compile(text, "made.py", "exec"), space)
        return space

    first = module("def h(x): return x\ndef f(x): return {'y': h(x)}")
    moved = module("\n\n\ndef f(x): return {'y': h(x)}\n\ndef h(x): return x")
    other = module("def h(x): return x + 1\ndef f(x): return {'y': h(x)}")
    assert digest_of(first["f"]) == digest_of(moved["f"])
    assert digest_of(first["f"]) != digest_of(other["f"])


def test_the_hash_of_recursion_and_of_objects_with_state_is_steady() -> None:
    def down(x: int) -> Any:
        return {"y": x} if x <= 0 else down(x - 1)

    class Cache:
        def __init__(self) -> None:
            self.at = object()

    def cached(cache: Any) -> Any:
        return lambda x: {"y": cache}

    assert digest_of(down) == digest_of(down)
    assert digest_of(cached(Cache())) == digest_of(cached(Cache()))


def test_the_hash_survives_the_pickle() -> None:
    _, m = workflow(lambda x: {"y": x, "re": re.compile("a+"), "set": frozenset("abc")})
    body = pack_body(m, "g.m")
    assert definition_digest(loads(body.code or b"")) == definition_digest(m)


# --- values and calls -------------------------------------------------------------------------------


def test_values_come_back_as_they_were() -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    values = {"a": 1, "b": [None, {"c": (1.5, "x")}], "p": Point(3), "f": lambda x: x + 1}
    back = unpack_values("g", pack_values("g", values))
    assert back["b"] == values["b"]
    assert isinstance(back["p"], Point)
    assert back["f"](1) == 2


def test_values_that_cannot_be_unpickled_are_no_error_of_the_machinery() -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (int, ("no number",))

    data = pack_values("g.m[2]", {"x": Trap()})
    with pytest.raises(
        PayloadError, match=r"g\.m\[2\]: its inputs cannot be unpickled: ValueError"
    ):
        unpack_values("g.m[2]", data)


@pytest.mark.parametrize("payload", [b"", b"nonsense", pickle.dumps(1), pickle.dumps((99, None))])
def test_what_is_no_call_and_no_report_is_refused(payload: bytes) -> None:
    with pytest.raises(PayloadError, match="hush-runtime"):
        unpack_call(payload)
    with pytest.raises(PayloadError, match="hush-runtime"):
        unpack_report(payload)


def test_a_body_compiles_alone_as_in_its_graph() -> None:
    graph, m = workflow(lambda x: {"y": x})
    inside = next(node.body for node in compile_graph(graph).nodes if node.name == "m")
    alone = compile_body(m, "g.m")
    assert inside is not None
    assert alone.outputs == inside.outputs
    assert alone.required == inside.required
    assert sys.version_info[:2] == packing.PYTHON


def scaling(factor: int, default: Any = 1) -> Any:
    def scale(x: int, by: Any = default) -> dict[str, Any]:
        return {"y": (x * factor, by)}

    return scale


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Path("a"), Path("b")),
        (Decimal(1), Decimal(2)),
        (timedelta(1), timedelta(2)),
        (range(1), range(2)),
        (operator.itemgetter(1), operator.itemgetter(2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_that_their_text_says_whole_count_as_defaults(one: Any, other: Any) -> None:
    assert digest_of(scaling(2, one)) == digest_of(scaling(2, one))
    assert digest_of(scaling(2, one)) != digest_of(scaling(2, other))


def test_what_a_cache_holds_counts() -> None:
    assert digest_of(functools.cache(scaling(2))) == digest_of(functools.cache(scaling(2)))
    assert digest_of(functools.cache(scaling(2))) != digest_of(functools.cache(scaling(3)))


def test_how_an_object_is_called_counts_also_where_it_is_inherited() -> None:
    def callable_of(function: Any) -> Any:
        return type("Child", (type("Base", (), {"__call__": function}),), {})()

    assert digest_of(callable_of(lambda _, x: {"y": x})) != digest_of(
        callable_of(lambda _, x: {"y": -x})
    )


def test_addresses_of_members_of_a_set_do_not_count() -> None:
    def member() -> None: ...

    def same() -> None: ...

    same.__qualname__ = member.__qualname__
    assert digest_of(scaling(2, {member})) == digest_of(scaling(2, {same}))
