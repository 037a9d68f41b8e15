// SPDX-License-Identifier: Apache-2.0
#ifndef SHARED_H
#define SHARED_H

#include <stdint.h>

#define SHARED_MARK "shared one"

struct shared {
	uint64_t request;
	uintptr_t address;
};

#endif
