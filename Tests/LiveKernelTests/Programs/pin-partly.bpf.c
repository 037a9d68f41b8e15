// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* As many entries as there are processors. */
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} events SEC(".maps");

const volatile __s32 target_tgid;
extern int LINUX_KERNEL_VERSION __kconfig;

SEC("tp_btf/sys_enter")
int report(void *context)
{
	__u32 record = LINUX_KERNEL_VERSION;

	if (bpf_get_current_pid_tgid() >> 32 == (__u32)target_tgid)
		bpf_perf_event_output(context, &events, BPF_F_CURRENT_CPU, &record, sizeof(record));
	return 0;
}

/* libbpf cannot determine the cgroup to attach it to. */
SEC("cgroup_skb/egress")
int pass(struct __sk_buff *packet)
{
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
