#ifndef MMS_FILES_H
#define MMS_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the kernel says about descriptors and paths. Each returns its result, or -errno. */

#pragma clang assume_nonnull begin

/* A close-on-exec duplicate. */
int mms_duplicate(int fd);

/* What the descriptor is, such as "anon_inode:bpf-map", from /proc; always terminated. */
int mms_descriptor_kind(int fd, char *kind, size_t size);

/* Whether the descriptor may be written through: 1 or 0. */
int mms_descriptor_is_writable(int fd);

/* 1 if the path is on a BPF file system, 0 if it is on another. */
int mms_is_on_bpffs(const char *path);

int mms_unlink(const char *path);

/* A private anonymous mapping that takes memory only where it is touched. */
int mms_map_scratch(size_t size, void *_Nullable *_Nonnull address);

/*
 * A page of memory, zeroed and populated. Once the kernel has pinned it, fork() copies it for the
 * child, and the parent and the kernel go on sharing it. Unmapped with mms_unmap() and
 * mms_page_size().
 */
int mms_map_user_page(void *_Nullable *_Nonnull address);
size_t mms_page_size(void);

/* A shared mapping of a descriptor, from its start. */
int mms_map_shared(int fd, size_t size, void *_Nullable *_Nonnull address);

/* The same in the place of a mapping that is there. */
int mms_map_shared_over(int fd, size_t size, void *address);

int mms_unmap(void *address, size_t size);

#pragma clang assume_nonnull end

#endif
