# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
# Everything here needs only Python 3.11 or 3.12 and make; the virtual environment lives in .venv.

PYTHON ?= python3
VENV   ?= .venv
PY      = $(VENV)/bin/python
BUDGET ?= ladder
STAGES ?= stage1_tokenizer
REPORT ?= report

export TF_CPP_MIN_LOG_LEVEL = 2

.PHONY: help quickstart test test-all ladder standins assets lint scale lock clean

help: ## what there is to make
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/core: requirements.txt
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	touch $@

$(VENV)/test: $(VENV)/core requirements-test.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-test.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps dashscope==2.0.2
	touch $@

quickstart: $(VENV)/core ## set up, train a little on the world, evaluate, write report/index.html (minutes, two cores)
	$(PY) -m focus_jax.train --config=configs/stage1_tokenizer.py:tiny --workdir=runs/quickstart \
	  --config.data.phases[0].steps=900 --config.validate_every=300 --config.pictures_every=300 --config.checkpoint_every=300
	$(PY) -m focus_jax.evaluate --config=configs/eval.py:world_reconstruction --checkpoint=runs/quickstart --report=$(REPORT)
	@echo "open $(REPORT)/index.html"

test: $(VENV)/test ## set up and run the fast tests (under 12 minutes on two cores)
	$(PY) -m pytest -n 2 --dist loadfile -m "not slow" -q

test-all: $(VENV)/test lint ## the fast tests and the slow ones (under 45 minutes on two cores)
	$(PY) -m pytest -n 2 --dist loadfile -q

lint: $(VENV)/test ## ruff, and mypy on what is not JAX array code
	$(PY) -m ruff check .
	$(PY) -m mypy

ladder: $(VENV)/core ## train the tiny stages (STAGES=..., BUDGET=ladder|long), evaluate each into report/; resumable
	$(PY) launch/ladder.py --stages=$(STAGES) --budget=$(BUDGET) --report=$(REPORT)

standins: $(VENV)/core ## train the stand-ins for public weights on the world and evaluate them (long; resumable)
	$(PY) launch/ladder.py --standins --report=$(REPORT)

assets: $(VENV)/core ## copy trained stand-ins into assets/ where their figures are not worse
	$(PY) launch/assets.py --report=$(REPORT)

scale: $(VENV)/test ## compile the full stages for TPU slices and renew docs/scale.md (long)
	$(PY) launch/scale.py

lock: $(VENV)/test ## renew the pinned sets
	$(PY) -m pip install --quiet uv
	$(PY) -m uv pip compile --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-header \
	  --no-emit-index-url --no-emit-find-links pyproject.toml -o requirements.txt

clean: ## remove what runs made (not data/)
	rm -rf runs report .pytest_cache .ruff_cache .mypy_cache
