"""A service with /metrics for Prometheus and log lines in JSON, asked by itself.

    python examples/14_metrics_and_logs.py [--requests 12] [--backend trio]
    python examples/14_metrics_and_logs.py --serve --port 8080 --metrics-port 9464

Each request runs a workflow that reports on a package of Python's library: its modules are
read side by side, a few at a time, while their sizes are added up. Without --serve the
service gets some requests, one for a package that there is not, and then its own metrics are
read: which join is slow, who is late, and is it the limit? Log lines go to standard error.
"""

import json
import logging
import re
import sys
import sysconfig
import threading
import urllib.error
import urllib.request
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import structlog
from options import Parser, positive, run
from prometheus_client.parser import text_string_to_metric_families

from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode, RunError
from hush.observe import configure, configure_logging

LIBRARY = Path(sysconfig.get_path("stdlib"))
PACKAGES = ("json", "email", "asyncio", "unittest", "concurrent", "nosuch")

log = structlog.get_logger("service")


# --- the workflow -----------------------------------------------------------------------------


def find_modules(package: str) -> dict:
    """List a package's files."""
    files = sorted((LIBRARY / package).rglob("*.py")) if package.isidentifier() else []
    if not files:
        raise LookupError(f"the library has no package {package!r}")
    return {"files": files}


def count_functions(file: Path) -> dict:
    """Read one module; the standard logging will do."""
    found = len(re.findall(rb"^\s*(?:async )?def ", file.read_bytes(), re.MULTILINE))
    logging.getLogger("reader").debug("%d functions in %s", found, file.name)
    return {"functions": found}


def add_sizes(files: list) -> dict:
    """Add up the files' sizes."""
    return {"size": sum(file.stat().st_size for file in files)}


def report(functions: list, size: int) -> dict:
    """Put both together; the line carries the trace and the run."""
    log.info("report made", modules=len(functions), api_key="k-0123456789")
    return {"report": {"modules": len(functions), "functions": sum(functions), "size": size}}


def build() -> Hush:
    """Build the workflow."""
    with GraphNode(name="report-on-package") as graph:
        find = CodeNode(
            name="find",
            code_fn=find_modules,
            inputs={"package": PARENT["package"]},
            outputs={"files": PARENT},
        )
        with MapNode(
            name="modules",
            inputs={"file": Each(PARENT["files"])},
            max_concurrency=2,
            outputs={"functions": PARENT},
        ) as modules:
            count = CodeNode(
                name="count",
                code_fn=count_functions,
                inputs={"file": PARENT["file"]},
                outputs={"functions": PARENT},
            )
            START >> count >> END
        sizes = CodeNode(
            name="sizes",
            code_fn=add_sizes,
            inputs={"files": PARENT["files"]},
            outputs={"size": PARENT},
        )
        join = CodeNode(
            name="report",
            code_fn=report,
            inputs={"functions": PARENT["functions"], "size": PARENT["size"]},
            outputs={"report": PARENT},
        )
        START >> find >> [modules, sizes] >> join >> END
    return Hush(graph)


# --- the service ------------------------------------------------------------------------------


def serve(engine: Hush, port: int, backend: str) -> ThreadingHTTPServer:
    """Answer /report/<package> on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            package = self.path.rpartition("/")[2]
            try:
                result = engine.run_sync({"package": package}, backend=backend)
            except RunError as error:
                log.warning("no report", package=package, error=str(error))
                self.answer(404, {"error": str(error), "run_id": error.run_id})
            else:
                self.answer(200, result["report"])

        def answer(self, status: int, body: dict) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass  # the workflow's own lines say more

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def ask(url: str) -> int:
    """Ask for one report; return the status."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310  # our own address
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


# --- what the metrics say -----------------------------------------------------------------------


class Page:
    """The samples of /metrics."""

    def __init__(self, text: str) -> None:
        """Read the page that Prometheus reads."""
        families = text_string_to_metric_families(text)
        self.samples = [sample for family in families for sample in family.samples]

    def sums(self, name: str, label: str) -> dict[str, float]:
        """Return values by a label, summed over all others."""
        found: defaultdict[str, float] = defaultdict(float)
        for sample in self.samples:
            if sample.name == name:
                found[sample.labels.get(label, "")] += sample.value
        return dict(found)


def told(counts: dict[str, float]) -> str:
    """Write counts on a line, the largest first."""
    pairs = sorted(counts.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{value:.0f} {name}" for name, value in pairs)


def explain(page: Page) -> None:
    """Answer from metrics alone what one asks of a slow service."""
    print("\nWhat the metrics say")
    print("  runs          ", told(page.sums("hush_run_duration_seconds_count", "hush_outcome")))
    print("  items         ", told(page.sums("hush_item_duration_seconds_count", "hush_outcome")))
    spread = page.sums("hush_fan_in_spread_seconds_sum", "hush_node_name")
    slow = max(spread, key=spread.__getitem__)
    print("  slowest join  ", f"{slow}: its predecessors arrive {spread[slow]:.3f} s apart in all")
    print("  last to come  ", told(page.sums("hush_fan_in_releases_total", "hush_fan_in_last")))
    print("  bound by      ", told(page.sums("hush_maps_total", "hush_map_bound_by")))
    waits = page.sums("hush_item_wait_seconds_sum", "hush_node_name")
    runs = page.sums("hush_item_duration_seconds_sum", "hush_node_name")
    print("  wait and run  ", f"{waits['modules']:.3f} s and {runs['modules']:.3f} s of all items")
    print("  under way     ", told(page.sums("hush_run_active", "hush_graph_name")))


def main() -> None:
    """Read the command line, serve, and ask."""
    parser = Parser(__doc__)
    parser.add_argument("--requests", type=positive, default=12, help="how many to make")
    parser.add_argument("--serve", action="store_true", help="only serve, until Ctrl-C")
    parser.add_argument("--port", type=int, default=0, help="of the service; 0 for any")
    parser.add_argument("--metrics-port", type=int, default=0, help="of /metrics; 0 for any")
    options = parser.parse()

    configure_logging("json", stream="stderr")
    telemetry = configure(service_name="reports", prometheus_port=options.metrics_port)
    metrics = f"http://127.0.0.1:{telemetry.prometheus_port}/metrics"
    server = serve(build(), options.port, options.backend)
    service = f"http://127.0.0.1:{server.server_port}/report"
    print(f"reports at {service}/json\nmetrics at {metrics}")
    try:
        if options.serve:
            server.serve_forever()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        urls = [f"{service}/{PACKAGES[i % len(PACKAGES)]}" for i in range(options.requests)]
        with ThreadPoolExecutor(3) as clients:
            statuses = [str(status) for status in clients.map(ask, urls)]
        server.shutdown()
        print(f"{len(urls)} requests: " + told({one: statuses.count(one) for one in statuses}))
        with urllib.request.urlopen(metrics, timeout=10) as answer:
            explain(Page(answer.read().decode()))
    finally:
        server.server_close()
        telemetry.shutdown()
    sys.stderr.flush()


if __name__ == "__main__":
    run(main)
