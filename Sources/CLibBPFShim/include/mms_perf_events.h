// SPDX-License-Identifier: Apache-2.0
#ifndef MMS_PERF_EVENTS_H
#define MMS_PERF_EVENTS_H

/*
 * perf_event_open(2), which needs the variadic syscall().
 *
 * Opens an event that occurs `frequency` times a second on one processor. Returns a descriptor or
 * -errno; -ENODEV if the processor is not online.
 */
int mms_open_clock_event(int processor, unsigned int frequency);

#endif
