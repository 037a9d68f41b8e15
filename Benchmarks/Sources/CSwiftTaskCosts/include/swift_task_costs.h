// SPDX-License-Identifier: Apache-2.0
#ifndef SWIFT_TASK_COSTS_H
#define SWIFT_TASK_COSTS_H

#include <stdint.h>

/* How often the process called malloc() and its kind. */
uint64_t costs_allocations(void);

/* Processor time of the process so far, in nanoseconds: other processes take none of it. */
uint64_t costs_now(void);

/* Adds to *field, `times` times, each with a load and a store. */
void costs_add(volatile uint64_t *field, uint64_t times);

/* Runs a program of type raw_tp with one argument; nanoseconds by the clock. */
uint64_t costs_run(int fd, uint64_t argument);

/* A loaded program of this process, by its name; its descriptor. */
int costs_find_program(const char *name);

#endif
