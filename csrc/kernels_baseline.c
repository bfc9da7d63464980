/* The plain kernels: portable C, no vector types, no fused multiply-add. The others are tested
 * against these. Every sum runs in one chain in index order, so a sample's result depends neither
 * on the samples beside it nor on how the compiler vectorises. */
#include "kernels.h"

#include <math.h>

#define SUFFIX(name) name##_baseline
#include "normalization_template.h"

/* One cell at a time. */
#include "scalar_template.h"
#define LANES 1
#define LOAD(p) (*(p))
#define STORE(p, v) (*(p) = (v))
#define LOAD_PART(p, n) LOAD(p)
#define STORE_PART(p, v, n) STORE(p, v)

#include "math_template.h"
#include "recurrent_template.h"

/* Sums that are carried in registers at a time: 16 doubles fill half of SSE2's file. */
#define TILE 16

static void multiply(double *RESTRICT out, const double *RESTRICT matrix, size_t row_stride,
                     size_t column_stride, const double *RESTRICT in, const double *bias,
                     size_t rows, size_t depth, size_t stride, bool accumulate)
{
    for (size_t r = 0; r < rows; r++, out += stride) {
        const double *m = matrix + r * row_stride;
        const double b = bias == NULL ? 0 : bias[r];
        size_t i = 0;
        for (; i + TILE <= stride; i += TILE) {
            double sum[TILE] = {0};
            for (size_t t = 0; t < TILE && accumulate; t++) {
                sum[t] = out[i + t];
            }
            for (size_t k = 0; k < depth; k++) {
                for (size_t t = 0; t < TILE; t++) {
                    sum[t] += m[k * column_stride] * in[k * stride + i + t];
                }
            }
            for (size_t t = 0; t < TILE; t++) {
                out[i + t] = sum[t] + b;
            }
        }
        for (; i < stride; i++) {
            double sum = accumulate ? out[i] : 0;
            for (size_t k = 0; k < depth; k++) {
                sum += m[k * column_stride] * in[k * stride + i];
            }
            out[i] = sum + b;
        }
    }
}

static void product_baseline(const product_panel *panels, size_t count, const double *matrix,
                             size_t row_stride, size_t column_stride, const double *bias,
                             size_t rows, size_t depth, double *scratch)
{
    (void)scratch;
    for (const product_panel *p = panels; p < panels + count; p++) {
        multiply(p->out, matrix, row_stride, column_stride, p->in, bias, rows, depth, p->stride,
                 false);
    }
}

static void product_onto_baseline(const product_panel *panels, size_t count, const double *matrix,
                                  size_t row_stride, size_t column_stride, const double *bias,
                                  size_t rows, size_t depth, double *scratch)
{
    (void)scratch;
    for (const product_panel *p = panels; p < panels + count; p++) {
        multiply(p->out, matrix, row_stride, column_stride, p->in, bias, rows, depth, p->stride,
                 true);
    }
}

/* Some units, whose sums stay in registers. */
static inline void combine_some(double *RESTRICT out, const double *RESTRICT columns, size_t stride,
                                const double *RESTRICT in, size_t depth, const size_t units)
{
    double sum[TILE] = {0};
    for (size_t k = 0; k < depth; k++, columns += stride) {
        for (size_t j = 0; j < units; j++) {
            sum[j] += columns[j] * in[k];
        }
    }
    for (size_t j = 0; j < units; j++) {
        out[j] = sum[j] + columns[j];
    }
}

static void combine_baseline(double *out, const double *columns, size_t stride, const double *in,
                             size_t depth)
{
    size_t j = 0;
    for (; j + TILE <= stride; j += TILE) {
        combine_some(out + j, columns + j, stride, in, depth, TILE);
    }
    for (; j + 4 <= stride; j += 4) {
        combine_some(out + j, columns + j, stride, in, depth, 4);
    }
    for (; j < stride; j++) {
        combine_some(out + j, columns + j, stride, in, depth, 1);
    }
}

/* sum[k] (+)= sum over the batch of delta[i] * inputs[i,k], for one unit */
static void add_gradient(double *RESTRICT sum, const double *RESTRICT delta,
                         const double *RESTRICT inputs, size_t columns, size_t batch)
{
    for (size_t i = 0; i < batch; i++) {
        for (size_t k = 0; k < columns; k++) {
            sum[k] += delta[i] * inputs[i * TILE + k];
        }
    }
}

static void gradient_baseline(double *weight, double *bias, gradient_use use, double step,
                              const gradient_terms *terms, size_t count, const double *inputs,
                              size_t distance, size_t first, size_t rows, size_t fan_in)
{
    const size_t all = fan_in + (bias != NULL), positions = MAX(terms->positions, 1);
    for (size_t j = 0; j < rows; j++) {
        for (size_t k = 0; k < all; k += TILE) {
            /* The bias is the column behind the last weight. */
            const size_t weights = MIN(TILE, fan_in - k), columns = MIN(TILE, all - k);
            double *w = weight + j * fan_in + k;
            const double *in = inputs + k / TILE * distance;
            double sum[TILE] = {0};
            if (use == GRADIENT_ADD) {
                memcpy(sum, w, weights * sizeof *sum);
                sum[columns - 1] = columns > weights ? bias[j] : sum[columns - 1];
            }
            for (size_t t = 0; t < positions * count; t++) {
                const gradient_terms *term = &terms[t % count];
                const size_t row = first + j + t / count * term->height;
                add_gradient(sum, term->delta + row * term->stride, in, columns, term->batch);
                in += term->batch * TILE;
            }
            for (size_t t = 0; t < columns; t++) {
                double *out = t < weights ? w + t : bias + j;
                *out = descends(use) ? *out - step * sum[t] : sum[t];
            }
        }
    }
}

static void pack_baseline(double *panels, size_t distance, const double *row, const double *next,
                          size_t count)
{
    (void)next;
    for (size_t k = 0; k < count; k += TILE) {
        memcpy(panels + k / TILE * distance, row + k, MIN(TILE, count - k) * sizeof *row);
    }
}

static void descend_baseline(double *RESTRICT theta, const double *RESTRICT grad, double step,
                             size_t count)
{
    for (size_t i = 0; i < count; i++) {
        theta[i] -= step * grad[i];
    }
}

static void transpose_baseline(double *RESTRICT dst, size_t dst_stride, const double *RESTRICT src,
                               size_t src_stride, size_t rows, size_t columns)
{
    enum { BLOCK = 8 }; /* a block's rows and columns are one cache line each */
    for (size_t r0 = 0; r0 < rows; r0 += BLOCK) {
        const size_t r1 = MIN(r0 + BLOCK, rows);
        for (size_t c0 = 0; c0 < columns; c0 += BLOCK) {
            const size_t c1 = MIN(c0 + BLOCK, columns);
            for (size_t c = c0; c < c1; c++) {
                for (size_t r = r0; r < r1; r++) {
                    dst[c * dst_stride + r] = src[r * src_stride + c];
                }
            }
        }
    }
}

static void regularize_baseline(double *RESTRICT grad, const double *RESTRICT theta,
                                const regularization *how, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const double w = theta[i], sign = (w > 0) - (w < 0);
        const double g = how->scale * grad[i] + (how->l1 * sign + how->l2 * w);
        grad[i] = how->limit == 0   ? g
                  : g > how->limit  ? how->limit
                  : g < -how->limit ? -how->limit
                                    : g;
    }
}

static double penalty_baseline(const double *x, double l1, double l2, size_t count)
{
    double sum[CHAINS] = {0};
    for (size_t i = 0; i < count; i++) {
        const double a = x[i] < 0 ? -x[i] : x[i];
        sum[i % CHAINS] += (0.5 * l2 * a + l1) * a;
    }
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

const kernel_table pycnn_kernels_baseline = {
    .name = "baseline",
    .lanes = 1,
    .panel = TILE,
    .product = product_baseline,
    .product_onto = product_onto_baseline,
    .combine = combine_baseline,
    .gradient = gradient_baseline,
    .descend = descend_baseline,
    .transpose = transpose_baseline,
    .pack = pack_baseline,
    .activations = pycnn_activations,
    .losses = pycnn_losses,
    .updates = pycnn_updates,
    .regularize = regularize_baseline,
    .penalty = penalty_baseline,
    .normalization = &normalization_baseline,
    .convolution = &pycnn_convolution_baseline,
    .attention = &pycnn_attention_baseline,
    .pool = &pycnn_pool_baseline,
    .recurrent = &recurrent_baseline,
};
