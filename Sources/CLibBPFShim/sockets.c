// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "mms_sockets.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

static int set_path(struct sockaddr_un *address, const char *path)
{
	if (strlen(path) >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	strcpy(address->sun_path, path);
	return 0;
}

static int give_up(int fd)
{
	int error = -errno;

	close(fd);
	return error;
}

int mms_unix_listen(const char *path, unsigned int mode)
{
	struct sockaddr_un address;
	int fd, error = set_path(&address, path);

	if (error)
		return error;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)))
		return give_up(fd);
	/* A connect() fails until listen() is called. */
	if (chmod(path, mode) || listen(fd, 64)) {
		error = give_up(fd);
		unlink(path);
		return error;
	}
	return fd;
}

int mms_unix_connect(const char *path, unsigned int milliseconds)
{
	struct timeval limit = {
		.tv_sec = milliseconds / 1000,
		.tv_usec = milliseconds % 1000 * 1000,
	};
	struct sockaddr_un address;
	int fd, error = set_path(&address, path);

	if (error)
		return error;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return give_up(fd);
	return fd;
}

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

int mms_peer_groups(int fd, uint32_t *groups, size_t *count)
{
	socklen_t size = *count * sizeof(*groups);

	*count = 0;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size))
		return -errno;
	*count = size / sizeof(*groups);
	return 0;
}

int mms_has_unread(int fd)
{
	int bytes;

	return ioctl(fd, SIOCOUTQ, &bytes) ? -errno : bytes > 0;
}

int mms_is_hung_up(int fd)
{
	struct pollfd entry = { .fd = fd, .events = POLLRDHUP };

	return poll(&entry, 1, 0) > 0 && entry.revents & (POLLHUP | POLLRDHUP | POLLERR | POLLNVAL);
}

int mms_event(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}
