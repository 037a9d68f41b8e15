// SPDX-License-Identifier: Apache-2.0
#ifndef MMS_SYSCALLS_H
#define MMS_SYSCALLS_H

/* System calls that this libc may not wrap. Each returns its result, or -errno. */

/* A descriptor of the task `tid`; with `thread`, of any task (Linux 6.9), else of a leader only. */
int mms_pidfd_open(int tid, _Bool thread);

/* The calling thread's id. */
int mms_gettid(void);

/* Whether this process has a thread with the id `tid`. */
_Bool mms_thread_exists(int tid);

/* Whether a seccomp filter may forbid system calls of the calling thread. */
_Bool mms_has_seccomp_filter(void);

/*
 * Whether the process is in a user namespace other than the initial one, where capabilities do not
 * count for bpf().
 */
_Bool mms_is_in_user_namespace(void);

#endif
