// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#define FIRST_VARIABLE bytes
#define SECOND_VARIABLE calls
#include "pin-counts.h"
