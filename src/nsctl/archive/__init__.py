"""Saved snapshots: written whole or not at all, decoded strictly, refused when not understood.

A file may come from another host or from somebody who wishes us ill. msgspec is imported here
and nowhere else.
"""
