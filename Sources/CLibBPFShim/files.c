#define _GNU_SOURCE
#include "mms_files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

int mms_duplicate(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	return copy < 0 ? -errno : copy;
}

int mms_descriptor_kind(int fd, char *kind, size_t size)
{
	char path[32];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	length = readlink(path, kind, size - 1);
	if (length < 0) {
		kind[0] = '\0';
		return -errno;
	}
	kind[length] = '\0';
	return 0;
}

int mms_descriptor_is_writable(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 ? -errno : (flags & O_ACCMODE) != O_RDONLY;
}

int mms_is_on_bpffs(const char *path)
{
	struct statfs info;

	if (statfs(path, &info))
		return -errno;
	return (uint32_t)info.f_type == BPF_FS_MAGIC;
}

int mms_unlink(const char *path)
{
	return unlink(path) ? -errno : 0;
}

int mms_map_scratch(size_t size, void **address)
{
	void *found = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	*address = found == MAP_FAILED ? NULL : found;
	return *address ? 0 : -errno;
}

size_t mms_page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

int mms_map_user_page(void **address)
{
	void *found = mmap(NULL, mms_page_size(), PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	*address = found == MAP_FAILED ? NULL : found;
	return *address ? 0 : -errno;
}

int mms_map_shared(int fd, size_t size, void **address)
{
	void *found = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	*address = found == MAP_FAILED ? NULL : found;
	return *address ? 0 : -errno;
}

int mms_map_shared_over(int fd, size_t size, void *address)
{
	void *found;
	int error;

	/* Where mmap() with MAP_FIXED fails, what was there is gone, and others may map something there. */
	error = mms_map_shared(fd, size, &found);
	if (error)
		return error;
	if (mremap(found, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, address) == MAP_FAILED) {
		error = -errno;
		munmap(found, size);
	}
	return error;
}

int mms_unmap(void *address, size_t size)
{
	return munmap(address, size) ? -errno : 0;
}
