"""The user's cache, and the temporary directory in its place."""

import pytest

from blurjax.runtime.caches import user_cache


def test_the_cache_is_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert user_cache() == tmp_path / "x" / "blurjax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_cache() == tmp_path / ".cache" / "blurjax"


@pytest.mark.parametrize("place", ["file", "~nobody-of-this-name"])
def test_a_temporary_directory_takes_its_place_and_one_sentence_says_so(
    tmp_path, monkeypatch, caplog, place
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", place)
    monkeypatch.setenv("MPLCONFIGDIR", "")
    first, second = user_cache(), user_cache()
    assert first == second
    assert first.is_dir()
    assert first.stat().st_mode & 0o077 == 0  # programs in it are executed
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{place} cannot be written: decoded images and compiled")
