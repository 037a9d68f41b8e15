// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <mmap_storage.bpf.h>

/* Each program repeats one operation and writes the elapsed time to its context. */
#define GETS 1000
#define CREATIONS 100

struct outcome {
	__u64 nanoseconds;
	__u64 sum;
};

struct small_value {
	__u64 a, b, c, d;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct small_value);
} plain SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_MMAPABLE);
	__type(key, int);
	__type(value, struct small_value);
} mmapable SEC(".maps");

TASK_STORAGE_USER_PAGE(paged, struct small_value);

/* Loaded by libbpf alone, which leaves the values in the elements. */
TASK_STORAGE(declared, struct small_value);

static __always_inline struct small_value *from_plain(struct task_struct *task)
{
	return bpf_task_storage_get(&plain, task, 0, 0);
}

static __always_inline struct small_value *from_mmapable(struct task_struct *task)
{
	return bpf_task_storage_get(&mmapable, task, 0, 0);
}

static __always_inline struct small_value *from_paged(struct task_struct *task)
{
	return task_storage_get(paged, task);
}

static __always_inline struct small_value *from_declared(struct task_struct *task)
{
	return task_storage_get(declared, task);
}

#define READ_MANY_TIMES(name, get)							\
	SEC("syscall")									\
	int name(struct outcome *outcome)						\
	{										\
		struct task_struct *task = bpf_get_current_task_btf();			\
		__u64 sum = 0, before = bpf_ktime_get_ns();				\
											\
		for (int i = 0; i < GETS; i++) {					\
			struct small_value *value = get(task);				\
											\
			if (!value)							\
				return 1;						\
			sum += value->a;						\
		}									\
		outcome->nanoseconds = bpf_ktime_get_ns() - before;			\
		outcome->sum = sum;							\
		return 0;								\
	}

READ_MANY_TIMES(get_plain, from_plain)
READ_MANY_TIMES(get_mmapable, from_mmapable)
READ_MANY_TIMES(get_paged, from_paged)
READ_MANY_TIMES(get_declared, from_declared)

/* The empty loop, whose time is subtracted from the others. */
SEC("syscall")
int get_nothing(struct outcome *outcome)
{
	__u64 sum = 0, before = bpf_ktime_get_ns();

	for (int i = 0; i < GETS; i++) {
		sum += i;
		barrier_var(sum);
	}
	outcome->nanoseconds = bpf_ktime_get_ns() - before;
	outcome->sum = sum;
	return 0;
}

#define CREATE_MANY_TIMES(name, map)							\
	SEC("syscall")									\
	int name(struct outcome *outcome)						\
	{										\
		struct task_struct *task = bpf_get_current_task_btf();			\
		__u64 before = bpf_ktime_get_ns();					\
											\
		for (int i = 0; i < CREATIONS; i++) {					\
			bpf_task_storage_delete(&map, task);				\
			if (!bpf_task_storage_get(&map, task, 0,			\
						  BPF_LOCAL_STORAGE_GET_F_CREATE))	\
				return 1;						\
		}									\
		outcome->nanoseconds = bpf_ktime_get_ns() - before;			\
		return 0;								\
	}

CREATE_MANY_TIMES(create_plain, plain)
CREATE_MANY_TIMES(create_declared, declared)
CREATE_MANY_TIMES(create_mmapable, mmapable)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
