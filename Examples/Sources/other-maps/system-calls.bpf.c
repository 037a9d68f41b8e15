// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <asm/unistd.h>
#include <mmap_storage.bpf.h>
#include <bpf/bpf_tracing.h>

struct call {
	__u32 number;
	char thread_name[16];
};

RING_BUFFER(calls, struct call, 4096);

struct recording {
	__u32 is_on;
};

TASK_STORAGE(recordings, struct recording);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 512);
	__type(key, __u32);	/* the number of a system call */
	__type(value, __u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} totals SEC(".maps");

__u32 not_recorded;	/* a system call */
__u64 lost;		/* calls that found the ring buffer full */

/* Counts and records the calls of getppid() and getuid() of threads whose recording is on. */
SEC("tp_btf/sys_enter")
int BPF_PROG(record_call, struct pt_regs *registers, long number)
{
	__u32 key = number, first = 0;
	struct recording *recording;
	__u64 zero = 0, *count;
	struct call *call;

	if (number != __NR_getppid && number != __NR_getuid)
		return 0;
	recording = task_storage_get(recordings, bpf_get_current_task_btf());
	if (!recording || !recording->is_on)
		return 0;
	count = bpf_map_lookup_elem(&totals, &first);
	if (count)
		__sync_fetch_and_add(count, 1);
	count = bpf_map_lookup_elem(&counts, &key);
	if (!count) {
		/* Fails if another processor was first. */
		bpf_map_update_elem(&counts, &key, &zero, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&counts, &key);
	}
	if (count)
		__sync_fetch_and_add(count, 1);
	if (key == not_recorded)
		return 0;
	call = bpf_ringbuf_reserve(&calls, sizeof(*call), 0);
	if (!call) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	call->number = key;
	bpf_get_current_comm(call->thread_name, sizeof(call->thread_name));
	bpf_ringbuf_submit(call, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
