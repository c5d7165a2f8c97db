"""Helper processes: the last stage, pipes, descriptors, terminals.

A namespace switch never happens in the calling process: a single-threaded child does it.
"""
