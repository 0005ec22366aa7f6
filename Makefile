# Needs Python 3.11 to 3.13, pip and make; everything else is installed into .venv.
#   make train ARGS="env=tmaze/active seed=1"
PYTHON ?= python3
ARGS ?=

VENV := .venv
RUN := $(VENV)/bin/python
MADE := $(VENV)/.made
READY := $(VENV)/.ready
DEV_READY := $(VENV)/.ready-dev
IMPORTED := $(VENV)/.imported
# The locks have no package in common, and are installed side by side, the longer one in two parts,
# for pip takes one package after the other; so are style and types checked, and imports compiled.
MAKEFLAGS += --jobs=2
VERSION_FITS := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
# The locks name every package; what is never imported need not be compiled, and what is imported
# is compiled once, even where the environment asks for never (as those of containers often do).
export PYTHONDONTWRITEBYTECODE :=
INSTALL := $(RUN) -m pip install --quiet --no-deps --no-compile --disable-pip-version-check

# Tests run on the processor, two files at a time, with one thread of XLA each (it reads NPROC);
# what they compile is kept in one cache, so that a second run starts at once. Both compile many of
# the same small programs, and to read one takes less than half as long as to compile it.
# Tests compile far more than they run: programs are hardly optimized, and fused by XLA's older
# emitters, which compile faster. jax 0.11 has lost those, and stops at the flag.
OLDER_EMITTERS = $(shell $(RUN) -c \
	"import jax; print('--xla_cpu_use_fusion_emitters=false' * (jax.__version_info__ < (0, 11)))")
TEST_ENV = JAX_PLATFORMS=cpu NPROC=1 OMP_NUM_THREADS=1 \
	XLA_FLAGS="$(XLA_FLAGS) --xla_backend_optimization_level=0 \
	--xla_cpu_parallel_codegen_split_count=1 $(OLDER_EMITTERS)" \
	JAX_COMPILATION_CACHE_DIR="$(CURDIR)/.jax_cache" \
	JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0

.DEFAULT_GOAL := help
.PHONY: help train test lint format settings test-learning test-faults test-envs notebooks docs benchmark lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

train: $(READY) ## Train an agent; settings in ARGS="env=tmaze/active seed=1"
	$(RUN) scripts/train.py $(ARGS)

test: lint $(IMPORTED) ## Check style and types, then run the tests
	$(TEST_ENV) $(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(READY) $(DEV_READY) ## Check style, format and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: $(READY) $(DEV_READY) ## Format the code and mend what can be mended
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

settings: $(READY) ## Write docs/settings.md anew, from what the code checks
	JAX_PLATFORMS=cpu $(RUN) -m amago_jax.runs.reference > docs/.settings.md
	mv docs/.settings.md docs/settings.md

test-learning: $(READY) $(DEV_READY) ## Run the long tests that learn tasks
	$(RUN) -m pytest -m learning $(ARGS)

test-faults: $(READY) $(DEV_READY) ## Kill runs over and over, and see that nothing is lost
	$(TEST_ENV) $(RUN) -m pytest -m faults $(ARGS)

test-envs: $(READY) $(DEV_READY) ## Check every environment, two epochs of training included
	$(TEST_ENV) $(RUN) -m pytest -n 2 -m 'not learning and not faults' \
		tests/envs/test_contract.py tests/envs/adapters/test_ends.py tests/envs/adapters/test_earning.py $(ARGS)

notebooks: $(READY) $(DEV_READY) ## Run the notebooks anew, and keep what they show
	@rm -rf build/notebooks && mkdir -p build/notebooks
	cp notebooks/*.ipynb build/notebooks
	JAX_PLATFORMS=cpu $(RUN) -m jupyter execute --inplace --timeout=-1 build/notebooks/*.ipynb
	cp build/notebooks/*.ipynb notebooks

docs: $(READY) $(DEV_READY) ## Build the documentation as a site, in build/site
	$(RUN) -m mkdocs build --quiet

benchmark: $(READY) ## Measure speed; settings in ARGS
	$(RUN) scripts/benchmark.py $(ARGS)

lock: $(READY) $(DEV_READY) ## Write both locks from what .venv holds
	$(RUN) -m pip freeze --exclude-editable > $(VENV)/all.lock
	$(PYTHON) -m venv --clear $(VENV)/run-only
	$(VENV)/run-only/bin/python -m pip install --quiet -c $(VENV)/all.lock .
	$(VENV)/run-only/bin/python -m pip freeze --exclude amago_jax > $(VENV)/run.lock
	@{ echo "# What a run needs, as tested on Python 3.11 to 3.13; tools are in requirements-dev.lock."; \
	echo "# Made by \`make lock\`; do not edit."; \
	cat $(VENV)/run.lock; } > requirements.lock
	@{ echo "# What development and tests need besides requirements.lock."; \
	echo "# Made by \`make lock\`; do not edit."; \
	grep -vxFf $(VENV)/run.lock $(VENV)/all.lock; } > requirements-dev.lock
	@rm -rf $(VENV)/run-only
	@touch $(MADE) $(READY) $(DEV_READY)

clean: ## Remove .venv, caches and builds; runs stay
	rm -rf $(VENV) .jax_cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find src scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment that came from another folder has the package installed from there: do it again.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
.PHONY: $(READY)
endif

# An environment that is there already, made by whatever means, is used if it can be; programs
# are started with `python -m`, because an environment that moved has the old paths in its scripts.
$(MADE): requirements.lock requirements-dev.lock pyproject.toml
	@$(RUN) -c '$(VERSION_FITS)' 2>/dev/null && $(RUN) -m pip --version >/dev/null 2>&1 || { \
		$(PYTHON) -c '$(VERSION_FITS)' 2>/dev/null || { \
			echo "error: amago_jax needs Python 3.11, 3.12 or 3.13, but $(PYTHON) is" \
				"$$($(PYTHON) --version 2>/dev/null || echo missing);" \
				"name another one: make PYTHON=python3.12" >&2; \
			exit 1; }; \
		echo "making the environment $(VENV)"; \
		$(PYTHON) -m venv --clear $(VENV); }
	@touch $@

$(READY): $(MADE)
	@echo "installing the $$(grep -c == requirements.lock) packages of requirements.lock into $(VENV)"
	@$(INSTALL) -r requirements.lock
	@echo "installing amago_jax itself, as it stands in src"
	@$(INSTALL) -e .
	@echo "$(CURDIR)" > $@

# Python compiles what the tests import, once: beside the checks of style and types, not in both
# processes of the tests. Whatever is wrong with the tests, they say themselves.
$(IMPORTED): $(READY) $(DEV_READY)
	@$(TEST_ENV) $(RUN) -m pytest --collect-only --quiet >/dev/null 2>&1 || true
	@touch $@

$(DEV_READY): $(MADE)
	@echo "installing the $$(grep -c == requirements-dev.lock) packages of requirements-dev.lock" \
		"for checks and tests"
	@grep -v '^#' requirements-dev.lock | xargs -n 120 -P 2 $(INSTALL)
	@touch $@
