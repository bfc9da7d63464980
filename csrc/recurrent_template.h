/* The cells of recurrent.h, for one instruction set: all gates of LANES cells stay in registers.
 *
 * sigma(z) = 1 / (1 + e^-z) and tanh(z) = (1 - e^-2z) / (1 + e^-2z): several of them are made with
 * one division, by the product of their denominators. That neither overflows nor loses digits,
 * since z is held to +-200 and 2z alike, where both functions have long been at their limits. */

/* Numerator and denominator of tanh(x). */
typedef struct {
    vector above, below;
} fraction;

ALWAYS_INLINE fraction tangent_fraction(vector x)
{
    const power_parts p = power_of_minus_twice(clamp(x, -100, 100), 0);
    const vector m = 1 + p.w, part = p.twice * p.r;
    return (fraction){FMA(m, 1 - p.scale, part), FMA(m, 1 + p.scale, -part)};
}

/* The same of sigma(x). */
ALWAYS_INLINE fraction logistic_fraction(vector x)
{
    const power_parts p = power_of_minus_twice(clamp(0.5 * x, -100, 100), 0);
    const vector m = 1 + p.w;
    return (fraction){m, FMA(m, 1 + p.scale, -(p.twice * p.r))};
}

/* x (1 - x) */
ALWAYS_INLINE vector logistic_slope(vector x) { return FMA(-x, x, x); }

/* 1 - x^2 */
ALWAYS_INLINE vector tangent_slope(vector x) { return FMA(-x, x, BROADCAST(1.0)); }

/* Some cells, from a gate's rows to the next; of a part of a vector only that is touched. */
typedef struct {
    size_t count, part;
} cells;

ALWAYS_INLINE vector load_cells(const double *from, const cells *some)
{
    return some->part == LANES ? LOAD(from) : LOAD_PART(from, some->part);
}

ALWAYS_INLINE void store_cells(double *to, vector v, const cells *some)
{
    if (some->part == LANES) {
        STORE(to, v);
    } else {
        STORE_PART(to, v, some->part);
    }
}

ALWAYS_INLINE void lstm_cells(double *z, double *h, double *c, double *tanh_c,
                              const double *c_before, const cells *some)
{
    const size_t n = some->count;
    const fraction i_parts = logistic_fraction(load_cells(z, some));
    const fraction f_parts = logistic_fraction(load_cells(z + n, some));
    const fraction g_parts = tangent_fraction(load_cells(z + 2 * n, some));
    const vector product = i_parts.below * g_parts.below, inverse = 1 / (product * f_parts.below);
    const vector shared = f_parts.below * inverse, f = f_parts.above * (product * inverse);
    const vector i = i_parts.above * (g_parts.below * shared);
    const vector g = g_parts.above * (i_parts.below * shared);
    const vector state = FMA(f, load_cells(c_before, some), i * g);
    const fraction o_parts = logistic_fraction(load_cells(z + 3 * n, some));
    const fraction t_parts = tangent_fraction(state);
    const vector last = 1 / (o_parts.below * t_parts.below);
    const vector o = o_parts.above * (t_parts.below * last);
    const vector t = t_parts.above * (o_parts.below * last);
    store_cells(z, i, some);
    store_cells(z + n, f, some);
    store_cells(z + 2 * n, g, some);
    store_cells(z + 3 * n, o, some);
    store_cells(c, state, some);
    store_cells(tanh_c, t, some);
    store_cells(h, o * t, some);
}

ALWAYS_INLINE void lstm_back_cells(double *z, double *dc_before, const double *dh, const double *dc,
                                   const double *c_before, const double *tanh_c, const cells *some)
{
    const size_t n = some->count;
    const vector i = load_cells(z, some), f = load_cells(z + n, some);
    const vector g = load_cells(z + 2 * n, some), o = load_cells(z + 3 * n, some);
    const vector t = load_cells(tanh_c, some), above = load_cells(dh, some);
    const vector d = FMA(above * o, tangent_slope(t), load_cells(dc, some));
    store_cells(z, d * g * logistic_slope(i), some);
    store_cells(z + n, d * load_cells(c_before, some) * logistic_slope(f), some);
    store_cells(z + 2 * n, d * i * tangent_slope(g), some);
    store_cells(z + 3 * n, above * t * logistic_slope(o), some);
    store_cells(dc_before, d * f, some);
}

ALWAYS_INLINE void gru_cells(double *z, double *h, const double *h_before, const cells *some)
{
    const size_t count = some->count;
    const fraction r_parts = logistic_fraction(load_cells(z, some));
    const vector r = r_parts.above / r_parts.below;
    const vector sum = FMA(r, load_cells(z + 2 * count, some), load_cells(z + 3 * count, some));
    const fraction n_parts = tangent_fraction(sum);
    const fraction u_parts = logistic_fraction(load_cells(z + count, some));
    const vector inverse = 1 / (n_parts.below * u_parts.below);
    const vector u = u_parts.above * (n_parts.below * inverse);
    const vector n = n_parts.above * (u_parts.below * inverse);
    store_cells(z, r, some);
    store_cells(z + count, u, some);
    store_cells(z + 3 * count, n, some);
    store_cells(h, FMA(u, load_cells(h_before, some) - n, n), some);
}

ALWAYS_INLINE void gru_back_cells(double *z, double *dh_before, const double *dh,
                                  const double *h_before, const cells *some)
{
    const size_t count = some->count;
    const vector r = load_cells(z, some), u = load_cells(z + count, some);
    const vector q = load_cells(z + 2 * count, some), n = load_cells(z + 3 * count, some);
    const vector d = load_cells(dh, some);
    const vector da = d * (1 - u) * tangent_slope(n);
    store_cells(z, da * q * logistic_slope(r), some);
    store_cells(z + count, d * (load_cells(h_before, some) - n) * logistic_slope(u), some);
    store_cells(z + 2 * count, da * r, some);
    store_cells(z + 3 * count, da, some);
    store_cells(dh_before, d * u, some);
}

/* CALL(cells, at) with whole vectors, and with what is left. */
#define EACH_CELLS(count, CALL)                      \
    do {                                             \
        size_t at = 0;                               \
        const cells whole = {(count), LANES};        \
        for (; at + LANES <= (count); at += LANES) { \
            CALL(&whole);                            \
        }                                            \
        const cells rest = {(count), (count) - at};  \
        if (rest.part > 0) {                         \
            CALL(&rest);                             \
        }                                            \
    } while (0)

static void SUFFIX(lstm)(double *z, double *h, double *c, double *tanh_c, const double *c_before,
                         size_t count)
{
#define CELLS(some) lstm_cells(z + at, h + at, c + at, tanh_c + at, c_before + at, some)
    EACH_CELLS(count, CELLS);
#undef CELLS
}

static void SUFFIX(lstm_back)(double *z, double *dc_before, const double *dh, const double *dc,
                              const double *c_before, const double *tanh_c, size_t count)
{
#define CELLS(some) \
    lstm_back_cells(z + at, dc_before + at, dh + at, dc + at, c_before + at, tanh_c + at, some)
    EACH_CELLS(count, CELLS);
#undef CELLS
}

static void SUFFIX(gru)(double *z, double *h, const double *h_before, size_t count)
{
#define CELLS(some) gru_cells(z + at, h + at, h_before + at, some)
    EACH_CELLS(count, CELLS);
#undef CELLS
}

static void SUFFIX(gru_back)(double *z, double *dh_before, const double *dh, const double *h_before,
                             size_t count)
{
#define CELLS(some) gru_back_cells(z + at, dh_before + at, dh + at, h_before + at, some)
    EACH_CELLS(count, CELLS);
#undef CELLS
}

static const recurrent_kernels SUFFIX(recurrent) = {
    SUFFIX(lstm),
    SUFFIX(lstm_back),
    SUFFIX(gru),
    SUFFIX(gru_back),
};
