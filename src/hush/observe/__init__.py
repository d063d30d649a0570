"""How runs are seen: tracing, metrics, log lines, what text may leave, and the set-up of it all."""

from hush.observe.configuration import Telemetry, configure
from hush.observe.logs import LoggingSetUp, configure_logging
from hush.observe.redaction import Redactor, redact_secrets

__all__ = (
    "LoggingSetUp",
    "Redactor",
    "Telemetry",
    "configure",
    "configure_logging",
    "redact_secrets",
)
