/* Choosing the kernels. */
#include "kernels.h"

#include "cpu.h"
#include "simd.h"

const kernel_table *pycnn_kernels_find(size_t width)
{
    /* Best first. A new instruction set is one more row here. */
    static const kernel_table *const tables[] = {
#if HAVE_X86
        &pycnn_kernels_avx512,
        &pycnn_kernels_avx2,
#endif
#if HAVE_NEON
        &pycnn_kernels_neon,
#endif
        &pycnn_kernels_baseline,
    };
    const char *asked = getenv("PYCNN_ISA");
    const bool any = asked == NULL || *asked == '\0';
    const unsigned features = pycnn_cpu_features();
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        const kernel_table *table = tables[i];
        const bool runs = (table->feature & ~features) == 0;
        if (runs && (any ? width >= table->least_width : strcmp(asked, table->name) == 0)) {
            return table;
        }
    }
    return NULL;
}
