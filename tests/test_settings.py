"""Settings: what is refused and how it is named, and which source beats which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agenther_live import Live
from agenther_live.errors import SettingsError


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"theta": 2}, ("theta = 2", "less than or equal to 1")),
        ({"tetha": 0.5}, ("tetha = 0.5", "no such setting", "did you mean theta?")),
        ({"formats": ["trl_sft", "dpo"]}, ("formats.1 = 'dpo'", "'trl_sft'", "'goal_contrast'")),
        ({"pii": "mask"}, ("pii = 'mask'", "'redact' or 'keep'")),
        ({"batch": 0, "delta": -1}, ("batch = 0", "delta = -1")),
        ({"history_days": 1e6}, ("history_days = 1000000.0", "a hundred years")),
        ({"batch": 10**30}, ("batch = 1000", "at most")),
        ({"home": " "}, ("home = ' '", "it is empty")),
        ({"shards": "file:///tmp/x"}, ("shards = 'file:///tmp/x'", "a URL such as s3://bucket/path")),
        ({"shards": "s3://"}, ("shards = 's3://'", "names no bucket")),
        ({"shards": "s3:///path"}, ("names no bucket", "s3://bucket/path")),
    ],
)
def test_wrong_settings_are_named_with_value_and_what_is_allowed(
    tmp_path: Path, given: dict[str, Any], named: tuple[str, ...]
) -> None:
    with pytest.raises(SettingsError) as caught:
        Live(**{"home": tmp_path} | given)
    for part in named:
        assert part in str(caught.value)


def test_a_slip_in_a_variable_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AGENTHER_JUDGE", "rules")
    monkeypatch.setenv("AGENTHER_JUDGES_KEY", "a name of one's own")
    monkeypatch.setenv("AGENTHER_REDACT_KEY", "k" * 64)
    Live(tmp_path)
    told = "AGENTHER_JUDGE: there is no such setting, did you mean AGENTHER_JUDGES?"
    assert [record.getMessage() for record in caplog.records] == [told]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"relabeler": "gpt-4o"}, ("gpt-4o", "provider:name")),
        ({"relabeler": "openai:m,base=x"}, ("base", "base_url")),
        ({"relabeler": "rules"}, ("rules judge",)),
        ({"relabeler": "template", "judges": "template"}, ("does not judge",)),
        ({"relabeler": object()}, ("relabeler = <object",)),
        ({"relabeler": "openai:m", "pii": "redact"}, ("OPENAI_API_KEY",)),
        ({"relabeler": "openai:m,api_key_env=MY_KEY", "pii": "redact"}, ("MY_KEY",)),
        ({"relabeler": "openai:m"}, ("personal data", "pii='redact'")),
        ({"judges": "openai:m,base_url=http://far.example/v1", "pii": "keep", "allowed_hosts": "near.example"},
         ("far.example", "near.example")),
        ({"detector": "nobody"}, ("nobody", "provider:name")),
    ],
)  # fmt: skip
def test_wrong_models_are_refused_at_the_start(tmp_path: Path, given: dict[str, Any], named: tuple[str, ...]) -> None:
    with Live(tmp_path / "h", **given) as live, pytest.raises(SettingsError) as caught:
        live.start()
    for part in named:
        assert part in str(caught.value)


def test_lists_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON, one name, or names with commas between; the options of a model stay with it."""
    two = ("openai:x,base_url=http://127.0.0.1:1/v1,api_key_env=K", "rules")
    for text, judges in (
        ("rules", ("rules",)),
        ("rules, openai:y", ("rules", "openai:y")),
        (f"{two[0]},{two[1]}", two),
        (f'["{two[0]}", "{two[1]}"]', two),
    ):
        monkeypatch.setenv("AGENTHER_JUDGES", text)
        assert Live(tmp_path).settings.judges == judges
    monkeypatch.setenv("AGENTHER_FORMATS", "trl_sft,goal_contrast")
    assert Live(tmp_path).settings.formats == ("trl_sft", "goal_contrast")
    monkeypatch.setenv("AGENTHER_FORMATS", "")  # what is empty is not given
    assert Live(tmp_path).settings.formats == ("trl_sft", "sharegpt")
    monkeypatch.setenv("AGENTHER_JUDGES", '["rules"')
    with pytest.raises(SettingsError, match="judges"):
        Live(tmp_path)


def test_argument_beats_environment_beats_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "agenther.toml").write_text('theta = 0.1\ndelta = 0.1\nbatch = 1\njudges = "rules"\n')
    monkeypatch.setenv("AGENTHER_THETA", "0.2")
    monkeypatch.setenv("AGENTHER_DELTA", "0.2")
    settings = Live(tmp_path, theta=0.3).settings
    assert (settings.theta, settings.delta, settings.batch, settings.judges) == (0.3, 0.2, 1, ("rules",))
    assert Live(tmp_path, judges="openai:m").settings.judges == ("openai:m",)
    (tmp_path / "agenther.toml").write_text("theta = [")
    with pytest.raises(SettingsError, match=r"agenther\.toml cannot be read"):
        Live(tmp_path)
    (tmp_path / "agenther.toml").write_bytes(b"\xef\xbb\xbftheta = 0.1\n")
    with pytest.raises(SettingsError, match="byte-order mark"):
        Live(tmp_path)
    (tmp_path / "agenther.toml").write_text('home = "elsewhere"')
    with pytest.raises(SettingsError, match="home says where this file lies"):
        Live(tmp_path)
