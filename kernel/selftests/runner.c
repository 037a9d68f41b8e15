// SPDX-License-Identifier: GPL-2.0
/* Runs the series' tests and those of mmapable.c, and prints a line for each subtest:
 * selftests [SUBTEST...]
 */
#include <stdarg.h>
#include <test_progs.h>

void test_task_local_storage_mmapable(void);
void test_task_storage_sleepable(void);
void test_mmap_rdonly(void);
void test_mmapable(void);

static char **wanted;
static bool *found; /* for each of them */

static const char *current_subtest;
static bool skipped;
static int failures, failed_subtests, skipped_subtests, subtests;

static void end_subtest(void)
{
	if (!current_subtest)
		return;
	printf("%s %s\n", failures ? "FAILED" : skipped ? "SKIP  " : "ok    ", current_subtest);
	failed_subtests += failures > 0;
	skipped_subtests += !failures && skipped;
	failures = 0;
	skipped = false;
}

bool test__start_subtest(const char *name)
{
	int i;

	for (i = 0; wanted[i] && strcmp(wanted[i], name); i++)
		;
	if (*wanted && !wanted[i])
		return false;
	found[i] = true;
	end_subtest();
	current_subtest = name;
	subtests++;
	return true;
}

void test__skip(void)
{
	skipped = true;
}

void test__fail(const char *file, int line, const char *what, const char *format, ...)
{
	va_list arguments;

	failures++;
	printf("%s:%d: %s: ", file, line, what);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
}

int main(int argc, char **argv)
{
	int i;

	/* The set-user-ID program of the subtest "exec" */
	if (!strcmp(argv[0], "pause"))
		return pause();
	setvbuf(stdout, NULL, _IOLBF, 0);
	wanted = argv + 1;
	found = calloc(argc, sizeof(*found));
	if (!found)
		return 1;
	test_task_storage_sleepable();
	test_mmap_rdonly();
	test_task_local_storage_mmapable();
	test_mmapable();
	end_subtest();
	for (i = 0; wanted[i]; i++)
		if (!found[i]) {
			printf("there is no subtest %s\n", wanted[i]);
			failed_subtests++;
			subtests++;
		}
	printf("%d of %d passed", subtests - failed_subtests - skipped_subtests, subtests);
	if (skipped_subtests)
		printf(", %d skipped", skipped_subtests);
	putchar('\n');
	return failed_subtests > 0 || !subtests;
}
