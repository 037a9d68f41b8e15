// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <mmap_storage.bpf.h>

/* Names that the generated code uses, or that Swift would resolve differently. */

/* If the values of a map have no Swift type, its key has no name either. */
typedef struct {
	__u32 process;
	__u32 thread;
} thread_key;

typedef enum { KEY_ONE, KEY_TWO } choice_key;

struct socket;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, thread_key);
	__type(value, struct socket *);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, choice_key);
	__type(value, __int128);
} sums SEC(".maps");

struct field {
	__u32 kind;
	__u32 size;
};

struct record {
	struct field first;
	__u64 layout, fields, places;
};

struct event {
	__u32 kind;
	union {
		__u64 number;
		__u32 words[2];
	} event;
};

struct point {
	__u32 x, y;
};

struct line {
	struct point start;
	struct {
		__u32 x, y, z, w;
		struct {
			__u32 depth;
		} point, line;
	} point;
	enum { LINE_THIN, LINE_THICK } event;
};

struct {
	struct {
		__u32 number;
	} outermost;
} outermost;

enum place { PLACE_NOWHERE, PLACE_RAW_VALUE, PLACE_HASH_VALUE, PLACE_SELF };

RING_BUFFER(ring_buffer, struct event, 4096);

struct record record;
struct line line;
enum place place;
__u64 values[4];

SEC("syscall")
int change_values(void *context)
{
	struct event *event = bpf_ringbuf_reserve(&ring_buffer, sizeof(*event), 0);

	if (event) {
		event->kind = 1;
		event->event.number = 2;
		bpf_ringbuf_submit(event, 0);
	}
	record.first.size = 3;
	record.layout = 4;
	line.start.y = 5;
	line.point.w = 6;
	line.point.point.depth = 7;
	line.point.line.depth = 8;
	line.event = LINE_THICK;
	outermost.outermost.number = 9;
	place = PLACE_RAW_VALUE;
	values[3] += 10;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
