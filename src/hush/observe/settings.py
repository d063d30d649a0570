"""Settings of observation that configure() may change; one set per process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hush.observe.redaction import redact_secrets

if TYPE_CHECKING:
    from hush.export.trace_store import TraceStoreProcessor
    from hush.observe.redaction import Redactor
    from hush.observe.spooling import SpoolChoice

__all__ = ("REDACTOR", "Settings", "settings")

REDACTOR: Final = "redactor"
"""What texts pass in workers, as a driver says it to them: what they pass in the driver."""


@dataclass(slots=True)
class Settings:
    """What applies to every run of the process."""

    redactor: Redactor = redact_secrets
    """Every text that leaves the process passes it first."""
    store: TraceStoreProcessor | None = None
    """What writes spans into the local trace store; None where nothing does."""
    spool: SpoolChoice = None
    """Whether what goes to an OTLP receiver is spooled; None leaves it to the variable."""
    placed: bool = False
    """Whether runs leave marks for lines of the log."""


settings = Settings()
