/* The vector type of one instruction set. Included with
 *     SUFFIX(name)   the name of this set's function
 *     LANES          doubles in a vector
 *     FMA(a, b, c)   a * b + c, rounded once
 *     SQRT(v)        rounded once
 *     AT_MOST(limit, x) and AT_LEAST(limit, x): x, or the limit where x is beyond it; NaN stays
 *     CHOOSE(mask, yes, no): the lanes of yes where those of the mask are ones, else of no; may be
 * left out
 *     LOAD_PART(p, n) and STORE_PART(p, v, n): the first n lanes, n <= LANES; nothing behind them
 * is touched, and what is loaded into the others is 0
 *     STREAM(p, v)   a store of a whole cache line that goes past the caches; p begins it. With
 *     STREAMED       behind which others see it; may be left out: through the caches
 *     TILE_ROWS      rows and TILE_VECTORS vectors of a register tile of sums: they and their
 *                    factors must fit the registers
 *     PANELS_IN_CACHE  doubles of panels that stay in the second-level cache while others go by: a
 *                    quarter of what the machines measured have, half of what the smallest have
 *     COPY_SAMPLES   samples from which on copying the weights pays, as measured; COPY_SCATTERED
 *                    those for columns at least COPY_DEPTH long
 *     BLOCK_DEPTH    columns and BLOCK_ROWS rows, a multiple of TILE_ROWS, of what is copied at a
 *                    time
 */

/* Numbers side by side in a register tile. */
#define PANEL (TILE_VECTORS * LANES)

typedef double vector __attribute__((vector_size(LANES * 8)));
typedef double unaligned_vector __attribute__((vector_size(LANES * 8), aligned(8), may_alias));
typedef int64_t integers __attribute__((vector_size(LANES * 8)));
typedef uint64_t words __attribute__((vector_size(LANES * 8)));

#define LOAD(p) ((vector) * (const unaligned_vector *)(p))
#define STORE(p, v) (*(unaligned_vector *)(p) = (v))
#ifndef STREAM
#define STREAM(p, v) STORE(p, v)
#define STREAMED ((void)0)
#endif
/* x - 0 is x, -0 included, so nothing is computed; 0 + x would turn -0 into 0. */
#define BROADCAST(x) ((x) - (vector){0})

/* Lanes of two vectors by number, those of the second after those of the first. */
#if defined(__clang__)
#define SHUFFLE(a, b, ...) ((vector)__builtin_shufflevector(a, b, __VA_ARGS__))
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (integers){__VA_ARGS__})
#endif

/* Makes a sum stay in its register, where a tile takes all that there are; costs nothing. Clang 19
 * moves the sums around from one register to the next otherwise, and through memory. */
#if LANES == 4
#define KEEP(v) __asm__("" : "+x"(v))
#else
#define KEEP(v) ((void)0)
#endif

/* Has a factor of several products loaded once, where a compiler would load it for each of them. */
#if LANES > 2
#define HOLD(v) __asm__("" : "+v"(v))
#else
#define HOLD(v) ((void)0)
#endif

/* A mask's lanes are all ones or all zeros, as comparisons make them. */
ALWAYS_INLINE vector choose(integers mask, vector yes, vector no)
{
#if defined(CHOOSE)
    return CHOOSE(mask, yes, no);
#else
    return (vector)((mask & (integers)yes) | (~mask & (integers)no));
#endif
}

ALWAYS_INLINE words bits_of(vector x) { return (words)x; }

ALWAYS_INLINE vector of_bits(words bits) { return (vector)bits; }

ALWAYS_INLINE vector absolute(vector x) { return (vector)((integers)x & INT64_MAX); }

/* a * b - product, where product = a * b is rounded */
ALWAYS_INLINE vector rest_of_product(vector product, vector a, vector b)
{
    return FMA(a, b, -product);
}

/* a - quotient * b, where quotient is near a / b */
ALWAYS_INLINE vector remainder_of_quotient(vector a, vector b, vector quotient)
{
    return FMA(-quotient, b, a);
}

#ifdef LOAD_HALVES
/* m = the transpose of what is loaded as halves: t[i] the first halves of rows i and LANES / 2 + i,
 * and behind these the second ones. */
ALWAYS_INLINE void transpose_halves(vector m[LANES], const vector t[LANES])
{
    vector u[LANES];
    UNROLL for (int i = 0; i < LANES; i += 2)
    {
#if LANES == 8
        u[i] = SHUFFLE(t[i], t[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
        u[i + 1] = SHUFFLE(t[i], t[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
#else
        m[i] = SHUFFLE(t[i], t[i + 1], 0, 4, 2, 6);
        m[i + 1] = SHUFFLE(t[i], t[i + 1], 1, 5, 3, 7);
#endif
    }
#if LANES == 8
    UNROLL for (int i = 0; i < LANES; i += LANES / 2)
    {
        UNROLL for (int j = i; j < i + 2; j++)
        {
            m[j] = SHUFFLE(u[j], u[j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            m[j + 2] = SHUFFLE(u[j], u[j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    }
#else
    (void)u;
#endif
}
#endif

/* m[j][i] = row[i][from + j]: LANES rows of memory, transposed. Where half vectors can be loaded
 * side by side that is the transpose's last step. */
ALWAYS_INLINE void load_rows_transposed(vector m[LANES], const double *const row[LANES],
                                        size_t from)
{
#ifdef LOAD_HALVES
    enum { HALF = LANES / 2 };
    vector t[LANES];
    UNROLL for (int i = 0; i < HALF; i++)
    {
        const double *low = row[i] + from, *high = row[HALF + i] + from;
        t[i] = LOAD_HALVES(low, high);
        t[HALF + i] = LOAD_HALVES(low + HALF, high + HALF);
    }
    transpose_halves(m, t);
#else
    UNROLL for (int i = 0; i < LANES; i++) { m[i] = LOAD(row[i] + from); }
    const vector first = SHUFFLE(m[0], m[1], 0, 2);
    m[1] = SHUFFLE(m[0], m[1], 1, 3);
    m[0] = first;
#endif
}

/* The same of rows `row_stride` apart. */
ALWAYS_INLINE void load_transposed(vector m[LANES], const double *row, size_t row_stride)
{
    const double *rows[LANES];
    UNROLL for (int i = 0; i < LANES; i++) { rows[i] = row + (size_t)i * row_stride; }
    load_rows_transposed(m, rows, 0);
}
