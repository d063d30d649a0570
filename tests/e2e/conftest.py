"""A real Jaeger for the tests that ask for it with the fixture ``jaeger``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.jaeger_server import JaegerServer, find_binary

MISSING = (
    "no Jaeger server found; deploy/install-jaeger.sh compiles one (needs Go), or name a ready "
    "Jaeger 2 in HUSH_JAEGER"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark whatever uses the server, so that -m "not jaeger" leaves it out."""
    for item in items:
        if "jaeger_binary" in getattr(item, "fixturenames", ()):
            item.add_marker("jaeger")


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
def jaeger(jaeger_binary: Path) -> Iterator[JaegerServer]:
    """Start a Jaeger server for the session: ``.otlp_http``, ``.otlp_grpc``, ``.client``."""
    with JaegerServer(jaeger_binary) as server:
        yield server
