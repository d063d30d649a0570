"""What a run takes while its receiver is in trouble, against a receiver that is well.

    python -m benchmarks.spool [--rounds 5] [--runs 3] [--items 300]

Each case is a process of its own that runs a workflow several times and sends its spans to a
receiver in this process, by way of the spool; rounds go through all cases in turn, so that a noisy
machine is noisy for all. Two workflows: "waiting" is a map of items that each wait for 0.2 s, as
calls to a model do; "busy" is a map of items that do nothing, the worst case, since all it does
is end spans. Wall time is that of the runs themselves; what is written and sent meanwhile, by other
threads, is in it as far as it holds them up. The least of all runs of a case counts, since other
work on a machine only ever adds; only ratios travel.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

import anyio

WAIT_S = 0.2
LIMIT = 50
KINDS = ("waiting", "busy")


# --- the receiver ---------------------------------------------------------------------------------


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers as the case wants it, and keeps nothing."""

    protocol_version = "HTTP/1.1"
    case = "well"

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        if self.case == "reset in mid-body":
            self.rfile.read(length // 2)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        self.rfile.read(length)
        time.sleep({"100 ms a batch": 0.1, "5 s a batch": 5.0}.get(self.case, 0.0))
        status = {"429": 429, "503": 503, "400": 400, "redirect": 302}.get(self.case, 200)
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "3600")
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:9/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        del args


class Server(http.server.ThreadingHTTPServer):
    """Leaves connections that break alone."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        del request, client_address


@contextlib.contextmanager
def receiver(case: str) -> Iterator[str]:
    if case in {"down", "disk refuses, down", "the same, queue full"}:
        yield "http://127.0.0.1:9"
        return
    with Server(("127.0.0.1", 0), type("Case", (Receiver,), {"case": case})) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


CASES = (
    "no telemetry",
    "spans, not sent",
    "SDK's batches",
    "well",
    "down",
    "100 ms a batch",
    "5 s a batch",
    "429",
    "503",
    "400",
    "redirect",
    "reset in mid-body",
    "disk refuses",
    "disk refuses, down",
    "the same, queue full",
)


# --- the runs -------------------------------------------------------------------------------------


async def wait(x: int) -> dict[str, int]:
    await anyio.sleep(WAIT_S)
    return {"y": x}


async def nothing(x: int) -> dict[str, int]:
    return {"y": x}


def work(case: str, url: str, folder: str, items: int, runs: int) -> None:
    """Run in a process of its own and print seconds."""
    import logging

    from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode
    from hush.observe import configure

    logging.disable()
    if case == "disk refuses":
        case = "well"
    os.environ["OTEL_TRACES_EXPORTER"] = "none" if case == "spans, not sent" else "otlp"
    if case != "no telemetry":
        configure(endpoint=None if case == "spans, not sent" else url, spool=folder != "-")
    found: dict[str, list[list[float]]] = {}
    for kind, body in zip(KINDS, (wait, nothing), strict=True):
        with GraphNode(name="bench") as graph:
            with MapNode(
                name="m",
                inputs={"x": Each(PARENT["xs"])},
                max_concurrency=LIMIT,
                span_budget=None,
            ) as each:
                node = CodeNode(name="n", code_fn=body, inputs={"x": PARENT})
                START >> node >> END
            START >> each >> END
        engine = Hush(graph)
        count = items if kind == "waiting" else 5 * items
        engine.run_sync({"xs": range(count)})
        found[kind] = []
        for _ in range(runs):
            # So that a run is not charged for what is left of the one before.
            time.sleep(0.3)
            wall, cpu = time.perf_counter(), time.process_time()
            engine.run_sync({"xs": range(count)})
            found[kind].append([time.perf_counter() - wall, time.process_time() - cpu])
    print(json.dumps(found), flush=True)
    os._exit(0)


def measured(case: str, items: int, runs: int) -> dict[str, list[list[float]]]:
    with tempfile.TemporaryDirectory() as state, receiver(case) as url:
        if case.startswith(("disk refuses", "the same")):
            # No folder can be made where a file is.
            with open(os.path.join(state, "hush"), "w", encoding="utf-8"):  # noqa: PTH118, PTH123  # one line
                pass
        variables = {**os.environ, "XDG_STATE_HOME": state}
        if case == "the same, queue full":
            # Less than one run ends, so that the queue is full before the first that is measured.
            variables["OTEL_BSP_MAX_QUEUE_SIZE"] = str(items)
        spool = "-" if case == "SDK's batches" else "on"
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "benchmarks.spool",
                "--work",
                case,
                url,
                spool,
                "--items",
                str(items),
                "--runs",
                str(runs),
            ],
            capture_output=True,
            text=True,
            check=True,
            env=variables,
        )
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.spool",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=3, help="of each workflow in a round")
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(*options.work, options.items, options.runs)
        return
    found = {case: {kind: [] for kind in KINDS} for case in CASES}
    for _ in range(options.rounds):
        for case in CASES:
            for kind, times in measured(case, options.items, options.runs).items():
                found[case][kind] += times
    head = f"{'receiver':20}"
    for kind in KINDS:
        head += f"{kind + ' ms':>13}{'/ well':>8}{'/ none':>8}{'cpu/well':>10}"
    print(head)
    for case in CASES:
        line = f"{case:20}"
        for kind in KINDS:

            def least(which: str, what: int, kind: str = kind) -> float:
                return min(times[what] for times in found[which][kind])

            wall = least(case, 0)
            line += f"{1e3 * wall:13.1f}{wall / least('well', 0):8.2f}"
            line += (
                f"{wall / least('no telemetry', 0):8.2f}{least(case, 1) / least('well', 1):10.2f}"
            )
        print(line)


if __name__ == "__main__":
    main()
