from __future__ import annotations

import dataclasses
import errno
import hashlib
import hmac
import json
import os
import stat
import time
import uuid
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenther_live.errors import HomeError
from agenther_live.integrations.clipping import Clip
from agenther_live.journal import decode_line, encode_line
from agenther_live.redact import PLACEHOLDER, Redactor, load_key
from tests import forking

KEY = b"0123456789abcdef0123456789abcdef"

# Made up, in the vendors' forms; assembled so that no scanner of this repository takes them for real.
PEM = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEowIBAAKCAQEA7\nbq3/x+Z=\n-----END RSA PRIVATE KEY-----"
SECRETS = {
    "openai": "sk-" + "proj-Ab3dEf6hIj9kLmN0pQrStUvWx",
    "openai_old": "sk-" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4",
    "anthropic": "sk-" + "ant-api03-x_Y-9zAbCdEfGhIjKlMnOpQrStUv",
    "aws": "AKIA" + "QWERTYUIOP123456",
    "github": "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "github_fine": "github_pat_" + "11ABCDEFG0aBcDeFgHiJkL_mNoPqRsTuVwXyZ0123",
    "slack": "xoxb-" + "123456789012-123456789012-aBcDeFgHiJkLmNoPqRsTuVwX",
    "google": "AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q",
    "stripe": "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "huggingface": "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ01234567",
    "gitlab": "glpat-" + "aB3dE6gH9jK2mN5pQ8sT",
    "jwt": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9." + "eyJzdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
    "pem": PEM,
}
PERSONAL = {
    "email": "ada.lovelace+x@mail.example.co.uk",
    "phone": "+1 415-555-2671",
    "card": "4539 1488 0343 6467",
    "iban": "GB82 WEST 1234 5698 7654 32",
    "ip": "203.0.113.77",
}
CLEAN = [
    "order #W2378156 has item 4839462194 and 9270970345, total $1,234.56 or €99,00",
    "2024-05-14T10:20:30.123456Z until 14.05.2024 10:20, week 2024-W20, 1715682030, 1715682030123",
    str(uuid.UUID("12345678-9012-3456-7890-123456789012")),
    "019c1f6e-8a3b-7cc1-9d2e-4f5a6b7c8d9e",
    "SKU-12345678-90 / 4006381333931 / ISBN 978-3-16-148410-0 / tracking 1Z999AA10123456784",
    "max_tokens=4096, tokens: 12345678, token_count=12345678, next_page_token: abc12345",
    "The password is required. Password: must contain eight characters. Forgot password: click here",
    "key=value; monkey: banana123; primary_key=id12345678; keyboard: qwerty123",
    "authorization: the user has approved it",
    "version 1.2.3, v1.2.3.4, Chrome/120.0.0.0, 127.0.0.1, 0.0.0.0, ::1, std::vector<int>, 12:30:45",
    "sk-learn and risk-based task-oriented disk-usage-of-the-whole-machine",
    "sha1 da39a3ee5e6b4b0d3255bfef95601890afd80709 in commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
    "http://host:8080/a@b and git@v2 @tool a @ b",
    '{"type": "object", "properties": {"password": {"type": "string"}, "token": {"type": "string"}}}',
    "0.4539148803436467 and 4539148803436468 and 1234567890123456",
    "call_4539148803436467x, id-4539148803436467, #4539148803436467",
    "-5551234567 + 12 = 3, 100.200.3000, 555-1234, 12 (415) apples",
]


@pytest.fixture
def full() -> Redactor:
    return Redactor("redact", KEY)


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    "around", ["{}", "my key is {} ok", "'{}'", "x={}", '{{"a": "{}"}}', "(see {}).", r"\n{}\n", "a\n{}\nb"]
)
def test_secrets_go_wherever_they_stand(name: str, around: str) -> None:
    secret = SECRETS[name]
    if around == '{{"a": "{}"}}':
        secret = json.dumps(secret)[1:-1]
    text = Redactor(None, KEY).text(around.format(secret))
    assert secret not in text
    assert secret[8:-4] not in text
    assert len(PLACEHOLDER.findall(text)) == 1
    assert PLACEHOLDER.sub("{}", text).count("{}") == 1
    if around.startswith("{{"):
        assert PLACEHOLDER.fullmatch(json.loads(text)["a"])


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("postgresql://bob:s3cr3t!@db.internal:5432/app", "postgresql://bob:{}@db.internal:5432/app"),
        ("redis://:p@ssw0rd@cache:6379/0", "redis://:{}@cache:6379/0"),
        ("amqp://bob:pass/w0rd@mq/vhost", "amqp://bob:{}@mq/vhost"),
        ("Authorization: Bearer abc.def-123456", "Authorization: Bearer {}"),
        ("authorization: Basic dXNlcjpwYXNzd29yZA==", "authorization: Basic {}"),
        ("curl -H 'Authorization: token abcdef0123' x", "curl -H 'Authorization: token {}' x"),
        ("{'Authorization': 'Bearer abcdef0123456'}", "{'Authorization': 'Bearer {}'}"),
        ("with bearer a1b2c3d4e5f6g7h8", "with bearer {}"),
        ("Cookie: session=abc123; theme=dark", "Cookie: {}"),
        ("password=hunter2", "password={}"),
        ("PGPASSWORD=hunter2 psql", "PGPASSWORD={} psql"),
        ("Server=db;User=sa;Password=Hunter-2;Encrypt=yes", "Server=db;User=sa;Password={};Encrypt=yes"),
        ("--password 'x' --db-password=abcdef", "--password 'x' --db-password={}"),
        ("api_key: 9f8e7d6c5b4a", "api_key: {}"),
        ("X-Api-Key: 9f8e7d6c5b4a", "X-Api-Key: {}"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKa", "aws_secret_access_key = {}"),
        ("https://x.io/cb?access_token=abc12345678&state=1", "https://x.io/cb?access_token={}&state=1"),
        ("https://b.blob/x?sv=2020&sig=AbC%2Bdef0123456789", "https://b.blob/x?sv=2020&sig={}"),
        ("Your password is hunter22.", "Your password is {}."),
        ('{"user": "bob", "password": "correct horse"}', '{"user": "bob", "password": "{}"}'),
        (r"{\"password\": \"hunter2\"", r"{\"password\": \"{}\""),
        ("passwd: 'only letters'", "passwd: '{}'"),
    ],
)
def test_what_a_name_makes_secret(text: str, kept: str) -> None:
    redactor = Redactor(None, KEY)
    new = redactor.text(text)
    assert PLACEHOLDER.sub("{}", new) == kept
    assert redactor.text(new) == new


@pytest.mark.parametrize("name", PERSONAL)
@pytest.mark.parametrize("around", ["{}", "mail {} now", "'{}',", "<{}>", r"\n{}\n", "x: {}"])
def test_personal_data_goes_if_asked(full: Redactor, name: str, around: str) -> None:
    text = around.format(PERSONAL[name])
    new = full.text(text)
    assert PLACEHOLDER.sub("{}", new) == around
    assert new.startswith(around.partition("{}")[0] + f"[PII:{name}:")
    assert Redactor("keep", KEY).text(text) is text
    assert Redactor(None, KEY).text(text) is text


@pytest.mark.parametrize(
    "text",
    [
        "(415) 555-2671", "415.555.2671", "+49 30 1234567", "+4915112345678", "phone: 030 1234567",
        "İzmir, phone: 030 1234567",
        "Tel. no. 030/1234567", '{"mobile": "0301234567"}', "378282246310005", "5555555555554444",
        "DE89370400440532013000", "BE68 5390 0754 7034", "2001:db8::ff00:42:8329", "fe80:0:0:0:202:b3ff:fe1e:8329",
        "bob%40example.com",
        "müller@bücher.example", "MT84 MALT 0110 0001 2345 MTLC AST0 01S",
    ],
)  # fmt: skip
def test_more_forms_of_personal_data(full: Redactor, text: str) -> None:
    new = full.text(f"see {text} there")
    assert len(PLACEHOLDER.findall(new)) == 1
    assert text not in new


@pytest.mark.parametrize("text", CLEAN)
def test_what_is_neither_stays_as_it_is(full: Redactor, text: str) -> None:
    assert full.text(text) is text
    assert full.value({"result": text, "n": [1, 2.5, None, True, 1715682030123]})["result"] is text


def test_numbers_survive(full: Redactor) -> None:
    record = {"order_id": 4839462194, "ns": 1795358309123456789, "price": 1234.56, "big": 1 << 100, "flag": True}
    assert full.value(record) is record
    assert full.value({"card": 4539148803436467})["card"].startswith("[PII:card:")


def test_fields_named_as_secrets(full: Redactor) -> None:
    record = {
        "password": "abc",
        "apiKey": "k",
        "API-Key": "short1",
        "db_password": "only letters here",
        "Authorization": "Bearer x",
        "token": "opaque",
        "secret": {"value": "kept, since only its name is not enough", "password": 1234},
        "credentials": ["one-thing", "another"],
        "phone": "030 1234567",
        "access_token": b"bytes",
        "X-Amz-Security-Token": "opaque-too",
    }
    new = full.value(record)
    assert new["apiKey"] == "k"  # too short to be one
    assert new["secret"]["value"] == record["secret"]["value"]  # type: ignore[index]
    for value in (new["password"], new["API-Key"], new["db_password"], new["token"], new["X-Amz-Security-Token"]):
        assert PLACEHOLDER.fullmatch(value)
    assert PLACEHOLDER.fullmatch(new["secret"]["password"])
    assert PLACEHOLDER.fullmatch(new["Authorization"])
    assert all(PLACEHOLDER.fullmatch(item) for item in new["credentials"])
    assert new["phone"].startswith("[PII:phone:")
    assert PLACEHOLDER.fullmatch(new["access_token"])
    assert full.value(new) == new
    harmless = {
        "password": "***",
        "token": "<your token>",
        "secret": True,
        "tokens": 12,
        "token_count": 9,
        "key": "abc",
    }
    assert full.value(harmless) is harmless
    names = (
        "monkey",
        "primary_key",
        "next_page_token",
        "pageToken",
        "token_count",
        "passage",
        "compass",
        "keyword",
        "tokens",
    )
    plain = dict.fromkeys(names, "value-123456")
    assert full.value(plain) is plain


def test_the_same_object_comes_back_where_nothing_was_found(full: Redactor) -> None:
    record = {"a": ["text", {"b": ["more text here", 1]}], "c": '{"json": [1, 2]}', "d": "x" * 5000}
    assert full.value(record) is record
    dirty = {"a": record["a"], "m": "bob@example.com"}
    new = full.value(dirty)
    assert new["a"] is record["a"]
    assert dirty["m"] == "bob@example.com"


def test_keys_of_objects_are_redacted_too(full: Redactor) -> None:
    new = full.value({"bob@example.com": 1, "b": {"ada@example.com": {}}})
    assert "example.com" not in json.dumps(new)
    assert next(iter(new)).startswith("[PII:email:")


def test_json_in_strings_stays_json_with_every_number_as_it_was(full: Redactor) -> None:
    inner = json.dumps({"password": 'pä"ss\\wörd', "n": 12345678901234567890123, "f": 1.10, "token": ["abcdef"]})
    outer = json.dumps({"arguments": inner, "list": [inner]}, ensure_ascii=True)
    new = json.loads(full.value({"args": outer})["args"])
    held = json.loads(new["arguments"])
    assert new["list"] == [new["arguments"]]
    assert PLACEHOLDER.fullmatch(held["password"])
    assert PLACEHOLDER.fullmatch(held["token"][0])
    assert held["n"] == 12345678901234567890123
    assert held["f"] == 1.1


def test_json_stays_json_where_its_text_alone_looks_guilty(full: Redactor) -> None:
    text = '{"note": "the password is", "x": "abc12345", "y": "phone", "z": "4155552671"}'
    assert json.loads(full.text(text)) == json.loads(text)
    twice = '{"password": "hunter22", "password": "<your password>"}'
    assert "hunter22" not in full.text(twice)


def test_escapes_of_json_hide_nothing(full: Redactor) -> None:
    for hidden in (
        r'{"m": "bob\u0040example.com"}',
        r'{"u": "postgres:\/\/bob:hunter22@db\/x"}',
        json.dumps({"k": PEM}),
        r'{"p": "\u002b14155552671"}',
        r'["\u0073\u006b-proj-Ab3dEf6hIj9kLmN0pQrStUvWx"]',
    ):
        new = full.text(hidden)
        assert PLACEHOLDER.search(new), hidden
        assert json.loads(new)


def test_one_value_has_one_placeholder_under_one_key(full: Redactor) -> None:
    first, again = full.text("a bob@example.com"), Redactor("redact", KEY).value(["bob@example.com"])[0]
    assert first == f"a {again}"
    assert Redactor("redact", b"another key, just as long").text("a bob@example.com") != first
    digest = hmac.new(KEY, b"bob@example.com", "sha256").hexdigest()[:12]
    assert again == f"[PII:email:{digest}]"


@dataclasses.dataclass
class Foreign:
    login: str
    password: str


def test_foreign_objects_are_what_the_journal_would_store(full: Redactor) -> None:
    class Rude:
        def __str__(self) -> str:
            return "rude ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"

    record = {"a": Foreign("bob", "hunter2"), "b": Rude(), "c": b"mail bob@example.com", "d": {("x@example.com", 1)}}
    new = full.value(record)
    line = decode_line(encode_line(new)[:-1])
    assert line == new
    text = json.dumps(new)
    for secret in ("hunter2", "ghp_", "example.com"):
        assert secret not in text
    assert new["a"]["login"] == "bob"


def test_values_that_contain_themselves_or_are_very_deep(full: Redactor) -> None:
    circle: list[Any] = ["bob@example.com"]
    circle += [circle, circle]
    assert "bob" not in json.dumps(full.value({"c": circle}))
    deep: Any = "bob@example.com"
    for _ in range(300):
        deep = [deep]
    assert "bob" not in json.dumps(full.value(deep))


def test_a_users_hook_runs_and_fails_closed() -> None:
    counted: Counter[str] = Counter()

    def hook(text: str) -> Any:
        if "crash" in text:
            raise RuntimeError("no")
        return 7 if "number" in text else text.replace("ACME", "[client] bob@example.com")

    redactor = Redactor("redact", KEY, hook, count=lambda name, n: counted.update({name: n}))
    assert redactor.text("for ACME") == redactor.text("for [client] bob@example.com")
    for bad in ("crash with a secret", "number of things"):
        new = redactor.value({"x": bad})["x"]
        assert PLACEHOLDER.fullmatch(new)
    assert counted == {"redact_errors": 2}
    assert redactor.errors == 2
    assert redactor.text("fine as it is") == "fine as it is"


pieces = (
    "password=", "password: ", '"', "'", "\\n", "\n", " ", "{", "}", "[", ":", "token", "Authorization: Bearer ", "\\",
    "https://a:", "@x.de", "is", "api_key", "+49", "phone ", "%40", "=", "sig=",
)  # fmt: skip
words = st.sampled_from([*SECRETS.values(), *PERSONAL.values(), *CLEAN, *pieces])


@settings(max_examples=300, deadline=None)
@given(st.lists(words | st.text(max_size=5), max_size=8).map("".join))
def test_redaction_is_idempotent_and_lets_no_planted_secret_through(text: str) -> None:
    redactor = Redactor("redact", KEY)
    new = redactor.text(text)
    assert redactor.text(new) == new
    assert redactor.errors == 0
    if new != text:
        assert PLACEHOLDER.search(new)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6) | words, inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(json_values)
def test_any_json_value_keeps_its_shape_and_is_redacted_once(value: Any) -> None:
    redactor = Redactor("redact", KEY)
    new = redactor.value(value)
    assert redactor.value(new) == new
    text = json.dumps(new)
    for secret in ("AKIAQWERTY", "a1B2c3D4e5F6g7H8", "MIIEowIBAAKCAQEA7"):
        assert secret not in text
    if isinstance(value, dict):
        assert len(new) <= len(value)
    elif isinstance(value, list):
        assert len(new) == len(value)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 65_536, "a@" * 32_768, "a." * 32_768 + "@", "@" * 65_536, "://" * 20_000, "1" * 65_536, "1 " * 32_768,
        "+1" * 32_768, "password" * 8_192, "password=" * 7_000, "key:" * 16_384, "api_key: " * 7_000, "eyJ" * 20_000,
        "eyJ-" * 16_384,
        "eyJ." * 16_384, "-----BEGIN PRIVATE KEY-----" * 2_000, "1." * 32_768, "::" * 32_768, "a:" * 32_768,
        '"' * 65_536, "{" * 65_536, "[" * 65_536, "\\" * 65_536, " " * 65_536, "sk-" * 20_000, "_" * 65_536,
        "GB82 " * 13_000, "authorization: " * 4_000, "authorization:" * 4_000, "cookie: a=" * 6_000, "phone " * 10_000,
        "%40" * 20_000, "token is " * 7_000, "é" * 65_536, "[SECRET:" * 8_000, "ghp_" * 16_000, "bearer " * 9_000,
        "https://" + "a" * 60_000 + ":x@", "password='" * 6_000, 'password="' + "a b " * 16_000,
        ('password="' + "a b " * 130) * 120, ("password='" + "a b " * 130 + "\n") * 120, 'password=\\"' * 5_500,
        "aws " + "Aa1/" * 16_000 + " secret:",
        "[SECRET:key:0123456789ab]" * 2_500 + "password=", "a@b.co " * 9_000,
    ],
)  # fmt: skip
def test_no_text_takes_long(full: Redactor, text: str) -> None:
    started = time.process_time()
    full.text(text)
    full.value({"x": text})
    assert time.process_time() - started < 1.5


@pytest.mark.parametrize("length", [30, 499, 500, 501, 3_000, 70_000])
@pytest.mark.parametrize("around", ["password = '{}' #", 'the passphrase is "{}".', 'x {{"password": "{}", "a": 1}}'])
def test_a_quoted_password_with_blanks_goes_however_long_it_is(around: str, length: int) -> None:
    found = Redactor(None, KEY).text(around.format(("correct horse 7 " * 5_000)[:length]))
    assert PLACEHOLDER.sub("{}", found) == around.format("{}").replace("{{", "{").replace("}}", "}")


def test_a_quote_inside_of_a_quoted_password_does_not_end_it() -> None:
    redactor = Redactor(None, KEY)
    for text in (
        r'password="ab\"cd ef" user="x"',
        r'password="C:\temp\\" user="x"',
        'password="it\'s %s" user="x"' % ("a b " * 200),
    ):
        assert PLACEHOLDER.sub("{}", redactor.text(text)) == 'password="{}" user="x"'


def test_a_cut_leaves_no_part_of_a_secret(full: Redactor) -> None:
    before, behind = "aws keys: " + "some words, " * 20, " and more words" * 20
    far = "aws keys: " + "some words, " * 1_000
    told = {
        **{secret: (before, "") for secret in (*SECRETS.values(), *PERSONAL.values())},
        'password = "three words 22"': (before, 'password = "'),
        "Cookie: id=a1b2c3d4e5; theme=dark": (before, "Cookie: "),
        "wJalrXUtnFEMI" + "K7MDENGbPxRfiCYEXAMPLEKEY1a": (far, ""),
    }
    for secret, (before, name) in told.items():
        text, at = before + secret + behind, len(before) + len(name)
        assert secret not in full.text(text)
        for limit in range(at + 1, len(before) + len(secret), 1 if before is far else 3):
            kept, _, cut = Clip(limit, full)(text).rpartition("… [cut: ")
            assert text.startswith(kept)
            assert at - len(secret) <= len(kept) <= at, (secret, limit)
            assert cut == f"{len(text)} characters]"
    assert Clip(len(text), full)(text) is text
    rows = json.dumps([{"password": "hunter22 33"}, *range(999)], separators=(",", ":"))
    kept = Clip(1000, full)(rows)
    assert kept.startswith(rows[:1000])  # what is cut is no JSON any more
    assert "hunter" not in full.text(kept)


def test_a_cut_leaves_no_part_of_a_secret_that_is_longer_than_what_is_looked_at(full: Redactor) -> None:
    noise = hashlib.shake_256(b"noise").hexdigest(10_000)
    lines = "\n".join(noise[i : i + 64] for i in range(0, 12_000, 64))
    pem = PEM.replace("MIIEowIBAAKCAQEA7", lines)
    nested = json.dumps({"credentials": json.dumps({"type": "service_account", "private_key": noise})})
    deeper = json.dumps(json.dumps({"a": json.dumps({"access_token": noise})}))
    told = {
        f"eyJ0{noise[:40]}.eyJ0{noise}.{noise[:40]}": 20,
        f"eyJ0{noise}.eyJ0{noise[:90]}.{noise[:40]}": 20,
        f"eyJ0{noise[:90]}..{noise[:16]}.{noise}.{noise[:22]}": 20,
        pem: 40,
        json.dumps(pem)[1:-1]: 40,
        "sk-" + f"proj-{noise}": 40,
        f"Authorization: Bearer {noise}": 40,
        f"Authorization: Basic {noise}": 40,
        f"password={noise}": 20,
        f'api_key: "{noise}"': 20,
        json.dumps({"a": 1, "client_secret": noise}): 40,
        repr({"it's": "so", "password": noise}): 40,
        nested: 90,
        deeper: 90,
    }
    for secret, least in told.items():
        for before in ("", "some words, " * 900):
            text = before + secret + ", and more" * 2_000
            assert noise[:24] not in full.text(text)
            for at in (least, 100, 600, 8_191, 8_300, 16_500, 19_000):
                if at < len(secret) - 1:
                    kept = full.text(Clip(len(before) + at, full)(text))
                    assert kept.endswith(f"… [cut: {len(text)} characters]")
                    left = kept[len(before) : kept.index("… [cut: ")]
                    assert not any(noise[i : i + 12] in left for i in range(0, 19_000, 6)), (secret[:60], at)
    plain = json.dumps({"password": "hunter22", "note": "it's " + "plain words, " * 2_000})
    assert len(Clip(9_000, full)(plain).partition("… [cut: ")[0]) == 9_000  # in the value of a field that hides nothing


def test_the_key_lies_in_the_home_or_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    key = load_key(home, {})
    assert len(key) >= 32
    assert load_key(home, {}) == key
    path = home / "redact.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert os.listdir(home) == ["redact.key"]

    def refused(*_: object) -> None:  # as exFAT does, which has no hard links
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as exfat:
        exfat.setattr(os, "link", refused)
        other = load_key(tmp_path / "other", {})
        assert other == load_key(tmp_path / "other", {}) == (tmp_path / "other" / "redact.key").read_bytes()
    assert stat.S_IMODE((tmp_path / "other" / "redact.key").stat().st_mode) == 0o600
    assert not list((tmp_path / "other").glob(".*"))
    assert load_key(home, {"AGENTHER_REDACT_KEY": "a fleet's own key"}) == b"a fleet's own key"
    with pytest.raises(HomeError, match="too short"):
        load_key(home, {"AGENTHER_REDACT_KEY": "short"})
    path.write_text("cut")
    with pytest.raises(HomeError, match="damaged"):
        load_key(home, {})
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match=r"redact\.key"):
        load_key(tmp_path / "file", {})


def _tell_key(home: Path, said: Connection) -> None:
    said.send(load_key(home, {}))


def test_processes_that_begin_at_once_agree_on_the_key(tmp_path: Path) -> None:
    pipes = [forking.pipe() for _ in range(6)]
    started = [forking.start(_tell_key, tmp_path / "home", says) for _, says in pipes]
    assert len({listens.recv() for listens, _ in pipes}) == 1
    for process in started:
        process.join()
    assert os.listdir(tmp_path / "home") == ["redact.key"]
