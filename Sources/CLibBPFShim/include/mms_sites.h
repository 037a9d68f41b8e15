#ifndef MMS_SITES_H
#define MMS_SITES_H

#include <stddef.h>

/*
 * The jumps that mmap_storage.bpf.h puts in front of each access to task storage, in the bytes of
 * an object file. They are never taken as compiled; this has them always taken, so that the
 * programs look for values in user pages. Returns how many there are, or -EINVAL for a file that
 * is no ELF object.
 */
int mms_take_user_page_jumps(void *_Nonnull bytes, size_t size);

#endif
