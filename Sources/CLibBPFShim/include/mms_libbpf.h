#ifndef MMS_LIBBPF_H
#define MMS_LIBBPF_H

/* Thin wrappers around libbpf: no policy, every function returns 0 (or a descriptor) or -errno. */

#endif
