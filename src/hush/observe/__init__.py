"""How runs are seen: tracing, what text may leave, and how the application sets it up."""

from hush.observe.configuration import Telemetry, configure
from hush.observe.redaction import Redactor, redact_secrets

__all__ = ("Redactor", "Telemetry", "configure", "redact_secrets")
