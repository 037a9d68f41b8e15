// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* BPFPlugin: name=MapsOfAllKinds */
#include <linux/bpf.h>
#include <mmap_storage.bpf.h>

enum side { SIDE_NONE, SIDE_LEFT, SIDE_RIGHT };

struct place {
	__u8 row;
	__u32 column;		/* three bytes of padding before it */
};

struct tally {
	__u64 count;
	enum side side;
	union {
		__u32 number;
		__u8 bytes[4];
	};
};

struct event {
	__u64 number;
	__u32 low : 12, high : 20;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, struct place);
	__type(value, struct tally);
} tallies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} per_cpu_numbers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, struct tally);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u32);
} per_cpu_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, struct place);
} mapped_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u32);	/* the kernel rounds it up to eight bytes */
} mapped_words SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_RDONLY_PROG);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u32);
} constant_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_RDONLY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u32);
} read_only_numbers SEC(".maps");

RING_BUFFER(events, struct event, 64 * 1024);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} raw_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 3);
	__type(value, __u32);
} others SEC(".maps");

typedef __u64 run_count;

struct signs {
	__s32 low : 3;
	__u32 between : 6;
	__s64 wide : 40;	/* in bytes 1 to 6 */
	__s32 last : 4;
};

struct signs signs = { .low = -1, .between = 33, .wide = -5, .last = -8 };
const volatile __u32 step = 1;
run_count runs;
struct tally last = { .side = SIDE_RIGHT };

/* Run by the tests: adds to each map, and sends two records. */
SEC("syscall")
int add_everywhere(void *context)
{
	struct place place = {};
	struct tally first = { .count = step, .side = SIDE_LEFT, .number = 7 };
	struct tally *tally;
	struct event *event;
	__u32 zero = 0, one = 1, three = 3, *number;
	struct place *mapped;

	place.row = 1;
	place.column = 2;
	tally = bpf_map_lookup_elem(&tallies, &place);
	if (tally)
		tally->count += step;
	else
		bpf_map_update_elem(&tallies, &place, &first, BPF_NOEXIST);
	bpf_map_update_elem(&per_cpu_numbers, &one, &three, BPF_ANY);
	tally = bpf_map_lookup_elem(&slots, &one);
	if (tally)
		tally->count += step;
	number = bpf_map_lookup_elem(&per_cpu_slots, &one);
	if (number)
		*number += step;
	mapped = bpf_map_lookup_elem(&mapped_slots, &one);
	if (mapped)
		mapped->column += step;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (event) {
		event->number = runs;
		event->low = 5;
		event->high = 6;
		bpf_ringbuf_submit(event, 0);
	}
	bpf_ringbuf_output(&raw_events, &zero, sizeof(zero), 0);
	runs += step;
	last = first;
	return 0;
}

/* Sends more records than the buffer can contain. */
SEC("syscall")
int flood(void *context)
{
	__u32 number = 0;

	for (int i = 0; i < 5000; i++)
		bpf_ringbuf_output(&raw_events, &number, sizeof(number), 0);
	return 0;
}

SEC("syscall")
int records_of_two_sizes(void *context)
{
	__u64 numbers[] = { 1, 2, 3, 4, 5 };

	bpf_ringbuf_output(&raw_events, &numbers[0], 8, 0);
	bpf_ringbuf_output(&raw_events, &numbers[1], 8, 0);
	bpf_ringbuf_output(&raw_events, &numbers[2], 4, 0);
	bpf_ringbuf_output(&raw_events, &numbers[3], 8, 0);
	bpf_ringbuf_output(&raw_events, &numbers[4], 8, 0);
	return 0;
}

/* The compiler must not split the cold part off into another function. */
SEC("syscall")
int rarely(void *context)
{
	if (__builtin_expect(runs == 12345, 0)) {
		for (int i = 0; i < 100; i++)
			bpf_printk("%d %llu", i, runs);
		return 1;
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
