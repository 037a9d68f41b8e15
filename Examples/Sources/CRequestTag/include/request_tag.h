/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef REQUEST_TAG_H
#define REQUEST_TAG_H

#include <linux/types.h>

struct request_tag {
	__u64 request_id;
	__u32 priority;
	__u32 calls;
};

#endif
