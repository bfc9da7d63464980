/* The kernels for NEON on 64-bit ARM: 32 registers of 2 doubles. */
#include "cpu.h"

#include <math.h>

#include "kernels.h"
#include "simd.h"

#if HAVE_NEON
#define SUFFIX(name) name##_neon
#define LANES 2
#define TILE_ROWS 6
#define TILE_VECTORS 4
#define PANELS_IN_CACHE ((size_t)1 << 14)
#define COPY_SAMPLES 128
#define COPY_DEPTH 256
#define COPY_SCATTERED 128
#define BLOCK_DEPTH 256
#define BLOCK_ROWS 6
#define FMA(a, b, c) ((vector)vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b)))
#define AT_MOST(limit, x) ((vector)vminq_f64((float64x2_t)(limit), (float64x2_t)(x)))
#define AT_LEAST(limit, x) ((vector)vmaxq_f64((float64x2_t)(limit), (float64x2_t)(x)))
#define SQRT(v) ((vector)vsqrtq_f64((float64x2_t)(v)))
#define LOAD_PART(p, n) ((n) == 2 ? LOAD(p) : (n) == 1 ? (vector){(p)[0], 0} : (vector){0, 0})
#define STORE_PART(p, v, n) \
    ((n) == 2 ? (void)STORE(p, v) : (n) == 1 ? (void)((p)[0] = (v)[0]) : (void)0)

#include "vector_template.h"
#include "math_template.h"
#include "dense_template.h"
#include "activation_template.h"
#include "loss_template.h"
#include "normalization_template.h"
#include "convolution_template.h"
#include "attention_template.h"
#include "pool_template.h"
#include "recurrent_template.h"
#include "online_template.h"
#include "optimizer_template.h"

static const activation_ops activations_neon[PYCNN_ACTIVATION_COUNT] = ACTIVATIONS;
static loss_function *const losses_neon[PYCNN_LOSS_COUNT] = LOSSES;
static update_function *const updates_neon[PYCNN_OPTIMIZER_COUNT] = UPDATES;
static const online_kernels online_neon[ONLINE_KINDS] = ONLINE;

const kernel_table pycnn_kernels_neon = {
    .name = "neon",
    .feature = CPU_NEON,
    .lanes = LANES,
    .panel = PANEL,
    .block = BLOCK_DEPTH * BLOCK_ROWS,
    .product = product_neon,
    .product_onto = product_onto_neon,
    .combine = combine_neon,
    .gradient = gradient_neon,
    .descend = descend_neon,
    .transpose = transpose_neon,
    .pack = pack_neon,
    .gather = gather_neon,
    .activations = activations_neon,
    .losses = losses_neon,
    .updates = updates_neon,
    .regularize = regularize_neon,
    .penalty = penalty_neon,
    .normalization = &normalization_neon,
    .convolution = &convolution_neon,
    .attention = &attention_neon,
    .pool = &pool_neon,
    .recurrent = &recurrent_neon,
    .online = online_neon,
};
#endif

typedef int pycnn_not_empty;
