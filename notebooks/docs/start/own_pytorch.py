"""A PyTorch module, as it stands after training."""

import torch

import slt

torch.manual_seed(0)
inputs = torch.randn(200, 2)
labels = (inputs[:, 0] * inputs[:, 1] > 0).long()
nn = torch.nn
model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
decay = 1e-2
optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
for _ in range(1000):
    optimiser.zero_grad()
    loss = nn.functional.cross_entropy(model(inputs), labels)
    penalty = decay / 2 * sum((w**2).sum() for w in model.parameters())
    (loss + penalty).backward()
    optimiser.step()

data = (inputs, labels)
target = slt.model_target(
    model, "cross_entropy", data, weight_decay=decay, localization=1.0
)
result = slt.estimate_llc(target, tolerance=0.05)
print(result.estimates["llc"], result.verdict.status)
