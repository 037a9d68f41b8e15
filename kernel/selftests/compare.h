/* SPDX-License-Identifier: GPL-2.0 */
/* Shared by the program and the user side of compare. */
#ifndef COMPARE_H
#define COMPARE_H

#define COMPARE_ROUNDS 10000

enum compare_kind { COMPARE_NOTHING, COMPARE_ORDINARY, COMPARE_MAPPED, COMPARE_USER_PAGE, COMPARE_KINDS };

struct compare_data {
	unsigned long long words[8];
};

#endif
