"""Bodies that workers import: no function travels, and another definition is refused."""

from __future__ import annotations

from typing import Any

import pytest

from hush.core import END, PARENT, START, CodeNode, Each, GraphError, GraphNode, Hush, MapNode
from hush.executors import Processes
from hush.runtime.remote import packing
from tests.runtime.remote import shipped

REFERENCE = "tests.runtime.remote.shipped:graph"


async def test_workers_import_the_graph(monkeypatch: Any) -> None:
    def refuse(graph: Any) -> bytes:
        raise AssertionError("the body was pickled")

    monkeypatch.setattr(packing, "dumps_body", refuse)
    engine = Hush(shipped.graph, executor=Processes(1, body=REFERENCE))
    async with engine:
        assert (await engine.run({"xs": [1, 2, 3]}))["y"] == [11, 12, 13]


async def test_another_graph_under_the_reference_is_a_problem_of_the_graph() -> None:
    with GraphNode(name="shipped") as graph:
        with MapNode(name="m", inputs={"x": Each([1])}, outputs={"y": PARENT}) as m:
            shift = CodeNode(
                "shift", lambda x: {"y": x}, inputs={"x": PARENT}, outputs={"y": PARENT}
            )
            START >> shift >> END
        START >> m >> END
    with pytest.raises(GraphError, match=r"shipped\.m: .*is another graph than this one"):
        Hush(graph, executor=Processes(1, body=REFERENCE))
