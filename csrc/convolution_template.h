/* The kernels of convolution.h, for one instruction set. Of a slice a vector holds the same number
 * of LANES samples, and a register tile some filters of a few neighbouring positions; of one sample
 * a vector holds LANES filters. Every sum is one chain, whatever the tile. */

/* ---------------------------------------------------------------- a slice */

/* Where a row of windows begins: what it reads, and the taps of its rows. */
typedef struct {
    const convolution *shape;
    const double *in;
    size_t stride;
    tap_run rows;
} convolution_row;

/* Whether the taps of two columns are the same ones, and read side by side. */
static bool convolution_alike(const tap_run *a, const tap_run *b)
{
    return a->count == b->count && a->first == b->first;
}

/* Some filters of some positions: each sum goes over the taps, and their features. `steps` is how
 * far apart, in `in` and in `out`, neighbouring positions of the tile are. */
ALWAYS_INLINE void convolution_tile(double *out, size_t out_step, const convolution_row *row,
                                    const tap_run *columns, size_t in_step, const double *weights,
                                    const double *bias, const int filters, const int positions)
{
    const convolution *shape = row->shape;
    const size_t features = shape->in_features, stride = row->stride;
    const ptrdiff_t filter_step = shape->filter_step, feature_step = shape->feature_step;
    /* Taps side by side, whose features lie behind each other everywhere, are one run. */
    const bool joined = columns->step == 1 && columns->at_step <= 1 && feature_step == 1 &&
                        shape->tap_steps[1] == (ptrdiff_t)features;
    const size_t runs = joined ? 1 : columns->count;
    const size_t length = joined ? columns->count * features : features;
    vector sum[TILE_ROWS][TILE_VECTORS] = {{{0}}};
    for (size_t k = 0; k < row->rows.count; k++) {
        const size_t y = row->rows.at + k * row->rows.at_step;
        const ptrdiff_t tap = (ptrdiff_t)(row->rows.first + k * row->rows.step);
        for (size_t l = 0; l < runs; l++) {
            const size_t x = columns->at + l * columns->at_step;
            const double *in = row->in + (y * shape->in[1] + x) * features * stride;
            const double *w = weights + tap * shape->tap_steps[0] +
                              (ptrdiff_t)(columns->first + l * columns->step) * shape->tap_steps[1];
            for (size_t c = 0; c < length; c++, in += stride, w += feature_step) {
                vector a[TILE_VECTORS];
                UNROLL for (int p = 0; p < positions; p++)
                {
                    a[p] = LOAD(in + (size_t)p * in_step);
                }
                UNROLL for (int f = 0; f < filters; f++)
                {
                    const vector m = BROADCAST(w[f * filter_step]);
                    UNROLL for (int p = 0; p < positions; p++)
                    {
                        sum[f][p] = FMA(m, a[p], sum[f][p]);
                        KEEP(sum[f][p]);
                    }
                }
            }
        }
    }
    UNROLL for (int f = 0; f < filters; f++)
    {
        UNROLL for (int p = 0; p < positions; p++)
        {
            const vector whole = bias == NULL ? sum[f][p] : sum[f][p] + bias[f];
            STORE(out + (size_t)f * stride + (size_t)p * out_step, whole);
        }
    }
}

/* All filters of one vector of samples, for as many positions. */
ALWAYS_INLINE void convolution_filters(double *out, size_t out_step, const convolution_row *row,
                                       const tap_run *columns, size_t in_step,
                                       const double *weights, const double *bias,
                                       const int positions)
{
    const convolution *shape = row->shape;
    size_t f = 0;
#define TILE(n)                                                                                   \
    convolution_tile(out + f * row->stride, out_step, row, columns, in_step,                      \
                     weights + (ptrdiff_t)f * shape->filter_step, bias == NULL ? NULL : bias + f, \
                     n, positions)
    for (; f + TILE_ROWS <= shape->out_features; f += TILE_ROWS) {
        TILE(TILE_ROWS);
    }
#if TILE_ROWS > 4
    if (f + 6 <= shape->out_features) {
        TILE(6);
        f += 6;
    }
    if (f + 4 <= shape->out_features) {
        TILE(4);
        f += 4;
    }
#endif
    if (f + 2 <= shape->out_features) {
        TILE(2);
        f += 2;
    }
    if (f < shape->out_features) {
        TILE(1);
    }
#undef TILE
}

/* Neighbouring positions, `period` apart, whose taps are alike: how many fit a tile. */
static size_t convolution_positions(const convolution *shape, const tap_run *columns, size_t x,
                                    size_t period)
{
    size_t positions = 1;
    while (positions < TILE_VECTORS && x + positions * period < shape->out[1] &&
           convolution_alike(&columns[x], &columns[x + positions * period])) {
        positions++;
    }
    return positions;
}

static void SUFFIX(convolve_slice)(double *out, const double *in, size_t stride,
                                   const convolution *shape, const tap_run *rows,
                                   const tap_run *columns, const double *weights,
                                   const double *bias)
{
    /* Going back, windows that are so far apart see the same taps. */
    const size_t period = shape->backward ? shape->strides[1] : 1;
    const size_t ahead = shape->backward ? 1 : shape->strides[1];
    const size_t in_step = ahead * shape->in_features * stride;
    const size_t out_position = shape->out_features * stride, out_step = period * out_position;
    for (size_t y = 0; y < shape->out[0]; y++) {
        for (size_t v = 0; v < stride; v += LANES) {
            const convolution_row row = {shape, in + v, stride, rows[y]};
            double *out_row = out + y * shape->out[1] * out_position + v;
            for (size_t first = 0; first < period; first++) {
                for (size_t x = first; x < shape->out[1];) {
                    const size_t positions = convolution_positions(shape, columns, x, period);
                    double *to = out_row + x * out_position;
#define FILTERS(n) convolution_filters(to, out_step, &row, &columns[x], in_step, weights, bias, n)
                    switch (positions) {
                    case 1: FILTERS(1); break;
                    case 2: FILTERS(2); break;
#if TILE_VECTORS > 2
                    case 3: FILTERS(3); break;
#endif
#if TILE_VECTORS > 3
                    case 4: FILTERS(4); break;
#endif
                    }
#undef FILTERS
                    x += positions * period;
                }
            }
        }
    }
}

/* ---------------------------------------------------------------- one sample */

/* Positions and vectors of filters of a tile. */
#define ONE_POSITIONS TILE_ROWS
#define ONE_VECTORS TILE_VECTORS

ALWAYS_INLINE void convolution_one_tile(double *out, size_t out_step, const convolution_row *row,
                                        const tap_run *columns, size_t in_step,
                                        const double *weights, const double *bias, size_t filters,
                                        const int positions, const int vectors)
{
    const convolution *shape = row->shape;
    const size_t features = shape->in_features;
    const ptrdiff_t feature_step = shape->feature_step;
    const size_t part = filters - (size_t)(vectors - 1) * LANES; /* of the last vector */
    vector sum[ONE_POSITIONS][ONE_VECTORS] = {{{0}}};
    for (size_t k = 0; k < row->rows.count; k++) {
        const size_t y = row->rows.at + k * row->rows.at_step;
        const ptrdiff_t tap = (ptrdiff_t)(row->rows.first + k * row->rows.step);
        for (size_t l = 0; l < columns->count; l++) {
            const size_t x = columns->at + l * columns->at_step;
            const double *in = row->in + (y * shape->in[1] + x) * features;
            const double *w = weights + tap * shape->tap_steps[0] +
                              (ptrdiff_t)(columns->first + l * columns->step) * shape->tap_steps[1];
            for (size_t c = 0; c < features; c++, w += feature_step) {
                vector m[ONE_VECTORS];
                UNROLL for (int v = 0; v < vectors - 1; v++) { m[v] = LOAD(w + v * LANES); }
                m[vectors - 1] = part >= LANES ? LOAD(w + (vectors - 1) * LANES)
                                               : LOAD_PART(w + (vectors - 1) * LANES, part);
                UNROLL for (int p = 0; p < positions; p++)
                {
                    const vector a = BROADCAST(in[(size_t)p * in_step + c]);
                    UNROLL for (int v = 0; v < vectors; v++)
                    {
                        sum[p][v] = FMA(m[v], a, sum[p][v]);
                    }
                }
            }
        }
    }
    UNROLL for (int p = 0; p < positions; p++)
    {
        UNROLL for (int v = 0; v < vectors; v++)
        {
            const size_t width = MIN(filters - (size_t)v * LANES, LANES);
            double *to = out + (size_t)p * out_step + v * LANES;
            vector whole = sum[p][v];
            if (bias != NULL) {
                whole = whole + LOAD_PART(bias + v * LANES, width);
            }
            STORE_PART(to, whole, width);
        }
    }
}

ALWAYS_INLINE void convolution_one_filters(double *out, size_t out_step, const convolution_row *row,
                                           const tap_run *columns, size_t in_step,
                                           const double *weights, const double *bias,
                                           const int positions)
{
    const size_t filters = row->shape->out_features;
    for (size_t f = 0; f < filters;) {
        const size_t width = MIN(filters - f, ONE_VECTORS * LANES);
#define TILE(n)                                                                 \
    convolution_one_tile(out + f, out_step, row, columns, in_step, weights + f, \
                         bias == NULL ? NULL : bias + f, width, positions, n)
        switch ((width + LANES - 1) / LANES) {
        case 1: TILE(1); break;
        case 2: TILE(2); break;
#if TILE_VECTORS > 2
        case 3: TILE(3); break;
#endif
#if TILE_VECTORS > 3
        case 4: TILE(4); break;
#endif
        }
#undef TILE
        f += width;
    }
}

static void SUFFIX(convolve_one)(double *out, const double *in, const convolution *shape,
                                 const tap_run *rows, const tap_run *columns, const double *weights,
                                 const double *bias)
{
    const size_t period = shape->backward ? shape->strides[1] : 1;
    const size_t ahead = shape->backward ? 1 : shape->strides[1];
    const size_t in_step = ahead * shape->in_features;
    for (size_t y = 0; y < shape->out[0]; y++) {
        const convolution_row row = {shape, in, 1, rows[y]};
        double *out_row = out + y * shape->out[1] * shape->out_features;
        for (size_t first = 0; first < period; first++) {
            for (size_t x = first; x < shape->out[1];) {
                size_t positions = 1;
                while (positions < 4 && x + positions * period < shape->out[1] &&
                       convolution_alike(&columns[x], &columns[x + positions * period])) {
                    positions++;
                }
                double *to = out_row + x * shape->out_features;
#define FILTERS(n)                                                                                 \
    convolution_one_filters(to, period * shape->out_features, &row, &columns[x], in_step, weights, \
                            bias, n)
                if (positions == 4) {
                    FILTERS(4);
                } else {
                    positions = 1;
                    FILTERS(1);
                }
#undef FILTERS
                x += positions * period;
            }
        }
    }
}

static void SUFFIX(convolve)(double *out, const double *in, size_t stride, const convolution *shape,
                             const tap_run *rows, const tap_run *columns, const double *weights,
                             const double *bias)
{
    if (stride == 1) {
        SUFFIX(convolve_one)(out, in, shape, rows, columns, weights, bias);
    } else {
        SUFFIX(convolve_slice)(out, in, stride, shape, rows, columns, weights, bias);
    }
}

/* ---------------------------------------------------------------- the gradient of the weights */

/* Some neighbouring positions, whole rows of them or a part of one. */
typedef struct {
    size_t y, x, rows, columns;
} convolution_block;

/* padded[rows,columns,features,LANES] = up to LANES samples of an image, with zeros around them:
 * these add nothing to a sum. */
static void SUFFIX(pad_image)(double *into, const double *image, size_t stride, size_t samples,
                              const convolution *shape)
{
    const size_t features = shape->in_features, row = padded(shape, 1) * features * LANES;
    const size_t left = shape->before[1] * features * LANES;
    const size_t numbers = MIN(row - left, shape->in[1] * features * LANES);
    for (size_t y = 0; y < padded(shape, 0); y++, into += row) {
        if (y < shape->before[0] || y - shape->before[0] >= shape->in[0]) {
            memset(into, 0, row * sizeof *into);
            continue;
        }
        const double *from = image + (y - shape->before[0]) * shape->in[1] * features * stride;
        memset(into, 0, left * sizeof *into);
        for (size_t n = left; n < left + numbers; n += LANES, from += stride) {
            STORE(into + n, samples < LANES ? LOAD_PART(from, samples) : LOAD(from));
        }
        memset(into + left + numbers, 0, (row - left - numbers) * sizeof *into);
    }
}

/* packed[positions,filters,LANES] = those of delta */
static void SUFFIX(pack_delta)(double *packed, const double *delta, size_t stride, size_t samples,
                               const convolution *shape, const convolution_block *block,
                               size_t filters)
{
    for (size_t y = block->y; y < block->y + block->rows; y++) {
        for (size_t x = block->x; x < block->x + block->columns; x++) {
            const double *from = delta + (y * shape->out[1] + x) * shape->out_features * stride;
            for (size_t f = 0; f < filters; f++, packed += LANES) {
                const double *p = from + f * stride;
                STORE(packed, samples < LANES ? LOAD_PART(p, samples) : LOAD(p));
            }
        }
    }
}

/* Some filters and some weights of each: sums over the block's positions. in[offsets[t]] is what
 * weight t multiplies at the block's first position. */
ALWAYS_INLINE void convolution_gradient_tile(double *sums, size_t row, const double *delta,
                                             const double *in, const size_t *offsets,
                                             const convolution *shape,
                                             const convolution_block *block, const int filters,
                                             const int weights)
{
    const size_t step = shape->strides[1] * shape->in_features * LANES;
    const size_t row_step = shape->strides[0] * padded(shape, 1) * shape->in_features * LANES;
    vector sum[TILE_ROWS][TILE_VECTORS];
    UNROLL for (int f = 0; f < filters; f++)
    {
        UNROLL for (int t = 0; t < weights; t++)
        {
            sum[f][t] = LOAD(sums + ((size_t)f * row + (size_t)t) * CHAINS);
        }
    }
    for (size_t y = 0; y < block->rows; y++, in += row_step) {
        const double *from[TILE_VECTORS];
        UNROLL for (int t = 0; t < weights; t++) { from[t] = in + offsets[t]; }
        for (size_t x = 0; x < block->columns; x++, delta += filters * LANES) {
            vector a[TILE_VECTORS];
            UNROLL for (int t = 0; t < weights; t++)
            {
                a[t] = LOAD(from[t]);
                from[t] += step;
            }
            UNROLL for (int f = 0; f < filters; f++)
            {
                vector d = LOAD(delta + f * LANES);
                HOLD(d);
                UNROLL for (int t = 0; t < weights; t++)
                {
                    sum[f][t] = FMA(d, a[t], sum[f][t]);
                    KEEP(sum[f][t]);
                }
            }
        }
    }
    UNROLL for (int f = 0; f < filters; f++)
    {
        UNROLL for (int t = 0; t < weights; t++)
        {
            STORE(sums + ((size_t)f * row + (size_t)t) * CHAINS, sum[f][t]);
        }
    }
}

/* All weights of some filters, and their biases. */
ALWAYS_INLINE void convolution_gradient_filters(double *sums, const double *delta, const double *in,
                                                const size_t *offsets, const convolution *shape,
                                                const convolution_block *block, const int filters)
{
    const size_t weights = weights_of(shape), row = weights + 1;
    size_t t = 0;
#define TILE(n)                                                                             \
    convolution_gradient_tile(sums + t * CHAINS, row, delta, in, offsets + t, shape, block, \
                              filters, n)
    for (; t + TILE_VECTORS <= weights; t += TILE_VECTORS) {
        TILE(TILE_VECTORS);
    }
    switch (weights - t) {
#if TILE_VECTORS > 3
    case 3: TILE(3); break;
#endif
    case 2: TILE(2); break;
    case 1: TILE(1); break;
    }
#undef TILE
    const size_t positions = block->rows * block->columns;
    UNROLL for (int f = 0; f < filters; f++)
    {
        double *bias = sums + ((size_t)f * row + weights) * CHAINS;
        vector sum = LOAD(bias);
        for (size_t p = 0; p < positions; p++) {
            sum = sum + LOAD(delta + (p * (size_t)filters + (size_t)f) * LANES);
        }
        STORE(bias, sum);
    }
}

/* For up to LANES samples. */
static void SUFFIX(add_block)(double *sums, const double *delta, const double *in,
                              const size_t *offsets, size_t stride, size_t samples,
                              const convolution *shape, const convolution_block *block,
                              size_t filters, double *packed)
{
    const size_t row = weights_of(shape) + 1;
    const size_t place =
        block->y * shape->strides[0] * padded(shape, 1) + block->x * shape->strides[1];
    const double *from = in + place * shape->in_features * LANES;
    for (size_t f = 0, some; f < filters; f += some) {
        some = MIN(filters - f, TILE_ROWS);
        some = some == 7 ? 4 : some == 5 ? 3 : some;
        SUFFIX(pack_delta)(packed, delta + f * stride, stride, samples, shape, block, some);
        double *to = sums + f * row * CHAINS;
        switch (some) {
#define FILTERS(n) \
    case n: convolution_gradient_filters(to, packed, from, offsets, shape, block, n); break
            FILTERS(1);
            FILTERS(2);
            FILTERS(3);
            FILTERS(4);
#if TILE_ROWS > 4
            FILTERS(6);
#endif
#if TILE_ROWS > 6
            FILTERS(8);
#endif
#undef FILTERS
        }
    }
}

static void SUFFIX(add_gradient)(double *sums, const double *delta, const double *in, size_t stride,
                                 size_t samples, const convolution *shape, size_t first,
                                 size_t filters, double *scratch)
{
    const size_t columns = padded(shape, 1), features = shape->in_features;
    const size_t numbers = padded(shape, 0) * columns * features;
    double *image = scratch, *packed = image + numbers * LANES;
    size_t *offsets = (size_t *)(void *)(packed + POSITIONS_TOGETHER * FILTERS_TOGETHER * LANES);
    for (size_t k = 0, t = 0; k < shape->taps[0]; k++) {
        for (size_t l = 0; l < shape->taps[1]; l++) {
            const size_t at = k * shape->dilation[0] * columns + l * shape->dilation[1];
            for (size_t c = 0; c < features; c++, t++) {
                offsets[t] = (at * features + c) * LANES;
            }
        }
    }
    const size_t wide = MIN(shape->out[1], POSITIONS_TOGETHER);
    const size_t high = POSITIONS_TOGETHER / wide;
    for (size_t i = 0; i < samples; i += LANES) {
        const size_t some = MIN(samples - i, LANES);
        SUFFIX(pad_image)(image, in + i, stride, some, shape);
        for (size_t y = 0; y < shape->out[0]; y += wide < shape->out[1] ? 1 : high) {
            for (size_t x = 0; x < shape->out[1]; x += wide) {
                const convolution_block block = {
                    y, x, wide < shape->out[1] ? 1 : MIN(high, shape->out[0] - y),
                    MIN(wide, shape->out[1] - x)};
                SUFFIX(add_block)(sums + i, delta + i + first * stride, image, offsets, stride,
                                  some, shape, &block, filters, packed);
            }
        }
    }
}

static const convolution_kernels SUFFIX(convolution) = {SUFFIX(convolve), SUFFIX(add_gradient)};
