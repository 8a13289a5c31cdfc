# Every target sets itself up: .venv is made and filled when pyproject.toml or constraints.txt changed, else nothing happens.
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo check test test-faults test-slow lint proto serve bench clean
.DEFAULT_GOAL := test

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "needs Python 3.11: set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "setting up .venv (once; torch is 200 MB)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@# The Triton server that tests run. Alone: only its binary is used, and its Python side asks for an older numpy.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps nvidia-pytriton
	@touch $@

demo: $(READY)
	$(BIN)/eyecatch demo --out demo.png

serve: $(READY)
	$(BIN)/eyecatch serve

check: lint
	$(BIN)/python -m pytest tests/unit -n 2 -m "not slow and not server and not long"

# A file stays in one process, so that its tests share what they set up.
test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-faults: $(READY)
	EYECATCH_FAULTS_TABLE=1 $(BIN)/python -m pytest tests/faults -m "slow or not slow" --timeout 1200

test-slow: test-faults
	$(BIN)/python -m pytest -m slow --timeout 1200 --ignore tests/faults

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint protos
	$(BIN)/buf breaking protos --against protos/released.binpb
	$(BIN)/python -m tests.fresh_protos
	$(BIN)/python -m tests.fresh_docs

proto: $(READY)
	$(BIN)/python -m tests.fresh_protos --write

bench: $(READY)
	$(BIN)/python -m benchmarks.fast_path
	$(BIN)/python -m benchmarks.ingest
	$(BIN)/python -m benchmarks.million_users
	$(BIN)/python -m benchmarks.starter
	$(BIN)/python -m benchmarks.generation

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache eyecatch-data
