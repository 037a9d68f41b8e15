// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#define COUNTED SECOND_VARIABLE
#include "pin-counts.h"
