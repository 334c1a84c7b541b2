"""Writes PNG and TIFF files byte by byte: depths, signs and damaged metadata that Pillow does not write."""

from __future__ import annotations

import struct
import zlib

import numpy as np

COLOURS = {1: 0, 3: 2, 2: 4, 4: 6}
"""Channels -> colour type of PNG (PNG 1.2, section 4.1.1)."""
SHORT, LONG, RATIONAL, ASCII = 3, 4, 5, 2
ORIENTATION = 0x0112


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum


def png(values: np.ndarray, bits: int, chunks: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG of integers [H,W,C] of 1, 2, 4, 8 or 16 bits, with chunks before and after its pixels."""
    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, bits, COLOURS[channels], 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + _packed(row.ravel(), bits, ">") for row in values))
    return (
        b"\x89PNG\r\n\x1a\n"
        + (chunk(b"IHDR", header) + chunks + chunk(b"IDAT", pixels) + after)
        + chunk(b"IEND", b"")
    )


def tiff(values: np.ndarray, bits: int, order: str = "<", **tags: object) -> bytes:
    """A TIFF of grey integers [H,W]; order: "<" or ">"; more tags as t258=(type, value)."""
    height, width = values.shape
    pixels = b"".join(_packed(row, bits, order) for row in values)
    entries = {
        **{256: (SHORT, width), 257: (SHORT, height), 258: (SHORT, bits), 259: (SHORT, 1)},
        **{262: (SHORT, 1), 273: (LONG, 8), 277: (SHORT, 1), 278: (SHORT, height)},
        **{279: (LONG, len(pixels))},
        **{int(name[1:]): value for name, value in tags.items()},
    }
    magic = b"II*\0" if order == "<" else b"MM\0*"
    directory = ifd(entries, order)
    return magic + struct.pack(f"{order}I", 8 + len(pixels)) + pixels + directory


def ifd(entries: dict[int, object], order: str = "<") -> bytes:
    """A directory of tags {tag: (type, number)}, or bytes [8] of type, count and value as they are."""
    body = b""
    for tag, entry in sorted(entries.items()):
        if isinstance(entry, bytes):
            body += struct.pack(f"{order}H", tag) + entry
        else:
            kind, value = entry
            number = struct.pack(f"{order}HH", value, 0) if kind == SHORT else None
            body += struct.pack(f"{order}HHI", tag, kind, 1)
            body += number or struct.pack(f"{order}I", value)
    return struct.pack(f"{order}H", len(entries)) + body + bytes(4)


def exif(orientation: int, **others: object) -> bytes:
    """EXIF with an orientation; others as t33434=(type, value)."""
    tags = {int(name[1:]): value for name, value in others.items()}
    return b"II*\0\x08\0\0\0" + ifd({ORIENTATION: (SHORT, orientation), **tags})


def _packed(row: np.ndarray, bits: int, order: str) -> bytes:
    if bits >= 8 and bits != 12:
        kind = {"u": "u", "i": "i"}[row.dtype.kind]
        return row.astype(f"{order}{kind}{bits // 8}").tobytes()
    shifts = np.arange(bits)[::-1]
    return np.packbits((row.astype(np.int64)[:, None] >> shifts & 1).astype(np.uint8)).tobytes()
