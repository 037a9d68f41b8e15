#include "CTestValues.h"
