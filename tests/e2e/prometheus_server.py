"""A real Prometheus server for the tests: started on loopback, asked through its query API.

``PrometheusServer`` starts one process with a folder of its own, lets it scrape what a test
names, and ends that process and no other.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.e2e.jaeger_server import _free_ports

START_TIMEOUT_S = 40.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.1
SCRAPE_S = 0.5


def find_prometheus() -> Path | None:
    """Return the server: ``HUSH_PROMETHEUS``, else on PATH."""
    named = os.environ.get("HUSH_PROMETHEUS")
    if named:
        # A wrong name is an error when it is run; falling back would test something else.
        return Path(named)
    on_path = shutil.which("prometheus")
    return Path(on_path) if on_path else None


class PrometheusServer:
    """One Prometheus process; use as a context manager."""

    def __init__(self, binary: Path, targets: Sequence[str]) -> None:
        """Scrape nothing yet.

        Args:
            binary: the program.
            targets: what to scrape, as ``host:port``.
        """
        self.binary = binary
        self.targets = list(targets)
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        (port,) = _free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self._folder = tempfile.TemporaryDirectory(prefix="hush-prometheus-")
        folder = Path(self._folder.name)
        config = folder / "prometheus.yml"
        scrape = f"{int(SCRAPE_S * 1000)}ms"
        config.write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": scrape, "scrape_timeout": scrape},
                    "scrape_configs": [
                        {"job_name": "hush", "static_configs": [{"targets": self.targets}]}
                    ],
                }
            )
        )
        log = folder / "prometheus.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    str(self.binary),
                    f"--config.file={config}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
            )
        give_up = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            code = self._process.poll()
            if code is not None or time.monotonic() > give_up:
                tail = log.read_text(errors="replace")[-2000:]
                self.__exit__()
                raise AssertionError(f"{self.binary}: {code=}, not ready\n{tail}")
            time.sleep(POLL_S)
        return self

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()

    def query(self, expression: str) -> list[tuple[Mapping[str, str], float]]:
        """Return the labels and values of an expression now."""
        answer = self._get("/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        return [(one["metric"], float(one["value"][1])) for one in answer["data"]["result"]]

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

    def wait_for(self, check: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
        """Wait until something can be read here."""
        give_up = time.monotonic() + timeout_s
        while not check():
            assert time.monotonic() < give_up, f"not within {timeout_s:g} s: {what}"
            time.sleep(POLL_S)

    def targets_now(self) -> list[Mapping[str, Any]]:
        """Return how scraping goes, by target."""
        return list(self._get("/api/v1/targets")["data"]["activeTargets"])

    def metadata(self) -> dict[str, Mapping[str, str]]:
        """Return type, unit and help of what was scraped, by name."""
        return {name: one[0] for name, one in self._get("/api/v1/metadata")["data"].items()}

    def _get(self, path: str) -> Any:
        return json.loads(_fetch(self.url + path))

    def _is_ready(self) -> bool:
        try:
            _fetch(self.url + "/-/ready")
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False
        return True


# A proxy that the environment names is not for loopback.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _fetch(url: str) -> bytes:
    with _opener.open(url, timeout=10) as response:
        body: bytes = response.read()
        return body
