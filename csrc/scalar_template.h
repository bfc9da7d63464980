/* The vector type of a machine that has none: one number, in plain C, without fused multiply-adds.
 * With it math_template.h serves the plain kernels, so that exp and its like are the core's own
 * there too: the C library's differ from one system to the next, and from one processor to the
 * next. See vector_template.h for what each name means. */

#define FMA(a, b, c) ((a) * (b) + (c)) /* rounded twice */
#define BROADCAST(x) ((double)(x))
#define AT_MOST(limit, x) choose((x) > (limit), limit, x)
#define AT_LEAST(limit, x) choose((x) < (limit), limit, x)

typedef double vector;
typedef int integers;
typedef uint64_t words;

ALWAYS_INLINE words bits_of(vector x)
{
    words bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

ALWAYS_INLINE vector of_bits(words bits)
{
    vector x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

ALWAYS_INLINE vector choose(integers mask, vector yes, vector no) { return mask ? yes : no; }

ALWAYS_INLINE vector absolute(vector x) { return of_bits(bits_of(x) & INT64_MAX); }

/* The first 26 bits of x: their products are exact. */
ALWAYS_INLINE vector first_half(vector x) { return of_bits(bits_of(x) & ~(words)0x7ffffff); }

/* By halves (Dekker 1971), but for what is below 2^-105 of the product. */
ALWAYS_INLINE vector rest_of_product(vector product, vector a, vector b)
{
    const vector a1 = first_half(a), a2 = a - a1, b1 = first_half(b), b2 = b - b1;
    return ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2;
}

ALWAYS_INLINE vector remainder_of_quotient(vector a, vector b, vector quotient)
{
    const vector product = quotient * b;
    return (a - product) - rest_of_product(product, quotient, b);
}
