/*
 * stage2: the last stage before a container's command, and its PID 1.
 *
 *     PLAN=number REPORT=number nsctl-init [word..]
 *
 * The numbers are those of descriptors: the plan is read from the first (plan.h), and what
 * happened is written to the second, which the command does not inherit. They come by the
 * environment, so that the arguments are free to say, in every list of processes, whose first
 * process this is; they mean nothing here. Everything in the plan
 * is applied, in an order in which each step can still be taken and none gives anything away;
 * then the command is executed, by this process or by a child of it.
 *
 *     FILTERS=pid PIDFD=number REPORT=number nsctl-init
 *
 * reads another process's filters instead (trace.h), and
 *
 *     READ=number REPORT=number nsctl-init path..
 *
 * files below a directory that is open (files.h). Without a REPORT the plan has the words in which
 * a failure is said.
 *
 * The program is static, takes nothing from the root it finds itself in, and holds nothing that a
 * command inside could want: it is executed from a sealed memfd (nsctl/child/stage2.py).
 */
#include "enter.h"
#include "files.h"
#include "plan.h"
#include "powers.h"
#include "report.h"
#include "trace.h"

#define SEARCHED "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* ---- the plan ---- */

static void *pages(enum step step, size bytes)
{
	return (void *)must(sys(mmap, NULL, bytes, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
			    step, 0);
}

/* The NULL-terminated vector that execve(2) wants, of strings that lie one after the other. */
static const char **vector(struct bytes strings)
{
	const char **entry, **entries;
	size count = 1;
	u32 i;

	for (i = 0; i < strings.size; i++)
		count += !strings.at[i];
	entry = entries = pages(STEP_PLAN, count * sizeof(*entries));
	for (i = 0; i < strings.size; i++)
		if (!i || !strings.at[i - 1])
			*entry++ = (const char *)strings.at + i;
	return entries;
}

static void read_plan(int from)
{
	u8 *text = pages(STEP_PLAN, PLAN_MOST);
	u32 bytes = 0;
	long got;

	while ((got = sys(read, from, text + bytes, PLAN_MOST - bytes)) > 0 || got == -EINTR)
		bytes += got > 0 ? (u32)got : 0;
	must(got, STEP_PLAN, bytes);
	got = bytes == PLAN_MOST ? (long)bytes : parse(&plan, text, bytes, report);
	if (got >= 0)
		fail(STEP_PLAN, -EBADMSG, got);
	sys(close, from);
	words = (const char *)plan.record[TAG_WORDS].at;
	words_count = strings_in(&plan.record[TAG_WORDS]);
	words_of_namespaces = plan.record[TAG_NAMESPACES].size / NAMESPACE_SIZE;
	plan.argv = vector(plan.record[TAG_ARGV]);
	plan.env = vector(plan.record[TAG_ENV]);
}

/* ---- what the process holds ---- */

/* The lowest descriptor that stays open, from one number on, or -1. */
static long next_kept(long from)
{
	const struct bytes *keep = &plan.record[TAG_KEEP], *list = &plan.record[TAG_NAMESPACES];
	u32 kept = keep->size / 4, namespaces = list->size / NAMESPACE_SIZE, i;
	long next = -1, fd;

	for (i = 0; i < kept + namespaces + OWN_DESCRIPTORS + 2; i++) {
		if (i < kept)
			fd = (int)load32(keep->at + 4 * i);
		else if (i < kept + namespaces)
			fd = (int)load32(list->at + NAMESPACE_SIZE * (i - kept));
		else if (i < kept + namespaces + OWN_DESCRIPTORS)
			fd = descriptor(&plan, own_descriptors[i - kept - namespaces]);
		else
			fd = i == kept + namespaces + OWN_DESCRIPTORS ? descriptor(&plan, TAG_GO) : report;
		if (fd >= from && (next < 0 || fd < next))
			next = fd;
	}
	return next;
}

/* Close the runs between the descriptors that stay: a leaked one leads out (CVE-2024-21626). */
static void close_others(void)
{
	long from = 3, kept;

	if (!plan.record[TAG_KEEP].at)
		return;
	for (; (kept = next_kept(from)) >= 0; from = kept + 1)
		if (kept > from)
			must(sys(close_range, from, kept - 1, 0), STEP_DESCRIPTORS, from);
	must(sys(close_range, from, ~0u, 0), STEP_DESCRIPTORS, from);
}

static void arrange_descriptors(void)
{
	const u8 *stdio = plan.record[TAG_STDIO].at;
	long moved[3];
	u32 i;

	if (report >= 0)
		must(sys(fcntl, report, F_SETFD, FD_CLOEXEC), STEP_DESCRIPTORS, report);
	if (stdio) {
		/* All out of the way first: one may be the place of another. */
		for (i = 0; i < 3; i++)
			moved[i] = must(sys(fcntl, load32(stdio + 4 * i), F_DUPFD_CLOEXEC, 3),
					STEP_DESCRIPTORS, load32(stdio + 4 * i));
		for (i = 0; i < 3; i++)
			must(sys(dup3, moved[i], i, 0), STEP_DESCRIPTORS, i);
		for (i = 0; i < 3; i++)
			sys(close, moved[i]);
	}
	close_others();
}

static void new_session(void)
{
	long result;

	if (!plan.record[TAG_SETSID].at)
		return;
	result = sys(setsid);
	/* A leader already has what was asked for. */
	if (result == -EPERM && sys(getsid, 0) == sys(getpid))
		return;
	must(result, STEP_SESSION, 0);
}

static void new_keyring(void)
{
	const struct bytes *name = &plan.record[TAG_KEYRING];
	long result;

	if (!name->at)
		return;
	result = sys(keyctl, KEYCTL_JOIN_SESSION_KEYRING, name->size > 1 ? name->at : NULL);
	if (result != -ENOSYS) /* a kernel without keyrings has none that could leak */
		must(result, STEP_KEYRING, 0);
}

static void set_limits(void)
{
	const struct bytes *limits = &plan.record[TAG_LIMITS];
	u32 i;

	for (i = 0; i < limits->size; i += LIMIT_SIZE) {
		u32 resource = load32(limits->at + i);
		struct rlimit64 limit = { load64(limits->at + i + 4), load64(limits->at + i + 12) };

		must(sys(prlimit64, 0, resource, &limit, NULL), STEP_LIMITS, resource);
	}
	if (plan.record[TAG_UMASK].at)
		sys(umask, load32(plan.record[TAG_UMASK].at)); /* it cannot fail */
}

/*
 * Change the directory; 0 when the command's user may be able to where we are not. A path through
 * /proc can name a directory outside the root, which getcwd(2) tells (CVE-2024-21626).
 */
static int change_directory(int is_last_try)
{
	char path[PATH_SIZE];
	long result;

	if (!plan.record[TAG_CWD].at)
		return 1;
	result = sys(chdir, plan.record[TAG_CWD].at);
	if (result == -EACCES && !is_last_try)
		return 0;
	must(result, STEP_CWD, 0);
	must(sys(getcwd, path, sizeof(path)), STEP_CWD, 0);
	if (path[0] != '/')
		fail(STEP_CWD, -EXDEV, 0);
	return 1;
}

/* ---- who the process is, and what it may do ---- */

/* Ask to be killed when the parent dies, and see by its pidfd whether it has died before that. */
static void die_with(int parent)
{
	struct pollfd poll = { parent, POLLIN, 0 };
	struct __kernel_timespec at_once = { 0, 0 };

	if (plan.record[TAG_DEATH_SIGNAL].at)
		must(sys(prctl, PR_SET_PDEATHSIG, load32(plan.record[TAG_DEATH_SIGNAL].at)),
		     STEP_DEATH_SIGNAL, 0);
	if (parent < 0)
		return;
	must(sys(ppoll, &poll, 1, &at_once, NULL, 8), STEP_PARENT, parent);
	if (poll.revents)
		fail(STEP_PARENT, poll.revents & POLLNVAL ? -EBADF : -ESRCH, parent);
	sys(close, parent);
}

/*
 * Everything that has an order among itself. Bounding set before the ids that lose CAP_SETPCAP;
 * SYS_ADMIN kept until filters are loaded that no_new_privs does not license, SETPCAP until the
 * securebits are set; what a change of credentials clears (dumpable, the death signal) after it;
 * what a filter may refuse before the filters; the last capset after them.
 *
 * Returns a descriptor of this process, by which its child sees it die, or -1.
 */
static int give_up_powers(void)
{
	struct powers powers;
	u64 besides = 0;
	long pid;
	int has_powers = plan.record[TAG_CAPABILITIES].at != NULL, entered, self = -1;

	entered = change_directory(0);
	if (has_powers) {
		wanted_powers(&powers);
		lower_bounding_set(powers.bounding);
	}
	change_ids();
	if (has_powers) {
		if (plan.filters && !plan.record[TAG_NO_NEW_PRIVS].at)
			besides |= bit(CAP_SYS_ADMIN);
		if (plan.record[TAG_SECUREBITS].at)
			besides |= bit(CAP_SETPCAP);
		besides &= permitted_now() & ~powers.effective;
		set_powers(&powers, besides, STEP_CAPABILITIES);
		raise_ambient_set(powers.ambient);
	}
	if (!entered)
		change_directory(1);
	if (plan.record[TAG_SECUREBITS].at)
		must(sys(prctl, PR_SET_SECUREBITS, load32(plan.record[TAG_SECUREBITS].at)),
		     STEP_SECUREBITS, 0);
	if (number(&plan, TAG_MODE, 0) == MODE_INIT) {
		/* Outside a PID namespace of its own, too, orphans of the command come here. */
		must(sys(prctl, PR_SET_CHILD_SUBREAPER, 1), STEP_FORK, 0);
		pid = sys(getpid);
		self = (int)must(sys(pidfd_open, pid, 0), STEP_FORK, 0);
	}
	die_with(descriptor(&plan, TAG_PARENT));
	if (plan.record[TAG_NO_NEW_PRIVS].at)
		must(sys(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), STEP_NO_NEW_PRIVS, 0);
	load_filters();
	if (besides)
		set_powers(&powers, 0, STEP_LAST_CAPABILITIES);
	if (plan.record[TAG_KEEP_CAPS].at)
		keep_powers();
	return self;
}

/* ---- the command ---- */

/* Whoever waits for us can now see, move and record this process; it runs nothing before. */
static void wait_for_go(void)
{
	int go = descriptor(&plan, TAG_GO);
	char word;
	long got;

	if (tell(STEP_READY, 0, 0) < 0)
		leave(REFUSED); /* nobody is there to be told */
	if (go < 0)
		return;
	do
		got = sys(read, go, &word, 1);
	while (got == -EINTR);
	if (got < 1)
		fail(STEP_GO, got ? got : -ECANCELED, 0);
	if (go != report)
		sys(close, go);
}

static const char *search_path(void)
{
	const char **entry;

	for (entry = plan.env; *entry; entry++) {
		const char *text = *entry;

		if (text[0] == 'P' && text[1] == 'A' && text[2] == 'T' && text[3] == 'H' &&
		    text[4] == '=')
			return text + 5;
	}
	return SEARCHED;
}

/* Execute one path; what is no program the shell reads, where execvp(3) would have it so. */
static long execute_path(const char *path)
{
	long result = sys(execve, path, plan.argv, plan.env);
	const char **script;
	u32 i, count;

	if (result != -ENOEXEC || !plan.record[TAG_SCRIPTS].at)
		return result;
	for (count = 0; plan.argv[count]; count++)
		;
	script = pages(STEP_EXEC, (count + 3) * sizeof(*script));
	script[0] = "/bin/sh";
	script[1] = path;
	for (i = 1; i < count; i++)
		script[i + 1] = plan.argv[i];
	return sys(execve, script[0], script, plan.env);
}

/* The search of execvp(3), in the root that the process is in now; an empty place is ".". */
static long execute(void)
{
	const struct bytes *program = &plan.record[TAG_PROGRAM];
	const char *name = program->at ? (const char *)program->at : plan.argv[0];
	const char *place = search_path();
	size bytes = length(name), i;
	long result, found = -ENOENT;

	for (i = 0; i < bytes; i++)
		if (name[i] == '/')
			return execute_path(name);
	if (!bytes)
		return -ENOENT;
	for (;; place++) {
		char path[PATH_SIZE];
		size used = 0;

		for (; *place && *place != ':'; place++, used++)
			if (used < sizeof(path))
				path[used] = *place;
		/* A place too long for a path is one where nothing can be. */
		if (used + 1 + bytes < sizeof(path)) {
			if (used)
				path[used++] = '/';
			for (i = 0; i <= bytes; i++)
				path[used + i] = name[i];
			result = execute_path(path);
			if (result == -EACCES)
				found = result;
			else if (result != -ENOENT && result != -ENOTDIR)
				return result;
		}
		if (!*place)
			return found;
	}
}

static __attribute__((noreturn)) void run(void)
{
	u64 none = 0;

	if (!plan.record[TAG_SIGNALS].at)
		must(sys(rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none)), STEP_SIGNALS, 0);
	fail(STEP_EXEC, execute(), 0);
}

/* Collect who has ended; with the command this process ends too, and all of its namespace. */
static void reap(int command, int options)
{
	int status;
	long pid;

	while ((pid = sys(wait4, -1, &status, options | __WALL, NULL)) > 0)
		if (pid == command)
			leave(status & 0x7f ? 128 + (status & 0x7f) : status >> 8 & 0xff);
	if (pid < 0 && pid != -EINTR)
		leave(REFUSED); /* the filters leave us no way to learn of the command's end */
}

/*
 * PID 1: reap, and pass signals on. Signals stay blocked and are taken one by one, since the kernel
 * drops what PID 1 neither handles nor blocks.
 */
static __attribute__((noreturn)) void serve(int command)
{
	u64 all = ~(u64)0;
	siginfo_t about;

	for (;;) {
		long signal = sys(rt_sigtimedwait, &all, &about, NULL, sizeof(all));

		if (signal == -EINTR)
			continue;
		if (signal < 0)
			reap(command, 0); /* refused by a filter: the command still has an end */
		else if (signal == SIGCHLD)
			reap(command, WNOHANG);
		/*
		 * What the kernel itself sends is for us alone (a CPU limit), or a terminal's key,
		 * which reached the command's process group with ours. ESRCH: the command has just
		 * ended. EPERM: it has become another user.
		 */
		else if (about.si_code != SI_KERNEL)
			sys(kill, command, signal);
	}
}

static __attribute__((noreturn)) void stay(int self)
{
	const struct bytes *keep = &plan.record[TAG_KEEP];
	long command = must(sys(clone, SIGCHLD, NULL, NULL, NULL, NULL), STEP_FORK, 0);
	u32 i;

	if (!command) {
		die_with(self);
		new_session();
		run();
	}
	/* The report ends when the command runs, a kept socket when the command closes it. */
	sys(close, report);
	sys(close, self);
	for (i = 0; i < keep->size; i += 4)
		sys(close, load32(keep->at + i));
	/*
	 * Nothing is left here that the command does not have, so PID 1 is as readable as any
	 * process. Refused by a filter, it stays unreadable.
	 */
	sys(prctl, PR_SET_DUMPABLE, 1);
	serve((int)command);
}

/* ---- entering ---- */

/*
 * The command's process, which is born with nothing but its own powers and one socket into the PID
 * namespace that was joined, and is a child of our parent.
 */
static void send_in(void)
{
	long command = sys(clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);

	if (must(command, STEP_FORK, 0))
		leave(0);
	die_with(-1);
	new_session();
	control_terminal();
}

/* As nsenter(1): stop with the command, end as it did. */
static void send_in_and_wait(void)
{
	long command = must(sys(clone, SIGCHLD, NULL, NULL, NULL, NULL), STEP_FORK, 0);
	long self = sys(getpid), got;
	int status;

	if (!command)
		return;
	while ((got = sys(wait4, command, &status, WUNTRACED, NULL)) == command &&
	       (status & 0xff) == 0x7f) {
		sys(kill, self, SIGSTOP);
		sys(kill, command, SIGCONT);
	}
	if (got == command && !(status & 0x7f))
		leave(status >> 8 & 0xff);
	if (got == command)
		sys(kill, self, status & 0x7f);
	leave(FAILED);
}

/* ---- the start ---- */

static int decimal(const char *text)
{
	int value = 0, i;

	for (i = 0; text[i]; i++) {
		if (text[i] < '0' || text[i] > '9' || i > 6)
			return -1;
		value = value * 10 + text[i] - '0';
	}
	return i ? value : -1;
}

/* The descriptor that the environment gives a name to. */
static int given(const char *const *env, const char *name)
{
	int i;

	for (; *env; env++) {
		for (i = 0; name[i] && (*env)[i] == name[i]; i++)
			;
		if (!name[i])
			return decimal(*env + i);
	}
	return -1;
}

/* What the caller ignored or handled is not the command's; all is blocked until it runs. */
static void calm_signals(void)
{
	struct {
		void *handler;
		unsigned long flags;
		void *restorer;
		u64 mask;
	} by_default = { NULL, 0, NULL, 0 };
	u64 all = ~(u64)0;
	int signal;

	must(sys(rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof(all)), STEP_SIGNALS, 0);
	for (signal = 1; signal <= SIGNALS; signal++) /* KILL and STOP have no other */
		sys(rt_sigaction, signal, &by_default, NULL, sizeof(by_default.mask));
}

__attribute__((noreturn, used)) void stage2(const long *stack)
{
	const char *const *env = (const char *const *)(stack + 1) + stack[0] + 1;
	int from, target, mode, self;

	from = given(env, "PLAN=");
	report = given(env, "REPORT=");
	target = given(env, "FILTERS=");
	stay_unreadable();
	if (given(env, "READ=") > 2)
		read_files(given(env, "READ="), (const char *const *)(stack + 2));
	if (target > 0) {
		calm_signals();
		read_filters(target, given(env, "PIDFD="));
	}
	if (from < 3 || (report >= 0 && report < 3) || from == report)
		leave(REFUSED);
	read_plan(from);
	if (report < 0 && !words)
		leave(REFUSED);
	if (!plan.record[TAG_SIGNALS].at)
		calm_signals();
	mode = (int)number(&plan, TAG_MODE, 0);
	if (mode == MODE_INIT)
		sys(prctl, PR_SET_NAME, "nsctl-init");
	arrange_descriptors();
	set_label();
	drop_groups_early();
	join_namespaces();
	make_view();
	change_root();
	join_group();
	open_terminal();
	if (mode == MODE_FORK)
		send_in_and_wait();
	if (mode != MODE_ENTER)
		new_session();
	if (mode == MODE_EXEC)
		control_terminal();
	new_keyring();
	set_limits();
	self = give_up_powers();
	if (mode == MODE_ENTER)
		send_in();
	wait_for_go();
	if (mode == MODE_INIT)
		stay(self);
	run();
}
