"""A graph that workers can import, for bodies that travel by reference."""

from __future__ import annotations

from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode, code_node

OFFSET = 10


def helper(x: int) -> int:
    return x + OFFSET


@code_node(run_in="loop")
def shift(x: int) -> dict[str, int]:
    return {"y": helper(x)}


with GraphNode(name="shipped") as graph:
    with MapNode(name="m", inputs={"x": Each(PARENT["xs"])}, outputs={"y": PARENT}) as inner:
        step = shift(inputs={"x": PARENT}, outputs={"y": PARENT})
        START >> step >> END
    last = CodeNode("last", lambda: {"done": True}, outputs={"done": PARENT})
    START >> inner >> last >> END

engine = Hush(graph)
