// SPDX-License-Identifier: Apache-2.0
#ifndef CROWD_H
#define CROWD_H

#include <stdint.h>

#pragma clang assume_nonnull begin

#define CROWD_STORAGES 8

/* The number of storages of a thread in a crowd, limited by the mappings of a process. */
static inline int crowd_storages(int threads)
{
	return threads > 1000 ? 3 : CROWD_STORAGES;
}

/* The steps of each thread of a crowd, by the number of the storage. For the first one, only the heap
 * is measured, because each thread has one-time costs. They return 0 or -errno.
 */
struct crowd_steps {
	void *_Nullable context;
	int (*attach)(void *_Nullable context, int storage);
	int (*detach)(void *_Nullable context, int storage);
};

/* Means over all threads and storages: the threads' processor time, and the process's growth. */
struct crowd_figures {
	double attach_nanoseconds;
	double detach_nanoseconds;
	double resident_bytes;
	double heap_bytes;
	/* For the first storage of each thread. */
	double first_heap_bytes;
};

/* Threads that live at the same time: all attach, and when all have, all detach. 0 or -errno. */
int crowd_run(int threads, const struct crowd_steps *steps, struct crowd_figures *figures);

#pragma clang assume_nonnull end

#endif
