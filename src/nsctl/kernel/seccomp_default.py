"""The default system call filter of a container of ours, as a profile. Plain data.

It allows what Docker's and containerd's default of today allows (Podman's goes further: it has
mounts, namespaces and keyrings too), less what only 32-bit programs call: those are refused as a
foreign architecture, for they could reach every socket family through socketcall(2), whose
arguments a filter cannot see. What stands in none of the lists below gets EPERM: among it
io_uring, keyrings, userfaultfd, kexec, swap, and, without their capability, mounts, namespaces,
modules and clocks. Calls with higher numbers than any here get ENOSYS, so that programs fall back
to what they used before (see `nsctl.kernel.seccomp`).

The form is that of Moby's profiles: linux.seccomp of the OCI runtime specification with
``includes`` and ``excludes``.
"""

from __future__ import annotations

ALWAYS: dict[str, str] = {
    "asynchronous input and output": """
        io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit""",
    "confinement": """
        landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp""",
    "credentials": """
        capget capset getegid geteuid getgid getgroups getresgid getresuid getuid setfsgid setfsuid
        setgid setgroups setregid setresgid setresuid setreuid setuid""",
    "descriptors": """
        close close_range dup dup2 dup3 fcntl flock ioctl pipe pipe2""",
    "events": """
        epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
        epoll_wait_old eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1
        inotify_rm_watch poll ppoll pselect6 select""",
    "extended attributes": """
        fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr
        listxattrat llistxattr lremovexattr lsetxattr removexattr removexattrat setxattr
        setxattrat""",
    "files and directories": """
        access chdir chmod chown creat faccessat faccessat2 fchdir fchmod fchmodat fchmodat2 fchown
        fchownat fstat fstatfs futimesat getcwd getdents getdents64 lchown link linkat lstat mkdir
        mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 readlink readlinkat
        rename renameat renameat2 rmdir stat statfs statx symlink symlinkat umask unlink unlinkat
        utime utimensat utimes""",
    "input and output": """
        copy_file_range fadvise64 fallocate fdatasync fsync ftruncate lseek pread64 preadv preadv2
        pwrite64 pwritev pwritev2 read readahead readv sendfile splice sync sync_file_range syncfs
        tee truncate vmsplice write writev""",
    "limits": """
        getrlimit getrusage prlimit64 setrlimit""",
    "memory": """
        brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock
        mlock2 mlockall mmap mprotect mremap mseal msync munlock munlockall munmap pkey_alloc
        pkey_free pkey_mprotect remap_file_pages""",
    "mounts, looking only": """
        listmount statmount""",
    "network": """
        accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg
        recvmsg sendmmsg sendmsg sendto setsockopt shutdown socketpair""",
    "processes": """
        execve execveat exit exit_group fork get_thread_area getpgid getpgrp getpid getppid getsid
        gettid pidfd_open prctl process_mrelease process_vm_readv process_vm_writev ptrace
        set_thread_area set_tid_address setpgid setsid vfork wait4 waitid""",
    "scheduling": """
        getcpu getpriority ioprio_get ioprio_set sched_get_priority_max sched_get_priority_min
        sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
        sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
        setpriority""",
    "signals": """
        kill pause pidfd_send_signal restart_syscall rt_sigaction rt_sigpending rt_sigprocmask
        rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sigaltstack
        signalfd signalfd4 tgkill tkill""",
    "synchronisation": """
        futex futex_requeue futex_wait futex_waitv futex_wake get_robust_list rseq
        set_robust_list""",
    "system": """
        getrandom sysinfo uname uretprobe""",
    "System V and POSIX message passing": """
        mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv
        msgsnd semctl semget semop semtimedop shmat shmctl shmdt shmget""",
    "time": """
        adjtimex alarm clock_adjtime clock_getres clock_gettime clock_nanosleep getitimer
        gettimeofday nanosleep setitimer time timer_create timer_delete timer_getoverrun
        timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times""",
}
"""Allowed whatever the arguments and capabilities, by subject. ptrace(2) is here because it can no
longer change a call after the filter has seen it (since 4.8)."""

BY_ARCHITECTURE: dict[str, str] = {
    "amd64": "arch_prctl modify_ldt",
}
"""Allowed on one architecture, by its name in Moby's profiles."""

BY_CAPABILITY: dict[str, str] = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
    "CAP_SYS_ADMIN": """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie
        lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount
        open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog
        umount2 unshare""",
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime settimeofday",
    "CAP_SYS_TTY_CONFIG": "vhangup",
}
"""Allowed to who has the capability in its bounding set; the kernel checks the rest itself."""

SOCKET_FAMILIES: tuple[tuple[int, int], ...] = (
    (0, 11),  # unspec, unix, inet, inet6 and old ones as far as rose
    (13, 18),  # netbeui, security, key, netlink, packet, ash
    (21, 22),  # rds, sna
    (24, 24),  # pppox
    (26, 33),  # llc, ib, mpls, can, tipc, bluetooth, iucv, rxrpc
    (35, 36),  # phonet, ieee802154
    (39, 39),  # nfc
    (41, 45),  # kcm, qipcrtr, smc, xdp, mctp
)
"""Families for socket(2), first and last of each range (socket.h). Left out are those that went
from the kernel or are being given up (DECnet 12, Econet 19, ATM SVC 20, IrDA 23, WANPIPE 25, ISDN
34, CAIF 37), AF_ALG (38: the crypto interface, CVE-2026-31431) and AF_VSOCK (40: it leads to the
hypervisor past every network namespace). A list of what is allowed, not of what is refused: the
kernel looks at the lower half of the argument alone, so "not equal to 40" lets 2**32 + 40 pass."""

PERSONALITIES: tuple[int, ...] = (
    0x0,  # PER_LINUX
    0x8,  # PER_LINUX32
    0x20000,  # UNAME26
    0x20008,  # both
    0xFFFFFFFF,  # ask for the present one
)
"""Arguments for personality(2) (linux/personality.h); ADDR_NO_RANDOMIZE is the one refused most."""

CLONE_NAMESPACES = 0x7E020000
"""Every CLONE_NEW* that clone(2) takes (a time namespace takes clone3(2) or unshare(2))."""

ENOSYS = 38


def _range(first: int, last: int) -> list[dict[str, object]]:
    if first == 0:
        return [{"index": 0, "value": last, "op": "SCMP_CMP_LE"}]
    return [{"index": 0, "value": family, "op": "SCMP_CMP_EQ"} for family in range(first, last + 1)]


def _allow(names: str, **more: object) -> dict[str, object]:
    return {"names": sorted(names.split()), "action": "SCMP_ACT_ALLOW", **more}


PROFILE: dict[str, object] = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 1,
    "syscalls": [
        _allow(" ".join(ALWAYS.values())),
        *(
            _allow(names, includes={"arches": [architecture]})
            for architecture, names in BY_ARCHITECTURE.items()
        ),
        *(
            _allow(names, includes={"caps": [capability]})
            for capability, names in BY_CAPABILITY.items()
        ),
        *(
            _allow("socket", args=[condition])
            for first, last in SOCKET_FAMILIES
            for condition in _range(first, last)
        ),
        *(
            _allow(
                "personality",
                args=[{"index": 0, "value": personality, "op": "SCMP_CMP_EQ"}],
            )
            for personality in PERSONALITIES
        ),
        _allow(
            "clone",
            args=[
                {
                    "index": 0,
                    "value": CLONE_NAMESPACES,
                    "valueTwo": 0,
                    "op": "SCMP_CMP_MASKED_EQ",
                }
            ],
            excludes={"caps": ["CAP_SYS_ADMIN"]},
        ),
        # Its flags lie behind a pointer; libraries fall back to clone(2) on ENOSYS.
        {
            "names": ["clone3"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": ENOSYS,
            "excludes": {"caps": ["CAP_SYS_ADMIN"]},
        },
    ],
}
"""The whole, as `nsctl.kernel.seccomp.compile_profile` reads it."""
