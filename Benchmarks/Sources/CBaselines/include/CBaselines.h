// SPDX-License-Identifier: Apache-2.0
#include "baselines.h"
#include "crowd.h"
#include "kernel_side.h"
