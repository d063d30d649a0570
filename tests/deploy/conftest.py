"""The real programs, for the tests that ask for them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.deploy.servers import find_collector, find_prometheus
from tests.e2e.jaeger_server import find_binary


def _require(found: Path | None, what: str) -> Path:
    """Return the program; without it skip, or fail where HUSH_REQUIRE_BACKENDS=1 demands it."""
    if found is not None:
        return found
    if os.environ.get("HUSH_REQUIRE_BACKENDS") == "1":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def jaeger_binary() -> Path:
    return _require(find_binary(), "no Jaeger: deploy/install-jaeger.sh compiles one")


@pytest.fixture(scope="session")
def collector_binary() -> Path:
    return _require(find_collector(), "no collector: deploy/install-collector.sh compiles one")


@pytest.fixture(scope="session")
def prometheus_binary() -> Path:
    return _require(find_prometheus(), "no Prometheus: apt-get install prometheus")


@pytest.fixture(scope="session")
def promtool(prometheus_binary: Path) -> str:
    """Its companion, which comes in the same package."""
    named = os.environ.get("HUSH_PROMTOOL") or shutil.which("promtool")
    assert named, "there is a prometheus and no promtool"
    return named
