// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "mms_syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif

int mms_pidfd_open(int tid, _Bool thread)
{
	long fd = syscall(SYS_pidfd_open, tid, thread ? PIDFD_THREAD : 0);

	return fd < 0 ? -errno : (int)fd;
}

int mms_gettid(void)
{
	return (int)syscall(SYS_gettid);
}

_Bool mms_thread_exists(int tid)
{
	return syscall(SYS_tgkill, getpid(), tid, 0) == 0 || errno != ESRCH;
}

_Bool mms_has_seccomp_filter(void)
{
	return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == SECCOMP_MODE_FILTER;
}
