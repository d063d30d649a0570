"""What every test shares: both event loops, hypothesis without a stopwatch, a trace store."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

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
