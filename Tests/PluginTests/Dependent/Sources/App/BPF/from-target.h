// SPDX-License-Identifier: Apache-2.0
#define FROM_TARGET 1
