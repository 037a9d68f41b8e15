// SPDX-License-Identifier: Apache-2.0
#ifndef MMS_CLIBBPFSHIM_H
#define MMS_CLIBBPFSHIM_H

#include "mms_access.h"
#include "mms_capture.h"
#include "mms_files.h"
#include "mms_perf_events.h"
#include "mms_slots.h"
#include "mms_sockets.h"
#include "mms_swift_task.h"
#include "mms_syscalls.h"

#endif
