// SPDX-License-Identifier: Apache-2.0
#ifndef MMS_SOCKETS_H
#define MMS_SOCKETS_H

#include <stddef.h>
#include <stdint.h>

/* Unix sockets of type SOCK_SEQPACKET that pass descriptors. Each returns its result, or -errno. */

#pragma clang assume_nonnull begin

/* The maximum number of descriptors in a message. */
#define MMS_MAX_DESCRIPTORS 8

/* Creates a non-blocking listening socket at a new path, with these permissions. */
int mms_unix_listen(const char *path, unsigned int mode);

/* Connects a socket whose calls fail with EAGAIN after this time. */
int mms_unix_connect(const char *path, unsigned int milliseconds);

/* Accepts the next connection, non-blocking. */
int mms_accept(int listener);

/* Sends one message. Does not block if `wait` is 0. */
long mms_send_message(int fd, const void *bytes, size_t size, const int *_Nullable descriptors,
		      size_t count, int wait);

/*
 * Receives one message. `count` is the capacity for descriptors, and then their number. With
 * capacity 0, the kernel drops received descriptors. Returns -EMSGSIZE if the message or its
 * descriptors do not fit, and closes the descriptors.
 */
long mms_receive_message(int fd, void *bytes, size_t size, int *_Nullable descriptors,
			 size_t *count, int wait);

/* Returns the peer's user, group and process at the time of the connection. */
int mms_peer(int fd, uint32_t *user, uint32_t *group, int32_t *process);

/* Returns the peer's supplementary groups. `count` is the capacity, and then their number. */
int mms_peer_groups(int fd, uint32_t *groups, size_t *count);

/* Returns 1 if the peer has not received all that was sent to it, 0 if it has, or -errno. */
int mms_has_unread(int fd);

/* Returns 1 if the peer has closed the connection, else 0. */
int mms_is_hung_up(int fd);

/* Creates a non-blocking eventfd. */
int mms_event(void);

#pragma clang assume_nonnull end

#endif
