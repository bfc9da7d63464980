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

/* One sample: its units along vectors, and only what adds them up takes one after the other. */
static void softmax_one(double *a, const double *z, size_t units)
{
    double top = z[0];
    for (size_t j = 1; j < units; j++) {
        top = z[j] > top ? z[j] : top;
    }
    const vector largest = BROADCAST(top);
    EACH(j, units) { STORE(a + j, softmax_term(LOAD(z + j), largest)); }
    double sum = 0, excess = 0; /* as `add_softmax_term` */
    for (size_t j = 0; j < units; j++) {
        const double next = sum + a[j], there = next - sum;
        excess += ((next - there) - sum) + (there - a[j]);
        sum = next;
    }
    const vector whole = BROADCAST(sum), inverse = 1 / whole;
    EACH(j, units)
    {
        STORE(a + j, quotient(LOAD(a + j), (vector){0}, whole, BROADCAST(excess), inverse));
    }
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

static void SUFFIX(leaky_relu_forward)(double *a, const double *z, size_t units, size_t stride)
{
    EACH(i, units * stride)
    {
        const vector x = LOAD(z + i);
        STORE(a + i, choose(x < 0, LEAKY_SLOPE * x, x));
    }
}

static void SUFFIX(leaky_relu_backward)(double *delta, const double *a, size_t units, size_t stride)
{
    EACH(i, units * stride)
    {
        const vector d = LOAD(delta + i);
        STORE(delta + i, choose(LOAD(a + i) > 0, d, LEAKY_SLOPE * d));
    }
}

/* positive * z for z >= 0, else negative * (e^z - 1) */
ALWAYS_INLINE vector exponential_unit(vector z, double positive, double negative)
{
    vector excess;
    const vector below = negative * exponential_minus_one(z, &excess);
    return choose(z >= 0, positive * z, below);
}

static void SUFFIX(elu_forward)(double *a, const double *z, size_t units, size_t stride)
{
    EACH(i, units * stride) { STORE(a + i, exponential_unit(LOAD(z + i), 1, 1)); }
}

static void SUFFIX(elu_backward)(double *delta, const double *a, size_t units, size_t stride)
{
    EACH(i, units * stride)
    {
        const vector x = LOAD(a + i);
        STORE(delta + i, LOAD(delta + i) * choose(x > 0, BROADCAST(1.0), x + 1));
    }
}

static void SUFFIX(selu_forward)(double *a, const double *z, size_t units, size_t stride)
{
    EACH(i, units * stride)
    {
        STORE(a + i, exponential_unit(LOAD(z + i), SELU_SCALE, SELU_SCALE_ALPHA));
    }
}

static void SUFFIX(selu_backward)(double *delta, const double *a, size_t units, size_t stride)
{
    EACH(i, units * stride)
    {
        const vector x = LOAD(a + i);
        const vector slope = choose(x > 0, BROADCAST(SELU_SCALE), x + SELU_SCALE_ALPHA);
        STORE(delta + i, LOAD(delta + i) * slope);
    }
}

static void SUFFIX(gelu_forward)(double *a, const double *z, size_t units, size_t stride)
{
    EACH(i, units * stride) { STORE(a + i, gaussian_unit(LOAD(z + i))); }
}

static void SUFFIX(gelu_backward)(double *delta, const double *z, size_t units, size_t stride)
{
    EACH(i, units * stride)
    {
        STORE(delta + i, LOAD(delta + i) * gaussian_unit_slope(LOAD(z + i)));
    }
}

static void SUFFIX(gelu_forward_with_slope)(double *a, double *z, size_t units, size_t stride)
{
    EACH(i, units * stride)
    {
        const vector x = LOAD(z + i);
        STORE(a + i, gaussian_unit(x));
        STORE(z + i, gaussian_unit_slope(x));
    }
}

static void SUFFIX(times_slope)(double *delta, const double *slope, size_t units, size_t stride)
{
    EACH(i, units * stride) { STORE(delta + i, LOAD(delta + i) * LOAD(slope + i)); }
}

/* f' = s + z s (1 - s) du/dz, where s = 1 / (1 + e^-u) */
ALWAYS_INLINE vector logistic_unit_slope(vector z, vector u, vector u_slope)
{
    const vector e = exponential(-absolute(u)), large = 1 / (1 + e), small = e * large;
    const vector s = choose(u >= 0, large, small);
    return FMA(z * u_slope, large * small, s);
}

static void SUFFIX(gelu_tanh_forward)(double *a, const double *z, size_t units, size_t stride)
{
    EACH(i, units * stride)
    {
        vector excess;
        const vector x = LOAD(z + i), u = gelu_exponent(clamp(x, -40, 40), &excess);
        STORE(a + i, logistic_unit(x, u, excess));
    }
}

static void SUFFIX(gelu_tanh_backward)(double *delta, const double *z, size_t units, size_t stride)
{
    EACH(i, units * stride)
    {
        const vector x = clamp(LOAD(z + i), -40, 40), cubic = GELU_CUBIC * (x * x);
        const vector u = x * (cubic + GELU_LINEAR);
        const vector slope =
            logistic_unit_slope(x, u, FMA(BROADCAST(3.0), cubic, BROADCAST(GELU_LINEAR)));
        STORE(delta + i, LOAD(delta + i) * slope);
    }
}

static void SUFFIX(silu_forward)(double *a, const double *z, size_t units, size_t stride)
{
    EACH(i, units * stride)
    {
        const vector x = LOAD(z + i);
        STORE(a + i, logistic_unit(x, x, (vector){0}));
    }
}

static void SUFFIX(silu_backward)(double *delta, const double *z, size_t units, size_t stride)
{
    EACH(i, units * stride)
    {
        const vector x = clamp(LOAD(z + i), -800, 800);
        STORE(delta + i, LOAD(delta + i) * logistic_unit_slope(x, x, BROADCAST(1.0)));
    }
}

static void SUFFIX(softplus_forward)(double *a, const double *z, size_t units, size_t stride)
{
    EACH(i, units * stride)
    {
        const vector x = LOAD(z + i), e = exponential(-absolute(x));
        STORE(a + i, choose(x > 0, x, (vector){0}) + log_one_plus(e, 1 / (1 + e)));
    }
}

static void SUFFIX(softplus_backward)(double *delta, const double *a, size_t units, size_t stride)
{
    EACH(i, units * stride)
    {
        vector excess;
        const vector slope = -exponential_minus_one(-LOAD(a + i), &excess);
        STORE(delta + i, LOAD(delta + i) * slope);
    }
}

static void SUFFIX(softsign_forward)(double *a, const double *z, size_t units, size_t stride)
{
    EACH(i, units * stride)
    {
        const vector x = LOAD(z + i), size = absolute(x);
        STORE(a + i, choose(size > 0x1p60, with_sign_of(BROADCAST(1.0), x), x / (1 + size)));
    }
}

static void SUFFIX(softsign_backward)(double *delta, const double *a, size_t units, size_t stride)
{
    EACH(i, units * stride)
    {
        const vector rest = 1 - absolute(LOAD(a + i));
        STORE(delta + i, LOAD(delta + i) * (rest * rest));
    }
}

static void SUFFIX(hard_sigmoid_forward)(double *a, const double *z, size_t units, size_t stride)
{
    EACH(i, units * stride) { STORE(a + i, clamp(LOAD(z + i) / 6 + 0.5, 0, 1)); }
}

static void SUFFIX(hard_sigmoid_backward)(double *delta, const double *a, size_t units,
                                          size_t stride)
{
    EACH(i, units * stride)
    {
        const vector x = LOAD(a + i), d = LOAD(delta + i) * (1.0 / 6);
        STORE(delta + i, choose((x > 0) & (x < 1), d, (vector){0}));
    }
}

static void SUFFIX(hard_tanh_forward)(double *a, const double *z, size_t units, size_t stride)
{
    EACH(i, units * stride) { STORE(a + i, clamp(LOAD(z + i), -1, 1)); }
}

static void SUFFIX(hard_tanh_backward)(double *delta, const double *a, size_t units, size_t stride)
{
    EACH(i, units * stride)
    {
        STORE(delta + i, choose(absolute(LOAD(a + i)) < 1, LOAD(delta + i), (vector){0}));
    }
}

#define FORWARD_BACKWARD(f, from_z) {SUFFIX(f##_forward), SUFFIX(f##_backward), from_z, NULL, NULL}
#define FORWARD_WITH_SLOPE(f)                                                         \
    {SUFFIX(f##_forward), SUFFIX(f##_backward), true, SUFFIX(f##_forward_with_slope), \
     SUFFIX(times_slope)}
#define ACTIVATIONS                                                   \
    {                                                                 \
        [PYCNN_LINEAR] = FORWARD_BACKWARD(linear, false),             \
        [PYCNN_SIGMOID] = FORWARD_BACKWARD(sigmoid, false),           \
        [PYCNN_RELU] = FORWARD_BACKWARD(relu, false),                 \
        [PYCNN_TANH] = FORWARD_BACKWARD(tanh, false),                 \
        [PYCNN_SOFTMAX] = FORWARD_BACKWARD(softmax, false),           \
        [PYCNN_LEAKY_RELU] = FORWARD_BACKWARD(leaky_relu, false),     \
        [PYCNN_ELU] = FORWARD_BACKWARD(elu, false),                   \
        [PYCNN_SELU] = FORWARD_BACKWARD(selu, false),                 \
        [PYCNN_GELU] = FORWARD_WITH_SLOPE(gelu),                      \
        [PYCNN_GELU_TANH] = FORWARD_BACKWARD(gelu_tanh, true),        \
        [PYCNN_SILU] = FORWARD_BACKWARD(silu, true),                  \
        [PYCNN_SOFTPLUS] = FORWARD_BACKWARD(softplus, false),         \
        [PYCNN_SOFTSIGN] = FORWARD_BACKWARD(softsign, false),         \
        [PYCNN_HARD_SIGMOID] = FORWARD_BACKWARD(hard_sigmoid, false), \
        [PYCNN_HARD_TANH] = FORWARD_BACKWARD(hard_tanh, false),       \
    }
