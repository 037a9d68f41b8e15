// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* A variable of a structure, whose type information the tests change. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct inner {
	__s32 inner_number;
	__u32 other_number;
};

struct outer {
	__u64 outer_number;
	__u32 low : 3;
	__u32 high : 5;
	struct inner inner;
	__u16 words[1234];
};

struct outer pinned_value;

SEC("syscall")
int change(void *context)
{
	pinned_value.outer_number++;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
