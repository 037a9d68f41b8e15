// SPDX-License-Identifier: Apache-2.0
#ifndef SWIFT_TASK_COSTS_H
#define SWIFT_TASK_COSTS_H

#include <stdint.h>

/* Returns the number of calls of malloc() and related functions in the process. */
uint64_t costs_allocations(void);

/* Returns the processor time of the process in nanoseconds, which other processes do not affect. */
uint64_t costs_now(void);

/* Adds to *field, `times` times, each with a load and a store. */
void costs_add(volatile uint64_t *field, uint64_t times);

/* Runs a program of type raw_tp with one argument. Returns the elapsed nanoseconds. */
uint64_t costs_run(int fd, uint64_t argument);

/* Returns a descriptor of a loaded program of this process, by its name. */
int costs_find_program(const char *name);

#endif
