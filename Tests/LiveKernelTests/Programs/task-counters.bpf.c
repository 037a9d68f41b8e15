// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct task_struct {
	int tgid;
} __attribute__((preserve_access_index));

enum phase { PHASE_IDLE, PHASE_BUSY };

struct limits {
	__u16 low;
	__u16 high;
};

struct task_counters {
	__u64 calls;
	__u32 step;
	enum phase phase;
	struct limits limits[2];
	char label[8];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_counters);
} task_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} by_number SEC(".maps");

const volatile __s32 target_tgid = -1;
const volatile struct limits initial_limits = { 1, 2 };
__u64 total = 5;
__u32 seen;
volatile bool paused;
static volatile __u32 hidden = 7;

SEC("tp_btf/sys_enter")
int count_calls(__u64 *context)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_counters *counters;

	if (task->tgid != target_tgid || paused)
		return 0;
	counters = bpf_task_storage_get(&task_counters, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!counters)
		return 0;
	counters->calls += 1;
	counters->limits[0] = initial_limits;
	__sync_fetch_and_add(&total, hidden);
	__sync_fetch_and_add(&seen, 1);
	return 0;
}

SEC("syscall")
int add_number(void *context)
{
	__u32 key = 3;
	__u64 value = 9;

	return bpf_map_update_elem(&by_number, &key, &value, BPF_ANY);
}

char _license[] SEC("license") = "Dual BSD/GPL";
