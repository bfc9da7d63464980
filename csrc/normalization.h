/* Kernels of the normalization layers, and of dropout: they go once over each number. */
#ifndef PYCNN_NORMALIZATION_H
#define PYCNN_NORMALIZATION_H

#include "common.h"

/* Chains of a sum over samples: sample i is in chain i % CHAINS. Slices of a mini-batch begin at
 * multiples of it, so a sum does not depend on how the mini-batch is partitioned. */
enum { CHAINS = 8 };

static inline double pycnn_sum_chains(const double chain[CHAINS])
{
    return ((chain[0] + chain[1]) + (chain[2] + chain[3])) +
           ((chain[4] + chain[5]) + (chain[6] + chain[7]));
}

/* Some features, side by side, of a slice's images: rows of `batch` samples, `stride` apart, and
 * those of the next position `step` doubles on. A row of numbers is an image of one position. */
typedef struct {
    size_t features, positions, step, batch, stride;
} feature_rows;

/* Matrices are [units,stride], a column a sample; x^ = (x - mean) * inverse with
 * inverse = 1 / sqrt(variance + epsilon). There is no fused multiply-add here: the plain kernels
 * give the same bits as the others. */
typedef struct {
    /* sums[features,CHAINS] += x, and += (x - mean[features])^2: CHAINS samples at a time, and of
     * these one position after the other. */
    void (*add)(double *sums, const double *x, const feature_rows *rows);
    void (*add_squares)(double *sums, const double *x, const double *mean,
                        const feature_rows *rows);
    /* sums += delta, products += delta * x^ by mean[features] and inverse[features] or, where
     * `apart` is not 0, by those of the samples [batch], which a position has so far apart. */
    void (*add_deltas)(double *sums, double *products, const double *delta, const double *x,
                       const double *mean, const double *inverse, size_t apart,
                       const feature_rows *rows);

    /* out = gamma x^ + beta, by the units' moments or by the samples'. */
    void (*normalize_units)(double *out, const double *x, const double *mean, const double *inverse,
                            const double *gamma, const double *beta, size_t units, size_t stride);
    void (*normalize_samples)(double *out, const double *x, const double *mean,
                              const double *inverse, const double *gamma, const double *beta,
                              size_t units, size_t stride);
    /* Of each sample over its units, in one chain. */
    void (*sample_moments)(double *mean, double *inverse, const double *x, double epsilon,
                           size_t units, size_t stride);

    /* delta_input = gamma inverse (delta - fraction sum - x^ fraction product), 0 in the padding;
     * fraction is 1 / n where mean and inverse are those of the n samples, 0 where they are given.
     */
    void (*unit_deltas)(double *delta_input, const double *delta, const double *x,
                        const double *mean, const double *inverse, const double *gamma,
                        const double *sum, const double *product, double fraction, size_t units,
                        size_t batch, size_t stride);
    /* With g = gamma delta: delta_input = inverse (g - mean_j g - x^ mean_j (g x^)).
     * scratch[2,stride] */
    void (*sample_deltas)(double *delta_input, const double *delta, const double *x,
                          const double *mean, const double *inverse, const double *gamma,
                          double *scratch, size_t units, size_t stride);

    /* mask = 0 for a fraction `rate` of all, drawn by counters, else 1 / (1 - rate). The samples
     * are number `position` and those that follow of the stream `key`. */
    void (*draw_mask)(double *mask, uint64_t key, size_t position, double rate, size_t units,
                      size_t stride);
} normalization_kernels;

/* Finalizer of SplitMix64 (Steele, Lea and Flood 2014): from a counter to 64 random bits. */
static inline uint64_t random_bits(uint64_t key, uint64_t counter)
{
    uint64_t x = key + (counter + 1) * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

#endif
