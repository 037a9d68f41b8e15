// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <stdbool.h>
#include <linux/bpf.h>
#include <mmap_storage.bpf.h>

struct tag {
	__u64 request_id;
	__u64 hits;
	__u32 priority;
	__u32 flags;
};

enum run_phase { RUN_PHASE_IDLE, RUN_PHASE_STARTING, RUN_PHASE_RUNNING };

struct corner {
	__s32 x;
	__s32 y;
};

struct everything {
	__u64 sequence;
	__u8 u8;
	bool flag;
	__s16 i16;
	enum run_phase phase;
	double d;
	float f;
	struct corner start;
	__u32 reserved;
	char name[16];
	__u16 grid[2][3];
	struct corner points[2];
	__u32 fixed;
};

struct longer_tag {
	struct tag tag;
	__u64 later[3];
};

/* A value of more than one page and less than two. */
struct large {
	__u64 words[1000];
};

TASK_STORAGE(larges, struct large);
TASK_STORAGE(tags, struct tag);
TASK_STORAGE(everythings, struct everything);
TASK_STORAGE(numbers, __u64);
TASK_STORAGE(longer_tags, struct longer_tag);

/* Never attached: the tests act as the program. */
SEC("tp_btf/sys_enter")
int use_values(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return task_storage_get(larges, task) && task_storage_get(tags, task) &&
	       task_storage_get(everythings, task) && task_storage_get(numbers, task) &&
	       task_storage_get(longer_tags, task);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
