// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#define HOOK "tp_btf/sys_exit"
#include "pin-counts.h"
