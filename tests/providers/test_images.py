"""Images: what becomes which URL, and what is refused."""

from __future__ import annotations

import base64
import os
import pathlib

import pytest

from hush.core import HushError
from hush.errors import PromptError
from hush.providers import images
from hush.providers.images import data_url, image_part

PNG = b"\x89PNG\r\n\x1a\n\x00rest"
JPEG = b"\xff\xd8\xff\xe0rest"
GIF = b"GIF89arest"
WEBP = b"RIFF\x0a\n\x00\x00WEBPrest"


def refused(message, call, *args, **kwargs):
    with pytest.raises(PromptError) as caught:
        call(*args, **kwargs)
    assert str(caught.value) == message
    assert isinstance(caught.value, (HushError, ValueError))


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (PNG, "image/png"),
        (JPEG, "image/jpeg"),
        (b"GIF87arest", "image/gif"),
        (GIF, "image/gif"),
        (WEBP, "image/webp"),
    ],
)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_the_first_bytes_tell_the_kind(content, media_type, kind):
    head, _, body = data_url(kind(content)).partition(",")
    assert head == f"data:{media_type};base64"
    assert base64.b64decode(body, validate=True) == content


@pytest.mark.parametrize(
    "content", [b"BM", b"GIF88a", b"RIFF\x00\x00\x00\x00WAVE", b"x" + PNG, PNG[:7], b"<svg>"]
)
def test_other_bytes_need_a_media_type(content):
    refused(
        "image: it is not PNG, JPEG, GIF or WebP. Convert it, or make the part with "
        "image_part(..., media_type='image/...')",
        data_url,
        content,
    )
    assert data_url(content, "image/bmp").startswith("data:image/bmp;base64,")


@pytest.mark.parametrize("media_type", ["bmp", "", "image/", "image/b;x", "image/bmp\n", 3])
def test_a_media_type_that_is_none(media_type):
    refused(
        f"image: media_type={media_type!r}. Give one such as 'image/bmp'", data_url, PNG, media_type
    )


def test_no_bytes_are_no_image():
    refused("image: it is empty. Give the bytes of an image", data_url, b"", "image/png")


def test_the_largest_image(monkeypatch, tmp_path):
    assert images.MAX_IMAGE_BYTES == 20 * 1024 * 1024
    monkeypatch.setattr(images, "MAX_IMAGE_BYTES", 1000)
    path = tmp_path / "image"
    most = PNG.ljust(1000, b"\x00")
    path.write_bytes(most)
    assert image_part(path) == image_part(most)
    path.write_bytes(most + b"\x00")
    said = "has more than 1,000 bytes, the most that is sent. Scale it down, or give a URL"
    refused(f"image: it {said}", image_part, most + b"\x00")
    refused(f"image: the file {str(path)!r} {said}", image_part, path)


@pytest.mark.parametrize(
    "url", ["http://a/b.png", "https://a/b?c={d}", "HTTPS://a/b", "data:image/png;base64,AA=="]
)
def test_urls_stay_as_they_are(url):
    assert image_part(url) == {"type": "image_url", "image_url": {"url": url}}


@pytest.mark.parametrize("text", ["", "photo.png", "/etc/passwd", "file:///etc/passwd", "{photo}"])
def test_other_text_is_no_url_and_never_a_file(text):
    refused(
        "image: the text is no http, https or data URL. For a file give pathlib.Path(...); for a "
        'placeholder write {"type": "image_url", "image_url": {"url": "{name}"}}',
        image_part,
        text,
    )


def test_detail():
    part = image_part(GIF, detail="low")
    assert part == {"type": "image_url", "image_url": {"url": data_url(GIF), "detail": "low"}}
    refused("image: detail is int. Give 'low', 'high', 'auto' or None", image_part, GIF, detail=3)


def test_a_media_type_is_not_for_urls():
    refused(
        "image: media_type= is given with a URL. Leave it out: it is for files and bytes",
        image_part,
        "https://a/b",
        media_type="image/png",
    )


@pytest.mark.parametrize("source", [None, 3, ["https://a/b"], pathlib.PurePosixPath("a.png")])
def test_what_is_no_image(source):
    refused(
        f"image: it is {type(source).__name__}. Give a URL, a pathlib.Path or the image's bytes",
        image_part,
        source,
    )


# --- files -----------------------------------------------------------------------------------


def test_a_file_is_read_whatever_its_name(tmp_path):
    path = tmp_path / "ảnh.txt"
    path.write_bytes(JPEG)
    assert image_part(path)["image_url"]["url"] == data_url(JPEG)
    path.write_bytes(b"BM")
    assert image_part(path, media_type="image/bmp")["image_url"]["url"].startswith("data:image/bmp")
    refused(
        f"image: the file {str(path)!r} is not PNG, JPEG, GIF or WebP. Convert it, or make the "
        f"part with image_part(..., media_type='image/...')",
        image_part,
        path,
    )


def test_a_file_that_is_not_there(tmp_path):
    path = tmp_path / "none.png"
    refused(f"image: there is no file {str(path)!r}. Mend the path", image_part, path)


def test_what_is_no_file(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe, pathlib.Path("/dev/zero")):
        refused(
            f"image: {str(path)!r} is not a regular file. Give the path of an image",
            image_part,
            path,
        )


def test_a_path_that_cannot_be_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(PNG)
    below = path / "a.png"
    refused(
        f"image: cannot read {str(below)!r}: Not a directory. Make it readable, or give bytes",
        image_part,
        below,
    )
    with pytest.raises(PromptError, match=r"cannot read .*null byte"):
        image_part(pathlib.Path("a\0b"))
