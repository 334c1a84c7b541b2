"""Settings of every kind are taken, or refused in one sentence."""

from typing import Any

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from blurjax.config import loading as config
from blurjax.runtime.errors import UserError

KEYS = [key for key, _ in config.fields()]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.integers(),
    st.floats(),
    st.sampled_from(
        ["none", "auto", "original", "reconstruction", "digits", "1e-3", "true", "", "4 8"]
    ),
    st.text(max_size=20),
    st.lists(
        st.one_of(st.integers(0, 64), st.floats(0, 1), st.sampled_from(["original", "blur", "x"])),
        max_size=4,
    ),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def load_or_refuse(preset: Any, overrides: dict[str, Any]) -> None:
    """Whatever is taken survives being written and read."""
    refusal, loaded = None, None
    try:
        loaded = config.load(preset, overrides)
    except UserError as error:
        refusal = str(error)
    if loaded is None:
        assert refusal
        assert "\n" not in refusal
        assert "pydantic" not in refusal
    else:
        assert config.Config.model_validate(yaml.safe_load(config.to_yaml(loaded))) == loaded


@settings(max_examples=1000, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5))
@example({"sweep.num_seeds": 10**30})
@example({"data.image_size": float("inf")})
def test_settings_of_the_command_line(overrides):
    load_or_refuse(None, overrides)


FILES = st.one_of(
    st.recursive(
        VALUES,
        lambda inner: st.dictionaries(st.sampled_from(["data", "sweep", "views", "x"]), inner),
    ),
    st.dictionaries(
        st.sampled_from(sorted({key.split(".")[0] for key in KEYS})),
        st.dictionaries(st.sampled_from([key.split(".")[1] for key in KEYS]), VALUES, max_size=4),
        max_size=3,
    ),
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(FILES)
def test_settings_of_a_file(tmp_path, content):
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(content))
    load_or_refuse(tmp_path / "settings.yaml", {})


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.one_of(
        st.binary(max_size=60), st.text("{}[]:-&*!|>'\"%@`,?# \n\tab", max_size=40).map(str.encode)
    )
)
@example(b"a: &a [*a]")
@example(b"!!python/object/apply:os.system ['true']")
@example(b"data: {source: !!python/name:os.system }")
def test_files_that_are_no_settings(tmp_path, content):
    (tmp_path / "settings.yaml").write_bytes(content)
    load_or_refuse(tmp_path / "settings.yaml", {})
