// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/errno.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/*
 * Iterators over all tasks that write each task's value of one map to a file, after a record about
 * the task.
 */

struct upid {
	int nr;
	void *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
} __attribute__((preserve_access_index));

struct kuid {
	unsigned int val;
} __attribute__((preserve_access_index));

struct cred {
	struct kuid uid;
} __attribute__((preserve_access_index));

struct task_struct {
	int pid;
	int tgid;
	struct pid *thread_pid;
	struct task_struct *group_leader;
	const struct cred *real_cred;
	__u64 start_boottime;
	char comm[16];
} __attribute__((preserve_access_index));

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} __attribute__((preserve_access_index));

/* A placeholder. The library replaces it by its map before loading. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} values SEC(".maps");

/* The size of a value: of the map's elements, or of the contents of user pages. */
const volatile __u32 value_size = 1;

/* Larger values do not fit into the iterator's buffer of 32 KiB. Only their records are written. */
#define LARGEST (28 * 1024)
#define CHUNK 256

/* Keep in step with TaskRecord in TaskIterator.swift. */
struct record {
	__u32 size;		/* of the value that follows */
	__s32 tid;		/* in the reader's pid namespace */
	__s32 tgid;
	__u32 uid;		/* in the initial user namespace */
	__u64 start;		/* nanoseconds since boot */
	char comm[16];
	char leader_comm[16];
};

/* The task's id in the pid namespace of the process that reads the iterator's file. */
static __always_inline __s32 id_for_reader(struct task_struct *task)
{
	struct task_struct *reader = bpf_get_current_task_btf();
	unsigned int level = reader->thread_pid->level;
	struct pid *pid = task->thread_pid;
	__s32 id = 0;

	if (level == 0)
		return task->pid;
	if (level > 32)
		return 0;
	bpf_probe_read_kernel(&id, sizeof(id),
			      (void *)pid + bpf_core_field_offset(struct pid, numbers) +
			      level * sizeof(struct upid));
	return id;
}

static __always_inline void describe(struct task_struct *task, struct record *record)
{
	record->tid = id_for_reader(task);
	record->tgid = id_for_reader(task->group_leader);
	record->uid = task->real_cred->uid.val;
	record->start = task->start_boottime;
	bpf_probe_read_kernel_str(record->comm, sizeof(record->comm), task->comm);
	bpf_probe_read_kernel_str(record->leader_comm, sizeof(record->leader_comm),
				  task->group_leader->comm);
}

/*
 * The size is constant for the verifier. Each word is loaded at once, so no field is torn.
 */
static __always_inline void write_value(struct seq_file *seq, const void *value)
{
	__u64 chunk[CHUNK / 8];
	__u32 size = value_size;
	__u32 words = size & -8;

	#pragma clang loop unroll(disable)
	for (__u32 start = 0; start < LARGEST; start += CHUNK) {
		__u32 left = words - start;

		if (start >= words)
			break;
		if (left > CHUNK)
			left = CHUNK;
		#pragma clang loop unroll(full)
		for (__u32 at = 0; at < CHUNK / 8; at++)
			if (at * 8 < left)
				chunk[at] = *(volatile __u64 *)(value + start + at * 8);
		bpf_seq_write(seq, chunk, left);
	}
	if (size & 4) {
		__u32 last = *(volatile __u32 *)(value + words);

		bpf_seq_write(seq, &last, sizeof(last));
	}
	if (size & 2) {
		__u16 last = *(volatile __u16 *)(value + (size & -4));

		bpf_seq_write(seq, &last, sizeof(last));
	}
	if (size & 1) {
		__u8 last = *(volatile __u8 *)(value + (size & -2));

		bpf_seq_write(seq, &last, sizeof(last));
	}
}

static __always_inline void write_record(struct seq_file *seq, struct task_struct *task,
					 const void *value)
{
	struct record record = {};

	if (value_size <= LARGEST)
		record.size = value_size;
	describe(task, &record);
	bpf_seq_write(seq, &record, sizeof(record));
	if (value_size <= LARGEST)
		write_value(seq, value);
}

/* The values are the map's elements. */
SEC("?iter/task")
int write_elements(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;
	const void *value;

	if (!task)
		return 0;
	value = bpf_task_storage_get(&values, task, 0, 0);
	if (value)
		write_record(context->meta->seq, task, value);
	return 0;
}

struct element {
	const void *page;
};

/* The map's elements are addresses of pages with the values. */
SEC("?iter/task")
int write_pages(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;
	struct element *element;
	const void *page;

	if (!task)
		return 0;
	element = bpf_task_storage_get(&values, task, 0, 0);
	if (!element)
		return 0;
	page = element->page;
	if (page)
		write_record(context->meta->seq, task, page);
	return 0;
}

/* The number of words that are compared at a time. */
#define STEP 16

/*
 * Compares the calling task's page with the memory at an address of the process. Returns 0 if they
 * are equal, 1 if they are not, or an error. Bytes that change during the comparison count as
 * equal.
 */
SEC("?syscall")
int compare_page(__u64 *address)
{
	__u64 before[STEP], user[STEP];
	struct element *element;
	const void *page;
	__u32 size = value_size;
	__u32 words = size & -8;
	__u64 from = *address;
	long error;

	element = bpf_task_storage_get(&values, bpf_get_current_task_btf(), 0, 0);
	if (!element)
		return -ENOENT;
	page = element->page;
	if (!page)
		return -ENOENT;
	#pragma clang loop unroll(disable)
	for (__u32 start = 0; start < 4096; start += STEP * 8) {
		__u32 left = words - start;

		if (start >= words)
			break;
		if (left > STEP * 8)
			left = STEP * 8;
		#pragma clang loop unroll(full)
		for (__u32 at = 0; at < STEP; at++)
			if (at * 8 < left)
				before[at] = *(volatile __u64 *)(page + start + at * 8);
		error = bpf_copy_from_user(user, left, (void *)(from + start));
		if (error)
			return error;
		#pragma clang loop unroll(full)
		for (__u32 at = 0; at < STEP; at++)
			if (at * 8 < left && before[at] != user[at] &&
			    before[at] == *(volatile __u64 *)(page + start + at * 8))
				return 1;
	}
	#pragma clang loop unroll(full)
	for (__u32 at = 0; at < 7; at++) {
		__u8 byte, own = 0;

		if (words + at >= size)
			break;
		byte = *(volatile __u8 *)(page + words + at);
		error = bpf_copy_from_user(&own, 1, (void *)(from + words + at));
		if (error)
			return error;
		if (own != byte && byte == *(volatile __u8 *)(page + words + at))
			return 1;
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
