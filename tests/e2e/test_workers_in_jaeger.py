"""Items that ran in worker processes, as Jaeger shows them: one trace, the worker on each span."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, MapNode
from hush.executors import Processes
from tests.e2e.jaeger_server import JaegerServer
from tests.e2e.runs import Backend, Exported, exporting, outline

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def exported(jaeger: JaegerServer) -> Iterator[Exported]:
    with exporting(jaeger) as made:
        yield made


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> Backend:
    return request.param


def pages() -> GraphNode:
    def fetch(item: int) -> dict[str, Any]:
        from opentelemetry import trace

        with trace.get_tracer("theirs").start_as_current_span("request"):
            pass
        if item == 1:
            raise ValueError("gone")
        return {"page": item}

    with GraphNode(name="g", inputs={"items": PARENT["items"]}) as graph:
        with MapNode(
            name="m",
            inputs={"item": Each(PARENT["items"])},
            on_error="collect",
            executor=Processes(2),
        ) as pages:
            got = CodeNode("fetch", fetch, inputs={"item": PARENT})
            count = CodeNode("count", lambda page: {"n": page}, inputs={"page": got})
            START >> got >> count >> END
        START >> pages >> END
    return graph


def test_a_run_with_workers_is_one_sound_trace(exported: Exported, backend: Backend):
    # That parents contain their children, and more, is checked where it is read.
    _, found = exported.run(pages(), {"items": [0, 1, 2]}, backend=backend)
    assert outline(found) == (
        "run g\n"
        "  map m\n"
        "    item m[0]\n"
        "      attempt m[1]\n"
        "        node fetch\n"
        "          request\n"
        "        node count\n"
        "    item m[1] error\n"
        "      attempt m[1] error\n"
        "        node fetch error\n"
        "          request\n"
        "    item m[2]\n"
        "      attempt m[1]\n"
        "        node fetch\n"
        "          request\n"
        "        node count"
    )
    assert {span.service for span in found.spans} == {exported.service}


def test_jaeger_draws_its_critical_path_into_the_workers(exported: Exported, backend: Backend):
    from tests.e2e.runs import on_path

    _, found = exported.run(pages(), {"items": [0]}, backend=backend)
    assert [span.name for span in on_path(found)][-1] == "node count"
