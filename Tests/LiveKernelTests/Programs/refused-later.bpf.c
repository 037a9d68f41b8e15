// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} records SEC(".maps");

/* The verifier rejects these programs after their tests for NULL. */
SEC("?syscall")
int out_of_bounds(void *context)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&numbers, &key);

	return value ? value[100] : 0;
}

SEC("?syscall")
int not_released(void *context)
{
	__u64 *record = bpf_ringbuf_reserve(&records, sizeof(*record), 0);

	if (record)
		*record = 1;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
