// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* A map that has the name of the section's map, except for the dot. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} counts_bss SEC(".maps");

__u64 calls;
const volatile __s32 target_tgid;

SEC("tp_btf/sys_enter") int count_calls(void *context)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&counts_bss, &key);

	if (bpf_get_current_pid_tgid() >> 32 != (__u32)target_tgid)
		return 0;
	if (value)
		*value += 1;
	calls += 1;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
