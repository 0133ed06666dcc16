"""From a model string to a client: what is refused before anything is asked, and where text may go."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_openai import ChatOpenAI

from agenther_live.errors import SettingsError, TerminalModelError, TransientModelError
from agenther_live.integrations.chat_model import chat_model
from agenther_live.relabel.models import ModelReply, ModelRequest
from agenther_live.replies import Replies, marker_key
from agenther_live.settings import Settings, load_settings
from tests.openai_server import OpenAIServer, Reply, refuse, say

REQUEST = ModelRequest(
    purpose="judge",
    messages=({"role": "system", "content": "Answer."}, {"role": "user", "content": "Well?"}),
    schema={"type": "object", "properties": {}, "required": [], "additionalProperties": False},
    schema_name="answer",
    temperature=0.0,
    prompt_version="1",
    key="00",
)


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.delenv(name, raising=False)


def settings(tmp_path: Path, **given: Any) -> Settings:
    return load_settings(home=tmp_path, **given)


def ask(model: Any) -> ModelReply:
    reply: ModelReply = asyncio.run(model.complete(REQUEST))
    return reply


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("gpt-4o-mini", "provider:name"),
        ("openai:", "provider:name"),
        ("", "provider:name"),
        ("rules", "'rules'"),
        ("openai:m,base_url", "no option"),
        ("openai:m,colour=red", "unknown option 'colour'; allowed: base_url"),
        ("openai:m,max_tokens=many", "many"),
        ("openai:m,temperature=warm", "warm"),
        ("openai:m,output=xml", "schema, object, plain"),
        ("openai:m,base_url=localhost", "no URL"),
        ("nobody:m", "nobody"),
        ({"model": "openai:m", "speed": 1}, "unknown option 'speed'"),
    ],
)
def test_model_strings_that_are_none(tmp_path: Path, spec: Any, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        chat_model(spec, settings=settings(tmp_path, pii="keep"))


def test_a_missing_key_names_its_variable(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="OPENAI_API_KEY"):
        chat_model("openai:gpt-4o-mini", settings=settings(tmp_path, pii="keep"))
    with pytest.raises(SettingsError, match="MY_KEY"):
        chat_model("openai:m,base_url=http://127.0.0.1:1/v1,api_key_env=MY_KEY", settings=settings(tmp_path))


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "http://10.0.0.5/v1",
        "http://localhost.example.com/v1",
        "http://127.0.0.1.nip.io/v1",
    ],
)
def test_text_leaves_the_machine_only_when_something_is_said_about_personal_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with pytest.raises(SettingsError, match="pii='redact' or pii='keep'"):
        chat_model(f"openai:m,base_url={url}", settings=settings(tmp_path))
    for pii in ("redact", "keep"):
        assert chat_model(f"openai:m,base_url={url}", settings=settings(tmp_path, pii=pii)).name == "openai:m"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/v1", "http://localhost/v1", "http://[::1]:8000/v1", "http://127.1.2.3/v1"]
)
def test_this_machine_needs_neither_key_nor_leave(tmp_path: Path, url: str) -> None:
    assert chat_model(f"openai:m,base_url={url}", settings=settings(tmp_path)).name == "openai:m"


def test_the_environment_decides_where_no_url_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://192.0.2.1/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with pytest.raises(SettingsError, match=r"192\.0\.2\.1"):
        chat_model("openai:m", settings=settings(tmp_path))


def test_allowed_hosts(tmp_path: Path) -> None:
    with OpenAIServer(["yes"]) as server:
        spec = f"openai:m,base_url={server.base_url}"
        with pytest.raises(SettingsError, match=r"may not go to 127\.0\.0\.1"):
            chat_model(spec, settings=settings(tmp_path, allowed_hosts=("models.example.com",)))
        model = chat_model(spec, settings=settings(tmp_path, allowed_hosts=("127.0.0.1",)))
        assert ask(model).text == "yes"


def test_options_reach_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sesame")
    with OpenAIServer(["a", "b"], api_key="sesame") as server:
        spec = {
            "model": "openai:m",
            "base_url": server.base_url,
            "api_key_env": "MY_KEY",
            "max_tokens": 77,
            "temperature": "none",
        }
        assert ask(chat_model(spec, settings=settings(tmp_path))).text == "a"
        (body,) = server.bodies
        assert "temperature" not in body
        assert 77 in (body.get("max_tokens"), body.get("max_completion_tokens"))
        assert body["response_format"]["json_schema"]["schema"] == REQUEST.schema
        text = f"openai:m,base_url={server.base_url},api_key_env=MY_KEY,temperature=1,output=plain"
        ask(chat_model(text, settings=settings(tmp_path)))
        assert server.bodies[1]["temperature"] == 1
        assert "response_format" not in server.bodies[1]
        assert "JSON schema" in server.bodies[1]["messages"][0]["content"]


def test_a_wrong_key_is_terminal_and_says_which_model(tmp_path: Path) -> None:
    with OpenAIServer(["never"], api_key="right") as server:
        model = chat_model(f"openai:m,base_url={server.base_url}", settings=settings(tmp_path))
        with pytest.raises(TerminalModelError, match=r"openai:m.*401"):
            ask(model)


def test_retry_after_as_number_milliseconds_and_date(tmp_path: Path) -> None:
    forms = [{"Retry-After": "7"}, {"retry-after-ms": "1500"}, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, {}]
    with OpenAIServer([Reply(status=429, message="slow down", headers=each) for each in forms]) as server:
        model = chat_model(f"openai:m,base_url={server.base_url}", settings=settings(tmp_path))
        waits = []
        for _ in forms:
            with pytest.raises(TransientModelError) as caught:
                ask(model)
            waits.append(caught.value.retry_after)
    assert waits == [7.0, 1.5, 0.0, None]


def test_any_langchain_object_will_do(tmp_path: Path) -> None:
    fake = FakeListChatModel(responses=["from a list"])
    with pytest.raises(SettingsError, match="unknown host"):
        chat_model(fake, settings=settings(tmp_path))
    reply = ask(chat_model(fake, settings=settings(tmp_path, pii="keep")))
    assert (reply.text, reply.cost_usd) == ("from a list", None)
    with OpenAIServer(["from a server"]) as server:
        given = ChatOpenAI(model="m", base_url=server.base_url, api_key="k", max_retries=0)  # type: ignore[arg-type]
        model = chat_model(given, settings=settings(tmp_path))
        assert ask(model).text == "from a server"
        assert server.bodies[0]["response_format"]["type"] == "json_schema"


def test_one_model_serves_one_event_loop_after_the_other(tmp_path: Path) -> None:
    with OpenAIServer(lambda request: "yes") as server:
        model = chat_model(f"openai:m,base_url={server.base_url}", settings=settings(tmp_path))
        assert [ask(model).text for _ in range(3)] == ["yes"] * 3
        assert server.connections == 3


def test_what_an_endpoint_answers_is_read_as_it_comes(tmp_path: Path) -> None:
    answers = [
        Reply(text="", message_extra={"refusal": "I would rather not."}),
        say("cut", finish_reason="length", usage=(7, 3)),
        say("never read", fault="malformed"),
        Reply(status=502, message="<html>bad gateway</html>"),
    ]
    with OpenAIServer(answers) as server:
        model = chat_model(f"openai:m,base_url={server.base_url}", settings=settings(tmp_path))
        assert ask(model).finish_reason == "refusal"
        cut = ask(model)
        assert (cut.text, cut.finish_reason, cut.prompt_tokens, cut.completion_tokens) == ("cut", "length", 7, 3)
        for _ in answers[2:]:
            with pytest.raises(TransientModelError, match="openai:m"):
                ask(model)
        assert server.bodies[0]["messages"] == list(REQUEST.messages)
        assert set(server.bodies[0]) == {"messages", "model", "temperature", "stream", "response_format"}


def test_prices(tmp_path: Path) -> None:
    with OpenAIServer([say("x", usage=(1_000_000, 0)), say("x", usage=(10, 10)), refuse(500)]) as server:
        known = chat_model(f"openai:gpt-4o-mini,base_url={server.base_url}", settings=settings(tmp_path))
        assert ask(known).cost_usd == pytest.approx(0.15)
        unknown = chat_model(f"openai:my-own-model,base_url={server.base_url}", settings=settings(tmp_path))
        reply = ask(unknown)
        assert (reply.cost_usd, reply.prompt_tokens) == (None, 10)


def test_the_marker_key_is_made_once_and_private(tmp_path: Path) -> None:
    first = marker_key(tmp_path / "home")
    assert len(first) == 32
    assert marker_key(tmp_path / "home") == first
    assert marker_key(tmp_path / "other") != first
    assert (tmp_path / "home" / "marker.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["marker.key"]


def test_old_replies_are_forgotten_only_when_confirmed(tmp_path: Path) -> None:
    replies = Replies(tmp_path, clock=lambda: 1_700_000_000.0)
    replies.keep("ab" * 32, REQUEST, "m", ModelReply("text", "stop", "m", 1, 1, 0.1))
    replies.close()
    late = datetime(2030, 1, 1)  # noqa: DTZ001
    again = Replies(tmp_path)
    assert again.forget_before(late) == 0
    again.confirm(again.rows())
    found = again.find("ab" * 32)
    assert found is not None
    assert found.stored
    assert again.forget_before(late) == 1
    assert again.find("ab" * 32) is None
