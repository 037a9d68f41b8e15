#ifndef CROWD_H
#define CROWD_H

#include <stdint.h>

#pragma clang assume_nonnull begin

/* What each thread of a crowd does, by the number of the storage: 0 before anything is measured, 1
 * measured. They return 0 or -errno.
 */
struct crowd_steps {
	void *_Nullable context;
	int (*attach)(void *_Nullable context, int storage);
	int (*detach)(void *_Nullable context, int storage);
};

/* Means of all threads: their own processor time, and what the process grew by. */
struct crowd_figures {
	double attach_nanoseconds;
	double detach_nanoseconds;
	double bytes;
};

/* Threads that live at the same time: all attach, and when all have, all detach. 0 or -errno. */
int crowd_run(int threads, const struct crowd_steps *steps, struct crowd_figures *figures);

#pragma clang assume_nonnull end

#endif
