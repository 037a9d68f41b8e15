// SPDX-License-Identifier: Apache-2.0
#ifndef KERNEL_SIDE_H
#define KERNEL_SIDE_H

#include <stdbool.h>
#include <stddef.h>

/* Measures task storage from the side of BPF programs, ours (other kinds of maps) against the
 * baseline (an ordinary one), and prints a line for each sample: what, unit, ours, baseline,
 * separated by tabs. Lines that begin with "left out" name what this kernel lacks.
 *
 * With `counted` the clock has to count instructions, as it does in a machine that QEMU runs with
 * -icount; that is checked. Returns an exit status.
 */
int kernel_side(const void *_Nullable object, size_t size, bool counted);

#endif
