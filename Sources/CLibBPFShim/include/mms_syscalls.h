// SPDX-License-Identifier: Apache-2.0
#ifndef MMS_SYSCALLS_H
#define MMS_SYSCALLS_H

/*
 * System calls that take syscall() or prctl(), which are variadic. Each returns its result, or -errno.
 */

/* Opens a pidfd of the task `tid`: with `thread`, of any task (Linux 6.9), else of a leader only. */
int mms_pidfd_open(int tid, _Bool thread);

/* Returns the calling thread's id. */
int mms_gettid(void);

/* Returns whether this process has a thread with the id `tid`. */
_Bool mms_thread_exists(int tid);

/* Returns whether a seccomp filter may forbid system calls of the calling thread. */
_Bool mms_has_seccomp_filter(void);

#endif
