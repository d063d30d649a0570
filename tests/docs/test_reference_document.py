"""The code blocks of the reference document on parallel execution, run as they are written.

The document's text is not ours to keep here; its code blocks are, as data, with its own
comments.
"""

from __future__ import annotations

import threading

import pytest

from hush.core import END, PARENT, START, CodeNode, GraphNode, Hush, code_node
from hush.testing import Answer, ScriptedLLMServer, capture_spans

FAN_OUT = """
with GraphNode(name="fan-out") as graph:
    # Fan-out: 3 nodes chạy song song
    task_a = CodeNode(name="a", code_fn=lambda: {"result": "A"}, outputs={"result": PARENT["a"]})
    task_b = CodeNode(name="b", code_fn=lambda: {"result": "B"}, outputs={"result": PARENT["b"]})
    task_c = CodeNode(name="c", code_fn=lambda: {"result": "C"}, outputs={"result": PARENT["c"]})

    # Fan-in: merge khi tất cả xong
    merge = CodeNode(
        name="merge",
        code_fn=lambda a, b, c: {"combined": f"{a}+{b}+{c}"},
        inputs={"a": PARENT["a"], "b": PARENT["b"], "c": PARENT["c"]},
        outputs={"combined": PARENT}
    )

    START >> [task_a, task_b, task_c]  # Fan-out
    [task_a, task_b, task_c] >> merge >> END  # Fan-in (hard edge: chờ tất cả)
"""

MAP = """
from hush.core.nodes.iteration import MapNode
from hush.core.nodes.iteration.base import Each

with GraphNode(name="parallel-map") as graph:
    with MapNode(
        name="process_all",
        inputs={"item": Each(PARENT["items"])},
        max_concurrency=5,  # Tối đa 5 tasks cùng lúc
        outputs={"results": PARENT}
    ) as map_node:
        process = CodeNode(
            name="process",
            code_fn=lambda item: {"result": item * 2},
            inputs={"item": PARENT["item"]},
            outputs={"result": PARENT}
        )
        START >> process >> END

    START >> map_node >> END
"""

PARTIAL_FAILURE = """
@code_node
def safe_process(item: dict):
    try:
        result = process_item(item)
        return {"result": result, "error": None}
    except Exception as e:
        return {"result": None, "error": str(e)}

with GraphNode(name="partial-failure") as graph:
    with MapNode(
        name="safe_map",
        inputs={"item": Each(PARENT["items"])},
        max_concurrency=3,
        outputs={"results": PARENT}
    ) as map_node:
        proc = safe_process(
            name="process",
            inputs={"item": PARENT["item"]},
            outputs={"result": PARENT, "error": PARENT}
        )
        START >> proc >> END

    # Tách kết quả thành công/thất bại
    summarize = CodeNode(
        name="summarize",
        code_fn=lambda results: {
            "succeeded": [r for r in results if r.get("error") is None],
            "failed": [r for r in results if r.get("error") is not None],
        },
        inputs={"results": PARENT["results"]},
        outputs={"succeeded": PARENT, "failed": PARENT}
    )

    START >> map_node >> summarize >> END
"""

PARALLEL_LLM = """
from hush.providers import PromptNode, LLMNode

with GraphNode(name="parallel-llm") as graph:
    prompt = PromptNode(
        name="prompt",
        inputs={
            "prompt": {"system": "Answer briefly.", "user": "{query}"},
            "query": PARENT["query"]
        }
    )
    llm_a = LLMNode(
        name="llm_a",
        resource_key="gpt-4o",
        inputs={"messages": prompt["messages"]},
        outputs={"content": PARENT["answer_a"]}
    )
    llm_b = LLMNode(
        name="llm_b",
        resource_key="gpt-4o-mini",
        inputs={"messages": prompt["messages"]},
        outputs={"content": PARENT["answer_b"]}
    )

    START >> prompt >> [llm_a, llm_b]  # Song song
    [llm_a, llm_b] >> END              # Chờ cả hai
"""


def built(source, **names):
    """Run a block with the names that its document has imported before."""
    scope = {
        "GraphNode": GraphNode,
        "CodeNode": CodeNode,
        "code_node": code_node,
        "PARENT": PARENT,
        "START": START,
        "END": END,
        **names,
    }
    exec(compile(source, "<reference document>", "exec"), scope)
    return Hush(scope["graph"])


async def test_fan_out_and_fan_in():
    with capture_spans() as captured:
        result = await built(FAN_OUT).run()
    assert result["combined"] == "A+B+C"
    assert (result["a"], result["b"], result["c"]) == ("A", "B", "C")
    tree = captured.tree
    tree.assert_sound()
    assert str(tree) == "run fan-out\n  node a\n  node b\n  node c\n  node merge"
    links = {link.span_id for link in tree.one("node merge").record.links}
    assert links == {tree.one(f"node {name}").record.span_id for name in "abc"}


@pytest.mark.parametrize("count", [0, 1, 12])
async def test_map_with_max_concurrency(count):
    with capture_spans() as captured:
        result = await built(MAP).run({"items": list(range(count))})
    assert result["results"] == [i * 2 for i in range(count)]
    captured.tree.assert_sound()
    assert len(captured.tree.all("item process_all")) == count
    assert captured.tree.max_overlap("item process_all") <= 5


async def test_partial_failure():
    from hush.core.nodes.iteration import MapNode
    from hush.core.nodes.iteration.base import Each

    def process_item(item):
        return 10 // item["n"]

    engine = built(PARTIAL_FAILURE, MapNode=MapNode, Each=Each, process_item=process_item)
    with capture_spans() as captured:
        result = await engine.run({"items": [{"n": 1}, {"n": 0}, {"n": 5}, {}]})
    assert result["succeeded"] == [{"result": 10, "error": None}, {"result": 2, "error": None}]
    assert [failed["error"] for failed in result["failed"]] == [
        "integer division or modulo by zero",
        "'n'",
    ]
    # Nothing was raised, and yet whoever looks at the trace sees what went wrong.
    assert result.outcome == "ok"
    assert sorted((f.path, f.kind) for f in result.failures) == [
        ("partial-failure.safe_map[1]", "handled"),
        ("partial-failure.safe_map[3]", "handled"),
    ]
    tree = captured.tree
    tree.assert_sound()
    assert {n.record.index for n in tree.all("item safe_map") if n.record.is_red} == {1, 3}
    assert (
        tree.item("safe_map", 1).record.status_description == "integer division or modulo by zero"
    )
    assert tree.root.record.attributes["hush.partial_failure"] is True


RESOURCES = """
llm:gpt-4o:
  api_type: openai
  api_key: ${{OPENAI_API_KEY}}
  base_url: {url}
  model: gpt-4o
llm:gpt-4o-mini:
  api_type: openai
  api_key: ${{OPENAI_API_KEY}}
  base_url: {url}
  model: gpt-4o-mini
llm:unused:
  api_key: ${{NOWHERE}}
  model: unused
"""


async def test_parallel_llm_calls(tmp_path, monkeypatch):
    together = threading.Barrier(2, timeout=30)

    def answers(text):
        def reply(_body):
            together.wait()
            return Answer(text, prompt_tokens=10, completion_tokens=2)

        return reply

    with ScriptedLLMServer() as server:
        path = tmp_path / "models.yaml"
        path.write_text(RESOURCES.format(url=server.base_url))
        monkeypatch.setenv("HUSH_CONFIG", str(path))
        monkeypatch.setenv("OPENAI_API_KEY", "test-key")
        server.default("gpt-4o", answers("Hà Nội."))
        server.default("gpt-4o-mini", answers("Hanoi."))
        with capture_spans() as captured:
            result = await built(PARALLEL_LLM).run({"query": "Capital of Vietnam?"})
    assert (result["answer_a"], result["answer_b"]) == ("Hà Nội.", "Hanoi.")
    assert {request.model for request in server.requests} == {"gpt-4o", "gpt-4o-mini"}
    for request in server.requests:
        assert request.body["messages"] == [
            {"role": "system", "content": "Answer briefly."},
            {"role": "user", "content": "Capital of Vietnam?"},
        ]
    assert (result.usage.calls, result.usage.total_tokens) == (2, 24)
    tree = captured.tree
    tree.assert_sound()
    assert tree.max_overlap("chat *") == 2
    for node, model in (("llm_a", "gpt-4o"), ("llm_b", "gpt-4o-mini")):
        (call,) = tree.one(f"node {node}").children
        assert call.name == f"chat {model}"
