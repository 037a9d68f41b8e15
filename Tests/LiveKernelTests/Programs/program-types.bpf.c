// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* A program of each of several types, which need different capabilities. Tests load one at a time. */
#define PROGRAM(name, section)                                                                                         \
	SEC("?" section)                                                                                               \
	int name(void *context)                                                                                        \
	{                                                                                                              \
		return 0;                                                                                              \
	}

PROGRAM(socket, "socket")
PROGRAM(syscall, "syscall")
PROGRAM(lookup, "sk_lookup")
PROGRAM(xdp, "xdp")
PROGRAM(classify, "tc")
PROGRAM(message, "sk_msg")
PROGRAM(stream, "sk_skb")
PROGRAM(operations, "sockops")
PROGRAM(device, "cgroup/dev")
PROGRAM(control, "cgroup/sysctl")
PROGRAM(dissect, "flow_dissector")
PROGRAM(tunnel, "lwt_in")
PROGRAM(raw, "raw_tp/sys_enter")
PROGRAM(typed, "tp_btf/sys_enter")
PROGRAM(probe, "kprobe/do_nanosleep")
PROGRAM(event, "tracepoint/syscalls/sys_enter_getppid")
PROGRAM(sample, "perf_event")

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

/* Uses a helper that the verifier allows with CAP_PERFMON. */
SEC("?syscall")
int current(void *context)
{
	return bpf_get_current_task_btf() != 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
