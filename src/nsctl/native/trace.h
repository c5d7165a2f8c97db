/*
 * Reading another process's seccomp filters: ptrace(2), PTRACE_SECCOMP_GET_FILTER.
 *
 * The reader is a process of its own, which its parent kills when it takes too long: the kernel
 * lets go of a traced process when its tracer ends. The process is stopped while its filters are
 * read and not longer; a call that the kernel does not restart then returns EINTR in it.
 */
#ifndef NSCTL_TRACE_H
#define NSCTL_TRACE_H

#include "report.h"

#include <linux/ptrace.h>

#define FILTERS_MOST (4u << 20) /* MAX_INSNS_PER_PATH instructions are 256 KiB */

struct metadata {
	u64 filter;
	u64 flags;
};

/* The number means the process that was meant: it lives, and did before anybody was attached. */
static int has_ended_by(int pidfd)
{
	struct pollfd poll = { pidfd, POLLIN, 0 };
	struct __kernel_timespec at_once = { 0, 0 };

	return sys(ppoll, &poll, 1, &at_once, NULL, 8) != 0;
}

/* Wait for the stop that was asked for, or for another: give the signal that it stopped for. */
static long await_stop(int pid)
{
	int status;
	long got;

	do
		got = sys(wait4, pid, &status, __WALL, NULL);
	while (got == -EINTR);
	must(got, STEP_TRACE, 0);
	if ((status & 0xff) != 0x7f)
		fail(STEP_TRACE, -ESRCH, 0);
	/* A stop for an event carries it above; then no signal waits to be delivered. */
	return status >> 16 ? 0 : status >> 8 & 0xff;
}

/*
 * Write all filters of a process, oldest first: READY with their number, then for each its flags, the
 * number of its instructions, and those.
 */
static __attribute__((noreturn)) void read_filters(int pid, int pidfd)
{
	u8 *text = (u8 *)must(sys(mmap, NULL, FILTERS_MOST, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
			      STEP_TRACE, 0);
	u32 used = 0, count = 0, done;
	long signal, instructions, got;

	sys(prctl, PR_SET_PDEATHSIG, SIGKILL);
	must(sys(ptrace, PTRACE_SEIZE, pid, NULL, NULL), STEP_TRACE, 1);
	if (has_ended_by(pidfd))
		fail(STEP_TRACE, -ESRCH, 0);
	must(sys(ptrace, PTRACE_INTERRUPT, pid, NULL, NULL), STEP_TRACE, 2);
	signal = await_stop(pid);
	for (;; count++) {
		struct metadata metadata = { count, 0 };
		u32 *head = (u32 *)(text + used);

		instructions = sys(ptrace, PTRACE_SECCOMP_GET_FILTER, pid, count, NULL);
		if (instructions < 0 || used + 8 + 8 * instructions > FILTERS_MOST)
			break;
		instructions = sys(ptrace, PTRACE_SECCOMP_GET_FILTER, pid, count, text + used + 8);
		if (instructions < 0)
			break;
		/* Since 4.16; a kernel without it has no flags that matter. */
		sys(ptrace, PTRACE_SECCOMP_GET_METADATA, pid, sizeof(metadata), &metadata);
		head[0] = (u32)metadata.flags;
		head[1] = (u32)instructions;
		used += 8 + 8 * (u32)instructions;
	}
	sys(ptrace, PTRACE_DETACH, pid, NULL, signal);
	/* ENOENT is the end of the list; EINVAL is what a process without filters says. */
	if (instructions != -ENOENT && !(instructions == -EINVAL && !count))
		fail(STEP_TRACE, instructions < 0 ? instructions : -E2BIG, 3);
	tell(STEP_READY, 0, count);
	for (done = 0; done < used; done += (u32)got)
		got = must(sys(write, report, text + done, used - done), STEP_TRACE, 4);
	leave(0);
}

#endif
