"""Calls as a driver makes them, for a map of a graph, run where the test says."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from hush.plan.compile import compile_graph
from hush.runtime.remote.call import SCHEMA, Call, CallItem, CallReport
from hush.runtime.remote.packing import (
    pack_body,
    pack_call,
    pack_values,
    unpack_report,
    unpack_values,
)
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
    assert not done.stderr, done.stderr
    return unpack_report(done.stdout)


def outputs(report: CallReport) -> list[dict[str, Any] | None]:
    """Return the outputs of all items, None for those that failed."""
    assert report.refused is None, report.refused
    return [
        None if one.outputs is None else unpack_values("test", one.outputs) for one in report.items
    ]
