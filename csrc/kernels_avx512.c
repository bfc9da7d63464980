/* The kernels for AVX-512: 32 registers of 8 doubles. */
#include "cpu.h"

#include <math.h>

#include "kernels.h"
#include "simd.h"

#if HAVE_X86
#define SUFFIX(name) name##_avx512
#define LANES 8
#define TILE_ROWS 8
#define TILE_VECTORS 3
#define PANELS_IN_CACHE ((size_t)1 << 15)
#define COPY_SAMPLES 128
#define COPY_DEPTH 768
#define COPY_SCATTERED 32
#define BLOCK_DEPTH 256
#define BLOCK_ROWS 8
#define FMA(a, b, c) ((vector)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))
#define LOAD_HALVES(p, q) \
    ((vector)_mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_loadu_pd(p)), _mm256_loadu_pd(q), 1))
#define PART(n) ((__mmask8)((1u << (n)) - 1))
#define AT_MOST(limit, x) ((vector)_mm512_min_pd((__m512d)(limit), (__m512d)(x)))
#define AT_LEAST(limit, x) ((vector)_mm512_max_pd((__m512d)(limit), (__m512d)(x)))
#define TIMES_POWER_OF_TWO(v, k) ((vector)_mm512_scalef_pd((__m512d)(v), (__m512d)(k)))
#define STREAM(p, v) _mm512_stream_pd(p, (__m512d)(v))
#define STREAMED _mm_sfence()
#define SQRT(v) ((vector)_mm512_sqrt_pd((__m512d)(v)))
#define LOAD_PART(p, n) ((vector)_mm512_maskz_loadu_pd(PART(n), p))
#define STORE_PART(p, v, n) _mm512_mask_storeu_pd(p, PART(n), (__m512d)(v))

/* Without this, clang may split long vectors in two. */
BEGIN_TARGET("avx512f,avx2,fma", 512)
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

static const activation_ops activations_avx512[PYCNN_ACTIVATION_COUNT] = ACTIVATIONS;
static loss_function *const losses_avx512[PYCNN_LOSS_COUNT] = LOSSES;
static update_function *const updates_avx512[PYCNN_OPTIMIZER_COUNT] = UPDATES;
static const online_kernels online_avx512[ONLINE_KINDS] = ONLINE;

/* least_width: where a vector of 4 holds a layer, one of 8 only takes longer. */
const kernel_table pycnn_kernels_avx512 = {
    .name = "avx512",
    .feature = CPU_AVX512,
    .lanes = LANES,
    .panel = PANEL,
    .least_width = 5,
    .block = BLOCK_DEPTH * BLOCK_ROWS,
    .product = product_avx512,
    .product_onto = product_onto_avx512,
    .combine = combine_avx512,
    .gradient = gradient_avx512,
    .descend = descend_avx512,
    .transpose = transpose_avx512,
    .transpose_away = transpose_away_avx512,
    .pack = pack_avx512,
    .gather = gather_avx512,
    .activations = activations_avx512,
    .losses = losses_avx512,
    .updates = updates_avx512,
    .regularize = regularize_avx512,
    .penalty = penalty_avx512,
    .normalization = &normalization_avx512,
    .convolution = &convolution_avx512,
    .attention = &attention_avx512,
    .pool = &pool_avx512,
    .recurrent = &recurrent_avx512,
    .online = online_avx512,
};
#endif

typedef int pycnn_not_empty;
