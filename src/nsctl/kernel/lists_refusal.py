"""Why the kernel did not let its own lists be walked, in words."""

from __future__ import annotations

import errno
import os

from nsctl.kernel import bpf

_CAP_SYS_ADMIN, _CAP_PERFMON, _CAP_BPF = 21, 38, 39
_LOCKDOWN = "/sys/kernel/security/lockdown"
_BTF = "/sys/kernel/btf/vmlinux"


def explain(error: OSError, caps: int) -> tuple[str, str]:
    """Say why `nsctl.kernel.lists.read` failed.

    Args:
        error: what it raised.
        caps: effective capabilities of the caller, a bit mask.

    Returns:
        A cause, to stand behind "the kernel's own lists", and the capabilities that are lacking,
        "" where it is none.
    """
    number = error.errno
    needs = _lacking(caps)
    if number == errno.ENOSYS:
        return "cannot be walked: this kernel has no bpf(2), or a filter refuses it", ""
    if number in {errno.EPERM, errno.EACCES}:
        if needs:
            return f"take {needs}", needs
        return "cannot be walked: bpf(2) is refused although the capabilities are held", ""
    if number == errno.ENOEXEC:
        return "cannot be walked: there are no programs for this machine", ""
    if not _has_types():
        return "cannot be walked: this kernel does not describe its types (BTF)", ""
    if _is_confidential():
        return "cannot be walked: the kernel is locked down (confidentiality)", ""
    if number == errno.EINVAL:
        return "cannot be walked: this kernel's structures are not the ones that are known", ""
    return f"cannot be walked: {os.strerror(number or 0)}", ""


def _lacking(caps: int) -> str:
    if caps >> _CAP_SYS_ADMIN & 1:
        return ""
    names = {"CAP_BPF": _CAP_BPF, "CAP_PERFMON": _CAP_PERFMON}
    return " and ".join(name for name, bit in names.items() if not caps >> bit & 1)


def _has_types() -> bool:
    try:
        return bpf.has_types(_BTF)
    except OSError:
        return False


def _is_confidential() -> bool:
    """Whether kernel memory is hidden from root too (kernel_lockdown(7))."""
    try:
        fd = os.open(_LOCKDOWN, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # securityfs is not mounted, or there is no lockdown
        return False
    try:
        return b"[confidentiality]" in os.read(fd, 256)
    finally:
        os.close(fd)
