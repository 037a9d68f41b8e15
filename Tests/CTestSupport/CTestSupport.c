#define _GNU_SOURCE
#include "CTestSupport.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <malloc.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int test_pidfd_open(int tid)
{
	/* PIDFD_THREAD is O_EXCL. */
	long fd = syscall(SYS_pidfd_open, tid, O_EXCL);

	return fd < 0 ? -errno : (int)fd;
}

int test_fork(void)
{
	pid_t child = fork();

	return child < 0 ? -errno : child;
}

int test_drop_rights(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0 } };

	if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
		return -errno;
	if (syscall(SYS_capset, &header, none))
		return -errno;
	/* Leaving root makes the process undumpable, which closes its own /proc to it. */
	return prctl(PR_SET_DUMPABLE, 1) ? -errno : 0;
}

unsigned long test_heap_bytes(void)
{
	return mallinfo2().uordblks;
}

int test_bpf_call_number(void)
{
	return SYS_bpf;
}
