"""What every test shares: both event loops, hypothesis without a stopwatch, a trace store.

So too the programs that more than one folder tests with.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.e2e.jaeger_server import find_binary
from tests.e2e.programs import require
from tests.e2e.prometheus_server import find_prometheus

# Whatever a test starts, its traces go nowhere near those of whoever runs the tests.
_state = tempfile.TemporaryDirectory(prefix="hush-tests-", ignore_cleanup_errors=True)
os.environ["XDG_STATE_HOME"] = _state.name
for _name in ("HUSH_TRACE_STORE", "HUSH_SPOOL"):
    os.environ.pop(_name, None)

# A workflow's first run in a process imports much; a deadline per example would be chance.
settings.register_profile("default", deadline=None)
# In CI the same examples each time: a red run is the change's fault, and can be repeated.
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(params=[pytest.param("asyncio", id="asyncio"), pytest.param("trio", id="trio")])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run each async test, and each that asks for this fixture, once on either loop."""
    return request.param


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark whatever uses a server, so that -m "not jaeger" leaves it out."""
    for item in items:
        for name in ("jaeger", "prometheus"):
            if f"{name}_binary" in getattr(item, "fixturenames", ()):
                item.add_marker(name)


@pytest.fixture(scope="session")
def jaeger_binary() -> Path:
    """Find Jaeger; a test starts it as it needs it."""
    return require(
        find_binary(),
        "no Jaeger server found; deploy/install-jaeger.sh compiles one (needs Go), or name a "
        "ready Jaeger 2 in HUSH_JAEGER",
    )


@pytest.fixture(scope="session")
def prometheus_binary() -> Path:
    """Find Prometheus; a test starts it on what is to be scraped."""
    return require(
        find_prometheus(),
        "no Prometheus found: apt-get install prometheus, or name it in HUSH_PROMETHEUS",
    )
