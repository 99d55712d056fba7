# `make run` and `make test` set up what they need in .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Python compiles a module once, and not again in each of the processes that the tests start.
unexport PYTHONDONTWRITEBYTECODE

# Fast tests first, a file in one process; four processes for two cores, as many tests wait.
PYTEST := pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: help run test test-faults test-busy coverage bench bench-pair surface lint format lock swagger-ui clean

help:  ## Show this
	@sed -n 's/^\([a-z-]*\):.*  ## /  make \1\t/p' Makefile | expand -t 20
	@echo
	@sed -n 's/^#| \{0,1\}//p' Makefile

#| which         where it runs                               how long, on two quiet cores
#| test          everywhere, before each change lands        3 minutes, lint included
#| test-faults   by hand, before a release                   10 minutes
#| test-busy     by hand, after a change to many tests       8 minutes
#| coverage      by hand                                     5 minutes
#| bench         by hand, on a quiet machine                 40 minutes; ARGS="--quick" 9
#| bench-pair    by hand, with each change for speed         5 minutes
#| surface       by hand, after moving code                  1 minute

run: $(VENV)/for-run  ## Serve on http://127.0.0.1:8000; ARGS="--port 9000" passes options on
	@exec $(BIN)/tracker serve $(ARGS)

test: $(if $(ARGS),,lint) $(VENV)/for-test $(VENV)/for-login-test  ## Lint and test; ARGS="tests/features -k cookie" runs a part, without lint
	$(BIN)/$(PYTEST) -m "not slow" $(ARGS)

test-faults: $(VENV)/for-test  ## What Tracker survives: kills, outages, broken disks and clients; and all else that is slow
	$(BIN)/pytest -m "slow or faults" $(ARGS)

test-busy: $(VENV)/for-test $(VENV)/for-login-test  ## The tests beside a load of four times the cores
	$(BIN)/python -m tests.support.busy $(BIN)/$(PYTEST) -m "not slow" $(ARGS)

coverage: $(VENV)/for-test $(VENV)/for-login-test  ## Which lines and branches the tests reach, in the servers too
	$(BIN)/coverage erase
	$(BIN)/coverage run -m $(PYTEST) -m "not slow" $(ARGS); code=$$?; \
	  $(BIN)/coverage combine --quiet && $(BIN)/coverage report && exit $$code

bench: $(VENV)/for-bench  ## Measure it against the limit and against others
	$(BIN)/python -m tests.benchmarks $(ARGS)

bench-pair: $(VENV)/for-run  ## CPU time against that of another commit: OLD=v1.0
	$(BIN)/python -m tests.benchmarks.pair $(OLD) $(ARGS)

surface: $(VENV)/for-test  ## What Tracker shows to the outside, as text; OLD=v1.0 shows what differs from that commit
	$(BIN)/python -m tests.support.surface $(OLD)

lint: $(VENV)/for-test  ## Formatting, rules, types, layers
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/for-test  ## Rewrite the code in the common form
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

# The tests' set comes first and binds the others: what is shipped is what was tested.
lock: $(VENV)/python  ## Pin the newest versions that pyproject.toml allows
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile $(LOCK) --extra embedded --extra tracing --group build --group dev pyproject.toml -o requirements-dev.txt
	$(BIN)/uv pip compile $(LOCK) --extra embedded --extra tracing -c requirements-dev.txt pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile $(LOCK) --group build -c requirements-dev.txt -o requirements-build.txt
	$(BIN)/uv pip compile $(LOCK) --group bench -c requirements-dev.txt -o requirements-bench.txt
LOCK := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

swagger-ui:  ## Renew the page at /docs: VERSION=5.35.0; what else to do is in the folder's README
	mkdir -p $(VENV)/swagger-ui && cd $(VENV)/swagger-ui && npm pack --silent swagger-ui-dist@$(VERSION) && tar xzf swagger-ui-dist-$(VERSION).tgz
	for file in swagger-ui-bundle.js swagger-ui.css; do gzip -9nc $(VENV)/swagger-ui/package/$$file > $(SWAGGER_UI)/$$file.gz || exit 1; done
	cd $(VENV)/swagger-ui/package && cp favicon-32x32.png LICENSE NOTICE swagger-ui-bundle.js.LICENSE.txt $(CURDIR)/$(SWAGGER_UI)
SWAGGER_UI := tracker/docs/swagger-ui

clean:  ## Remove what was installed; the data folder stays
	rm -rf $(VENV)

$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Tracker needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/for-run: $(VENV)/python requirements.txt requirements-build.txt pyproject.toml
	@echo "Installing into $(VENV) (once; about a minute)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt -r requirements-build.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/for-test: $(VENV)/for-run requirements-dev.txt
	@echo "Installing the tools for the tests (once; about a minute)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

# Without npm the tests of the login are skipped; it is tried again the next time.
$(VENV)/for-login-test: $(VENV)/python tests/support/oidc_provider/package.json
	@mkdir -p $(VENV)/oidc-provider
	@cp tests/support/oidc_provider/package.json $(VENV)/oidc-provider
	@cd $(VENV)/oidc-provider && npm install --silent --no-package-lock --no-audit --no-fund --ignore-scripts \
	  && touch ../for-login-test || echo "npm cannot install the identity provider: the tests that need it are skipped"

$(VENV)/for-bench: $(VENV)/for-run requirements-bench.txt
	@echo "Installing what the benchmarks compare with (once; about a minute)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.txt
	@touch $@
