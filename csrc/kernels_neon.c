/* The kernels for NEON on 64-bit ARM: 32 registers of 2 doubles. */
#include "kernels.h"
#include "simd.h"

#if HAVE_NEON
#define SUFFIX(name) name##_neon
#define LANES 2
#define TILE_ROWS 6
#define TILE_VECTORS 4
#define FMA(a, b, c) ((vector)vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b)))

#include "dense_template.h"

const kernel_table pycnn_kernels_neon = {"neon", 4, LANES, product_neon, gradient_neon,
                                         descend_neon};
#endif

typedef int pycnn_not_empty;
