"""The command ``hush`` as a user calls it: in a process of its own, with a store of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 50
# What the environment of whoever runs the tests says is none of the tests' business.
OTHERS = ("OTEL_", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "PYTHON", "HUSH_", "TERM")

FLOWS = '''
"""Workflows of any ending."""

import os
import time

import anyio

from hush.core import *


@code_node
async def fetch(page: int):
    await anyio.sleep(0.4 if page == 6 else 0.05)
    if page == 3:
        return {"words": None, "error": "503 Service Unavailable"}
    return {"words": 100 * page, "error": None}


@code_node
def report(pages: list):
    good = [page["words"] for page in pages if page["error"] is None]
    return {"total": sum(good), "failed": len(pages) - len(good)}


with GraphNode(name="crawl") as crawl:
    with MapNode(name="pages", inputs={"page": Each(PARENT["pages"])}, max_concurrency=2) as pages:
        fetched = fetch(inputs={"page": PARENT["page"]}, outputs={"words": PARENT, "error": PARENT})
        START >> fetched >> END
    quick = CodeNode(name="quick", code_fn=lambda: {})
    summary = report(inputs={"pages": pages["results"]}, outputs={"*": PARENT})
    START >> [pages, quick] >> summary >> END


def one(name, fn, **options):
    with GraphNode(name=name) as graph:
        START >> CodeNode(name="only", code_fn=fn, outputs={"*": PARENT}, **options) >> END
    return graph


def refuse():
    raise ValueError("no such\\x1b[31m shop")


def sleep():
    time.sleep(20)
    return {}


def hold():
    time.sleep(1.5)  # in the event loop
    return {}


def say():
    print("printed by a node")
    os.system("echo printed by a child")
    return {"value": 1}


fails = one("fails", refuse)
waits = one("waits", lambda: anyio.sleep(20))
stuck = one("stuck", sleep)
holds = one("holds", hold, run_in="loop")
talks = one("talks", say)
quits = one("quits", lambda: exec("raise SystemExit(7)"))
held = {"graph": fails}
number = 3


def build():
    return one("built", lambda: {"pid": os.getpid()})


def build_two(width, *, height=3):
    return build()


async def build_later():
    return build()


def build_nothing():
    return None


def build_badly():
    raise RuntimeError("no plan")


class Shop:
    graph = build()


engine = Hush(crawl, max_threads=4)


def wrong():
    with GraphNode(name="wrong") as graph:
        a = CodeNode(name="a", code_fn=lambda: {})
        b = CodeNode(name="b", code_fn=lambda x: {}, inputs={"y": a["z"]})
        START >> a >> b >> a
    return graph


def values():
    class Odd:
        def __repr__(self):
            raise RuntimeError("no repr")

    return {
        "text": "plain",
        "lines": "one\\ntwo\\x1b[31m",
        "none": None,
        "long": "x" * 5000,
        "many": list(range(1000)),
        "deep": {"a": {"b": [{"c": 1}] * 3}},
        "odd": Odd(),
        "nan": float("nan"),
        "bytes": b"\\xff",
        "set": {1},
        "日本": "語",
    }


anything = one("anything", values)
'''


def environment(store, **variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    return {**kept, "PYTHONIOENCODING": "utf-8", "HUSH_TRACE_STORE": str(store), **variables}


def program():
    """Return what starts the command: the script that was installed, else its module."""
    script = shutil.which("hush", path=str(Path(sys.executable).parent))
    return [script] if script else [sys.executable, "-m", "hush.cli"]


class Commands:
    """Commands in one folder with one trace store."""

    def __init__(self, folder):
        self.folder = folder
        self.store = folder / "traces.sqlite3"

    def __call__(self, *arguments, code=0, stdin=None, **variables):
        """Run one and check what holds of all outputs."""
        done = subprocess.run(
            [*program(), *map(str, arguments)],
            capture_output=True,
            encoding="utf-8",
            input=stdin,
            cwd=self.folder,
            env=environment(self.store, **variables),
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        assert "\x1b" not in done.stdout + done.stderr
        assert "Warning" not in done.stderr
        return done

    def out(self, *arguments, **options):
        """Run one whose output people read; it fits into 80 columns."""
        out = self(*arguments, **options).stdout
        assert max(map(cells, out.splitlines()), default=0) <= 80, out
        assert all(line == line.rstrip() for line in out.splitlines()), out
        return out

    def json(self, *arguments, **options):
        """Run one whose output programs read."""
        return json.loads(self(*arguments, "--json", **options).stdout, parse_constant=refuse)

    def refused(self, *arguments, code=2, **options):
        """Run one that is refused, and return what it says of it."""
        done = self(*arguments, code=code, **options)
        assert done.stdout == ""
        assert done.stderr.startswith("error: ")
        return done.stderr

    def start(self, *arguments, ignoring_interrupts=False, **variables):
        """Start one and let it run; both outputs are pipes."""

        # As a shell starts what it runs in the background.
        shell = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"] if ignoring_interrupts else []
        return subprocess.Popen(
            [*shell, *program(), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            cwd=self.folder,
            env=environment(self.store, **variables),
        )


def cells(line):
    from rich.cells import cell_len

    return cell_len(line)


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")
