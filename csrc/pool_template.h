/* The kernels of pool.h, for one instruction set. What they find of POOL_VECTORS vectors of numbers
 * side by side stays in registers while they go over a window. */

#define POOL_VECTORS 4

/* `part` numbers, where that is not 0, else a whole vector. */
ALWAYS_INLINE vector pool_load(const double *p, size_t part)
{
    return part > 0 ? LOAD_PART(p, part) : LOAD(p);
}

ALWAYS_INLINE void pool_store(double *p, vector v, size_t part)
{
    if (part > 0) {
        STORE_PART(p, v, part);
    } else {
        STORE(p, v);
    }
}

/* Adds to what is there, or replaces it. */
ALWAYS_INLINE void pool_give(double *p, vector v, bool shared, size_t part)
{
    pool_store(p, shared ? pool_load(p, part) + v : v, part);
}

ALWAYS_INLINE integers pool_is_nan(vector x) { return x != x; }

ALWAYS_INLINE void pool_largest(double *out, const double *in, const pool_window *window,
                                const int vectors, size_t part)
{
    vector most[POOL_VECTORS];
    UNROLL for (int v = 0; v < vectors; v++) { most[v] = BROADCAST(-INFINITY); }
    for (size_t k = 0; k < window->rows; k++) {
        const double *p = in + k * window->row_step;
        for (size_t l = 0; l < window->columns; l++, p += window->width) {
            UNROLL for (int v = 0; v < vectors; v++)
            {
                const vector x = pool_load(p + v * LANES, part);
                most[v] = choose((x > most[v]) | pool_is_nan(x), x, most[v]);
            }
        }
    }
    UNROLL for (int v = 0; v < vectors; v++) { pool_store(out + v * LANES, most[v], part); }
}

ALWAYS_INLINE void pool_mean(double *out, const double *in, const pool_window *window,
                             const int vectors, size_t part)
{
    const vector number = BROADCAST((double)(window->rows * window->columns));
    vector sum[POOL_VECTORS];
    UNROLL for (int v = 0; v < vectors; v++) { sum[v] = (vector){0}; }
    for (size_t k = 0; k < window->rows; k++) {
        const double *p = in + k * window->row_step;
        for (size_t l = 0; l < window->columns; l++, p += window->width) {
            UNROLL for (int v = 0; v < vectors; v++)
            {
                sum[v] = sum[v] + pool_load(p + v * LANES, part);
            }
        }
    }
    UNROLL for (int v = 0; v < vectors; v++) { pool_store(out + v * LANES, sum[v] / number, part); }
}

ALWAYS_INLINE void pool_give_to_largest(double *delta_input, const double *delta, const double *in,
                                        const double *out, const pool_window *window, bool shared,
                                        const int vectors, size_t part)
{
    vector most[POOL_VECTORS], rest[POOL_VECTORS]; /* rest: what has not found its place */
    UNROLL for (int v = 0; v < vectors; v++)
    {
        most[v] = pool_load(out + v * LANES, part);
        rest[v] = pool_load(delta + v * LANES, part);
    }
    for (size_t k = 0; k < window->rows; k++) {
        for (size_t l = 0; l < window->columns; l++) {
            const size_t at = k * window->row_step + l * window->width;
            UNROLL for (int v = 0; v < vectors; v++)
            {
                const vector x = pool_load(in + at + v * LANES, part);
                const integers found = (x == most[v]) | pool_is_nan(x);
                pool_give(delta_input + at + v * LANES, choose(found, rest[v], (vector){0}), shared,
                          part);
                rest[v] = choose(found, (vector){0}, rest[v]);
            }
        }
    }
}

ALWAYS_INLINE void pool_give_to_all(double *delta_input, const double *delta,
                                    const pool_window *window, bool shared, const int vectors,
                                    size_t part)
{
    const vector number = BROADCAST((double)(window->rows * window->columns));
    vector each[POOL_VECTORS];
    UNROLL for (int v = 0; v < vectors; v++)
    {
        each[v] = pool_load(delta + v * LANES, part) / number;
    }
    for (size_t k = 0; k < window->rows; k++) {
        double *p = delta_input + k * window->row_step;
        for (size_t l = 0; l < window->columns; l++, p += window->width) {
            UNROLL for (int v = 0; v < vectors; v++)
            {
                pool_give(p + v * LANES, each[v], shared, part);
            }
        }
    }
}

/* STEP(first, vectors, part) for all numbers side by side. */
#define EACH_POOL_STEP(STEP)                                               \
    do {                                                                   \
        size_t first_ = 0;                                                 \
        const size_t width_ = window->width, step_ = POOL_VECTORS * LANES; \
        for (; first_ + step_ <= width_; first_ += step_) {                \
            STEP(first_, POOL_VECTORS, 0);                                 \
        }                                                                  \
        for (; first_ + LANES <= width_; first_ += LANES) {                \
            STEP(first_, 1, 0);                                            \
        }                                                                  \
        if (first_ < width_) {                                             \
            STEP(first_, 1, width_ - first_);                              \
        }                                                                  \
    } while (0)

static void SUFFIX(largest)(double *out, const double *in, const pool_window *window)
{
#define STEP(first, vectors, part) pool_largest(out + (first), in + (first), window, vectors, part)
    EACH_POOL_STEP(STEP);
#undef STEP
}

static void SUFFIX(mean)(double *out, const double *in, const pool_window *window)
{
#define STEP(first, vectors, part) pool_mean(out + (first), in + (first), window, vectors, part)
    EACH_POOL_STEP(STEP);
#undef STEP
}

static void SUFFIX(give_to_largest)(double *delta_input, const double *delta, const double *in,
                                    const double *out, const pool_window *window)
{
#define STEP(first, vectors, part)                                                            \
    pool_give_to_largest(delta_input + (first), delta + (first), in + (first), out + (first), \
                         window, shared, vectors, part)
    if (window->shared) {
        const bool shared = true;
        EACH_POOL_STEP(STEP);
    } else {
        const bool shared = false;
        EACH_POOL_STEP(STEP);
    }
#undef STEP
}

static void SUFFIX(give_to_all)(double *delta_input, const double *delta, const double *in,
                                const double *out, const pool_window *window)
{
    (void)in, (void)out;
#define STEP(first, vectors, part) \
    pool_give_to_all(delta_input + (first), delta + (first), window, shared, vectors, part)
    if (window->shared) {
        const bool shared = true;
        EACH_POOL_STEP(STEP);
    } else {
        const bool shared = false;
        EACH_POOL_STEP(STEP);
    }
#undef STEP
}

static const pool_kernels SUFFIX(pool) = {
    .largest = SUFFIX(largest),
    .mean = SUFFIX(mean),
    .give_to_largest = SUFFIX(give_to_largest),
    .give_to_all = SUFFIX(give_to_all),
};
