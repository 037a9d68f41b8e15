// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#define BYTES_FIRST
#include "pin-counts.h"
