// SPDX-License-Identifier: Apache-2.0
#ifndef CTESTSUPPORT_H
#define CTESTSUPPORT_H

/* System call numbers. */
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

/* Functions for tests that Swift does not import. Each returns -errno on failure. */

/* Opens a pidfd of the thread with this id. */
int test_pidfd_open(int tid);

/* fork(2). A child that runs for more than a minute is killed by SIGALRM. */
int test_fork(void);

/*
 * Creates a child with the system call, which runs no fork handlers, and executes another program
 * there. Returns the child's id.
 */
int test_clone_and_exec(const char *path, char *const *arguments);

/* Drops every capability of the calling thread and becomes user 65534. */
int test_drop_rights(void);

/* Makes exactly these capabilities of the calling thread effective, a bit for each. It can make others effective later. */
int test_set_effective_capabilities(uint64_t capabilities);

/* Drops every capability of the calling thread but CAP_BPF and CAP_PERFMON. */
int test_keep_rights_to_load(void);

/* Makes this system call of the calling thread fail with this error number. */
int test_forbid_call(int number, int error);

/* Makes each system call of the calling thread that changes a mode by path fail with this error number. */
int test_forbid_chmod(int error);

/* Gives the process a new mount namespace, without a mount at /sys/fs/bpf. */
int test_leave_bpffs(void);

/* Returns the number of bytes that malloc has allocated. */
unsigned long test_heap_bytes(void);

/* BPF_MAP_FREEZE: system calls can no longer change the map. */
int test_freeze_map(int fd);

/* The name of a BPF program, and the bytes of its verified and of its compiled instructions. */
int test_program_info(int fd, char name[16], int *translated, int *jited);

/* Pins the calling thread to the first of its allowed processors. Returns 0, or an errno. */
int test_stay_on_first_processor(void);

/* Calls getppid(), which takes no arguments, with three. */
void test_call(unsigned long first, unsigned long second, unsigned long third);

/* Returns the calling thread's thread pointer. */
unsigned long test_thread_pointer(void);

/* Returns 8 words of the calling thread, at the same offset from its thread pointer after exec. */
unsigned long *test_thread_words(void);

/* Returns 1 if this process has a thread with this id, else 0. */
int test_thread_exists(int tid);

/* Ends the calling thread without running its destructors. */
void test_exit_thread(void);

/*
 * Sends a message with up to 253 descriptors, non-blocking. Returns the number of bytes sent, or
 * -errno.
 */
long test_send(int fd, const void *bytes, size_t size, const int *descriptors, size_t count);

/* Returns 1 if the process may use io_uring, else 0. */
int test_has_io_uring(void);

/*
 * Starts to read a byte with io_uring, in a kernel thread of the process (an io worker). Returns
 * the ring, which the caller closes.
 */
int test_read_in_kernel_thread(int fd);

/* The sanitizer of this build. */
enum test_sanitizer { TEST_SANITIZER_NONE, TEST_SANITIZER_ADDRESS, TEST_SANITIZER_THREAD };
enum test_sanitizer test_sanitizer(void);

/* Returns 1 if memory is mapped at the start of this page, else 0. */
int test_is_mapped(void *page);

/*
 * Stops the next thread that accesses these pages, until test_resume_access(), which makes the pages accessible.
 * Once in a process. test_await_access() waits until a thread is stopped.
 */
void test_stop_access(void *pages, size_t size);
void test_await_access(void);
void test_resume_access(void);

/* Compiler barrier for these bytes: they are in memory, and may have changed. */
static inline void test_look_at(const void *bytes)
{
	__asm__ volatile("" : : "r"(bytes) : "memory");
}

#endif
