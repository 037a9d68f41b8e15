// SPDX-License-Identifier: GPL-2.0
/* Creates and deletes values of the stress test's tasks, in many contexts. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "stress.h"

char _license[] SEC("license") = "GPL";

struct small_map {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_MMAPABLE);
	__type(key, int);
	__type(value, struct stress_small);
} a_small_map SEC(".maps");

struct large_map {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_MMAPABLE);
	__type(key, int);
	__type(value, struct stress_large);
} a_large_map SEC(".maps");

/* User space replaces the maps in the slots. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, STRESS_SLOTS);
	__type(key, __u32);
	__array(values, struct small_map);
} small_slots SEC(".maps") = { .values = { &a_small_map } };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, STRESS_SLOTS);
	__type(key, __u32);
	__array(values, struct large_map);
} large_slots SEC(".maps") = { .values = { &a_large_map } };

__u64 got, failed, deleted;

/* With it, a delete allocates, for all kinds of maps. Do not delete with the lock of a zone held. */
extern bool CONFIG_DEBUG_OBJECTS_RCU_HEAD __kconfig __weak;

static __always_inline bool is_ours(struct task_struct *task)
{
	const char name[] = STRESS_COMM;
	int i;

	for (i = 0; i < sizeof(name) - 1; i++)
		if (task->comm[i] != name[i])
			return false;
	return true;
}

static __always_inline void act_on(struct task_struct *task, bool can_delete)
{
	__u32 random = bpf_get_prandom_u32(), slot = random % STRESS_SLOTS;
	bool create = random & 0x100, use_large = random & 0x200;
	unsigned long long *words = 0;
	void *map;

	if (use_large)
		map = bpf_map_lookup_elem(&large_slots, &slot);
	else
		map = bpf_map_lookup_elem(&small_slots, &slot);
	if (!map)
		return;

	if (can_delete && (random & 0xf000) == 0) {
		if (!bpf_task_storage_delete(map, task))
			__sync_fetch_and_add(&deleted, 1);
		return;
	}

	words = bpf_task_storage_get(map, task, 0,
				     create ? BPF_LOCAL_STORAGE_GET_F_CREATE : 0);
	if (words) {
		__sync_fetch_and_add(&words[0], 1);
		__sync_fetch_and_add(&got, 1);
	} else if (create) {
		__sync_fetch_and_add(&failed, 1);
	}
}

SEC("tp_btf/sys_enter")
int BPF_PROG(on_enter, struct pt_regs *regs, long id)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (is_ours(task))
		act_on(task, true);
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	if (is_ours(prev))
		act_on(prev, true);
	if (is_ours(next))
		act_on(next, true);
	return 0;
}

/* Runs with the locks of the page allocator held. */
SEC("tp_btf/mm_page_alloc_extfrag")
int BPF_PROG(on_extfrag)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (is_ours(task))
		act_on(task, !CONFIG_DEBUG_OBJECTS_RCU_HEAD);
	return 0;
}

SEC("tp_btf/mm_page_free")
int BPF_PROG(on_page_free)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (is_ours(task) && bpf_get_prandom_u32() % 16 == 0)
		act_on(task, true);
	return 0;
}

/* Runs with the lock of the zone held that pages are allocated from. */
SEC("tp_btf/mm_page_alloc_zone_locked")
int BPF_PROG(on_zone_locked)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (is_ours(task))
		act_on(task, !CONFIG_DEBUG_OBJECTS_RCU_HEAD);
	return 0;
}
