// SPDX-License-Identifier: Apache-2.0
#include "swift_task_costs.h"

#include <bpf/bpf.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_ullong allocations;

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size)
{
	atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
	return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
	return __libc_calloc(count, size);
}

int posix_memalign(void **result, size_t alignment, size_t size)
{
	atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
	*result = __libc_memalign(alignment, size);
	return *result ? 0 : 12;
}

void *aligned_alloc(size_t alignment, size_t size)
{
	atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
	return __libc_memalign(alignment, size);
}

uint64_t costs_allocations(void)
{
	return atomic_load(&allocations);
}

void costs_add(volatile uint64_t *field, uint64_t times)
{
	for (uint64_t i = 0; i < times; i++)
		*field += 1;
}

static uint64_t read_clock(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

uint64_t costs_now(void)
{
	return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t costs_run(int fd, uint64_t argument)
{
	uint64_t words[1] = { argument };
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = words, .ctx_size_in = sizeof(words));
	uint64_t start = read_clock(CLOCK_MONOTONIC);

	if (bpf_prog_test_run_opts(fd, &options))
		abort();
	return read_clock(CLOCK_MONOTONIC) - start;
}

int costs_find_program(const char *name)
{
	for (int fd = 3; fd < 1024; fd++) {
		struct bpf_prog_info info = { 0 };
		uint32_t size = sizeof(info);
		char link[64] = "", path[32];

		strcpy(path, "/proc/self/fd/");
		int at = (int)strlen(path);
		for (int digits = fd, scale = 1000; scale; scale /= 10)
			if (fd >= scale || scale == 1)
				path[at++] = (char)('0' + digits / scale % 10);
		path[at] = 0;
		if (readlink(path, link, sizeof(link) - 1) < 0 || strcmp(link, "anon_inode:bpf-prog"))
			continue;
		if (!bpf_obj_get_info_by_fd(fd, &info, &size) && !strncmp(info.name, name, 15))
			return fd;
	}
	return -1;
}
