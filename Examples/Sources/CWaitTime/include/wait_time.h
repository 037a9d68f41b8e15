/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef WAIT_TIME_H
#define WAIT_TIME_H

#include <linux/types.h>

enum wait_reason {
	WAIT_NONE,
	WAIT_CPU,
	WAIT_LOCK,
};

struct wait_time {
	__u64 total;
	__u64 longest;
	__u32 count;
	enum wait_reason reason;
	char name[16];
};

#endif
