/* The kernels for WebAssembly's relaxed SIMD: vectors of 2 doubles, on 16 registers or more.
 *
 * Of what is relaxed only the multiply-add is wanted. But clang turns a comparison and a choice
 * into a relaxed minimum, whose NaN and zeros are the host's: hence CHOOSE, which it cannot look
 * into, and for the other files -fno-vectorize -fno-slp-vectorize, or no option for SIMD. */
#include "cpu.h"

#include <math.h>

#include "kernels.h"
#include "simd.h"

#if HAVE_WASM
#define SUFFIX(name) name##_wasm
#define LANES 2
#define TILE_ROWS 4
#define TILE_VECTORS 2
#define PANELS_IN_CACHE ((size_t)1 << 14)
#define COPY_SAMPLES 128
#define COPY_DEPTH 256
#define COPY_SCATTERED 128
#define BLOCK_DEPTH 256
#define BLOCK_ROWS 4
#define FMA(a, b, c) ((vector)wasm_f64x2_relaxed_madd((v128_t)(a), (v128_t)(b), (v128_t)(c)))
#define AT_MOST(limit, x) ((vector)wasm_f64x2_pmin((v128_t)(x), (v128_t)(limit)))
#define AT_LEAST(limit, x) ((vector)wasm_f64x2_pmax((v128_t)(x), (v128_t)(limit)))
#define CHOOSE(mask, yes, no) \
    ((vector)wasm_v128_bitselect((v128_t)(yes), (v128_t)(no), (v128_t)(mask)))
#define SQRT(v) ((vector)wasm_f64x2_sqrt((v128_t)(v)))
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

static const activation_ops activations_wasm[PYCNN_ACTIVATION_COUNT] = ACTIVATIONS;
static loss_function *const losses_wasm[PYCNN_LOSS_COUNT] = LOSSES;
static update_function *const updates_wasm[PYCNN_OPTIMIZER_COUNT] = UPDATES;
static const online_kernels online_wasm[ONLINE_KINDS] = ONLINE;

const kernel_table pycnn_kernels_wasm = {
    .name = "wasm",
    .feature = CPU_WASM,
    .lanes = LANES,
    .panel = PANEL,
    .block = BLOCK_DEPTH * BLOCK_ROWS,
    .product = product_wasm,
    .product_onto = product_onto_wasm,
    .combine = combine_wasm,
    .gradient = gradient_wasm,
    .descend = descend_wasm,
    .transpose = transpose_wasm,
    .pack = pack_wasm,
    .gather = gather_wasm,
    .activations = activations_wasm,
    .losses = losses_wasm,
    .updates = updates_wasm,
    .regularize = regularize_wasm,
    .penalty = penalty_wasm,
    .normalization = &normalization_wasm,
    .convolution = &convolution_wasm,
    .attention = &attention_wasm,
    .pool = &pool_wasm,
    .recurrent = &recurrent_wasm,
    .online = online_wasm,
};
#endif

typedef int pycnn_not_empty;
