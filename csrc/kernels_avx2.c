/* The kernels for AVX2 with FMA: 16 registers of 4 doubles. */
#include "cpu.h"

#include <math.h>

#include "kernels.h"
#include "simd.h"

#if HAVE_X86
#define SUFFIX(name) name##_avx2
#define LANES 4
#define TILE_ROWS 4
#define TILE_VECTORS 3
#define PANELS_IN_CACHE ((size_t)1 << 14)
#define COPY_SAMPLES SIZE_MAX
#define COPY_DEPTH 256
#define COPY_SCATTERED 32
#define BLOCK_DEPTH 256
#define BLOCK_ROWS 32
#define FMA(a, b, c) ((vector)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#define LOAD_HALVES(p, q) \
    ((vector)_mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(p)), _mm_loadu_pd(q), 1))
#define PART(n) (__m256i)(((integers){0, 1, 2, 3}) < (integers){0} + (int64_t)(n))
#define AT_MOST(limit, x) ((vector)_mm256_min_pd((__m256d)(limit), (__m256d)(x)))
#define AT_LEAST(limit, x) ((vector)_mm256_max_pd((__m256d)(limit), (__m256d)(x)))
#define SQRT(v) ((vector)_mm256_sqrt_pd((__m256d)(v)))
#define LOAD_PART(p, n) ((vector)_mm256_maskload_pd(p, PART(n)))
#define STORE_PART(p, v, n) _mm256_maskstore_pd(p, PART(n), (__m256d)(v))

BEGIN_TARGET("avx2,fma", 256)
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
END_TARGET

static const activation_ops activations_avx2[PYCNN_ACTIVATION_COUNT] = ACTIVATIONS;
static loss_function *const losses_avx2[PYCNN_LOSS_COUNT] = LOSSES;
static update_function *const updates_avx2[PYCNN_OPTIMIZER_COUNT] = UPDATES;
static const online_kernels online_avx2[ONLINE_KINDS] = ONLINE;

const kernel_table pycnn_kernels_avx2 = {
    .name = "avx2",
    .feature = CPU_AVX2,
    .lanes = LANES,
    .panel = PANEL,
    .block = BLOCK_DEPTH * BLOCK_ROWS,
    .product = product_avx2,
    .product_onto = product_onto_avx2,
    .combine = combine_avx2,
    .gradient = gradient_avx2,
    .descend = descend_avx2,
    .transpose = transpose_avx2,
    .pack = pack_avx2,
    .gather = gather_avx2,
    .activations = activations_avx2,
    .losses = losses_avx2,
    .updates = updates_avx2,
    .regularize = regularize_avx2,
    .penalty = penalty_avx2,
    .normalization = &normalization_avx2,
    .convolution = &convolution_avx2,
    .attention = &attention_avx2,
    .pool = &pool_avx2,
    .recurrent = &recurrent_avx2,
    .online = online_avx2,
};
#endif

typedef int pycnn_not_empty;
