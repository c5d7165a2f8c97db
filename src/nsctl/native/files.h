/*
 * Reading small files of somebody who is not trusted: below a directory that is taken for the root,
 * regular ones only, no more of them than fits, by a process that may hang without harm.
 */
#ifndef NSCTL_FILES_H
#define NSCTL_FILES_H

#include "report.h"

#include <linux/openat2.h>

#define FILE_MOST 65536u

/* Open without a link or a device doing anything: by place first, then the file itself. */
static long open_plain(int root, const char *path)
{
	const char *self = "/proc/self/fd/";
	struct open_how how = { O_PATH | O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	char name[32];
	struct stat about;
	long place = sys(openat2, root, path, &how, sizeof(how)), fd;

	if (place < 0)
		return place;
	fd = sys(fstat, place, &about);
	if (!fd && (about.st_mode & S_IFMT) != S_IFREG)
		fd = -EINVAL;
	if (!fd)
		fd = sys(openat, AT_FDCWD, numbered(name, self, (u32)place), O_RDONLY | O_NONBLOCK);
	sys(close, place);
	return fd;
}

/*
 * Write, for each path, READY with the number of its bytes and then those, or why it was not read.
 * Longer files are cut.
 */
static __attribute__((noreturn)) void read_files(int root, const char *const *paths)
{
	static u8 text[FILE_MOST];

	sys(prctl, PR_SET_PDEATHSIG, SIGKILL);
	for (; *paths; paths++) {
		u32 used = 0, done;
		long fd = open_plain(root, *paths), got = fd;

		while (got >= 0 && used < FILE_MOST &&
		       (got = sys(read, fd, text + used, FILE_MOST - used)) > 0)
			used += (u32)got;
		if (fd >= 0)
			sys(close, fd);
		if (got < 0)
			tell(STEP_FILE, (u32)-got, 0);
		else
			tell(STEP_READY, 0, used);
		for (done = 0; got >= 0 && done < used; done += (u32)fd)
			fd = must(sys(write, report, text + done, used - done), STEP_FILE, 0);
	}
	leave(0);
}

#endif
