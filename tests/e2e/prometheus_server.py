"""A real Prometheus server for the tests: started on loopback, asked through its query API."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.e2e.programs import Program, fetch, find_program, free_ports

SCRAPE_S = 0.5


def find_prometheus() -> Path | None:
    """Return the server: ``HUSH_PROMETHEUS``, else on PATH."""
    return find_program("HUSH_PROMETHEUS", command="prometheus")


class PrometheusServer(Program):
    """One Prometheus process, which scrapes what a test names."""

    def __init__(
        self, binary: Path, targets: Sequence[str], folder: Path | None = None, *, port: int = 0
    ) -> None:
        """Scrape nothing yet.

        Args:
            binary: the program.
            targets: what to scrape, as ``host:port``.
            folder: for its data; None for one of its own.
            port: where it listens; 0 chooses.
        """
        super().__init__("prometheus", folder)
        self.binary = binary
        self.targets = list(targets)
        self.port = port or free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"

    def config(self) -> Mapping[str, Any]:
        scrape = f"{int(SCRAPE_S * 1000)}ms"
        return {
            "global": {"scrape_interval": scrape, "scrape_timeout": scrape},
            "scrape_configs": [{"job_name": "hush", "static_configs": [{"targets": self.targets}]}],
        }

    def begin(self) -> None:
        config = self.folder / "prometheus.yml"
        config.write_text(json.dumps(self.config()))
        command = [
            str(self.binary),
            f"--config.file={config}",
            f"--storage.tsdb.path={self.folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--enable-feature=exemplar-storage",
        ]
        self.start(command, {}, f"{self.url}/-/ready")

    def query(self, expression: str) -> list[tuple[Mapping[str, str], float]]:
        """Return the labels and values of an expression now."""
        found = self.get("/api/v1/query", query=expression)["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def values(self, expression: str, *labels: str) -> dict[Any, float]:
        """Return the values of an expression by those of labels."""
        found = {}
        for metric, value in self.query(expression):
            key = tuple(metric.get(label) for label in labels)
            found[key[0] if len(key) == 1 else key] = value
        return found

    def number(self, expression: str) -> float | None:
        """Return the only value of an expression; None while there is none."""
        found = self.query(expression)
        assert len(found) <= 1, found
        return found[0][1] if found else None

    def targets_now(self) -> list[Mapping[str, Any]]:
        """Return how scraping goes, by target."""
        return list(self.get("/api/v1/targets")["activeTargets"])

    def metadata(self) -> dict[str, Mapping[str, str]]:
        """Return type, unit and help of what was scraped, by name."""
        return {name: one[0] for name, one in self.get("/api/v1/metadata").items()}

    def get(self, path: str, **arguments: Any) -> Any:
        return read_json(f"{self.url}{path}?{urllib.parse.urlencode(arguments)}")["data"]


def read_json(url: str) -> Any:
    """Fetch JSON; what the server has to say against the question fails the test."""
    try:
        return json.loads(fetch(url, timeout_s=30))
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(f"{url}: {error.read().decode()}") from None
