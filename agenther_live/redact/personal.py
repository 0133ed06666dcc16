"""What personal data look like in text: e-mail addresses, phone and card numbers, IBANs, IP addresses.

Numbers are what agents work with, so each rule asks for more than digits: a checksum, a country's length, a leading
`+`, a name in front. Order numbers, prices, dates, UUIDs and version numbers stay as they are.
"""

from __future__ import annotations

import ipaddress
import re

from agenther_live.redact.secrets import Replace, find_all, lowered, placed, splice

__all__ = ["is_card", "is_phone_name", "replace_personal"]

_LOCAL = re.compile(r"\w(?:[\w.%+-]{0,62}\w)?")  # of an e-mail address, read backwards
_DOMAIN = re.compile(r"(?:\w(?:[\w-]{0,61}\w)?\.){1,8}[^\W\d_]{2,24}(?![\w-])")

# Where a number may begin: not inside a word, a larger number or an id; behind an escape of JSON.
_NUMBER = r"(?:(?<![\w.+#-])|(?<=\\[nrt]))"
_DIGITS = re.compile(r"\d(?<!\d\d)(?:[ ().\-/]{0,2}+\d){7,}+")
_IBAN = re.compile(
    r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])"
)
_CARD = re.compile(
    _NUMBER + r"(?<!,)(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{1,7}|\d{4}([ -])\d{6}\2\d{4,5})(?![\w-]|\.\d)"
)
_PHONE = re.compile(
    _NUMBER + r"(?:"
    r"\+\d(?:[ ().\-/]{0,2}\d){7,14}"  # international
    r"|\([2-9]\d{2}\) ?[2-9]\d{2}[ .-]?\d{4}"  # (415) 555-2671
    r"|(?:1[ .-])?[2-9]\d{2}([.-])[2-9]\d{2}\1\d{4}"  # 415-555-2671
    r")(?![\w-]|\.\d)"
)
_CALLED = re.compile(
    r"(?i:phone|fax|tel|mobile|cell|whatsapp)"
    r"(?:\.?[ _-]?(?i:number|no\.?|nr\.?)(?:\\?[\"'])?\s{0,3}(?::|=|\bis\b)?|(?:\\?[\"'])?\s{0,3}[:=])"
    r"\s{0,3}(?:\\?[\"'])?(?P<value>\+?\(?\d(?:[ ().\-/]{0,2}\d){6,14})(?![\w-]|\.\d)"
)
_PHONES = ("phone", "fax", "tel", "mobile", "cell", "whatsapp")
_IPV4_MIDDLE = re.compile(r"\.\d{1,3}\.\d{1,3}\.")
_IPV4 = re.compile(r"(?:(?<![\w.-])|(?<=\\[nrt]))(?<![A-Za-z]/)\d{1,3}(?:\.\d{1,3}){3}(?![\w-]|\.\d)")
_IPV6_MIDDLE = re.compile(r":[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:")
_IPV6 = re.compile(r"(?:(?<![\w:.])|(?<=\\[nrt]))[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:]|\.\d)")

# Digits become 0 and what may stand between them goes, so that a long number is a run of zeros.
_DIGIT_CLASS = bytes(ord("0") if 48 <= c < 58 else ord(" ") for c in range(256))
_BETWEEN = b" ().-/"
_IBAN_LENGTHS = {
    code: int(length)
    for code, length in re.findall(
        r"([A-Z]{2})(\d\d)",
        "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BR29BY28CH21CR22CY28CZ24DE22DK18DO28EE20EG29ES24FI18FO18FR27GB22GE22GI23"
        "GL18GR27GT28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MR27MT31MU30"
        "NL18NO15PK24PL28PS29PT25QA29RO24RS22SA24SC31SD18SE24SI19SK24SM27ST25SV28TL23TN24TR26UA29VA22VG24XK20",
    )
}


def replace_personal(text: str, replace: Replace) -> str:
    """Give the text with its personal data replaced; the same object where there are none."""
    edits: list[tuple[int, int, str]] = []
    if "@" in text or ("%" in text and "%40" in text):  # one character is looked for many times faster than three
        _emails(text, replace, edits)
    digits = text.encode("utf-8", "surrogatepass").translate(_DIGIT_CLASS, _BETWEEN)
    if b"0000000" in digits:
        _called(text, replace, edits)
        if b"00000000" in digits:
            _numbers(text, replace, edits)
    if text.count(".") >= 3 and _IPV4_MIDDLE.search(text):
        edits += [(m.start(), m.end(), replace("ip", m[0])) for m in _IPV4.finditer(text) if _is_address(m[0])]
    colons = text.count(":")
    if (colons > 1 and "::" in text) or (colons >= 7 and _IPV6_MIDDLE.search(text)):
        edits += [(m.start(), m.end(), replace("ip", m[0])) for m in _IPV6.finditer(text) if _is_address(m[0])]
    return splice(text, edits)


def _called(text: str, replace: Replace, edits: list[tuple[int, int, str]]) -> None:
    """Replace numbers that a name in front calls a phone's."""
    low = lowered(text)
    skip = None
    for name in _PHONES:
        if name in low:
            skip = placed(text) if skip is None else skip
            for i in find_all(low, name, skip):
                whole = name in ("phone", "mobile", "whatsapp") or not low[i - 1 : i].isalpha()
                if whole and (m := _CALLED.match(text, i)) is not None:
                    edits.append((m.start("value"), m.end("value"), replace("phone", m["value"])))


def _emails(text: str, replace: Replace, edits: list[tuple[int, int, str]]) -> None:
    for at in ("@", "%40"):  # as it stands in a URL
        for i in find_all(text, at):
            domain = _DOMAIN.match(text, i + len(at))
            local = domain and _LOCAL.match(text[max(0, i - 64) : i][::-1])
            if domain and local:
                start = i - local.end()
                if text[start - 1 : start] == "\\" and text[start] in "nrt" and start + 1 < i:
                    start += 1  # the letter of an escape
                edits.append((start, domain.end(), replace("email", text[start : domain.end()])))


def _numbers(text: str, replace: Replace, edits: list[tuple[int, int, str]]) -> None:
    """Look at each long run of digits, with a little text around it, for what it can be by its length and setting."""
    for run in _DIGITS.finditer(text):
        start, end = run.span()
        before = text[start - 2 : start] if start > 1 else text[:start]
        plus = before[-1:] == "+"
        if end - start < 10 and not plus:
            continue  # a date, most likely
        n = len(run[0].encode().translate(None, _BETWEEN))
        lettered = before.rstrip(" ")[-1:].isupper()
        if (n < 10 and not plus) or not (plus or lettered or n >= 13 or end - start > n):
            continue  # a plain number
        left = max(0, start - 12)  # an IBAN's letters stand before its digits
        window = text[left : end + 20]
        if lettered:
            for m in _IBAN.finditer(window):
                if length := _iban(m[0]):
                    edits.append((left + m.start(), left + m.start() + length, replace("iban", m[0][:length])))
        if n >= 13:
            for m in _CARD.finditer(window):
                if is_card("".join(c for c in m[0] if c.isdigit())):
                    edits.append((left + m.start(), left + m.end(), replace("card", m[0])))
        if plus or end - start > n:
            for m in _PHONE.finditer(window):
                edits.append((left + m.start(), left + m.end(), replace("phone", m[0])))


def is_phone_name(name: str) -> bool:
    """Tell whether a field of this name holds a phone number."""
    bare = re.sub(r"[^a-z]+", "", name.lower())
    return bare.endswith(("phone", "phonenumber", "mobile", "mobilenumber", "telephone", "whatsapp"))


def is_card(digits: str) -> bool:
    """Tell whether digits are a payment card number: an issuer's prefix with its length, and the Luhn sum."""
    n = len(digits)
    if not 13 <= n <= 19:
        return False
    two, four = int(digits[:2]), int(digits[:4])
    issued = (
        (digits[0] == "4" and n in (13, 16, 19))
        or (n == 16 and (51 <= two <= 55 or 2221 <= four <= 2720 or 3528 <= four <= 3589))
        or (n == 15 and two in (34, 37))
        or (n in (14, 16) and (two in (36, 38, 39) or 300 <= four // 10 <= 305))
        or (n in (16, 19) and (four == 6011 or two == 65 or 644 <= four // 10 <= 649 or two == 62))
    )
    if not issued or len(set(digits)) < 2:
        return False
    total = 0
    for i, c in enumerate(reversed(digits)):
        digit = ord(c) - 48
        if i % 2:
            digit = 2 * digit - 9 if digit > 4 else 2 * digit
        total += digit
    return total % 10 == 0


def _iban(text: str) -> int:
    """Give the length of the IBAN that the text begins with, or 0: known country, its length, ISO 7064 mod 97."""
    length, taken = _IBAN_LENGTHS.get(text[:2], 0), 0
    for end, c in enumerate(text, 1):
        taken += c != " "
        if taken == length:
            bare = text[:end].replace(" ", "")
            number = int("".join(str(int(c, 36)) for c in bare[4:] + bare[:4]))
            return end if number % 97 == 1 and text[end : end + 1] in ("", " ") else 0
    return 0


def _is_address(text: str) -> bool:
    """Tell whether this is an IP address that could be somebody's: not loopback, not 'any'."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.version == 6 and (sum(c != ":" for c in text) < 5 or not any(c.isdigit() for c in text)):
        return False
    return not (address.is_loopback or address.is_unspecified or text == "255.255.255.255")
