// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* No type here is named `long`: libbpf reads the size of addresses from such a type. */
struct connection {
	void *socket;
	__u64 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct connection);
} connections SEC(".maps");

SEC("syscall")
int add_connection(void *context)
{
	struct connection first = { .socket = (void *)0x1122334455667788ULL, .count = 3 };
	__u32 one = 1;

	return bpf_map_update_elem(&connections, &one, &first, BPF_ANY);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
