"""What the rows of a snapshot mean to each other: pure functions over a Snapshot.

Own, host's, shared or unreadable; groups and their owners; members of a namespace; hierarchies.
"""
