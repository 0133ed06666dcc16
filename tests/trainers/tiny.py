"""A model and a tokenizer small enough for a test, made without a network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

STOP, PAD, START = "<|im_end|>", "<|pad|>", "<|im_start|>"

# ChatML with tools. `marked` is what TRL wants; without the markers it is what most models on a hub have.
TEMPLATE = """\
{%- if tools %}
{{- '<|im_start|>tools\\n' }}
{%- for tool in tools %}{{ tool | tojson }}{{ '\\n' }}{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' %}
{%- GENERATION %}
{{- message.content }}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>' }}{{ call.function | tojson }}{{ '</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>' }}
{%- ENDGENERATION %}
{{- '\\n' }}
{%- else %}
{{- message.content + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""
MARKED = TEMPLATE.replace("ENDGENERATION", "endgeneration").replace("GENERATION", "generation")
PLAIN = TEMPLATE.replace("{%- ENDGENERATION %}\n", "").replace("{%- GENERATION %}\n", "")


def tokenizer(texts: Iterable[str], *, template: str = MARKED) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of about 1200 tokens, trained on the texts."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1200,
        special_tokens=[STOP, PAD, START],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=STOP, pad_token=PAD, chat_template=template)


def model(vocabulary: int, *, seed: int = 0) -> LlamaForCausalLM:
    """A random Llama of two layers; the same seed gives the same one."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=1,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config)


def save(folder: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    """Lay both where `from_pretrained` finds them."""
    model(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def gradients(one: Any) -> torch.Tensor:
    """All gradients of a model as one vector."""
    return torch.cat([p.grad.flatten() for p in one.parameters() if p.grad is not None])
