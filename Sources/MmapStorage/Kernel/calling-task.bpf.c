// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <linux/errno.h>
#include <bpf/bpf_helpers.h>

/*
 * Read and write the value of the task that runs them, in one system call (BPF_PROG_TEST_RUN)
 * and without a descriptor of the task.
 */

/* Stands for the map that the library puts in its place before loading. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} values SEC(".maps");

/* The size of that map's values. */
const volatile __u32 value_size = 1;

/* Keep in step with CallingTaskPrograms in Swift. */
struct piece {
	__u64 offset;		/* where it begins; the rest is what comes back */
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

struct changes {
	__u64 address;		/* of an array of changes, in the caller's memory */
	__u64 count;
};

#define PIECE sizeof(((struct piece *)0)->words)

/*
 * The verifier knows the size, so what is left of the loop is a load and a store for each word.
 * No field is torn.
 */
SEC("syscall")
int load_value(struct piece *piece)
{
	__u32 size = value_size;
	const void *value, *words;
	__u64 offset = piece->offset;

	value = bpf_task_storage_get(&values, bpf_get_current_task_btf(), 0, 0);
	if (!value)
		return -ENOENT;
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

SEC("syscall")
int store_value(struct changes *changes)
{
	struct writing writing = { .address = changes->address };
	__u64 count = changes->count;
	long done;

	writing.value = bpf_task_storage_get(&values, bpf_get_current_task_btf(), 0,
					     BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!writing.value)
		return -ENOMEM;
	done = bpf_loop(count, apply_next, &writing, 0);
	return done < 0 ? done : writing.error;
}

SEC("syscall")
int delete_value(void *context)
{
	return bpf_task_storage_delete(&values, bpf_get_current_task_btf());
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
