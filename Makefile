# CI and people call these targets and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: install demo test lint tflite-runtime bench bench-main bench-accuracy bench-export bench-emulation bench-faults zoo container clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or newer is needed; make PYTHON=python3.12 install" \
		if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# The main job on the embedded example: handwritten digits, nothing to download.
demo: install
	$(BIN)/edgeprune compress models/digits/digits.pt --target x86-64 --speedup 2

test: install lint
	$(BIN)/pytest --numprocesses 2 --dist loadfile

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# A second environment with tflite-runtime, which needs numpy < 2; the tests that use it skip without.
tflite-runtime: $(VENV)-tflite/.installed

$(VENV)-tflite/.installed: tests/device/requirements-tflite-runtime.txt
	$(PYTHON) -m venv $(VENV)-tflite
	$(VENV)-tflite/bin/pip install --quiet --requirement tests/device/requirements-tflite-runtime.txt
	touch $@

bench: bench-main bench-accuracy bench-export

# Files and latencies in docs/benchmarks.md; needs ../shared/data or $$EDGEPRUNE_DATA, takes about half an hour.
bench-main: install
	$(BIN)/python benchmarks/main.py

# Accuracies in docs/benchmarks.md, beside Torch-Pruning; needs the same data, takes hours.
# RECOVERED=FILE writes the recovery table from lines that benchmarks/accuracy/recovery.py left on another machine.
bench-accuracy: $(VENV)/.zoo
	$(BIN)/python benchmarks/accuracy/main.py $(if $(RECOVERED),--kept $(RECOVERED))
	$(BIN)/python -m benchmarks.accuracy.lenets

# Integer files in docs/benchmarks.md, beside the engines' own tools; needs the same data, takes about an hour.
bench-export: $(VENV)/.zoo
	$(BIN)/python -m benchmarks.export.main

# What a device answers with after faults while shipping, in docs/benchmarks.md; needs sshd, adb and qemu-user-static,
# takes about half an hour. An interrupted run goes on.
bench-faults: install
	$(BIN)/python -m benchmarks.faults.main
	$(BIN)/python -m benchmarks.fleet

# Instructions per inference on emulated boards, in docs/benchmarks.md; needs qemu-user, takes about half an hour.
# An interrupted run goes on.
bench-emulation: install
	$(BIN)/python -m benchmarks.emulation.main

# docs/zoo.md: whole model zoos cut and proven, beside Torch-Pruning. Takes hours; an interrupted run goes on.
zoo: $(VENV)/.zoo
	$(BIN)/python benchmarks/zoo/main.py

$(VENV)/.zoo: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,zoo]'
	touch $@

# Builds the Dockerfile and uses the image, without a Docker daemon; needs root, buildah and debootstrap.
container:
	.ci/container

clean:
	rm -rf $(VENV) $(VENV)-tflite build runs
