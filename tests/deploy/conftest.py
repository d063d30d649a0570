"""The real programs, for the tests that ask for them; Jaeger and Prometheus are tests/conftest.py's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.deploy.servers import find_collector
from tests.e2e.programs import require


@pytest.fixture(scope="session")
def collector_binary() -> Path:
    return require(find_collector(), "no collector: deploy/install-collector.sh compiles one")


@pytest.fixture(scope="session")
def promtool(prometheus_binary: Path) -> str:
    """Its companion, which comes in the same package."""
    named = os.environ.get("HUSH_PROMTOOL") or shutil.which("promtool")
    assert named, "there is a prometheus and no promtool"
    return named
