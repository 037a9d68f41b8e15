// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <linux/errno.h>
#include <bpf/bpf_helpers.h>

/*
 * Programs that read and write the value of the task that runs them, or of another task, in one
 * system call (BPF_PROG_TEST_RUN) and without a pidfd.
 */

struct pid {
	unsigned int level;
} __attribute__((preserve_access_index));

struct task_struct {
	struct pid *thread_pid;
} __attribute__((preserve_access_index));

/* From Linux 6.2. Without them, only the programs with the suffix _of do not load. */
extern struct task_struct *bpf_task_from_pid(__s32 pid) __ksym __weak;
extern void bpf_task_release(struct task_struct *task) __ksym __weak;

/* A placeholder. The library replaces it by its map before loading. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} values SEC(".maps");

/* The size of the values in that map. */
const volatile __u32 value_size = 1;

/* An empty map. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} nothing SEC(".maps");

/* Keep in step with CallingTaskPrograms in Swift. */
struct piece {
	__u32 offset;		/* offset in the value */
	__u32 task;		/* a thread id, for the programs with the suffix _of; the rest is output */
	__u32 last_four;	/* after the value's last word: */
	__u16 last_two;
	__u8 last_one;
	__u64 words[126];
};

struct change {
	__u32 offset;
	__u32 width;		/* 1, 2, 4 or 8; the offset is a multiple of it */
	__u64 bits;
};

#define IN_CONTEXT 4

struct changes {
	__u64 address;		/* of the changes that do not fit here, in the caller's memory */
	__u32 count;
	__u32 task;		/* as above */
	struct change first[IN_CONTEXT];
};

#define PIECE sizeof(((struct piece *)0)->words)

/*
 * Before Linux 6.2, bpf_task_storage_get() also returns NULL while another task on this CPU is
 * inside of a call: preempted, or waiting for memory. bpf_task_storage_delete() returns an error
 * that shows this.
 */
static __always_inline void *find(struct task_struct *task, long *error)
{
	void *value = bpf_task_storage_get(&values, task, 0, 0);

	if (value)
		return value;
	*error = bpf_task_storage_delete(&nothing, task);
	if (*error == -EBUSY)
		return 0;
	/* The other task may have completed its call in between. */
	*error = -ENOENT;
	return bpf_task_storage_get(&values, task, 0, 0);
}

/*
 * The size is constant for the verifier, so each iteration is one load and one store of a word. No field is
 * torn.
 */
static __always_inline long load_from(struct task_struct *task, struct piece *piece)
{
	__u32 size = value_size;
	const void *value, *words;
	__u64 offset = piece->offset;
	long error = 0;

	value = find(task, &error);
	if (!value)
		return error;
	words = value;
	if (size > PIECE) {
		if (offset > size - PIECE)
			return -EINVAL;
		words += offset & -8;
	}
	#pragma clang loop unroll(full)
	for (__u32 at = 0; at < PIECE; at += 8) {
		if (at + 8 > size)
			break;
		piece->words[at / 8] = *(volatile __u64 *)(words + at);
	}
	if (size & 4)
		piece->last_four = *(volatile __u32 *)(value + (size & -8));
	if (size & 2)
		piece->last_two = *(volatile __u16 *)(value + (size & -4));
	if (size & 1)
		piece->last_one = *(volatile __u8 *)(value + (size & -2));
	return 0;
}

struct writing {
	void *value;
	__u64 address;
	long error;
};

#define store(type, change, value)						\
	do {									\
		if (value_size < sizeof(type) ||				\
		    (change)->offset > value_size - sizeof(type))		\
			return -EINVAL;						\
		*(volatile type *)((value) + ((change)->offset & -sizeof(type))) = \
			(change)->bits;						\
	} while (0)

static __always_inline long apply(const struct change *change, void *value)
{
	switch (change->width) {
	case 1:
		store(__u8, change, value);
		return 0;
	case 2:
		store(__u16, change, value);
		return 0;
	case 4:
		store(__u32, change, value);
		return 0;
	case 8:
		store(__u64, change, value);
		return 0;
	default:
		return -EINVAL;
	}
}

static long apply_next(__u32 index, struct writing *writing)
{
	struct change change;

	writing->error = bpf_copy_from_user(&change, sizeof(change),
					    (void *)(writing->address + index * sizeof(change)));
	if (!writing->error)
		writing->error = apply(&change, writing->value);
	return writing->error != 0;
}

static __always_inline long store_to(struct task_struct *task, struct changes *changes)
{
	struct writing writing = { .address = changes->address };
	__u32 count = changes->count;
	long done;

	writing.value = bpf_task_storage_get(&values, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	/* No memory, or a storage of this task was created or removed at the same time. */
	if (!writing.value)
		return -EAGAIN;
	#pragma clang loop unroll(full)
	for (int index = 0; index < IN_CONTEXT; index++) {
		struct change change;

		if (index >= count)
			return 0;
		change = changes->first[index];
		done = apply(&change, writing.value);
		if (done)
			return done;
	}
	done = bpf_loop(count - IN_CONTEXT, apply_next, &writing, 0);
	return done < 0 ? done : writing.error;
}

/* The calling task. */

SEC("syscall")
int load_value(struct piece *piece)
{
	return load_from(bpf_get_current_task_btf(), piece);
}

SEC("syscall")
int store_value(struct changes *changes)
{
	return store_to(bpf_get_current_task_btf(), changes);
}

SEC("syscall")
int delete_value(void *context)
{
	return bpf_task_storage_delete(&values, bpf_get_current_task_btf());
}

/*
 * Any task. bpf_task_from_pid() takes an id of the initial pid namespace, so call it only in that
 * namespace.
 */
static __always_inline struct task_struct *acquire(__u32 id, long *error)
{
	struct task_struct *current = bpf_get_current_task_btf();

	*error = -EOPNOTSUPP;
	if (current->thread_pid->level)
		return 0;
	*error = -ESRCH;
	return bpf_task_from_pid(id);
}

SEC("?syscall")
int load_value_of(struct piece *piece)
{
	long error;
	struct task_struct *task = acquire(piece->task, &error);

	if (!task)
		return error;
	error = load_from(task, piece);
	bpf_task_release(task);
	return error;
}

SEC("?syscall")
int store_value_of(struct changes *changes)
{
	long error;
	struct task_struct *task = acquire(changes->task, &error);

	if (!task)
		return error;
	error = store_to(task, changes);
	bpf_task_release(task);
	return error;
}

SEC("?syscall")
int delete_value_of(const __u32 *id)
{
	long error;
	struct task_struct *task = acquire(*id, &error);

	if (!task)
		return error;
	error = bpf_task_storage_delete(&values, task);
	bpf_task_release(task);
	return error;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
