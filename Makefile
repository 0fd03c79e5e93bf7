# Needs make and a Python of 3.12 or later; everything else is installed into .venv.
.DEFAULT_GOAL := help
.PHONY: help demo test notebooks docs torch-test slow validate benchmarks dist clean

BIN := .venv/bin
CANDIDATES := python3.13 python3.12 python3.14 python3 python

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*##/\1:/p' Makefile

# $(1): the environment, $(2): its extras
define install
	@set -e; \
	for python in $(CANDIDATES); do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "slt needs Python 3.12 or later; none of these is one: $(CANDIDATES)." >&2; \
	  echo "Install one (python.org, pyenv, uv or your system's packages) and put it on PATH." >&2; \
	  exit 1; \
	fi; \
	[ -x $(1)/bin/python ] || $$found -m venv $(1)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[$(2)]'
	@touch $@
endef

.venv/.installed: pyproject.toml
	$(call install,.venv,test)

.venv-torch/.installed: pyproject.toml
	$(call install,.venv-torch,torch-test)

.venv-docs/.installed: pyproject.toml
	$(call install,.venv-docs,docs)

demo: .venv/.installed  ## estimate the learning coefficient of the shipped digits classifier
	$(BIN)/slt estimate data/digits.toml --overwrite --figures results/figures

test: .venv/.installed  ## lint, layering, types and all quick tests
	$(BIN)/ruff check
	$(BIN)/lint-imports
	$(BIN)/pyright
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow and not notebook"

notebooks: .venv/.installed  ## run every notebook on a small setting
	$(BIN)/pytest -n 2 --dist worksteal -m notebook

docs: .venv-docs/.installed  ## the site, in build/site; needs no network once it is set up, and a warning is an error
	.venv-docs/bin/python notebooks/docs/tools/articles.py
	JAX_COMPILATION_CACHE_DIR=.pytest_cache/jax .venv-docs/bin/python -m doctest notebooks/docs/examples/*.md
	.venv-docs/bin/sphinx-build -E -W --keep-going -q -b html notebooks/docs build/site
	@echo "Open build/site/index.html."

torch-test: .venv-torch/.installed  ## the tests of PyTorch models, in an environment with PyTorch (several GB)
	.venv-torch/bin/pytest -n 2 --dist worksteal tests/pytorch

slow: .venv/.installed  ## the long statistical tests
	$(BIN)/pytest -n 2 --dist worksteal -m slow

validate: .venv/.installed  ## every potential of the catalogue against its exact value (slow)
	$(BIN)/slt validate --suite full

QUICK := exact_cases "bound_validity 500" volume_measures pushforward_exact pushforward_singular "sample_kl --draws 400 --steps 200"

benchmarks: .venv/.installed  ## the quick benchmarks; tests/benchmarks/README.md has all
	@set -e; for asked in $(QUICK); do \
	  set -- $$asked; script=$$1; shift; echo "== $$script $$*"; \
	  PYTHONPATH=.:tests:tests/exact $(BIN)/python tests/benchmarks/$$script.py "$$@"; \
	done

dist: .venv-docs/.installed  ## wheel and sdist in dist/, tried in clean environments without the clone
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check build
	.venv-docs/bin/python -m build --outdir dist .
	.venv-docs/bin/python tests/wheel.py dist

clean:  ## remove the environment, caches and results
	rm -rf .venv .venv-docs .venv-torch build dist results .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find slt tests data -name __pycache__ -type d -prune -exec rm -rf {} +
