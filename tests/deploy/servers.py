"""The real programs with the files of deploy/: started on loopback at free ports, ended by id.

Each takes the file as it is. Ports and folders, which two tests at once must not share, are
given as one is meant to give them: by variables, or by a second file that is laid over the first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.jaeger_server import JaegerClient
from tests.e2e.programs import Program, fetch, find_program, free_ports
from tests.e2e.prometheus_server import PrometheusServer

DEPLOY = Path(__file__).parents[2] / "deploy"
COLLECTOR_VERSION = "v0.140.1"


def find_collector() -> Path | None:
    """Return the collector: ``HUSH_COLLECTOR``, else what deploy/install-collector.sh made."""
    return find_program("HUSH_COLLECTOR", compiled=f"otelcol-{COLLECTOR_VERSION}/otelcol")


class Deployed(Program):
    """A program of OpenTelemetry's with a file of deploy/, and over that one with free ports."""

    names: tuple[str, ...]
    """What it listens for; ``own`` is where its own metrics are read."""

    def __init__(self, binary: Path, folder: Path, name: str, file: str) -> None:
        super().__init__(name, folder)
        self.binary = binary
        self.file = DEPLOY / file
        self.ports = dict(zip(self.names, free_ports(len(self.names)), strict=True))
        self.at = {name: f"127.0.0.1:{port}" for name, port in self.ports.items()}
        self.otlp_http = f"http://{self.at['otlp_http']}"

    def start_with(
        self, overrides: Mapping[str, Any], variables: Mapping[str, str], health: str
    ) -> None:
        own = {"host": "127.0.0.1", "port": self.ports["own"], "without_scope_info": True}
        readers = [{"pull": {"exporter": {"prometheus": own}}}]
        protocols = {kind: {"endpoint": self.at[f"otlp_{kind}"]} for kind in ("http", "grpc")}
        merged = {
            "service": {"telemetry": {"metrics": {"readers": readers}}},
            "receivers": {"otlp": {"protocols": protocols}},
            **overrides,
        }
        over = self.folder / f"{self.name}-ports.yaml"
        over.write_text(json.dumps(merged))
        command = [str(self.binary), "--config", str(self.file), "--config", str(over)]
        self.start(command, variables, f"http://{self.at['health']}{health}")


class DeployedJaeger(Deployed):
    """Jaeger with deploy/jaeger/config.yaml."""

    names = ("otlp_http", "otlp_grpc", "query", "query_grpc", "health", "spans", "own")

    def __init__(self, binary: Path, folder: Path, **variables: str) -> None:
        super().__init__(binary, folder, "jaeger", "jaeger/config.yaml")
        self.variables = variables
        self.query = f"http://{self.at['query']}"

    @property
    def client(self) -> JaegerClient:
        return JaegerClient(self.query)

    def begin(self) -> None:
        overrides = {
            "extensions": {
                "healthcheckv2": {"http": {"endpoint": self.at["health"]}},
                "jaeger_query": {
                    "http": {"endpoint": self.at["query"]},
                    "grpc": {"endpoint": self.at["query_grpc"]},
                },
            },
            "connectors": {"spanmetrics": {"metrics_flush_interval": "1s"}},
            "exporters": {"prometheus": {"endpoint": self.at["spans"]}},
        }
        variables = {"JAEGER_DATA": str(self.folder / "jaeger"), **self.variables}
        self.start_with(overrides, variables, "/status")


class DeployedCollector(Deployed):
    """The collector with deploy/otel-collector/config.yaml."""

    names = ("otlp_http", "otlp_grpc", "health", "metrics", "own")

    def __init__(self, binary: Path, folder: Path, jaeger_grpc: int) -> None:
        super().__init__(binary, folder, "collector", "otel-collector/config.yaml")
        self.jaeger_grpc = jaeger_grpc
        self.variables: dict[str, str] = {}

    def begin(self) -> None:
        overrides = {
            "extensions": {"health_check": {"endpoint": self.at["health"]}},
            "exporters": {"prometheus": {"endpoint": self.at["metrics"]}},
        }
        variables = {
            "COLLECTOR_DATA": str(self.folder / "collector"),
            "JAEGER_OTLP": f"127.0.0.1:{self.jaeger_grpc}",
            **self.variables,
        }
        self.start_with(overrides, variables, "/")


class DeployedPrometheus(PrometheusServer):
    """Prometheus with deploy/prometheus: its rules as they are, its targets at other ports."""

    def __init__(
        self, binary: Path, folder: Path, targets: Mapping[str, int], *, port: int = 0
    ) -> None:
        """Prepare it.

        Args:
            binary: the program.
            folder: for its data.
            targets: host and port as prometheus.yml names them, and the port on loopback that
                stands for it.
            port: where it listens; 0 chooses.
        """
        super().__init__(binary, (), folder, port=port)
        self.stands_for = {**targets, "127.0.0.1:9090": self.port}

    def config(self) -> Mapping[str, Any]:
        config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
        config["rule_files"] = [str(DEPLOY / "prometheus" / "rules" / "*.yml")]
        # A test has no quarter of an hour; the rates are over a minute all the same.
        config["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
        for job in config["scrape_configs"]:
            for group in job.pop("dns_sd_configs", ()):
                hosts = [f"{name}:{group['port']}" for name in group["names"]]
                job.setdefault("static_configs", []).append({"targets": hosts})
            for group in job["static_configs"]:
                named = [target for target in group["targets"] if target in self.stands_for]
                group["targets"] = [f"127.0.0.1:{self.stands_for[target]}" for target in named]
        return config

    def ask(self, expr: str) -> list[dict[str, Any]]:
        """Return the series of an expression now, those that are no number left out."""
        found = self.get("/api/v1/query", query=expr)["result"]
        return [series for series in found if series["value"][1] != "NaN"]


def read_metrics(port: int, *, open_metrics: bool = False) -> str:
    """Return what Prometheus would scrape at a port of loopback."""
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"} if open_metrics else {}
    return fetch(f"http://127.0.0.1:{port}/metrics", **accept).decode()


def sum_of(text: str, name: str, **labels: str) -> float:
    """Add up the samples of a metric that have these labels."""
    total = 0.0
    for line in text.splitlines():
        found = re.match(rf"{name}(?:\{{(.*?)\}})? ([0-9.e+-]+)", line)
        if found and all(f'{key}="{value}"' in (found[1] or "") for key, value in labels.items()):
            total += float(found[2])
    return total
