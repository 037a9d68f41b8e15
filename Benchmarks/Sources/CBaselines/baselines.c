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

int64_t baseline_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ll + now.tv_nsec;
}

struct worker {
	enum counting way;
	int index;
	int map;
	size_t events;
	volatile uint64_t *slots;
	int error;
};

static void *work(void *argument)
{
	struct worker *worker = argument;
	size_t stride = worker->way == COUNT_PADDED ? 8 : 1;
	volatile uint64_t *slot = worker->slots + worker->index * stride;
	int key = syscall(SYS_gettid);
	uint64_t value = 0;

	for (size_t i = 0; i < worker->events; i++) {
		switch (worker->way) {
		case COUNT_PACKED:
		case COUNT_PADDED:
			*slot += 1;
			break;
		case COUNT_SHARED_ATOMIC:
			__atomic_fetch_add(worker->slots, 1, __ATOMIC_RELAXED);
			break;
		case COUNT_HASH:
			bpf_map_lookup_elem(worker->map, &key, &value);
			value++;
			if (bpf_map_update_elem(worker->map, &key, &value, BPF_ANY))
				worker->error = -errno;
			break;
		}
	}
	if (worker->way == COUNT_HASH)
		bpf_map_delete_elem(worker->map, &key);
	return NULL;
}

int64_t baseline_count(enum counting way, int threads, size_t events, int map)
{
	struct worker workers[64];
	pthread_t handles[64];
	int64_t before, error = 0;
	uint64_t *slots = aligned_alloc(64, 64 * (threads + 1));

	if (!slots)
		return -ENOMEM;
	memset(slots, 0, 64 * (threads + 1));
	before = baseline_now();
	for (int i = 0; i < threads; i++) {
		workers[i] = (struct worker){ way, i, map, events, slots, 0 };
		pthread_create(&handles[i], NULL, work, &workers[i]);
	}
	for (int i = 0; i < threads; i++) {
		pthread_join(handles[i], NULL);
		if (workers[i].error)
			error = workers[i].error;
	}
	free(slots);
	return error ? error : baseline_now() - before;
}
