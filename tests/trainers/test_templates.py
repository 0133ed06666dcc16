"""`shards check --tokenizer`: does the chat template take every row, and mark what is to be trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agenther_live.errors import UsageError
from agenther_live.shards.checks.check import check
from agenther_live.shards.checks.templates import RENDERED, renderer
from agenther_live.shards.rows.formats import encode, row
from tests.shards.examples import a_pair, a_step, failed, hindsight, one_call, plain
from tests.shards.ledger import SqliteLedger
from tests.shards.test_mixing import publish
from tests.trainers.tiny import MARKED, PLAIN, tokenizer

SAMPLES = [plain(1), one_call(1), hindsight(1), failed(1), a_pair(1), a_step(1)]


def saved(folder: Path, template: str | None) -> str:
    texts = [encode(row("trl_sft", one)).decode() for one in SAMPLES[:3]]
    tokenizer(texts, template=template or "").save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("template", [MARKED, PLAIN])
def test_every_row_of_every_rendered_format_is_taken(tmp_path: Path, template: str) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.db")
    ledger.add(SAMPLES)
    publish(ledger, tmp_path / "shards", *RENDERED, "sharegpt")
    report = check(tmp_path / "shards", render=renderer(saved(tmp_path / "tokenizer", template)))
    assert (report.bad, report.checked) == ([], 15)


def test_what_a_template_refuses_or_does_not_mark_is_said(tmp_path: Path) -> None:
    good = json.loads(encode(row("trl_sft", one_call(1))))
    strict = "{{ raise_exception('no tools here') if tools else '' }}" + MARKED
    assert "no tools here" in renderer(saved(tmp_path / "a", strict))("trl_sft", good)[0]
    late = MARKED.replace("{{- '<|im_end|>' }}\n{%- endgeneration %}", "{%- endgeneration %}{{- '<|im_end|>' }}")
    assert late != MARKED
    [problem] = renderer(saved(tmp_path / "b", late))("trl_sft", good)
    assert "stop token" in problem
    nothing = "{% if not messages %}{% generation %}{% endgeneration %}{% endif %}" + PLAIN
    [problem] = renderer(saved(tmp_path / "c", nothing))("trl_sft", good)
    assert "marks nothing" in problem
    pair = json.loads(encode(row("trl_dpo", a_pair(1))))
    assert len(renderer(str(tmp_path / "c"))("trl_dpo", pair)) == 2
    assert renderer(str(tmp_path / "c"))("sharegpt", {}) == []


def test_what_is_no_tokenizer_is_an_error_of_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be loaded"):
        renderer(str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="no chat template"):
        renderer(saved(tmp_path / "bare", None))
