// SPDX-License-Identifier: Apache-2.0
#ifndef C_TEST_VALUES_H
#define C_TEST_VALUES_H

#include <stdbool.h>
#include <stdint.h>

/* Structures in a header that a BPF program and Swift share. */

enum test_color {
	TEST_COLOR_RED,
	TEST_COLOR_GREEN,
};

enum test_balance {
	TEST_BALANCE_DEBT = -1,
	TEST_BALANCE_EVEN,
};

struct test_point {
	int32_t x;
	int32_t y;
};

/* Four bytes of padding at the end. */
struct test_tail {
	uint64_t whole;
	uint32_t part;
};

struct test_plain {
	uint64_t request_id;
	uint64_t deadline;
	uint32_t priority;
	uint32_t flags;
};

struct test_rich {
	struct test_tail tail;
	uint8_t after_tail;
	struct {
		uint16_t kind;
		uint16_t length;
	} header;
	struct test_point points[3];
	uint16_t grid[2][3];
	enum test_color color;
	enum test_balance balance;
	char name[16];
	bool on;
	float ratio;
	double mean;
	uint32_t only[1];
};

struct test_anonymous {
	uint32_t head;
	struct {
		uint32_t inner_a;
		uint64_t inner_b;
	};
	uint16_t end;
};

struct test_choice {
	uint32_t head;
	union {
		uint32_t number;
		float ratio;
		uint8_t bytes[4];
	};
	union {
		uint64_t id;
		struct test_point point;
		struct test_tail tail;
	} key;
};

struct test_switch {
	uint32_t head;
	union {
		bool on;
		uint8_t level;
	};
};

struct test_bits {
	uint32_t head;
	uint32_t low : 3;
	uint32_t high : 29;
	uint64_t end;
};

struct __attribute__((packed)) test_packed {
	uint8_t head;
	uint32_t number;
};

struct __attribute__((packed)) test_packed_element {
	uint32_t number;
	uint8_t tail;
};

struct test_packed_elements {
	struct test_packed_element items[2];
};

struct test_aligned {
	uint32_t a;
	uint32_t b __attribute__((aligned(16)));
};

struct test_aligned_undeclared {
	uint32_t a;
	uint32_t : 32;
	uint64_t : 64;
	uint64_t b;
};

struct test_raw {
	uint32_t rawValue;
};

struct test_dimensions {
	uint32_t flat[1][3];
	uint32_t tall[3][1];
	struct test_raw raw;
};

struct test_page {
	uint64_t head;
	uint8_t bytes[4088];
};

#endif
