"""One decoder for files of every kind: orientation, depth, transparency, cropping, antialiasing."""

import io
import struct
import zlib

import numpy as np
import pytest
from images import noise
from PIL import Image

from blurjax.data import image_files


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def flat(mode, colour, size=(16, 16)):
    return Image.new(mode, size, colour)


UPRIGHT = np.repeat(np.repeat(np.array([[10, 80], [150, 220]], np.uint8), 8, 0), 8, 1)
"""Four quadrants, each a block of JPEG's."""
STORED = {  # EXIF 2.32, tag 0x0112: where row 0 and column 0 of the stored image lie when upright
    1: UPRIGHT,  # top, left
    2: UPRIGHT[:, ::-1],  # top, right
    3: UPRIGHT[::-1, ::-1],  # bottom, right
    4: UPRIGHT[::-1],  # bottom, left
    5: UPRIGHT.T,  # left, top
    6: UPRIGHT[:, ::-1].T,  # right, top
    7: UPRIGHT[::-1, ::-1].T,  # right, bottom
    8: UPRIGHT[::-1].T,  # left, bottom
}


@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_is_honoured(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    data = encoded(stored, "JPEG", quality=100, exif=exif)
    np.testing.assert_allclose(image_files.decode(data, 16, 1)[..., 0], UPRIGHT, atol=1)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_files_of_the_right_size_come_back_unchanged(kind, channels):
    image = noise(0, 16, 16, channels)
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(Image.fromarray(image.squeeze()), kind, **options)
    np.testing.assert_array_equal(image_files.decode(data, 16, channels), image)


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (flat("L", 77), "PNG", (77, 77, 77)),
        (flat("1", 1), "BMP", (255, 255, 255)),
        (flat("LA", (100, 0)), "PNG", (255, 255, 255)),
        (flat("RGBA", (255, 0, 0, 128)), "PNG", (255, 127, 127)),
        (flat("RGBA", (0, 0, 255, 0)), "PNG", (255, 255, 255)),
        (flat("CMYK", (0, 255, 255, 0)), "JPEG", (255, 0, 0)),
        (flat("I;16", 257 * 200), "PNG", (200, 200, 200)),
        (flat("I;16", 65535), "TIFF", (255, 255, 255)),
        (flat("L", 3), "GIF", (3, 3, 3)),
    ],
    ids=lambda value: getattr(value, "mode", None),
)
def test_every_mode_becomes_eight_bit_rgb(image, kind, expected):
    decoded = image_files.decode(encoded(image, kind), 16, 3)
    np.testing.assert_allclose(decoded, np.broadcast_to(expected, (16, 16, 3)), atol=1)


def test_transparent_palette_entries_become_white():
    image = flat("P", 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (0, 0, 8, 16))
    decoded = image_files.decode(encoded(image, transparency=0), 16, 3)
    np.testing.assert_array_equal(decoded[0, 0], [0, 0, 255])
    np.testing.assert_array_equal(decoded[0, 15], [255, 255, 255])


def test_colour_becomes_grey_by_luma():
    decoded = image_files.decode(encoded(flat("RGB", (0, 255, 0))), 8, 1)
    np.testing.assert_array_equal(decoded, np.full((8, 8, 1), 150))  # 0.587 * 255, ITU-R 601


def test_the_first_frame_of_an_animation_counts():
    frames = [flat("RGB", "red"), flat("RGB", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(image_files.decode(data, 16, 3)[0, 0], [255, 0, 0])


def test_the_centre_square_is_cut_out():
    image = noise(0, 8, 14)
    data = encoded(Image.fromarray(image))
    np.testing.assert_array_equal(image_files.decode(data, 8, 3), image[:, 3:11])


def test_what_lies_outside_the_square_does_not_bleed_in():
    image = np.zeros((32, 64, 1), np.uint8)
    image[:, :16] = image[:, 48:] = 255
    np.testing.assert_array_equal(image_files.resize(image[None], 8, 1), 0)


def test_a_fine_checkerboard_shrinks_to_even_grey():
    board = ((np.indices((64, 64)).sum(0) % 2) * 255).astype(np.uint8)
    shrunk = image_files.decode(encoded(Image.fromarray(board)), 8, 1)
    np.testing.assert_allclose(shrunk[1:-1, 1:-1], 127.5, atol=1)


def test_arrays_and_files_are_resized_alike():
    image = noise(0, 40, 30)
    resized = image_files.resize(image[None], 16, 1)[0]
    np.testing.assert_array_equal(
        resized, image_files.decode(encoded(Image.fromarray(image)), 16, 1)
    )


def test_arrays_that_fit_are_not_copied():
    images = noise(0)[None]
    assert image_files.resize(images, 8, 3) is images


def test_grey_arrays_become_rgb_by_repetition():
    images = noise(0, channels=1)[None]
    np.testing.assert_array_equal(image_files.resize(images, 8, 3), np.repeat(images, 3, axis=3))


def huge_png():
    """A PNG of a few bytes that claims 20000x20000 image_files."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b"just text", "no image of a known format"),
        (encoded(Image.fromarray(noise(0, 64, 64)), "JPEG")[:900], "truncated"),
        (encoded(Image.fromarray(noise(0, 64, 64)))[:900], "truncated"),
        (encoded(Image.fromarray(noise(0, 7, 30))), "30x7 pixels"),
        (huge_png(), "decompression bomb"),
        (encoded(flat("F", 0.5), "TIFF"), "floating-point"),
        (encoded(flat("I", 1 << 20), "TIFF"), "31 bits but none exceeds 1,048,576, .* at most 24"),
        (b"\0\0\0\x24ftypheic", "it is a HEIC picture, .* --import pillow_heif.HeifImagePlugin"),
        (b"\xff\x0aG\x06", "it is a JPEG XL picture, .* --import pillow_jxl"),
        (b"FUJIFILMCCD-RAW 0201", "it is a camera's RAW picture; convert it"),
        (
            encoded(flat("RGB", 0), "TIFF", tiffinfo={254: 1}),
            "it is a camera's RAW picture; convert it",
        ),
        (b'<?xml version="1.0"?><svg/>', r"it is a drawing \(SVG\)"),
    ],
    ids=[
        *("empty", "text", "cut JPEG", "cut PNG", "small", "bomb", "float", "deep"),
        *("HEIC", "JPEG XL", "RAW", "preview in a DNG", "SVG"),
    ],
)
def test_bad_images_are_refused_with_the_reason(data, reason):
    with pytest.raises(image_files.BadImageError, match=reason):
        image_files.decode(data, 8, 3)


def test_pillows_limit_is_an_error_and_not_a_warning(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    data = encoded(flat("L", 0))  # 256 pixels: between the limit and twice the limit
    with (
        pytest.warns(Image.DecompressionBombWarning),
        pytest.raises(image_files.BadImageError, match=r"16x16 .* data\.max_pixels \(200\)"),
    ):
        image_files.decode(data, 8, 1)
    with image_files.pixel_limit(256):
        assert image_files.decode(data, 8, 1).shape == (8, 8, 1)
    assert Image.MAX_IMAGE_PIXELS == 200


@pytest.mark.parametrize(
    ("sides", "expected"),
    [([30], 30), ([100, 100, 100], 64), ([9], 9), ([16, 17, 90], 17), ([], 8)],
)
def test_the_size_fits_the_median_of_the_shorter_sides(sides, expected):
    files = [encoded(flat("L", 0, (side + 5, side))) for side in sides]
    assert image_files.choose_size(files, 1000, None, 3) == (expected, 3)


def test_channels_fit_the_files():
    grey, colour = encoded(flat("L", 0)), encoded(flat("RGB", 0))
    assert image_files.choose_size([grey, grey], 2, 8, None) == (8, 1)
    assert image_files.choose_size([grey, colour], 2, 8, None) == (8, 3)
    assert image_files.choose_size([b"unreadable", grey], 2, 8, None) == (8, 1)
