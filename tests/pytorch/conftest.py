"""These tests need PyTorch: `make torch-test` installs it into an environment of its own and runs them."""

import importlib.util

NEEDED = ("torch", "torchax")
collect_ignore_glob = [] if all(importlib.util.find_spec(name) for name in NEEDED) else ["test_*.py"]
