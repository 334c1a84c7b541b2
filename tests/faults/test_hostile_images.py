"""Image files that were made, or broken, to do harm: named in one sentence, or skipped and counted."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from images import noise, write_folder
from PIL import Image

from blurjax.config import loading as configuration
from blurjax.data import image_files, sources


def encoded(kind, pixels_of=None, **options):
    file = io.BytesIO()
    image = Image.fromarray(noise(0, 24, 20) if pixels_of is None else pixels_of)
    image.save(file, kind, **options)
    return file.getvalue()


def png(width, height, body=b"", *, bits=8, kind=2):
    """A PNG that claims a size, whatever its content."""

    def chunk(name, content):
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(body))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def animated():
    file = io.BytesIO()
    frames = [Image.fromarray(noise(seed, 24, 20)) for seed in range(3)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


def palette_with_alpha():
    file = io.BytesIO()
    Image.fromarray(noise(0, 24, 20)).quantize(16).save(file, "PNG", transparency=bytes(range(16)))
    return file.getvalue()


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded("JPEG", exif=exif)


def cmyk():
    file = io.BytesIO()
    Image.fromarray(noise(0, 24, 20)).convert("CMYK").save(file, "JPEG")
    return file.getvalue()


REFUSED = {
    "truncated.jpg": encoded("JPEG")[:200],
    "truncated.png": encoded("PNG")[:200],
    "truncated.webp": encoded("WEBP")[:60],
    "truncated.gif": animated()[:100],
    "header only.bmp": encoded("BMP")[:54],
    "text.jpg": b"this is no image",
    "page.png": b"<html><script>alert(1)</script></html>",
    "drawing.jpg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "empty.png": b"",
    "zeros.jpg": bytes(5000),
    "bomb.png": png(30_000, 30_000, bytes(1000)),
    "claims more than it has.png": png(4_000, 4_000, bytes(10)),
    "no width.png": png(0, 10),
    "1x1.png": encoded("PNG", noise(0, 1, 1)),
    "10000x1.png": encoded("PNG", noise(0, 1, 10_000)),
    "archive.jpg": b"PK\x03\x04" + bytes(200),
}
ACCEPTED = {
    "wrong extension.jpg": encoded("PNG"),
    "animated.gif": animated(),
    "16 bits.png": encoded("PNG", np.arange(480, dtype=np.uint16).reshape(24, 20) * 100),
    "cmyk.jpg": cmyk(),
    "palette with alpha.png": palette_with_alpha(),
    "rotated.jpg": rotated(),
    "long.png": encoded("PNG", noise(0, 8, 3000)),
    "new\nline.png": encoded("PNG"),
    "quote\"and'<b>.png": encoded("PNG"),
    "right-\u202eto-left.png": encoded("PNG"),
    "x" * 251 + ".png": encoded("PNG"),
    "no extension": encoded("PNG"),
}


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "photos", {"a": 12, "b": 12}, height=24, width=20)


def load(folder, tmp_path, on_bad_image="error"):
    overrides = {
        "data.source": f"folder:{folder}",
        "data.on_bad_image": on_bad_image,
        "data.image_size": 16,
        "data.channels": 3,
        "data.cache_dir": str(tmp_path / "cache"),
    }
    return sources.load(configuration.load(None, overrides).data)


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_one_is_named(name):
    with pytest.raises(image_files.BadImageError) as caught:
        image_files.decode(REFUSED[name], 16, 3)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_bad_ones_are_skipped_and_counted_and_the_rest_is_used(folder, tmp_path):
    for name, content in (REFUSED | ACCEPTED).items():
        (folder / "a" / name).write_bytes(content)
    (folder / "a" / "loop.png").symlink_to("loop.png")
    (folder / "b" / "again").symlink_to(folder / "b")
    refused = len(REFUSED) + 1
    dataset = load(folder, tmp_path, "skip")
    assert sum(len(positions) for positions in dataset.splits.values()) == 24 + len(ACCEPTED)
    assert any(f"{refused} unusable images were skipped" in note for note in dataset.notes)
    images = np.concatenate([dataset.images[positions] for positions in dataset.splits.values()])
    assert images.dtype == np.uint8
    assert images.shape[1:] == (16, 16, 3)


WHOLE = [encoded(kind) for kind in ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF")] + [animated()]


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(WHOLE),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=8),
    st.integers(0, 200),
)
def test_changed_bytes_give_an_image_or_a_reason(content, changes, cut):
    damaged = bytearray(content[: len(content) - cut])
    for position, value in changes:
        if damaged:
            damaged[position % len(damaged)] = value
    with contextlib.suppress(image_files.BadImageError):
        image = image_files.decode(bytes(damaged), 16, 3)
        assert image.shape == (16, 16, 3)
        assert image.dtype == np.uint8
