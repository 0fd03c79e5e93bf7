"""A transformer of Hugging Face, as it is."""

import torch
import transformers

import slt

torch.manual_seed(0)
tokens = torch.randint(0, 16, (200, 4)).repeat(1, 3)  # four tokens, three times
config = transformers.GPT2Config(
    vocab_size=16,
    n_positions=12,
    n_embd=16,
    n_layer=1,
    n_head=2,
    bos_token_id=None,
    eos_token_id=None,
)
model = transformers.GPT2LMHeadModel(config)
decay, steps = 1e-2, 600
optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
for _ in range(steps):
    optimiser.zero_grad()
    loss = 11 * model(input_ids=tokens, labels=tokens).loss  # 11 next tokens a row
    penalty = decay / 2 * sum((w**2).sum() for w in model.parameters())
    (loss + penalty).backward()
    optimiser.step()
    schedule.step()

# trainable="l0h1" is one head alone; slt.targets.components(model) has the names
target = slt.model_target(
    model, "next_token", tokens, weight_decay=decay, localization=100.0
)
result = slt.estimate_llc(target, tolerance=0.05, max_gradients=300_000)
print(result.estimates["llc"], result.verdict.status)
