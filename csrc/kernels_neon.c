/* The kernels for NEON on 64-bit ARM: 32 registers of 2 doubles. */
#include <math.h>

#include "cpu.h"
#include "kernels.h"
#include "simd.h"

#if HAVE_NEON
#define SUFFIX(name) name##_neon
#define LANES 2
#define TILE_ROWS 6
#define TILE_VECTORS 4
#define FMA(a, b, c) ((vector)vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b)))

#include "vector_template.h"
#include "math_template.h"
#include "dense_template.h"
#include "activation_template.h"
#include "loss_template.h"

static const activation_ops activations_neon[ACTIVATION_COUNT] = ACTIVATIONS;
static loss_function *const losses_neon[LOSS_COUNT] = LOSSES;

const kernel_table pycnn_kernels_neon = {
    "neon",        CPU_NEON,     LANES,        product_neon, gradient_neon,
    descend_neon, activations_neon, losses_neon};
#endif

typedef int pycnn_not_empty;
