"""The example service under load for a while, with its receiver of spans away in between.

    python -m benchmarks.soak [--duration 600] [--rate 20] [--outage 60]

Four processes on loopback: the service of examples/service with its spool, a receiver that
writes down the id of every span it stores, the load of examples/service/load.py, and this one,
which takes the receiver away in the middle of it, reads /metrics all the time and counts. The
service's own list of the spans that it has ended is compared with the receiver's: what is
missing, what came twice, what was never ended. Resident memory is that of the service, its
scripted model included. Ends with 1 where a span was lost or invented.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.environment import ROOT, environment

__all__ = ("soak",)

SERVICE = ROOT / "examples" / "service"
WARM_UP = 0.2
"""The first share of the time, whose memory does not count."""
BIN = 8
"""Bytes of a span's id."""


# --- the receiver, a process ------------------------------------------------------------------


def receive(port: int, file: Path) -> None:
    """Take spans at a port, and write down the id of each before its request is answered."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    lock = threading.Lock()
    stored = file.open("ab")

    class Receiver(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            request = ExportTraceServiceRequest.FromString(body)
            ids = b"".join(
                span.span_id
                for of_resource in request.resource_spans
                for of_scope in of_resource.scope_spans
                for span in of_scope.spans
            )
            with lock:
                stored.write(ids)
                stored.flush()
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *said: object) -> None:
            del said

    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer(("127.0.0.1", port), Receiver).serve_forever()


# --- the service, a process -------------------------------------------------------------------


def serve(file: Path) -> None:
    """Run the service, and write down the id of each span when it ends."""
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

    sys.path.insert(0, str(SERVICE))
    from service import main  # the example's

    class Ledger(SpanProcessor):
        def __init__(self) -> None:
            self.ended = file.open("ab")

        def on_end(self, span: ReadableSpan) -> None:
            # Those that a map leaves out end as well, without the flag.
            if span.context.trace_flags.sampled:
                self.ended.write(span.context.span_id.to_bytes(BIN, "big"))

        def shutdown(self) -> None:
            self.ended.close()

    main([Ledger()])


# --- this process -----------------------------------------------------------------------------


def start(ending: ExitStack, *command: object, log: Path, **variables: str) -> subprocess.Popen:
    """Start a program that ends, at the latest, with the stack."""
    output = ending.enter_context(log.open("ab"))
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
        env={**environment(), **variables},
    )
    ending.callback(end, process)
    return process


def end(process: subprocess.Popen, how: signal.Signals = signal.SIGTERM) -> float:
    """End a process if it runs and return how long that took."""
    began = time.monotonic()
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return time.monotonic() - began


def free_port() -> int:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.server_close()
    return int(server.server_port)


def fetch(url: str) -> str | None:
    """Return what a URL answers; None where it does not."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  # ours, on loopback
            return answer.read().decode()
    except OSError:
        return None


def total(page: str, name: str, label: str = "") -> float:
    """Add up the samples of a metric whose labels have this text in them."""
    found = re.findall(rf"^{name}(\{{.*\}})? (\S+)$", page, re.MULTILINE)
    return sum(float(value) for labels, value in found if label in labels)


def ids_in(file: Path) -> Counter[bytes]:
    data = file.read_bytes()
    return Counter(data[at : at + BIN] for at in range(0, len(data), BIN))


def slope(samples: list[tuple[float, float]]) -> float:
    """Return by how much a value grows in a second, by least squares."""
    return statistics.linear_regression(*zip(*samples, strict=True)).slope


def soak(
    folder: Path, *, duration_s: float, rate: float, outage_s: float, every_s: float
) -> dict[str, Any]:
    """Run everything and return the figures.

    Args:
        folder: for logs, the spool and the lists of spans.
        duration_s: of the load, in seconds.
        rate: requests a second.
        outage_s: for how long the receiver is away, in the middle.
        every_s: how often /metrics is read.
    """
    ended, stored, spool = folder / "ended", folder / "stored", folder / "spool"
    port, receiver_port = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    samples: list[dict[str, float]] = []

    with ExitStack() as ending:

        def start_receiver() -> subprocess.Popen:
            command = ("-m", "benchmarks.soak", "receive", receiver_port, stored)
            return start(ending, *command, log=folder / "receiver.log")

        receiver = start_receiver()
        service = start(
            ending,
            *("-m", "benchmarks.soak", "serve", ended),
            log=folder / "service.log",
            PORT=str(port),
            HUSH_SPOOL=str(spool),
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{receiver_port}",
            OTEL_METRICS_EXPORTER="none",
        )
        give_up = time.monotonic() + 60
        while fetch(f"{url}/readyz") is None:
            if service.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError((folder / "service.log").read_text())
            time.sleep(0.1)
        arguments = ("--url", url, "--rate", rate, "--duration", duration_s, "--json")
        load = start(ending, SERVICE / "load.py", *arguments, log=folder / "load.log")
        began = time.monotonic()
        away = (duration_s - outage_s) / 2
        page = ""
        while load.poll() is None:
            now = time.monotonic() - began
            if away <= now < away + outage_s and receiver.poll() is None:
                end(receiver, signal.SIGKILL)
            elif now >= away + outage_s and receiver.poll() is not None:
                receiver = start_receiver()
            page = fetch(f"{url}/metrics") or page
            sample = {
                "at_s": round(now, 1),
                "rss_mb": total(page, "process_resident_memory_bytes") / 1e6,
                "cpu_s": total(page, "process_cpu_seconds_total"),
                "threads": float(thread_count(service.pid)),
                "active": total(page, "hush_run_active"),
                "spooled_mb": total(page, "hush_export_spooled_bytes") / 1e6,
                "dropped": total(page, "hush_export_dropped_total"),
            }
            samples.append(sample)
            with (folder / "samples.jsonl").open("a") as file:
                file.write(json.dumps(sample) + "\n")
            time.sleep(max(0.0, min(every_s, began + now + every_s - time.monotonic())))
        page = fetch(f"{url}/metrics") or page
        took_s = time.monotonic() - began
        exit_s = end(service)
        if receiver.poll() is not None:
            raise RuntimeError((folder / "receiver.log").read_text())
        code = service.returncode

    before, after = ids_in(ended), ids_in(stored)
    warm = [sample for sample in samples if sample["at_s"] >= WARM_UP * duration_s]
    rss = [sample["rss_mb"] for sample in warm]
    quarter = max(1, len(rss) // 4)
    return {
        "took_s": round(took_s, 1),
        "load": json.loads((folder / "load.log").read_text().splitlines()[-1]),
        "runs": int(total(page, "hush_run_duration_seconds_count")),
        "spans": before.total(),
        "lost": len(before.keys() - after.keys()),
        "invented": len(after.keys() - before.keys()),
        "twice": sum(1 for number in after.values() if number > 1),
        "left_in_spool": sum(1 for path in spool.rglob("*.otlp") if path.is_file()),
        "dropped": int(total(page, "hush_export_dropped_total")),
        "spooled_mb_most": round(max(sample["spooled_mb"] for sample in samples), 1),
        "rss_mb": {
            "first": round(samples[0]["rss_mb"], 1),
            "warm": round(statistics.mean(rss[:quarter]), 1),
            "last": round(statistics.mean(rss[-quarter:]), 1),
            "most": round(max(rss), 1),
            "a_minute": round(slope([(s["at_s"], s["rss_mb"]) for s in warm]) * 60, 3)
            if len(warm) > 1
            else None,
        },
        "active_most": int(max(sample["active"] for sample in samples)),
        "threads": [int(samples[0]["threads"]), int(samples[-1]["threads"])],
        "cpu_share": round((samples[-1]["cpu_s"] - samples[0]["cpu_s"]) / took_s, 3),
        "metrics_bytes": len(page),
        "exit_s": round(exit_s, 2),
        "exit_code": code,
    }


def thread_count(pid: int) -> int:
    """Return how many threads a process has; 0 where the system does not say so."""
    folder = Path(f"/proc/{pid}/task")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--duration", type=float, default=600.0, help="seconds")
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second")
    parser.add_argument("--outage", type=float, default=60.0, help="seconds without receiver")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two samples")
    parser.add_argument("--folder", type=Path, help="keeps logs and samples there")
    options = parser.parse_args()
    with ExitStack() as ending:
        folder = options.folder or Path(ending.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        found = soak(
            folder,
            duration_s=options.duration,
            rate=options.rate,
            outage_s=options.outage,
            every_s=options.every,
        )
    print(json.dumps(found, indent=2))
    return int(bool(found["lost"] or found["invented"] or found["exit_code"]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["receive"]:
        receive(int(sys.argv[2]), Path(sys.argv[3]))
    elif sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]))
    else:
        sys.exit(main())
