/* The matrix kernels of the dense layer, for one instruction set.
 *
 * A register tile holds TILE_ROWS x (TILE_VECTORS * LANES) sums. Every sum is one chain of fused
 * multiply-adds in index order, whatever the tile: so neither the instruction set, nor the shape
 * of the tile, nor the blocking, nor the number of samples changes a bit.
 */

/* Block by block in registers; what is left over at the edges, number by number. */
static void SUFFIX(transpose)(double *dst, size_t dst_stride, const double *src, size_t src_stride,
                              size_t rows, size_t columns)
{
    const size_t whole_rows = rows / LANES * LANES, whole_columns = columns / LANES * LANES;
    for (size_t r = 0; r < whole_rows; r += LANES) {
        for (size_t c = 0; c < whole_columns; c += LANES) {
            vector m[LANES];
            load_transposed(m, src + r * src_stride + c, src_stride);
            UNROLL for (int i = 0; i < LANES; i++)
            {
                STORE(dst + (c + (size_t)i) * dst_stride + r, m[i]);
            }
        }
    }
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = r < whole_rows ? whole_columns : 0; c < columns; c++) {
            dst[c * dst_stride + r] = src[r * src_stride + c];
        }
    }
}

/* Depth of a block whose matrix tile is copied together: TILE_ROWS * BLOCK_DEPTH doubles stay in
 * half of the first-level cache. */
#define BLOCK_DEPTH 256

/* Whether the copy pays: each copied number must be used for enough samples. Sooner where the
 * matrix goes by columns, of which a tile takes a few numbers from each of many pages. */
static bool copy_pays(size_t column_stride, size_t depth, size_t samples)
{
    const bool scattered = column_stride != 1 && depth >= COPY_DEPTH;
    return samples >= (scattered ? COPY_SCATTERED : COPY_SAMPLES);
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

/* copy[depth,TILE_ROWS] = tile[TILE_ROWS,depth]^T */
ALWAYS_INLINE void copy_tile(double *copy, const double *tile, size_t row_stride,
                             size_t column_stride, size_t depth)
{
    size_t k = 0;
    if (row_stride == 1) { /* a column lies together */
        for (; k < depth; k++) {
            UNROLL for (int i = 0; i < TILE_ROWS; i += LANES)
            {
                STORE(copy + k * TILE_ROWS + i, LOAD(tile + k * column_stride + i));
            }
        }
        return;
    }
    for (; k + LANES <= depth; k += LANES) { /* a row does: column_stride is 1 */
        UNROLL for (int i = 0; i < TILE_ROWS; i += LANES)
        {
            vector m[LANES];
            load_transposed(m, tile + (size_t)i * row_stride + k, row_stride);
            UNROLL for (int j = 0; j < LANES; j++) { STORE(copy + (k + j) * TILE_ROWS + i, m[j]); }
        }
    }
    for (; k < depth; k++) {
        for (size_t i = 0; i < TILE_ROWS; i++) {
            copy[k * TILE_ROWS + i] = tile[i * row_stride + k];
        }
    }
}

/* Large batches, full tiles: the matrix tile is copied first, since rows a power of two apart share
 * a cache set, and the block of `in` is used again by all rows while it is in cache. */
static void product_blocked(double *out, const double *matrix, size_t row_stride,
                            size_t column_stride, const double *in, const double *bias, size_t rows,
                            size_t depth, size_t stride)
{
    double copy[BLOCK_DEPTH * TILE_ROWS];
    for (size_t k = 0; k < depth; k += BLOCK_DEPTH) {
        const size_t block = MIN(depth - k, BLOCK_DEPTH);
        const bool last = k + block == depth;
        for (size_t r = 0; r < rows; r += TILE_ROWS) {
            copy_tile(copy, matrix + r * row_stride + k * column_stride, row_stride, column_stride,
                      block);
            product_full(out + r * stride, copy, 1, TILE_ROWS, in + k * stride,
                         last && bias != NULL ? bias + r : NULL, block, stride, k > 0);
        }
    }
}

/* Vectors of rows whose chains run side by side. */
enum { ONE_GROUPS = 16 / LANES };

/* One sample, a row of the matrix along a vector: some times LANES rows, transposed in registers,
 * so that each row's sum stays one chain. */
ALWAYS_INLINE void one_forward_rows(double *out, const double *matrix, size_t row_stride,
                                    const double *in, const double *bias, size_t depth,
                                    const int groups)
{
    vector sum[ONE_GROUPS] = {{0}};
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
                                const double *in, const double *bias, size_t rows, size_t depth)
{
    size_t r = 0;
#define ROWS(groups)                                                   \
    one_forward_rows(out + r, matrix + r * row_stride, row_stride, in, \
                     bias == NULL ? NULL : bias + r, depth, groups)
    for (; r + ONE_GROUPS * LANES <= rows; r += ONE_GROUPS * LANES) {
        ROWS(ONE_GROUPS);
    }
    for (; r + LANES <= rows; r += LANES) {
        ROWS(1);
    }
#undef ROWS
    for (; r < rows; r++) {
        double sum = 0;
        for (size_t k = 0; k < depth; k++) {
            sum = __builtin_fma(matrix[r * row_stride + k], in[k], sum);
        }
        out[r] = bias == NULL ? sum : sum + bias[r];
    }
}

/* One sample, a column of the matrix along a vector. */
static void product_one_backward(double *out, const double *matrix, size_t column_stride,
                                 const double *in, size_t rows, size_t depth)
{
    enum { WIDE = 4 };
    size_t r = 0;
    for (; r + WIDE * LANES <= rows; r += WIDE * LANES) {
        vector sum[WIDE] = {{0}};
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
        vector sum = {0};
        for (size_t k = 0; k < depth; k++) {
            const double *column = matrix + r + k * column_stride;
            const vector m = valid == LANES ? LOAD(column) : LOAD_PART(column, valid);
            sum = FMA(m, BROADCAST(in[k]), sum);
        }
        STORE(out + r, sum);
    }
}

static void SUFFIX(product)(double *out, const double *matrix, size_t row_stride,
                            size_t column_stride, const double *in, const double *bias, size_t rows,
                            size_t depth, size_t stride)
{
    if (stride == 1 && column_stride == 1) {
        product_one_forward(out, matrix, row_stride, in, bias, rows, depth);
        return;
    }
    if (stride == 1) {
        product_one_backward(out, matrix, column_stride, in, rows, depth);
        return;
    }
    const size_t full = rows / TILE_ROWS * TILE_ROWS;
    if (copy_pays(column_stride, depth, stride)) {
        product_blocked(out, matrix, row_stride, column_stride, in, bias, full, depth, stride);
    } else {
        for (size_t r = 0; r < full; r += TILE_ROWS) {
            product_full(out + r * stride, matrix + r * row_stride, row_stride, column_stride, in,
                         bias == NULL ? NULL : bias + r, depth, stride, false);
        }
    }
    product_part(out + full * stride, matrix + full * row_stride, row_stride, column_stride, in,
                 bias == NULL ? NULL : bias + full, rows - full, depth, stride, false);
}

/* What becomes of a sum of the gradient; `out` is what was there. */
ALWAYS_INLINE vector use_gradient(vector sum, vector out, gradient_use use, vector minus_step)
{
    return use == GRADIENT_DESCEND ? FMA(minus_step, sum, out) : sum;
}

/* A tile's sums over all samples: sum += delta @ input_rows */
ALWAYS_INLINE void add_terms(vector sum[TILE_ROWS][TILE_VECTORS], const gradient_terms *terms,
                             size_t count, size_t row_stride, size_t row, const int rows,
                             const int vectors)
{
    for (size_t t = 0; t < count; t++) {
        const size_t stride = terms[t].stride, batch = terms[t].batch;
        const double *delta = terms[t].delta + row * stride;
        const double *input_rows = terms[t].input_rows;
        for (size_t i = 0; i < batch; i++) {
            vector a[TILE_VECTORS];
            UNROLL for (int v = 0; v < vectors; v++)
            {
                a[v] = LOAD(input_rows + i * row_stride + (size_t)v * LANES);
            }
            UNROLL for (int r = 0; r < rows; r++)
            {
                const vector d = BROADCAST(delta[(size_t)r * stride + i]);
                UNROLL for (int v = 0; v < vectors; v++)
                {
                    sum[r][v] = FMA(d, a[v], sum[r][v]);
                    KEEP(sum[r][v]);
                }
            }
        }
    }
}

/* One register tile of the weights' gradient. */
ALWAYS_INLINE void gradient_tile(double *weight, gradient_use use, double step,
                                 const gradient_terms *terms, size_t count, size_t row_stride,
                                 size_t fan_in, size_t row, size_t column, const int rows,
                                 const int vectors)
{
    vector sum[TILE_ROWS][TILE_VECTORS];
    weight += row * fan_in + column;
    UNROLL for (int r = 0; r < rows; r++)
    {
        UNROLL for (int v = 0; v < vectors; v++)
        {
            const double *out = weight + (size_t)r * fan_in + (size_t)v * LANES;
            sum[r][v] = use == GRADIENT_ADD ? LOAD(out) : (vector){0};
        }
    }
    add_terms(sum, terms, count, row_stride, row, rows, vectors);
    /* The addresses are worked out again: kept over the loop, they take the sums' registers. */
    __asm__("" : "+r"(weight), "+r"(fan_in));
    UNROLL for (int r = 0; r < rows; r++)
    {
        UNROLL for (int v = 0; v < vectors; v++)
        {
            double *out = weight + (size_t)r * fan_in + (size_t)v * LANES;
            STORE(out, use_gradient(sum[r][v], LOAD(out), use, BROADCAST(-step)));
        }
    }
}

/* The last, partial vector of each row: `part` weights, and the bias behind them. */
ALWAYS_INLINE void gradient_edge(double *weight, double *bias, gradient_use use, double step,
                                 const gradient_terms *terms, size_t count, size_t row_stride,
                                 size_t fan_in, size_t row, size_t column, const int rows)
{
    const size_t part = fan_in - column;
    vector sum[TILE_ROWS][TILE_VECTORS];
    double lanes[LANES];
    weight += row * fan_in + column;
    bias += row;
    UNROLL for (int r = 0; r < rows; r++)
    {
        sum[r][0] = (vector){0};
        if (use == GRADIENT_ADD) {
            STORE(lanes, LOAD_PART(weight + (size_t)r * fan_in, part));
            lanes[part] = bias[r];
            sum[r][0] = LOAD(lanes);
        }
    }
    add_terms(sum, terms, count, row_stride, row, rows, 1);
    UNROLL for (int r = 0; r < rows; r++)
    {
        double *out = weight + (size_t)r * fan_in;
        const vector before = LOAD_PART(out, part);
        STORE_PART(out, use_gradient(sum[r][0], before, use, BROADCAST(-step)), part);
        STORE(lanes, sum[r][0]);
        bias[r] =
            use == GRADIENT_DESCEND ? __builtin_fma(-step, lanes[part], bias[r]) : lanes[part];
    }
}

/* Samples whose columns of input_rows are copied together, and rows of the gradient for which that
 * pays: in place every sample is on another page, too many for the first-level TLB. */
enum { PANEL_SAMPLES = 256, PANEL_USES = 64 };

/* A tile's width of columns, over all rows; no vectors: the edge. */
ALWAYS_INLINE void gradient_columns(double *weight, double *bias, gradient_use use, double step,
                                    const gradient_terms *terms, size_t count, size_t row_stride,
                                    size_t rows, size_t fan_in, size_t column, const int vectors)
{
    const int width = vectors > 0 ? vectors : 1;
    double panel[PANEL_SAMPLES * TILE_VECTORS * LANES];
    gradient_terms part[MOST_SLICES]; /* the terms, of these columns */
    size_t samples = 0;
    for (size_t t = 0; t < count; t++) {
        part[t] = terms[t];
        part[t].input_rows += column;
        samples += terms[t].batch;
    }
    if (rows >= PANEL_USES && samples <= PANEL_SAMPLES) {
        double *to = panel;
        for (size_t t = 0; t < count; t++) {
            const double *from = part[t].input_rows;
            part[t].input_rows = to;
            for (size_t i = 0; i < part[t].batch; i++, to += width * LANES) {
                UNROLL for (int v = 0; v < width; v++)
                {
                    STORE(to + v * LANES, LOAD(from + i * row_stride + (size_t)v * LANES));
                }
            }
        }
        row_stride = (size_t)width * LANES;
    }
#define TILE(height)                                                                             \
    do {                                                                                         \
        if (vectors > 0) {                                                                       \
            gradient_tile(weight, use, step, part, count, row_stride, fan_in, r, column, height, \
                          vectors);                                                              \
        } else {                                                                                 \
            gradient_edge(weight, bias, use, step, part, count, row_stride, fan_in, r, column,   \
                          height);                                                               \
        }                                                                                        \
        r += height;                                                                             \
    } while (0)
    size_t r = 0;
    while (r + TILE_ROWS <= rows) {
        TILE(TILE_ROWS);
    }
    while (r + 2 <= rows) {
        TILE(2);
    }
    if (r < rows) {
        TILE(1);
    }
#undef TILE
}

/* One sample: out (+)= delta @ input^T, row by row, of which -step * delta makes a descent. */
ALWAYS_INLINE void gradient_one(double *weight, double *bias, const gradient_use use, double step,
                                const double *delta, const double *input, size_t rows,
                                size_t fan_in)
{
    const vector zero = {0};
    for (size_t j = 0; j < rows; j++) {
        const double dj = use == GRADIENT_DESCEND ? -step * delta[j] : delta[j];
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
                             const gradient_terms *terms, size_t count, size_t row_stride,
                             size_t rows, size_t fan_in)
{
    if (count == 1 && terms->stride == 1) {
#define ONE(use) \
    gradient_one(weight, bias, use, step, terms->delta, terms->input_rows, rows, fan_in)
        switch (use) {
        case GRADIENT_SET: ONE(GRADIENT_SET); break;
        case GRADIENT_ADD: ONE(GRADIENT_ADD); break;
        case GRADIENT_DESCEND: ONE(GRADIENT_DESCEND); break;
        }
#undef ONE
        return;
    }
    const size_t vectors = fan_in / LANES, tiles = (vectors + TILE_VECTORS - 1) / TILE_VECTORS;
    size_t at = 0;
#define COLUMNS(n) \
    gradient_columns(weight, bias, use, step, terms, count, row_stride, rows, fan_in, at, n)
    for (size_t t = 0; t < tiles; t++) {
        const size_t width = vectors / tiles + (t < vectors % tiles);
        switch (width) {
        case 1: COLUMNS(1); break;
        case 2: COLUMNS(2); break;
#if TILE_VECTORS > 2
        case 3: COLUMNS(3); break;
#endif
#if TILE_VECTORS > 3
        case 4: COLUMNS(4); break;
#endif
        }
        at += width * LANES;
    }
    COLUMNS(0);
#undef COLUMNS
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
