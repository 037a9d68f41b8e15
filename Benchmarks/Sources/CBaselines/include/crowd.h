// SPDX-License-Identifier: Apache-2.0
#ifndef CROWD_H
#define CROWD_H

#include <stdint.h>

#pragma clang assume_nonnull begin

#define CROWD_STORAGES 8

/* How many storages a thread of a crowd has: no more mappings than a process may have. */
static inline int crowd_storages(int threads)
{
	return threads > 1000 ? 3 : CROWD_STORAGES;
}

/* What each thread of a crowd does, by the number of the storage. Of the first one only the heap is
 * measured, as a thread needs some things anyway. They return 0 or -errno.
 */
struct crowd_steps {
	void *_Nullable context;
	int (*attach)(void *_Nullable context, int storage);
	int (*detach)(void *_Nullable context, int storage);
};

/* Means of all threads and storages: the threads' own processor time, and what the process grew by. */
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
