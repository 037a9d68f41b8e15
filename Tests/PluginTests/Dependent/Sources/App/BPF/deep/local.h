// SPDX-License-Identifier: Apache-2.0
#define LOCAL_MARK "local one"
