/* Put before the core's sources with -include: its allocations then go through test_core.c, which
 * counts them and makes the n-th one fail. See csrc/common.h. */
#ifndef PYCNN_FAILING_MALLOC_H
#define PYCNN_FAILING_MALLOC_H

#include <stddef.h>

void *pycnn_test_malloc(size_t size);
void pycnn_test_free(void *block);

#define PYCNN_MALLOC pycnn_test_malloc
#define PYCNN_FREE pycnn_test_free

#endif
