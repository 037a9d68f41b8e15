/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MMS_CAPTURE_H
#define MMS_CAPTURE_H

#include <stddef.h>

/*
 * libbpf has one print function for the process, which takes a va_list. Between begin and end, the
 * warnings printed on the calling thread are stored in `text` (always terminated, truncated when
 * full), and its other output is dropped. Output of other threads, and outside of begin and end, goes to
 * the print function that was installed before the first capture.
 */
struct mms_capture {
	char *_Nonnull text;
	size_t size;
	size_t length;
	struct mms_capture *_Nullable outer;
};

void mms_capture_begin(struct mms_capture *_Nonnull capture);
void mms_capture_end(struct mms_capture *_Nonnull capture);

#endif
