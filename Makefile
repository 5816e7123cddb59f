# What one does with easel, a verb each. `make` alone lists them.
#
# Without a GPU, PyTorch's CPU build spares gigabytes where no local wheel is at hand:
#   make setup TORCH_INDEX=the-index-of-cpu-builds-that-pytorch.org-names

PYTHON ?= python3
TORCH_INDEX ?=
BIN := .venv/bin
export OMP_WAIT_POLICY ?= passive

help:
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: .venv/installed  ## make .venv and install easel with all it needs

# torch goes first and exactly, so that a CPU wheel at hand is taken in place of the larger CUDA build.
.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $$(grep ^torch== constraints.txt) -c constraints.txt
	$(BIN)/pip install --quiet -e '.[server,worker,dev]' -c constraints.txt
	touch $@

demo: setup  ## paint one picture through the whole stack (PROMPT="…" REFERENCE=picture.png)
	@$(BIN)/python examples/demo.py

serve: setup  ## start the whole system and leave it running
	@$(BIN)/easel serve

test: setup  ## run all tests
	$(BIN)/python -m pytest

check: lint test  ## ruff, mypy and all tests

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: setup  ## let ruff mend and format what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## print the server's figures beside what easel promises
	@$(BIN)/python bench/server.py

.PHONY: help setup demo serve test check lint fix bench
