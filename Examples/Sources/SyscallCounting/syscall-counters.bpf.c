// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* BPFPlugin: public */
#include <linux/bpf.h>
#include <asm/unistd.h>
#include <mmap_storage.bpf.h>
#include <bpf/bpf_tracing.h>

/* Keep in step with CallClass in Swift. */
enum call_class {
	CALL_OTHER,
	CALL_FILE,
	CALL_PROCESS,
	CALL_SCHEDULER,
	CALL_TIME,
	CALL_BPF,
	CALL_CLASSES,
};

struct call_counters {
	__u64 seen[CALL_CLASSES];	/* all calls, by class */
	__u64 sampled[CALL_CLASSES];	/* one in `sampling` of them */
	__u32 sampling;			/* set by the thread; 0: count nothing */
	__u32 last_call;
};

TASK_STORAGE(call_counters, struct call_counters);

static __always_inline enum call_class class_of(long number)
{
	switch (number) {
	case __NR_openat:
	case __NR_close:
	case __NR_read:
	case __NR_write:
		return CALL_FILE;
	case __NR_getpid:
	case __NR_getppid:
	case __NR_gettid:
		return CALL_PROCESS;
	case __NR_sched_yield:
		return CALL_SCHEDULER;
	case __NR_nanosleep:
	case __NR_clock_nanosleep:
		return CALL_TIME;
	case __NR_bpf:
		return CALL_BPF;
	default:
		return CALL_OTHER;
	}
}

/* Runs at every system call of every thread; only a thread that set `sampling` has storage. */
SEC("tp_btf/sys_enter")
int BPF_PROG(count_call, struct pt_regs *registers, long number)
{
	struct call_counters *counters;
	enum call_class class;

	counters = task_storage_get(call_counters, bpf_get_current_task_btf());
	if (!counters || !counters->sampling)
		return 0;
	class = class_of(number);
	if (counters->seen[class]++ % counters->sampling == 0)
		counters->sampled[class]++;
	counters->last_call = number;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
