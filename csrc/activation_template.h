/* The activations, for one instruction set: f beside its derivative. See activation.c for what each
 * computes; here all buffers have room for whole
 * vectors. */

#define EACH(i, count) for (size_t i = 0; i < (count); i += LANES)

/* What works along columns works on LANES samples at a time; where there is only one (stride 1), all
 * lanes hold that one. */
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
    EACH (i, units * stride) {
        STORE(a + i, logistic(LOAD(z + i)));
    }
}

static void SUFFIX(sigmoid_backward)(double *delta, const double *a, size_t units, size_t stride)
{
    EACH (i, units * stride) {
        STORE(delta + i, LOAD(delta + i) * (LOAD(a + i) * (1 - LOAD(a + i))));
    }
}

static void SUFFIX(relu_forward)(double *a, const double *z, size_t units, size_t stride)
{
    EACH (i, units * stride) {
        STORE(a + i, choose(LOAD(z + i) < 0, (vector){0}, LOAD(z + i)));
    }
}

static void SUFFIX(relu_backward)(double *delta, const double *a, size_t units, size_t stride)
{
    EACH (i, units * stride) {
        STORE(delta + i, choose(LOAD(a + i) > 0, LOAD(delta + i), (vector){0}));
    }
}

static void SUFFIX(tanh_forward)(double *a, const double *z, size_t units, size_t stride)
{
    EACH (i, units * stride) {
        STORE(a + i, hyperbolic_tangent(LOAD(z + i)));
    }
}

static void SUFFIX(tanh_backward)(double *delta, const double *a, size_t units, size_t stride)
{
    EACH (i, units * stride) {
        STORE(delta + i, LOAD(delta + i) * FMA(-LOAD(a + i), LOAD(a + i), BROADCAST(1.0)));
    }
}

static void SUFFIX(softmax_forward)(double *a, const double *z, size_t units, size_t stride)
{
    const bool one = stride == 1;
    EACH (i, stride) {
        vector largest = LOAD_COLUMN(z + i), sum = {0};
        for (size_t j = 1; j < units; j++) {
            const vector zj = LOAD_COLUMN(z + j * stride + i);
            largest = choose(zj > largest, zj, largest);
        }
        /* The roundings of z - largest and of the sum would be many ulp of the result. */
        vector sum_excess = {0};
        for (size_t j = 0; j < units; j++) {
            const vector zj = LOAD_COLUMN(z + j * stride + i), difference = zj - largest;
            const vector e = exponential_of_difference(
                difference, excess_of_any_sum(difference, zj, -largest));
            STORE_COLUMN(a + j * stride + i, e);
            const vector next = sum + e;
            sum_excess += excess_of_any_sum(next, sum, e);
            sum = next;
        }
        const vector inverse = 1 / sum;
        for (size_t j = 0; j < units; j++) {
            double *aj = a + j * stride + i;
            STORE_COLUMN(aj, quotient(LOAD_COLUMN(aj), (vector){0}, sum, sum_excess, inverse));
        }
    }
}

static void SUFFIX(softmax_backward)(double *delta, const double *a, size_t units, size_t stride)
{
    const bool one = stride == 1;
    EACH (i, stride) {
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

#define ACTIVATIONS                                                                            \
    {                                                                                          \
        [PYCNN_LINEAR] = {SUFFIX(linear_forward), SUFFIX(linear_backward)},                    \
        [PYCNN_SIGMOID] = {SUFFIX(sigmoid_forward), SUFFIX(sigmoid_backward)},                 \
        [PYCNN_RELU] = {SUFFIX(relu_forward), SUFFIX(relu_backward)},                          \
        [PYCNN_TANH] = {SUFFIX(tanh_forward), SUFFIX(tanh_backward)},                          \
        [PYCNN_SOFTMAX] = {SUFFIX(softmax_forward), SUFFIX(softmax_backward)},                 \
    }
