/* Memory: from a caller's allocator, or where there is none from the C library. */
#ifndef PYCNN_ALLOCATOR_H
#define PYCNN_ALLOCATOR_H

#include "common.h"

/* *kept = what an object keeps of the allocator that it is made with, or of NULL. */
PYCNN_PRIVATE int pycnn_keep_allocator(pycnn_allocator *kept, const pycnn_allocator *allocator);

/* NULL, where there is no more. */
PYCNN_PRIVATE void *pycnn_allocate(const pycnn_allocator *kept, size_t bytes);

/* block may be NULL, and `kept` may lie in it. */
PYCNN_PRIVATE void pycnn_release(const pycnn_allocator *kept, void *block);

#endif
