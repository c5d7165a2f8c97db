"""Real container engines for tests: daemons in private mount and network namespaces."""
