"""Hush runs workflows and shows every step of a run as an OpenTelemetry span.

This module holds the version and nothing else; the public names are in ``hush.core``.
"""

__version__ = "0.1.0"
