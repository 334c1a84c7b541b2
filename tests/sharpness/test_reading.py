"""Finding and decoding photographs: which, how large, upright, in bounded memory, whatever is wrong with some."""

import io
import os
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import photographs
import pytest
from odd_files import exif, png
from PIL import Image

from blurjax.data import image_files
from blurjax.runtime import UserError
from blurjax.sharpness import RATED_SIZE, rate, reading
from blurjax.sharpness.reading import Photograph, Unreadable, find_photographs, read_photographs


def read_one(path, **options):
    (result,) = read_photographs([path], **options)
    return result


def probability(path):
    return rate(read_one(path).pixels).probability


def test_folders_are_searched_and_each_file_is_found_once(tmp_path):
    image = photographs.part(0)
    a, b = (
        photographs.save(image, tmp_path / "a.png"),
        photographs.save(image, tmp_path / "x/y/b.jpg"),
    )
    photographs.save(image, tmp_path / ".hidden/c.png")
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / "0-link.png").symlink_to(a)
    assert find_photographs([tmp_path, a, tmp_path / "x", b]) == ([a, b], [])
    assert find_photographs([tmp_path / "0-link.png"])[0] == [tmp_path / "0-link.png"]


def test_a_path_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(UserError, match="nowhere cannot be read"):
        find_photographs([tmp_path / "nowhere"])


def test_a_folder_that_may_not_be_read_is_named_and_the_rest_is_found(tmp_path, monkeypatch):
    a = photographs.save(photographs.part(0), tmp_path / "a.png")
    (tmp_path / "lost+found").mkdir()
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found, unreadable = find_photographs([tmp_path])
    assert found == [a]
    assert unreadable == [Unreadable(tmp_path / "lost+found", "Permission denied")]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_pixels(tmp_path, orientation):
    image = photographs.part(0).crop((0, 0, 256, 160))
    plain = photographs.save(image, tmp_path / "plain.jpg", quality=95)
    turned = photographs.save(
        image, tmp_path / "t.jpg", quality=95, exif=b"Exif\0\0" + exif(orientation)
    )
    with Image.open(plain) as reference:
        pixels = np.asarray(reference)
    turn = {
        **{1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1]},
        **{5: pixels.swapaxes(0, 1), 6: np.rot90(pixels, -1), 8: np.rot90(pixels)},
        7: np.rot90(pixels, 2).swapaxes(0, 1),
    }[orientation]
    found = read_one(turned)
    np.testing.assert_array_equal(found.pixels, turn)
    assert found.size == (turn.shape[1], turn.shape[0])


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("sigma", [0, 2, 6])
def test_reduced_decoding_gives_the_same_rating_as_full_decoding(
    tmp_path, monkeypatch, scale, sigma
):
    image = photographs.large(1600 * scale, 1200 * scale)
    image = photographs.blurred(image, sigma * scale) if sigma else image
    path = photographs.save(image, tmp_path / "large.jpg", quality=95)
    reduced = read_one(path)
    monkeypatch.setattr(image_files, "REDUCED_DECODING", 1e3)  # no part of its size suffices
    full = read_one(path)
    assert reduced.size == full.size == image.size
    assert reduced.pixels.shape == full.pixels.shape == (RATED_SIZE * 3 // 4, RATED_SIZE, 3)
    difference = reduced.pixels.astype(float) - full.pixels
    assert np.sqrt(np.square(difference).mean()) < 4
    assert rate(reduced.pixels).probability == pytest.approx(
        rate(full.pixels).probability, abs=0.02
    )


def test_a_large_jpeg_is_decoded_at_a_part_of_its_size(tmp_path, monkeypatch):
    decoded = []
    flat = image_files._flat
    monkeypatch.setattr(
        image_files, "_flat", lambda image, data: decoded.append(image.size) or flat(image, data)
    )
    path = photographs.save(photographs.large(4000, 3000), tmp_path / "large.jpg")
    assert read_one(path).size == (4000, 3000)
    assert decoded == [(2000, 1500)]


def test_nothing_is_enlarged(tmp_path):
    path = photographs.save(photographs.part(0, size=100), tmp_path / "small.png")
    assert read_one(path).pixels.shape == (100, 100, 3)


def test_copies_of_other_kinds_have_the_same_rating(tmp_path):
    for image in (photographs.part(1), photographs.blurred(photographs.part(1))):
        reference = probability(photographs.save(image, tmp_path / "a.png"))
        turned = image.transpose(Image.Transpose.ROTATE_90)
        for copy in (
            photographs.save(image, tmp_path / "a.bmp"),
            photographs.save(image, tmp_path / "a.tif"),
            photographs.save(image, tmp_path / "lossless.webp", lossless=True),
            photographs.save(turned, tmp_path / "turned.png", exif=exif(6)),
        ):
            assert probability(copy) == pytest.approx(reference, abs=1e-6), copy.name


def test_grey_palette_alpha_and_16_bits_are_read_as_by_the_data_room(tmp_path):
    grey = photographs.part(0).convert("L")
    values = np.asarray(grey)
    deep = tmp_path / "deep.png"
    deep.write_bytes(png(values[..., None].astype(np.uint16) * 257, 16))
    see_through = np.dstack([values, values, values, np.full_like(values, 255)])
    see_through[:64] = 0  # transparent: white
    cases = {
        photographs.save(grey, tmp_path / "grey.png"): values,
        photographs.save(grey.convert("P"), tmp_path / "palette.png"): np.dstack([values] * 3),
        deep: values,
    }
    for path, pixels in cases.items():
        np.testing.assert_array_equal(read_one(path).pixels, pixels, err_msg=path.name)
    path = photographs.save(Image.fromarray(see_through), tmp_path / "alpha.png")
    assert (read_one(path).pixels[:64] == 255).all()
    np.testing.assert_array_equal(read_one(path).pixels[64:, :, 0], values[64:])


def test_what_cannot_be_rated_is_named_with_the_reason(tmp_path):
    whole = photographs.save(photographs.part(0), tmp_path / "whole.jpg").read_bytes()
    raw = b"II*\0\x10\0\0\0CR\2\0" + bytes(200)
    contents = {
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"no picture", "no image of a known format"),
        "cut.jpg": (whole[: len(whole) // 2], "truncated"),
        "raw.cr2": (raw, "TIFF of a kind"),
        "raw.raf": (b"FUJIFILMCCD-RAW " + bytes(100), "camera's RAW picture; convert it"),
        "phone.heic": (b"\0\0\0\x18ftypheic" + bytes(100), "HEIC picture|HEIF|truncated|file"),
    }
    paths = []
    for name, (content, _) in contents.items():
        (tmp_path / name).write_bytes(content)
        paths.append(tmp_path / name)
    good = tmp_path / "whole.jpg"
    results = [*read_photographs([*paths, good, tmp_path / "gone.jpg", tmp_path])]
    for result, (name, (_, reason)) in zip(results, contents.items(), strict=False):
        assert isinstance(result, Unreadable), name
        assert result.path.name == name
        assert re.search(reason, result.reason), result
    assert isinstance(results[len(paths)], Photograph)
    assert [r.reason for r in results[-2:]] == ["it is not there any more", "it is no file"]


def test_tiny_and_narrow_images_are_named(tmp_path):
    tiny = photographs.save(photographs.part(0, size=31), tmp_path / "tiny.png")
    assert read_one(tiny).reason == "it is 31x31 pixels, and a side of less than 32 is too small"
    width, height = RATED_SIZE, round(200 * RATED_SIZE / 8192)
    narrow = photographs.save(photographs.large(8192, 200), tmp_path / "narrow.png")
    assert read_one(narrow).reason == (
        f"it is 8192x200 pixels, {width}x{height} when it is rated, and a side of less than 32 is too small"
    )
    least = photographs.save(photographs.part(0, size=32), tmp_path / "least.png")
    assert read_one(least).pixels.shape == (32, 32, 3)


def test_a_fifo_does_not_stop_everything(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert read_one(tmp_path / "pipe.jpg").reason == "it is no file"


def test_larger_files_than_asked_for_are_named(tmp_path, monkeypatch):
    path = photographs.save(photographs.part(0), tmp_path / "a.png")
    assert read_one(path, max_pixels=256 * 256).size == (256, 256)
    reason = read_one(path, max_pixels=256 * 256 - 1).reason
    assert "more than max_pixels (65,535); raise that" in reason
    monkeypatch.setattr(reading, "MOST_BYTES", 1)
    assert read_one(path).reason == "it is larger than 0 GiB"


def test_memory_does_not_grow_with_the_number_of_files(tmp_path):
    path = photographs.save(photographs.large(1024, 768), tmp_path / "a.jpg")

    def peak(count):
        tracemalloc.start()
        for photograph in read_photographs([path] * count):
            assert isinstance(photograph, Photograph)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(5)
    one_picture = 1024 * 768 * 3
    few, many = peak(40), peak(160)
    assert many < few + 2 * one_picture  # and not 120 pictures more


def test_a_hundred_megapixels_are_read_in_a_part_of_their_memory(tmp_path):
    path = photographs.save(Image.new("RGB", (12_000, 8_400), "grey"), tmp_path / "huge.jpg")
    script = (
        "import resource, sys; from pathlib import Path; from blurjax.sharpness import reading\n"
        "def read(path): return next(iter(reading.read_photographs([Path(path)])))\n"
        "def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "read(sys.argv[1]); before = most(); found = read(sys.argv[2])\n"
        "print(found.size, found.pixels.shape, (most() - before) // 1024)"
    )
    small = photographs.save(photographs.large(1600, 1200), tmp_path / "small.jpg")
    command = [sys.executable, "-c", script, str(small), str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    facts, _, megabytes = result.stdout.rpartition(" ")
    assert facts == f"(12000, 8400) {(round(RATED_SIZE * 0.7), RATED_SIZE, 3)}"
    assert int(megabytes) < 100  # all of its pixels take 302


def test_previews_are_small_pictures_of_the_file(tmp_path):
    path = photographs.save(photographs.large(1600, 1200), tmp_path / "a.jpg")
    assert read_one(path).preview == b""
    with Image.open(io.BytesIO(read_one(path, previews=True).preview)) as preview:
        assert preview.size == (240, 180)
        small = photographs.large(1600, 1200).resize((240, 180), Image.Resampling.BICUBIC)
        assert np.abs(np.asarray(preview).astype(float) - np.asarray(small)).mean() < 8


def test_heic_is_read_where_its_package_is_installed(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(photographs.part(0)).save(tmp_path / "a.heic", quality=95)
    plain = photographs.save(photographs.part(0), tmp_path / "a.png")
    assert probability(tmp_path / "a.heic") == pytest.approx(probability(plain), abs=0.05)
