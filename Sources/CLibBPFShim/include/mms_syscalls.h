#ifndef MMS_SYSCALLS_H
#define MMS_SYSCALLS_H

/* System calls that libc does not wrap. Each returns its result, or -errno. */

#endif
