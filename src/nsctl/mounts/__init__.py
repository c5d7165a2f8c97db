"""Mount tables as findmnt(8) reads them, and what a table does not tell: sizes, tags, who holds it."""
