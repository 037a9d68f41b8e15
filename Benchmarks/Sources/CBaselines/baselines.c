// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "baselines.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#ifndef PIDFD_THREAD
#define PIDFD_THREAD 0200
#endif

static _Thread_local volatile struct counters *baseline_page
	__attribute__((tls_model("initial-exec")));

void baseline_enter(void *page)
{
	baseline_page = page;
}

int baseline_own_pidfd(void)
{
	static _Thread_local int pidfd = -1;

	if (pidfd < 0)
		pidfd = syscall(SYS_pidfd_open, syscall(SYS_gettid), PIDFD_THREAD);
	return pidfd;
}

uint64_t baseline_read_field(size_t count)
{
	volatile struct counters *page = baseline_page;
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += page->b;
	return sum;
}

uint64_t baseline_write_field(size_t count)
{
	volatile struct counters *page = baseline_page;

	for (size_t i = 0; i < count; i++)
		page->b = i;
	return page->b;
}

uint64_t baseline_mixed_fields(size_t count)
{
	volatile struct counters *page = baseline_page;

	for (size_t i = 0; i < count; i++) {
		page->a = page->b + page->c;
		page->d = page->c + 1;
		page->f = page->e;
		page->h = page->g;
	}
	return page->a;
}

uint64_t baseline_copy(size_t count)
{
	volatile struct counters *page = baseline_page;
	uint64_t sum = 0;
	struct counters copy;

	for (size_t i = 0; i < count; i++) {
		memcpy(&copy, (const void *)page, sizeof(copy));
		baseline_look_at(&copy);
		sum += copy.b;
	}
	return sum;
}

uint64_t baseline_add(size_t count)
{
	volatile struct counters *page = baseline_page;

	for (size_t i = 0; i < count; i++)
		__atomic_fetch_add(&page->b, 1, __ATOMIC_RELAXED);
	return page->b;
}

uint64_t baseline_enter_and_read(size_t count)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++) {
		volatile struct counters *page = baseline_page;

		if (!page)
			abort();
		sum += page->b;
		baseline_forget_memory();
	}
	return sum;
}

struct keys {
	uint32_t count;
	uint32_t offsets[16];
};

static struct keys *all_keys;
static const int key_index = 3;

void baseline_prepare_keys(void)
{
	static struct keys keys = { .count = 16, .offsets = { [3] = 0 } };

	__atomic_store_n(&all_keys, &keys, __ATOMIC_RELEASE);
}

static inline volatile void *data_of_key(int key)
{
	struct keys *keys = __atomic_load_n(&all_keys, __ATOMIC_ACQUIRE);

	if (!keys || (uint32_t)key >= keys->count || !baseline_page)
		return NULL;
	return (volatile char *)baseline_page + keys->offsets[key];
}

uint64_t baseline_enter_by_key(size_t count)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++) {
		volatile struct counters *page = data_of_key(key_index);

		if (!page)
			abort();
		sum += page->b;
		baseline_forget_memory();
	}
	return sum;
}

long baseline_lookup(int map, int pidfd, size_t count)
{
	struct counters value;
	long sum = 0;

	for (size_t i = 0; i < count; i++) {
		if (bpf_map_lookup_elem(map, &pidfd, &value))
			return -errno;
		sum += value.b & 1;
	}
	return sum;
}

long baseline_lookup_and_update(int map, int pidfd, size_t count)
{
	struct counters value;

	for (size_t i = 0; i < count; i++) {
		if (bpf_map_lookup_elem(map, &pidfd, &value))
			return -errno;
		value.b++;
		if (bpf_map_update_elem(map, &pidfd, &value, BPF_EXIST))
			return -errno;
	}
	return 0;
}

void *baseline_attach(int map)
{
	size_t size = sysconf(_SC_PAGESIZE);
	void *page = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	int pidfd, error;

	if (page == MAP_FAILED)
		return NULL;
	madvise(page, size, MADV_DONTFORK);
	pidfd = syscall(SYS_pidfd_open, syscall(SYS_gettid), PIDFD_THREAD);
	error = bpf_map_update_elem(map, &pidfd, &page, BPF_ANY);
	close(pidfd);
	if (error) {
		munmap(page, size);
		return NULL;
	}
	return page;
}

void baseline_detach(int map, void *page)
{
	int pidfd = syscall(SYS_pidfd_open, syscall(SYS_gettid), PIDFD_THREAD);

	bpf_map_delete_elem(map, &pidfd);
	close(pidfd);
	munmap(page, sysconf(_SC_PAGESIZE));
}

static _Thread_local void *pages_of_crowd[CROWD_STORAGES];

static int attach_to(void *maps, int storage)
{
	void *page = baseline_attach(((int *)maps)[storage]);

	pages_of_crowd[storage] = page;
	if (!page)
		return -ENOMEM;
	((volatile struct counters *)page)->b = 1;
	return 0;
}

/* The library keeps the page until the thread ends, which is not measured. */
static int detach_from(void *maps, int storage)
{
	int pidfd = syscall(SYS_pidfd_open, syscall(SYS_gettid), PIDFD_THREAD);
	int error = bpf_map_delete_elem(((int *)maps)[storage], &pidfd) ? -errno : 0;

	close(pidfd);
	for (int i = 0; storage == 0 && i < CROWD_STORAGES && pages_of_crowd[i]; i++)
		munmap(pages_of_crowd[i], sysconf(_SC_PAGESIZE));
	return error;
}

int baseline_crowd(int threads, const int *maps, struct crowd_figures *figures)
{
	struct crowd_steps steps = { (void *)maps, attach_to, detach_from };

	return crowd_run(threads, &steps, figures);
}

int64_t baseline_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ll + now.tv_nsec;
}

struct worker {
	enum counting way;
	volatile uint64_t *slot;
	int map;
	size_t events;
	int error;
};

static void count_in_slot(volatile uint64_t *slot, size_t events)
{
	for (size_t i = 0; i < events; i++)
		*slot += 1;
}

static void count_with_atomics(volatile uint64_t *slot, size_t events)
{
	for (size_t i = 0; i < events; i++)
		__atomic_fetch_add(slot, 1, __ATOMIC_RELAXED);
}

static int count_in_hash(int map, size_t events)
{
	int key = syscall(SYS_gettid);
	uint64_t value = 0;

	for (size_t i = 0; i < events; i++) {
		if (bpf_map_lookup_elem(map, &key, &value) && errno != ENOENT)
			return -errno;
		value++;
		if (bpf_map_update_elem(map, &key, &value, BPF_ANY))
			return -errno;
	}
	return bpf_map_delete_elem(map, &key) ? -errno : 0;
}

static void *work(void *argument)
{
	struct worker *worker = argument;

	switch (worker->way) {
	case COUNT_PACKED:
	case COUNT_PADDED:
		count_in_slot(worker->slot, worker->events);
		break;
	case COUNT_SHARED_ATOMIC:
		count_with_atomics(worker->slot, worker->events);
		break;
	case COUNT_HASH:
		worker->error = count_in_hash(worker->map, worker->events);
		break;
	}
	return NULL;
}

int baseline_count(enum counting way, int threads, size_t events, int map)
{
	/* Slots of eight bytes next to each other, or each in a separate cache line. */
	size_t stride = way == COUNT_PACKED ? 1 : way == COUNT_PADDED ? 8 : 0;
	size_t size = 64 * ((size_t)threads + 1);
	struct worker workers[64];
	pthread_t handles[64];
	int started, error = 0;
	uint64_t *slots = aligned_alloc(64, size);

	if (!slots)
		return -ENOMEM;
	memset(slots, 0, size);
	for (started = 0; started < threads && !error; started++) {
		workers[started] = (struct worker){ way, slots + started * stride, map, events, 0 };
		error = -pthread_create(&handles[started], NULL, work, &workers[started]);
	}
	if (error)
		started--;
	for (int i = 0; i < started; i++) {
		pthread_join(handles[i], NULL);
		if (workers[i].error)
			error = workers[i].error;
	}
	free(slots);
	return error;
}

int baseline_create_and_remove(int map, int pidfd)
{
	struct counters value = { .b = 1 };

	/* As in a program that has no information on whether a value exists. */
	if (!bpf_map_lookup_elem(map, &pidfd, &value) || errno != ENOENT)
		return -errno;
	if (bpf_map_update_elem(map, &pidfd, &value, BPF_NOEXIST) || bpf_map_delete_elem(map, &pidfd))
		return -errno;
	return 0;
}

int baseline_map_and_remove(int map, int pidfd)
{
	volatile struct counters *page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE,
					      MAP_SHARED, map, 0);

	if (page == MAP_FAILED)
		return -errno;
	page->b = 1;
	if (bpf_map_delete_elem(map, &pidfd))
		return -errno;
	return munmap((void *)page, sizeof(*page)) ? -errno : 0;
}

int baseline_open_and_load(const void *bytes, size_t size)
{
	struct bpf_object *object = bpf_object__open_mem(bytes, size, NULL);
	struct bpf_map *map;
	int error;

	if (!object)
		return -errno;
	/* As declared for lookups only: removes the header's parts for other backends. */
	bpf_object__for_each_map(map, object) {
		if (strstr(bpf_map__name(map), "_user_page"))
			bpf_map__set_autocreate(map, false);
		else if (bpf_map__type(map) == BPF_MAP_TYPE_TASK_STORAGE)
			bpf_map__set_map_flags(map, BPF_F_NO_PREALLOC);
	}
	error = bpf_object__load(object);
	bpf_object__close(object);
	return error;
}
