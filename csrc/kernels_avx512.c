/* The kernels for AVX-512: 32 registers of 8 doubles. */
#include "kernels.h"
#include "simd.h"

#if HAVE_X86
#define SUFFIX(name) name##_avx512
#define LANES 8
#define TILE_ROWS 8
#define TILE_VECTORS 3
#define FMA(a, b, c) ((vector)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))

/* Without this, clang may split long vectors in two. */
BEGIN_TARGET("avx512f,avx2,fma", 512)
#include "dense_template.h"
END_TARGET

const kernel_table pycnn_kernels_avx512 = {"avx512", 2, LANES, product_avx512, gradient_avx512,
                                           descend_avx512};
#endif

typedef int pycnn_not_empty;
