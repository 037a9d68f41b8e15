// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("?tp_btf/sys_entr")
int by_type(void *context)
{
	return 0;
}

SEC("?tracepoint/syscalls/sys_entr_getppid")
int by_name(void *context)
{
	return 0;
}

SEC("?tracepoint/sys_enter_getppid")
int without_category(void *context)
{
	return 0;
}

/* Without <bpf/usdt.bpf.h>. */
SEC("?usdt//proc/self/exe:provider:name")
int without_maps(void *context)
{
	return 0;
}

SEC("?usdt/provider:name")
int without_file(void *context)
{
	return 0;
}

SEC("?uprobe//proc/self/exe")
int without_function(void *context)
{
	return 0;
}

SEC("?uprobe//proc/self/exe:main")
int at_main(void *context)
{
	return 0;
}

struct no_such_structure {
	int member;
} __attribute__((preserve_access_index));

SEC("?raw_tp/sys_enter")
int by_structure(__u64 *context)
{
	struct no_such_structure *structure = (void *)context[0];
	int member = 0;

	bpf_probe_read_kernel(&member, sizeof(member), &structure->member);
	return member;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
