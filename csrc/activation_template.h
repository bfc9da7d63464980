/* The activations, for one instruction set: f beside its derivative. See activation.c for what each
 * computes; here all buffers have room for whole
 * vectors. */

#define EACH(i, count) for (size_t i = 0; i < (count); i += LANES)

/* What works along columns works on LANES samples at a time; where there is only one (stride 1),
 * all lanes hold that one. */
#define LOAD_COLUMN(p) (one ? BROADCAST(*(p)) : LOAD(p))

ALWAYS_INLINE void store_column(double *p, vector v, bool one)
{
    if (one) {
        *p = v[0];
    } else {
        STORE(p, v);
    }
}

#define STORE_COLUMN(p, v) store_column(p, v, one)

static void SUFFIX(linear_forward)(double *a, const double *z, size_t units, size_t stride)
{
    if (a != z) {
        memcpy(a, z, units * stride * sizeof *a);
    }
}

static void SUFFIX(linear_backward)(double *delta, const double *a, size_t units, size_t stride)
{
    (void)delta, (void)a, (void)units, (void)stride;
}

static void SUFFIX(sigmoid_forward)(double *a, const double *z, size_t units, size_t stride)
{
    EACH(i, units * stride) { STORE(a + i, logistic(LOAD(z + i))); }
}

static void SUFFIX(sigmoid_backward)(double *delta, const double *a, size_t units, size_t stride)
{
    EACH(i, units * stride)
    {
        STORE(delta + i, LOAD(delta + i) * (LOAD(a + i) * (1 - LOAD(a + i))));
    }
}

ALWAYS_INLINE vector rectified(vector z) { return choose(z < 0, (vector){0}, z); }

static void SUFFIX(relu_forward)(double *a, const double *z, size_t units, size_t stride)
{
    EACH(i, units * stride) { STORE(a + i, rectified(LOAD(z + i))); }
}

ALWAYS_INLINE vector rectified_delta(vector delta, vector a)
{
    return choose(a > 0, delta, (vector){0});
}

static void SUFFIX(relu_backward)(double *delta, const double *a, size_t units, size_t stride)
{
    EACH(i, units * stride) { STORE(delta + i, rectified_delta(LOAD(delta + i), LOAD(a + i))); }
}

static void SUFFIX(tanh_forward)(double *a, const double *z, size_t units, size_t stride)
{
    EACH(i, units * stride) { STORE(a + i, hyperbolic_tangent(LOAD(z + i))); }
}

static void SUFFIX(tanh_backward)(double *delta, const double *a, size_t units, size_t stride)
{
    EACH(i, units * stride)
    {
        STORE(delta + i, LOAD(delta + i) * FMA(-LOAD(a + i), LOAD(a + i), BROADCAST(1.0)));
    }
}

/* e^(z - largest): the rounding of the difference would be many ulp of the result. */
ALWAYS_INLINE vector softmax_term(vector z, vector largest)
{
    const vector difference = z - largest;
    return exponential_of_difference(difference, excess_of_any_sum(difference, z, -largest));
}

/* *sum += term, and what the roundings have added to it. */
ALWAYS_INLINE void add_softmax_term(vector *sum, vector *excess, vector term)
{
    const vector next = *sum + term;
    *excess += excess_of_any_sum(next, *sum, term);
    *sum = next;
}

/* One sample: its units along a vector where they do not meet, the same numbers in all lanes where
 * they do. */
static void softmax_one(double *a, const double *z, size_t units)
{
    double top = z[0];
    for (size_t j = 1; j < units; j++) {
        top = z[j] > top ? z[j] : top;
    }
    const vector largest = BROADCAST(top);
    EACH(j, units) { STORE(a + j, softmax_term(LOAD(z + j), largest)); }
    vector sum = {0}, excess = {0};
    for (size_t j = 0; j < units; j++) {
        add_softmax_term(&sum, &excess, BROADCAST(a[j]));
    }
    const vector inverse = 1 / sum;
    EACH(j, units) { STORE(a + j, quotient(LOAD(a + j), (vector){0}, sum, excess, inverse)); }
}

static void SUFFIX(softmax_forward)(double *a, const double *z, size_t units, size_t stride)
{
    if (stride == 1) {
        softmax_one(a, z, units);
        return;
    }
    EACH(i, stride)
    {
        vector largest = LOAD(z + i), sum = {0}, excess = {0};
        for (size_t j = 1; j < units; j++) {
            const vector zj = LOAD(z + j * stride + i);
            largest = choose(zj > largest, zj, largest);
        }
        for (size_t j = 0; j < units; j++) {
            const vector e = softmax_term(LOAD(z + j * stride + i), largest);
            STORE(a + j * stride + i, e);
            add_softmax_term(&sum, &excess, e);
        }
        const vector inverse = 1 / sum;
        for (size_t j = 0; j < units; j++) {
            double *aj = a + j * stride + i;
            STORE(aj, quotient(LOAD(aj), (vector){0}, sum, excess, inverse));
        }
    }
}

static void SUFFIX(softmax_backward)(double *delta, const double *a, size_t units, size_t stride)
{
    const bool one = stride == 1;
    EACH(i, stride)
    {
        vector mean = {0};
        for (size_t j = 0; j < units; j++) {
            mean = FMA(LOAD_COLUMN(delta + j * stride + i), LOAD_COLUMN(a + j * stride + i), mean);
        }
        for (size_t j = 0; j < units; j++) {
            double *d = delta + j * stride + i;
            STORE_COLUMN(d, LOAD_COLUMN(a + j * stride + i) * (LOAD_COLUMN(d) - mean));
        }
    }
}

#define ACTIVATIONS                                                            \
    {                                                                          \
        [PYCNN_LINEAR] = {SUFFIX(linear_forward), SUFFIX(linear_backward)},    \
        [PYCNN_SIGMOID] = {SUFFIX(sigmoid_forward), SUFFIX(sigmoid_backward)}, \
        [PYCNN_RELU] = {SUFFIX(relu_forward), SUFFIX(relu_backward)},          \
        [PYCNN_TANH] = {SUFFIX(tanh_forward), SUFFIX(tanh_backward)},          \
        [PYCNN_SOFTMAX] = {SUFFIX(softmax_forward), SUFFIX(softmax_backward)}, \
    }
