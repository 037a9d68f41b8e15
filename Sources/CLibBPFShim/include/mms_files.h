// SPDX-License-Identifier: Apache-2.0
#ifndef MMS_FILES_H
#define MMS_FILES_H

#include <stddef.h>
#include <stdint.h>

/* System calls on files and memory. Each returns its result, or -errno. */

#pragma clang assume_nonnull begin

/* 1 if the path is on a BPF file system, 0 if it is on another. */
int mms_is_on_bpffs(const char *path);

/*
 * A page of memory, zeroed and populated. Once the kernel has pinned it, fork() copies it for the
 * child, and the parent and the kernel continue to share it. Unmapped with mms_unmap() and
 * mms_page_size().
 */
int mms_map_user_page(void *_Nullable *_Nonnull address);
size_t mms_page_size(void);

/*
 * Maps the descriptor from its start, shared, in the place of a mapping of the same size; zeroes that no
 * other process shares, if there is no descriptor.
 */
int mms_map_over(int fd, size_t size, void *address);

int mms_unmap(void *address, size_t size);

#pragma clang assume_nonnull end

#endif
