// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <mmap_storage.bpf.h>

struct position {
	__u32 line;
	__u8 column;
};

struct cursor {
	struct position position;
	__u8 visible;
};

TASK_STORAGE(cursors, struct cursor);

char LICENSE[] SEC("license") = "Dual BSD/GPL";
