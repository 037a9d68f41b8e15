// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <asm/unistd.h>
#include <mmap_storage.bpf.h>
#include <bpf/bpf_tracing.h>

struct task_struct {
	int pid;
	int tgid;
} __attribute__((preserve_access_index));

struct one_byte {
	__u8 calls;
};

struct one_page {
	__u64 calls;
	__u64 words[510];
	__u64 last;
};

struct page_and_byte {
	__u8 bytes[4097];
};

struct counter {
	__u64 calls;
};

TASK_STORAGE(bytes, struct one_byte);
TASK_STORAGE(pages, struct one_page);
TASK_STORAGE(too_large, struct page_and_byte);
TASK_STORAGE_DIRECT(directs, struct counter);
TASK_STORAGE(by_header, struct counter);

const volatile __s32 target_tgid = -1;

/* Also runs at the entry of the system calls that end a thread. */
SEC("tp_btf/sys_enter")
int BPF_PROG(count_all, struct pt_regs *registers, long number)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct page_and_byte *large;
	struct counter *direct;
	struct one_byte *byte;
	struct one_page *page;

	if (task->tgid != target_tgid)
		return 0;
	byte = task_storage_get(bytes, task);
	if (byte)
		byte->calls++;
	page = task_storage_get_or_create(pages, task);
	if (page) {
		page->calls++;
		page->last = page->calls;
	}
	large = task_storage_get(too_large, task);
	if (large)
		large->bytes[4096]++;
	direct = task_storage_get_or_create(directs, task);
	if (direct)
		direct->calls++;
	if (number == __NR_getppid)
		task_storage_delete(bytes, task);
	return 0;
}

/* The sizes of these two programs are compared. */
SEC("?tp_btf/sys_exit")
int with_header(void *context)
{
	struct counter *counter;

	counter = task_storage_get_or_create(by_header, bpf_get_current_task_btf());
	if (counter)
		counter->calls++;
	return 0;
}

SEC("?tp_btf/sys_exit")
int by_hand(void *context)
{
	struct counter *counter;

	counter = bpf_task_storage_get(&by_header, bpf_get_current_task_btf(), NULL,
				       BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (counter)
		counter->calls++;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
