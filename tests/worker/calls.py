"""Calls as a driver makes them, for a map of a graph, run where the test says."""

from __future__ import annotations

import subprocess
import sys
from contextvars import copy_context
from dataclasses import replace
from time import time_ns
from typing import Any

from hush import semconv
from hush.observe.tracing import current_instrument
from hush.plan.compile import compile_graph
from hush.runtime.instrument import OK, Ending, Scope, begin, finish
from hush.runtime.remote.call import SCHEMA, Call, CallItem, CallReport
from hush.runtime.remote.packing import (
    pack_body,
    pack_call,
    pack_telemetry,
    pack_values,
    unpack_report,
    unpack_values,
)
from hush.runtime.remote.passage import Passage
from hush.worker.entry import run_call

RUN_ID = "0" * 32


def call_for(graph: Any, path: str, items: list[dict[str, Any]], **changes: Any) -> Call:
    """Make a call for items of a map in a graph."""
    at = graph
    for name in path.split(".")[1:]:
        at = next(node for node in at.nodes if node.name == name)
    compile_graph(graph)
    reference = changes.pop("reference", None)
    facts: dict[str, Any] = {
        "schema": SCHEMA,
        "run_id": RUN_ID,
        "graph": graph.name,
        "path": path,
        "name": at.name,
        "level": "item",
        "body": pack_body(at, path, reference),
        "broadcast": pack_values(path, changes.pop("broadcast", {})),
        "items": tuple(
            CallItem(i, None, 1, pack_values(f"{path}[{i}]", values), {}, f"{RUN_ID}/{path}/{i}")
            for i, values in enumerate(items)
        ),
        "concurrency": 4,
        "backend": "asyncio",
        "timeout_s": None,
        "deadline_s": None,
    }
    return Call(**facts | changes)


def run_here(call: Call) -> CallReport:
    """Run a call in this process."""
    return unpack_report(run_call(pack_call(call)))


PROGRAM = """
import sys
from hush.runtime.remote.passage import Passage
from hush.worker.entry import run_call
data = sys.stdin.buffer.read()
sys.stdout.buffer.write(run_call(data))
"""


def run_elsewhere(call: Call, **options: Any) -> CallReport:
    """Run a call in a process of its own, which knows nothing of the tests."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=pack_call(call),
        capture_output=True,
        check=True,
        timeout=50,
        **options,
    )
    # The SDK says so of attributes that it cuts.
    assert not done.stderr or b"truncating" in done.stderr, done.stderr
    return unpack_report(done.stdout)


def outputs(report: CallReport) -> list[dict[str, Any] | None]:
    """Return the outputs of all items, None for those that failed."""
    assert report.refused is None, report.refused
    return [
        None if one.outputs is None else unpack_values("test", one.outputs) for one in report.items
    ]


def map_like(
    graph: Any,
    path: str,
    items: list[dict[str, Any]],
    *,
    run: Any = run_here,
    budget: int | None = 1000,
    **changes: Any,
) -> CallReport:
    """Run items as a driver does, watched by whatever watches here: run, map and items."""
    instrument = current_instrument()
    name = path.rpartition(".")[2]
    with instrument.observe(Scope("run", graph.name, {semconv.RUN_ID: RUN_ID})) as top:
        top.end(OK)
        with instrument.observe(Scope("map", name, {semconv.NODE_NAME: name})) as seen:
            seen.end(OK)
            contexts, opened = [], []
            for i in range(len(items)):
                context = copy_context()
                facts = {semconv.ITEM_INDEX: i}
                scope = Scope("item", name, facts, budget=budget, total=len(items))
                contexts.append(context)
                opened.append(context.run(begin, instrument, scope))
            call = call_for(graph, path, items, **changes)
            call = replace(
                call,
                telemetry=pack_telemetry(instrument),
                items=tuple(
                    replace(item, carrier=observation.carrier())
                    for item, (_, observation) in zip(call.items, opened, strict=True)
                ),
            )
            sent_ns = time_ns()
            report = run(call)
            passage = Passage(sent_ns, report.received_ns, report.answered_ns, time_ns())
            for one, context, (manager, observation) in zip(
                report.items, contexts, opened, strict=False
            ):
                if one.spans is not None:
                    context.run(observation.adopt, one.spans, passage)
                failed = bool(one.faults or one.cut_off)
                ending = Ending(semconv.OUTCOME_ERROR) if failed else OK
                observation.annotate(semconv.RUN_S, (one.ended_ns - one.began_ns) / 1e9)
                observation.end(ending)
                finish(manager, context)
            if report.metrics is not None:
                instrument.absorb(report.metrics)
    return report
