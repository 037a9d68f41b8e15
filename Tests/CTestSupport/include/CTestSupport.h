// SPDX-License-Identifier: Apache-2.0
#ifndef CTESTSUPPORT_H
#define CTESTSUPPORT_H

/* The numbers of system calls. */
#include <stddef.h>
#include <sys/syscall.h>

/* What tests need and Swift does not import. Each returns -errno on failure. */

/* A pidfd of the thread with this id. */
int test_pidfd_open(int tid);

/* fork(2). A child that does not end in a minute is killed by SIGALRM. */
int test_fork(void);

/*
 * A child made with the system call alone, which runs no fork handlers, and runs another program
 * there. The child's id.
 */
int test_clone_and_exec(const char *path, char *const *arguments);

/* Drops every capability of the calling thread and becomes user 65534. */
int test_drop_rights(void);

/* Drops every capability of the calling thread but CAP_BPF and CAP_PERFMON. */
int test_keep_rights_to_load(void);

/* Gives the process a mount namespace of its own, where nothing is mounted at /sys/fs/bpf. */
int test_leave_bpffs(void);

/* Bytes that malloc has handed out. */
unsigned long test_heap_bytes(void);

/* BPF_MAP_FREEZE: system calls may not change the map from here on. */
int test_freeze_map(int fd);

/* A BPF program's name, and bytes of its instructions: after verification, and as machine code. */
int test_program_info(int fd, char name[16], int *translated, int *jited);

/* Keeps the calling thread on the first of the processors that it may use. 0, or an errno. */
int test_stay_on_first_processor(void);

/* getppid(), which takes no arguments, with three. */
void test_call(unsigned long first, unsigned long second, unsigned long third);

/* The calling thread's thread pointer. */
unsigned long test_thread_pointer(void);

/* 1 if this process has such a thread, else 0. */
int test_thread_exists(int tid);

/* Ends the calling thread without running its destructors. */
void test_exit_thread(void);

/*
 * Sends a message with up to 253 descriptors, without waiting. The bytes that were sent, or -errno.
 */
long test_send(int fd, const void *bytes, size_t size, const int *descriptors, size_t count);

/* What this is built with. */
enum test_sanitizer { TEST_SANITIZER_NONE, TEST_SANITIZER_ADDRESS, TEST_SANITIZER_THREAD };
enum test_sanitizer test_sanitizer(void);

/* 1 if there is memory at the start of this page, else 0. */
int test_is_mapped(void *page);

/* Needs these bytes in memory, and may have changed them for all that the compiler knows. */
static inline void test_look_at(const void *bytes)
{
	__asm__ volatile("" : : "r"(bytes) : "memory");
}

#endif
