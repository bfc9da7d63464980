/* The kernels for AVX2 with FMA: 16 registers of 4 doubles. */
#include "kernels.h"
#include "simd.h"

#if HAVE_X86
#define SUFFIX(name) name##_avx2
#define LANES 4
#define TILE_ROWS 4
#define TILE_VECTORS 3
#define FMA(a, b, c) ((vector)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))

BEGIN_TARGET("avx2,fma", 256)
#include "dense_template.h"
END_TARGET

const kernel_table pycnn_kernels_avx2 = {"avx2", 1, LANES, product_avx2, gradient_avx2,
                                           descend_avx2};
#endif

typedef int pycnn_not_empty;
