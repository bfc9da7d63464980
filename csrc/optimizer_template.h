/* The optimizers, for one instruction set. See optimizer.c for what each computes. */

/* n doubles of a buffer, n = LANES but at its end */
ALWAYS_INLINE vector load_some(const double *p, size_t n)
{
    return n == LANES ? LOAD(p) : LOAD_PART(p, n);
}

ALWAYS_INLINE void store_some(double *p, vector v, size_t n)
{
    if (n == LANES) {
        STORE(p, v);
    } else {
        STORE_PART(p, v, n);
    }
}

ALWAYS_INLINE vector mix(double weight, vector before, vector now)
{
    return FMA(BROADCAST(weight), before, (1 - weight) * now);
}

ALWAYS_INLINE void sgd_some(const update *u, size_t i, size_t n)
{
    double *velocity = u->slot[0];
    const vector g = u->scale * load_some(u->grad + i, n);
    vector direction = g;
    if (velocity != NULL) {
        const vector v = FMA(BROADCAST(u->momentum), load_some(velocity + i, n), g);
        store_some(velocity + i, v, n);
        direction = u->nesterov ? FMA(BROADCAST(u->momentum), v, g) : v;
    }
    const vector theta = load_some(u->theta + i, n);
    store_some(u->theta + i, FMA(BROADCAST(-u->rate), direction, theta), n);
}

ALWAYS_INLINE void adam_some(const update *u, size_t i, size_t n)
{
    const vector g = u->scale * load_some(u->grad + i, n);
    const vector mean = mix(u->beta_1, load_some(u->slot[0] + i, n), g);
    const vector square = mix(u->beta_2, load_some(u->slot[1] + i, n), g * g);
    store_some(u->slot[0] + i, mean, n);
    store_some(u->slot[1] + i, square, n);
    const vector root = FMA(SQRT(square), BROADCAST(u->correction_2), BROADCAST(u->epsilon));
    const vector theta = u->keep * load_some(u->theta + i, n);
    store_some(u->theta + i, FMA(BROADCAST(-u->rate * u->correction_1), mean / root, theta), n);
}

ALWAYS_INLINE void rmsprop_some(const update *u, size_t i, size_t n)
{
    double *mean = u->slot[1], *velocity = u->slot[2];
    const vector g = u->scale * load_some(u->grad + i, n);
    const vector square = mix(u->beta_2, load_some(u->slot[0] + i, n), g * g);
    store_some(u->slot[0] + i, square, n);
    vector variance = square;
    if (mean != NULL) {
        const vector a = mix(u->beta_2, load_some(mean + i, n), g);
        store_some(mean + i, a, n);
        variance = FMA(-a, a, square);
        variance = choose(variance < 0, (vector){0}, variance);
    }
    vector direction = g / (SQRT(variance) + u->epsilon);
    if (velocity != NULL) {
        direction = FMA(BROADCAST(u->momentum), load_some(velocity + i, n), direction);
        store_some(velocity + i, direction, n);
    }
    const vector theta = load_some(u->theta + i, n);
    store_some(u->theta + i, FMA(BROADCAST(-u->rate), direction, theta), n);
}

ALWAYS_INLINE void adagrad_some(const update *u, size_t i, size_t n)
{
    const vector g = u->scale * load_some(u->grad + i, n);
    const vector square = FMA(g, g, load_some(u->slot[0] + i, n));
    store_some(u->slot[0] + i, square, n);
    const vector theta = load_some(u->theta + i, n);
    const vector direction = g / (SQRT(square) + u->epsilon);
    store_some(u->theta + i, FMA(BROADCAST(-u->rate), direction, theta), n);
}

ALWAYS_INLINE void rprop_some(const update *u, size_t i, size_t n)
{
    const vector zero = {0}, g = u->scale * load_some(u->grad + i, n);
    const vector same = load_some(u->slot[0] + i, n) * g;
    vector size = u->first ? BROADCAST(u->rate) : load_some(u->slot[1] + i, n);
    size = choose(same > 0, u->increase * size, choose(same < 0, u->decrease * size, size));
    size = choose(size < u->min_step, BROADCAST(u->min_step), size);
    size = choose(size > u->max_step, BROADCAST(u->max_step), size);
    const vector used = choose(same < 0, zero, g);
    store_some(u->slot[0] + i, used, n);
    store_some(u->slot[1] + i, size, n);
    const vector move = choose(used > 0, size, choose(used < 0, -size, zero));
    store_some(u->theta + i, load_some(u->theta + i, n) - move, n);
}

#define UPDATE(name, some)                                               \
    static void SUFFIX(name)(const update *u, size_t first, size_t last) \
    {                                                                    \
        size_t i = first;                                                \
        for (; i + LANES <= last; i += LANES) {                          \
            some(u, i, LANES);                                           \
        }                                                                \
        if (i < last) {                                                  \
            some(u, i, last - i);                                        \
        }                                                                \
    }
UPDATE(sgd, sgd_some)
UPDATE(adam, adam_some)
UPDATE(rmsprop, rmsprop_some)
UPDATE(adagrad, adagrad_some)
UPDATE(rprop, rprop_some)
#undef UPDATE

#define UPDATES                                                               \
    {                                                                         \
        [PYCNN_SGD] = SUFFIX(sgd),         [PYCNN_ADAM] = SUFFIX(adam),       \
        [PYCNN_RMSPROP] = SUFFIX(rmsprop), [PYCNN_ADAGRAD] = SUFFIX(adagrad), \
        [PYCNN_RPROP] = SUFFIX(rprop),                                        \
    }

/* ---------------------------------------------------------------- what comes before an update */

ALWAYS_INLINE void regularize_some(double *grad, const double *theta, const regularization *how,
                                   size_t i, size_t n)
{
    vector g = how->scale * load_some(grad + i, n);
    if (how->l1 != 0 || how->l2 != 0) {
        const vector w = load_some(theta + i, n), l1 = BROADCAST(how->l1);
        g = FMA(BROADCAST(how->l2), w, g);
        g += choose(w > 0, l1, choose(w < 0, -l1, (vector){0}));
    }
    if (how->limit > 0) {
        const vector limit = BROADCAST(how->limit);
        g = choose(g > limit, limit, choose(g < -limit, -limit, g));
    }
    store_some(grad + i, g, n);
}

static void SUFFIX(regularize)(double *grad, const double *theta, const regularization *how,
                               size_t count)
{
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        regularize_some(grad, theta, how, i, LANES);
    }
    if (i < count) {
        regularize_some(grad, theta, how, i, count - i);
    }
}

/* Eight chains on every instruction set. */
static double SUFFIX(penalty)(const double *x, double l1, double l2, size_t count)
{
    enum { VECTORS = CHAINS / LANES };
    vector sum[VECTORS] = {{0}};
    size_t i = 0;
    for (; i + CHAINS <= count; i += CHAINS) {
        UNROLL for (int v = 0; v < VECTORS; v++)
        {
            const vector a = absolute(LOAD(x + i + (size_t)v * LANES));
            sum[v] = FMA(FMA(BROADCAST(0.5 * l2), a, BROADCAST(l1)), a, sum[v]);
        }
    }
    double chain[CHAINS];
    UNROLL for (int v = 0; v < VECTORS; v++) { STORE(chain + v * LANES, sum[v]); }
    for (size_t j = 0; i < count; i++, j++) {
        const double a = x[i] < 0 ? -x[i] : x[i];
        chain[j] = __builtin_fma(__builtin_fma(0.5 * l2, a, l1), a, chain[j]);
    }
    return ((chain[0] + chain[1]) + (chain[2] + chain[3])) +
           ((chain[4] + chain[5]) + (chain[6] + chain[7]));
}
