/*
 * Into somebody else's namespaces: what the last stage does there before it gives anything up.
 *
 * What belongs here: joining, the root and the directory, a view of the host with another network's
 * files, the terminal. All of it is done by a process that nobody inside can meet, since it stays in
 * the caller's PID namespace.
 */
#ifndef NSCTL_ENTER_H
#define NSCTL_ENTER_H

#include "powers.h"

/* A descriptor of our own use is closed once that is done. */
static int take(enum tag tag)
{
	return descriptor(&plan, tag);
}

/*
 * The label that the next execve(2) gives (attr/exec of proc_pid_attr(5)): pairs of a file and what
 * to write. Through the caller's /proc, since that of a container may be anything.
 */
static void set_label(void)
{
	const struct bytes *label = &plan.record[TAG_LABEL];
	const char *at = (const char *)label->at, *value;

	for (; at && at < (const char *)label->at + label->size; at = value + length(value) + 1) {
		long fd = must(sys(openat, AT_FDCWD, at, O_WRONLY | O_CLOEXEC), STEP_LABEL, 0);

		value = at + length(at) + 1;
		must(sys(write, fd, value, length(value)), STEP_LABEL, 0);
		sys(close, fd);
	}
}

static u32 joined[16];

/*
 * Join what the plan names, at once or in two passes: the first without the user namespace, in which
 * a refusal counts for nothing (who gives powers up enters that one last), the second with it.
 */
static void join_namespaces(void)
{
	const struct bytes *list = &plan.record[TAG_NAMESPACES];
	u32 i, pass = plan.record[TAG_TWO_PASSES].at ? 0 : 1;

	for (; pass < 2; pass++)
		for (i = 0; i < list->size / NAMESPACE_SIZE; i++) {
			int fd = (int)load32(list->at + i * NAMESPACE_SIZE);
			u32 flags = load32(list->at + i * NAMESPACE_SIZE + 4) & ~joined[i];
			long result;

			if (!pass)
				flags &= ~(u32)CLONE_NEWUSER;
			if (!flags)
				continue;
			result = sys(setns, fd, flags);
			if (pass)
				must(result, STEP_NAMESPACES, i);
			else if (!result)
				joined[i] = flags;
		}
	for (i = 0; i < list->size / NAMESPACE_SIZE; i++)
		sys(close, load32(list->at + i * NAMESPACE_SIZE));
}

static void join_group(void)
{
	int fd = take(TAG_CGROUP);

	if (fd < 0)
		return;
	must(sys(write, fd, "0", 1), STEP_CGROUP, 0);
	sys(close, fd);
}

/*
 * A mount namespace of our own in which some files have other contents, and /sys is that of the
 * network namespace that was joined: as `ip netns exec` does it. The contents lie on a file system
 * in memory that only the mounts keep.
 */
static void make_view(void)
{
	const struct bytes *view = &plan.record[TAG_VIEW];
	const u64 attributes = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	const char *path = (const char *)view->at, *content;
	char name[32];
	long fd, result;
	u32 place = 0;

	if (!view->at)
		return;
	must(sys(unshare, CLONE_NEWNS), STEP_VIEW, 0);
	must(sys(mount, "none", "/", NULL, MS_SLAVE | MS_REC, NULL), STEP_VIEW, 0);
	fd = sys(openat, AT_FDCWD, "/sys/fs/cgroup", O_PATH | O_CLOEXEC | O_DIRECTORY);
	must(sys(mount, "nsctl", "/sys", "tmpfs", attributes, "mode=0755"), STEP_VIEW, 0);
	for (; path < (const char *)view->at + view->size; path = content + length(content) + 1) {
		long file;

		content = path + length(path) + 1;
		numbered(name, "/sys/", place++);
		file = must(sys(openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644),
			    STEP_VIEW, place);
		must(sys(fchmod, file, 0644), STEP_VIEW, place);
		must(sys(write, file, content, length(content)), STEP_VIEW, place);
		sys(close, file);
		must(sys(mount, name, path, NULL, MS_BIND, NULL), STEP_VIEW, place);
	}
	must(sys(umount2, "/sys", MNT_DETACH), STEP_VIEW, 0);
	result = sys(mount, "sysfs", "/sys", "sysfs", attributes, NULL);
	/* A user namespace that does not own the network may not: /sys stays as it is. */
	if (result != -EPERM)
		must(result, STEP_VIEW, 0);
	if (fd < 0)
		return;
	/* Whoever cannot do without the control groups' files finds them where they were. */
	if (!result)
		sys(mount, numbered(name, "/proc/self/fd/", (u32)fd), "/sys/fs/cgroup", NULL,
		    MS_BIND | MS_REC, NULL);
	sys(close, fd);
}

/* chroot(2) to a directory that was opened outside; one's own stays where it was unless named. */
static void change_root(void)
{
	int root = take(TAG_ROOT), directory = take(TAG_DIRECTORY);

	if (root >= 0) {
		/* As nsenter: whoever names no directory keeps the one of before. */
		if (directory < 0 && !plan.record[TAG_CWD].at)
			directory = (int)must(sys(openat, AT_FDCWD, ".", O_RDONLY | O_CLOEXEC),
					      STEP_DIRECTORY, 0);
		must(sys(fchdir, root), STEP_ROOT, 0);
		must(sys(chroot, "."), STEP_ROOT, 0);
		must(sys(chdir, "/"), STEP_ROOT, 0);
		sys(close, root);
	}
	if (directory >= 0) {
		must(sys(fchdir, directory), STEP_DIRECTORY, 0);
		sys(close, directory);
	}
}

/* ---- the terminal ---- */

struct part {
	void *at;
	size bytes;
};

struct message_header {
	void *name;
	u32 name_size, pad;
	struct part *parts;
	size parts_count;
	void *control;
	size control_size;
	u32 flags;
};

struct one_descriptor {
	size bytes;
	int level, type;
	int fd, pad;
};

/* Say which terminal it is: with the master, or with nothing where the caller's spare one is used. */
static void hand_over(int to, long master)
{
	struct one_descriptor control = { sizeof(size) + 3 * sizeof(int), 1 /* SOL_SOCKET */,
					  1 /* SCM_RIGHTS */, (int)master, 0 };
	char byte = '!';
	struct part part = { &byte, 1 };
	struct message_header message = { NULL, 0, 0, &part, 1, &control, sizeof(control), 0 };

	if (master < 0)
		message.control_size = 0;
	must(sys(sendmsg, to, &message, MSG_NOSIGNAL), STEP_TERMINAL, 0);
	sys(close, to);
}

/*
 * A terminal of the root that we are in, by descriptor and only from a real devpts: then ttyname(3)
 * finds it. Where there is none, the streams are the caller's spare one already.
 */
static void open_terminal(void)
{
	const u8 *record = plan.record[TAG_TERMINAL].at;
	long pts, master = -1, terminal = -1;
	struct statfs about;
	int unlocked = 0;
	u32 i;

	if (!record)
		return;
	pts = sys(openat, AT_FDCWD, "/dev/pts", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (pts >= 0 && !sys(fstatfs, pts, &about) && about.f_type == DEVPTS_SUPER_MAGIC)
		master = sys(openat, pts, "ptmx", O_RDWR | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
	if (master >= 0 && !sys(ioctl, master, TIOCSPTLCK, &unlocked))
		terminal = sys(ioctl, master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (terminal >= 0) {
		/* As after login(1); refused, it belongs to whoever opened it. */
		sys(fchown, terminal, number(&plan, TAG_UID, (u32)-1), (u32)-1);
		for (i = 0; i < 3; i++)
			if (load32(record + 4) >> i & 1)
				must(sys(dup3, terminal, i, 0), STEP_TERMINAL, i);
		sys(close, terminal);
	}
	hand_over((int)load32(record), terminal >= 0 ? master : -1);
	if (master >= 0)
		sys(close, master);
	if (pts >= 0)
		sys(close, pts);
}

/* In the session that the command leads. */
static void control_terminal(void)
{
	const u8 *record = plan.record[TAG_TERMINAL].at;
	u32 i;

	if (!record)
		return;
	for (i = 0; i < 3; i++)
		if (load32(record + 4) >> i & 1) {
			must(sys(ioctl, i, TIOCSCTTY, 0), STEP_TERMINAL, i);
			return;
		}
}

#endif
