// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "mms_sockets.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

int mms_accept(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

union control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(MMS_MAX_DESCRIPTORS * sizeof(int))];
};

long mms_send_message(int fd, const void *bytes, size_t size, const int *descriptors, size_t count,
		      int wait)
{
	struct iovec data = { .iov_base = (void *)bytes, .iov_len = size };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1 };
	union control control;
	long sent;

	if (count > MMS_MAX_DESCRIPTORS)
		return -EINVAL;
	if (count) {
		memset(&control, 0, sizeof(control));
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(&control.header), descriptors, count * sizeof(int));
	}
	do {
		sent = sendmsg(fd, &message, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : sent;
}

long mms_receive_message(int fd, void *bytes, size_t size, int *descriptors, size_t *count, int wait)
{
	struct iovec data = { .iov_base = bytes, .iov_len = size };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1 };
	size_t room = *count < MMS_MAX_DESCRIPTORS ? *count : MMS_MAX_DESCRIPTORS;
	int received[MMS_MAX_DESCRIPTORS];
	struct cmsghdr *header;
	union control control;
	long length;

	*count = 0;
	if (room) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
	}
	do {
		length = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
	} while (length < 0 && errno == EINTR);
	if (length < 0)
		return -errno;
	for (header = room ? CMSG_FIRSTHDR(&message) : NULL; header;
	     header = CMSG_NXTHDR(&message, header)) {
		size_t number;

		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		number = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t index = 0; index < number; index++) {
			int descriptor;

			memcpy(&descriptor, CMSG_DATA(header) + index * sizeof(int), sizeof(int));
			if (*count < MMS_MAX_DESCRIPTORS)
				received[(*count)++] = descriptor;
			else
				close(descriptor);
		}
	}
	if (message.msg_flags & MSG_TRUNC || (room && message.msg_flags & MSG_CTRUNC) ||
	    *count > room) {
		/* Truncated although the buffer has room: the process is out of descriptors. */
		int error = message.msg_flags & MSG_TRUNC || *count >= MMS_MAX_DESCRIPTORS || !room ?
			    EMSGSIZE : EMFILE;

		while (*count)
			close(received[--*count]);
		return -error;
	}
	if (*count)
		memcpy(descriptors, received, *count * sizeof(int));
	return length;
}

int mms_peer(int fd, uint32_t *user, uint32_t *group, int32_t *process)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size))
		return -errno;
	*user = peer.uid;
	*group = peer.gid;
	*process = peer.pid;
	return 0;
}

int mms_event(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}
