/* Steps on a few samples, for one instruction set. See online.h for the layout; here every matrix
 * has rows of whole vectors. */

/* A group of vectors whose chains run side by side, to hide the latency of each: eight, or as many
 * as hold 32 numbers. Fewer where each of several samples has as many. */
enum { GROUP = LANES == 8 ? 4 : 8, GROUP_OF_SAMPLES = 4 };

/* CALL(n, at): n vectors from vector `at` on, the widest groups first, at most `most` of them. */
#define IN_GROUPS(most, vectors, CALL)                   \
    do {                                                 \
        size_t at = 0;                                   \
        for (; at + (most) <= (vectors); at += (most)) { \
            CALL(most, at * LANES);                      \
        }                                                \
        if ((most) > 4 && ((vectors) & 4)) {             \
            CALL(4, at * LANES);                         \
            at += 4;                                     \
        }                                                \
        if ((vectors) & 2) {                             \
            CALL(2, at * LANES);                         \
            at += 2;                                     \
        }                                                \
        if ((vectors) & 1) {                             \
            CALL(1, at * LANES);                         \
        }                                                \
    } while (0)

/* out = sum over k of in[k] * matrix[k], and + matrix[depth] where that is the bias */
ALWAYS_INLINE void combine_group(double *out, const double *matrix, size_t stride, const double *in,
                                 size_t depth, bool has_bias, const int vectors)
{
    vector sum[GROUP] = {{0}};
    for (size_t k = 0; k < depth; k++, matrix += stride) {
        const vector factor = BROADCAST(in[k]);
        UNROLL for (int v = 0; v < vectors; v++)
        {
            sum[v] = FMA(LOAD(matrix + v * LANES), factor, sum[v]);
        }
    }
    UNROLL for (int v = 0; v < vectors; v++)
    {
        STORE(out + v * LANES, has_bias ? sum[v] + LOAD(matrix + v * LANES) : sum[v]);
    }
}

ALWAYS_INLINE void combine_all(double *out, const double *matrix, size_t stride, const double *in,
                               size_t depth, bool has_bias)
{
#define COMBINE(n, at) combine_group(out + (at), matrix + (at), stride, in, depth, has_bias, n)
    IN_GROUPS(GROUP, stride / LANES, COMBINE);
#undef COMBINE
}

static void SUFFIX(combine)(double *out, const double *columns, size_t stride, const double *in,
                            size_t depth)
{
    combine_all(out, columns, stride, in, depth, true);
}

/* f of count samples' units, where it must be called */
ALWAYS_INLINE void activate_all(const online_layer *self, size_t count)
{
    if (self->f != PYCNN_SOFTMAX) {
        self->activation->forward(self->output, self->z, count * self->out_stride, 1);
        return;
    }
    for (size_t at = 0; at < count * self->out_stride; at += self->out_stride) {
        self->activation->forward(self->output + at, self->z + at, self->fan_out, 1);
    }
}

ALWAYS_INLINE void derive_all(const online_layer *self, size_t count)
{
    if (self->f != PYCNN_SOFTMAX) {
        self->activation->backward(self->delta, self->from, count * self->out_stride, 1);
        return;
    }
    for (size_t at = 0; at < count * self->out_stride; at += self->out_stride) {
        self->activation->backward(self->delta + at, self->from + at, self->fan_out, 1);
    }
}

/* z = W a + b, a = f(z), layer by layer; x points to the samples. */
static void SUFFIX(online_forward)(const online_layer *layers, size_t depth, const double *const *x,
                                   size_t count, bool begun)
{
    for (const online_layer *self = layers; self < layers + depth; self++) {
        const size_t stride = self->out_stride;
        for (size_t i = self == layers && begun ? count : 0; i < count; i++) {
            const double *in = self == layers ? x[i] : self[-1].output + i * self->in_stride;
            combine_all(self->z + i * stride, self->columns, stride, in, self->fan_in, true);
        }
        if (self->output != NULL) {
            activate_all(self, count);
        }
    }
}

/* The last layer's delta is dL/dz already; delta = (W^T delta) * f'(z) below it. */
static void SUFFIX(online_backward)(const online_layer *layers, size_t depth, size_t count)
{
    for (const online_layer *self = layers + depth - 1; self > layers; self--) {
        const online_layer *below = self - 1;
        const size_t stride = self->in_stride;
        for (size_t i = 0; i < count; i++) {
            combine_all(below->delta + i * stride, self->rows, stride,
                        self->delta + i * self->out_stride, self->fan_out, false);
        }
        derive_all(below, count);
    }
}

/* matrix[k] += sum over the samples i of scalars[i][k] * vectors[i]; behind it, where there is a
 * bias, the same with 1 for the scalars. Of several samples the sum is what is multiplied by -step;
 * of one the deltas are, before. */
ALWAYS_INLINE void descend_group(double *matrix, size_t stride, size_t depth, bool has_bias,
                                 double step, const double *const scalars[FEW],
                                 const double *const vectors_of[FEW], size_t at, const int vectors,
                                 const int count)
{
    const vector minus_step = BROADCAST(-step);
    vector d[FEW][GROUP];
    UNROLL for (int i = 0; i < count; i++)
    {
        UNROLL for (int v = 0; v < vectors; v++) { d[i][v] = LOAD(vectors_of[i] + at + v * LANES); }
    }
    matrix += at;
    for (size_t k = 0; k < depth + has_bias; k++, matrix += stride) {
        vector out[GROUP], sum[GROUP] = {{0}};
        UNROLL for (int v = 0; v < vectors; v++) { out[v] = LOAD(matrix + v * LANES); }
        UNROLL for (int i = 0; i < count; i++)
        {
            const vector factor = BROADCAST(k < depth ? scalars[i][k] : 1.0);
            UNROLL for (int v = 0; v < vectors; v++)
            {
                sum[v] = FMA(d[i][v], factor, count == 1 ? out[v] : sum[v]);
            }
        }
        UNROLL for (int v = 0; v < vectors; v++)
        {
            STORE(matrix + v * LANES, count == 1 ? sum[v] : FMA(minus_step, sum[v], out[v]));
        }
    }
}

ALWAYS_INLINE void descend_matrix(double *matrix, size_t stride, size_t depth, bool has_bias,
                                  double step, const double *const scalars[FEW],
                                  const double *const vectors_of[FEW], const int count)
{
#define DESCEND(n, at) \
    descend_group(matrix, stride, depth, has_bias, step, scalars, vectors_of, at, n, count)
    if (count == 1) {
        IN_GROUPS(GROUP, stride / LANES, DESCEND);
    } else {
        IN_GROUPS(GROUP_OF_SAMPLES, stride / LANES, DESCEND);
    }
#undef DESCEND
}

/* The same of one sample, whose delta has been multiplied, and z = W next + b of what W and b are
 * then. */
ALWAYS_INLINE void descend_on_group(double *matrix, size_t stride, size_t depth, const double *in,
                                    const double *delta, double *z, const double *next,
                                    const int vectors)
{
    vector d[GROUP_OF_SAMPLES], sum[GROUP_OF_SAMPLES] = {{0}}, out[GROUP_OF_SAMPLES];
    UNROLL for (int v = 0; v < vectors; v++) { d[v] = LOAD(delta + v * LANES); }
    for (size_t k = 0; k < depth; k++, matrix += stride) {
        const vector factor = BROADCAST(in[k]), following = BROADCAST(next[k]);
        UNROLL for (int v = 0; v < vectors; v++)
        {
            out[v] = FMA(d[v], factor, LOAD(matrix + v * LANES));
            STORE(matrix + v * LANES, out[v]);
            sum[v] = FMA(out[v], following, sum[v]);
        }
    }
    UNROLL for (int v = 0; v < vectors; v++)
    {
        out[v] = d[v] + LOAD(matrix + v * LANES);
        STORE(matrix + v * LANES, out[v]);
        STORE(z + v * LANES, sum[v] + out[v]);
    }
}

ALWAYS_INLINE void descend_on(const online_layer *self, const double *in, const double *next)
{
#define DESCEND_ON(n, at)                                                                          \
    descend_on_group(self->columns + (at), self->out_stride, self->fan_in, in, self->delta + (at), \
                     self->z + (at), next, n)
    IN_GROUPS(GROUP_OF_SAMPLES, self->out_stride / LANES, DESCEND_ON);
#undef DESCEND_ON
}

/* The first layer comes last: its z may be the output that the second one reads. */
ALWAYS_INLINE void online_update(const online_layer *layers, size_t depth, const double *const *x,
                                 double step, const double *next, const int count)
{
    for (size_t l = depth; l-- > 0;) {
        const online_layer *self = layers + l;
        const double *in[FEW], *delta[FEW];
        UNROLL for (int i = 0; i < count; i++)
        {
            in[i] = self == layers ? x[i] : self[-1].output + (size_t)i * self->in_stride;
            delta[i] = self->delta + (size_t)i * self->out_stride;
        }
        EACH(j, count == 1 ? self->out_stride : 0)
        {
            STORE(self->delta + j, -step * LOAD(self->delta + j));
        }
        if (count == 1 && self == layers && next != NULL) {
            descend_on(self, in[0], next);
            return;
        }
        descend_matrix(self->columns, self->out_stride, self->fan_in, true, step, in, delta, count);
        if (self->rows != NULL) {
            descend_matrix(self->rows, self->in_stride, self->fan_out, false, step, delta, in,
                           count);
        }
    }
}

/* W -= step * delta a^T, b -= step * delta, both layouts of W alike */
static void SUFFIX(online_descend)(const online_layer *layers, size_t depth, const double *const *x,
                                   size_t count, double step, const double *next)
{
    switch (count) {
    case 1: online_update(layers, depth, x, step, next, 1); break;
    case 2: online_update(layers, depth, x, step, NULL, 2); break;
    case 3: online_update(layers, depth, x, step, NULL, 3); break;
    case 4: online_update(layers, depth, x, step, NULL, 4); break;
    }
}

/* The same three for narrow networks, where no layer fills more than a vector, which need not leave
 * its register between the sum and relu. There is nothing to gain from beginning the next step. */

ALWAYS_INLINE vector combine_narrow(const double *matrix, const double *in, size_t depth)
{
    vector sum = {0};
    for (size_t k = 0; k < depth; k++) {
        sum = FMA(LOAD(matrix + k * LANES), BROADCAST(in[k]), sum);
    }
    return sum;
}

static void SUFFIX(narrow_forward)(const online_layer *layers, size_t depth, const double *const *x,
                                   size_t count, bool begun)
{
    (void)begun;
    for (size_t i = 0; i < count; i++) {
        const double *in = x[i];
        for (const online_layer *self = layers; self < layers + depth; self++) {
            const vector bias = LOAD(self->columns + self->fan_in * LANES);
            const vector z = combine_narrow(self->columns, in, self->fan_in) + bias;
            double *out = self->z + i * LANES;
            const bool relu = self->f == PYCNN_RELU && self->output != NULL;
            STORE(out, relu ? rectified(z) : z);
            if (!relu && self->output != NULL) {
                self->activation->forward(self->output + i * LANES, out, self->fan_out, 1);
                out = self->output + i * LANES;
            }
            in = out;
        }
    }
}

static void SUFFIX(narrow_backward)(const online_layer *layers, size_t depth, size_t count)
{
    for (size_t at = 0; at < count * LANES; at += LANES) {
        for (const online_layer *self = layers + depth - 1; self > layers; self--) {
            const online_layer *below = self - 1;
            const vector sum = combine_narrow(self->rows, self->delta + at, self->fan_out);
            const bool relu = below->f == PYCNN_RELU;
            STORE(below->delta + at, relu ? rectified_delta(sum, LOAD(below->output + at)) : sum);
            if (!relu) {
                below->activation->backward(below->delta + at, below->from + at, below->fan_out, 1);
            }
        }
    }
}

static void SUFFIX(narrow_descend)(const online_layer *layers, size_t depth, const double *const *x,
                                   size_t count, double step, const double *next)
{
    if (count > 1) {
        SUFFIX(online_descend)(layers, depth, x, count, step, next);
        return;
    }
    const double *in = x[0];
    for (const online_layer *self = layers; self < layers + depth; self++) {
        const vector delta = -step * LOAD(self->delta);
        double *column = self->columns;
        for (size_t k = 0; k < self->fan_in; k++, column += LANES) {
            STORE(column, FMA(delta, BROADCAST(in[k]), LOAD(column)));
        }
        STORE(column, delta + LOAD(column));
        if (self->rows != NULL) {
            const vector a = LOAD(in);
            double *row = self->rows;
            for (size_t j = 0; j < self->fan_out; j++, row += LANES) {
                STORE(row, FMA(BROADCAST(-step * self->delta[j]), a, LOAD(row)));
            }
        }
        in = self->output;
    }
}

#define ONLINE_KERNELS(width)                 \
    {                                         \
        .forward = SUFFIX(width##_forward),   \
        .backward = SUFFIX(width##_backward), \
        .descend = SUFFIX(width##_descend),   \
    }

#define ONLINE                                    \
    {                                             \
        [ONLINE_ANY] = ONLINE_KERNELS(online),    \
        [ONLINE_NARROW] = ONLINE_KERNELS(narrow), \
    }
