import datasets
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import slt
from slt.targets.views import view_model
from slt.targets.weights import load_weights

RNG = np.random.default_rng(0)
X, LABELS = RNG.normal(size=(60, 3)).astype(np.float32), RNG.integers(0, 4, 60)
SHAPES = {"first/bias": (5,), "first/weight": (5, 3), "second/bias": (4,), "second/weight": (4, 5)}
WEIGHTS = {name: RNG.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.dropout = nn.Linear(3, 5), nn.Linear(5, 4), nn.Dropout(0.5)

    def forward(self, x):
        return self.second(self.dropout(torch.tanh(self.first(x))))


def plain(params, x):
    hidden = jnp.tanh(x @ params["first"]["weight"].T + params["first"]["bias"])
    return hidden @ params["second"]["weight"].T + params["second"]["bias"]


def nested(flat):
    return {layer: {kind: flat[f"{layer}/{kind}"] for kind in ("weight", "bias")} for layer in ("first", "second")}


def target_of(model, loss="cross_entropy", **options):
    return slt.model_target(model, loss, (X, LABELS), localization=1.0, **options)


@pytest.fixture
def net():
    return Net()


@pytest.fixture
def pair(net):
    return target_of(net, weights=WEIGHTS), target_of((plain, nested(WEIGHTS)))


def test_loss_and_gradient_are_those_of_jax_and_of_torch_itself(pair, net):
    torch_target, plain_target = pair
    assert {name: leaf.shape for name, leaf in torch_target.minimum.items()} == SHAPES
    assert torch_target.loss_at_minimum == pytest.approx(plain_target.loss_at_minimum, rel=1e-6)
    moved = jax.tree.map(lambda a: a + 0.1, torch_target.minimum)
    found, expected = (jax.grad(t.energy)(moved, t.data) for t in pair)
    net.eval()
    net.load_state_dict({name.replace("/", "."): torch.from_numpy(np.array(a)) for name, a in moved.items()})
    nn.functional.cross_entropy(net(torch.from_numpy(X)), torch.from_numpy(LABELS)).backward()
    for name, parameter in net.named_parameters():
        path = name.replace(".", "/")
        np.testing.assert_allclose(found[path], expected[path], rtol=1e-4, atol=1e-5)
        by_torch = torch_target.nbeta * parameter.grad.numpy() + 0.1  # gamma (w - w*) is 0.1
        np.testing.assert_allclose(found[path], by_torch, rtol=1e-4, atol=1e-5)


def test_the_same_key_gives_the_same_draws_as_jax(pair):
    drawn = []
    for target in pair:
        starts = jax.tree.map(lambda a: jnp.stack([a, a]), target.minimum)
        kernel = slt.samplers.sghmc(target.energy, step_size=0.05, friction=1.0)
        draws = slt.samplers.sample(
            jax.random.key(1), kernel, starts, target.data, observe=target.loss, num_draws=5, batch_size=16,
            keep_positions=True,
        )  # fmt: skip
        drawn.append(draws.positions)
    for name in SHAPES:
        np.testing.assert_allclose(drawn[0][name], drawn[1][name], rtol=1e-4, atol=1e-5)


def test_a_loss_written_in_torch_is_taken_as_it_is(net, pair):
    def loss(outputs, targets):
        return nn.functional.cross_entropy(outputs, targets, reduction="none")

    target = target_of(net, loss, weights=WEIGHTS)
    assert target.loss_at_minimum == pytest.approx(pair[1].loss_at_minimum, rel=1e-6)


def test_evaluation_mode_uses_running_statistics_and_leaves_the_model_alone():
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 4))
    model(torch.from_numpy(X + 2))
    view = view_model(model)
    assert set(view.params) == {"0/bias", "0/weight", "1/bias", "1/weight", "3/bias", "3/weight"}
    assert model.training
    model.eval()
    with torch.no_grad():
        expected = model(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(view.apply(view.params, X), expected, rtol=1e-4, atol=1e-5)


def test_attention_and_tied_embeddings_and_one_head():
    class Language(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(7, 8)
            self.attn = nn.MultiheadAttention(8, 2, batch_first=True)
            self.head = nn.Linear(8, 7, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, tokens):
            hidden = self.embed(tokens)
            mask = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).triu(1)
            return self.head(hidden + self.attn(hidden, hidden, hidden, attn_mask=mask, need_weights=False)[0])

    torch.manual_seed(0)
    model, tokens = Language(), RNG.integers(0, 7, (12, 6))
    target = slt.model_target(model, "next_token", tokens, datum="token")
    assert "head/weight" not in target.minimum  # one parameter with the embedding
    model.eval()
    given = torch.from_numpy(tokens)
    loss = nn.functional.cross_entropy(model(given)[:, :-1].reshape(-1, 7), given[:, 1:].reshape(-1))
    assert target.loss_at_minimum == pytest.approx(loss.item(), rel=1e-5)
    loss.backward()
    gradient = jax.grad(target.loss)(target.minimum, target.data)
    np.testing.assert_allclose(gradient["embed/weight"], model.embed.weight.grad, rtol=1e-3, atol=1e-6)
    head = ["attn/in_proj_weight[0:4]", "attn/in_proj_weight[8:12]", "attn/in_proj_weight[16:20]"]
    one = slt.model_target(model, "next_token", tokens, trainable=[*head, "attn/out_proj/weight[:, 0:4]"])
    assert one.num_params == 3 * 4 * 8 + 8 * 4


def test_frozen_parameters_are_not_sampled(net):
    net.first.requires_grad_(False)
    assert set(view_model(net).params) == {"second/bias", "second/weight"}
    with pytest.raises(ValueError, match="requires a gradient"):
        view_model(net.requires_grad_(False))


def test_a_state_dict_is_read_and_a_pickle_is_not(tmp_path, net):
    torch.save({name: tensor.bfloat16() for name, tensor in net.state_dict().items()}, tmp_path / "state.pt")
    target = target_of(Net(), weights=tmp_path / "state.pt")
    np.testing.assert_allclose(target.minimum["first/weight"], net.first.weight.detach(), rtol=1e-2)
    torch.save(net, tmp_path / "whole.pt")
    with pytest.raises(ValueError, match="not a file of plain tensors"):
        load_weights(tmp_path / "whole.pt")
    with pytest.raises(ValueError, match="first/bias is missing"):
        view_model(net, {"bias": np.ones(5)})


def test_a_data_loader_is_an_iterable_of_batches(net):
    rows = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(LABELS))
    loader = torch.utils.data.DataLoader(rows, batch_size=16)
    target = slt.model_target(net, "cross_entropy", loader, weights=WEIGHTS)
    assert target.num_data == 60
    assert target.loss_at_minimum == pytest.approx(target_of(net, weights=WEIGHTS).loss_at_minimum, rel=1e-6)


def test_a_hugging_face_dataset_is_rows(net):
    data = datasets.Dataset.from_dict({"inputs": X.tolist(), "targets": LABELS.tolist()})
    target = slt.model_target(net, "cross_entropy", data, weights=WEIGHTS)
    assert target.loss_at_minimum == pytest.approx(target_of(net, weights=WEIGHTS).loss_at_minimum, rel=1e-6)
