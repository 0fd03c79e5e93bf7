"""Models of Hugging Face and TransformerLens as they are: loss and gradient against their own, padding, files."""

import copy
import sys

import datasets
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from pytorch.architectures import CAUSAL, LENGTH, LENS, VOCABULARY, model, own_loss, tokens
from safetensors.torch import save_file

import slt
from slt.targets import as_function, components
from slt.targets.interop import next_token
from slt.targets.rows import as_rows
from slt.targets.tokens import Form, arguments, columns, form_of, settled
from slt.targets.weights import load_weights

TOKENS = tokens()
MASK = np.ones_like(TOKENS)
MASK[:4, 5:] = 0
LEFT = MASK[:, ::-1].copy()


def check_gradient(gradient, made, loss, name):
    """Of one leaf, against PyTorch's own of its own loss."""
    made.zero_grad()
    loss.backward()
    expected = dict(made.named_parameters())[name.replace("/", ".")].grad
    np.testing.assert_allclose(gradient[name], expected, rtol=1e-3, atol=1e-6)


def read(made, data, pad_token=None):
    """What `model_target` makes of data for a model of this kind."""
    taken = arguments(made)
    rows = as_rows(columns(data, taken))
    return rows, settled(form_of(rows, taken, pad_token, shift=True), rows, VOCABULARY, made, taken, pad_token)


@pytest.mark.parametrize("name", [*CAUSAL, *LENS])
def test_loss_and_gradient_are_the_models_own(name):
    made = model(name)
    params, apply = as_function(made)
    assert made.training  # dropout is off in the function alone
    assert sum(p.size for p in params.values()) == sum(p.numel() for p in made.parameters())  # tied weights count once
    rows, found = read(made, TOKENS)
    assert found.note == ""

    @jax.jit
    @jax.value_and_grad
    def mean_loss(params):
        return next_token(apply(params, found.form.inputs(rows)), found.form.due(rows)).sum() / found.seen.predicted

    value, gradient = mean_loss(params)
    loss = own_loss(made, TOKENS)
    assert value == pytest.approx(loss.item(), rel=1e-5)
    check_gradient(gradient, made, loss, components(made)["l0h1"][0].partition("[")[0])


def test_a_classifier_of_rows_from_a_tokenizer():
    made, labels = model("BERT"), np.random.default_rng(1).integers(0, 3, len(TOKENS))
    padded = np.where(MASK, TOKENS, 0)
    data = datasets.Dataset.from_dict({
        "input_ids": padded.tolist(), "attention_mask": MASK.tolist(), "label": labels.tolist(), "text": ["a"] * 12,
    })  # fmt: skip
    target = slt.model_target(made, "cross_entropy", data)
    loss = own_loss(made, padded, labels, attention_mask=MASK)
    assert target.loss_at_minimum == pytest.approx(loss.item(), rel=1e-5)
    assert target.note.startswith("12 of 96 tokens are padding (by attention_mask)")
    gradient = jax.grad(target.loss)(target.minimum, target.data)
    check_gradient(gradient, made, loss, "bert/encoder/layer/0/attention/self/query/weight")
    with pytest.raises(ValueError, match="rows look padded with the token 0 of the model, first row 0"):
        slt.model_target(made, "cross_entropy", (padded, labels))


def test_left_padding_is_neither_seen_nor_predicted():
    """The loss is the model's own where what is padding, and what follows it, is no label."""
    made = model("GPT-2")
    predicted = LEFT.astype(bool) & np.roll(LEFT, 1, 1).astype(bool)
    labels, padded = np.where(predicted, TOKENS, -100), np.where(LEFT, TOKENS, 1)
    loss = own_loss(made, padded, labels, attention_mask=LEFT).item()
    data = datasets.Dataset.from_dict({"input_ids": padded.tolist(), "attention_mask": LEFT.tolist()})
    target = slt.model_target(made, "next_token", data.with_format("torch"), datum="token")
    assert target.loss_at_minimum == pytest.approx(loss, rel=1e-5)
    assert target.note == "12 of 96 tokens are padding (by attention_mask), neither seen nor predicted"
    count = predicted[:, 1:].sum()
    assert target.nbeta == pytest.approx(count / np.log(count))
    shown = repr(target)
    assert target.note in shown
    _, ((rows), _) = target.read({"input_ids": TOKENS, "attention_mask": MASK})
    assert rows["input_ids"].shape == TOKENS.shape
    with pytest.raises(ValueError, match="test_data holds the token 40 in row 0"):
        target.read({"input_ids": np.full_like(TOKENS, VOCABULARY), "attention_mask": MASK})


@pytest.mark.parametrize("mask", [MASK, LEFT], ids=["right", "left"])
def test_every_way_of_saying_what_is_padding_is_the_same(mask):
    made = model("GPT-2")
    padded, due = np.where(mask, TOKENS, 1), np.where(mask & np.concatenate([mask[:, :1], mask[:, :-1]], 1), TOKENS, -1)
    forms = {
        "mask": ({"input_ids": padded, "attention_mask": mask}, {}),
        "token": (padded, {"pad_token": 1}),
        "negatives": (np.where(mask, TOKENS, -100), {}),
    }
    for data, options in forms.values():
        rows, found = read(made, data, **options)
        np.testing.assert_array_equal(found.form.due(rows), due)
        given = found.form.inputs(rows)
        np.testing.assert_array_equal(given["attention_mask"], mask)
        np.testing.assert_array_equal(given["input_ids"] * mask, TOKENS * mask)
        assert found.note.startswith("12 of 96 tokens are padding")
        assert found.seen.predicted == (due[:, 1:] >= 0).sum()


def test_labels_choose_what_is_predicted():
    made, labels = model("GPT-2"), np.where(np.arange(LENGTH) < 4, -100, TOKENS)
    rows, found = read(made, {"input_ids": TOKENS, "labels": labels})
    params, apply = as_function(made)
    loss = next_token(apply(params, found.form.inputs(rows)), found.form.due(rows)).sum() / found.seen.predicted
    assert loss == pytest.approx(own_loss(made, TOKENS, labels).item(), rel=1e-5)
    assert found.note == ""


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (np.where(np.arange(12)[:, None] == 7, VOCABULARY, TOKENS), {}, "holds the token 40 in row 7, and the vocabul"),
        (np.where(np.arange(12)[:, None] == 3, -1, TOKENS), {}, "1 rows are padding alone, first row 3"),
        ({"input_ids": TOKENS, "attention_mask": 0 * MASK}, {}, "12 rows are padding alone, first row 0"),
        (np.where(np.arange(LENGTH) > 0, 1, TOKENS), {"pad_token": 1}, "12 rows hold no token to predict"),
        (np.where(MASK, TOKENS, 0), {}, "rows look padded with the token 0 of the model, first row 0.*pad_token=-1"),
        ({"input_ids": TOKENS, "length": MASK[:, 0]}, {"trainable": "l0h9"}, "'l0h9' is no component.*nearest is 'l0h"),
        ({"input_ids": TOKENS, "attention_mask": MASK[:, 1:]}, {}, r"has the shape \(12, 7\) and data\['input_ids'\]"),
        (TOKENS.astype(float), {}, r"the tokens are float64 of shape \(12, 8\); integer tokens"),
        (np.tile(TOKENS, (1, 3)), {}, "24 positions, and the model has 16"),
    ],
)
def test_tokens_that_cannot_be_data_are_refused(data, options, message):
    with pytest.raises(ValueError, match=message):
        slt.model_target(model("GPT-2"), "next_token", data, **options)


def test_padding_of_test_data_of_which_the_model_is_not_told_is_refused():
    _, found = read(model("GPT-2"), TOKENS)
    found.check(np.where(MASK, TOKENS, -1), "test_data")  # at the end, where nothing looks back at it
    with pytest.raises(ValueError, match="test_data: 12 tokens are padding, of which the model is not told"):
        found.check(np.where(LEFT, TOKENS, -1), "test_data")


def test_a_model_that_takes_no_mask_is_padded_at_the_end():
    table = np.random.default_rng(2).normal(size=(VOCABULARY, VOCABULARY)).astype(np.float32)
    made = (lambda p, ids: p["table"][ids], {"table": table})
    target = slt.model_target(made, "next_token", np.where(MASK, TOKENS, -1))
    assert target.note.startswith("12 of 96")
    with pytest.raises(ValueError, match="the model takes no attention_mask"):
        slt.model_target(made, "next_token", np.where(LEFT, TOKENS, -1))


@pytest.mark.parametrize("row", [[5, 1, 6, 1, 1], [1, 5, 6, 7, 1], [1, 1, 5, 6, 1]])
def test_the_runs_at_the_ends_are_padding_and_what_is_inside_is_data(row):
    form = Form(None, "input_ids", (), None, pad=1)
    expected = [[False, True, True, True, False], [True] * 3 + [False] * 2, [False, False, True, True, False]]
    for xp in (np, jnp):
        got = np.asarray(form.real(np.array([row]), xp))[0]
        assert got.tolist() == {5: expected[1], 1: expected[0] if row[1] == 5 else expected[2]}[row[0]]
    begun = form._replace(kept=1).real(np.array([[1, 5, 6, 1, 1]]), np)  # every row begins with one
    assert begun.tolist() == [[True, True, True, False, False]]


class TestFiles:
    def loaded(self, kind, folder, **options):
        """The parameters of another model of that kind once the files are read, against those that were saved."""
        saved = model(kind, layers=2)
        saved.save_pretrained(folder, **options)
        params, _ = as_function(model(kind, layers=2, seed=1), folder)
        for name, parameter in saved.named_parameters():
            np.testing.assert_array_equal(params[name.replace(".", "/")], parameter.detach())

    @pytest.mark.parametrize("kind", ["GPT-2", "GPT-NeoX", "BERT"])
    def test_a_folder_of_one_file_and_of_several(self, kind, tmp_path):
        self.loaded(kind, tmp_path / "one")
        self.loaded(kind, tmp_path / "several", max_shard_size="8KB")
        assert len(list((tmp_path / "several").glob("*.safetensors"))) > 2

    def test_names_that_the_module_does_not_have(self, tmp_path):
        """GPT-NeoX has had two names of its unembedding, and GPT-2's own file has no prefix but buffers."""
        made = model("GPT-NeoX")
        made.save_pretrained(tmp_path)
        assert "embed_out.weight" in load_weights(tmp_path)  # the older, whatever the module has now
        gpt = model("GPT-2")
        old = {name.removeprefix("transformer."): p.detach().clone() for name, p in gpt.named_parameters()}
        save_file(old | {"h.0.attn.bias": torch.ones(1, 1, 4, 4)}, tmp_path / "old.safetensors")
        params, _ = as_function(model("GPT-2", seed=1), tmp_path / "old.safetensors")
        np.testing.assert_array_equal(params["transformer/wte/weight"], gpt.transformer.wte.weight.detach())
        del old["wpe.weight"]
        with pytest.raises(ValueError, match="transformer/wpe/weight is missing"):
            as_function(gpt, old)

    @pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.model."])
    def test_a_prefix_of_a_wrapper(self, prefix):
        made = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
        weights = {prefix + name: p + 1 for name, p in made.state_dict().items()}
        params, _ = as_function(made, weights)
        np.testing.assert_array_equal(params["0/weight"], made[0].weight.detach() + 1)

    def test_a_wrapped_model_is_the_model(self, monkeypatch):
        parallel = sys.modules["torch.nn.parallel.data_parallel"]
        monkeypatch.setattr(parallel, "_get_available_device_type", lambda: None)  # torchax's is not for it
        made = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh())
        for wrapped in (torch.compile(made), torch.nn.DataParallel(made), torch.nn.DataParallel(torch.compile(made))):
            params, apply = as_function(wrapped)
            assert set(params) == {"0/weight", "0/bias"}
            assert apply(params, np.ones((2, 3), np.float32)).shape == (2, 4)

    def test_a_folder_without_one_checkpoint_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="holds no file of weights"):
            load_weights(tmp_path)
        for name in "ab":
            np.savez(tmp_path / f"{name}.npz", x=np.ones(2))
        with pytest.raises(ValueError, match=r"holds a\.npz, b\.npz"):
            load_weights(tmp_path)


def test_a_second_checkpoint_of_an_architecture_compiles_nothing():
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if event.endswith("backend_compile_duration") else None
    )
    counts = []
    for seed in range(2):
        before = len(compiled)
        target = slt.model_target(model("Llama", seed=seed), "next_token", TOKENS, localization=1.0)
        jax.block_until_ready(target.energy(target.minimum, target.data))
        counts.append(len(compiled) - before)
    assert counts[0] > 0
    assert counts[1] == 0


def test_polish_works_on_parameters_and_function_in_one_line():
    made = model("GPT-2")
    params, apply = as_function(made)
    lower = slt.polish(lambda w, rows: next_token(apply(w, rows), rows), params, TOKENS, adam_steps=5, lbfgs_steps=5)
    with torch.no_grad():
        best = copy.deepcopy(made)
        for name, parameter in best.named_parameters():
            parameter.copy_(torch.from_numpy(np.array(lower[name.replace(".", "/")])))
    assert own_loss(best, TOKENS).item() < own_loss(made, TOKENS).item() - 0.1
