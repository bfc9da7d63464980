/* The kernels of pool.h, for one instruction set: plain loops, of which compilers make vectors.
 * Included with SUFFIX(name) for the name of this set's function. */

/* Numbers side by side that are worked on at a time: few enough for the first-level cache, however
 * large the window is. */
enum { POOL_TOGETHER = 64 };

static void SUFFIX(largest)(double *RESTRICT out, const double *RESTRICT in,
                            const pool_window *window)
{
    for (size_t first = 0; first < window->width; first += POOL_TOGETHER) {
        const size_t count = MIN(POOL_TOGETHER, window->width - first);
        double *most = out + first;
        for (size_t i = 0; i < count; i++) {
            most[i] = -INFINITY;
        }
        for (size_t k = 0; k < window->rows; k++) {
            for (size_t l = 0; l < window->columns; l++) {
                const double *x = in + k * window->row_step + l * window->width + first;
                for (size_t i = 0; i < count; i++) {
                    const bool more = (x[i] > most[i]) | (x[i] != x[i]);
                    most[i] = more ? x[i] : most[i];
                }
            }
        }
    }
}

static void SUFFIX(mean)(double *RESTRICT out, const double *RESTRICT in, const pool_window *window)
{
    const double number = (double)(window->rows * window->columns);
    for (size_t first = 0; first < window->width; first += POOL_TOGETHER) {
        const size_t count = MIN(POOL_TOGETHER, window->width - first);
        double *sum = out + first;
        for (size_t i = 0; i < count; i++) {
            sum[i] = 0;
        }
        for (size_t k = 0; k < window->rows; k++) {
            for (size_t l = 0; l < window->columns; l++) {
                const double *x = in + k * window->row_step + l * window->width + first;
                for (size_t i = 0; i < count; i++) {
                    sum[i] += x[i];
                }
            }
        }
        for (size_t i = 0; i < count; i++) {
            sum[i] /= number;
        }
    }
}

static void SUFFIX(add_to_largest)(double *RESTRICT delta_input, const double *delta,
                                   const double *in, const double *out, const pool_window *window)
{
    for (size_t first = 0; first < window->width; first += POOL_TOGETHER) {
        const size_t count = MIN(POOL_TOGETHER, window->width - first);
        double rest[POOL_TOGETHER]; /* what has not found its place */
        for (size_t i = 0; i < count; i++) {
            rest[i] = delta[first + i];
        }
        for (size_t k = 0; k < window->rows; k++) {
            for (size_t l = 0; l < window->columns; l++) {
                const size_t at = k * window->row_step + l * window->width + first;
                const double *x = in + at, *most = out + first;
                double *sum = delta_input + at;
                for (size_t i = 0; i < count; i++) {
                    const bool found = (x[i] == most[i]) | (x[i] != x[i]);
                    sum[i] += found ? rest[i] : 0;
                    rest[i] = found ? 0 : rest[i];
                }
            }
        }
    }
}

static void SUFFIX(add_to_all)(double *RESTRICT delta_input, const double *delta, const double *in,
                               const double *out, const pool_window *window)
{
    const double number = (double)(window->rows * window->columns);
    (void)in, (void)out;
    for (size_t first = 0; first < window->width; first += POOL_TOGETHER) {
        const size_t count = MIN(POOL_TOGETHER, window->width - first);
        double part[POOL_TOGETHER];
        for (size_t i = 0; i < count; i++) {
            part[i] = delta[first + i] / number;
        }
        for (size_t k = 0; k < window->rows; k++) {
            for (size_t l = 0; l < window->columns; l++) {
                double *sum = delta_input + k * window->row_step + l * window->width + first;
                for (size_t i = 0; i < count; i++) {
                    sum[i] += part[i];
                }
            }
        }
    }
}

static const pool_kernels SUFFIX(pool) = {
    .largest = SUFFIX(largest),
    .mean = SUFFIX(mean),
    .add_to_largest = SUFFIX(add_to_largest),
    .add_to_all = SUFFIX(add_to_all),
};
