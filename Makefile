# make demo    set up, then analyse, compile, train a step of and draw GoogLeNet
# make test    set up, then the linters and the whole test suite
# make check   set up, then the tests of each package that are quick, to work with
# make lint    the linters alone
# make bench   the benchmarks
# make docs    the site, build/site/index.html
# make wheel   sdist and wheel, in dist/
# make versions  the wheel, with the lowest versions that it takes and the newest
# make clean   remove what was built (`make distclean`: the environment, too)
#
# All paths are relative, so that the checkout's own path may contain spaces.

PYTHON ?= python3
# More options for every `pip install`, such as an index of CPU builds of torch.
PIPFLAGS ?=
PYTEST_ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --no-input --disable-pip-version-check
INSTALL = $(PIP) install --quiet -c constraints.txt $(PIPFLAGS)

# Each stamp is one step of the set-up, done again only when its inputs change.
ENV := .venv/.stamp-env
BUILDER := .venv/.stamp-builder
DEV := .venv/.stamp-dev
DIST := dist/.stamp

PACKAGED := $(shell find archdsl grammar specs -type f ! -path '*/__pycache__/*')

.DELETE_ON_ERROR:
.PHONY: demo test check lint docs bench wheel wheel-check versions clean distclean

demo: $(DEV)
	@mkdir -p build
	$(BIN)/archdsl analyze googlenet
	$(BIN)/archdsl compile googlenet -o build/googlenet.py
	$(BIN)/python scripts/demo.py build/googlenet.py
	$(BIN)/archdsl render googlenet -o build/googlenet.svg
	$(BIN)/archdsl render googlenet -o build/googlenet.png
	@echo "The network's picture is build/googlenet.svg (and build/googlenet.png)."

# One thread a worker: pytest-xdist already keeps every core busy. A worker takes tests
# that stand together, as they share what they are about. Compiled files are kept, even
# where the environment says otherwise: hundreds of tests start processes of their own.
PYTEST = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

test: lint
	$(PYTEST) --durations=10 $(PYTEST_ARGS)

# Something of every package, in under two minutes on two cores.
QUICK := agree alignment api cases_language cli codes compare completion cookbook \
	coverage diagram field_views findings foreign golden gradients guards \
	highlight lint_cli lint_savings new parser paths repeats roofline \
	same_padding schemas startup sweep symbolic tables tutorial

check: $(DEV)
	$(PYTEST) -m "not slow" $(QUICK:%=tests/test_%.py) $(PYTEST_ARGS)

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(DEV)
	@set -e; for script in benchmarks/bench_*.py; do \
		echo "$$script"; $(BIN)/python "$$script"; \
	done

docs: $(DEV)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "The site is build/site/index.html."

wheel: $(DIST)

wheel-check: $(DIST)
	scripts/wheel_check.sh "$(PYTHON)" dist/*.whl

versions: $(DIST) $(DEV)
	$(BIN)/python scripts/versions.py dist/*.whl $(PIPFLAGS)

clean:
	rm -rf build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find archdsl benchmarks docs examples scripts tests -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean
	rm -rf .venv

$(ENV):
	@"$(PYTHON)" -c 'import sys; sys.exit("archdsl needs Python 3.11 or newer: make PYTHON=..." if sys.version_info < (3, 11) else 0)'
	"$(PYTHON)" -m venv .venv
	@touch $@

$(BUILDER): constraints.txt $(ENV)
	$(INSTALL) build
	@touch $@

$(DEV): pyproject.toml constraints.txt $(ENV)
	$(INSTALL) -e ".[dev]"
	$(INSTALL) --no-deps torchvision fvcore torchinfo thop ptflops calflops captum torchcam tqdm
# In a folder of its own, since its module has the name of thop's.
	$(INSTALL) --no-deps --upgrade --target .venv/ultralytics ultralytics-thop
# As for an installed package; an editable one would be compiled at each start.
	$(BIN)/python -m compileall -q archdsl
	@touch $@

# The wheel is built from the sdist, in an environment of its own whose versions are
# constrained, too (older pips read the first variable, newer ones the second).
$(DIST): pyproject.toml README.md LICENSE $(PACKAGED) $(BUILDER)
	rm -rf dist
	PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
		$(BIN)/python -m build --outdir dist
	@touch $@
