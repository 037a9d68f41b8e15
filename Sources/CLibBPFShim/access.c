// SPDX-License-Identifier: Apache-2.0
#include "mms_access.h"

bool mms_union_has_bool;
