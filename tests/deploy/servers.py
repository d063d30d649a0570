"""The real programs with the files of deploy/: started on loopback at free ports, ended by id.

Each takes the file as it is. Ports and folders, which two tests at once must not share, are
given as one is meant to give them: by variables, or by a second file that is laid over the first.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

import yaml

from tests.e2e.jaeger_server import JaegerClient, _fetch, _free_ports

DEPLOY = Path(__file__).parents[2] / "deploy"
COLLECTOR_VERSION = "v0.140.1"
START_TIMEOUT_S = 40.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.1


def find_collector() -> Path | None:
    """Return the collector: ``HUSH_COLLECTOR``, else what deploy/install-collector.sh made."""
    named = os.environ.get("HUSH_COLLECTOR")
    if named:
        return Path(named)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    compiled = cache / "hush" / f"otelcol-{COLLECTOR_VERSION}" / "otelcol"
    return compiled if compiled.is_file() else None


def find_prometheus() -> Path | None:
    found = shutil.which("prometheus")
    return Path(found) if found else None


def wait_until(condition: Any, what: str, timeout_s: float = 30.0) -> Any:
    """Return what the condition gives as soon as that is true; None while it is not."""
    give_up = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < give_up, f"not within {timeout_s:g} s: {what}"
        time.sleep(POLL_S)


class Program:
    """One process; its output goes into a file of the folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, command: list[str], variables: dict[str, str], health: str) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**os.environ, **variables},
            )
        give_up = time.monotonic() + START_TIMEOUT_S
        while not answers(health):
            code = self.process.poll()
            if code is not None or time.monotonic() > give_up:
                tail = self.log.read_text(errors="replace")[-3000:]
                self.stop()
                raise AssertionError(f"{self.name}: {code=}, not healthy\n{tail}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End it as its supervisor would; by force only where that does not help."""
        process, self.process = self.process, None
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def kill(self) -> None:
        """End it as the kernel would when memory is short: with -9, nothing written."""
        process, self.process = self.process, None
        assert process is not None
        process.kill()
        process.wait()

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def begin(self) -> None:
        raise NotImplementedError


class DeployedJaeger(Program):
    """Jaeger with deploy/jaeger/config.yaml."""

    def __init__(self, binary: Path, folder: Path, **variables: str) -> None:
        super().__init__(folder, "jaeger")
        self.binary = binary
        self.variables = variables
        ports = _free_ports(7)
        names = ("otlp_http", "otlp_grpc", "query", "query_grpc", "health", "spans", "own")
        self.ports = dict(zip(names, ports, strict=True))
        self.otlp_http = f"http://127.0.0.1:{self.ports['otlp_http']}"
        self.query = f"http://127.0.0.1:{self.ports['query']}"

    @property
    def client(self) -> JaegerClient:
        return JaegerClient(self.query)

    def begin(self) -> None:
        at = {name: f"127.0.0.1:{port}" for name, port in self.ports.items()}
        overrides = {
            "service": {
                "telemetry": {
                    "metrics": {
                        "readers": [
                            {
                                "pull": {
                                    "exporter": {
                                        "prometheus": {
                                            "host": "127.0.0.1",
                                            "port": self.ports["own"],
                                            "without_scope_info": True,
                                        }
                                    }
                                }
                            }
                        ]
                    }
                }
            },
            "extensions": {
                "healthcheckv2": {"http": {"endpoint": at["health"]}},
                "jaeger_query": {
                    "http": {"endpoint": at["query"]},
                    "grpc": {"endpoint": at["query_grpc"]},
                },
            },
            "receivers": {
                "otlp": {
                    "protocols": {
                        "http": {"endpoint": at["otlp_http"]},
                        "grpc": {"endpoint": at["otlp_grpc"]},
                    }
                }
            },
            "connectors": {"spanmetrics": {"metrics_flush_interval": "1s"}},
            "exporters": {"prometheus": {"endpoint": at["spans"]}},
        }
        over = self.folder / "jaeger-ports.yaml"
        over.write_text(json.dumps(overrides))
        variables = {"JAEGER_DATA": str(self.folder / "jaeger"), **self.variables}
        files = ["--config", str(DEPLOY / "jaeger" / "config.yaml"), "--config", str(over)]
        self.start([str(self.binary), *files], variables, f"http://{at['health']}/status")


class DeployedCollector(Program):
    """The collector with deploy/otel-collector/config.yaml."""

    def __init__(self, binary: Path, folder: Path, jaeger_grpc: int) -> None:
        super().__init__(folder, "collector")
        self.binary = binary
        self.jaeger_grpc = jaeger_grpc
        self.variables: dict[str, str] = {}
        names = ("otlp_http", "otlp_grpc", "health", "metrics", "own")
        self.ports = dict(zip(names, _free_ports(5), strict=True))
        self.otlp_http = f"http://127.0.0.1:{self.ports['otlp_http']}"

    def begin(self) -> None:
        at = {name: f"127.0.0.1:{port}" for name, port in self.ports.items()}
        overrides = {
            "service": {
                "telemetry": {
                    "metrics": {
                        "readers": [
                            {
                                "pull": {
                                    "exporter": {
                                        "prometheus": {
                                            "host": "127.0.0.1",
                                            "port": self.ports["own"],
                                            "without_scope_info": True,
                                        }
                                    }
                                }
                            }
                        ]
                    }
                }
            },
            "extensions": {"health_check": {"endpoint": at["health"]}},
            "receivers": {
                "otlp": {
                    "protocols": {
                        "http": {"endpoint": at["otlp_http"]},
                        "grpc": {"endpoint": at["otlp_grpc"]},
                    }
                }
            },
            "exporters": {"prometheus": {"endpoint": at["metrics"]}},
        }
        over = self.folder / "collector-ports.yaml"
        over.write_text(json.dumps(overrides))
        variables = {
            "COLLECTOR_DATA": str(self.folder / "collector"),
            "JAEGER_OTLP": f"127.0.0.1:{self.jaeger_grpc}",
            **self.variables,
        }
        files = ["--config", str(DEPLOY / "otel-collector" / "config.yaml"), "--config", str(over)]
        self.start([str(self.binary), *files], variables, f"http://{at['health']}/")


class DeployedPrometheus(Program):
    """Prometheus with deploy/prometheus: its rules as they are, its targets at other ports."""

    def __init__(
        self, binary: Path, folder: Path, targets: dict[str, int], *, port: int = 0
    ) -> None:
        """Prepare it.

        Args:
            binary: the program.
            folder: for its data.
            targets: host and port as prometheus.yml names them, and the port on loopback that
                stands for it.
            port: where it listens; 0 chooses.
        """
        super().__init__(folder, "prometheus")
        self.binary = binary
        self.port = port or _free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
        config["rule_files"] = [str(DEPLOY / "prometheus" / "rules" / "*.yml")]
        # A test has no quarter of an hour; the rates are over a minute all the same.
        config["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
        targets = {**targets, "127.0.0.1:9090": self.port}
        for job in config["scrape_configs"]:
            for group in job.pop("dns_sd_configs", ()):
                hosts = [f"{name}:{group['port']}" for name in group["names"]]
                job.setdefault("static_configs", []).append({"targets": hosts})
            for group in job["static_configs"]:
                named = [target for target in group["targets"] if target in targets]
                group["targets"] = [f"127.0.0.1:{targets[target]}" for target in named]
        self.config = folder / "prometheus.yml"
        self.config.write_text(yaml.safe_dump(config))

    def begin(self) -> None:
        command = [
            str(self.binary),
            f"--config.file={self.config}",
            f"--storage.tsdb.path={self.folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--enable-feature=exemplar-storage",
        ]
        self.start(command, {}, f"{self.url}/-/ready")

    def get(self, path: str, **arguments: Any) -> Any:
        query = urllib.parse.urlencode(arguments)
        return read_json(f"{self.url}{path}?{query}")["data"]

    def ask(self, expr: str) -> list[dict[str, Any]]:
        """Return the series of an expression now, those that are no number left out."""
        found = self.get("/api/v1/query", query=expr)["result"]
        return [series for series in found if series["value"][1] != "NaN"]


# A proxy that the environment names is not for loopback.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def answers(url: str) -> bool:
    try:
        _fetch(url)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False
    return True


def read_json(url: str) -> Any:
    try:
        with _opener.open(url, timeout=30) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(f"{url}: {error.read().decode()}") from None


def read_metrics(port: int, *, open_metrics: bool = False) -> str:
    """Return what Prometheus would scrape at a port of loopback."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics")
    if open_metrics:
        request.add_header("Accept", "application/openmetrics-text; version=1.0.0")
    with _opener.open(request, timeout=10) as response:
        text: str = response.read().decode()
        return text


def sum_of(text: str, name: str, **labels: str) -> float:
    """Add up the samples of a metric that have these labels."""
    total = 0.0
    for line in text.splitlines():
        found = re.match(rf"{name}(?:\{{(.*?)\}})? ([0-9.e+-]+)", line)
        if found and all(f'{key}="{value}"' in (found[1] or "") for key, value in labels.items()):
            total += float(found[2])
    return total
