// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

SEC("syscall")
int harmless(void *context)
{
	return 0;
}

/* The verifier rejects it, because the value may be missing. */
SEC("syscall")
int unchecked(void *context)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&numbers, &key);

	return *value;
}

char _license[] SEC("license") = "Dual BSD/GPL";
