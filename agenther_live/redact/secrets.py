r"""What secrets look like in text: tokens that tell what they are, and values that a name makes secret.

Text that holds nothing is the rule, and must cost next to nothing. So substring searches come first, they are tens of
times faster than patterns; patterns run only where a substring was found, most of them from there on and no further.

Text may be a piece of JSON or of a repr, so a word may also begin behind an escape: `\nsk-…`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

__all__ = [
    "PLACED",
    "Replace",
    "find_all",
    "harmless",
    "is_secret_name",
    "lowered",
    "placed",
    "replace_secrets",
    "splice",
]

Replace = Callable[[str, str], str]
"""Gives the placeholder for (kind, value)."""

PLACED = re.compile(r"\[(?:SECRET|PII):[a-z0-9_]{1,32}:[0-9a-f]{12}\]")

# ---------------------------------------------------------------------- tokens that tell what they are

_WORD = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))"
_TOKENS: tuple[tuple[str, tuple[str, ...], re.Pattern[str]], ...] = tuple(
    (kind, gates, re.compile(pattern))
    for kind, gates, pattern in (
        # OpenAI, Anthropic, OpenRouter, Langfuse, DeepSeek, …: a digit is asked for, since "sk-" also begins slugs.
        ("api_key", ("sk-",), _WORD + r"sk-(?=[A-Za-z_-]{0,80}[0-9])[A-Za-z0-9_-]{20,}"),
        ("aws_key", ("AKIA", "ASIA"), _WORD + r"A(?:KI|SI)A[A-Z0-9]{16}(?![A-Za-z0-9])"),
        ("slack_token", ("xox", "xapp-"), _WORD + r"(?:xox[a-z]|xapp)-[A-Za-z0-9-]{10,}"),
        ("google_key", ("AIza",), _WORD + r"AIza[A-Za-z0-9_-]{35}"),
        ("google_token", ("ya29.",), _WORD + r"ya29\.[A-Za-z0-9_-]{20,}"),
        ("gitlab_token", ("glpat-",), _WORD + r"glpat-[A-Za-z0-9_-]{20,}"),
        ("api_key", ("xai-", "pplx-"), _WORD + r"(?:xai|pplx)-[A-Za-z0-9]{30,}"),
        ("pypi_token", ("pypi-",), _WORD + r"pypi-[A-Za-z0-9_-]{40,}"),
        ("sendgrid_key", ("SG.",), _WORD + r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    )
)
# JSON in base64url begins with eyJ: JWT (three parts) and JWE (five). Whether two dots follow is asked once for each
# run of characters and not for each eyJ in it: else 64 KB of `eyJ-` take seconds.
_JWT = re.compile(
    r"(?<![A-Za-z0-9_-])(?=[A-Za-z0-9_-]++\.[A-Za-z0-9_-]*\.)(?P<before>[A-Za-z0-9_-]*?)"
    + _WORD
    + r"(?P<token>eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){2,4})"
)
# GitHub, Hugging Face, npm, Groq, Replicate, LangSmith, DigitalOcean, Stripe: a name, `_`, a long random part.
_UNDERSCORED = re.compile(
    _WORD + r"(?P<vendor>gh[pousr]|github_pat|hf|npm|gsk|r8|lsv2_[a-z]{2}|dop_v1|whsec|[sr]k_(?:live|test))"
    r"_[A-Za-z0-9_]{16,}"
)
_LONG_TAIL = re.compile(r"_[A-Za-z0-9]{16}")
_VENDORS = {"gh": "github_token", "hf": "huggingface_token", "np": "npm_token", "sk": "stripe_key", "rk": "stripe_key"}
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?!-----END )(?s:.))*(?:-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----)?"
)
_AWS_SECRET = re.compile(
    r"(?<![A-Za-z0-9/+=_-])(?=[a-z0-9/+]*[A-Z])(?=[A-Z0-9/+]*[a-z])(?=[A-Za-z/+]*[0-9])[A-Za-z0-9/+]{40}"
    r"(?![A-Za-z0-9/+=_-])"
)

# Every token has sixteen characters of this class in a row; most texts have not.
_TOKEN_CLASS = bytes(ord("t") if chr(c) in "-_" or (c < 128 and chr(c).isalnum()) else ord(" ") for c in range(256))
_RUN = b"t" * 16

# ---------------------------------------------------------------------- values that a name makes secret

_URL_PASSWORD = re.compile(
    r"(?P<before>[^\s:/@\"'\\<>]{0,200}:)(?P<value>[^\s/\"'\\<>]{1,300}|[^\s@\"'\\<>]{1,300})(?=@)"
)
_BEARER = re.compile(r"(?P<before>(?i:bearer)\s{1,4})(?P<value>(?=\S{0,300}[0-9])[A-Za-z0-9._~+/=-]{12,})")
_HEADER = re.compile(
    r"(?P<before>(?i:authorization)(?:\\?[\"'])?\s{0,4}[:=]\s{0,4}(?:\\?[\"'])?"
    r"(?:(?i:(?P<scheme>bearer|basic|token|apikey|negotiate)|(?P<long>digest|aws4-hmac-sha256))\s{1,4})?)"
    r"(?P<value>(?(long)[^\r\n\"'\\\[]{3,2000}"
    r"|(?(scheme)[^\s\"'\\,;\[]{6,2000}|(?=\S{0,300}[0-9])[^\s\"'\\,;\[]{12,2000})))"
)
_COOKIE = re.compile(
    r"(?P<before>(?i:cookie)(?:\\?[\"'])?\s{0,4}:\s{0,4}(?:\\?[\"'])?)(?P<value>[^\s\"'\\=;\[]{1,100}=[^\r\n\"'\\]{3,4000})"
)
_SIGNATURE = re.compile(r"(?P<before>(?i:sig|signature|security-token)=)(?P<value>[A-Za-z0-9%+/=_-]{16,})")
_ASSIGNED = re.compile(
    r"(?P<before>(?i:(?P<password>password|passwd|passphrase|pwd)"
    r"|(?P<secret>secret(?:[_-]?(?:access)?[_-]?key)?|credentials?)|(?P<key>key)|(?P<token>token))"
    r"(?:\\{0,7}[\"'])?(?P<separator>\s{0,4}(?::=|=>|=|:|\bis\b)\s{0,4}))"
    r"(?:(?P<quote>\\{0,7}[\"'])(?P<quoted>[^\r\n]{1,500}?(?<!\\)(?:\\\\)*+)(?P=quote)"
    r"|\\{0,7}[\"'](?P<long>[^\s\"'\\]{500})|(?P<open>\\{0,7}[\"'])(?P<wide>[^\r\n]{500})"
    r"|(?P<bare>[^\s\"'\\;&,<>]{3,500}))"
)
# What these match is bounded, or hostile text would take seconds; a value that reaches the bound goes on to its end.
_LONGEST = 500
_REST = re.compile(r"[^\s\"'\\;&,<>\[\]]*+")
_SAID = ("assword is ", "assphrase is ", "pwd is ", "ecret is ", "oken is ", "key is ", "Key is ", "redential is ")
_NAMES = ("pass", "pwd", "secret", "token", "key", "credential")
_KEYS = ("api", "access", "account", "auth", "private", "secret", "encryption", "subscription", "master", "service")
_TOKEN_OWNERS = ("access", "refresh", "auth", "api", "bot", "session", "bearer", "id", "personal")
_HARMLESS = re.compile(
    r"(?i)[*x•.-]+|string|str|text|null|none|nil|true|false|undefined|required|optional|missing|invalid|incorrect|wrong|"
    r"unknown|empty|hidden|masked|n/?a|todo|\[?redacted\]?|your[ _-][\w .-]+|<[\w .-]+>|\$\{?[a-z_]\w*\}?|"
    r"\{\{?[^{}]*\}\}?|%\w{0,30}%?|\[(?:SECRET|PII):.*"
)
_CODE = re.compile(r"(?:os|env|process|settings|config|self|args|request|data|user)[.\[].*|[\w.]+[(\[].*")
_TRAILING = ")]}.,:!?`"


def replace_secrets(text: str, replace: Replace) -> str:
    """Give the text with its secrets replaced; the same object where there are none."""
    if "PRIVATE KEY" in text:
        text = _PRIVATE_KEY.sub(lambda m: replace("private_key", m[0]), text)
    if len(text) >= 16 and _RUN in text.encode("utf-8", "surrogatepass").translate(_TOKEN_CLASS):
        for kind, gates, pattern in _TOKENS:
            for gate in gates:
                if gate in text:
                    text = pattern.sub(lambda m, kind=kind: replace(kind, m[0]), text)  # type: ignore[misc]
                    break
        if "eyJ" in text:
            text = _JWT.sub(lambda m: m["before"] + replace("jwt", m["token"]), text)
        if "_" in text and _LONG_TAIL.search(text):
            text = _UNDERSCORED.sub(lambda m: replace(_VENDORS.get(m["vendor"][:2], "api_key"), m[0]), text)
    if ":" in text or "=" in text or "earer" in text or (" is " in text and _is_said(text)):
        text = _named(text, replace)
    return text


def _named(text: str, replace: Replace) -> str:
    """Replace what the name before it makes a secret."""
    low = lowered(text)
    skip = placed(text)
    edits: list[tuple[int, int, str]] = []

    def behind(kind: str, m: re.Match[str] | None) -> None:
        if m is not None and not m["value"].startswith("["):
            start, end = m.span("value")
            if end - start >= 4 * _LONGEST and (not edits or edits[-1][1] < start):
                end = _end(text, end)
            edits.append((start, end, replace(kind, text[start:end])))

    if "@" in low and "://" in low:  # one character is looked for many times faster than two
        for i in find_all(low, "://"):
            m = _URL_PASSWORD.match(text, i + 3)
            # http://host:8080/@name has no password, so a slash in one is believed elsewhere only.
            if m is not None and ("/" not in m["value"] or not low.endswith(("http", "https", "ws", "wss"), 0, i)):
                behind("url_password", m)
    if "uthorization" in low:
        for i in find_all(low, "authorization", skip):
            behind("authorization", _HEADER.match(text, i))
    if "bearer" in low:
        for i in find_all(low, "bearer", skip):
            behind("bearer_token", _BEARER.match(text, i))
    if "cookie" in low:
        for i in find_all(low, "cookie", skip):
            behind("cookie", _COOKIE.match(text, i))
    if "=" in low:
        for name in ("sig=", "signature=", "security-token="):
            for i in find_all(low, name):
                behind("signature", _SIGNATURE.match(text, i))
    named = False
    for name in _NAMES:
        if name in low:
            named, reach = True, 0
            for i in find_all(low, name, skip):
                if i < reach or not _secret_part(name, low[max(0, i - 14) : i]):
                    continue
                if (m := _ASSIGNED.match(text, i)) is not None:
                    reach = _assigned(text, m, replace, edits)
    if named and ("aws" in low or "secret" in low):
        edits += [(m.start(), m.end(), replace("aws_secret", m[0])) for m in _AWS_SECRET.finditer(text)]
    return splice(text, edits)


def _is_said(text: str) -> bool:
    for said in _SAID:  # noqa: SIM110 a generator would double the cost
        if said in text:
            return True
    return False


def _secret_part(name: str, left: str) -> bool:
    """Tell whether a name makes a secret with what stands to its left: `api_key`, not `monkey` or `page_token`."""
    if name == "key":
        return left.rstrip(" _-").endswith(_KEYS)
    if name == "token":
        if left.endswith(("page_", "page-", "page")):
            return False
        return not left[-1:].isalpha() or left[-2:] in ("\\n", "\\r", "\\t") or left.endswith(_TOKEN_OWNERS)
    return True


def _end(text: str, end: int) -> int:
    """Give where the word ends that goes on at `end`."""
    rest = _REST.match(text, end)
    return end if rest is None else rest.end()


def _assigned(text: str, m: re.Match[str], replace: Replace, edits: list[tuple[int, int, str]]) -> int:
    """Judge what is assigned to a secret's name, and replace it where it is no type, mask, code or prose.

    Gives where one that is longer than a match may be ends: nothing more is to be found in it; else 0.
    """
    kind = "password" if m["password"] else "secret" if m["secret"] else "api_key" if m["key"] else "token"
    if m["long"] is not None:
        start, end = m.start("long"), _end(text, m.end("long"))
        edits.append((start, end, replace(kind, text[start:end])))
        return end
    if m["wide"] is not None:
        start, end = m.start("wide"), text.find(m["open"], m.end("wide"))
        value = text[start:end] if end > 0 else ""
        if value and len(value.splitlines()) == 1 and (kind == "password" or " " not in value):
            edits.append((start, end, replace(kind, value)))
            return end
        return 0
    if (quoted := m["quoted"]) is not None:
        if not harmless(quoted) and (kind == "password" or (len(quoted) >= 8 and " " not in quoted)):
            edits.append((m.start("quoted"), m.end("quoted"), replace(kind, quoted)))
        return 0
    value = m["bare"].rstrip(_TRAILING)
    if len(value) < 3 or harmless(value) or _CODE.fullmatch(value):
        return 0
    separator = m["separator"].strip().lower()
    digits = any(c.isdigit() for c in value)
    if kind != "password" and (len(value) < 8 or not digits):
        return 0
    if separator in {":", "is"} and (len(value) < 6 or value.isalpha() or (separator == "is" and not digits)):
        return 0  # prose: "password: required"
    start, end = m.span("bare")
    if end - start < _LONGEST:
        edits.append((start, start + len(value), replace(kind, value)))
        return 0
    end = _end(text, end)
    edits.append((start, end, replace(kind, text[start:end])))
    return end


def harmless(value: str) -> bool:
    """Tell whether the value of a secret's field is none: a mask, the name of a type, a placeholder."""
    return _HARMLESS.fullmatch(value) is not None


# ---------------------------------------------------------------------- fields

# Without case and separators.
_SECRET_NAMES = {
    **dict.fromkeys(("passphrase", "pwd", "pass"), "password"),
    **dict.fromkeys(("authorization", "proxyauthorization"), "authorization"),
    **dict.fromkeys(("cookie", "setcookie"), "cookie"),
    **dict.fromkeys(("apikey", "xapikey", "secretkey", "secretaccesskey"), "api_key"),
    **dict.fromkeys(("pin", "cvv", "cvc", "secrets", "connectionstring"), "secret"),
}
_SECRET_ENDINGS = (
    *((ending, "password") for ending in ("password", "passwd", "passphrase", "pwd")),
    *((ending, "secret") for ending in ("secret", "credential", "credentials")),
    ("token", "token"),
    ("key", "api_key"),
)
_SEPARATORS = re.compile(r"[^a-z0-9]+")


def is_secret_name(name: str) -> str | None:
    """Give the kind of secret that a field of this name holds, or None."""
    low = name.lower().rstrip(" _-:")
    bare = _SEPARATORS.sub("", low)
    kind = _SECRET_NAMES.get(bare)
    if kind is None:
        for ending, secret in _SECRET_ENDINGS:
            if low.endswith(ending) and _secret_part(ending, low[: -len(ending)]):
                return secret
    return kind


# ---------------------------------------------------------------------- positions


def placed(text: str) -> list[tuple[int, int]]:
    """Find the placeholders in a text: nothing in them is looked at again."""
    if "[" in text and ("[SECRET:" in text or "[PII:" in text):
        return [m.span() for m in PLACED.finditer(text)]
    return []


def lowered(text: str) -> str:
    """Give the text in lower case, every character in its place."""
    low = text.lower()
    if len(low) != len(text):  # a letter that is longer in lower case (the Turkish İ): positions would not fit
        low = "".join(c.lower() if c.isascii() else c for c in text)
    return low


def find_all(text: str, part: str, skip: Sequence[tuple[int, int]] = ()) -> Iterator[int]:
    """Give the positions of a substring in order, those inside of `skip` left out."""
    k = 0
    i = text.find(part)
    while i >= 0:
        while k < len(skip) and skip[k][1] <= i:
            k += 1
        if k == len(skip) or i < skip[k][0]:
            yield i
        i = text.find(part, i + len(part))


def splice(text: str, edits: list[tuple[int, int, str]]) -> str:
    """Replace spans of a text; of two that overlap the earlier and longer one wins."""
    if not edits:
        return text
    parts, at = [], 0
    for start, end, new in sorted(edits, key=lambda edit: (edit[0], -edit[1])):
        if start >= at:
            parts += [text[at:start], new]
            at = end
    return "".join([*parts, text[at:]])
