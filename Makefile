# Every command sets up what it needs; a fresh clone and Python 3.11 are enough.
PYTHON ?= python3
BIN := .venv/bin
FAMILY := qwen2-vl

.PHONY: help setup demo serve test check bench-accuracy bench-chaos bench-fidelity bench-llm \
	bench-serve bench-store bench-towers bench-wire bench-break-case deploy-check format protos \
	release-protos clean

help:
	@echo "make demo             both services on this machine, real questions, a report"
	@echo "make test             all tests"
	@echo "make check            format, lint, types, import rules, protos"
	@echo "make deploy-check     manifests, compose, dashboards and queries, offline"
	@echo "make serve            both services, until Ctrl-C"
	@echo "make bench-accuracy   accuracy of each profile on held-out questions"
	@echo "make bench-chaos      both services under fire: what becomes of each request (QUICK=1: less)"
	@echo "make bench-llm        time and memory of the LLM, with pruning and without"
	@echo "make bench-serve      both services under load"
	@echo "make bench-store      inline or fetched, kept or encoded again, eight bits or sixteen"
	@echo "make bench-towers     time of real vision towers, with merging and without"
	@echo "make bench-wire       tokens and bytes of a video between the halves"
	@echo "make bench-break-case merging rows and columns against merging one line"
	@echo "make bench-fidelity   every method, ours and others', at equal tokens (QUICK=1: minutes)"
	@echo "make format           rewrite the code the way 'make check' wants it"
	@echo "make protos           generate the Python stubs again"

setup: .venv/.ready

# torch first and on its own: what is installed after it then keeps the build that fits the machine.
.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: setup
	$(BIN)/python -m benchmarks.demo --family $(FAMILY)

serve: setup
	$(BIN)/luvc serve

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint protos
	$(BIN)/buf format --exit-code -d protos
	$(BIN)/buf breaking protos --against protos/released.binpb
	$(BIN)/python -m tests.stubs_are_current

deploy-check: setup
	$(BIN)/python -m deploy.check

bench-accuracy: setup
	$(BIN)/python -m benchmarks.accuracy

bench-chaos: setup
	$(BIN)/python -m benchmarks.chaos $(if $(QUICK),--quick)

bench-llm: setup
	$(BIN)/python -m benchmarks.llm

bench-serve: setup
	$(BIN)/python -m benchmarks.serve

bench-store: setup
	$(BIN)/python -m benchmarks.store

bench-towers: setup
	$(BIN)/python -m benchmarks.towers

bench-wire: setup
	$(BIN)/python -m benchmarks.wire

bench-break-case: setup
	$(BIN)/python -m benchmarks.break_case

bench-fidelity: setup
	$(BIN)/python -m benchmarks.fidelity $(if $(QUICK),--quick)

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/buf format -w protos

protos: setup
	cd protos && ../$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. \
		--grpc_python_out=. luvc/v1/*.proto

# The contract that `make check` holds new protos against. Made once for each release.
release-protos: setup
	$(BIN)/buf build protos -o protos/released.binpb

clean:
	rm -rf .venv runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
