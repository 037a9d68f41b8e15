// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <mmap_storage.bpf.h>
#include <bpf/bpf_helpers.h>

enum level {
	LOW = -1,
	MIDDLE,
	HIGH,
};

/* Fields of all kinds, with padding, a union, and names with common prefixes. */
struct kinds {
	__u64 id;
	__s32 balance;
	enum level level;
	enum level levels[2];
	double ratio;
	_Bool on;
	char name[8];
	__u32 eight[8];
	__u32 nine[9];
	union {
		__u64 whole;
		__u32 half;
	};
	void *pointer;
	char last;
};

TASK_STORAGE(tool_kinds, struct kinds);
TASK_STORAGE_DIRECT(tool_kinds_of_direct_storage, struct kinds);

SEC("syscall")
int use(void *context)
{
	return task_storage_get(tool_kinds, bpf_get_current_task_btf()) != 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
