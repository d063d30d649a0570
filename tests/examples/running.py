"""The example service and what asks it, each a process on loopback; ended by id."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.programs import Program, fetch, free_ports
from tests.export.collector import Collector

SERVICE = Path(__file__).parents[2] / "examples" / "service"
ORDER = {"customer": "ann", "items": ["cup", "pot", "gone-1"]}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def trace_id(self) -> str:
        return self.headers["x-trace-id"]


class Service(Program):
    """The service; nothing goes wrong behind it unless ``FAULTS`` says so."""

    stop_timeout_s = 40.0

    def __init__(self, folder: Path, endpoint: str, **variables: str) -> None:
        super().__init__("example", folder)
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.variables = {
            "PORT": str(self.port),
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "HUSH_SPOOL": str(folder / "spool"),
            "FAULTS": "0",
            # On a busy machine nothing is late but what has to be.
            "DEADLINE_S": "30",
            **variables,
        }

    def begin(self) -> None:
        program = [sys.executable, "-W", "error", str(SERVICE / "service.py")]
        self.start(program, self.variables, f"{self.url}/readyz")

    def ask(self, path: str, body: Any = None, **headers: str) -> Answer:
        """Ask once, over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body)
            sent = {"content-type": "application/json", **headers}
            connection.request("GET" if body is None else "POST", path, data, sent)
            answer = connection.getresponse()
            text = answer.read().decode()
            found = {name.lower(): value for name, value in answer.getheaders()}
            is_json = found["content-type"].endswith("json")
            return Answer(answer.status, found, json.loads(text) if is_json else text)
        finally:
            connection.close()

    def metrics(self) -> str:
        return fetch(f"{self.url}/metrics").decode()

    def lines(self) -> list[dict[str, Any]]:
        """Return what it has logged; all of it is JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def end(self) -> int:
        """End it as its supervisor would, and return the exit code."""
        process = self.process
        assert process is not None
        process.terminate()
        return process.wait(60)


def run_load(url: str, *arguments: object, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SERVICE / "load.py"), "--url", url]
        + [str(argument) for argument in arguments],
        capture_output=True,
        encoding="utf-8",
        timeout=50,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@dataclass(frozen=True)
class Received:
    """A span as the receiver got it."""

    name: str
    span_id: str
    parent_id: str
    attributes: Mapping[str, Any]
    failed: bool


def traces_of(collector: Collector) -> Mapping[str, dict[str, Received]]:
    """Return the spans that a receiver has, by trace and by id."""
    found: defaultdict[str, dict[str, Received]] = defaultdict(dict)
    for request in list(collector.requests):
        for of_resource in getattr(request.message, "resource_spans", ()):
            for of_scope in of_resource.scope_spans:
                for span in of_scope.spans:
                    found[span.trace_id.hex()][span.span_id.hex()] = Received(
                        span.name,
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        {each.key: _value(each.value) for each in span.attributes},
                        span.status.code == span.status.STATUS_CODE_ERROR,
                    )
    return found


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))
