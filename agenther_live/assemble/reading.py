"""The reading of one run's facts into the conversations of its trajectory."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agenther_live.assemble.aside import calls_aside
from agenther_live.assemble.fields import MILLISECOND, run_of
from agenther_live.assemble.lanes import Draft, Entry, Lane, Slot, same_json, text_of
from agenther_live.assemble.tale import Attempt, Tale, ToolRun
from agenther_live.assemble.tools import tools_version
from agenther_live.assemble.witness import Witness
from agenther_live.clock import moment

__all__ = ["Reading"]

Record = Mapping[str, Any]


class Reading:
    """The reading of one run's facts."""

    def __init__(self, tale: Tale, number: int, records: Sequence[Record]) -> None:
        """Sort a run's records; `read` then tells its tale."""
        self.tale = tale
        tale.readings.append(self)
        self.number = number
        self.start: Record = next((record for record in records if record.get("k") == "start"), {})
        self.end: Record | None = next((record for record in reversed(records) if record.get("k") == "end"), None)
        self.items = [item for record in records if record.get("k") == "f" for item in record.get("f") or ()]
        began = self.start.get("at")
        self.began = None if began is None else moment(began)
        kinds: defaultdict[str, list[Record]] = defaultdict(list)
        for item in self.items:
            kinds[item["t"]].append(item)
        self.messages: dict[int, Record] = {item["m"]: item for item in kinds.get("msg", ())}
        self.calls: dict[int, tuple[Record, Lane, list[int]]] = {}
        self.replied: dict[int, tuple[int, Draft]] = {}  # call → the message that answered
        self.schemas: dict[int, list[dict[str, Any]]] = {}
        self.graphs: dict[int, Lane] = {}
        self.nodes: dict[int, Attempt] = {}
        self.tools: dict[int, ToolRun] = {}
        self.nested: dict[Any, int] = {}
        self.models: dict[str, None] = {}
        self.given: dict[int, list[dict[str, Any]]] = {}  # lane → the tools of its calls in this run
        self.asked: dict[str, str] = {}  # tool call id → the arguments that were written last
        self.tokens = [0, 0]
        self.entries: dict[tuple[int, int, int], Entry] = {}  # (lane, message, which one of equals) → entry
        self.witness = Witness(self.messages, self.entries)
        replies = {item["c"]: item["m"] for item in kinds.get("reply", ())}
        self.said = set(replies.values())
        tale.said.update(item["id"] for number in self.said if (item := self.messages.get(number)) and item.get("id"))
        self.fresh = self.said.union(item["m"] for item in kinds.get("tool_end", ()) if "m" in item)
        self.sent: Counter[int] = Counter()
        self.own = frozenset(self.start.get("input") or ()) if self.start.get("new_input") else frozenset()
        self.aside = calls_aside(kinds, replies, self.messages)

    def read(self) -> None:
        """Add the run to the tale, fact by fact."""
        agent = self.start.get("agent") or "agent"
        first = self.tale.starts[0].get("agent") if self.tale.starts else agent
        root = self.tale.lane("" if agent == first else ("agent", agent), "" if agent == first else agent)
        root.called = False
        self.root = self.graphs[0] = root
        self.tale.roots[root.path] = root
        self.tale.starts.append(self.start)
        self.tale.ends.append(self.end)
        self._open(root)
        readers = _READERS
        for item in self.items:
            reader = readers.get(item["t"])
            if reader is not None:
                reader(self, item)
        if self.end is not None:
            self._state(root, self.end.get("out") or (), None)
            if self.end.get("truncated"):
                self.tale.flags.add("truncated")
        root.flush()
        self._close()

    def _open(self, root: Lane) -> None:
        """Take in what the caller sent: the last user messages are the new turn, what stands before is history."""
        start = self.start
        if start.get("partial"):
            self.tale.flags.add("partial_tree")
        if start.get("conversational"):
            self.tale.flags.add("conversational")
        if not start.get("new_input"):
            root.pending_context = not self.tale.runs
            return
        sent = [number for number in start.get("input") or () if number in self.messages]
        turn = len(sent)
        while turn and self.messages[sent[turn - 1]]["msg"]["role"] == "user":
            turn -= 1
        if turn == len(sent) and sent:  # the caller's last message is not the user's
            asked = [place for place, number in enumerate(sent) if self.messages[number]["msg"]["role"] == "user"]
            turn = asked[-1] if asked else turn
        for place, number in enumerate(sent):
            which = self.sent[number]
            self.sent[number] += 1
            entry = None if place >= turn else self._known(root, number, which)
            if entry is None:
                entry = self._new(root, number, which)
                root.pending.append(entry)
            if place == turn % len(sent) and root.turn is None:
                root.turn = entry
        if self.tale.goal is None:
            asked_now = [text_of(self.messages[n]["msg"]) for n in sent if self.messages[n]["msg"]["role"] == "user"]
            self.tale.goal = asked_now[-1] if asked_now else start.get("input_text")

    def _close(self) -> None:
        version = tools_version(self._tools_given())
        self.tale.runs.append(
            run_of(self.start, self.end, models=self.models, tools_version=version, tokens=self.tokens)
        )

    def _tools_given(self) -> list[dict[str, Any]]:
        """Give what the root agent could call in this run; of a root that only conducts, what its agents could."""
        return self.given.get(id(self.root)) or [tool for tools in self.given.values() for tool in tools]

    # -- messages --------------------------------------------------------------------------------------

    def _known(self, lane: Lane, number: int, which: int = 0) -> Entry | None:
        entry = self.entries.get((id(lane), number, which))
        if entry is None and which == 0:
            item = self.messages[number]
            entry = lane.known(item["msg"], item.get("id"), None if number in self.fresh else self.number)
            if entry is not None:
                self.entries[id(lane), number, 0] = entry
        return entry

    def _new(self, lane: Lane, number: int, which: int = 0, *, register: bool = True) -> Entry:
        item = self.messages[number]
        entry = Entry(item["msg"], item.get("id"), None, (), None, False, None, self.number)
        self.entries[id(lane), number, which] = entry
        return lane.register(entry) if register else entry

    def _is_error(self, number: int) -> bool:
        return bool(self.messages[number].get("status") == "error")

    # -- items -----------------------------------------------------------------------------------------

    def _msg(self, item: Record) -> None:
        for call in item["msg"].get("tool_calls") or ():
            if call.get("id"):
                self.asked[call["id"]] = call["function"]["arguments"]

    def _tools(self, item: Record) -> None:
        self.schemas[item["x"]] = item["tools"]

    def _graph(self, item: Record) -> None:
        above = self.graphs.get(item["up"], self.root)
        name = "" if item["name"] == "LangGraph" else item["name"]
        if run := self.tools.get(item.get("n") or 0):
            via: Any = (run.slot, run.name) if run.slot is not None else item["n"]
            above, path = run.lane, f"{run.name}/{name}" if name else run.name
            turn = ("tool", item["n"])
        else:
            node = self.nodes.get(item["p"])
            via = (node.name, node.ns) if node else None
            label = node.name if node else name
            path = f"{label}/{name}" if name and label and name != label else label or name or "agent"
            turn = ("node", item["p"])
        count = self.nested[turn] = self.nested.get(turn, -1) + 1
        key = (id(above), via, count)
        reopened = key in self.tale.lanes
        lane = self.tale.lane(key, f"{above.path}/{path}" if above.path else path)
        lane.reopened = reopened
        lane.called = False
        self.graphs[item["s"]] = lane

    def _node(self, item: Record) -> None:
        lane = self.graphs.get(item["s"], self.root)
        attempt = Attempt(lane, item["name"], item["ns"])
        key = (lane.path, attempt.name, attempt.ns)
        before = self.tale.attempts.get(key)
        if before is not None and not before.over:
            for draft in before.drafts:
                draft.drop()
        self.tale.attempts[key] = self.nodes[item["p"]] = attempt

    def _node_end(self, item: Record) -> None:
        attempt = self.nodes.get(item["p"])
        if attempt is not None:
            attempt.over = ("error" not in item and not item.get("control")) or bool(item.get("out"))
            out = item.get("out") or ()
            self._state(attempt.lane, out, attempt, rewrite=bool(item.get("rewrite")))
            if attempt.over and attempt.drafts:
                self.witness.left(attempt.lane, attempt.drafts, out)

    def _graph_end(self, item: Record) -> None:
        self._state(self.graphs.get(item["s"], self.root), item["out"], None)

    def _call(self, item: Record) -> None:
        lane = self.graphs.get(item["s"], self.root)
        if self.tools and (run := self.tools.get(item.get("n") or 0)):
            lane = self._below(run.lane, run.slot or item["n"], run.name)
        elif item["c"] in self.aside:
            attempt = self.nodes.get(item["p"])
            lane = self._below(lane, "aside", attempt.name if attempt else "model")
        base = self.calls.get(item.get("base") or 0)
        inputs = (base[2][: item["keep"]] if base else []) + item["add"]
        self.calls[item["c"]] = (item, lane, inputs)
        if offered := item.get("x"):
            self._offer(lane, offered)
        if model := item.get("model"):
            self.models[model] = None
        if lane.reopened:
            lane.reopened = False
            if not any(
                (entry := self._known(lane, n)) is not None and entry.draft for n in inputs if n in self.messages
            ):
                for draft in lane.drafts:
                    draft.drop()
                lane.clear()
        keep = item["keep"] if base and base[1] is lane else 0
        attempt = None if keep else self.nodes.get(item["p"])
        self.witness.before(lane, inputs, None if attempt is None else attempt.name, goes_on=keep > 0)
        self._see(lane, inputs, keep)
        lane.called = True
        self.witness.after(lane, inputs)

    def _offer(self, lane: Lane, number: int) -> None:
        """Note which tools a call could choose from; most calls have those of the one before."""
        if number not in self.schemas or (self.number, number) in lane.offered:
            return
        lane.offered.add((self.number, number))
        given = self.given.setdefault(id(lane), [])
        for tool in self.schemas[number]:
            if tool not in lane.tools:
                lane.tools.append(tool)
            if tool not in given:
                given.append(tool)

    def _below(self, above: Lane, via: Any, name: str) -> Lane:
        return self.tale.lane((id(above), via, name), f"{above.path}/{name}" if above.path else name)

    def _see(self, lane: Lane, inputs: list[int], keep: int) -> None:
        """Merge a call's input into the conversation: what is new goes behind what it stood behind."""
        if lane.pending:
            self._place_turn(lane, inputs)
        if keep > 1 and self._stands(lane, inputs, keep - 1):
            return
        seen = []
        for place in range(max(keep - 1, 0), len(inputs)):
            if (number := inputs[place]) in self.messages:
                seen.append((number, 0 if inputs.index(number) == place else inputs[:place].count(number)))
        if keep < 2 and seen and self.messages[seen[0][0]]["msg"]["role"] in ("system", "developer"):
            self._prompt(lane, seen.pop(0)[0])
        places = [lane.position(entry) if (entry := self._known(lane, *which)) else -1 for which in seen]
        self.witness.order(lane, seen, places)
        if -1 not in places:
            return
        behind = max((n for n, place in enumerate(places) if place >= 0), default=-1)
        cursor = 0
        for n, (number, which) in enumerate(seen):
            entry = self._known(lane, number, which)
            if entry is not None and (found := lane.position(entry)) >= 0:
                cursor = found + 1
                continue
            if entry is None:
                entry = self._new(lane, number, which)
                if entry.role == "tool" and (slot := lane.slot(entry.wire.get("tool_call_id"))):
                    if slot.message is None:
                        lane.observed(slot, entry, is_error=self._is_error(number) or slot.is_error)
                    entry = slot.message or entry
                    self.entries[id(lane), number, which] = entry  # one that was cleared or cut for this prompt
                    continue
            if n > behind:
                cursor = len(lane.entries)
            elif lane.called and lane.turn is not None and cursor <= lane.position(lane.turn):
                lane.flags.add("context_changed")  # a summary in place of what is known in full
                continue
            if entry in lane.pending:
                lane.pending.remove(entry)
            lane.entries.insert(cursor, entry)
            cursor += 1

    def _stands(self, lane: Lane, inputs: list[int], begin: int) -> bool:
        """Whether all that a call shows from `begin` on stands in its conversation: most show what was just told."""
        key, entries, said = id(lane), self.entries, 0
        for place in range(begin, len(inputs)):
            number = inputs[place]
            entry = entries.get((key, number, 0))
            if entry is None or inputs.index(number) != place or not lane.holds(entry):
                return False
            said += entry.draft is not None
        return said < 2  # else it depends on their order

    def _place_turn(self, lane: Lane, inputs: list[int]) -> None:
        """Where the caller's new words stand in the history too, the last of the equal ones are the new ones."""
        if not any(self.entries.get((id(lane), number, 0)) in lane.pending for number in inputs):
            lane.flush()
            return
        for number, times in self.sent.items():
            shift = inputs.count(number) - times
            for which in range(times - 1, -1, -1) if shift > 0 else ():
                self.entries[id(lane), number, which + shift] = self.entries[id(lane), number, which]
            for which in range(max(shift, 0)):
                self._new(lane, number, which, register=False)
        self.sent.clear()

    def _prompt(self, lane: Lane, number: int) -> None:
        wire = self.messages[number]["msg"]
        if lane.prompt is None:
            lane.prompt = self._known(lane, number) or self._new(lane, number, register=False)
            for entries in (lane.pending, lane.entries):
                if lane.prompt in entries:
                    entries.remove(lane.prompt)
        elif lane.prompt.wire.get("content") != wire.get("content"):
            lane.flags.add("prompt_changed")

    def _reply(self, item: Record) -> None:
        call = self.calls.get(item["c"])
        if usage := item.get("usage"):
            self.tokens[0] += usage[0]
            self.tokens[1] += usage[1]
        if model := item.get("model"):
            self.models[model] = None
        if call is None or item["m"] not in self.messages:
            return
        asked, lane, inputs = call
        self.witness.after(lane, inputs)  # maybe another one spoke meanwhile: a branch beside it
        entry = self._new(lane, item["m"], register=False)
        draft = self._draft(lane, entry, item, self.nodes.get(asked["p"]))
        draft.model = model or asked.get("model")
        lane.said(entry, draft)
        self.replied[item["c"]] = (item["m"], draft)

    def _draft(self, lane: Lane, entry: Entry | None, item: Record, attempt: Attempt | None) -> Draft:
        node = None if attempt is None else attempt.name
        at = None if self.began is None or "d" not in item else self.began + MILLISECOND * item["d"]
        draft = Draft(lane, entry, "", (), node, None, at)
        self.tale.drafts.append(draft)
        if attempt is not None:
            attempt.drafts.append(draft)
        return draft

    def _tool(self, item: Record) -> None:
        lane = self.graphs.get(item["s"], self.root)
        inside = self.tools.get(item.get("up") or 0)
        if inside is not None:  # run by a tool's own code: of interest only where a model in the tool asked for it
            lane = self.tale.lanes.get((id(inside.lane), inside.slot or item["up"], inside.name), lane)
        wanted = item["args"] if "args" in item else self.asked.get(item.get("id") or "")
        name = item["name"]
        slot = lane.slot(item.get("id"), name, wanted)
        if inside is not None and lane is inside.lane:
            slot = None
        elif slot is not None:
            slot.begin()
            if "args" in item and not same_json(slot.input, item["args"]):
                slot.input = item["args"]
                lane.flags.add("edited")
        else:
            slot = Slot(name, item.get("args") or "", item.get("id"), state="running")
            draft = self._draft(lane, None, item, self.nodes.get(item["p"]))
            draft.slots = [slot]
            lane.acted(draft)
        if slot is not None:
            slot.place = self.nodes.get(item["p"])
        self.tools[item["n"]] = ToolRun(slot, lane, name)

    def _tool_end(self, item: Record) -> None:
        run = self.tools.get(item["n"])
        if run is None or run.slot is None:
            return
        number = item.get("m")
        if number in self.messages:
            entry = self._new(run.lane, number, register=False)
            run.lane.observed(run.slot, entry, is_error=self._is_error(number))
        elif item.get("text") is not None:
            run.slot.fill(item["text"], is_error=False)
        else:
            run.slot.state = "done"

    def _tool_error(self, item: Record) -> None:
        run = self.tools.get(item["n"])
        if run is None or run.slot is None:
            return
        if item.get("control"):
            run.slot.state = "waiting"
        else:
            run.slot.fill(item.get("text") or item["error"], is_error=True)

    def _state(self, lane: Lane, numbers: Sequence[int], attempt: Attempt | None, *, rewrite: bool = False) -> None:
        """Read what a graph's state gained: it fills what no event told.

        What stands before the caller's own words is of earlier turns. What a `rewrite` puts in place of removed
        messages is left for the next call's prompt to place.
        """
        numbers = [number for number in numbers if number in self.messages]
        begins = self._turn_in(lane, numbers)
        if begins:
            self._history(lane, numbers[:begins], numbers[begins], rewrite=rewrite)
        placed = any((id(lane), number, 0) in self.entries for number in numbers[begins + 1 :])
        for place in range(begins, len(numbers)):
            number = numbers[place]
            if rewrite and self.messages[number]["msg"]["role"] in ("user", "system"):
                if (id(lane), number, 0) not in self.entries:
                    self._new(lane, number)
                continue
            if (entry := self._known(lane, number)) is not None:
                if lane.position(entry) < 0 and entry not in lane.pending and entry is not lane.prompt:
                    lane.flush()
                    lane.entries.append(entry)
                elif lane.reworded(entry, self.messages[number]["msg"]):
                    self.entries[id(lane), number, 0] = entry
                continue
            lane.flush()
            item = self.messages[number]
            wire = item["msg"]
            if wire["role"] == "assistant":
                self._spoken(lane, number, attempt)
            elif wire["role"] == "tool" and (slot := lane.slot(wire.get("tool_call_id"))):
                if slot.message is not None and (attempt is None or slot.place is not attempt):
                    self.entries[id(lane), number, 0] = slot.message  # a state that is kept short shortened it
                    continue
                entry = self._new(lane, number)  # also where a middleware rewrote what the tool gave
                lane.observed(slot, entry, is_error=self._is_error(number) or slot.is_error)
                continue
            else:
                lane.entries.append(self._new(lane, number))
            if placed and place + 1 < len(numbers):
                self._before(lane, numbers[place + 1 :])

    def _turn_in(self, lane: Lane, numbers: Sequence[int]) -> int:
        """Give the place of the caller's own words in a state; 0 where nothing new stands before them."""
        if self.own:
            last = next((place for place in range(len(numbers) - 1, -1, -1) if numbers[place] in self.own), 0)
            first = max(last - len(self.own), -1) + 1
            return next((place for place in range(first, last) if numbers[place] in self.own), last)
        if lane.turn is None or not self.start.get("resume"):
            return 0
        for place in range(len(numbers) - 1, 0, -1):  # a run that goes on shows them under another number
            item = self.messages[numbers[place]]
            if item["msg"]["role"] == "user" and self._known(lane, numbers[place]) is lane.turn:
                return place
        return 0

    def _history(self, lane: Lane, numbers: Sequence[int], turn: int, *, rewrite: bool) -> None:
        """Take in what a state held of earlier turns: context, and no steps of this one."""
        said = self._known(lane, turn)
        place = -1 if said is None else lane.position(said)
        equal = Counter(number for number in numbers if number in self.own)  # words that were said before, too
        for number, times in equal.items():
            if (mine := self.entries.get((id(lane), number, 0))) is not None:
                self.entries[id(lane), number, times] = mine
                del self.entries[id(lane), number, 0]
        earlier = []
        for number in numbers:
            if number in equal:
                which = equal[number] = equal[number] - 1
                earlier.append(self._new(lane, number, which))
            elif self._known(lane, number) is None:
                earlier.append(self._new(lane, number))
        if not rewrite:
            place = place if place >= 0 else len(lane.entries)
            lane.entries[place:place] = earlier

    def _before(self, lane: Lane, later: Sequence[int]) -> None:
        """Move what was appended last before what the state shows behind it, and is in its place already."""
        entry = lane.entries[-1]
        for number in later:
            behind = self.entries.get((id(lane), number, 0))
            if behind is None or behind.owner is not None or behind is entry or behind not in lane.entries:
                continue
            lane.entries.insert(lane.position(behind), lane.entries.pop())
            if entry.draft is not None and behind.draft is not None:
                for drafts in (lane.drafts, self.tale.drafts):
                    drafts.remove(entry.draft)
                    drafts.insert(drafts.index(behind.draft), entry.draft)
            return

    def _spoken(self, lane: Lane, number: int, attempt: Attempt | None) -> None:
        """Take in an assistant's message from the state: of a nested agent, of a plain client, of a cache."""
        wire = self.messages[number]["msg"]
        for draft in attempt.drafts if attempt else ():
            if (
                draft.entry is not None
                and draft.lane is lane
                and draft.entry.wire.get("content") == wire.get("content")
            ):
                self.entries[id(lane), number, 0] = draft.entry  # the node wrapped the reply anew
                return
        entry = self._new(lane, number, register=False)
        item = self.messages[number]
        if number in self.said or item.get("id") in self.tale.said or item.get("synthetic"):
            lane.entries.append(lane.register(entry))
            return
        lane.said(entry, self._draft(lane, entry, {}, attempt))


# Who reads which kind of item; what messages say, and errors of calls, are read by number.
_READERS: Mapping[str, Callable[[Reading, Record], None]] = {
    "msg": Reading._msg,
    "tools": Reading._tools,
    "graph": Reading._graph,
    "node": Reading._node,
    "node_end": Reading._node_end,
    "graph_end": Reading._graph_end,
    "call": Reading._call,
    "reply": Reading._reply,
    "tool": Reading._tool,
    "tool_end": Reading._tool_end,
    "tool_error": Reading._tool_error,
}
