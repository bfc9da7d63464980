/* The matrix kernels of the dense layer, for one instruction set.
 *
 * A register tile holds TILE_ROWS x (TILE_VECTORS * LANES) sums. Every sum is one chain of fused
 * multiply-adds in index order, whatever the tile: so neither the instruction set, nor the shape
 * of the tile, nor the blocking, nor the number of samples changes a bit.
 */

ALWAYS_INLINE void store_line(double *p, vector v, bool away)
{
    if (away) {
        STREAM(p, v);
    } else {
        STORE(p, v);
    }
}

/* Block by block in registers; what is left over at the edges, number by number. */
ALWAYS_INLINE void transpose_any(double *dst, size_t dst_stride, const double *src,
                                 size_t src_stride, size_t rows, size_t columns, const bool away)
{
    const size_t whole_rows = rows / LANES * LANES, whole_columns = columns / LANES * LANES;
    for (size_t r = 0; r < whole_rows; r += LANES) {
        for (size_t c = 0; c < whole_columns; c += LANES) {
            vector m[LANES];
            load_transposed(m, src + r * src_stride + c, src_stride);
            UNROLL for (int i = 0; i < LANES; i++)
            {
                store_line(dst + (c + (size_t)i) * dst_stride + r, m[i], away);
            }
        }
    }
    for (size_t c = whole_columns; c < columns; c++) {
        for (size_t r = 0; r < whole_rows; r++) {
            dst[c * dst_stride + r] = src[r * src_stride + c];
        }
    }
    for (size_t r = whole_rows; r < rows; r++) {
        for (size_t c = 0; c < columns; c++) {
            dst[c * dst_stride + r] = src[r * src_stride + c];
        }
    }
}

static void SUFFIX(transpose)(double *dst, size_t dst_stride, const double *src, size_t src_stride,
                              size_t rows, size_t columns)
{
    transpose_any(dst, dst_stride, src, src_stride, rows, columns, false);
}

static void SUFFIX(pack)(double *panels, size_t distance, const double *row, const double *next,
                         size_t count)
{
    size_t k = 0;
    next = next == NULL ? row : next;
    for (; k + PANEL <= count; k += PANEL, panels += distance) {
        UNROLL for (int v = 0; v < PANEL; v += 8) { __builtin_prefetch(next + k + v); }
        UNROLL for (int v = 0; v < TILE_VECTORS; v++)
        {
            STORE(panels + v * LANES, LOAD(row + k + v * LANES));
        }
    }
    for (; k + LANES <= count; k += LANES, panels += LANES) {
        STORE(panels, LOAD(row + k));
    }
    for (; k < count; k++) {
        *panels++ = row[k];
    }
}

#if LANES == 8 /* others have no stores of a whole line */
static void SUFFIX(transpose_away)(double *dst, size_t dst_stride, const double *src,
                                   size_t src_stride, size_t rows, size_t columns)
{
    if (begins_line(dst) && dst_stride % LINE == 0) {
        transpose_any(dst, dst_stride, src, src_stride, rows, columns, true);
        STREAMED;
    } else {
        transpose_any(dst, dst_stride, src, src_stride, rows, columns, false);
    }
}
#endif

static void SUFFIX(gather)(double *panels, size_t distance, double *columns, size_t stride,
                           gather_way way, const double *const *x, const double *const *next,
                           size_t count)
{
    const bool lines = LANES == LINE; /* others have no stores of a whole line */
    const bool rows_away =
        lines && way != GATHER_NEAR && begins_line(panels) && distance % LINE == 0;
    const bool columns_away =
        lines && way == GATHER_AWAY && begins_line(columns) && stride % LINE == 0;
    const size_t ahead = MIN(count, 8 * LINE);
    size_t k = 0;
    for (; k + LANES <= count; k += LANES) {
        const size_t then = k + ahead;
        const double *const *fetched = then < count ? x : next;
        double *panel = panels + k / PANEL * distance + k % PANEL;
        vector m[LANES];
        UNROLL for (int i = 0; i < LANES; i++)
        {
            if (k % LINE == 0) {
                __builtin_prefetch(fetched[i] + (then < count ? then : then - count));
            }
            store_line(panel + i * PANEL, LOAD(x[i] + k), rows_away);
        }
        load_rows_transposed(m, x, k);
        UNROLL for (int i = 0; i < LANES; i++)
        {
            store_line(columns + (k + (size_t)i) * stride, m[i], columns_away);
        }
    }
    for (; k < count; k++) {
        for (size_t i = 0; i < LANES; i++) {
            panels[k / PANEL * distance + k % PANEL + i * PANEL] = x[i][k];
            columns[k * stride + i] = x[i][k];
        }
    }
    if (rows_away || columns_away) {
        STREAMED;
    }
}

/* One register tile of out = M @ in (+ out, + bias). */
ALWAYS_INLINE void product_tile(double *out, const double *matrix, size_t row_stride,
                                size_t column_stride, const double *in, const double *bias,
                                size_t depth, size_t stride, bool accumulate, const int rows,
                                const int vectors)
{
    vector sum[TILE_ROWS][TILE_VECTORS];
    UNROLL for (int r = 0; r < rows; r++)
    {
        UNROLL for (int v = 0; v < vectors; v++)
        {
            sum[r][v] =
                accumulate ? LOAD(out + (size_t)r * stride + (size_t)v * LANES) : (vector){0};
        }
    }
    for (size_t k = 0; k < depth; k++) {
        vector a[TILE_VECTORS];
        UNROLL for (int v = 0; v < vectors; v++)
        {
            a[v] = LOAD(in + k * stride + (size_t)v * LANES);
        }
        UNROLL for (int r = 0; r < rows; r++)
        {
            const vector m = BROADCAST(matrix[(size_t)r * row_stride + k * column_stride]);
            UNROLL for (int v = 0; v < vectors; v++)
            {
                sum[r][v] = FMA(m, a[v], sum[r][v]);
                KEEP(sum[r][v]);
            }
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
    {
        UNROLL for (int v = 0; v < vectors; v++)
        {
            const vector whole = bias == NULL ? sum[r][v] : sum[r][v] + bias[r];
            STORE(out + (size_t)r * stride + (size_t)v * LANES, whole);
        }
    }
}

/* Some rows of out, over all samples: tiles of nearly the same width, at most TILE_VECTORS. */
ALWAYS_INLINE void product_rows(double *out, const double *matrix, size_t row_stride,
                                size_t column_stride, const double *in, const double *bias,
                                size_t depth, size_t stride, bool accumulate, const int rows)
{
    const size_t vectors = stride / LANES, tiles = (vectors + TILE_VECTORS - 1) / TILE_VECTORS;
    for (size_t t = 0, at = 0; t < tiles; t++) {
        const size_t width = vectors / tiles + (t < vectors % tiles);
#define TILE(n)                                                                             \
    product_tile(out + at, matrix, row_stride, column_stride, in + at, bias, depth, stride, \
                 accumulate, rows, n)
        switch (width) {
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
        at += width * LANES;
    }
}

#define ROWS(n) \
    product_rows(out, matrix, row_stride, column_stride, in, bias, depth, stride, accumulate, n)

static void product_full(double *out, const double *matrix, size_t row_stride, size_t column_stride,
                         const double *in, const double *bias, size_t depth, size_t stride,
                         bool accumulate)
{
    ROWS(TILE_ROWS);
}

static void product_part(double *out, const double *matrix, size_t row_stride, size_t column_stride,
                         const double *in, const double *bias, size_t rows, size_t depth,
                         size_t stride, bool accumulate)
{
    while (rows > 0) {
        const size_t done = rows >= 4 ? 4 : rows >= 2 ? 2 : 1;
        switch (done) {
        case 4: ROWS(4); break;
        case 2: ROWS(2); break;
        default: ROWS(1); break;
        }
        out += done * stride;
        matrix += done * row_stride;
        bias = bias == NULL ? NULL : bias + done;
        rows -= done;
    }
}

#undef ROWS

/* Whether to copy the matrix pays: each copied number must be used for enough samples. Sooner where
 * the matrix goes by columns, of which a tile takes a few numbers from each of many pages. */
static bool copy_pays(size_t column_stride, size_t depth, size_t samples)
{
    const bool scattered = column_stride != 1 && depth >= COPY_DEPTH;
    return samples >= (scattered ? COPY_SCATTERED : COPY_SAMPLES);
}

/* copy[t][depth,TILE_ROWS] = the t-th tile of block[rows,depth], transposed */
static void copy_block(double *copy, const double *block, size_t row_stride, size_t column_stride,
                       size_t rows, size_t depth)
{
    size_t k = 0;
    if (row_stride == 1) { /* a column lies together: pages are gone through once for all tiles */
        for (; k < depth; k++) {
            for (size_t r = 0; r < rows; r += TILE_ROWS) {
                UNROLL for (int i = 0; i < TILE_ROWS; i += LANES)
                {
                    STORE(copy + r * depth + k * TILE_ROWS + i,
                          LOAD(block + k * column_stride + r + i));
                }
            }
        }
        return;
    }
    for (; k + LANES <= depth; k += LANES) { /* a row does: column_stride is 1 */
        for (size_t r = 0; r < rows; r += TILE_ROWS) {
            UNROLL for (int i = 0; i < TILE_ROWS; i += LANES)
            {
                vector m[LANES];
                load_transposed(m, block + (r + (size_t)i) * row_stride + k, row_stride);
                UNROLL for (int j = 0; j < LANES; j++)
                {
                    STORE(copy + r * depth + (k + (size_t)j) * TILE_ROWS + i, m[j]);
                }
            }
        }
    }
    for (; k < depth; k++) {
        for (size_t r = 0; r < rows; r++) {
            copy[r / TILE_ROWS * TILE_ROWS * depth + k * TILE_ROWS + r % TILE_ROWS] =
                block[r * row_stride + k];
        }
    }
}

/* Has the columns first ... last - 1 of a block brought into cache: those that begin on other pages
 * no processor foresees. */
static void fetch_columns(const double *block, size_t column_stride, size_t rows, size_t first,
                          size_t last)
{
    for (size_t k = first; k < last; k++) {
        const double *column = block + k * column_stride;
        for (size_t r = 0; r < rows; r += 8) { /* a cache line */
            FETCH(column + r);
        }
        FETCH(column + rows - 1);
    }
}

/* Full tiles of many samples: a block of the matrix is copied first, which stays in the
 * second-level cache while a block of each panel, in the first, goes by; and the next one is
 * fetched meanwhile. */
static void product_copied(const product_panel *panels, size_t count, const double *matrix,
                           size_t row_stride, size_t column_stride, const double *bias, size_t rows,
                           size_t depth, double *copy, bool accumulate)
{
    for (size_t k = 0; k < depth; k += BLOCK_DEPTH) {
        const size_t deep = MIN(depth - k, BLOCK_DEPTH);
        const bool last = k + deep == depth;
        for (size_t r = 0; r < rows; r += BLOCK_ROWS) {
            const size_t high = MIN(rows - r, BLOCK_ROWS);
            const double *block = matrix + r * row_stride + k * column_stride;
            copy_block(copy, block, row_stride, column_stride, high, deep);
            const size_t ahead = MIN(rows - r - high, BLOCK_ROWS);
            const size_t fetched = row_stride == 1 && ahead > 0 ? deep : 0;
            const size_t tiles = count * (high / TILE_ROWS);
            for (size_t p = 0, tile = 0; p < count; p++) {
                const size_t stride = panels[p].stride;
                for (size_t t = 0; t < high; t += TILE_ROWS, tile++) {
                    fetch_columns(block + high, column_stride, ahead, fetched * tile / tiles,
                                  fetched * (tile + 1) / tiles);
                    product_full(panels[p].out + (r + t) * stride, copy + t * deep, 1, TILE_ROWS,
                                 panels[p].in + k * stride,
                                 last && bias != NULL ? bias + r + t : NULL, deep, stride,
                                 accumulate || k > 0);
                }
            }
        }
    }
}

/* Vectors of rows whose chains run side by side. */
enum { ONE_GROUPS = 16 / LANES };

/* One sample, a row of the matrix along a vector: some times LANES rows, transposed in registers,
 * so that each row's sum stays one chain. */
ALWAYS_INLINE void one_forward_rows(double *out, const double *matrix, size_t row_stride,
                                    const double *in, const double *bias, size_t depth,
                                    bool accumulate, const int groups)
{
    vector sum[ONE_GROUPS];
    UNROLL for (int g = 0; g < groups; g++)
    {
        sum[g] = accumulate ? LOAD(out + g * LANES) : (vector){0};
    }
    size_t k = 0;
    for (; k + LANES <= depth; k += LANES) {
        UNROLL for (int g = 0; g < groups; g++)
        {
            vector m[LANES];
            load_transposed(m, matrix + (size_t)(g * LANES) * row_stride + k, row_stride);
            UNROLL for (int i = 0; i < LANES; i++)
            {
                sum[g] = FMA(m[i], BROADCAST(in[k + (size_t)i]), sum[g]);
            }
        }
    }
    for (; k < depth; k++) {
        UNROLL for (int g = 0; g < groups; g++)
        {
            double column[LANES];
            UNROLL for (int i = 0; i < LANES; i++)
            {
                column[i] = matrix[(size_t)(g * LANES + i) * row_stride + k];
            }
            sum[g] = FMA(LOAD(column), BROADCAST(in[k]), sum[g]);
        }
    }
    UNROLL for (int g = 0; g < groups; g++)
    {
        STORE(out + g * LANES, bias == NULL ? sum[g] : sum[g] + LOAD(bias + g * LANES));
    }
}

static void product_one_forward(double *out, const double *matrix, size_t row_stride,
                                const double *in, const double *bias, size_t rows, size_t depth,
                                bool accumulate)
{
    size_t r = 0;
#define ROWS(groups)                                                   \
    one_forward_rows(out + r, matrix + r * row_stride, row_stride, in, \
                     bias == NULL ? NULL : bias + r, depth, accumulate, groups)
    for (; r + ONE_GROUPS * LANES <= rows; r += ONE_GROUPS * LANES) {
        ROWS(ONE_GROUPS);
    }
    for (; r + LANES <= rows; r += LANES) {
        ROWS(1);
    }
#undef ROWS
    for (; r < rows; r++) {
        double sum = accumulate ? out[r] : 0;
        for (size_t k = 0; k < depth; k++) {
            sum = __builtin_fma(matrix[r * row_stride + k], in[k], sum);
        }
        out[r] = bias == NULL ? sum : sum + bias[r];
    }
}

/* One sample, a column of the matrix along a vector. */
static void product_one_backward(double *out, const double *matrix, size_t column_stride,
                                 const double *in, size_t rows, size_t depth, bool accumulate)
{
    enum { WIDE = 4 };
    size_t r = 0;
    for (; r + WIDE * LANES <= rows; r += WIDE * LANES) {
        vector sum[WIDE];
        UNROLL for (int v = 0; v < WIDE; v++)
        {
            sum[v] = accumulate ? LOAD(out + r + (size_t)v * LANES) : (vector){0};
        }
        for (size_t k = 0; k < depth; k++) {
            const double *column = matrix + r + k * column_stride;
            UNROLL for (int v = 0; v < WIDE; v++)
            {
                sum[v] = FMA(LOAD(column + v * LANES), BROADCAST(in[k]), sum[v]);
            }
        }
        UNROLL for (int v = 0; v < WIDE; v++) { STORE(out + r + (size_t)v * LANES, sum[v]); }
    }
    for (; r < rows; r += LANES) {
        const size_t valid = MIN(rows - r, LANES);
        vector sum = accumulate ? LOAD_PART(out + r, valid) : (vector){0};
        for (size_t k = 0; k < depth; k++) {
            const double *column = matrix + r + k * column_stride;
            const vector m = valid == LANES ? LOAD(column) : LOAD_PART(column, valid);
            sum = FMA(m, BROADCAST(in[k]), sum);
        }
        STORE(out + r, sum);
    }
}

/* Full tiles, the matrix where it lies: its rows stay in the first-level cache while some panels,
 * which stay in the second, go by. */
static void product_in_place(const product_panel *panels, size_t count, const double *matrix,
                             size_t row_stride, size_t column_stride, const double *bias,
                             size_t rows, size_t depth, bool accumulate)
{
    while (count > 0) {
        size_t some = 1, samples = panels->stride;
        while (some < count && (samples + panels[some].stride) * depth <= PANELS_IN_CACHE) {
            samples += panels[some++].stride;
        }
        for (size_t r = 0; r < rows; r += TILE_ROWS) {
            for (const product_panel *p = panels; p < panels + some; p++) {
                product_full(p->out + r * p->stride, matrix + r * row_stride, row_stride,
                             column_stride, p->in, bias == NULL ? NULL : bias + r, depth, p->stride,
                             accumulate);
            }
        }
        panels += some;
        count -= some;
    }
}

static void product_of(const product_panel *panels, size_t count, const double *matrix,
                       size_t row_stride, size_t column_stride, const double *bias, size_t rows,
                       size_t depth, double *scratch, bool accumulate)
{
    if (panels->stride == 1 && column_stride == 1) {
        product_one_forward(panels->out, matrix, row_stride, panels->in, bias, rows, depth,
                            accumulate);
        return;
    }
    if (panels->stride == 1) {
        product_one_backward(panels->out, matrix, column_stride, panels->in, rows, depth,
                             accumulate);
        return;
    }
    size_t samples = 0;
    for (size_t p = 0; p < count; p++) {
        samples += panels[p].stride;
    }
    const size_t full = rows / TILE_ROWS * TILE_ROWS;
    if (copy_pays(column_stride, depth, samples)) {
        product_copied(panels, count, matrix, row_stride, column_stride, bias, full, depth, scratch,
                       accumulate);
    } else {
        product_in_place(panels, count, matrix, row_stride, column_stride, bias, full, depth,
                         accumulate);
    }
    for (const product_panel *p = panels; p < panels + count; p++) {
        product_part(p->out + full * p->stride, matrix + full * row_stride, row_stride,
                     column_stride, p->in, bias == NULL ? NULL : bias + full, rows - full, depth,
                     p->stride, accumulate);
    }
}

static void SUFFIX(product)(const product_panel *panels, size_t count, const double *matrix,
                            size_t row_stride, size_t column_stride, const double *bias,
                            size_t rows, size_t depth, double *scratch)
{
    product_of(panels, count, matrix, row_stride, column_stride, bias, rows, depth, scratch, false);
}

static void SUFFIX(product_onto)(const product_panel *panels, size_t count, const double *matrix,
                                 size_t row_stride, size_t column_stride, const double *bias,
                                 size_t rows, size_t depth, double *scratch)
{
    product_of(panels, count, matrix, row_stride, column_stride, bias, rows, depth, scratch, true);
}

/* What becomes of a sum of the gradient; `out` is what was there. */
ALWAYS_INLINE vector use_gradient(vector sum, vector out, gradient_use use, vector minus_step)
{
    return descends(use) ? FMA(minus_step, sum, out) : sum;
}

/* A tile's sums over all samples: sum += delta @ inputs, where `inputs` is one panel, and with
 * `apart` those of the biases, to which each delta is added: not every processor does that where it
 * multiplies. Returns where in the panel those of the next position begin. */
ALWAYS_INLINE const double *add_terms(vector sum[TILE_ROWS][TILE_VECTORS],
                                      double bias_sum[TILE_ROWS], const gradient_terms *terms,
                                      size_t count, const double *inputs, size_t row,
                                      const int rows, const int vectors, const bool apart)
{
    for (size_t t = 0; t < count; t++) {
        const size_t stride = terms[t].stride;
        const double *delta = terms[t].delta + row * stride;
        for (const double *end = delta + terms[t].batch; delta < end; delta++, inputs += PANEL) {
            vector a[TILE_VECTORS];
            UNROLL for (int v = 0; v < vectors; v++) { a[v] = LOAD(inputs + v * LANES); }
            UNROLL for (int r = 0; r < rows; r++)
            {
                vector d = BROADCAST(delta[(size_t)r * stride]);
                if (apart) {
                    HOLD(d); /* of which a lane is the delta: it is not loaded twice */
                }
                UNROLL for (int v = 0; v < vectors; v++)
                {
                    sum[r][v] = FMA(d, a[v], sum[r][v]);
                    KEEP(sum[r][v]);
                }
                if (apart) {
                    bias_sum[r] += d[0];
                }
            }
        }
    }
    return inputs;
}

/* What a gradient is made of, and what becomes of it. */
typedef struct {
    double *weight, *bias; /* or NULL */
    gradient_use use;
    double step;
    const gradient_terms *terms;
    size_t count, first, fan_in;
    bool away; /* what it becomes goes past the caches, but for the last panel, if not full */
} gradient_job;

/* Has `count` numbers brought into cache, to be written. */
ALWAYS_INLINE void fetch_row(const double *row, const int count)
{
    UNROLL for (int c = 0; c < count; c += 8) { __builtin_prefetch(row + c, 1); }
    __builtin_prefetch(row + count - 1, 1);
}

/* One register tile of the weights' gradient. At the edge the last vector holds `part` weights, and
 * the bias behind them, where there is one. With `apart` it is summed beside whole vectors, where
 * it would be alone in another one. */
ALWAYS_INLINE void gradient_tile(const gradient_job *job, const double *inputs, size_t row,
                                 size_t column, const int rows, const int vectors, const bool edge,
                                 size_t part, const bool apart)
{
    vector sum[TILE_ROWS][TILE_VECTORS];
    double bias_sum[TILE_ROWS];
    double lanes[LANES];
    const gradient_use use = job->use;
    size_t fan_in = job->fan_in;
    double *weight = job->weight + row * fan_in + column;
    double *bias = job->bias == NULL ? NULL : job->bias + row;
    UNROLL for (int r = 0; r < rows; r++)
    {
        /* They are wanted behind the loop: time enough to come from far away. */
        fetch_row(weight + (size_t)r * fan_in, edge ? 1 : vectors * LANES);
        bias_sum[r] = apart && use == GRADIENT_ADD ? bias[r] : 0;
        UNROLL for (int v = 0; v < vectors; v++)
        {
            const double *out = weight + (size_t)r * fan_in + (size_t)v * LANES;
            if (use != GRADIENT_ADD) {
                sum[r][v] = (vector){0};
            } else if (edge && v == vectors - 1) {
                STORE(lanes, LOAD_PART(out, part));
                if (bias != NULL) {
                    lanes[part] = bias[r];
                }
                sum[r][v] = LOAD(lanes);
            } else {
                sum[r][v] = LOAD(out);
            }
        }
    }
    const double *in = inputs;
    size_t position = 0;
    do {
        in = add_terms(sum, bias_sum, job->terms, job->count, in,
                       job->first + row + position * job->terms->height, rows, vectors, apart);
    } while (++position < job->terms->positions);
    /* The addresses are worked out again: kept over the loop, they take the sums' registers. */
    __asm__("" : "+r"(weight), "+r"(fan_in));
    const double step = job->step;
    UNROLL for (int r = 0; r < rows; r++)
    {
        if (apart) {
            bias[r] = descends(use) ? __builtin_fma(-step, bias_sum[r], bias[r]) : bias_sum[r];
        }
        UNROLL for (int v = 0; v < vectors; v++)
        {
            double *out = weight + (size_t)r * fan_in + (size_t)v * LANES;
            if (edge && v == vectors - 1) {
                const vector before = LOAD_PART(out, part);
                STORE_PART(out, use_gradient(sum[r][v], before, use, BROADCAST(-step)), part);
                STORE(lanes, sum[r][v]);
                if (bias != NULL) {
                    bias[r] =
                        descends(use) ? __builtin_fma(-step, lanes[part], bias[r]) : lanes[part];
                }
            } else if (job->away && !edge && !apart) {
                STREAM(out, use_gradient(sum[r][v], LOAD(out), use, BROADCAST(-step)));
            } else {
                STORE(out, use_gradient(sum[r][v], LOAD(out), use, BROADCAST(-step)));
            }
        }
    }
}

ALWAYS_INLINE void gradient_rows(const gradient_job *job, const double *inputs, size_t distance,
                                 size_t row, size_t first, size_t last, const int rows)
{
    const size_t full = job->fan_in / PANEL; /* panels that hold weights alone */
    for (size_t p = first; p < MIN(last, full); p++) {
        gradient_tile(job, inputs + p * distance, row, p * PANEL, rows, TILE_VECTORS, false, 0,
                      false);
    }
    const size_t weights = job->fan_in - full * PANEL;
    if (last <= full) {
        return;
    }
    const size_t column = full * PANEL;
    inputs += full * distance;
#define WHOLE(vectors) gradient_tile(job, inputs, row, column, rows, vectors, false, 0, true)
#define EDGE(vectors)                                            \
    gradient_tile(job, inputs, row, column, rows, vectors, true, \
                  weights - ((vectors) - 1) * LANES, false)
#if LANES == 8 /* shorter vectors waste less on a bias */
    if (rows == TILE_ROWS && weights % LANES == 0 && job->bias != NULL) {
        switch (weights / LANES) {
        case 1: WHOLE(1); return;
        case 2: WHOLE(2); return;
        }
    }
#endif
    switch ((weights + (job->bias != NULL) + LANES - 1) / LANES) {
    case 1: EDGE(1); break;
    case 2: EDGE(2); break;
#if TILE_VECTORS > 2
    case 3: EDGE(3); break;
#endif
#if TILE_VECTORS > 3
    case 4: EDGE(4); break;
#endif
    }
#undef EDGE
#undef WHOLE
}

/* One sample: out (+)= delta @ input^T, row by row, of which -step * delta makes a descent. */
ALWAYS_INLINE void gradient_one(double *weight, double *bias, const gradient_use use, double step,
                                const double *delta, const double *input, size_t rows,
                                size_t fan_in)
{
    const vector zero = {0};
    for (size_t j = 0; j < rows; j++) {
        const double dj = descends(use) ? -step * delta[j] : delta[j];
        const vector d = BROADCAST(dj);
        double *row = weight + j * fan_in;
        size_t k = 0;
        for (; k + LANES <= fan_in; k += LANES) {
            STORE(row + k, FMA(d, LOAD(input + k), use == GRADIENT_SET ? zero : LOAD(row + k)));
        }
        if (k < fan_in) {
            const vector out = LOAD_PART(row + k, fan_in - k);
            const vector sum = FMA(d, LOAD(input + k), use == GRADIENT_SET ? zero : out);
            STORE_PART(row + k, sum, fan_in - k);
        }
        bias[j] = (use == GRADIENT_SET ? 0 : bias[j]) + dj;
    }
}

static void SUFFIX(gradient)(double *weight, double *bias, gradient_use use, double step,
                             const gradient_terms *terms, size_t count, const double *inputs,
                             size_t distance, size_t first, size_t rows, size_t fan_in)
{
    if (count == 1 && terms->stride == 1 && terms->positions == 0) {
#define ONE(use) gradient_one(weight, bias, use, step, terms->delta + first, inputs, rows, fan_in)
        switch (use) {
        case GRADIENT_SET: ONE(GRADIENT_SET); break;
        case GRADIENT_ADD: ONE(GRADIENT_ADD); break;
        default: ONE(GRADIENT_DESCEND); break;
        }
#undef ONE
        return;
    }
    /* A line goes past the caches as a whole, or it takes longer than through them. */
    const bool away = use == GRADIENT_DESCEND_AWAY && begins_line(weight) && fan_in % LINE == 0 &&
                      PANEL % LINE == 0 && fan_in >= PANEL;
    const gradient_job job = {weight, bias, use, step, terms, count, first, fan_in, away};
    size_t samples = 0;
    for (size_t t = 0; t < count; t++) {
        samples += terms[t].batch * MAX(terms->positions, 1);
    }
    /* As in product_in_place: some panels stay in cache while the rows of delta go by. */
    const size_t panels = fan_in / PANEL + 1;
    const size_t some = 1 + PANELS_IN_CACHE / (samples * PANEL);
    for (size_t p = 0; p < panels; p += some) {
        const size_t last = MIN(p + some, panels);
        size_t r = 0;
#define ROWS(n) gradient_rows(&job, inputs, distance, r, p, last, n)
        for (; r + TILE_ROWS <= rows; r += TILE_ROWS) {
            ROWS(TILE_ROWS);
        }
        for (; r + 2 <= rows; r += 2) {
            ROWS(2);
        }
        if (r < rows) {
            ROWS(1);
        }
#undef ROWS
    }
    if (away) {
        STREAMED;
    }
}

static void SUFFIX(descend)(double *theta, const double *grad, double step, size_t count)
{
    const vector minus_step = BROADCAST(-step);
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        STORE(theta + i, FMA(minus_step, LOAD(grad + i), LOAD(theta + i)));
    }
    const vector rest = LOAD_PART(theta + i, count - i);
    STORE_PART(theta + i, FMA(minus_step, LOAD_PART(grad + i, count - i), rest), count - i);
}
