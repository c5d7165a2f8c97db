"""What control groups limit and use, in one vocabulary for both versions.

Sources: the kernel's admin-guide/cgroup-v2.rst, admin-guide/cgroup-v1 (memory.rst, pids.rst,
blkio-controller.rst) and scheduler/sched-bwc.rst.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from nsctl.model.record import NamedTuple

# The kernel counts memory in pages, up to LONG_MAX / PAGE_SIZE; pages have 64 KiB at most here.
_UNLIMITED = 2**63 - 2**16
# What version 1 calls 1024 shares is a weight of 100 to the scheduler.
_SHARES, _WEIGHT = 1024, 100

Files = Mapping[str, bytes]


class Usage(NamedTuple):
    """What one group limits and uses. None is unknown; of a limit, that there is none.

    Attributes:
        memory: bytes in use.
        memory_max: bytes that it may have.
        memory_high: bytes above which it is slowed down.
        swap: bytes swapped out.
        swap_max: bytes that may be.
        oom_kills: processes killed for want of memory.
        cpu_seconds: processor time used.
        cpus: processors' worth of time that it may have.
        cpu_weight: its share against its siblings, 100 by default.
        throttled: how often it had used up its time.
        cpuset: processors that it may run on, as the kernel lists them.
        pids: processes and threads.
        pids_max: how many it may have.
        io_read: bytes read.
        io_written: bytes written.
        io_max: limits of devices, as the kernel writes them in version 2.
    """

    memory: int | None = None
    memory_max: int | None = None
    memory_high: int | None = None
    swap: int | None = None
    swap_max: int | None = None
    oom_kills: int | None = None
    cpu_seconds: float | None = None
    cpus: float | None = None
    cpu_weight: int | None = None
    throttled: int | None = None
    cpuset: str | None = None
    pids: int | None = None
    pids_max: int | None = None
    io_read: int | None = None
    io_written: int | None = None
    io_max: tuple[str, ...] = ()


def usage(files: Files) -> Usage:
    """Understand the files of a group, of either version or of several hierarchies.

    Args:
        files: name and content of those that it has.
    """
    return Usage(
        memory=_first(files, "memory.current", "memory.usage_in_bytes"),
        memory_max=_limit(files, "memory.max", "memory.limit_in_bytes"),
        memory_high=_limit(files, "memory.high"),
        swap=_swap(files),
        swap_max=_swap_max(files),
        oom_kills=_oom_kills(files),
        cpu_seconds=_cpu_seconds(files),
        cpus=_cpus(files),
        cpu_weight=_weight(files),
        throttled=_pairs(files.get("cpu.stat", b"")).get("nr_throttled"),
        cpuset=_cpuset(files),
        pids=_first(files, "pids.current"),
        pids_max=_limit(files, "pids.max"),
        io_read=_io(files, "rbytes", "Read"),
        io_written=_io(files, "wbytes", "Write"),
        io_max=_io_max(files),
    )


def tightest(chain: Sequence[Files]) -> Usage:
    """Say what limits a group together with all above it.

    Args:
        chain: the files of each of these groups.

    Returns:
        The lowest limit of each kind; what they use is left out.
    """
    each = [usage(files) for files in chain]
    return Usage(
        memory_max=_least(row.memory_max for row in each),
        memory_high=_least(row.memory_high for row in each),
        swap_max=_least(row.swap_max for row in each),
        cpus=min((row.cpus for row in each if row.cpus is not None), default=None),
        pids_max=_least(row.pids_max for row in each),
    )


def _least(numbers: Iterable[int | None]) -> int | None:
    return min((number for number in numbers if number is not None), default=None)


def _number(text: bytes) -> int | None:
    digits = text.rstrip(b"\n")
    return int(digits) if digits.isdigit() and len(digits) <= 20 else None


def _first(files: Files, *names: str) -> int | None:
    for name in names:
        if name in files:
            return _number(files[name])
    return None


def _limit(files: Files, *names: str) -> int | None:
    number = _first(files, *names)
    return None if number is None or number >= _UNLIMITED else number


def _pairs(text: bytes) -> dict[str, int]:
    """Parse lines of a name and a number."""
    found = {}
    for line in text.split(b"\n"):
        name, blank, value = line.partition(b" ")
        number = _number(value) if blank else None
        if number is not None:
            found[name.decode("ascii", "replace")] = number
    return found


def _swap(files: Files) -> int | None:
    if "memory.swap.current" in files:
        return _number(files["memory.swap.current"])
    both = _first(files, "memory.memsw.usage_in_bytes")
    memory = _first(files, "memory.usage_in_bytes")
    return None if both is None or memory is None else max(both - memory, 0)


def _swap_max(files: Files) -> int | None:
    if "memory.swap.max" in files:
        return _limit(files, "memory.swap.max")
    both = _limit(files, "memory.memsw.limit_in_bytes")
    memory = _limit(files, "memory.limit_in_bytes")
    return None if both is None or memory is None else max(both - memory, 0)


def _oom_kills(files: Files) -> int | None:
    return _pairs(files.get("memory.events", files.get("memory.oom_control", b""))).get("oom_kill")


def _cpu_seconds(files: Files) -> float | None:
    nanoseconds = _first(files, "cpuacct.usage")
    if nanoseconds is not None:
        return nanoseconds / 1e9
    microseconds = _pairs(files.get("cpu.stat", b"")).get("usage_usec")
    return None if microseconds is None else microseconds / 1e6


def _cpus(files: Files) -> float | None:
    if "cpu.max" in files:
        quota, _, period = files["cpu.max"].partition(b" ")
    else:
        quota = files.get("cpu.cfs_quota_us", b"")
        period = files.get("cpu.cfs_period_us", b"")
    allowed, of = _number(quota), _number(period)
    return allowed / of if allowed is not None and of else None


def _weight(files: Files) -> int | None:
    if "cpu.weight" in files:
        return _number(files["cpu.weight"])
    shares = _first(files, "cpu.shares")
    return None if shares is None else round(shares * _WEIGHT / _SHARES)


def _cpuset(files: Files) -> str | None:
    for name in ("cpuset.cpus.effective", "cpuset.effective_cpus"):
        if name in files:
            return files[name].rstrip(b"\n").decode("ascii", "replace")
    return None


def _io(files: Files, key: str, word: str) -> int | None:
    """Add up what was read or written over all devices."""
    if "io.stat" in files:
        pairs = [
            pair.partition(b"=")
            for line in files["io.stat"].split(b"\n")
            for pair in line.split(b" ")[1:]
        ]
        return sum(_number(value) or 0 for name, _, value in pairs if name == key.encode())
    if "blkio.throttle.io_service_bytes" not in files:
        return None
    total = 0
    for line in files["blkio.throttle.io_service_bytes"].split(b"\n"):
        words = line.split(b" ")
        if len(words) == 3 and words[1] == word.encode():
            total += _number(words[2]) or 0
    return total


_OF_VERSION_1 = {
    "blkio.throttle.read_bps_device": "rbps",
    "blkio.throttle.write_bps_device": "wbps",
    "blkio.throttle.read_iops_device": "riops",
    "blkio.throttle.write_iops_device": "wiops",
}


def _io_max(files: Files) -> tuple[str, ...]:
    """Limits of devices, "8:0 rbps=1048576"."""
    if "io.max" in files:
        lines = files["io.max"].split(b"\n")
        return tuple(line.decode("ascii", "replace") for line in lines if line)
    by_device: dict[str, list[str]] = {}
    for name, key in _OF_VERSION_1.items():
        for line in files.get(name, b"").split(b"\n"):
            device, blank, value = line.partition(b" ")
            if blank and _number(value) is not None:
                limit = f"{key}={value.decode('ascii')}"
                by_device.setdefault(device.decode("ascii", "replace"), []).append(limit)
    return tuple(f"{device} {' '.join(limits)}" for device, limits in by_device.items())
