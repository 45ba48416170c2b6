# Thin names for real commands. Everything runs in .venv, which is made on first use.

PYTHON ?= python3
PORT ?= 7860
PIP_FLAGS ?=
DATA ?=
OUT ?= lib/largemodels/checkpoints

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt $(PIP_FLAGS)

train = $(BIN)/largemodels train $(1) \
	--data $(or $(DATA),$(error say where the data lies: make $@ DATA=folder)) --out $(OUT)/$(2)

.DEFAULT_GOAL := help
.PHONY: help serve build test check table train-poem train-shakespeare train-bert train-bilingual train-digits train-translator figures measure speed lighthouse clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: .venv/serve.stamp ## the site and its live demos on http://127.0.0.1:7860 (PORT=8000 for another port)
	PORT=$(PORT) $(BIN)/largemodels serve

build: .venv/serve.stamp ## write the static site to site/
	$(BIN)/largemodels build

test: check ## all checks, then all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

check: .venv/dev.stamp ## style, types, import directions
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

train-poem: .venv/dev.stamp ## train the Chinese poetry GPT (DATA=folder that holds chinese-poetry)
	$(call train,poem-gpt,poem-gpt-zh)

train-shakespeare: .venv/dev.stamp ## train the English GPT (DATA=folder that holds tinyshakespeare)
	$(call train,shakespeare-gpt,shakespeare-gpt-en)

train-bert: .venv/dev.stamp ## train the sentiment BERT (DATA=folder that holds the review corpora)
	$(call train,sentiment-bert,sentiment-bert-zh-en)

train-bilingual: .venv/dev.stamp ## pretrain the bilingual BERT (DATA=folder that holds the corpora its card names)
	$(call train,bilingual-bert,bilingual-bert)

train-digits: .venv/dev.stamp ## train the two networks that read digits (DATA=folder that holds mnist-10k)
	$(call train,digits --model mlp,digits-mlp)
	$(call train,digits --model lenet,digits-lenet)

train-translator: .venv/dev.stamp ## train the English-Chinese translator (DATA=folder that holds tatoeba-eng-cmn)
	$(call train,translator,translator-en-zh)

figures: .venv/dev.stamp ## measure again what the pages draw: memory against distance, cost against length, …
	$(BIN)/largemodels train long-range --out lib/largemodels/measurements
	$(BIN)/largemodels train norm-placement --out lib/largemodels/measurements

measure: .venv/dev.stamp ## seconds to the first page and each demo's first answer, MB installed, page weight
	PYTHONPATH=tests $(BIN)/python tests/benchmarks/start.py
	PYTHONPATH=tests $(BIN)/python tests/benchmarks/page_weight.py

speed: .venv/dev.stamp ## tokens a second of `pretrain` beside a plain loop of the same model, in one run
	$(BIN)/python tests/benchmarks/training_speed.py

table: .venv/dev.stamp ## each concept: largest difference to its reference, demo time, lines
	PYTHONPATH=tests:. $(BIN)/python tests/benchmarks/concept_table.py

lighthouse: .venv/dev.stamp ## Lighthouse scores of one lesson page per language (needs npx and Chromium)
	PYTHONPATH=tests $(BIN)/python tests/benchmarks/lighthouse.py

clean: ## remove .venv, the built site and caches
	rm -rf .venv site .cache build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch first and by itself: every other package then accepts the version that is there.
.venv/torch.stamp:
	$(PYTHON) -m venv .venv
	$(PIP) torch
	touch $@

.venv/serve.stamp: .venv/torch.stamp pyproject.toml constraints.txt
	$(PIP) --editable '.[docs,demos]'
	touch $@

.venv/dev.stamp: .venv/torch.stamp pyproject.toml constraints.txt
	$(PIP) --editable '.[docs,demos,train,dev]'
	touch .venv/serve.stamp $@
