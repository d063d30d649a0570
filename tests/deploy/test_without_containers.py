"""Prometheus with deploy/prometheus/loopback.yml, and with processes that are named while it runs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from hush.observe.prometheus import MetricsServer
from tests.deploy.servers import DEPLOY
from tests.e2e.programs import wait_until
from tests.e2e.prometheus_server import PrometheusServer

pytestmark = pytest.mark.timeout(150)


class Beside(PrometheusServer):
    """Prometheus with a copy of the folder, whose own ports are taken by others here."""

    def config(self) -> Mapping[str, Any]:
        config = yaml.safe_load((self.folder / "loopback.yml").read_text())
        config["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
        for job in config["scrape_configs"]:
            if job["job_name"] != "prometheus":
                del job["static_configs"]
            else:
                job["static_configs"] = [{"targets": [f"127.0.0.1:{self.port}"]}]
        return config


@pytest.fixture
def metrics():
    server = MetricsServer("127.0.0.1", 0)
    yield server
    server.close()


def test_a_process_is_read_once_it_is_named(prometheus_binary, tmp_path, metrics):
    folder = tmp_path / "prometheus"
    shutil.copytree(DEPLOY / "prometheus", folder)
    with Beside(prometheus_binary, (), folder) as prometheus:
        # Nothing is named yet, and the rules beside the file are there.
        assert prometheus.values("up", "job").keys() <= {"prometheus"}
        groups = prometheus.get("/api/v1/rules")["groups"]
        assert {rule["name"] for group in groups for rule in group["rules"]} >= {"HushTargetDown"}
        text = (folder / "targets" / "others.yml").read_text()
        example = next(line for line in text.splitlines() if "targets:" in line)
        named = example.lstrip("# ").replace(
            "host.docker.internal:9464", f"127.0.0.1:{metrics.port}"
        )
        assert named != example.lstrip("# ")
        (folder / "targets" / "others.yml").write_text(text.replace("[]\n", named + "\n"))
        wait_until(lambda: prometheus.values("up", "job").get("hush") == 1, "the process is read")
        assert prometheus.number('process_start_time_seconds{job="hush"}') > 0
