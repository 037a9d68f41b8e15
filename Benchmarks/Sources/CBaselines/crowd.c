// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "crowd.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct crowd {
	const struct crowd_steps *steps;
	int storages;
	pthread_barrier_t barrier;
};

struct member {
	struct crowd *crowd;
	pthread_t thread;
	int64_t attaching, detaching;
	int error;
};

static int64_t own_time(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * 1000000000ll + now.tv_nsec;
}

/* From the page tables: the counters in statm may be wrong by some hundred pages. */
static int64_t resident_bytes(void)
{
	FILE *file = fopen("/proc/self/smaps_rollup", "re");
	char line[256];
	long kibibytes = -1;

	if (!file)
		return -1;
	while (kibibytes < 0 && fgets(line, sizeof(line), file))
		sscanf(line, "Rss: %ld kB", &kibibytes);
	fclose(file);
	return kibibytes * 1024;
}

/* The bytes that malloc has allocated, with its headers, in all arenas. */
static int64_t heap_bytes(void)
{
	return mallinfo2().uordblks;
}

/* The threads wait here while they are measured. */
static void meet(struct member *member)
{
	pthread_barrier_wait(&member->crowd->barrier);
	pthread_barrier_wait(&member->crowd->barrier);
}

static void *take_part(void *argument)
{
	struct member *member = argument;
	const struct crowd_steps *steps = member->crowd->steps;
	int storages = member->crowd->storages;
	int64_t before;

	/* Allocates the thread's own part of the heap before. */
	free(malloc(1));
	meet(member);
	member->error = steps->attach(steps->context, 0);
	meet(member);
	before = own_time();
	for (int i = 1; i < storages && !member->error; i++)
		member->error = steps->attach(steps->context, i);
	member->attaching = own_time() - before;
	meet(member);
	before = own_time();
	for (int i = 1; i < storages && !member->error; i++)
		member->error = steps->detach(steps->context, i);
	member->detaching = own_time() - before;
	if (!member->error)
		member->error = steps->detach(steps->context, 0);
	return NULL;
}

int crowd_run(int threads, const struct crowd_steps *steps, struct crowd_figures *figures)
{
	struct crowd crowd = { .steps = steps, .storages = crowd_storages(threads) };
	struct member *members = calloc(threads, sizeof(*members));
	int64_t before, heap_before, attaching = 0, detaching = 0;
	int64_t measured = (int64_t)threads * (crowd.storages - 1);
	pthread_attr_t attributes;
	int error = 0;

	if (!members)
		return -ENOMEM;
	pthread_barrier_init(&crowd.barrier, NULL, threads + 1);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 128 << 10);
	for (int i = 0; i < threads; i++) {
		members[i].crowd = &crowd;
		error = pthread_create(&members[i].thread, &attributes, take_part, &members[i]);
		if (error) {
			/* The others wait for a barrier that never opens. */
			fprintf(stderr, "thread %d of %d cannot be created: errno %d\n", i, threads, error);
			exit(1);
		}
	}
	pthread_barrier_wait(&crowd.barrier);
	heap_before = heap_bytes();
	pthread_barrier_wait(&crowd.barrier);
	pthread_barrier_wait(&crowd.barrier);
	figures->first_heap_bytes = (double)(heap_bytes() - heap_before) / threads;
	/* Memory that earlier crowds freed would replace new memory. */
	malloc_trim(0);
	before = resident_bytes();
	heap_before = heap_bytes();
	pthread_barrier_wait(&crowd.barrier);
	pthread_barrier_wait(&crowd.barrier);
	figures->heap_bytes = (double)(heap_bytes() - heap_before) / measured;
	figures->resident_bytes = (double)(resident_bytes() - before) / measured;
	pthread_barrier_wait(&crowd.barrier);
	for (int i = 0; i < threads; i++) {
		pthread_join(members[i].thread, NULL);
		if (members[i].error)
			error = members[i].error;
		attaching += members[i].attaching;
		detaching += members[i].detaching;
	}
	figures->attach_nanoseconds = (double)attaching / measured;
	figures->detach_nanoseconds = (double)detaching / measured;
	pthread_attr_destroy(&attributes);
	pthread_barrier_destroy(&crowd.barrier);
	free(members);
	return error;
}
