/*
 * The report: what happened, for whoever waits, and the end of this process when a step fails.
 *
 * To the report go records of three little-endian words: step, error number, detail. The first
 * says READY (step 0) or what failed; after READY comes the end of file when the command runs, or
 * one more record if it could not be started. The exit status is then 127 for a command that was
 * not found, 126 for one that cannot be executed, 125 for everything before. nsctl/child/report.py
 * has the same steps in words (a test compares them).
 */
#ifndef NSCTL_REPORT_H
#define NSCTL_REPORT_H

#include "sys.h"

enum step {
	STEP_READY,
	STEP_PLAN, /* detail: the byte at which the plan stops making sense */
	STEP_DUMPABLE,
	STEP_DESCRIPTORS, /* detail: the descriptor */
	STEP_LABEL,
	STEP_NAMESPACES, /* detail: which one in the plan, from 0 */
	STEP_VIEW, /* detail: which file, from 1; 0 for the mounts themselves */
	STEP_ROOT,
	STEP_DIRECTORY,
	STEP_CGROUP,
	STEP_TERMINAL,
	STEP_SESSION,
	STEP_KEYRING,
	STEP_LIMITS, /* detail: the resource */
	STEP_CWD,
	STEP_BOUNDING, /* detail: the capability */
	STEP_GROUPS,
	STEP_GID,
	STEP_UID,
	STEP_CAPABILITIES,
	STEP_AMBIENT, /* detail: the capability */
	STEP_SECUREBITS,
	STEP_DEATH_SIGNAL,
	STEP_PARENT,
	STEP_NO_NEW_PRIVS,
	STEP_FILTER, /* detail: which one, from 0 */
	STEP_LAST_CAPABILITIES,
	STEP_GO,
	STEP_FORK,
	STEP_SIGNALS,
	STEP_EXEC,
	STEP_TRACE,
	STEP_FILE,
	STEP_END,
};

enum { FAILED = 1, REFUSED = 125, NOT_EXECUTABLE = 126, NOT_FOUND = 127 };

static int report = -1;

/*
 * Sentences to say on standard error where nobody waits for a report: one a step, one a namespace,
 * then the system's own, one an error number. NULL where there is somebody.
 */
static const char *words;
static u32 words_count, words_of_namespaces;

static __attribute__((noreturn)) void leave(int status)
{
	sys(exit_group, status);
	sys(exit, status);
	__builtin_trap(); /* a filter refuses both */
}

static const char *word(u32 place)
{
	const char *text = words;

	while (place--)
		text += length(text) + 1;
	return text;
}

/* One write, so that a line of somebody else's does not come between. */
static void say(enum step step, u32 error, u32 detail)
{
	u32 place = step == STEP_NAMESPACES ? STEP_END + detail : step, i;
	u32 reason = STEP_END + words_of_namespaces + error;
	const char *parts[] = { word(place), ": ", reason < words_count ? word(reason) : "?", "\n" };
	char line[PATH_SIZE];
	size used = 0, at;

	for (i = 0; i < 4; i++)
		for (at = 0; parts[i][at] && used < sizeof(line); at++)
			line[used++] = parts[i][at];
	sys(write, 2, line, used);
}

static long tell(enum step step, u32 error, u32 detail)
{
	u32 record[3] = { step, error, detail };

	if (!words)
		return sys(write, report, record, sizeof(record));
	if (step)
		say(step, error, detail);
	return 0;
}

static __attribute__((noreturn)) void fail(enum step step, long result, long detail)
{
	tell(step, (u32)-result, (u32)detail);
	if (step != STEP_EXEC)
		leave(words ? FAILED : REFUSED);
	leave(result == -ENOENT ? NOT_FOUND : NOT_EXECUTABLE);
}

static long must(long result, enum step step, long detail)
{
	if (result < 0)
		fail(step, result, detail);
	return result;
}

#endif
