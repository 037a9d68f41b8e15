// SPDX-License-Identifier: Apache-2.0
#ifndef MMS_FILES_H
#define MMS_FILES_H

#include <stddef.h>

/*
 * System calls on files and memory: statfs() is not in Glibc's module, and mremap() is variadic. Each
 * returns its result, or -errno.
 */

#pragma clang assume_nonnull begin

/* Returns 1 if the path is on a BPF file system, 0 if it is on another. */
int mms_is_on_bpffs(const char *path);

/*
 * Maps the descriptor from offset 0, shared, over a mapping of the same size. Without a descriptor,
 * maps private zeroes.
 */
int mms_map_over(int fd, size_t size, void *address);

#pragma clang assume_nonnull end

#endif
