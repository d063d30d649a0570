"""Language models in workers: resolved there, with the worker's own variables."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import Any

import pytest

from hush import semconv
from hush.core import (
    END,
    PARENT,
    START,
    Each,
    GraphNode,
    Hush,
    LLMStatusError,
    MapNode,
    ResourceError,
)
from hush.providers import LLMNode, PromptNode, ResourceHub
from hush.providers.resources import Resources
from hush.providers.travelling import hub_from, pack_resources
from hush.runtime.remote.faults import unpack_fault
from hush.runtime.remote.packing import pack_call, unpack_report
from hush.testing import ScriptedLLMServer, capture_spans
from tests.worker.calls import PROGRAM, call_for, map_like, outputs, run_here

KEY = "sk-test-0123456789abcdef0123456789abcdef"


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: Any) -> str:
    return str(request.param)


@pytest.fixture
def server() -> Any:
    with ScriptedLLMServer() as running:
        yield running


def asking() -> Any:
    with GraphNode(name="g", inputs={"xs": PARENT}) as graph:
        with MapNode(name="m", inputs={"x": Each(PARENT["xs"])}, outputs={"said": PARENT}) as m:
            prompt = PromptNode("prompt", inputs={"prompt": "say {x}", "x": PARENT})
            ask = LLMNode(
                "ask",
                "m",
                inputs={"messages": prompt["messages"]},
                outputs={"content": PARENT["said"]},
            )
            START >> prompt >> ask >> END
        START >> m >> END
    return graph


def with_key(call: Any, key: str | None) -> Any:
    environment = {name: one for name, one in os.environ.items() if name != "MODEL_KEY"}
    if key is not None:
        environment["MODEL_KEY"] = key
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=pack_call(call),
        capture_output=True,
        check=True,
        env=environment,
        timeout=50,
    )
    assert KEY.encode() not in done.stderr
    return unpack_report(done.stdout)


def key_of(server: Any) -> str:
    """Return the key that the server takes."""
    return str(server.resources("m")["llm:m"]["api_key"])


def hub_of(server: Any, key: str = "${MODEL_KEY}") -> Any:
    resources = server.resources("m", "other")
    for one in resources.values():
        one["api_key"] = key
    return ResourceHub.from_mapping(resources)


def test_a_worker_asks_with_its_own_key(server: Any, backend: str) -> None:
    packed = pack_resources(hub_of(server), ["m"])
    key = key_of(server)
    assert b"other" not in packed, "what the body does not use stays here"
    assert b"MODEL_KEY" in packed
    call = call_for(
        asking(), "g.m", [{"x": "one"}, {"x": "two"}], resources=packed, backend=backend
    )
    report = with_key(call, key)
    assert [one and "say" in one["said"] for one in outputs(report)] == [True, True]
    asked = server.requests_for("m")
    assert {one.headers["authorization"] for one in asked} == {f"Bearer {key}"}
    assert key not in repr(report)
    for one in report.items:
        assert one.usage["m"].calls == 1
        assert one.usage["m"].input_tokens > 0


def test_an_error_of_a_model_does_not_bring_the_workers_key(server: Any, backend: str) -> None:
    packed = pack_resources(hub_of(server), ["m"])
    report = with_key(
        call_for(asking(), "g.m", [{"x": "one"}], resources=packed, backend=backend), KEY
    )
    (fault,) = report.items[0].faults
    assert KEY.encode() not in pickle.dumps(report)
    error = unpack_fault(fault).exception
    assert isinstance(error, LLMStatusError)
    assert error.status == 401
    assert "openai.AuthenticationError" in fault.traceback


def test_a_worker_without_the_variable_refuses_and_names_it(server: Any, backend: str) -> None:
    call = call_for(
        asking(),
        "g.m",
        [{"x": 1}],
        resources=pack_resources(hub_of(server), ["m"]),
        backend=backend,
    )
    report = with_key(call, None)
    assert report.refused is not None
    failure = unpack_fault(report.refused)
    assert isinstance(failure.exception, ResourceError)
    assert "MODEL_KEY is not set" in failure.message
    assert "from the driver" in failure.message


def test_calls_to_models_are_in_the_trace(server: Any, backend: str) -> None:
    hub = hub_of(server, key_of(server))
    engine = Hush(asking(), resources=hub)
    resources = Resources(hub, engine.plan.resources)
    body = engine.plan.nodes[0].body
    assert body is not None
    with capture_spans() as captured:
        report = map_like(
            asking(),
            "g.m",
            [{"x": "one"}],
            resources=resources.packed(body.resources),
            backend=backend,
        )
    assert outputs(report)[0] is not None
    (chat,) = [span for span in captured.spans if span.name == "chat m"]
    assert chat.attributes[semconv.GEN_AI_USAGE_INPUT] > 0
    assert semconv.GEN_AI_INPUT_MESSAGES not in chat.attributes
    (attempt,) = [span for span in captured.spans if span.name == "attempt m"]
    assert attempt.attributes[semconv.TOKENS_INPUT] > 0
    assert key_of(server) not in repr([(one.attributes, one.events) for one in captured.spans])


@pytest.mark.parametrize("wanted", ["", "SPAN_ONLY"])
def test_content_is_captured_as_in_the_driver(
    server: Any, backend: str, wanted: str, monkeypatch: Any
) -> None:
    monkeypatch.setenv(semconv.CAPTURE_VARIABLE, wanted)
    packed = pack_resources(hub_of(server), ["m"])

    def run(call: Any) -> Any:
        # The worker's own environment wants the opposite.
        other = "" if wanted else "SPAN_ONLY"
        monkeypatch.setenv(semconv.CAPTURE_VARIABLE, other)
        return with_key(call, key_of(server))

    with capture_spans() as captured:
        map_like(asking(), "g.m", [{"x": "a secret"}], run=run, resources=packed, backend=backend)
    (chat,) = [span for span in captured.spans if span.name == "chat m"]
    assert ("a secret" in str(chat.attributes.get(semconv.GEN_AI_INPUT_MESSAGES))) is bool(wanted)


def test_the_same_configuration_is_one_hub(server: Any) -> None:
    packed = pack_resources(hub_of(server, KEY), ["llm:m"])
    hub = hub_from(packed)
    assert hub is hub_from(packed)
    assert hub.names == ("m",)
    assert KEY not in repr(hub)
    with pytest.raises(TypeError, match="holds API keys"):
        pickle.dumps(hub)


def test_a_function_that_closes_over_a_hub_is_a_problem_of_the_graph(server: Any) -> None:
    from hush.core import CodeNode, GraphError
    from hush.runtime.remote.packing import pack_body

    hub = hub_of(server, KEY)
    with GraphNode(name="g"):
        with MapNode(name="m", inputs={"x": Each([1])}) as m:
            START >> CodeNode("f", lambda x: {"y": hub.names}, inputs={"x": PARENT}) >> END
        START >> m >> END
    with pytest.raises(GraphError, match=r"g\.m\.f: its function closes over 'hub'") as raised:
        pack_body(m, "g.m")
    assert KEY not in str(raised.value)


def test_a_call_without_resources_needs_none(backend: str) -> None:
    call = call_for(asking(), "g.m", [{"x": 1}], backend=backend)
    report = run_here(call)
    assert outputs(report) == [None]
