/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROCESS_CONTROL_H
#define PROCESS_CONTROL_H

#include <stdint.h>

/* Opens a pinned program (BPF_OBJ_GET). Returns a descriptor, or -errno. */
int process_control_open(const char *path);

/*
 * Runs a program of type raw_tp on the calling thread (BPF_PROG_TEST_RUN). Returns the result of the
 * program, or -errno. Async-signal-safe.
 */
int process_control_run(int program, uint64_t operation);

#endif
