/* The losses, for one instruction set: value, delta and right answers of LANES samples at a time.
 * See loss.c for what each computes. */

/* `x`, or 0 where the target has not been observed */
ALWAYS_INLINE vector observed(vector y, vector x) { return choose(y == y, x, (vector){0}); }

/* Right answers as a fraction of the targets that have been observed. */
ALWAYS_INLINE vector fraction_of(vector correct, vector count, size_t units)
{
    return units == 1 ? correct : correct / choose(count > 0, count, BROADCAST(1.0));
}

/* The first largest of the values that have come so far, x the j-th of them, and its place. */
ALWAYS_INLINE void keep_largest(vector *largest, vector *place, vector x, size_t j)
{
    const integers larger = j == 0 ? x == x : x > *largest;
    *largest = choose(larger, x, *largest);
    *place = choose(larger, BROADCAST((double)j), *place);
}

static void SUFFIX(mse)(const loss_outputs *out, const loss_inputs *in)
{
    const size_t stride = in->stride;
    const bool one = stride == 1, classes = in->units > 1;
    EACH(i, stride)
    {
        vector loss = {0}, y_sum = {0}, most_a = {0}, top_a = {0}, most_y = {0}, top_y = {0};
        for (size_t j = 0; j < in->units; j++) {
            const vector a = LOAD_COLUMN(in->a + j * stride + i);
            const vector y = LOAD_COLUMN(in->y + j * stride + i);
            const vector error = observed(y, a - y);
            loss = FMA(0.5 * error, error, loss);
            if (out->delta != NULL) {
                STORE_COLUMN(out->delta + j * stride + i, error);
            }
            if (classes) {
                keep_largest(&most_a, &top_a, a, j);
                keep_largest(&most_y, &top_y, y, j);
                y_sum += y;
            }
        }
        const vector right = choose(top_a == top_y, BROADCAST(1.0), (vector){0});
        STORE_COLUMN(out->loss + i, loss);
        STORE_COLUMN(out->correct + i, classes ? observed(y_sum, right) : (vector){0});
    }
}

static void SUFFIX(binary)(const loss_outputs *out, const loss_inputs *in)
{
    const size_t stride = in->stride;
    const bool one = stride == 1;
    EACH(i, stride)
    {
        vector loss = {0}, correct = {0}, count = {0};
        for (size_t j = 0; j < in->units; j++) {
            const vector z = LOAD_COLUMN(in->z + j * stride + i),
                         y = LOAD_COLUMN(in->y + j * stride + i);
            const vector e = exponential(-absolute(z));
            const vector inverse = 1 / (1 + e);
            loss += observed(y, choose(z > 0, z * (1 - y), -z * y) + log_one_plus(e, inverse));
            const integers right = (z > LOGISTIC_HALF) == (y > 0.5);
            correct += observed(y, choose(right, BROADCAST(1.0), (vector){0}));
            count += observed(y, BROADCAST(1.0));
            if (out->delta != NULL) {
                const vector large = inverse, small = e * inverse;
                const vector positive = choose(z >= 0, large, small);
                const vector negative = choose(z >= 0, small, large);
                STORE_COLUMN(out->delta + j * stride + i,
                             observed(y, (1 - y) * positive - y * negative));
            }
        }
        STORE_COLUMN(out->loss + i, loss);
        STORE_COLUMN(out->correct + i, fraction_of(correct, count, in->units));
    }
}

/* Where the first largest of a column's values is, and how large. */
ALWAYS_INLINE vector argmax(const double *column, size_t units, size_t stride, vector *largest)
{
    vector top = {0}, best = LOAD(column);
    for (size_t j = 1; j < units; j++) {
        const vector x = LOAD(column + j * stride);
        top = choose(x > best, BROADCAST((double)j), top);
        best = choose(x > best, x, best);
    }
    *largest = best;
    return top;
}

/* Which lane of the units from j on is that unit. */
ALWAYS_INLINE integers is_unit(size_t j, size_t unit)
{
    static const double lanes[] = {0, 1, 2, 3, 4, 5, 6, 7};
    return LOAD(lanes) == BROADCAST((double)unit - (double)j);
}

/* As `argmax`, of numbers side by side: numbers, not lanes, wait for each other. */
ALWAYS_INLINE size_t argmax_of_one(const double *x, size_t units)
{
    size_t top = 0;
    double best = x[0];
    for (size_t j = 1; j < units; j++) {
        top = x[j] > best ? j : top;
        best = x[j] > best ? x[j] : best;
    }
    return top;
}

/* sum + v[0] + v[1] + ..., `count` of them at most */
ALWAYS_INLINE double add_lanes(double sum, vector v, size_t count)
{
    double lanes[LANES];
    STORE(lanes, v);
    for (size_t l = 0; l < MIN(count, LANES); l++) {
        sum += lanes[l];
    }
    return sum;
}

/* -log a_j, less the target's own where there is a divergence from it */
ALWAYS_INLINE vector minus_log_of(vector z, vector z_top, vector log_sum, vector y,
                                  const bool divergence)
{
    const vector minus_log = z_top - z + log_sum;
    return divergence ? minus_log + logarithm(choose(y < LEAST_FOR_LOG, BROADCAST(1.0), y))
                      : minus_log;
}

/* The first `count` numbers, or a whole vector of them; 0 in the lanes that are left. */
ALWAYS_INLINE vector load_units(const double *p, size_t count)
{
    return count < LANES ? LOAD_PART(p, count) : LOAD(p);
}

/* One sample: its units along vectors, and only what adds them up takes one after the other. */
ALWAYS_INLINE void cross_entropy_of_one(const loss_outputs *out, const loss_inputs *in,
                                        const bool divergence)
{
    const double *z = in->z, *a = in->a, *y = in->y;
    const size_t units = in->units, top = argmax_of_one(z, units);
    double others = 0, y_sum = 0, loss = 0;
    EACH(j, units)
    {
        const integers is_top = is_unit(j, top);
        others = add_lanes(others, choose(is_top, (vector){0}, LOAD(a + j)), units - j);
        y_sum = add_lanes(y_sum, LOAD(y + j), units - j);
    }
    const vector rest = BROADCAST(others / a[top]), inverse = 1 / (1 + rest);
    const vector log_sum = log_one_plus(rest, inverse), z_top = BROADCAST(z[top]);
    EACH(j, units)
    {
        const vector aj = load_units(a + j, units - j), yj = load_units(y + j, units - j);
        const vector minus_log = minus_log_of(LOAD(z + j), z_top, log_sum, yj, divergence);
        loss = add_lanes(loss, choose(yj != 0, yj * minus_log, (vector){0}), units - j);
        if (out->delta != NULL) {
            const vector not_aj = choose(is_unit(j, top), rest * inverse, 1 - aj);
            STORE(out->delta + j, aj * (y_sum - yj) - yj * not_aj);
        }
    }
    *out->loss = loss;
    *out->correct = argmax_of_one(a, units) == argmax_of_one(y, units);
}

/* With `divergence` less the targets' own cross-entropy, term by term. */
ALWAYS_INLINE void cross_entropy(const loss_outputs *out, const loss_inputs *in,
                                 const bool divergence)
{
    const size_t units = in->units, stride = in->stride;
    if (stride == 1) {
        cross_entropy_of_one(out, in, divergence);
        return;
    }
    EACH(i, stride)
    {
        const double *z = in->z + i, *a = in->a + i, *y = in->y + i;
        vector z_top, a_top = {0}, rest = {0}, y_sum = {0}, loss = {0}, unused;
        const vector top = argmax(z, units, stride, &z_top);
        for (size_t j = 0; j < units; j++) {
            const integers is_top = top == BROADCAST((double)j);
            const vector aj = LOAD(a + j * stride);
            a_top = choose(is_top, aj, a_top);
            rest += choose(is_top, (vector){0}, aj);
            y_sum += LOAD(y + j * stride);
        }
        rest = rest / a_top;
        const vector inverse = 1 / (1 + rest), log_sum = log_one_plus(rest, inverse);
        for (size_t j = 0; j < units; j++) {
            const vector aj = LOAD(a + j * stride), yj = LOAD(y + j * stride);
            const vector minus_log =
                minus_log_of(LOAD(z + j * stride), z_top, log_sum, yj, divergence);
            loss += choose(yj != 0, yj * minus_log, (vector){0}); /* 0 * inf is not the limit */
            if (out->delta != NULL) {
                const integers is_top = top == BROADCAST((double)j);
                const vector not_aj = choose(is_top, rest * inverse, 1 - aj);
                STORE(out->delta + j * stride + i, aj * (y_sum - yj) - yj * not_aj);
            }
        }
        const integers right =
            argmax(a, units, stride, &unused) == argmax(y, units, stride, &unused);
        STORE(out->loss + i, loss);
        STORE(out->correct + i, choose(right, BROADCAST(1.0), (vector){0}));
    }
}

static void SUFFIX(categorical)(const loss_outputs *out, const loss_inputs *in)
{
    cross_entropy(out, in, false);
}

static void SUFFIX(kl_divergence)(const loss_outputs *out, const loss_inputs *in)
{
    cross_entropy(out, in, true);
}

/* What a loss that is a sum over the outputs says of one of them, and *slope = d/da of it. */
ALWAYS_INLINE vector loss_term(const int loss, vector *slope, vector a, vector y, double parameter)
{
    const vector zero = {0}, one = BROADCAST(1.0), error = a - y, size = absolute(error);
    switch (loss) {
    case PYCNN_HUBER: {
        const vector line = parameter * (size - 0.5 * parameter);
        *slope = clamp(error, -parameter, parameter);
        return choose(size > parameter, line, 0.5 * error * error);
    }
    case PYCNN_POISSON: {
        const vector mean = choose(a < LEAST_FOR_LOG, BROADCAST(LEAST_FOR_LOG), a);
        *slope = 1 - y / mean;
        return FMA(-y, logarithm(mean), a);
    }
    case PYCNN_HINGE: {
        const vector margin = FMA(-y, a, one);
        *slope = choose(margin > 0, -y, zero);
        return choose(margin <= 0, zero, margin);
    }
    case PYCNN_QUANTILE: {
        const vector q = BROADCAST(parameter), above = one - q;
        *slope = choose(error < 0, -q, choose(error > 0, above, zero));
        return choose(error < 0, q, above) * size;
    }
    default: /* PYCNN_MAE */
        *slope = choose(error < 0, -one, choose(error > 0, one, zero));
        return size;
    }
}

ALWAYS_INLINE void sum_terms(const loss_outputs *out, const loss_inputs *in, const int loss)
{
    const size_t stride = in->stride;
    const bool one = stride == 1;
    EACH(i, stride)
    {
        vector sum = {0}, correct = {0}, count = {0};
        for (size_t j = 0; j < in->units; j++) {
            const vector a = LOAD_COLUMN(in->a + j * stride + i),
                         y = LOAD_COLUMN(in->y + j * stride + i);
            vector slope;
            sum += observed(y, loss_term(loss, &slope, a, y, in->parameter));
            if (loss == PYCNN_HINGE) {
                correct += observed(y, choose((a > 0) == (y > 0), BROADCAST(1.0), (vector){0}));
                count += observed(y, BROADCAST(1.0));
            }
            if (out->delta != NULL) {
                STORE_COLUMN(out->delta + j * stride + i, observed(y, slope));
            }
        }
        STORE_COLUMN(out->loss + i, sum);
        STORE_COLUMN(out->correct + i, fraction_of(correct, count, in->units));
    }
}

static void SUFFIX(mae)(const loss_outputs *out, const loss_inputs *in)
{
    sum_terms(out, in, PYCNN_MAE);
}

static void SUFFIX(huber)(const loss_outputs *out, const loss_inputs *in)
{
    sum_terms(out, in, PYCNN_HUBER);
}

static void SUFFIX(poisson)(const loss_outputs *out, const loss_inputs *in)
{
    sum_terms(out, in, PYCNN_POISSON);
}

static void SUFFIX(hinge)(const loss_outputs *out, const loss_inputs *in)
{
    sum_terms(out, in, PYCNN_HINGE);
}

static void SUFFIX(quantile)(const loss_outputs *out, const loss_inputs *in)
{
    sum_terms(out, in, PYCNN_QUANTILE);
}

#define LOSSES                                                  \
    {                                                           \
        [PYCNN_MSE] = SUFFIX(mse),                              \
        [PYCNN_BINARY_CROSSENTROPY] = SUFFIX(binary),           \
        [PYCNN_CATEGORICAL_CROSSENTROPY] = SUFFIX(categorical), \
        [PYCNN_MAE] = SUFFIX(mae),                              \
        [PYCNN_HUBER] = SUFFIX(huber),                          \
        [PYCNN_POISSON] = SUFFIX(poisson),                      \
        [PYCNN_HINGE] = SUFFIX(hinge),                          \
        [PYCNN_QUANTILE] = SUFFIX(quantile),                    \
        [PYCNN_KL_DIVERGENCE] = SUFFIX(kl_divergence),          \
    }
