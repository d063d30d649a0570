"""Applications in a process of their own: what configure() sets is global and cannot be taken back."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap


def run_application(
    beginning: str, program: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a program that has only these of the variables of Hush and OpenTelemetry."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "HUSH_"))}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", beginning + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**clean, **variables},
    )
