"""Versions of what Hush stands on, and the variables that configure it.

Values of variables that may hold something secret are never shown.
"""

from __future__ import annotations

import difflib
import os
import platform
import re
from importlib import metadata
from typing import TYPE_CHECKING, Final

from hush import __version__
from hush.cli.doctor.check import Check
from hush.observe.exporters import exporter_names

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("look_at_variables", "look_at_versions")

_DISTRIBUTION: Final = "hush-runtime"
_PARTS: Final = ("opentelemetry-api", "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")
_SHOWN: Final = (*_PARTS, "anyio", "openai", "structlog", "trio", "prometheus-client", "rich")
_OURS: Final = frozenset(("HUSH_SPOOL", "HUSH_TRACE_STORE"))
_SECRET: Final = re.compile(r"HEADERS|KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_LOGIN: Final = re.compile(r"(?<=://)[^/@\s]+@|\?.*")
_SAMPLERS: Final = frozenset(
    (
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    )
)
_NEEDED: Final = re.compile(r"^([A-Za-z0-9_.-]+)[^;]*?>=\s*([0-9.]+)")


def look_at_versions() -> Iterator[Check]:
    """Find what is installed, and what does not go together."""
    found = {name: version for name in _SHOWN if (version := _version(name)) is not None}
    told = ", ".join(
        f"{name} {version}" for name, version in found.items() if name in {*_PARTS[:2], "anyio"}
    )
    yield Check(
        "versions",
        "ok",
        f"hush {__version__}, Python {platform.python_version()}, {told}",
        facts={"hush": __version__, "python": platform.python_version(), **found},
    )
    parts = {name: found[name] for name in _PARTS if name in found}
    if len(set(parts.values())) > 1:
        yield Check(
            "versions",
            "warning",
            "the parts of OpenTelemetry are of different releases: "
            + ", ".join(f"{name} {version}" for name, version in parts.items()),
            f"pip install --upgrade {' '.join(parts)}",
        )
    for name, least, version in _too_old():
        yield Check(
            "versions",
            "fault",
            f"{name} {version} is older than {least}, the oldest that Hush works with",
            f"pip install '{name}>={least}'",
        )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _too_old() -> Iterator[tuple[str, str, str]]:
    try:
        needed = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # from a folder of sources
        return
    for line in needed:
        found = None if "extra ==" in line else _NEEDED.match(line)
        if found is None:
            continue
        version = _version(found[1])
        if version is not None and _number(version) < _number(found[2]):
            yield found[1], found[2], version


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


# --- variables -------------------------------------------------------------------------------


def look_at_variables() -> Iterator[Check]:
    """Find which variables count, which do not, and what they turn off."""
    names = sorted(name for name in os.environ if name.startswith(("OTEL_", "HUSH_")))
    values = {name: _shown(name, os.environ[name]) for name in names}
    said = ", ".join(f"{name}={value}" for name, value in values.items())
    yield Check("variables", "ok", said or "none of OTEL_* and HUSH_* is set", facts=values)
    known = _known()
    for name in names:
        if name not in known and not name.startswith("OTEL_INSTRUMENTATION_"):
            close = difflib.get_close_matches(name, known, 1, 0.8)
            yield Check(
                "variables",
                "warning" if close else "note",
                f"nothing here reads {name}",
                f"is {close[0]} meant?" if close else None,
            )
        elif not os.environ[name].strip():
            yield Check("variables", "note", f"{name} is empty, and counts as not set")
    yield from _turned_off()


def _turned_off() -> Iterator[Check]:
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        yield Check(
            "variables",
            "fault",
            "OTEL_SDK_DISABLED=true: there are neither spans nor metrics",
            "unset OTEL_SDK_DISABLED",
        )
    try:
        if not exporter_names(None, None):
            yield Check(
                "variables",
                "fault",
                "OTEL_TRACES_EXPORTER=none: spans go nowhere",
                "unset it, or name otlp or hush",
            )
    except ValueError as error:
        yield Check("variables", "fault", str(error), "mend OTEL_TRACES_EXPORTER")
    yield from _sampling()


def _sampling() -> Iterator[Check]:
    sampler = os.environ.get("OTEL_TRACES_SAMPLER", "").strip().lower() or "parentbased_always_on"
    ratio = os.environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    facts = {"sampler": sampler, "ratio": ratio or None}
    if sampler not in _SAMPLERS:
        yield Check(
            "sampler",
            "warning",
            f"OTEL_TRACES_SAMPLER={sampler!r} is none of the SDK's own; unless a package "
            "brings it, everything is kept",
            f"use one of {', '.join(sorted(_SAMPLERS))}",
            facts,
        )
    elif sampler.endswith("always_off"):
        yield Check(
            "sampler",
            "fault",
            f"{sampler}: no run is recorded, unless its caller's span is",
            "unset OTEL_TRACES_SAMPLER",
            facts,
        )
    elif sampler.endswith("ratio"):
        yield _share(sampler, ratio, facts)
    else:
        yield Check("sampler", "ok", f"{sampler}: every run is recorded", facts=facts)


def _share(sampler: str, ratio: str, facts: dict[str, str | None]) -> Check:
    try:
        share = float(ratio or 1.0)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        said = f"OTEL_TRACES_SAMPLER_ARG={ratio!r} is no share from 0 to 1; everything is kept"
        return Check("sampler", "warning", said, "give a number such as 0.1", facts)
    if share == 1.0:
        return Check("sampler", "ok", f"{sampler}: every run is recorded", facts=facts)
    return Check(
        "sampler",
        "warning",
        f"{sampler} keeps {share:.2%} of the runs, chosen when they start: of runs that fail or "
        "are slow no more than of others",
        "record all, and let a collector choose when traces are complete (tail sampling, as "
        "deploy/ does)",
        facts,
    )


def _known() -> set[str]:
    from opentelemetry.sdk import environment_variables  # noqa: PLC0415  # loads the SDK, which no other check of this module needs

    names = {name for name in vars(environment_variables) if name.startswith("OTEL_")}
    # Of the API, and of the packages that read their own.
    more = {"OTEL_PROPAGATORS", "OTEL_PYTHON_CONTEXT", "OTEL_SEMCONV_STABILITY_OPT_IN"}
    return names | more | _OURS


def _shown(name: str, value: str) -> str:
    return "(set, not shown)" if _SECRET.search(name) else _LOGIN.sub("", value)
