# make setup | quickstart | test | docs (build/docs/site/index.html) | test-slurm (on a throw-away cluster of its own; skipped where
# SLURM is not installed) | planted (some eighty errors are planted in a copy of the tree, one at a time: a test sees each; ONLY=HD95 for some) |
# same REF=<commit> (small runs with that commit and with this tree have the same records and weights) | nnunet (nnU-Net 2.8.1 in .venv-nnunet reads an export) | speed (docs/speed.md measured here and drawn anew, two hours; ONLY=views for one) |
# speed-gpu (ten minutes on a machine with a card: throughput, memory, data-wait; writes the calibration that `bench plan --gpu` reads)
#
# Another torch build (CUDA, ROCm) on an ordinary machine: name its version and PyTorch's own index,
#   make setup TORCH=torch==2.13.0 TORCH_INDEX=<the index URL that pytorch.org gives for it>
# An existing .venv with a fitting torch is kept.
#
# make setup LOCKED=1 takes every other package by its hash, from .ci/requirements.lock (Python 3.11, Linux x86_64).

PYTHON ?= python3
TORCH ?= torch==2.13.0
TORCH_INDEX ?=
LOCKED ?=
PYTEST_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python .ci/install.py

.PHONY: setup quickstart test test-slow test-slurm planted same nnunet speed speed-gpu lint docs clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml .ci/constraints.txt .ci/requirements.lock
	@echo "Set-up of $(VENV): with torch's CPU build 0.5 GB to download, 2.1 GB on disk; with a CUDA build, PyPI's for Linux, 3 GB more to download"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c "import torch; v = torch.__version__.split('.'); assert (int(v[0]), int(v[1])) >= (2, 10)" 2>/dev/null \
	  || $(INSTALL) --bar "1 of 2: $(TORCH)" $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$(TORCH)"
	@grep -v '^torch==' .ci/constraints.txt > $(VENV)/constraints.txt
	@$(BIN)/python -c "from importlib.metadata import version; print('torch==' + version('torch'))" >> $(VENV)/constraints.txt
	@$(if $(LOCKED),$(INSTALL) "2 of 2: packages by their hashes" --require-hashes --no-deps -r .ci/requirements.lock)
	@$(BIN)/python -m pip uninstall -q -y bench 2>/dev/null  # its name until 0.2.0, another project's on the index
	@$(INSTALL) "$(if $(LOCKED),bench,2 of 2: bench and its packages)" $(if $(LOCKED),--no-deps,-c $(VENV)/constraints.txt) -e ".[dev]"
	@touch $@

quickstart: setup
	@echo "The quickstart takes about 4 CPU-minutes: two minutes on two quiet cores, four where they are busy"
	$(BIN)/bench run protocols/quickstart.yaml --out runs/quickstart

test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

test-slow: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow $(PYTEST_ARGS)

test-slurm: setup
	$(BIN)/python -m pytest -m slurm $(PYTEST_ARGS) tests/slurm

planted: setup
	$(BIN)/python tests/planted.py $(ONLY)

same: setup
	$(BIN)/python tests/same_records.py $(REF)

.venv-nnunet/.installed: $(VENV)/.installed
	@echo "Set-up of .venv-nnunet: 1.9 GB on disk with torch's CPU build; about a minute on a fast connection"
	@test -x .venv-nnunet/bin/python || $(PYTHON) -m venv .venv-nnunet
	.venv-nnunet/bin/python -m pip install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$(TORCH)"
	@.venv-nnunet/bin/python -c "from importlib.metadata import version; print('torch==' + version('torch'))" > .venv-nnunet/torch.txt
	.venv-nnunet/bin/python -m pip install -c .venv-nnunet/torch.txt nnunetv2==2.8.1
	@touch $@

nnunet: .venv-nnunet/.installed
	$(BIN)/python -m pytest $(PYTEST_ARGS) tests/nets/test_real_nnunet.py

speed: setup
	$(BIN)/python tools/speed/every.py $(ONLY)

speed-gpu: setup
	$(BIN)/python tools/speed/on_card.py

$(VENV)/.docs: $(VENV)/.installed
	@$(INSTALL) "what the site is built with" $(if $(LOCKED),--no-deps,-c $(VENV)/constraints.txt) -e ".[docs]"
	touch $@

docs: $(VENV)/.docs
	$(BIN)/python -m bench.extras.site build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build -q --strict -f build/docs/mkdocs.yml

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build dist *.egg-info
