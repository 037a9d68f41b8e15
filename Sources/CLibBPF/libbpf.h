/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Import Swift's module of the C library first if there is one. Otherwise types that libbpf's
 * headers include, such as pthread_attr_t, belong to this module in Swift code that imports both.
 */
#if __has_include(<SwiftGlibc.h>)
#include <SwiftGlibc.h>
#endif

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
