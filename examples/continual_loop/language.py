"""The worlds' language: one token a word, a chat template with generation markers, and turns read back.

A call is its arguments and then the tool's name (`k3 pick`); what the agent says beside it comes first (`fits not not
acme oslo 2 place_order`: its verdict on each offer). Tool
results are JSON; the tokenizer's normalizer drops keys and punctuation, so `{"item": "lamp"}` is the one token
`lamp`. `encode` gives the same tokens as the tokenizer with its template (a test holds them equal), 50 times faster.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from examples.continual_loop.worlds import CITIES, ITEMS, PAPERS, SHOPS, World

__all__ = ["AGENT", "END", "PAD", "TEMPLATE", "VOCABULARY", "encode", "read_turn", "tokenizer", "turn_words"]

END, PAD, USER, AGENT, TOOL = "<end>", "<pad>", "<user>", "<agent>", "<tool>"
_SAID = """
fits not ship a wrapped in to order from for at most eur i shipped ordered could it no offer fits
pick wrap check_stock list_offers place_order fine timed out nothing picked unknown code item such too few left
"""
WORDS = [
    *(END, PAD, USER, AGENT, TOOL, "<unk>"),
    *dict.fromkeys([*_SAID.split(), *ITEMS, *PAPERS, *CITIES, *SHOPS]),
    *(f"{letter}{n}" for letter in "kwc" for n in range(12)),
    *map(str, range(10)),
]
VERDICTS = frozenset(("fits", "not"))
"""What an agent may say of each offer before it orders."""
VOCABULARY = {word: at for at, word in enumerate(WORDS)}
TEMPLATE = """\
{%- for message in messages %}
{%- if message.role == 'assistant' %}{{ '<agent> ' }}{% generation %}
{{- message.content ~ ' ' if message.content else '' }}
{%- for call in message.tool_calls or [] %}
{%- for value in call.function.arguments.values() if value is not none %}{{ value ~ ' ' }}{% endfor %}
{{- call.function.name ~ ' ' }}{% endfor %}<end>{% endgeneration %}{{ ' ' }}
{%- elif message.role == 'tool' %}{{ '<tool> ' ~ message.content ~ ' <end> ' }}
{%- else %}{{ '<user> ' ~ message.content ~ ' <end> ' }}{% endif %}
{%- endfor %}{% if add_generation_prompt %}{{ '<agent>' }}{% endif %}"""
_KEYS, _MARKS = re.compile(r'"[a-z_]+":'), re.compile(r'[{}\[\]",]')


@lru_cache
def tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer for TRL."""
    made = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Replace(Regex(each.pattern), " ") for each in (_KEYS, _MARKS)])
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=END, pad_token=PAD, unk_token="<unk>", chat_template=TEMPLATE
    )


def plain(content: str) -> list[str]:
    """The words of a tool result."""
    return _MARKS.sub(" ", _KEYS.sub(" ", content)).split()


def turn_words(message: Mapping[str, Any]) -> list[str]:
    """The words of one message, its marker first and its end last."""
    role, content = message["role"], message.get("content") or ""
    if role == "tool":
        return [TOOL, *plain(content), END]
    if role != "assistant":
        return [USER, *content.split(), END]
    words = [AGENT, *content.split()]
    for call in message.get("tool_calls") or ():
        args = call["function"]["arguments"]
        args = json.loads(args) if isinstance(args, str) else args
        words += [*map(str, args.values()), call["function"]["name"]]
    return [*words, END]


def encode(messages: Sequence[Mapping[str, Any]], trained: Sequence[bool] | None = None) -> tuple[list[int], list[int]]:
    """Token ids of a conversation, and for each whether the loss falls on it (all assistant turns, or `trained`)."""
    ids: list[int] = []
    mask: list[int] = []
    for at, message in enumerate(messages):
        found = [VOCABULARY.get(word, VOCABULARY["<unk>"]) for word in turn_words(message)]
        on = message["role"] == "assistant" and (trained is None or trained[at])
        ids += found
        mask += [0, *[int(on)] * (len(found) - 1)]
    return ids, mask


def read_turn(words: Sequence[str], world: World) -> tuple[str, dict[str, Any], str] | str:
    """What an assistant turn says: a call (name, arguments, and words before it), or a final answer in words."""
    if words and words[-1] in world.tools:
        names = world.tools[words[-1]]
        before = len(words) - 1 - len(names)
        if before >= 0 and VERDICTS.issuperset(words[:before]):
            args: dict[str, Any] = dict(zip(names, words[before:], strict=False))
            if "quantity" in args:
                args["quantity"] = int(args["quantity"]) if args["quantity"].isdigit() else 0
            return words[-1], args, " ".join(words[:before])
    return " ".join(words)
