#include "baselines.h"
#include "crowd.h"
#include "kernel_side.h"
