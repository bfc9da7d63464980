/* The kernels of convolution.h, for one instruction set. Of a slice a vector holds the same number
 * of LANES samples, and a register tile some filters of a few neighbouring positions; of one sample
 * a vector holds LANES filters. Every sum is one chain, whatever the tile. */

/* ---------------------------------------------------------------- the places of a tile */

/* Some positions whose taps are the same ones: where they write, and what their first tap reads. */
enum { CONVOLUTION_PLACES = 8 };
typedef struct {
    const tap_run *rows, *columns;
    size_t row, column; /* of theirs, the next position */
    double *out[CONVOLUTION_PLACES];
    const double *in[CONVOLUTION_PLACES];
} convolution_places;

/* The next ones of two runs, through the columns of a row, and then the next. */
static void convolution_find(convolution_places *found, size_t count, double *out, const double *in,
                             size_t stride, const convolution *shape)
{
    const tap_run *rows = found->rows, *columns = found->columns;
    const size_t out_step = shape->out_features * stride, in_step = shape->in_features * stride;
    for (size_t p = 0; p < count; p++) {
        const size_t y = rows->place + found->row * rows->place_step;
        const size_t x = columns->place + found->column * columns->place_step;
        const size_t from_y = rows->at + found->row * rows->at_next;
        const size_t from_x = columns->at + found->column * columns->at_next;
        found->out[p] = out + (y * shape->out[1] + x) * out_step;
        found->in[p] = in + (from_y * shape->in[1] + from_x) * in_step;
        found->column++;
        if (found->column == columns->places) {
            found->column = 0;
            found->row++;
        }
    }
}

/* The way through the taps of such positions: runs of weights and of what they multiply, both of
 * which lie behind each other; and how far it is from one to the next, and to the next row of them.
 */
typedef struct {
    size_t rows, runs, length;
    ptrdiff_t weight, weight_step, weight_row; /* the first is at weight */
    size_t step, row;                          /* of `in` */
} convolution_way;

static convolution_way convolution_way_of(const convolution *shape, const tap_run *rows,
                                          const tap_run *columns, size_t stride)
{
    const size_t number = shape->in_features * stride;
    convolution_way way = {
        .rows = rows->count,
        .runs = columns->count,
        .length = number,
        .weight = (ptrdiff_t)rows->first * shape->tap_steps[0] +
                  (ptrdiff_t)columns->first * shape->tap_steps[1],
        .weight_step = (ptrdiff_t)columns->step * shape->tap_steps[1],
        .weight_row = (ptrdiff_t)rows->step * shape->tap_steps[0],
        .step = columns->at_step * number,
        .row = rows->at_step * shape->in[1] * number,
    };
    if (columns->step == 1 && columns->at_step <= 1) { /* taps that lie side by side everywhere */
        way.length *= columns->count;
        way.runs = way.rows;
        way.rows = 1;
        way.weight_step = way.weight_row;
        way.step = way.row;
    }
    return way;
}

/* Filters that a tile takes of so many that are left: all, or half of them, as evenly as tiles are
 * there for, which have 1, 2, 3, 4, 6 or 8. */
static size_t convolution_tile_filters(size_t left)
{
    const size_t most = MIN(TILE_ROWS, 8), some = left > most ? MIN((left + 1) / 2, most) : left;
    if (left >= 2 * most) {
        return most;
    }
    return some != 5 && some != 7 ? some : left > most ? some + 1 : (some + 1) / 2;
}

/* ---------------------------------------------------------------- a slice */

/* Some filters of some positions: each sum goes over the taps, and their features. */
ALWAYS_INLINE void convolution_tile(const convolution_places *places, const convolution_way *way,
                                    size_t first, size_t stride, const convolution *shape,
                                    const double *weights, const double *bias, const int filters,
                                    const int positions)
{
    const ptrdiff_t filter_step = shape->filter_step;
    vector sum[8][TILE_VECTORS] = {{{0}}};
    const double *in[TILE_VECTORS];
    UNROLL for (int p = 0; p < positions; p++) { in[p] = places->in[p]; }
    weights += way->weight;
    for (size_t k = 0; k < way->rows; k++) {
        const double *run = weights + (ptrdiff_t)k * way->weight_row;
        size_t at = k * way->row;
        for (size_t l = way->runs; l > 0; l--, at += way->step, run += way->weight_step) {
            const double *w = run;
            for (size_t c = at; c < at + way->length; c += stride, w++) {
                vector a[TILE_VECTORS];
                UNROLL for (int p = 0; p < positions; p++) { a[p] = LOAD(in[p] + c); }
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
            STORE(places->out[p] + (first + (size_t)f) * stride, whole);
        }
    }
}

/* All filters of one vector of samples. */
ALWAYS_INLINE void convolution_filters(const convolution_places *places, const convolution_way *way,
                                       size_t stride, const convolution *shape,
                                       const double *weights, const double *bias,
                                       const int positions)
{
    for (size_t f = 0, some; f < shape->out_features; f += some) {
        some = convolution_tile_filters(shape->out_features - f);
        const double *w = weights + (ptrdiff_t)f * shape->filter_step;
        const double *b = bias == NULL ? NULL : bias + f;
        switch (some) {
#define TILE(n) \
    case n: convolution_tile(places, way, f, stride, shape, w, b, n, positions); break
            TILE(1);
            TILE(2);
            TILE(3);
            TILE(4);
#if TILE_ROWS > 4
            TILE(6);
#endif
#if TILE_ROWS > 6
            TILE(8);
#endif
#undef TILE
        }
    }
}

static void SUFFIX(convolve_slice)(double *out, const double *in, size_t stride,
                                   const convolution *shape, const tap_run *rows,
                                   const tap_run *columns, const double *weights,
                                   const double *bias)
{
    const convolution_way way = convolution_way_of(shape, rows, columns, stride);
    const size_t all = rows->places * columns->places;
    for (size_t v = 0; v < stride; v += LANES) {
        convolution_places places = {.rows = rows, .columns = columns};
        for (size_t i = 0, some; i < all; i += some) {
            some = MIN(all - i, TILE_VECTORS);
            convolution_find(&places, some, out + v, in + v, stride, shape);
            switch (some) {
#define FILTERS(n) \
    case n: convolution_filters(&places, &way, stride, shape, weights, bias, n); break
                FILTERS(1);
                FILTERS(2);
#if TILE_VECTORS > 2
                FILTERS(3);
#endif
#if TILE_VECTORS > 3
                FILTERS(4);
#endif
#undef FILTERS
            }
        }
    }
}

/* ---------------------------------------------------------------- one sample */

/* Vectors of filters of some positions. */
ALWAYS_INLINE void convolution_one_tile(const convolution_places *places,
                                        const convolution_way *way, size_t first, size_t filters,
                                        const convolution *shape, const double *weights,
                                        const double *bias, const int positions, const int vectors)
{
    const size_t part = filters - (size_t)(vectors - 1) * LANES; /* of the last vector */
    vector sum[CONVOLUTION_PLACES][TILE_VECTORS] = {{{0}}};
    weights += way->weight;
    for (size_t k = 0; k < way->rows; k++) {
        const double *run = weights + (ptrdiff_t)k * way->weight_row;
        size_t at = k * way->row;
        for (size_t l = way->runs; l > 0; l--, at += way->step, run += way->weight_step) {
            const double *w = run;
            for (size_t c = at; c < at + way->length; c++, w += shape->feature_step) {
                vector m[TILE_VECTORS];
                UNROLL for (int v = 0; v < vectors - 1; v++) { m[v] = LOAD(w + v * LANES); }
                m[vectors - 1] = part == LANES ? LOAD(w + (vectors - 1) * LANES)
                                               : LOAD_PART(w + (vectors - 1) * LANES, part);
                UNROLL for (int p = 0; p < positions; p++)
                {
                    const vector a = BROADCAST(places->in[p][c]);
                    UNROLL for (int v = 0; v < vectors; v++)
                    {
                        sum[p][v] = FMA(m[v], a, sum[p][v]);
                        KEEP(sum[p][v]);
                    }
                }
            }
        }
    }
    UNROLL for (int p = 0; p < positions; p++)
    {
        UNROLL for (int v = 0; v < vectors; v++)
        {
            const size_t width = v + 1 < vectors ? LANES : part;
            vector whole = sum[p][v];
            if (bias != NULL) {
                whole = whole + LOAD_PART(bias + v * LANES, width);
            }
            STORE_PART(places->out[p] + first + v * LANES, whole, width);
        }
    }
}

/* Some filters, as many as fill so many vectors, at all positions of two runs. */
ALWAYS_INLINE void convolution_one_filters(double *out, const double *in, size_t first,
                                           size_t filters, const convolution *shape,
                                           const tap_run *rows, const tap_run *columns,
                                           const double *weights, const double *bias,
                                           const int vectors)
{
    const size_t all = rows->places * columns->places;
    const convolution_way way = convolution_way_of(shape, rows, columns, 1);
    const size_t most = MIN(CONVOLUTION_PLACES, TILE_ROWS * TILE_VECTORS / (size_t)vectors);
    convolution_places places = {.rows = rows, .columns = columns};
    for (size_t i = 0, some; i < all; i += some) {
        const size_t left = all - i;
        some = left >= most ? most : left >= 4 ? 4 : MIN(left, 2);
        convolution_find(&places, some, out, in, 1, shape);
#define TILE(n) \
    convolution_one_tile(&places, &way, first, filters, shape, weights, bias, n, vectors)
        switch (some) {
        case 1: TILE(1); break;
        case 2: TILE(2); break;
        case 4: TILE(4); break;
        default: TILE((int)most);
        }
#undef TILE
    }
}

static void SUFFIX(convolve_one)(double *out, const double *in, const convolution *shape,
                                 const tap_run *rows, const tap_run *columns, const double *weights,
                                 const double *bias)
{
    for (size_t f = 0; f < shape->out_features; f += TILE_VECTORS * LANES) {
        const size_t filters = MIN(shape->out_features - f, TILE_VECTORS * LANES);
        const double *b = bias == NULL ? NULL : bias + f;
        switch ((filters + LANES - 1) / LANES) {
#define FILTERS(n)                                                                             \
    case n:                                                                                    \
        convolution_one_filters(out, in, f, filters, shape, rows, columns, weights + f, b, n); \
        break
            FILTERS(1);
            FILTERS(2);
#if TILE_VECTORS > 2
            FILTERS(3);
#endif
#if TILE_VECTORS > 3
            FILTERS(4);
#endif
#undef FILTERS
        }
    }
}

static void SUFFIX(convolve)(double *out, const double *in, size_t stride, const convolution *shape,
                             const tap_runs *runs, const double *weights, const double *bias)
{
    for (size_t r = 0; r < runs->row_count * runs->column_count; r++) {
        const tap_run *rows = &runs->rows[r / runs->column_count];
        const tap_run *columns = &runs->columns[r % runs->column_count];
        if (stride == 1) {
            SUFFIX(convolve_one)(out, in, shape, rows, columns, weights, bias);
        } else {
            SUFFIX(convolve_slice)(out, in, stride, shape, rows, columns, weights, bias);
        }
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

/* packed[positions,filters,LANES] = those of delta; what is packed next lies `ahead`, and far apart
 * in memory. */
static void SUFFIX(pack_delta)(double *packed, const double *delta, size_t stride, size_t samples,
                               const convolution *shape, const convolution_block *block,
                               size_t filters, size_t ahead)
{
    for (size_t y = block->y; y < block->y + block->rows; y++) {
        for (size_t x = block->x; x < block->x + block->columns; x++) {
            const double *from = delta + (y * shape->out[1] + x) * shape->out_features * stride;
            for (size_t f = 0; f < filters; f++, packed += LANES) {
                const double *p = from + f * stride;
                __builtin_prefetch(p + ahead, 0, 2);
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
        some = convolution_tile_filters(filters - f);
        const size_t ahead = f + 2 * some <= filters ? some * stride : 0;
        SUFFIX(pack_delta)(packed, delta + f * stride, stride, samples, shape, block, some, ahead);
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

/* ---------------------------------------------------------------- the same of one sample */

/* padded[rows,columns,features] = an image, with zeros around it */
static void SUFFIX(pad_one)(double *into, const double *image, const convolution *shape)
{
    const size_t features = shape->in_features, row = padded(shape, 1) * features;
    const size_t left = shape->before[1] * features;
    const size_t numbers = MIN(row - left, shape->in[1] * features);
    const size_t last = MIN(padded(shape, 0), shape->before[0] + shape->in[0]);
    memset(into, 0, padded(shape, 0) * row * sizeof *into);
    for (size_t y = shape->before[0]; y < last; y++, image += shape->in[1] * features) {
        memcpy(into + y * row + left, image, numbers * sizeof *into);
    }
}

/* Some weights of some vectors of filters: sums over all positions, in the first chain. */
ALWAYS_INLINE void convolution_gradient_one_tile(double *sums, size_t row, const double *delta,
                                                 const double *in, const size_t *offsets,
                                                 const convolution *shape, size_t filters,
                                                 const int weights, const int vectors)
{
    const size_t part = filters - (size_t)(vectors - 1) * LANES; /* of the last vector */
    const size_t step = shape->strides[1] * shape->in_features;
    const size_t row_step = shape->strides[0] * padded(shape, 1) * shape->in_features;
    double numbers[8][TILE_VECTORS * LANES] = {{0}};
    vector sum[8][TILE_VECTORS];
    UNROLL for (int t = 0; t < weights; t++)
    {
        for (size_t f = 0; f < filters; f++) {
            numbers[t][f] = sums[(f * row + (size_t)t) * CHAINS];
        }
        UNROLL for (int v = 0; v < vectors; v++) { sum[t][v] = LOAD(numbers[t] + v * LANES); }
    }
    for (size_t y = 0; y < shape->out[0]; y++, in += row_step) {
        const double *from = in;
        for (size_t x = 0; x < shape->out[1]; x++, from += step, delta += shape->out_features) {
            vector d[TILE_VECTORS];
            UNROLL for (int v = 0; v < vectors - 1; v++) { d[v] = LOAD(delta + v * LANES); }
            d[vectors - 1] = part == LANES ? LOAD(delta + (vectors - 1) * LANES)
                                           : LOAD_PART(delta + (vectors - 1) * LANES, part);
            UNROLL for (int t = 0; t < weights; t++)
            {
                const vector a = BROADCAST(from[offsets[t]]);
                UNROLL for (int v = 0; v < vectors; v++)
                {
                    sum[t][v] = FMA(d[v], a, sum[t][v]);
                    KEEP(sum[t][v]);
                }
            }
        }
    }
    UNROLL for (int t = 0; t < weights; t++)
    {
        UNROLL for (int v = 0; v < vectors; v++) { STORE(numbers[t] + v * LANES, sum[t][v]); }
        for (size_t f = 0; f < filters; f++) {
            sums[(f * row + (size_t)t) * CHAINS] = numbers[t][f];
        }
    }
}

/* All weights of so many vectors of filters, and their biases. */
ALWAYS_INLINE void convolution_gradient_one_filters(double *sums, const double *delta,
                                                    const double *in, const size_t *offsets,
                                                    const convolution *shape, size_t filters,
                                                    const int vectors)
{
    enum { TOGETHER = MIN(TILE_ROWS, 8) };
    const size_t weights = weights_of(shape), row = weights + 1;
    size_t t = 0;
#define TILE(n)                                                                                   \
    convolution_gradient_one_tile(sums + t * CHAINS, row, delta, in, offsets + t, shape, filters, \
                                  n, vectors)
    for (; t + TOGETHER <= weights; t += TOGETHER) {
        TILE(TOGETHER);
    }
    for (; t < weights; t++) {
        TILE(1);
    }
#undef TILE
    const size_t places = shape->out[0] * shape->out[1];
    for (size_t p = 0; p < places; p++) {
        for (size_t f = 0; f < filters; f++) {
            sums[(f * row + weights) * CHAINS] += delta[p * shape->out_features + f];
        }
    }
}

static void SUFFIX(add_gradient_of_one)(double *sums, const double *delta, const double *in,
                                        const convolution *shape, size_t filters, double *image,
                                        const size_t *offsets)
{
    const size_t row = (weights_of(shape) + 1) * CHAINS;
    SUFFIX(pad_one)(image, in, shape);
    for (size_t f = 0; f < filters; f += TILE_VECTORS * LANES) {
        const size_t some = MIN(filters - f, TILE_VECTORS * LANES);
        switch ((some + LANES - 1) / LANES) {
#define FILTERS(n)                                                                               \
    case n:                                                                                      \
        convolution_gradient_one_filters(sums + f * row, delta + f, image, offsets, shape, some, \
                                         n);                                                     \
        break
            FILTERS(1);
            FILTERS(2);
#if TILE_VECTORS > 2
            FILTERS(3);
#endif
#if TILE_VECTORS > 3
            FILTERS(4);
#endif
#undef FILTERS
        }
    }
}

/* ---------------------------------------------------------------- of any number */

static void SUFFIX(add_gradient)(double *sums, const double *delta, const double *in, size_t stride,
                                 size_t samples, const convolution *shape, size_t first,
                                 size_t filters, double *scratch)
{
    const size_t columns = padded(shape, 1), features = shape->in_features;
    const size_t numbers = padded(shape, 0) * columns * features;
    const size_t lanes = stride == 1 ? 1 : LANES;
    double *image = scratch, *packed = image + numbers * LANES;
    size_t *offsets = (size_t *)(void *)(packed + POSITIONS_TOGETHER * FILTERS_TOGETHER * LANES);
    for (size_t k = 0, t = 0; k < shape->taps[0]; k++) {
        for (size_t l = 0; l < shape->taps[1]; l++) {
            const size_t at = k * shape->dilation[0] * columns + l * shape->dilation[1];
            for (size_t c = 0; c < features; c++, t++) {
                offsets[t] = (at * features + c) * lanes;
            }
        }
    }
    if (stride == 1) {
        SUFFIX(add_gradient_of_one)(sums, delta + first, in, shape, filters, image, offsets);
        return;
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
