// SPDX-License-Identifier: Apache-2.0
#ifndef MMS_SOCKETS_H
#define MMS_SOCKETS_H

#include <stddef.h>
#include <stdint.h>

/* Unix sockets of type SOCK_SEQPACKET with descriptors. Each returns its result, or -errno. */

#pragma clang assume_nonnull begin

/* The most descriptors in a message. */
#define MMS_MAX_DESCRIPTORS 8

/* A listening socket at a new path, with these permissions; not blocking. */
int mms_unix_listen(const char *path, unsigned int mode);

/* A connected socket whose calls fail with EAGAIN after this time. */
int mms_unix_connect(const char *path, unsigned int milliseconds);

/* The next connection, not blocking. */
int mms_accept(int listener);

/* Sends one message. Never waits if `wait` is 0. */
long mms_send_message(int fd, const void *bytes, size_t size, const int *_Nullable descriptors,
		      size_t count, int wait);

/*
 * Receives one message. `count` is the room for descriptors, and then their number. With no room, the
 * kernel drops descriptors that come. -EMSGSIZE if the message or its descriptors do not fit, which
 * closes the descriptors.
 */
long mms_receive_message(int fd, void *bytes, size_t size, int *_Nullable descriptors,
			 size_t *count, int wait);

/* The other side's user, group and process when it connected. */
int mms_peer(int fd, uint32_t *user, uint32_t *group, int32_t *process);

/* Its supplementary groups; `count` is the room, and then their number. */
int mms_peer_groups(int fd, uint32_t *groups, size_t *count);

/* 1 if the other side has not received all that was sent to it, else 0; -errno. */
int mms_has_unread(int fd);

/* 1 if the other side has closed its end, else 0. */
int mms_is_hung_up(int fd);

/* An eventfd that is not blocking. */
int mms_event(void);

#pragma clang assume_nonnull end

#endif
