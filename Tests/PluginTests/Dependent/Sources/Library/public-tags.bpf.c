// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* BPFPlugin: public */
#include <linux/bpf.h>
#include <mmap_storage.bpf.h>

struct public_tag {
	__u64 request_id;
	__u32 low : 3;
	__u32 high : 29;
	union {
		__u32 number;
		char text[4];
	};
};

TASK_STORAGE(public_tags, struct public_tag);
__u32 seen;

SEC("syscall")
int see_tag(void *context)
{
	seen++;
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
