// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#define FIRST_MAP right
#define SECOND_MAP left
#include "pin-counts.h"
