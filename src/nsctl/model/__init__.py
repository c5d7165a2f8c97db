"""The nouns: frozen data, no input or output, importing nothing of nsctl but its errors.

All of them are named tuples: immutable, compared by value, cheap to make by the ten thousand
and half as dear to import as dataclasses.
"""
