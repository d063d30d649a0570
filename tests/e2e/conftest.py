"""A real Jaeger that runs for the whole session, for the tests that ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.jaeger_server import JaegerServer


@pytest.fixture(scope="session")
def jaeger(jaeger_binary: Path) -> Iterator[JaegerServer]:
    """Start a Jaeger server for the session: ``.otlp_http``, ``.otlp_grpc``, ``.client``."""
    with JaegerServer(jaeger_binary) as server:
        yield server
