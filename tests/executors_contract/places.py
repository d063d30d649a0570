"""Places: the executors that the contract is for, and what is known of their workers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, MapNode
from hush.executors import Capabilities, Executor
from tests.executors.engines import PATIENCE_S, alive

SLOTS = 2
POLICIES = (
    "max_concurrency",
    "on_error",
    "max_failures",
    "retry",
    "timeout_s",
    "deadline_s",
    "span_budget",
)


@dataclass(frozen=True)
class Place:
    """One kind of executor."""

    name: str
    make: Callable[[], Executor]
    """Another executor, for the same workers where these are shared."""
    program: str
    """Source of an expression that makes one, in another process."""

    @property
    def can(self) -> Capabilities:
        return self.make().capabilities


@contextmanager
def cluster(module: str):
    """Start a cluster in a process of its own; its address is the first line that it says.

    Args:
        module: a program that ends when its standard input does.
    """
    with subprocess.Popen(
        [sys.executable, "-m", f"tests.executors_contract.{module}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        cwd=Path(__file__).parents[2],
    ) as process:
        try:
            address = process.stdout.readline().strip()
            assert address, f"{module} did not start"
            yield address
        finally:
            process.stdin.close()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()


class Told:
    """What bodies told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def lines(self) -> list[dict[str, Any]]:
        try:
            raw = (self.folder / "told").read_bytes()
        except FileNotFoundError:
            return []
        # The last one may be being written.
        return [json.loads(line) for line in raw.split(b"\n")[:-1]]

    def all(self, what: str, x: int | None = None) -> list[dict[str, Any]]:
        return [
            line for line in self.lines if line["what"] == what and (x is None or line["x"] == x)
        ]

    def counts(self, what: str) -> Counter[int]:
        return Counter(line["x"] for line in self.all(what))

    async def wait(self, what: str, x: int | None = None, count: int = 1) -> dict[str, Any]:
        """Wait until it has been told, and return the last."""
        with anyio.fail_after(PATIENCE_S):
            while len(found := self.all(what, x)) < count:
                await anyio.sleep(0.01)
        return found[-1]

    async def stops(self, what: str = "tick", for_s: float = 0.7) -> bool:
        """Say whether it is not told any more."""
        before = len(self.all(what))
        await anyio.sleep(for_s)
        return len(self.all(what)) == before

    def most_at_once(self) -> int:
        """Return how many had begun and not ended, at most."""
        most = now = 0
        for line in sorted(self.lines, key=lambda line: line["at"]):
            now += {"began": 1, "ended": -1}.get(line["what"], 0)
            most = max(most, now)
        return most

    def alive(self) -> list[int]:
        """Return the processes that told something and run still."""
        return [pid for pid in {line["pid"] for line in self.lines} if alive(pid)]


def over(
    code_fn: Any, executor: Any = None, gives: tuple[str, ...] = ("y",), **options: Any
) -> GraphNode:
    """Return a workflow: one map, one node for each item.

    Args:
        code_fn: takes ``x``, ``folder`` and what else is given here, gives ``y``.
        executor: where.
        gives: names of outputs that the map has as columns, ``y`` as ``ys``.
        **options: of the map, or further inputs of all items.
    """
    policies = {name: options.pop(name) for name in POLICIES if name in options}
    idempotent = options.pop("idempotent", True)
    inputs = {"x": Each(PARENT["xs"]), "folder": PARENT["folder"], **options}
    with GraphNode(name="g") as graph:
        columns = {name: PARENT["ys"] if name == "y" else PARENT for name in gives}
        with MapNode(
            name="m", inputs=inputs, outputs=columns, executor=executor, **policies
        ) as over:
            node = CodeNode(
                name="n",
                code_fn=code_fn,
                inputs=dict.fromkeys(inputs, PARENT),
                outputs=dict.fromkeys(gives, PARENT),
                idempotent=idempotent,
            )
            START >> node >> END
        over["errors"] >> PARENT["errors"]
        START >> over >> END
    return graph
