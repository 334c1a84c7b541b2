"""The cache of decoded images: whole or absent, checked when opened, built once."""

import errno
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from blurjax.data import cache
from blurjax.runtime.errors import UserError


def build(directory):
    (directory / "content").write_bytes(b"value")


def refuse(directory):
    raise AssertionError("built again")


def test_an_entry_is_built_once(tmp_path):
    first = cache.entry(tmp_path, "name", build)
    assert cache.entry(tmp_path, "name", refuse) == first
    assert (first / "content").read_bytes() == b"value"


def test_two_at_once_build_it_once(tmp_path):
    built = []

    def slowly(directory):
        built.append(directory)
        time.sleep(0.2)
        build(directory)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: cache.entry(tmp_path, "name", slowly), range(2))
    assert first == second
    assert len(built) == 1


@pytest.mark.parametrize("file", ["content", cache.CHECKSUMS])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_entry_is_built_again_with_a_warning(tmp_path, caplog, file, damage):
    path = cache.entry(tmp_path, "name", build) / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    {
        "flip": lambda: path.write_bytes(content),
        "cut": lambda: path.write_bytes(content[:-3]),
        "remove": path.unlink,
    }[damage]()
    with caplog.at_level(logging.WARNING, "blurjax"):
        again = cache.entry(tmp_path, "name", build)
    assert "is damaged and is made again" in caplog.text
    assert (again / "content").read_bytes() == b"value"
    assert cache.entry(tmp_path, "name", refuse) == again


def test_a_build_that_fails_leaves_nothing_behind(tmp_path):
    def fail(directory):
        build(directory)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.entry(tmp_path, "name", fail)
    assert [path.name for path in tmp_path.iterdir()] == [".name.lock"]


def test_what_a_killed_build_left_is_removed(tmp_path):
    abandoned = tmp_path / ".name.abc.tmp"
    abandoned.mkdir()
    build(abandoned)
    cache.entry(tmp_path, "name", build)
    assert not abandoned.exists()


def test_processes_that_cannot_lock_do_not_undo_each_others_work(tmp_path, monkeypatch):
    """As on some network file systems: the second builds what the first is still building."""

    def refuse(file, how):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    def slowly(directory):
        cache.entry(tmp_path, "name", build)
        build(directory)

    monkeypatch.setattr(cache.fcntl, "flock", refuse)
    path = cache.entry(tmp_path, "name", slowly)
    assert (path / "content").read_bytes() == b"value"
    assert cache.entry(tmp_path, "name", refuse) == path
    assert sorted(file.name for file in tmp_path.iterdir()) == [".name.lock", "name"]


def test_an_entry_is_as_readable_as_other_files(tmp_path):
    """The users of a group may share a cache."""
    (tmp_path / "other").mkdir()
    path = cache.entry(tmp_path, "name", build)
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_full_disk_is_said_in_one_sentence(tmp_path):
    def fill(directory):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UserError, match=r"cannot be cached in .* \(No space left.*data.cache_dir"):
        cache.entry(tmp_path, "name", fill)


def test_a_cache_that_is_no_directory_is_said_in_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be cached in .*/file"):
        cache.entry(tmp_path / "file", "name", build)


def test_keys_differ_with_every_setting():
    assert cache.key(a=1, b=2) == cache.key(b=2, a=1)
    assert len({cache.key(a=1), cache.key(a=2), cache.key(b=1), cache.key(a=[1])}) == 4


def test_the_default_directory_follows_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.directory(None) == tmp_path / "blurjax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.directory(None) == tmp_path / ".cache" / "blurjax"


def test_errors_of_the_source_are_not_called_the_caches(tmp_path):
    with pytest.raises(FileNotFoundError):
        cache.entry(tmp_path / "cache", "name", lambda directory: (tmp_path / "a.jpg").open())
