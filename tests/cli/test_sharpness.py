"""`blurjax sharpness`: the table, JSON, CSV and page; bursts; what is moved and copied; exit codes."""

import csv
import json
import re
from pathlib import Path

import photographs
import pytest
from command import run
from PIL import Image

from blurjax.cli import photographs as command
from blurjax.cli.arguments import make_parser
from blurjax.runtime import UserError


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory with sharp/{a,b}.png, blurry/{c,d}.jpg."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate("ab"):
        photographs.save(photographs.part(number), tmp_path / f"in/sharp/{name}.png")
    for number, name, sigma in ((2, "c", 2), (3, "d", 4)):
        image = photographs.blurred(photographs.part(number), sigma)
        photographs.save(image, tmp_path / f"in/blurry/{name}.jpg", quality=95)
    return tmp_path


def call(*arguments):
    """Runs the command in this process and returns the exit code."""
    parsed = make_parser().parse(["sharpness", *map(str, arguments)])
    command.check_options(parsed)
    return command.sharpness(parsed)


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def read_json(capsys):
    return json.loads(capsys.readouterr().out)


def test_the_table_has_the_blurriest_first(place, capsys):
    assert call("in") == 1
    lines = capsys.readouterr().out.splitlines()
    names = ["blurry", "probability", "interval", "kind", "sigma", "burst", "file"]
    assert lines[0].split() == names
    order = [line.split()[-1] for line in lines[1:5]]
    assert {*order[:2]} == {"in/blurry/c.jpg", "in/blurry/d.jpg"}
    assert {*order[2:]} == {"in/sharp/a.png", "in/sharp/b.png"}
    shown = [float(line.removeprefix("   yes").split()[0]) for line in lines[1:5]]
    assert shown == sorted(shown, reverse=True)
    assert [line.split()[0] == "yes" for line in lines[1:5]] == [True, True, False, False]
    assert lines[-1] == "2 of 4 photographs are blurry with a probability of at least 0.5."


def test_json_has_every_number(place, capsys):
    assert call("in", "--json") == 1
    found = read_json(capsys)
    assert found["threshold"] == 0.5
    assert found["unreadable"] == []
    assert "transfers" not in found
    assert [image["blurry"] for image in found["images"]] == [True, True, False, False]
    for image in found["images"]:
        low, high = image["interval"]
        assert 0 <= low <= image["probability"] <= high <= 1
        assert (image["width"], image["height"]) == (256, 256)
        assert (image["kind"] == "sharp") == (not image["blurry"])
        assert (image["burst"], image["sharpest"]) == (None, False)


def test_csv_has_a_row_for_each_file(place, capsys):
    call("in", "--json", "--csv", "out/table.csv")
    images = read_json(capsys)["images"]
    with (place / "out/table.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [row["file"] for row in rows] == [image["file"] for image in images]
    for row, image in zip(rows, images, strict=True):
        assert float(row["probability"]) == image["probability"]
        assert [float(row["low"]), float(row["high"])] == image["interval"]
        assert row["kind"] == image["kind"]


def test_the_threshold_decides_what_counts_as_blurry(place, capsys):
    call("in", "--json")
    second = read_json(capsys)["images"][1]
    assert call("in", "--json", "--threshold", second["probability"]) == 1
    found = read_json(capsys)
    assert [image["blurry"] for image in found["images"]] == [True, True, False, False]
    call("in", "--json", "--threshold", second["probability"] + 1e-9, "--move-to", "out")
    found = read_json(capsys)
    assert [image["blurry"] for image in found["images"]] == [True, False, False, False]
    assert len(found["transfers"]) == 1


def test_exit_codes(place, capsys):
    assert call("in/sharp") == 0
    assert call("in/blurry") == 1
    assert call("in/sharp", "--threshold", "0") == 1
    (place / "in/sharp/broken.jpg").write_bytes(b"\xff\xd8\xff")
    capsys.readouterr()
    assert call("in/sharp") == 2
    captured = capsys.readouterr()
    assert "blurjax: in/sharp/broken.jpg cannot be rated: " in captured.err
    assert "0 of 2 photographs are blurry" in captured.out
    assert captured.out.splitlines()[-1].endswith("1 could not be rated.")


def test_what_has_nothing_to_judge_is_not_blurry(place, capsys):
    photographs.save(Image.new("RGB", (256, 256)), place / "cap/on.png")
    assert call("cap", "--threshold", "0", "--json", "--move-to", "out", "--yes") == 0
    found = read_json(capsys)
    (image,) = found["images"]
    assert (image["kind"], image["blurry"]) == ("nothing to judge", False)
    assert found["transfers"] == []
    assert (place / "cap/on.png").exists()


def test_top_shows_and_moves_the_blurriest_alone(place, capsys):
    call("in", "--json")
    first = read_json(capsys)["images"][0]["file"]
    assert call("in", "--top", "1", "--json", "--move-to", "out", "--yes") == 1
    found = read_json(capsys)
    assert [image["file"] for image in found["images"]] == [first]
    assert [t["file"] for t in found["transfers"]] == [first]
    assert files(place / "out") == [first.rsplit("/", 1)[1]]


def test_nothing_is_moved_without_yes(place, capsys):
    before = files(place)
    assert call("in", "--move-to", "out") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "Nothing was moved; --yes does it."
    assert {*lines[-3:-1]} == {
        "would move: in/blurry/c.jpg -> out/c.jpg",
        "would move: in/blurry/d.jpg -> out/d.jpg",
    }
    assert files(place) == before


def test_moving_twice_moves_nothing_more(place, capsys):
    content = (place / "in/blurry/c.jpg").read_bytes()
    assert call("in", "--move-to", "in/out", "--yes") == 1
    assert "moved: in/blurry/c.jpg -> in/out/c.jpg" in capsys.readouterr().out
    after = ["out/c.jpg", "out/d.jpg", "sharp/a.png", "sharp/b.png"]
    assert files(place / "in") == after
    assert (place / "in/out/c.jpg").read_bytes() == content
    assert call("in", "--move-to", "in/out", "--yes") == 0
    assert files(place / "in") == after


def test_copying_twice_copies_nothing_more(place, capsys):
    for _ in range(2):
        assert call("in", "--copy-to", "out", "--yes") == 1
        assert files(place / "out") == ["c.jpg", "d.jpg"]
    assert "stays: in/blurry/c.jpg, since out/c.jpg is the same" in capsys.readouterr().out
    assert files(place / "in/blurry") == ["c.jpg", "d.jpg"]


def test_names_that_clash_get_a_number(place, capsys):
    photographs.save(photographs.blurred(photographs.part(4)), place / "in/other/c.jpg")
    call("in", "--move-to", "out", "--yes")
    assert files(place / "out") == ["c (2).jpg", "c.jpg", "d.jpg"]


def test_a_file_that_cannot_be_moved_is_named_and_the_exit_code_is_2(place, capsys, monkeypatch):
    replace = Path.replace

    def refuse(self, target):
        if self.name == "c.jpg":
            raise PermissionError(13, "Permission denied")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    assert call("in", "--move-to", "out", "--yes") == 2
    assert "stays: in/blurry/c.jpg, since Permission denied" in capsys.readouterr().out
    assert files(place / "out") == ["d.jpg"]
    assert files(place / "in/blurry") == ["c.jpg"]


def test_the_sharpest_of_a_burst_is_marked(place, capsys):
    for shift, sigma in ((0, 0), (1, 2), (2, 4)):
        image = photographs.part(4, shift=shift)
        image = photographs.blurred(image, sigma) if sigma else image
        photographs.save(image, place / f"burst/{shift}.png")
    call("burst", "in/sharp/a.png", "--json")
    marks = {i["file"]: (i["burst"], i["sharpest"]) for i in read_json(capsys)["images"]}
    assert marks == {
        "burst/0.png": (1, True),
        "burst/1.png": (1, False),
        "burst/2.png": (1, False),
        "in/sharp/a.png": (None, False),
    }
    call("burst", "--html", "page.html", "--csv", "table.csv")
    printed = capsys.readouterr().out
    assert re.search(r"sharp +\S+ +1\*  burst/0.png", printed)
    assert printed.endswith("\nThe table is table.csv\nThe page is page.html\n")
    assert (place / "page.html").read_text().count("its sharpest") == 1
    call("burst", "--threshold", "0", "--json", "--move-to", "out")
    assert len(read_json(capsys)["transfers"]) == 3  # the threshold alone decides


def test_the_page_shows_every_photograph_and_loads_nothing(place, capsys):
    (place / "in/<b>&.jpg").write_bytes(b"none")
    assert call("in", "--html", "page.html") == 2
    page = (place / "page.html").read_text()
    assert page.count('<li class="blurry">') == 2
    assert page.count("<li>\n<div") == 2
    assert "<bdi>in/&lt;b&gt;&amp;.jpg</bdi>: it is no image of a known format" in page
    assert page.index("in/blurry/c.jpg") < page.index("in/sharp/a.png")
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    assert page.count("data:image/jpeg;base64,") == page.count("data:image/png;base64,") == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threshold", "1.5"], "--threshold is a probability from 0 to 1 and cannot be 1.5"),
        (["--top", "0"], "--top must be at least 1"),
        (["--max-pixels", "0"], "--max-pixels must be at least 1"),
        (["--csv", "a.jpg"], "--csv writes a file and cannot be a.jpg; name one that ends in .csv"),
        (["--html", "a.png"], "--html writes a file and cannot be a.png"),
        (["--yes"], "--yes says that files are to be moved or copied; name --move-to DIR"),
        (["--move-to", "x", "--copy-to", "y"], "--move-to and --copy-to exclude each other"),
    ],
)
def test_options_that_make_no_sense_are_named(place, arguments, message):
    with pytest.raises(UserError, match=re.escape(message)):
        call("in", *arguments)


@pytest.mark.parametrize("option", ["--csv", "--html"])
def test_a_file_that_cannot_be_written_is_a_mistake(place, option):
    name = f"in/sharp/a.png/table.{option[2:]}"
    with pytest.raises(UserError, match=rf"{name} cannot be written \(.*\); name another file"):
        call("in", option, name, "--move-to", "out", "--yes")
    assert not (place / "out").exists()


def test_a_folder_without_photographs_is_a_mistake(place):
    (place / "empty").mkdir()
    with pytest.raises(UserError, match="There is no photograph to rate"):
        call("empty")


def test_larger_files_than_allowed_are_named(place, capsys):
    assert call("in/sharp/a.png", "in/sharp/b.png", "--max-pixels", "65535") == 2
    assert "more than max_pixels (65,535)" in capsys.readouterr().err


def test_the_command_in_a_process_of_its_own(place):
    cache = place / "cache"
    found = run("sharpness", "in", "--json", cwd=place, cache=cache)
    assert found.returncode == 1, found.stderr
    assert len(json.loads(found.stdout)["images"]) == 4
    assert found.stderr == ""
    missing = run("sharpness", "nowhere", "in", "a.jpg", cwd=place, cache=cache)
    assert missing.returncode == 2
    assert missing.stderr.startswith("blurjax: nowhere, a.jpg cannot be read (No such file or")


def test_links_that_lead_nowhere_and_odd_names_end_nothing(place, capsys):
    (place / "in/dangling.jpg").symlink_to(place / "gone.jpg")
    photographs.save(photographs.part(0), place / "~nobody.jpg")
    assert call(".", "--json") == 2
    found = read_json(capsys)
    assert "~nobody.jpg" in {image["file"] for image in found["images"]}
    assert len(found["images"]) == 5
    assert [Path(file["file"]).name for file in found["unreadable"]] == ["dangling.jpg"]


def test_links_in_a_circle_and_the_folder_of_the_photographs_itself(place):
    (place / "in/a.jpg").symlink_to(place / "in/b.jpg")
    (place / "in/b.jpg").symlink_to(place / "in/a.jpg")
    assert call("in", "--move-to", "out", "--json") == 2
    with pytest.raises(UserError, match="All photographs lie in in already"):
        call("in/sharp", "--move-to", "in")


def test_places_that_cannot_be_written_are_named_before_anything_is_rated(place, monkeypatch):
    monkeypatch.setattr(command, "rate_found", lambda *args, **options: pytest.fail("rated"))
    (place / "file").write_text("")
    with pytest.raises(UserError, match="cannot be used as a folder"):
        call("in", "--move-to", "file")
    (place / "folder.csv").mkdir()
    with pytest.raises(UserError, match=r"folder\.csv is a folder"):
        call("in", "--csv", "folder.csv")


def test_csv_has_its_header_without_rows(place):
    (place / "broken.jpg").write_text("none")
    assert call("broken.jpg", "--csv", "t.csv") == 2
    assert (place / "t.csv").read_text().startswith("file,probability,low,high,kind,sigma,")
