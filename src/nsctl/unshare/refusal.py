"""Why new namespaces were refused, in words."""

from __future__ import annotations

from nsctl.errors import KernelRefusal, NsctlError, translate


def explain(error: OSError, operation: str, subject: str) -> NsctlError:
    """Say why the kernel refused to make namespaces.

    Args:
        error: what unshare(2) raised.
        operation: what was being done.
        subject: which namespaces, in words; a user namespace among them is tried again, to find
            what forbids it.

    Returns:
        The refusal, which the caller raises ``from error``.
    """
    told = translate(error, operation, subject)
    if "user" in subject and isinstance(told, KernelRefusal):
        from nsctl.diagnose import userns

        cause = userns.explain(told.errno)
        if cause.id != "unknown":
            told.cause, told.hint = userns.with_number(cause, told.errno), cause.allow
    return told
