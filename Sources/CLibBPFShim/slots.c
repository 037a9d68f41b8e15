#include "mms_slots.h"

_Thread_local struct mms_slot mms_slots[MMS_SLOT_COUNT];
_Thread_local void *mms_thread_record;
_Thread_local int mms_thread_ends;
