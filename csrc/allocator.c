/* Memory: from a caller's allocator, or where there is none from the C library. */
#include "allocator.h"

int pycnn_keep_allocator(pycnn_allocator *kept, const pycnn_allocator *allocator)
{
    *kept = (pycnn_allocator){0};
    if (allocator != NULL) {
        RETURN_IF(allocator->allocate == NULL || allocator->release == NULL, PYCNN_ERROR_ARGUMENT);
        *kept = *allocator;
    }
    return PYCNN_OK;
}

void *pycnn_allocate(const pycnn_allocator *kept, size_t bytes)
{
    return kept->allocate == NULL ? PYCNN_MALLOC(bytes) : kept->allocate(kept->context, bytes);
}

void pycnn_release(const pycnn_allocator *kept, void *block)
{
    if (kept->release == NULL) {
        PYCNN_FREE(block);
    } else if (block != NULL) {
        kept->release(kept->context, block);
    }
}
