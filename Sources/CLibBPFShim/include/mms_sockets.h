// SPDX-License-Identifier: Apache-2.0
#ifndef MMS_SOCKETS_H
#define MMS_SOCKETS_H

#include <stddef.h>
#include <stdint.h>

/*
 * Unix sockets of type SOCK_SEQPACKET that pass descriptors: calls that need the CMSG macros, accept4(),
 * eventfd() or struct ucred, which are not in Glibc's module. Each returns its result, or -errno.
 */

#pragma clang assume_nonnull begin

/* The maximum number of descriptors in a message. */
#define MMS_MAX_DESCRIPTORS 8

/* Accepts the next connection, non-blocking. */
int mms_accept(int listener);

/* Sends one message. Does not block if `wait` is 0. */
long mms_send_message(int fd, const void *bytes, size_t size, const int *_Nullable descriptors,
		      size_t count, int wait);

/*
 * Receives one message. `count` is the capacity for descriptors, and then their number. With
 * capacity 0, the kernel drops received descriptors. Returns -EMSGSIZE if the message or its
 * descriptors do not fit, or -EMFILE if the process has no free descriptors, and closes the
 * descriptors that it received.
 */
long mms_receive_message(int fd, void *bytes, size_t size, int *_Nullable descriptors,
			 size_t *count, int wait);

/* Returns the peer's user, group and process at the time of the connection. */
int mms_peer(int fd, uint32_t *user, uint32_t *group, int32_t *process);

/* Creates a non-blocking eventfd. */
int mms_event(void);

#pragma clang assume_nonnull end

#endif
