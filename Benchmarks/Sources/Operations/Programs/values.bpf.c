// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* BPFPlugin: public */
#include <linux/bpf.h>
#include <mmap_storage.bpf.h>

struct counters {
	__u64 a;
	__u64 b;
	__u32 c;
	__u32 d;
	__u16 e;
	__u16 f;
	__u8 g;
	__u8 h;
	__u16 reserved;
	__u64 more[4];
};

TASK_STORAGE(values, struct counters);

/* A separate map for the C side. */
TASK_STORAGE(theirs, struct counters);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, int);
	__type(value, __u64);
} by_thread SEC(".maps");

/* Never attached. Shows the verifier the accesses to the maps. */
SEC("tp_btf/sys_enter")
int use_values(void *context)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return task_storage_get(values, task) && task_storage_get(theirs, task);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
