/* SPDX-License-Identifier: Apache-2.0 */
#include "mms_capture.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#include <bpf/libbpf.h>

static _Thread_local struct mms_capture *current_capture;
static _Atomic(libbpf_print_fn_t) outer_print;
static pthread_once_t print_installed = PTHREAD_ONCE_INIT;

static int capturing_print(enum libbpf_print_level level, const char *format, va_list arguments)
{
	struct mms_capture *capture = current_capture;
	libbpf_print_fn_t outer;
	int length;

	if (!capture) {
		outer = outer_print;
		return outer ? outer(level, format, arguments) : 0;
	}
	if (level != LIBBPF_WARN)
		return 0;
	length = vsnprintf(capture->text + capture->length, capture->size - capture->length,
			   format, arguments);
	if (length < 0)
		return length;
	capture->length += length;
	if (capture->length >= capture->size)
		capture->length = capture->size - 1;
	return length;
}

static void install_print(void)
{
	outer_print = libbpf_set_print(capturing_print);
}

void mms_capture_begin(struct mms_capture *capture)
{
	pthread_once(&print_installed, install_print);
	capture->length = 0;
	capture->text[0] = '\0';
	capture->outer = current_capture;
	current_capture = capture;
}

void mms_capture_end(struct mms_capture *capture)
{
	current_capture = capture->outer;
}
