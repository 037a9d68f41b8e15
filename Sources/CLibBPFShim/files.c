// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "mms_files.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/vfs.h>

int mms_is_on_bpffs(const char *path)
{
	struct statfs info;

	if (statfs(path, &info))
		return -errno;
	return (uint32_t)info.f_type == BPF_FS_MAGIC;
}

int mms_map_over(int fd, size_t size, void *address)
{
	void *found;
	int error;

	/* A failed mmap() with MAP_FIXED removes the old mapping, and other threads may reuse the range. */
	found = mmap(NULL, size, PROT_READ | PROT_WRITE,
		     fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
	if (found == MAP_FAILED)
		return -errno;
	if (mremap(found, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, address) != MAP_FAILED)
		return 0;
	error = -errno;
	munmap(found, size);
	return error;
}
