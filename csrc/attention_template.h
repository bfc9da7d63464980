/* The kernel of attention.h, for one instruction set: a vector holds an element of LANES samples,
 * and a register tile TILE_ROWS x TILE_VECTORS elements. Every sum is one chain, whatever the tile.
 */

ALWAYS_INLINE void sample_product_tile(double *out, const double *a, const double *b,
                                       const sample_product *shape, size_t depth, const int rows,
                                       const int columns)
{
    const size_t a_row = shape->a_row, b_column = shape->b_column;
    vector sum[TILE_ROWS][TILE_VECTORS];
    UNROLL for (int r = 0; r < rows; r++)
    {
        UNROLL for (int c = 0; c < columns; c++)
        {
            const double *from = out + (size_t)r * shape->out_row + (size_t)c * shape->out_column;
            sum[r][c] = shape->onto ? LOAD(from) : (vector){0};
        }
    }
    for (size_t k = 0; k < depth; k++, a += shape->a_depth, b += shape->b_depth) {
        vector factors[TILE_VECTORS];
        UNROLL for (int c = 0; c < columns; c++) { factors[c] = LOAD(b + (size_t)c * b_column); }
        UNROLL for (int r = 0; r < rows; r++)
        {
            vector m = LOAD(a + (size_t)r * a_row);
            HOLD(m);
            UNROLL for (int c = 0; c < columns; c++)
            {
                sum[r][c] = FMA(m, factors[c], sum[r][c]);
                KEEP(sum[r][c]);
            }
        }
    }
    if (shape->deeper) { /* the first row has all its terms; the last one still needs rows - 1 */
        UNROLL for (int more = 1; more < rows; more++)
        {
            UNROLL for (int r = more; r < rows; r++)
            {
                const vector m = LOAD(a + (size_t)r * a_row);
                UNROLL for (int c = 0; c < columns; c++)
                {
                    sum[r][c] = FMA(m, LOAD(b + (size_t)c * b_column), sum[r][c]);
                }
            }
            a += shape->a_depth;
            b += shape->b_depth;
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
    {
        UNROLL for (int c = 0; c < columns; c++)
        {
            double *to = out + (size_t)r * shape->out_row + (size_t)c * shape->out_column;
            STORE(to, sum[r][c] * BROADCAST(shape->factor));
        }
    }
}

/* Some rows, over all columns: tiles of nearly the same width, at most TILE_VECTORS. */
ALWAYS_INLINE void sample_product_rows(double *out, const double *a, const double *b,
                                       const sample_product *shape, size_t depth, const int rows)
{
    const size_t tiles = (shape->columns + TILE_VECTORS - 1) / TILE_VECTORS;
    for (size_t t = 0; t < tiles; t++) {
        const size_t width = shape->columns / tiles + (t < shape->columns % tiles);
        switch (width) {
#define TILE(n) \
    case n: sample_product_tile(out, a, b, shape, depth, rows, n); break
            TILE(1);
            TILE(2);
#if TILE_VECTORS > 2
            TILE(3);
#endif
#if TILE_VECTORS > 3
            TILE(4);
#endif
#undef TILE
        }
        out += width * shape->out_column;
        b += width * shape->b_column;
    }
}

static void SUFFIX(multiply_samples)(double *out, const double *a, const double *b,
                                     const sample_product *shape, size_t width)
{
    for (size_t v = 0; v < width; v += LANES) {
        for (size_t r = 0, some; r < shape->rows; r += some) {
            const size_t left = shape->rows - r, depth = shape->depth + (shape->deeper ? r : 0);
            some = left >= TILE_ROWS ? TILE_ROWS : left >= 4 ? 4 : left >= 2 ? 2 : 1;
            switch (some) {
#define ROWS(n)                                                                                   \
    case n:                                                                                       \
        sample_product_rows(out + r * shape->out_row + v, a + r * shape->a_row + v, b + v, shape, \
                            depth, n);                                                            \
        break
                ROWS(1);
                ROWS(2);
                ROWS(4);
#if TILE_ROWS > 4
                ROWS(TILE_ROWS);
#endif
#undef ROWS
            }
        }
    }
}

static const attention_kernels SUFFIX(attention) = {SUFFIX(multiply_samples)};
