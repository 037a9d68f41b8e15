/* SPDX-License-Identifier: GPL-2.0 */
/* What a test of the kernel's tools/testing/selftests/bpf/prog_tests needs of the real test_progs.h,
 * so that one test can be built and run without the hundreds beside it.
 */
#ifndef TEST_PROGS_H
#define TEST_PROGS_H

#include <errno.h>
#include <linux/membarrier.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#endif
#ifndef __aligned
#define __aligned(x) __attribute__((aligned(x)))
#endif

bool test__start_subtest(const char *name);
void test__skip(void);
void test__fail(const char *file, int line, const char *what, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static inline int kern_sync_rcu(void)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

#define ASSERT_COMPARED(actual, operator, expected, name) ({				\
	typeof(actual) actual_ = (actual);						\
	typeof(expected) expected_ = (expected);					\
	bool ok_ = actual_ operator expected_;						\
	if (!ok_)									\
		test__fail(__FILE__, __LINE__, (name), "%lld, should be %s %lld",	\
			   (long long)actual_, #operator, (long long)expected_);	\
	ok_;										\
})

#define ASSERT_EQ(actual, expected, name)	ASSERT_COMPARED(actual, ==, expected, name)
#define ASSERT_NEQ(actual, expected, name)	ASSERT_COMPARED(actual, !=, expected, name)
#define ASSERT_GT(actual, expected, name)	ASSERT_COMPARED(actual, >, expected, name)
#define ASSERT_GE(actual, expected, name)	ASSERT_COMPARED(actual, >=, expected, name)
#define ASSERT_LT(actual, expected, name)	ASSERT_COMPARED(actual, <, expected, name)
#define ASSERT_LE(actual, expected, name)	ASSERT_COMPARED(actual, <=, expected, name)
#define ASSERT_OK(result, name)			ASSERT_COMPARED((long long)(result), ==, 0LL, name)
#define ASSERT_TRUE(condition, name)		ASSERT_COMPARED(!!(condition), ==, true, name)
#define ASSERT_FALSE(condition, name)		ASSERT_COMPARED(!!(condition), ==, false, name)
#define ASSERT_OK_PTR(pointer, name) ({						\
	const void *pointer_ = (pointer);						\
	ASSERT_COMPARED(pointer_ && !libbpf_get_error(pointer_), ==, true, name);	\
})

#endif
