/* SPDX-License-Identifier: GPL-2.0 */
/* Shared by the stress test's program and its user side. */
#ifndef STRESS_H
#define STRESS_H

#define STRESS_SLOTS 2
#define STRESS_COMM "mmapstress"
#define STRESS_SMALL_WORDS 3
#define STRESS_LARGE_WORDS 1250 /* 10000 bytes: two pages of 4 KiB and a part of a third */
#define STRESS_WORDS_APART 512 /* 4 KiB */

struct stress_small {
	unsigned long long words[STRESS_SMALL_WORDS];
};

struct stress_large {
	unsigned long long words[STRESS_LARGE_WORDS];
};

#endif
