/* The kernels of normalization.h, for one instruction set: plain loops that a compiler vectorizes.
 * Included with SUFFIX(name), the name of this set's function. */

/* `width` samples of all images: at most CHAINS, which compilers know where it is all of them. */
static inline void SUFFIX(add_some)(double *RESTRICT sums, const double *x,
                                    const feature_rows *rows, const size_t width)
{
    for (size_t p = 0; p < rows->positions; p++) {
        for (size_t f = 0; f < rows->features; f++) {
            for (size_t c = 0; c < width; c++) {
                sums[f * CHAINS + c] += x[p * rows->step + f * rows->stride + c];
            }
        }
    }
}

static void SUFFIX(add)(double *sums, const double *x, const feature_rows *rows)
{
    const size_t rest = rows->batch % CHAINS, whole = rows->batch - rest;
    for (size_t i = 0; i < whole; i += CHAINS) {
        SUFFIX(add_some)(sums, x + i, rows, CHAINS);
    }
    SUFFIX(add_some)(sums, x + whole, rows, rest);
}

static inline void SUFFIX(add_some_squares)(double *RESTRICT sums, const double *x,
                                            const double *mean, const feature_rows *rows,
                                            const size_t width)
{
    for (size_t p = 0; p < rows->positions; p++) {
        for (size_t f = 0; f < rows->features; f++) {
            for (size_t c = 0; c < width; c++) {
                const double d = x[p * rows->step + f * rows->stride + c] - mean[f];
                sums[f * CHAINS + c] += d * d;
            }
        }
    }
}

static void SUFFIX(add_squares)(double *sums, const double *x, const double *mean,
                                const feature_rows *rows)
{
    const size_t rest = rows->batch % CHAINS, whole = rows->batch - rest;
    for (size_t i = 0; i < whole; i += CHAINS) {
        SUFFIX(add_some_squares)(sums, x + i, mean, rows, CHAINS);
    }
    SUFFIX(add_some_squares)(sums, x + whole, mean, rows, rest);
}

static inline void SUFFIX(add_some_deltas)(double *RESTRICT sums, double *RESTRICT products,
                                           const double *delta, const double *x, const double *mean,
                                           const double *inverse, const size_t apart,
                                           const feature_rows *rows, const size_t width)
{
    for (size_t p = 0; p < rows->positions; p++) {
        for (size_t f = 0; f < rows->features; f++) {
            const size_t at = p * rows->step + f * rows->stride;
            for (size_t c = 0; c < width; c++) {
                const size_t of = apart == 0 ? f : p * apart + c;
                const double normalized = (x[at + c] - mean[of]) * inverse[of];
                sums[f * CHAINS + c] += delta[at + c];
                products[f * CHAINS + c] += delta[at + c] * normalized;
            }
        }
    }
}

static void SUFFIX(add_deltas)(double *sums, double *products, const double *delta, const double *x,
                               const double *mean, const double *inverse, size_t apart,
                               const feature_rows *rows)
{
    const size_t rest = rows->batch % CHAINS, whole = rows->batch - rest;
    for (size_t i = 0; i < rows->batch; i += CHAINS) {
        const size_t width = i < whole ? CHAINS : rest;
        if (apart > 0) {
            SUFFIX(add_some_deltas)(sums, products, delta + i, x + i, mean + i, inverse + i, apart,
                                    rows, width);
        } else if (width == CHAINS) {
            SUFFIX(add_some_deltas)(sums, products, delta + i, x + i, mean, inverse, 0, rows,
                                    CHAINS);
        } else {
            SUFFIX(add_some_deltas)(sums, products, delta + i, x + i, mean, inverse, 0, rows,
                                    width);
        }
    }
}

static void SUFFIX(normalize_units)(double *RESTRICT out, const double *x, const double *mean,
                                    const double *inverse, const double *gamma, const double *beta,
                                    size_t units, size_t stride)
{
    if (stride == 1) {
        for (size_t j = 0; j < units; j++) {
            out[j] = gamma[j] * ((x[j] - mean[j]) * inverse[j]) + beta[j];
        }
        return;
    }
    for (size_t j = 0; j < units; j++) {
        const double center = mean[j], scale = inverse[j], g = gamma[j], b = beta[j];
        for (size_t i = 0; i < stride; i++) {
            out[j * stride + i] = g * ((x[j * stride + i] - center) * scale) + b;
        }
    }
}

static void SUFFIX(normalize_samples)(double *RESTRICT out, const double *x, const double *mean,
                                      const double *inverse, const double *gamma,
                                      const double *beta, size_t units, size_t stride)
{
    if (stride == 1) {
        const double center = mean[0], scale = inverse[0];
        for (size_t j = 0; j < units; j++) {
            out[j] = gamma[j] * ((x[j] - center) * scale) + beta[j];
        }
        return;
    }
    for (size_t j = 0; j < units; j++) {
        const double g = gamma[j], b = beta[j];
        for (size_t i = 0; i < stride; i++) {
            out[j * stride + i] = g * ((x[j * stride + i] - mean[i]) * inverse[i]) + b;
        }
    }
}

/* Of one sample the sums stay in registers. */
static void SUFFIX(one_sample_moments)(double *mean, double *inverse, const double *x,
                                       double epsilon, size_t units)
{
    double sum = 0, squares = 0;
    for (size_t j = 0; j < units; j++) {
        sum += x[j];
    }
    *mean = sum / (double)units;
    for (size_t j = 0; j < units; j++) {
        const double d = x[j] - *mean;
        squares += d * d;
    }
    *inverse = 1 / sqrt(squares / (double)units + epsilon);
}

static void SUFFIX(sample_moments)(double *RESTRICT mean, double *RESTRICT inverse, const double *x,
                                   double epsilon, size_t units, size_t stride)
{
    if (stride == 1) {
        SUFFIX(one_sample_moments)(mean, inverse, x, epsilon, units);
        return;
    }
    for (size_t i = 0; i < stride; i++) {
        mean[i] = inverse[i] = 0;
    }
    for (size_t j = 0; j < units; j++) {
        for (size_t i = 0; i < stride; i++) {
            mean[i] += x[j * stride + i];
        }
    }
    for (size_t i = 0; i < stride; i++) {
        mean[i] /= (double)units;
    }
    for (size_t j = 0; j < units; j++) {
        for (size_t i = 0; i < stride; i++) {
            const double d = x[j * stride + i] - mean[i];
            inverse[i] += d * d;
        }
    }
    for (size_t i = 0; i < stride; i++) {
        inverse[i] = 1 / sqrt(inverse[i] / (double)units + epsilon);
    }
}

static void SUFFIX(unit_deltas)(double *RESTRICT delta_input, const double *delta, const double *x,
                                const double *mean, const double *inverse, const double *gamma,
                                const double *sum, const double *product, double fraction,
                                size_t units, size_t batch, size_t stride)
{
    for (size_t j = 0; j < units; j++) {
        const double center = mean[j], scale = inverse[j], factor = gamma[j] * inverse[j];
        const double level = fraction * sum[j], slope = fraction * product[j];
        const size_t row = j * stride;
        for (size_t i = 0; i < batch; i++) {
            const double normalized = (x[row + i] - center) * scale;
            delta_input[row + i] = factor * (delta[row + i] - level - normalized * slope);
        }
        for (size_t i = batch; i < stride; i++) {
            delta_input[row + i] = 0;
        }
    }
}

static void SUFFIX(sample_deltas)(double *RESTRICT delta_input, const double *delta,
                                  const double *x, const double *mean, const double *inverse,
                                  const double *gamma, double *RESTRICT scratch, size_t units,
                                  size_t stride)
{
    double *level = scratch, *slope = scratch + stride;
    memset(scratch, 0, 2 * stride * sizeof *scratch);
    for (size_t j = 0; j < units; j++) {
        for (size_t i = 0; i < stride; i++) {
            const double g = gamma[j] * delta[j * stride + i];
            level[i] += g;
            slope[i] += g * ((x[j * stride + i] - mean[i]) * inverse[i]);
        }
    }
    for (size_t i = 0; i < stride; i++) {
        level[i] /= (double)units;
        slope[i] /= (double)units;
    }
    for (size_t j = 0; j < units; j++) {
        for (size_t i = 0; i < stride; i++) {
            const double normalized = (x[j * stride + i] - mean[i]) * inverse[i];
            delta_input[j * stride + i] =
                inverse[i] * (gamma[j] * delta[j * stride + i] - level[i] - normalized * slope[i]);
        }
    }
}

static void SUFFIX(draw_mask)(double *mask, uint64_t key, size_t position, double rate,
                              size_t units, size_t stride)
{
    enum { TOGETHER = 64 };
    const uint64_t dropped = (uint64_t)(rate * 0x1p53); /* of 2^53 draws */
    const double kept = 1 / (1 - rate);
    uint64_t sample[TOGETHER];
    for (size_t first = 0; first < stride; first += TOGETHER) {
        const size_t count = MIN(TOGETHER, stride - first);
        for (size_t i = 0; i < count; i++) {
            sample[i] = random_bits(key, position + first + i);
        }
        for (size_t j = 0; j < units; j++) {
            for (size_t i = 0; i < count; i++) {
                const uint64_t draw = random_bits(sample[i], j) >> 11;
                mask[j * stride + first + i] = draw < dropped ? 0 : kept;
            }
        }
    }
}

static const normalization_kernels SUFFIX(normalization) = {
    .add = SUFFIX(add),
    .add_squares = SUFFIX(add_squares),
    .add_deltas = SUFFIX(add_deltas),
    .normalize_units = SUFFIX(normalize_units),
    .normalize_samples = SUFFIX(normalize_samples),
    .sample_moments = SUFFIX(sample_moments),
    .unit_deltas = SUFFIX(unit_deltas),
    .sample_deltas = SUFFIX(sample_deltas),
    .draw_mask = SUFFIX(draw_mask),
};
