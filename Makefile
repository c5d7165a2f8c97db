# Shortcuts for developers; a fresh machine has no make, so nothing depends on this file.
# `make help` lists the targets. The work is done by scripts/.

.DEFAULT_GOAL := help
.PHONY: help check test lint bench tour clean

help:
	@sed -n 's/^#: *//p' $(MAKEFILE_LIST)

#: make check         what a commit must pass: lint, native objects, tests without privileges
check:
	sh scripts/test.sh lint native unit docs cli userns

#: make test          every tier
test:
	sh scripts/test.sh

#: make lint          ruff, mypy, who imports whom
lint:
	sh scripts/test.sh lint

#: make bench         nsctl and its peers in turn on the same load; BENCH="--processes 600" for less
bench:
	sh scripts/test.sh bench -- $(BENCH)

#: make tour          the README's tour
tour:
	sh scripts/tour.sh

#: make clean         the virtual environment, caches, and a copy that tests ran from
clean:
	sh scripts/test.sh --clean
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests scripts bench -name __pycache__ -prune -exec rm -rf {} +

#: make native        the C objects in the package, from their source
-include src/nsctl/native/build.mk
