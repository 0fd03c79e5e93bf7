"""Tiny models with random weights, from configurations alone: what Hugging Face and TransformerLens users have."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is downloaded
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np
import pytest
import torch

VOCABULARY, HEADS, LENGTH = 40, 4, 8
SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": 16, "num_attention_heads": HEADS, "intermediate_size": 24,
    "max_position_embeddings": 16,
}  # fmt: skip
ENDS = {"bos_token_id": 0, "eos_token_id": 0}
CAUSAL = {
    "GPT-2": ("GPT2LMHeadModel", "GPT2Config", {"vocab_size": VOCABULARY, "n_embd": 16, "n_head": HEADS,
                                                "n_positions": 16, "n_inner": 24} | ENDS),
    "GPT-NeoX": ("GPTNeoXForCausalLM", "GPTNeoXConfig", SHAPE | ENDS),
    "Llama": ("LlamaForCausalLM", "LlamaConfig", SHAPE | {"num_key_value_heads": 2}),
    "Qwen2": ("Qwen2ForCausalLM", "Qwen2Config", SHAPE | ENDS | {"num_key_value_heads": 2}),
    "Qwen3": ("Qwen3ForCausalLM", "Qwen3Config", SHAPE | ENDS | {"num_key_value_heads": 2, "head_dim": 4}),
    "Gemma": ("GemmaForCausalLM", "GemmaConfig", SHAPE | {"num_key_value_heads": 1, "head_dim": 8}),
}  # fmt: skip
BERT = ("BertForSequenceClassification", "BertConfig", SHAPE | {"num_labels": 3})
LENS = ("TransformerLens", "TransformerLens, grouped")
KV_HEADS = {"Llama": 2, "Qwen2": 2, "Qwen3": 2, "Gemma": 1, "TransformerLens, grouped": 2}
EVERY = (*CAUSAL, "BERT", *LENS)


def tokens(rows: int = 12, seed: int = 0) -> np.ndarray:
    """None of which is padding or an end of text by any configuration of these."""
    return np.random.default_rng(seed).integers(3, VOCABULARY, (rows, LENGTH))


def model(name: str, *, layers: int = 1, seed: int = 0) -> torch.nn.Module:
    """In training mode, as training leaves it; every parameter is random, also those that start at 0 or 1."""
    torch.manual_seed(seed)
    if name in LENS:
        made = _lens(layers, grouped=name == LENS[1])
    else:
        transformers = pytest.importorskip("transformers", reason="the extra slt-toolkit[hf] is not installed")
        kind, config, options = BERT if name == "BERT" else CAUSAL[name]
        depth = {"n_layer": layers} if name == "GPT-2" else {"num_hidden_layers": layers}
        made = getattr(transformers, kind)(getattr(transformers, config)(**options, **depth))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made.train()


def _lens(layers: int, *, grouped: bool) -> torch.nn.Module:
    lens = pytest.importorskip("transformer_lens", reason="transformer-lens is not installed")
    if not hasattr(lens, "HookedTransformer"):
        pytest.skip("this transformer-lens has no HookedTransformer; 3.x is the last that has")
    extra = {"n_key_value_heads": 2, "positional_embedding_type": "rotary", "rotary_dim": 4} if grouped else {}
    config = lens.HookedTransformerConfig(
        n_layers=layers, d_model=16, n_ctx=16, d_head=4, n_heads=HEADS, d_vocab=VOCABULARY, d_mlp=24, act_fn="gelu",
        seed=0, **extra,
    )  # fmt: skip
    return lens.HookedTransformer(config, move_to_device=False)


def own_loss(made: torch.nn.Module, ids: np.ndarray, labels: np.ndarray | None = None, **options) -> torch.Tensor:
    """The mean loss that the model itself computes [nats/token, or nats/row of BERT]."""
    made.eval()
    given = torch.from_numpy(np.asarray(ids))
    if type(made).__name__ == "HookedTransformer":
        return made(given, return_type="loss")
    named = {name: torch.from_numpy(np.asarray(value)) for name, value in options.items()}
    return made(input_ids=given, labels=given if labels is None else torch.from_numpy(labels), **named).loss
