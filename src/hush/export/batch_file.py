"""A batch as a file: what its name says, how its content is checked.

The name tells what a listing needs, so that nothing has to be opened to know how much is
waiting and for how long. The content is one line of text and then the payload, an OTLP
request as protobuf; length and checksum stand in that line, so that a torn file is found.
Knows neither folders nor who sends.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, cast

from hush.errors import HushError

if TYPE_CHECKING:
    from hush.export.options import Signal

__all__ = (
    "Batch",
    "CorruptBatchError",
    "Encoding",
    "NewerBatchError",
    "Payload",
    "decode",
    "encode",
    "name_of",
    "parse_name",
)

Encoding = Literal["identity", "gzip", "deflate"]

VERSION: Final = 1
"""Of the format. Who meets a higher one leaves the file to whoever wrote it."""
_MAGIC: Final = b"hush-spool "
_LONGEST_LINE: Final = 256
_BLOCK: Final = 4_096
"""What the smallest file takes on usual disks."""

_NAME: Final = re.compile(
    r"(?P<sequence>\d{20})-(?P<created>\d{1,20})-(?P<signal>traces|metrics|logs)"
    r"-(?P<count>\d{1,9})-(?P<size>\d{1,12})-(?P<token>[0-9a-f]{8})\.otlp",
    re.ASCII,
)
_LINE: Final = re.compile(
    r"hush-spool (?P<version>\d{1,6}) (?P<signal>[a-z]+) (?P<encoding>[a-z]+)"
    r" (?P<count>\d{1,9}) (?P<length>\d{1,12}) (?P<crc>[0-9a-f]{8})",
    re.ASCII,
)


class CorruptBatchError(HushError, ValueError):
    """A file is no whole batch: it was cut, changed, or is something else."""


class NewerBatchError(HushError, ValueError):
    """A file was written by a later version of Hush, in a format that is unknown here."""


@dataclass(frozen=True, slots=True, order=True)
class Batch:
    """A file of the spool, as its name describes it."""

    sequence: int
    """Batches are sent in this order; it grows even where the clock is set back."""
    name: str
    """The file's."""
    signal: Signal
    """What it holds."""
    count: int
    """How many spans, log records or metric points."""
    size_bytes: int
    """How long the file should be."""
    created_s: float
    """When it was written by the wall clock, in seconds since the epoch."""

    @property
    def disk_bytes(self) -> int:
        """What it takes on the disk, in whole blocks."""
        return -(-self.size_bytes // _BLOCK) * _BLOCK


@dataclass(frozen=True, slots=True)
class Payload:
    """The content of a batch."""

    signal: Signal
    """What it holds."""
    count: int
    """How many of them."""
    data: bytes
    """An OTLP request as protobuf, perhaps compressed."""
    encoding: Encoding = "identity"
    """How it is compressed, by HTTP's name."""


def name_of(sequence: int, created_s: float, payload: Payload, size_bytes: int, token: str) -> str:
    """Return the name of a file.

    Args:
        sequence: its place in the order.
        created_s: now, in seconds since the epoch.
        payload: what it holds.
        size_bytes: how long it is.
        token: eight hex digits that tell writers apart.
    """
    created_ms = max(int(created_s * 1_000), 0)
    return (
        f"{sequence:020d}-{created_ms}-{payload.signal}-{payload.count}-{size_bytes}-{token}.otlp"
    )


@lru_cache(4_096)  # a folder is listed again and again, and hardly changes in between
def parse_name(name: str) -> Batch | None:
    """Return what a name describes; None where it is not the name of a batch."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    return Batch(
        sequence=int(found["sequence"]),
        name=name,
        signal=cast("Signal", found["signal"]),
        count=int(found["count"]),
        size_bytes=int(found["size"]),
        created_s=int(found["created"]) / 1_000,
    )


def encode(payload: Payload) -> bytes:
    """Return the bytes of a file."""
    line = f"hush-spool {VERSION} {payload.signal} {payload.encoding} "
    line += f"{payload.count} {len(payload.data)}"
    crc = zlib.crc32(payload.data, zlib.crc32(line.encode()))
    return f"{line} {crc:08x}\n".encode() + payload.data


def decode(content: bytes, batch: Batch) -> Payload:
    """Check a file and return what it holds.

    Args:
        content: all of it.
        batch: what its name says.

    Raises:
        CorruptBatchError: it is not what was written.
        NewerBatchError: it is in a later format.
    """
    end = content.find(b"\n", 0, _LONGEST_LINE)
    head = content[:end].decode("ascii", "replace") if end > 0 else ""
    if content.startswith(_MAGIC):
        version = content[len(_MAGIC) : len(_MAGIC) + 6].split(b" ")[0]
        if version.isdigit() and int(version) > VERSION and end > 0:
            raise NewerBatchError(f"{batch.name} is in format {int(version)}, known is {VERSION}")
    found = _LINE.fullmatch(head)
    if found is None:
        raise CorruptBatchError(f"{batch.name} does not begin as a batch does")
    data = content[end + 1 :]
    if len(data) != int(found["length"]):
        msg = f"{batch.name} has {len(data)} bytes of payload instead of {found['length']}"
        raise CorruptBatchError(msg)
    checked = head.rpartition(" ")[0].encode()
    if zlib.crc32(data, zlib.crc32(checked)) != int(found["crc"], 16):
        raise CorruptBatchError(f"{batch.name} has another checksum than it was written with")
    if found["signal"] != batch.signal or int(found["count"]) != batch.count:
        raise CorruptBatchError(f"{batch.name} has a name that is not its own")
    return Payload(batch.signal, batch.count, data, cast("Encoding", found["encoding"]))
