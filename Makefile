# The commands of ecg-spark. They need Python 3.11 and make; everything else is installed into
# .venv, once, at the versions of requirements.lock.
#
#   make demo PARTICIPANTS=500 VARIANTS=5000 SEED=2    a smaller biobank, another seed
#   make consortium PARTICIPANTS=300 VARIANTS=3000     smaller cohorts
#   make demo GPU=1                                    PyTorch's CUDA build instead of the CPU's
#   make test ARGS="tests/ecg/test_beats.py -x"        a part of the tests, in one process
#   make test WORKERS=1                                where memory is short (three take 16 GB)
#   make setup PYTHON=/opt/python3.11/bin/python3.11   a Python that is not on the PATH

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo consortium test check lint coverage chaos bench cluster lock clean

PARTICIPANTS ?= 2000
VARIANTS ?= 20000
SEED ?= 1
OUT ?= out/demo
STUDY ?= $(OUT)/biobank/study.yaml
ARGS ?=
# The workers share out the test files. Two of them start Spark and Hail, once; the third runs what
# needs neither while they wait for Java, Python and each other.
WORKERS ?= $(if $(ARGS),0,3)
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
export GPU PYTHON

BIN := .venv/bin

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install the environment into .venv, if that is not done yet
	@infra/setup.sh main

demo: setup ## simulate a biobank and run every step of a study on it, up to the report
	$(BIN)/ecg-spark simulate --participants $(PARTICIPANTS) --variants $(VARIANTS) --seed $(SEED) --out $(OUT)/biobank
	$(BIN)/ecg-spark run $(OUT)/biobank/study.yaml

consortium: PARTICIPANTS = 1000
consortium: VARIANTS = 5000
consortium: OUT = out/consortium
consortium: setup ## simulate a hospital and two biobanks; use its model in both, replicate and combine
	$(BIN)/ecg-spark simulate --consortium --participants $(PARTICIPANTS) --variants $(VARIANTS) --seed $(SEED) --out $(OUT)
	$(BIN)/ecg-spark run $(OUT)/hospital/study.yaml
	test -e $(OUT)/model || $(BIN)/ecg-spark model export $(OUT)/hospital/study.yaml --to $(OUT)/model
	$(BIN)/ecg-spark run $(OUT)/first/study.yaml
	$(BIN)/ecg-spark run $(OUT)/second/study.yaml
	$(BIN)/ecg-spark replicate $(OUT)/first/study.yaml --in $(OUT)/second/study.yaml
	$(BIN)/ecg-spark replicate $(OUT)/second/study.yaml --in $(OUT)/first/study.yaml
	$(BIN)/ecg-spark meta $(OUT)/first/study.yaml $(OUT)/second/study.yaml --out $(OUT)/meta

test: setup ## run the tests
	@infra/setup.sh gwas-ssf
	@$(BIN)/python -m tests.builders.java
	$(PYTEST) $(ARGS)

check: WORKERS = $(if $(ARGS),0,2)
check: setup ## style, types, and the tests that need no Spark, MLflow, store or program: a minute
	@$(MAKE) --no-print-directory lint & lint=$$!; \
	$(PYTEST) -q -m "not spark and not hail and not mlflow and not stores and not programs" $(ARGS); \
	tests=$$?; wait $$lint && exit $$tests

lint: setup ## check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

coverage: setup ## run the tests and say which branches they do not take
	$(PYTEST) --cov --cov-branch --cov-report=term-missing:skip-covered $(ARGS)

chaos: setup ## make workers, drivers, disks, servers and networks fail during steps
	$(BIN)/python -m pytest -v --durations=0 --durations-min=1 tests/chaos/chaos_*.py $(ARGS)

bench: setup ## run the benchmarks in tests/bench, one by one
	@for file in tests/bench/bench_*.py; do \
		echo "== $$file"; $(BIN)/python "$$file" || exit; \
	done

cluster: setup ## run the demo's study (or STUDY=...) on a Spark cluster of this machine
	infra/local-cluster/run $(STUDY)

lock: ## resolve the newest allowed versions and write the lock files
	@infra/lock.sh

clean: ## remove environments, builds and caches; results in out/ stay
	rm -rf .venv .venv-ssf .venv-model build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage
	find . -name __pycache__ -type d -not -path './out/*' -prune -exec rm -rf {} +
