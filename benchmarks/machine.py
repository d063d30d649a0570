"""Which machine, which Python and which packages the figures are of."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ("describe_machine", "load")

PACKAGES = ("anyio", "trio", "opentelemetry-api", "opentelemetry-sdk", "openai")


def describe_machine() -> dict[str, str]:
    """Return what a reader has to know to compare figures; no names of hosts or users."""
    said = {
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores"
        if hasattr(os, "sched_getaffinity")
        else f"{_processor()}, {os.cpu_count()} cores",
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    for package in PACKAGES:
        try:
            said[package] = version(package)
        except PackageNotFoundError:
            said[package] = "not installed"
    return said


def load() -> float:
    """Return the load average over the last minute; 0 where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _processor() -> str:
    try:
        found = re.search(
            r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE
        )
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _memory() -> str:
    try:
        found = re.search(
            r"^MemTotal:\s*(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE
        )
    except OSError:
        found = None
    return f"{int(found[1]) / 2**20:.0f} GB" if found else "unknown"
