"""Whether and how what goes to an OTLP receiver is spooled, by arguments and variables.

Only :func:`hush.observe.configuration.configure` asks; the spool itself knows none of this.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from hush.export.options import SpoolOptions
from hush.export.place import said_by_variable
from hush.observe.exporters import check_endpoint
from hush.observe.settings import settings
from hush.observe.variables import number_from

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.trace import TracerProvider

    from hush.export.options import Signal
    from hush.export.outbox import Outbox

__all__ = ("SpoolChoice", "add_spool", "outbox_of", "spool_options")

SpoolChoice = bool | str | os.PathLike[str] | SpoolOptions | None
"""Whether what goes to an OTLP receiver waits on the disk, where, and how much; None leaves it
to the variable."""


def spool_options(
    choice: SpoolChoice, signal: Signal, endpoint: str | None = None
) -> SpoolOptions | None:
    """Say how a signal is spooled on its way to an OTLP receiver.

    Args:
        choice: as for :func:`~hush.observe.configuration.configure`.
        signal: which.
        endpoint: likewise; a receiver that is named so speaks HTTP.

    Returns:
        What :func:`hush.export.outbox.open_outbox` takes. None where there is to be no
        spool: that was chosen, the protocol is gRPC, or the system has no locks on files as
        a spool needs them.

    Raises:
        ValueError: the choice is none.
    """
    from hush.export.outbox import spool_supported  # noqa: PLC0415  # needs requests and protobuf
    from hush.export.route import speaks_http  # noqa: PLC0415  # likewise

    if choice is not None and not isinstance(choice, bool | str | os.PathLike | SpoolOptions):
        msg = f"spool={choice!r}: expected True, False, None, a path or SpoolOptions"
        raise ValueError(msg)
    if choice is False or (choice is None and said_by_variable() is False):
        return None
    if not spool_supported() or not (endpoint is not None or speaks_http(signal)):
        return None
    options = choice if isinstance(choice, SpoolOptions) else SpoolOptions()
    if isinstance(choice, str | os.PathLike):
        options = SpoolOptions(path=choice)
    return _with_variables(options)


def _with_variables(options: SpoolOptions) -> SpoolOptions:
    queue = number_from("OTEL_BSP_MAX_QUEUE_SIZE", options.queue_size)
    delay_ms = number_from("OTEL_BSP_SCHEDULE_DELAY", max(round(options.interval_s * 1_000), 1))
    return replace(
        options,
        queue_size=queue,
        batch_size=min(number_from("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", options.batch_size), queue),
        interval_s=delay_ms / 1_000,
    )


def outbox_of(signal: Signal, endpoint: str | None) -> Outbox | None:
    """Return the way out for metrics or logs, as :func:`configure` was asked for it.

    Args:
        signal: which.
        endpoint: as for :func:`~hush.observe.configuration.configure`.

    Returns:
        None where an exporter has to send them.

    Raises:
        ValueError: the folder that was named for the spool is not safe.
    """
    options = spool_options(settings.spool, signal, endpoint)
    if options is None:
        return None
    from hush.export.outbox import open_outbox  # noqa: PLC0415  # needs requests and protobuf

    return open_outbox(signal, endpoint, options)


def add_spool(provider: TracerProvider, endpoint: str | None, choice: SpoolChoice) -> Path | None:
    """Let spans go to the OTLP receiver by way of the disk, where that is wanted.

    Args:
        provider: whose spans.
        endpoint: as for :func:`~hush.observe.configuration.configure`.
        choice: likewise.

    Returns:
        Where they wait; None where they have to go by an exporter.

    Raises:
        ValueError: the choice or the endpoint is none, or the folder is not safe.
    """
    options = spool_options(choice, "traces", endpoint)
    if options is None:
        return None
    from hush.export.outbox import open_outbox  # noqa: PLC0415  # needs requests and protobuf
    from hush.export.span_spool import SpoolingSpanProcessor  # noqa: PLC0415  # likewise

    check_endpoint(endpoint)
    outbox = open_outbox("traces", endpoint, options)
    provider.add_span_processor(SpoolingSpanProcessor(outbox))
    return outbox.spool.folder
