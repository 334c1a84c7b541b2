"""Files of every depth, sign, transparency and orientation, with damaged metadata, against Pillow's own pixels.

The reference is a plain file of 8 bits of the same picture, opened and turned by Pillow.
"""

import io
import struct
import zlib

import numpy as np
import pytest
from odd_files import ORIENTATION, RATIONAL, SHORT, chunk, exif, png, tiff
from PIL import Image, ImageOps

from blurjax.data import image_files

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")  # of damaged metadata
HEIGHT, WIDTH = 16, 24
ORIENTATIONS = range(1, 9)
TEXT_FOR_NUMBER = struct.pack("<HI", 2, 4) + b"abc\0"
FAR_AWAY = struct.pack("<HII", RATIONAL, 1, 10**9)
SIGNED = struct.pack("<HII", 10, 1, 26)  # a signed rational that lies within the directory itself
METADATA = {
    "whole": {},
    "text for numbers": {"t34853": TEXT_FOR_NUMBER, "t282": TEXT_FOR_NUMBER, "t37378": SIGNED},
    "beyond the end": {
        "t282": FAR_AWAY,
        "t33434": FAR_AWAY,
        "t34665": struct.pack("<HII", 4, 1, 10**9),
    },
    "beyond the end, before the orientation": {"t271": FAR_AWAY},
    "unknown type": {"t282": struct.pack("<HII", 99, 1, 0)},
}
LONG_TEXT = zlib.compress(bytes(2**21))
CHUNKS = {
    "none": (b"", b""),
    "long zTXt": (chunk(b"zTXt", b"Comment\0\0" + LONG_TEXT), b""),
    "long zTXt at the end": (b"", chunk(b"zTXt", b"Comment\0\0" + LONG_TEXT)),
    "long iTXt": (chunk(b"iTXt", b"Comment\0\1\0\0\0" + LONG_TEXT), b""),
    "long iCCP": (chunk(b"iCCP", b"profile\0\0" + LONG_TEXT), b""),
    "damaged text": (chunk(b"tEXt", b"Comment\0x")[:-4] + b"\0\0\0\0", b""),
}


def pixels(seed, bits, channels=1, signed=False):
    """Integers [H,W,C] from 0 to the largest of the bits, with a few that are equal."""
    most = 2 ** (bits - signed)
    values = np.random.default_rng(seed).integers(0, most, (HEIGHT, WIDTH, channels))
    values[0, 0], values[5:8, 6:12], values[-1, -1] = most - 1, values[5, 5], 0
    return values.astype(np.int64 if signed else np.uint64)


def reference(values, white, orientation, key=None):
    """Pillow's pixels of a picture [H,W,C] whose values go to `white`, and in which the colour `key` is transparent."""
    eight = np.floor(values / white * 255 + 0.5).astype(np.uint8)
    if key is not None:
        alpha = np.where((values == key).all(-1, keepdims=True), 0, 255).astype(np.uint8)
        eight = np.concatenate([eight, alpha], axis=-1)
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    file = io.BytesIO()
    Image.fromarray(eight.squeeze()).save(file, "PNG", exif=tags)
    image = ImageOps.exif_transpose(Image.open(file)).convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    left, top = (flat.width - HEIGHT) // 2, (flat.height - HEIGHT) // 2
    return np.asarray(flat.crop((left, top, left + HEIGHT, top + HEIGHT)))


def assert_decoded(data, expected, tolerance=0):
    difference = image_files.decode(data, HEIGHT, 3).astype(int) - expected
    assert np.abs(difference).max() <= tolerance


@pytest.mark.parametrize("metadata", METADATA)
@pytest.mark.parametrize(
    ("bits", "channels", "transparent"),
    [
        *((bits, 1, key) for bits in (1, 2, 4, 8, 16) for key in (False, True)),
        *((bits, 3, key) for bits in (8, 16) for key in (False, True)),
        *((bits, channels, False) for bits in (8, 16) for channels in (2, 4)),  # an alpha channel
    ],
)
def test_png(bits, channels, transparent, metadata):
    # Pillow cuts 16 bits to 8 where there are several channels, instead of rounding.
    tolerance = int(bits == 16 and channels > 1)
    for orientation in ORIENTATIONS:
        values = pixels([bits, channels, orientation], bits, channels)
        key = values[5, 5] if transparent else None
        before = chunk(b"tRNS", key.astype(">u2").tobytes()) if transparent else b""
        before += chunk(b"eXIf", exif(orientation, **METADATA[metadata]))
        expected = reference(values, 2**bits - 1, orientation, key)
        # alpha compositing of a value that is 1 off may be 1 more off
        assert_decoded(png(values, bits, before), expected, tolerance * (1 + (channels in (2, 4))))


@pytest.mark.parametrize("kind", CHUNKS)
def test_png_with_texts(kind):
    values = pixels(0, 8, 3)
    before, after = CHUNKS[kind]
    oriented = chunk(b"eXIf", exif(6))
    data = png(values, 8, before + oriented, after)
    assert_decoded(data, reference(values, 255, 6))
    assert image_files.choose_size([data], 1, None, None) == (HEIGHT, 3)


@pytest.mark.parametrize(("count", "size"), [(199, 32), (200, 64)])
def test_few_images_are_made_smaller(count, size):
    data = png(np.zeros((80, 100, 3), np.uint8), 8)
    assert image_files.choose_size([data], count, None, None) == (size, 3)
    assert image_files.choose_size([data], count, 48, None) == (48, 3)


def test_the_orientation_in_a_text_of_a_png_counts():
    values = pixels(0, 8, 3)
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    assert_decoded(png(values, 8, text), reference(values, 255, 8))


@pytest.mark.parametrize("metadata", METADATA)
def test_jpeg(metadata):
    plain = io.BytesIO()
    Image.fromarray(pixels(0, 8, 3).astype(np.uint8)).save(plain, "JPEG", quality=95)
    values = np.asarray(Image.open(plain))
    for orientation in ORIENTATIONS:
        content = b"Exif\0\0" + exif(orientation, **METADATA[metadata])
        segment = b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
        data = plain.getvalue()[:2] + segment + plain.getvalue()[2:]
        assert_decoded(data, reference(values, 255, orientation))


TIFFS = [
    *((bits, signed, False, "<") for bits in (8, 16, 32) for signed in (False, True)),
    *((8, signed, False, ">") for signed in (False, True)),
    *((16, signed, False, ">") for signed in (False, True)),
    *(
        (12, False, False, "<"),
        (8, False, True, "<"),
        (16, False, True, "<"),
        (8, False, True, ">"),
    ),
]
"""(bits, signed, white is 0, order) that Pillow reads."""


@pytest.mark.parametrize(
    ("bits", "signed", "white_is_zero", "order", "metadata"),
    [
        (*kind, metadata)
        for kind in TIFFS
        for metadata in METADATA
        # These are written in one order, and Pillow reads no tag after one that is cut off.
        if metadata == "whole"
        or (kind[3] == "<" and not (metadata.startswith("beyond") and kind[1]))
        if "before" not in metadata
    ],
)
def test_tiff(bits, signed, white_is_zero, order, metadata):
    white = 2 ** (bits - signed) - 1
    for orientation in ORIENTATIONS:
        values = pixels([bits, signed, orientation], bits, signed=signed)
        tags = {f"t{ORIENTATION}": (SHORT, orientation), "t339": (SHORT, 1 + signed)}
        tags |= {"t262": (SHORT, 0 if white_is_zero else 1)} | METADATA[metadata]
        data = tiff(values[..., 0], bits, order, **tags)
        shown = white - values.astype(np.int64) if white_is_zero else values
        assert_decoded(data, reference(shown, white, orientation))


@pytest.mark.parametrize(("bits", "white"), [(32, 255), (32, 65535), (31, 255), (31, 65535)])
def test_small_values_in_32_bits_are_read_as_8_or_16(bits, white):
    values = pixels(0, int(white).bit_length())
    stored = values.astype(np.int64) if bits == 31 else values
    data = tiff(stored[..., 0], 32, t339=(SHORT, 1 + (bits == 31)))
    assert_decoded(data, reference(values, white, 1))


@pytest.mark.parametrize(
    ("bits", "signed", "values", "reason"),
    [
        (
            16,
            False,
            (0, 4095),
            "pixels have 16 bits but none exceeds 4,095, .* at most 12 bits in wider",
        ),
        (
            12,
            False,
            (0, 255),
            "pixels have 12 bits but none exceeds 255, .* at most 8 bits in wider",
        ),
        (32, False, (0, 15), "pixels have 8 bits but none exceeds 15, .* at most 4 bits in wider"),
        (32, False, (0, 4095), "pixels have 16 bits but none exceeds 4,095"),
        (
            32,
            False,
            (0, 2**24 - 1),
            "pixels have 32 bits but none exceeds 16,777,215, .* at most 24 bits",
        ),
        (16, True, (0, 4095), "pixels have 15 bits but none exceeds 4,095"),
        (
            16,
            True,
            (-1000, 3000),
            "signed pixels go from -1,000 to 3,000, so that black may be 0 or the least",
        ),
        (32, True, (-1, 255), "signed pixels go from -1 to 255"),
        (8, True, (-128, 127), "signed pixels go from -128 to 127"),
    ],
)
def test_depths_that_can_be_read_in_two_ways_are_refused_with_both(bits, signed, values, reason):
    least, most = values
    content = np.linspace(least, most, HEIGHT * WIDTH).round().reshape(HEIGHT, WIDTH)
    data = tiff(content.astype(np.int64 if signed else np.uint64), bits, t339=(SHORT, 1 + signed))
    with pytest.raises(image_files.BadImageError, match=reason):
        image_files.decode(data, HEIGHT, 1)


def test_a_tiff_that_pillow_does_not_read_is_called_one():
    data = tiff(pixels(0, 12)[..., 0], 12, ">")
    with pytest.raises(
        image_files.BadImageError, match="it is a TIFF of a kind that Pillow does not"
    ):
        image_files.decode(data, HEIGHT, 1)


def test_black_is_black_at_any_depth():
    for bits in (8, 12, 16, 32):
        data = tiff(np.zeros((HEIGHT, WIDTH), np.uint64), bits)
        assert not image_files.decode(data, HEIGHT, 1).any()


def test_pgm_of_any_depth_is_scaled_by_its_largest_value():
    for most in (63, 255, 1023, 4095, 65535):
        values = np.linspace(0, most, HEIGHT * WIDTH).round().reshape(HEIGHT, WIDTH, 1)
        kind = np.uint8 if most < 256 else ">u2"
        data = f"P5 {WIDTH} {HEIGHT} {most}\n".encode() + values.astype(kind).tobytes()
        assert_decoded(data, reference(values, most, 1), tolerance=1)
