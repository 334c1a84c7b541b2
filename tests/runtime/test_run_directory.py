"""The run directory: files whole or not at all, one writer, other settings refused."""

import json
import logging
import os
import re
import shutil
import stat
import zipfile

import numpy as np
import pytest

from blurjax.runtime.errors import UserError
from blurjax.runtime.files import (
    jsonable,
    read_json,
    read_npz,
    readable_os_errors,
    temporary_beside,
    write_atomically,
    write_bytes,
    write_json,
    write_npz,
)
from blurjax.runtime.run_directory import FORMAT, RunDirectory


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.create()
    return run


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(file):
        file.write(b"half of the ne")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_equal_arrays_give_equal_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        write_npz(tmp_path / name, x=np.arange(5), name=np.array(["é", "<b>"]))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}  # not today
    assert read_npz(tmp_path / "a.npz")["name"].tolist() == ["é", "<b>"]


def test_pickles_are_neither_written_nor_read(tmp_path):
    with pytest.raises(ValueError, match="allow_pickle"):
        write_npz(tmp_path / "x.npz", x=np.array([{}], dtype=object))
    np.savez(tmp_path / "evil.npz", x=np.array([{}], dtype=object))
    with pytest.raises(UserError, match=r"evil\.npz is damaged"):
        read_npz(tmp_path / "evil.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"not a zip"])
def test_damaged_arrays_are_named(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.npz is damaged"):
        read_npz(tmp_path / "x.npz")


def test_a_changed_byte_of_an_array_is_found_or_does_not_matter(tmp_path):
    path, array = tmp_path / "x.npz", np.arange(30, dtype=np.uint8)
    write_npz(path, x=array)
    whole = path.read_bytes()
    found = 0
    for position in range(len(whole)):
        for bit in (1, 8, 32, 128):
            damaged = bytearray(whole)
            damaged[position] ^= bit
            path.write_bytes(damaged)
            try:
                read = read_npz(path)
            except UserError:
                found += 1
            else:
                for values in read.values():
                    np.testing.assert_array_equal(values, array)
    assert found > 2 * len(whole)


def test_file_systems_that_cannot_synchronize_directories(tmp_path, monkeypatch):
    synchronize = os.fsync

    def refuse(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        synchronize(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    write_json(tmp_path / "x.json", {"a": 1})
    assert read_json(tmp_path / "x.json") == {"a": 1}


def test_json_holds_no_nan(tmp_path):
    write_json(
        tmp_path / "x.json",
        {"a": np.float32("nan"), "b": np.array([1.5, np.inf]), "c": (1, np.int64(2))},
    )
    assert read_json(tmp_path / "x.json") == {"a": None, "b": [1.5, None], "c": [1, 2]}
    assert jsonable({1: np.bool_(True)}) == {"1": True}


def test_a_directory_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(
        UserError, match=r"not empty and not a run of blurjax \(it holds thesis\.tex\)"
    ):
        RunDirectory(tmp_path).create()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_another_format_is_refused(run):
    write_json(run.format, {"format": 99})
    with pytest.raises(
        UserError, match=f"written in format 99, this version of blurjax reads format {FORMAT}"
    ):
        run.create()


def test_the_home_directory_may_be_written_as_in_a_shell(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunDirectory("~/run").path == tmp_path / "run"
    with pytest.raises(UserError, match="'~nobody-here/run' cannot be found"):
        RunDirectory("~nobody-here/run")


def test_a_path_that_cannot_be_is_a_sentence(monkeypatch):
    with pytest.raises(UserError, match="File name too long"):
        RunDirectory("x" * 300).check_format()

    def refuse(self, **options):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.stat", refuse)  # root may enter every folder
    with pytest.raises(UserError, match=r"^run/format\.json cannot be read or written"):
        RunDirectory("run").check_format()


def test_a_directory_that_leads_elsewhere_is_refused(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (run.figures).symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="figures is a link"):
        run.create()


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match=r"/run: File exists\."):
        RunDirectory(tmp_path / "run").create()


def test_a_line_cut_off_by_a_crash_is_dropped_and_the_rest_kept_by_choice(run):
    for step in (1, 2, 3):
        run.append_metrics({"job": "a", "step": step, "loss": np.float32(0.5)})
    with (run.metrics_file).open("a") as file:
        file.write('{"job": "a", "st')
    assert [line["step"] for line in run.metrics()] == [1, 2, 3]
    run.keep_metrics(lambda line: line["step"] <= 2)
    run.append_metrics({"job": "a", "step": 3})
    assert [line["step"] for line in run.metrics()] == [1, 2, 3]
    assert all(json.loads(line) for line in (run.metrics_file).read_text().splitlines())


def test_damaged_metrics_are_named(run):
    run.append_metrics({"step": 1})
    (run.metrics_file).write_bytes(b'{"step\xff": 1}\n{"step": 2}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged"):
        run.metrics()


def test_what_is_logged_under_the_lock_is_kept(run):
    logger = logging.getLogger("blurjax")
    logger.warning("before")
    with run.lock():
        logger.warning("meanwhile")
    logger.warning("after")
    (line,) = (run.path / "run.log").read_text().splitlines()
    assert line.endswith("WARNING meanwhile")


def test_a_directory_that_is_deleted_is_not_written_to(run):
    with run.lock():
        shutil.rmtree(run.path)
        with pytest.raises(UserError, match="was the run directory deleted"):
            run.append_metrics({"step": 1})
    assert not run.path.exists()


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (28, "The disk is full"),
        (13, "cannot be read or written"),
        (30, "cannot be written"),
        (2, "disappeared"),
    ],
)
def test_errors_of_the_disk_are_sentences(tmp_path, number, says):
    with pytest.raises(UserError, match=says), readable_os_errors(tmp_path):
        raise OSError(number, os.strerror(number), str(tmp_path / "x"))


def test_errors_of_other_places_are_not_called_the_run_directorys(tmp_path):
    """Such as of a user's function, whose file has not disappeared from the run directory."""
    (tmp_path / "run").mkdir()
    with pytest.raises(FileNotFoundError), readable_os_errors(tmp_path / "run"):
        (tmp_path / "labels.csv").open()
    with pytest.raises(ConnectionRefusedError), readable_os_errors(tmp_path / "run"):
        raise ConnectionRefusedError(111, "Connection refused")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Not a directory"):
        RunDirectory(tmp_path / "file/new/run").create()


def test_a_folder_that_cannot_be_written_is_named_and_not_a_temporary_file(run, monkeypatch):
    def refuse(self, mode):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(run.path), "open", refuse)  # root may write everywhere
    with pytest.raises(UserError, match=rf"^{run.path} cannot be"), readable_os_errors(run.path):
        run.write_json(run.seconds, {})


def test_a_long_name_can_be_written(tmp_path):
    path = tmp_path / ("é" * 127)  # 254 of 255 bytes
    write_bytes(path, b"content")
    assert path.read_bytes() == b"content"
    assert [*tmp_path.iterdir()] == [path]


def test_what_a_killed_process_left_of_its_first_file_is_no_hindrance(tmp_path):
    temporary_beside(tmp_path / "format.json").write_text("{")
    RunDirectory(tmp_path).create()


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    says = rf"^{re.escape(str(tmp_path))}: Is a directory\.$"
    with pytest.raises(UserError, match=says), readable_os_errors(tmp_path):
        write_bytes(tmp_path, b"content")
