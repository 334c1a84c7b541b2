"""Moving and copying: nothing is replaced, lost or moved twice, whatever happens in between."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from blurjax.runtime import UserError, transfers
from blurjax.runtime.transfers import Transfer, make_transfers, plan_transfers


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def contents(folder):
    """Name -> text of all files, hidden ones included."""
    return {
        p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()
    }


def transfer(paths, folder, *, move):
    return [*make_transfers(plan_transfers(paths, folder, move=move), move=move)]


@pytest.fixture(params=[False, True], ids=["same file system", "other file system"])
def elsewhere(request, monkeypatch):
    """Makes the target a folder of another file system, from which no file can be renamed."""
    if request.param:
        replace = Path.replace

        def refuse(self, target):
            if not self.name.startswith("."):
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", refuse)
    return request.param


def test_a_plan_changes_nothing(tmp_path):
    a = write(tmp_path / "in/a.jpg", "a")
    plan = plan_transfers([a], tmp_path / "out/more", move=True)
    assert plan == [Transfer(a, tmp_path / "out/more/a.jpg")]
    assert contents(tmp_path) == {"in/a.jpg": "a"}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("move", [True, False])
def test_files_are_moved_or_copied_with_their_times(tmp_path, elsewhere, move):
    a, b = write(tmp_path / "in/a.jpg", "a"), write(tmp_path / "in/x/b.jpg", "b")
    os.utime(a, (1e9, 1e9))
    done = transfer([a, b], tmp_path / "out", move=move)
    assert done == [
        Transfer(a, tmp_path / "out/a.jpg"),
        Transfer(b, tmp_path / "out/b.jpg"),
    ]
    kept = {} if move else {"in/a.jpg": "a", "in/x/b.jpg": "b"}
    assert contents(tmp_path) == {"out/a.jpg": "a", "out/b.jpg": "b", **kept}
    assert (tmp_path / "out/a.jpg").stat().st_mtime == 1e9


@pytest.mark.parametrize("move", [True, False])
def test_names_that_clash_get_a_number_and_nothing_is_replaced(tmp_path, elsewhere, move):
    write(tmp_path / "out/a.jpg", "there")
    write(tmp_path / "out/a (3).jpg", "there, too")
    paths = [write(tmp_path / f"in/{i}/{name}", i) for i, name in ("1a", "2A", "3a", "4b")]
    paths = [path.rename(path.with_suffix(".jpg")) for path in paths]
    done = transfer(paths, tmp_path / "out", move=move)
    names = ["a (2).jpg", "A (4).jpg", "a (5).jpg", "b.jpg"]
    assert [d.target.name for d in done] == names
    expected = {
        "a.jpg": "there",
        "a (3).jpg": "there, too",
        **dict(zip(names, "1234", strict=True)),
    }
    assert contents(tmp_path / "out") == expected


def test_a_long_name_is_copied(tmp_path, elsewhere):
    a = write(tmp_path / "in" / ("字" * 83 + ".jpg"), "a")  # 253 of 255 bytes
    for move in (False, True):
        transfer([a], tmp_path / f"out {move}", move=move)
        assert contents(tmp_path / f"out {move}") == {a.name: "a"}


def test_what_is_there_already_is_not_copied_or_moved_again(tmp_path, elsewhere):
    paths = [write(tmp_path / f"in/{i}/a.jpg", i) for i in "12"]
    transfer(paths, tmp_path / "out", move=False)
    for move in (False, True):
        again = transfer(paths, tmp_path / "out", move=move)
        assert [t.target for t in again] == [None, None]
        assert [t.reason for t in again] == [
            f"{tmp_path / 'out/a.jpg'} is the same",
            f"{tmp_path / 'out/a (2).jpg'} is the same",
        ]
    assert contents(tmp_path) == {
        "in/1/a.jpg": "1",
        "in/2/a.jpg": "2",
        "out/a.jpg": "1",
        "out/a (2).jpg": "2",
    }


def test_a_name_taken_after_the_plan_gets_a_number(tmp_path, elsewhere):
    a = write(tmp_path / "in/a.jpg", "a")
    plan = plan_transfers([a], tmp_path / "out", move=True)
    write(tmp_path / "out/a.jpg", "new")
    assert [t.target.name for t in make_transfers(plan, move=True)] == ["a (2).jpg"]
    assert contents(tmp_path) == {"out/a.jpg": "new", "out/a (2).jpg": "a"}


def test_links_are_not_moved_but_their_content_is_copied(tmp_path):
    a = write(tmp_path / "a.jpg", "a")
    link = tmp_path / "in/link.jpg"
    link.parent.mkdir()
    link.symlink_to("../a.jpg")
    (stayed,) = transfer([link], tmp_path / "out", move=True)
    assert stayed == Transfer(link, None, "it is a link; move the file that it leads to")
    assert link.read_text() == a.read_text() == "a"
    (copied,) = transfer([link], tmp_path / "out", move=False)
    assert copied.target.read_text() == "a"
    assert not copied.target.is_symlink()


@pytest.mark.parametrize("move", [True, False])
def test_a_file_that_fails_stays_and_the_rest_goes_on(tmp_path, elsewhere, move):
    a, b = write(tmp_path / "in/a.jpg", "a"), write(tmp_path / "in/b.jpg", "b")
    plan = plan_transfers([a, b], tmp_path / "out", move=move)
    a.unlink()
    gone, done = make_transfers(plan, move=move)
    assert (gone.target, gone.reason) == (None, "No such file or directory")
    assert done.target.read_text() == "b"
    assert contents(tmp_path / "out") == {"b.jpg": "b"}  # and no name that was reserved


def test_a_target_that_cannot_be_a_folder_is_a_mistake(tmp_path):
    a, file = write(tmp_path / "a.jpg", "a"), write(tmp_path / "file", "")
    with pytest.raises(UserError, match="file cannot be used as a folder"):
        plan_transfers([a], file, move=True)
    with pytest.raises(UserError, match=r"cannot be (made|used)"):
        transfer([a], file / "below", move=True)
    assert a.read_text() == "a"


@pytest.mark.parametrize("move", [True, False])
def test_a_folder_that_is_read_only_keeps_files_where_they_are(tmp_path, monkeypatch, move):
    a = write(tmp_path / "in/a.jpg", "a")
    (tmp_path / "out").mkdir()

    def refuse(self, *arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "touch", refuse)  # root may write wherever a file system lets it
    (stayed,) = transfer([a], tmp_path / "out", move=move)
    assert (stayed.target, stayed.reason) == (None, "Read-only file system")
    assert contents(tmp_path) == {"in/a.jpg": "a"}


def test_a_folder_that_cannot_be_put_on_the_disk_loses_nothing(tmp_path, monkeypatch):
    def refuse(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(transfers, "synchronize", refuse)
    source = write(tmp_path / "in/empty.jpg", "")
    (done,) = transfer([source], tmp_path / "out", move=True)
    assert done.target == tmp_path / "out/empty.jpg"
    assert done.target.exists()
    assert not source.exists()


def test_a_source_that_cannot_be_removed_is_not_left_in_two_places(tmp_path, monkeypatch):
    a = write(tmp_path / "in/a.jpg", "a")
    replace, unlink = Path.replace, Path.unlink

    def other_device(self, target):
        if self == a:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return replace(self, target)

    def refuse(self, missing_ok=False):
        if self == a:
            raise PermissionError(errno.EACCES, "Permission denied")
        return unlink(self, missing_ok)

    monkeypatch.setattr(Path, "replace", other_device)
    monkeypatch.setattr(Path, "unlink", refuse)
    (stayed,) = transfer([a], tmp_path / "out", move=True)
    assert (stayed.target, stayed.reason) == (None, "Permission denied")
    assert contents(tmp_path) == {"in/a.jpg": "a"}


class Killed(BaseException):
    pass


POINTS = ["touch", "replace", "unlink", "copy2", "synchronize"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", range(4))
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_any_point_loses_nothing_and_the_next_call_goes_on(
    tmp_path, elsewhere, monkeypatch, point, call, after
):
    """Ends the process, as far as files are concerned: nothing that would clean up changes them any more."""
    paths = [write(tmp_path / f"in/{name}.jpg", name) for name in "ab"]
    plan = plan_transfers(paths, tmp_path / "out", move=True)
    calls = 0
    with monkeypatch.context() as patched:
        owner = {"copy2": shutil, "synchronize": transfers}.get(point, Path)
        original = getattr(owner, point)

        def die(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == call + 1:
                if after:
                    original(*arguments, **options)
                patched.setattr(Path, "unlink", lambda *arguments, **options: None)
                raise Killed
            return original(*arguments, **options)

        patched.setattr(owner, point, die)
        try:
            for _ in make_transfers(plan, move=True):
                pass
        except Killed:
            pass
    there = [text for text in contents(tmp_path).values() if text]
    assert {*there} == {"a", "b"}
    rest = [path for path in paths if path.exists()]
    for transferred in transfer(rest, tmp_path / "out", move=True):
        assert transferred.target is None or transferred.target.read_text() in "ab"
    visible = [p.read_text() for p in (tmp_path / "out").glob("[!.]*") if p.stat().st_size]
    assert sorted(visible) == ["a", "b"]
