"""The command that compares runs, as it is used."""

import json

import pytest
from synthetic_run import Synthetic, write_run

from blurjax.cli.commands import main
from blurjax.report import make_report
from blurjax.report.figures import style


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(style, "png", lambda figure: b"a figure")
    monkeypatch.chdir(tmp_path)
    for name, seeds in (("one", 3), ("two", 4)):
        run, _ = write_run(tmp_path / name, Synthetic(seeds=seeds, images=60, epochs=2))
        make_report(run.path)
    return tmp_path


def command(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["compare", *map(str, arguments)])
    return ended.value.code


def test_a_table_and_a_page(runs, capsys):
    assert command("one", "two") == 0
    printed = capsys.readouterr().out
    assert "sweep.num_seeds  3    4" in printed
    assert "two against one, paired by seed and image" in printed
    assert printed.endswith("The page is comparison.html\n")
    assert "<title>2 runs compared</title>" in (runs / "comparison.html").read_text()
    assert command("one", "two", "--out", "pages/mine.html") == 0
    assert (runs / "pages" / "mine.html").exists()


def test_json_alone_writes_no_page(runs, capsys):
    assert command("one", "two", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [run["name"] for run in found["runs"]] == ["one", "two"]
    assert not (runs / "comparison.html").exists()


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("two/results.json", "--out writes a file and cannot be two/results.json"),
        ("two", "--out writes a file and cannot be two; name one that ends in .html"),
        ("folder.html", "--out writes a file, and folder.html is a folder"),
    ],
)
def test_a_page_replaces_nothing_but_pages(runs, capsys, out, says):
    (runs / "folder.html").mkdir()
    before = (runs / "two/results.json").read_bytes()
    assert command("one", "two", "--out", out) == 2
    assert says in capsys.readouterr().err
    assert (runs / "two/results.json").read_bytes() == before


def test_one_run_is_a_mistake(runs, capsys):
    assert command("one") == 2
    assert "two or more different run directories" in capsys.readouterr().err
