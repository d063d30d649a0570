"""A real Jaeger, and a real Prometheus, for the tests that ask for them by fixtures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.jaeger_server import JaegerServer, find_binary
from tests.e2e.prometheus_server import find_prometheus

MISSING = (
    "no Jaeger server found; deploy/install-jaeger.sh compiles one (needs Go), or name a ready "
    "Jaeger 2 in HUSH_JAEGER"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark whatever uses a server, so that -m "not jaeger" leaves it out."""
    for item in items:
        for name in ("jaeger", "prometheus"):
            if f"{name}_binary" in getattr(item, "fixturenames", ()):
                item.add_marker(name)


@pytest.fixture(scope="session")
def jaeger_binary() -> Path:
    """Find the server; without one skip, or fail where HUSH_REQUIRE_BACKENDS=1 demands it."""
    binary = find_binary()
    if binary is not None:
        return binary
    if os.environ.get("HUSH_REQUIRE_BACKENDS") == "1":
        pytest.fail(MISSING, pytrace=False)
    pytest.skip(MISSING)


@pytest.fixture(scope="session")
def prometheus_binary() -> Path:
    """Find the server, as above; the test starts it on what is to be scraped."""
    binary = find_prometheus()
    if binary is not None:
        return binary
    missing = "no Prometheus found: apt-get install prometheus, or name it in HUSH_PROMETHEUS"
    if os.environ.get("HUSH_REQUIRE_BACKENDS") == "1":
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)


@pytest.fixture(scope="session")
def jaeger(jaeger_binary: Path) -> Iterator[JaegerServer]:
    """Start a Jaeger server for the session: ``.otlp_http``, ``.otlp_grpc``, ``.client``."""
    with JaegerServer(jaeger_binary) as server:
        yield server
