"""Which tokens are trained: what the assistant said and the row marks, its stop token, and nothing else."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pytest

from agenther_live.errors import ShardError
from agenther_live.integrations.trl import Encoder, KTOCollator, PreferenceCollator, SFTCollator
from tests.shards.examples import hindsight, no_final, one_call
from tests.trainers import tiny


def spans(ids: Any, kept: Any, tokenizer: Any) -> list[str]:
    """The text of each run of kept tokens."""
    found = []
    for keep, group in groupby(zip(ids.tolist(), kept.tolist(), strict=True), key=lambda pair: bool(pair[1])):
        if keep:
            found.append(tokenizer.decode([token for token, _ in group]))
    return found


def said(message: dict[str, Any], tokenizer: Any) -> str:
    """An assistant message as the template of these tests writes it, with its stop token."""
    whole = tokenizer.apply_chat_template([message], tokenize=False)
    return whole.removeprefix("<|im_start|>assistant\n").removesuffix("\n")


def test_labels_are_the_assistant_spans_marked_train(rows: Any, tokenizer: Any) -> None:
    published = rows("trl_sft")
    batch = SFTCollator(tokenizer)(published)
    assert any(False in [m["train"] for m in row["messages"] if m["role"] == "assistant"] for row in published)
    for row, ids, labels in zip(published, batch["input_ids"], batch["labels"], strict=True):
        wanted = [said(m, tokenizer) for m in row["messages"] if m["role"] == "assistant" and m["train"]]
        assert spans(ids, labels != -100, tokenizer) == wanted
        assert ((labels == ids) | (labels == -100)).all()
        assert not row["final_trained"] or wanted[-1].endswith(tiny.STOP)


def test_a_template_without_markers_gives_the_same_labels(rows: Any, tokenizer: Any) -> None:
    published = rows("trl_sft", 8)
    plain = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, eos_token=tiny.STOP, pad_token=tiny.PAD)
    plain.chat_template = tiny.PLAIN
    collator = SFTCollator(plain)
    assert not collator.encoder.marked
    one, two = SFTCollator(tokenizer)(published), collator(published)
    assert all((one[name] == two[name]).all() for name in one)


@pytest.mark.parametrize("make", [hindsight, no_final, one_call])
def test_odd_shapes_too(make: Any, tokenizer: Any) -> None:
    """Parallel calls, a masked turn before the trained ones, a masked final answer."""
    from agenther_live.shards.rows.formats import row

    made = row("trl_sft", make(1))
    batch = SFTCollator(tokenizer)([made])
    wanted = [said(m, tokenizer) for m in made["messages"] if m.get("train")]
    assert spans(batch["input_ids"][0], batch["labels"][0] != -100, tokenizer) == wanted


def test_weights_of_messages_and_rows(tokenizer: Any) -> None:
    from agenther_live.shards.rows.formats import row

    made = row("trl_sft", one_call(1, weight=0.5))
    made["weights"] = [0.5 if flag else 1.0 for flag in made["train"]]
    for severity, factor in ((False, 0.5), (True, 0.25)):
        batch = SFTCollator(tokenizer, severity=severity)([made])
        trained = batch["labels"] != -100
        assert (batch["token_weights"][trained] == factor).all()
        assert (batch["token_weights"][~trained] == 0).all()


def test_the_stop_token_behind_a_marked_turn_is_taken_in(tokenizer: Any) -> None:
    """Some templates end the marked block before the stop token: a model trained so would never stop."""
    short = tiny.MARKED.replace("{{- '<|im_end|>' }}\n{%- endgeneration %}", "{%- endgeneration %}{{- '<|im_end|>' }}")
    assert short != tiny.MARKED
    other = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, eos_token=tiny.STOP, pad_token=tiny.PAD)
    other.chat_template = short
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert Encoder(other)(messages, None, [0, 1]) == Encoder(tokenizer)(messages, None, [0, 1])


def test_a_template_that_renders_a_turn_anew_is_refused(tokenizer: Any) -> None:
    """As those do that take thoughts out of earlier turns."""
    other = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, eos_token=tiny.STOP, pad_token=tiny.PAD)
    other.chat_template = tiny.PLAIN.replace("message.content }}", "message.content if loop.last else '' }}")
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d"},
    ]
    with pytest.raises(ShardError, match="markers"):
        Encoder(other)(messages, None, [0, 1, 0, 1])


def test_a_tokenizer_without_template_is_refused(tokenizer: Any) -> None:
    bare = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, eos_token=tiny.STOP, pad_token=tiny.PAD)
    with pytest.raises(ShardError, match="chat template"):
        SFTCollator(bare)


@pytest.mark.parametrize("fmt", ["trl_dpo", "trl_dpo_step"])
def test_no_tool_result_is_in_a_preference_mask(rows: Any, tokenizer: Any, fmt: Any) -> None:
    published = rows(fmt)
    batch = PreferenceCollator(tokenizer)(published)
    sides = [(row["chosen"]) for row in published] + [row["rejected"] for row in published]
    for side, ids, mask in zip(sides, batch["input_ids"], batch["completion_mask"], strict=True):
        wanted = [said(m, tokenizer) for m in side if m["role"] == "assistant" and m.get("train", True)]
        assert spans(ids, mask, tokenizer) == wanted
    if fmt == "trl_dpo":
        assert any(m["role"] == "tool" for side in sides for m in side)


def test_no_tool_result_is_in_a_kto_mask(rows: Any, tokenizer: Any) -> None:
    published = rows("trl_kto", 12)
    batch = KTOCollator(tokenizer)(published)
    for row, ids, mask in zip(published, batch["input_ids"], batch["completion_mask"], strict=True):
        wanted = [said(m, tokenizer) for m in row["completion"] if m["role"] == "assistant" and m.get("train", True)]
        assert spans(ids, mask, tokenizer) == wanted
    results = [m["content"] for row in published for m in row["completion"] if m["role"] == "tool"]
    kept = [
        text
        for ids, mask in zip(batch["KL_input_ids"], batch["KL_completion_mask"], strict=True)
        for text in spans(ids, mask, tokenizer)
    ]
    assert results
    assert not any(len(result) > 20 and result in text for result in results for text in kept)


def test_kl_completions_are_of_another_trajectory() -> None:
    from agenther_live.integrations.trl.collators import others

    batch = [{"trajectory_id": name} for name in ("a", "a", "b", "c", "c")]
    assert [one["trajectory_id"] for one in others(batch)] == ["c", "c", "a", "b", "b"]
    with pytest.raises(ShardError, match="one trajectory"):
        others(batch[:2])


def test_a_cut_keeps_ids_and_weights_together(rows: Any, tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    published = rows("trl_sft", 2)
    whole = SFTCollator(tokenizer)(published)
    start, end = (SFTCollator(tokenizer, max_length=300, keep_end=keep)(published) for keep in (False, True))
    assert (start["input_ids"] == whole["input_ids"][:, :300]).all()
    caplog.clear()
    SFTCollator(tokenizer, max_length=10)(published)
    assert len(caplog.records) == 1
    assert "max_length = 10" in caplog.text
    size = int(whole["attention_mask"][0].sum())
    assert (end["labels"][0] == whole["labels"][0][size - 300 : size]).all()
