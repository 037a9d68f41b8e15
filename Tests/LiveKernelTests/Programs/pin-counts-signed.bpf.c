// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#define COUNT __s64
#include "pin-counts.h"
