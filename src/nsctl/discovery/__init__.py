"""Discovery: one step a file, run from one ordered list, each filling one part of a snapshot.

A step says which part it fills and which it needs. What it cannot read it says as a gap. A
process or namespace that vanishes meanwhile is normal and no gap. Rows do not know which source
filled them.
"""
