"""``hush spool``: what waits on the disk for receivers, and sending it now."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hush.cli import exits
from hush.cli.output import FAINT, console, say, say_json, tidy
from hush.cli.refusal import Refusal
from hush.cli.tables import Column, Table
from hush.export.counts import counts
from hush.export.lock import read_status
from hush.export.options import SpoolOptions
from hush.export.outbox import open_outbox, spool_root, spool_supported
from hush.export.place import RECEIVER, SpoolError
from hush.export.spool import Spool
from hush.insight.wording import format_duration
from hush.observe.exporters import check_endpoint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hush.cli.tables import Kind
    from hush.export.options import Signal
    from hush.export.outbox import Outbox

__all__ = ("list_spools", "send_spool")

_UNITS: Final = ("B", "KiB", "MiB", "GiB")
_KIB: Final = 1_024
_LOOK_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a receiver's folder."""

    folder: Path
    """Where it is."""
    receiver: str
    """The receiver's address, without what may be secret in it."""
    batches: int
    """How many files wait."""
    counts: dict[Signal, int]
    """What is in them, by signal."""
    disk_bytes: int
    """What they take on the disk."""
    oldest_age_s: float
    """For how long the oldest has been waiting."""
    rejected: int
    """Batches that the receiver refused."""
    corrupt: int
    """Damaged files."""
    status: dict[str, Any]
    """What whoever sends says of it; see :func:`hush.export.lock.read_status`."""


def list_spools(*, path: str | None, as_json: bool) -> int:
    """Show what waits.

    Args:
        path: the folder that holds the receivers' folders; None as the environment says.
        as_json: print JSON.

    Returns:
        The exit code.
    """
    root = _root(path)
    states = [_state(folder) for folder in _folders(root)]
    if as_json:
        say_json({"path": str(root), "spools": [_plain(one) for one in states]})
        return exits.OK
    place = console()
    if not states:
        say(place, f"{tidy(root)} holds no spool: nothing has been sent from here", wrap=False)
        return exits.OK
    kinds: dict[str, Kind] = {"receiver": "name", "waiting": "left", "sender": "left"}
    names = ("receiver", "waiting", "size", "oldest", "rejected", "corrupt", "sender")
    shown = Table([Column(name, kinds.get(name, "right")) for name in names])
    for one in states:
        shown.add(
            tidy(one.receiver),
            _waiting(one),
            _size(one.disk_bytes) if one.batches else "",
            format_duration(one.oldest_age_s) if one.batches else "",
            str(one.rejected or ""),
            str(one.corrupt or ""),
            _sender(one.status),
        )
    shown.print(place)
    for one in states:
        for signal, failure in _failures(one.status):
            wait_s = max(float(failure.get("next_s") or 0) - time.time(), 0.0)
            said = f"{signal} to {tidy(one.receiver)}: {tidy(failure.get('message'))};"
            say(place, f"{said} tried again in {format_duration(wait_s)}", FAINT)
    return exits.OK


def send_spool(
    *, path: str | None, endpoint: str | None, rejected: bool, timeout_s: float, as_json: bool
) -> int:
    """Send what waits for one receiver.

    Args:
        path: as for :func:`list_spools`.
        endpoint: base URL of the receiver; None as the environment says.
        rejected: send once more what it had refused.
        timeout_s: for how long, in seconds.
        as_json: print JSON.

    Returns:
        The exit code: failed where something is left, for the same address and other headers too.

    Raises:
        Refusal: there is no such spool.
    """
    if not spool_supported():
        raise Refusal("this system has no locks on files as a spool needs them")
    # What goes wrong is told below.
    logging.getLogger("hush.export").addHandler(logging.NullHandler())
    outbox = _outbox(path, endpoint)
    before = _state(outbox.spool.folder)
    put_back = outbox.spool.restore() if rejected else 0
    if before.batches or put_back:
        _send(outbox, timeout_s)
    outbox.close()
    after = _state(outbox.spool.folder)
    answers = [answer for answer in map(_answer, outbox.failures().values()) if answer]
    sent = sum(counts.sent.values())
    folders = _folders(outbox.spool.folder.parent)
    states = [_state(folder) for folder in folders if folder != after.folder]
    others = [one for one in states if one.batches and one.receiver == after.receiver]
    if as_json:
        say_json({
            "receiver": before.receiver,
            "folder": str(before.folder),
            "sent": sent,
            "dropped": {f"{signal}.{why}": n for (signal, why), n in counts.dropped.items()},
            "left": _plain(after),
            "answers": answers,
            "other_headers": [_plain(one) for one in others],
        })  # fmt: skip
    else:
        _say_sent(before, after, sent, answers)
        for one in others:
            said = f"{_waiting(one)} for {tidy(one.receiver)} wait in {tidy(one.folder.name)}: they were"
            said += " left with other headers; set OTEL_EXPORTER_OTLP_HEADERS as it was then"
            say(console(), said, "yellow")
    return exits.FAILED if after.batches or others or counts.dropped else exits.OK


def _send(outbox: Outbox, timeout_s: float) -> None:
    """Send until nothing is left, the receiver fails, or somebody else has sent it."""
    give_up = time.monotonic() + timeout_s
    outbox.start()
    while not outbox.flush(max(give_up - time.monotonic(), 0.0)):
        left = outbox.spool.content(fresh=True).batches
        # What is refused is gone too, and is told as dropped.
        if not left or outbox.failures() or time.monotonic() >= give_up:
            return
        if read_status(outbox.spool.folder).get("failing"):
            return
        time.sleep(_LOOK_S)


def _say_sent(before: State, after: State, sent: int, answers: Sequence[str]) -> None:
    place = console()
    receiver = tidy(before.receiver)
    if not before.batches and not sent and not counts.dropped:
        say(place, f"nothing waits for {receiver}", wrap=False)
        return
    say(place, f"sent {sent:,} to {receiver}", wrap=False)
    for (signal, why), count in counts.dropped.items():
        say(place, f"{count:,} {signal} dropped: {why}", "bold red")
    if after.batches:
        say(place, f"{_waiting(after)} still wait", "yellow")
    for answer in answers:
        say(place, tidy(answer), FAINT)


def _outbox(path: str | None, endpoint: str | None) -> Outbox:
    try:
        check_endpoint(endpoint)
        # As long as it takes: nobody waits for the end of this process.
        return open_outbox("traces", endpoint, SpoolOptions(path=_root(path), exit_s=0.0))
    except ValueError as error:
        raise Refusal(str(error)) from error


def _root(path: str | None) -> Path:
    try:
        return spool_root(SpoolOptions(path=path))[0]
    except SpoolError as error:
        raise Refusal(str(error)) from error


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(folder for folder in root.iterdir() if (folder / RECEIVER).is_file())
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            return []
        raise Refusal(f"{root}: {error.strerror}") from error


def _state(folder: Path) -> State:
    spool = Spool(folder, "", SpoolOptions())
    batches = spool.content(fresh=True).batches
    found: dict[Signal, int] = {}
    for batch in batches:
        found[batch.signal] = found.get(batch.signal, 0) + batch.count
    return State(
        folder=folder,
        receiver=_receiver(folder),
        batches=len(batches),
        counts=found,
        disk_bytes=sum(batch.disk_bytes for batch in batches),
        oldest_age_s=max((spool.ages.seen_s(batch) for batch in batches), default=0.0),
        rejected=len(spool.aside("rejected")),
        corrupt=len(spool.aside("corrupt")),
        status=read_status(folder),
    )


def _receiver(folder: Path) -> str:
    try:
        return (folder / RECEIVER).read_text(encoding="utf-8", errors="replace").strip()[:_KIB]
    except OSError:
        return folder.name


def _plain(one: State) -> dict[str, Any]:
    return {
        "receiver": one.receiver,
        "folder": str(one.folder),
        "batches": one.batches,
        "counts": one.counts,
        "bytes": one.disk_bytes,
        "oldest_age_s": round(one.oldest_age_s, 3),
        "rejected_batches": one.rejected,
        "corrupt_batches": one.corrupt,
        "sender": one.status,
    }


def _failures(status: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    failing = status.get("failing")
    if not isinstance(failing, dict):
        return []
    return [(tidy(name), one) for name, one in failing.items() if isinstance(one, dict)]


def _answer(failure: object) -> str:
    return str(getattr(failure, "message", "") or "")


def _waiting(one: State) -> str:
    if not one.batches:
        return "nothing"
    names = {"traces": "spans", "metrics": "points", "logs": "records"}
    return ", ".join(f"{count:,} {names[signal]}" for signal, count in one.counts.items())


def _sender(status: dict[str, Any]) -> str:
    if not status.get("held"):
        return "none"
    pid = status.get("pid")
    who = f"pid {pid}" if isinstance(pid, int) else "some process"
    if pid == os.getpid():
        who = "this process"
    return f"{who}, failing" if status.get("failing") else who


def _size(count: float) -> str:
    for unit in _UNITS[:-1]:
        if count < _KIB:
            return f"{count:.0f} {unit}"
        count /= _KIB
    return f"{count:.1f} {_UNITS[-1]}"
