"""What both ends of the channel to `nsctl.child.foreign_helper` must know, and nothing to import."""

from __future__ import annotations

MORE = b"m"
"""First byte of a message of answers that others follow."""
DONE = b"d"
"""First byte of the last message of answers to one message of requests."""
MESSAGE_LIMIT = 1 << 16
"""Bytes of a message, either way."""
