"""Images in prompts: a URL, a file or bytes becomes what a message's part takes.

The kind of an image is read from its first bytes, never from a file's name. Text is
never taken for the path of a file, so that nothing a user of a workflow writes can make
it read one. This module knows nothing of nodes, clients or event loops; reading a file
blocks.
"""

from __future__ import annotations

import base64
import re
import stat
from pathlib import Path
from typing import Any

from hush.errors import PromptError, text_of

__all__ = ("MAX_IMAGE_BYTES", "data_url", "image_part", "source_url")

MAX_IMAGE_BYTES = 20 * 1024 * 1024
"""The largest image that is sent; servers take no larger ones."""

WHERE = "image"
"""Stands for the path in errors until a node puts its own there."""

SIGNATURES = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "image/webp"),
)
"""How the formats that servers take begin, from their specifications."""

MEDIA_TYPE = re.compile(r"[a-z]+/[a-zA-Z0-9][a-zA-Z0-9.+-]*")


def image_part(
    source: object, *, detail: str | None = None, media_type: str | None = None
) -> dict[str, Any]:
    """Make the part of a message that shows an image.

    Args:
        source: a URL (``http``, ``https`` or ``data``), a :class:`pathlib.Path`, which is
            read at once, or the image's bytes.
        detail: how closely the model looks: ``low``, ``high`` or ``auto``; None leaves
            it to the server.
        media_type: such as ``image/bmp``; None tells it from the first bytes. Only for
            files and bytes.

    Returns:
        ``{"type": "image_url", "image_url": {"url": ..., "detail": ...}}``.

    Raises:
        PromptError: the file cannot be read, the image is too large or of a kind that is
            not known, or an argument is none of the above.
    """
    if isinstance(source, str):
        if media_type is not None:
            raise PromptError(
                WHERE, "media_type= is given with a URL. Leave it out: it is for files and bytes"
            )
        if not source.lower().startswith(("http://", "https://", "data:")):
            raise PromptError(
                WHERE,
                "the text is no http, https or data URL. For a file give pathlib.Path(...); "
                "for a placeholder write "
                '{"type": "image_url", "image_url": {"url": "{name}"}}',
            )
        url = str.__str__(source)
    else:
        url = source_url(source, media_type)
    image = {"url": url}
    if detail is not None:
        if not isinstance(detail, str):
            raise PromptError(
                WHERE, f"detail is {type(detail).__name__}. Give 'low', 'high', 'auto' or None"
            )
        image["detail"] = detail
    return {"type": "image_url", "image_url": image}


def source_url(source: object, media_type: str | None = None) -> str:
    """Return the data URL of an image that is given as a file or as bytes.

    Args:
        source: a :class:`pathlib.Path` or bytes.
        media_type: as for :func:`data_url`.

    Returns:
        The data URL.

    Raises:
        PromptError: ``source`` is something else, or as for :func:`data_url`.
    """
    if isinstance(source, Path):
        return _encoded(_read(source), media_type, f"the file {str(source)!r}")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return data_url(source, media_type)
    raise PromptError(
        WHERE, f"it is {type(source).__name__}. Give a URL, a pathlib.Path or the image's bytes"
    )


def data_url(image: bytes | bytearray | memoryview, media_type: str | None = None) -> str:
    """Write an image as a URL that holds it.

    Args:
        image: the image's bytes; at most :data:`MAX_IMAGE_BYTES`.
        media_type: such as ``image/bmp``; None tells PNG, JPEG, GIF and WebP from the
            first bytes.

    Returns:
        ``data:image/png;base64,...`` (RFC 2397).

    Raises:
        PromptError: it is no image that is known, it is too large, or ``media_type`` is
            none.
    """
    return _encoded(bytes(image), media_type, "it")


def _encoded(content: bytes, media_type: str | None, what: str) -> str:
    if len(content) > MAX_IMAGE_BYTES:
        raise PromptError(
            WHERE,
            f"{what} has more than {MAX_IMAGE_BYTES:,} bytes, the most that is sent. "
            f"Scale it down, or give a URL",
        )
    if not content:
        raise PromptError(WHERE, f"{what} is empty. Give the bytes of an image")
    if media_type is None:
        media_type = next((kind for begins, kind in SIGNATURES if begins.match(content)), None)
        if media_type is None:
            raise PromptError(
                WHERE,
                f"{what} is not PNG, JPEG, GIF or WebP. Convert it, or make the part with "
                f"image_part(..., media_type='image/...')",
            )
    elif not isinstance(media_type, str) or not MEDIA_TYPE.fullmatch(media_type):
        raise PromptError(WHERE, f"media_type={media_type!r:.60}. Give one such as 'image/bmp'")
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def _read(path: Path) -> bytes:
    try:
        # What is no regular file may never end, or wait for a writer without end.
        if stat.S_ISREG(path.stat().st_mode):
            with path.open("rb") as file:
                return file.read(MAX_IMAGE_BYTES + 1)
    except FileNotFoundError:
        raise PromptError(WHERE, f"there is no file {str(path)!r}. Mend the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or text_of(error)
        raise PromptError(
            WHERE, f"cannot read {str(path)!r}: {reason}. Make it readable, or give bytes"
        ) from error
    raise PromptError(WHERE, f"{str(path)!r} is not a regular file. Give the path of an image")
