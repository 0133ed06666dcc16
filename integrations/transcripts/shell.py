"""Shell agents: a command in a fenced block, and what the terminal printed in the next user message.

mini-swe-agent runs exactly one ```bash block per message and answers `<returncode>…</returncode>`;
SWE-agent runs the last fenced block and ends its answer in a prompt line. Sources:
https://github.com/SWE-agent/mini-swe-agent and https://github.com/SWE-agent/SWE-agent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from agenther_live.integrations.transcripts.adapter import Adapter, Call, Context, Reply, Turn, pairs
from agenther_live.integrations.transcripts.signs import ends_in_traceback
from agenther_live.trajectory import Message

_MINI_FENCE = re.compile(r"```(?:bash|mswea_bash_command)[ \t]*\n")
_RETURN_CODE = re.compile(r"\s*<returncode>(-?\d+)</returncode>")
_EMPTY_OUTPUT = re.compile(r"\s*<output>\s*</output>\s*")
_SEARCH = re.compile(r"\b(?:[ef]?grep|rg|cmp|diff|test)\b")
# Answers of mini-swe-agent that carry no return code: a reply it could not read, a command it had to kill.
_MINI_REFUSALS = ("Please always provide EXACTLY ONE", "The last command <command>")
_PROMPT = re.compile(r"\((?:Open file|Current directory):[^\n]*\)\s*\n(?:\([^\n]*\)\s*\n)?bash-\$\s*$")
# The commands that SWE-agent's interface adds to the shell.
_INTERFACE = frozenset(
    {"open", "goto", "scroll_down", "scroll_up", "create", "edit", "insert", "search_dir", "search_file", "find_file"}
    | {"submit", "exit_forfeit"}
)
_SWE_REFUSALS = (
    "Your proposed edit has introduced new syntax error",
    "Your edit was not applied",
    "Your output was not formatted correctly",
    "EXECUTION TIMED OUT",
    "Usage: ",
)
_SHELL_ERROR = re.compile(
    r"[^\s:][^\n:]{0,200}: (?:[^\n]{0,300}: )?"
    r"(?:command not found|No such file|Permission denied|Is a directory|cannot |not found|unrecognized option)"
)


def fenced_blocks(text: str) -> list[tuple[str, str, int]]:
    """Give the closed fenced blocks whose fences stand alone on their line: (language, content, start offset)."""
    blocks: list[tuple[str, str, int]] = []
    opened: tuple[str, int, int] | None = None
    at = 0
    for line in text.splitlines(keepends=True):
        bare = line.strip()
        if opened is not None and bare == "```":
            language, start, content = opened
            blocks.append((language, text[content:at].rstrip("\n"), start))
            opened = None
        elif opened is None and line.startswith("```") and " " not in bare and bare.count("`") == 3:
            opened = (bare[3:].lower(), at, at + len(line))
        at += len(line)
    return blocks


def _thought(text: str) -> str:
    text = text.strip()
    for label in ("THOUGHT:", "Thought:", "DISCUSSION"):
        text = text.removeprefix(label)
    return text.strip()


def _mini_blocks(text: str) -> list[tuple[str, int]]:
    """Give mini-swe-agent's blocks as its own pattern finds them: (command, start offset)."""
    blocks: list[tuple[str, int]] = []
    at = 0
    while (fence := _MINI_FENCE.search(text, at)) is not None:
        end = text.find("\n```", fence.end())
        if end < 0:
            break
        blocks.append((text[fence.end() : end], fence.start()))
        at = end + len("\n```")
    return blocks


def _mini_turn(message: Message, context: Context) -> Turn:
    text = message.text
    blocks = _mini_blocks(text)
    if len(blocks) != 1:  # the harness refuses to choose, and runs nothing
        return Turn(thought=_thought(text), spoken=None if blocks else text.strip() or None)
    command, start = blocks[0]
    return Turn(thought=_thought(text[:start]), calls=(Call("bash", command),))


def _mini_reply(message: Message, context: Context) -> Reply | None:
    text = message.text
    code = _RETURN_CODE.match(text)
    if message.role != "user" or not context.started:
        return None
    if code is None and not context.open_calls and not text.startswith(_MINI_REFUSALS):
        return None
    if code is None:
        return Reply(text, is_error=text.startswith(_MINI_REFUSALS))
    command = context.open_calls[0].input if context.open_calls else ""
    return Reply(text, is_error=_mini_failed(int(code.group(1)[:9]), text[code.end() :], command))


def _mini_failed(code: int, rest: str, command: str) -> bool:
    if code == 1 and _EMPTY_OUTPUT.fullmatch(rest) and _SEARCH.search(command):
        return False  # grep found nothing, and says so: https://pubs.opengroup.org/onlinepubs/9799919799/utilities/grep.html
    return code != 0


def _mini_matches(messages: Sequence[Message]) -> bool:
    return any("```" in one.text and _RETURN_CODE.match(two.text) for one, two in pairs(messages))


def _swe_turn(message: Message, context: Context) -> Turn:
    text = message.text
    blocks = fenced_blocks(text)
    if not blocks:
        return Turn(thought=_thought(text), spoken=text.strip() or None)
    _, command, start = blocks[-1]
    word = command.split(None, 1)[0] if command.strip() else ""
    return Turn(thought=_thought(text[:start]), calls=(Call(word if word in _INTERFACE else "bash", command),))


def _swe_reply(message: Message, context: Context) -> Reply | None:
    text = message.text
    if message.role != "user" or not context.started:
        return None
    if not context.open_calls and not text.startswith(_SWE_REFUSALS) and not _PROMPT.search(text[-2000:]):
        return None
    return Reply(text, is_error=_swe_failed(text))


def _swe_failed(text: str) -> bool:
    prompt = _PROMPT.search(text[-2000:])
    output = text[: max(0, len(text) - 2000) + prompt.start()] if prompt else text
    if output.startswith(_SWE_REFUSALS) or ends_in_traceback(output.rstrip()):
        return True
    return _SHELL_ERROR.match(output.lstrip()[:600]) is not None


def _swe_matches(messages: Sequence[Message]) -> bool:
    return any("```" in one.text and _PROMPT.search(two.text[-2000:]) for one, two in pairs(messages))


MINI_SWE = Adapter("mini_swe_agent", _mini_matches, _mini_turn, _mini_reply)
SWE_AGENT = Adapter("swe_agent", _swe_matches, _swe_turn, _swe_reply)
