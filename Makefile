# Everything sets itself up in .venv; nothing else on the machine is touched, except that
# "check" installs Debian's test peers when it runs as root.

# Debian's own interpreter is built with profiles, and a quarter faster than a plain build.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: all demo check lint test peers bench deb rpm package-check clean

all: $(READY)

$(READY): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	# A path file instead of an import hook: the hook would cost every start 9 ms.
	$(BIN)/pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat \
	    --editable '.[test]'
	touch $@

demo: $(READY)
	@demo/run $(BIN)

check: $(READY) peers lint test package-check

peers:
	@tests/install-peers

lint: $(READY)
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/mypy

test: $(READY)
	$(BIN)/pytest

# About 6 minutes; BENCH=--quick is a check of the bench, not a measurement.
bench: $(READY)
	$(BIN)/python -m bench $(BENCH)

# Both put what they build into dist.
deb:
	packaging/build-deb dist

rpm:
	packaging/build-rpm dist

package-check:
	@packaging/check

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis bench/out
