/* Random numbers that follow from a seed: NumPy's PCG64, seeded by its SeedSequence (O'Neill 2014
 * and 2015), of which NumPy freezes the raw numbers, and made into others by operations that IEEE
 * 754 rounds exactly. So they are the same everywhere, and the same as Python's (pycnn/_random.py,
 * pycnn/_exact.py). */
#include "random.h"

#include <math.h>

/* ---------------------------------------------------------------- 128 bits */

static wide add_wide(wide a, wide b)
{
    const uint64_t low = a.low + b.low;
    return (wide){a.high + b.high + (low < a.low), low};
}

static wide multiply_64(uint64_t a, uint64_t b)
{
#ifdef __SIZEOF_INT128__
    __extension__ typedef unsigned __int128 product;
    const product whole = (product)a * b;
    return (wide){(uint64_t)(whole >> 64), (uint64_t)whole};
#else
    const uint64_t a0 = a & UINT32_MAX, a1 = a >> 32, b0 = b & UINT32_MAX, b1 = b >> 32;
    const uint64_t middle = a1 * b0 + (a0 * b0 >> 32), other = a0 * b1 + (middle & UINT32_MAX);
    return (wide){a1 * b1 + (middle >> 32) + (other >> 32), a * b};
#endif
}

static wide multiply_wide(wide a, wide b)
{
    wide product = multiply_64(a.low, b.low);
    product.high += a.high * b.low + a.low * b.high;
    return product;
}

/* ---------------------------------------------------------------- SeedSequence */

enum { POOL = 4, SEED_WORDS = 2, STATE_WORDS = 8 };

static uint32_t hash_word(uint32_t word, uint32_t *constant, uint32_t multiplier)
{
    word ^= *constant;
    *constant *= multiplier;
    word *= *constant;
    return word ^ word >> 16;
}

static uint32_t mix_words(uint32_t a, uint32_t b)
{
    const uint32_t mixed = 0xca01f9ddu * a - 0x4973f715u * b;
    return mixed ^ mixed >> 16;
}

/* Seed and use, which fills what the seed does not with zeros, as 32-bit words. */
static void fill_pool(uint32_t pool[POOL], uint64_t seed, uint32_t use)
{
    const uint32_t words[POOL] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t constant = 0x43b0d7e5u;
    const uint32_t multiplier = 0x931e8875u;
    for (int i = 0; i < POOL; i++) {
        pool[i] = hash_word(words[i], &constant, multiplier);
    }
    for (int from = 0; from < POOL; from++) {
        for (int to = 0; to < POOL; to++) {
            if (from != to) {
                pool[to] = mix_words(pool[to], hash_word(pool[from], &constant, multiplier));
            }
        }
    }
    for (int to = 0; to < POOL; to++) {
        pool[to] = mix_words(pool[to], hash_word(use, &constant, multiplier));
    }
}

/* ---------------------------------------------------------------- PCG64 */

static const wide pcg_multiplier = {0x2360ed051fc65da4u, 0x4385df649fccf645u};

static void step_stream(random_stream *stream)
{
    stream->state = add_wide(multiply_wide(stream->state, pcg_multiplier), stream->increment);
}

random_stream pycnn_stream(uint64_t seed, uint32_t use)
{
    uint32_t pool[POOL], words[STATE_WORDS], constant = 0x8b51f9ddu;
    fill_pool(pool, seed, use);
    for (int i = 0; i < STATE_WORDS; i++) {
        words[i] = hash_word(pool[i % POOL], &constant, 0x58f38dedu);
    }
    uint64_t numbers[STATE_WORDS / 2];
    for (int i = 0; i < STATE_WORDS / 2; i++) {
        numbers[i] = words[2 * i] | (uint64_t)words[2 * i + 1] << 32;
    }
    const wide start = {numbers[0], numbers[1]}, sequence = {numbers[2], numbers[3]};
    random_stream stream = {{0, 0},
                            {sequence.high << 1 | sequence.low >> 63, sequence.low << 1 | 1}};
    step_stream(&stream);
    stream.state = add_wide(stream.state, start);
    step_stream(&stream);
    return stream;
}

/* n steps, x -> m x + p each, are one such step; it is found by squaring (Brown 1994). */
void pycnn_stream_skip(random_stream *stream, uint64_t a, uint64_t b)
{
    wide m = pcg_multiplier, p = stream->increment;
    for (wide n = multiply_64(a, b); n.high != 0 || n.low != 0;) {
        if (n.low % 2 != 0) {
            stream->state = add_wide(multiply_wide(stream->state, m), p);
        }
        p = add_wide(multiply_wide(m, p), p);
        m = multiply_wide(m, m);
        n = (wide){n.high >> 1, n.low >> 1 | n.high << 63};
    }
}

uint64_t pycnn_stream_next(random_stream *stream)
{
    step_stream(stream);
    const uint64_t folded = stream->state.high ^ stream->state.low;
    const unsigned turn = (unsigned)(stream->state.high >> 58);
    return folded >> turn | folded << (-turn & 63);
}

/* ---------------------------------------------------------------- distributions */

double pycnn_stream_uniform(random_stream *stream)
{
    return (double)(pycnn_stream_next(stream) >> 11) * 0x1p-53;
}

/* e^x = 2^k e^r with k whole and |r| at most log(2) / 2, for |x| up to 700. */
double pycnn_exact_exp(double x)
{
    const double k = rint(x / 0.6931471805599453);
    const double r = (x - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10;
    double series = 1;
    for (int n = 13; n > 0; n--) { /* the next term, r^14 / 14!, is below 2^-57 */
        series = 1 + series * r / n;
    }
    return ldexp(series, (int)k);
}

/* The natural logarithm of a positive number: x = m 2^e with m in [0.75, 1.5), and log m =
 * 2 artanh(s) with s = (m - 1) / (m + 1). */
double pycnn_exact_log(double x)
{
    int e;
    double m = frexp(x, &e); /* exact */
    if (m < 0.75) {
        m *= 2;
        e--;
    }
    const double s = (m - 1) / (m + 1);
    double series = 0;
    for (int n = 25; n > 0; n -= 2) {
        series = series * (s * s) + 1.0 / n;
    }
    return e * 0.6931471805599453 + 2 * s * series;
}

/* Wichura, Algorithm AS 241 (PPND16), Applied Statistics 37 (1988). */
enum { TERMS = 8 };
static const double centre[2][TERMS] = {
    {3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
     1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
     3.3430575583588128105e4, 2.5090809287301226727e3},
    {1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4,
     5.2264952788528545610e3},
};
static const double tail[2][TERMS] = {
    {1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
     3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1,
     2.27238449892691845833e-2, 7.74545014278341407640e-4},
    {1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
     1.05075007164441684324e-9},
};
static const double far_tail[2][TERMS] = {
    {6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0,
     2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
     2.71155556874348757815e-5, 2.01033439929228813265e-7},
    {1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
     2.04426310338993978564e-15},
};

static double rational(const double coefficients[2][TERMS], double x)
{
    double above = coefficients[0][TERMS - 1], below = coefficients[1][TERMS - 1];
    for (int n = TERMS - 2; n >= 0; n--) {
        above = above * x + coefficients[0][n];
        below = below * x + coefficients[1][n];
    }
    return above / below;
}

static double normal_quantile(double p)
{
    const double q = p - 0.5;
    if (fabs(q) <= 0.425) {
        return q * rational(centre, 0.180625 - q * q);
    }
    const double r = sqrt(-pycnn_exact_log(MIN(p, 1 - p)));
    const double value = r <= 5 ? rational(tail, r - 1.6) : rational(far_tail, r - 5);
    return q < 0 ? -value : value;
}

/* By inversion, in the middle of each step of the uniform numbers: never of 0 or 1. */
double pycnn_stream_normal(random_stream *stream)
{
    return normal_quantile(pycnn_stream_uniform(stream) + 0x1p-54);
}

/* ---------------------------------------------------------------- of an epoch */

uint64_t pycnn_dropout_key(uint64_t seed, size_t epoch)
{
    random_stream stream = pycnn_stream(seed, FOR_DROPPING);
    pycnn_stream_skip(&stream, epoch, 1);
    return pycnn_stream_next(&stream);
}

enum { DIGIT = 7, BUCKETS = 1 << DIGIT, MANY_ROWS = 32, FEW_ROWS = 16 };

/* Rows are sorted by random numbers, the keys, where they lie: a row's word has its number in the
 * lower bits, and in the others as much of its key as there is room for. */
typedef struct {
    random_stream start;
    size_t row_mask;
} row_keys;

static uint64_t key_of(const row_keys *keys, size_t word)
{
    random_stream stream = keys->start;
    pycnn_stream_skip(&stream, word & keys->row_mask, 1);
    return pycnn_stream_next(&stream);
}

static bool comes_before(const row_keys *keys, size_t a, size_t b)
{
    if ((a ^ b) > keys->row_mask) {
        return a < b;
    }
    const uint64_t key_a = key_of(keys, a), key_b = key_of(keys, b); /* hardly ever */
    return key_a != key_b ? key_a < key_b : a < b;
}

/* Puts those that come before one of them in front; returns how many. Neither part is empty. */
static size_t part_rows(const row_keys *keys, size_t *words, size_t count)
{
    const size_t middle = words[(count - 1) / 2];
    size_t first = 0, last = count - 1;
    for (;;) {
        while (comes_before(keys, words[first], middle)) {
            first++;
        }
        while (comes_before(keys, middle, words[last])) {
            last--;
        }
        if (first >= last) {
            return last + 1;
        }
        const size_t word = words[first];
        words[first++] = words[last];
        words[last--] = word;
    }
}

static void insert_rows(const row_keys *keys, size_t *words, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        const size_t word = words[i];
        size_t to = i;
        for (; to > 0 && comes_before(keys, word, words[to - 1]); to--) {
            words[to] = words[to - 1];
        }
        words[to] = word;
    }
}

/* Puts words into buckets by the DIGIT bits behind which there are `shift` others: in place, each
 * word goes to where it belongs, and takes along the one that lies there (McIlroy, Bostic and
 * McIlroy 1993). ends[b] is where bucket b ends. */
static void fill_buckets(size_t *words, size_t count, int shift, size_t ends[BUCKETS])
{
    size_t next[BUCKETS] = {0};
    for (size_t i = 0; i < count; i++) {
        next[words[i] >> shift & (BUCKETS - 1)]++;
    }
    for (size_t b = 0, end = 0; b < BUCKETS; b++) {
        end += next[b];
        ends[b] = end;
        next[b] = end - next[b];
    }
    for (size_t b = 0; b < BUCKETS; b++) {
        while (next[b] < ends[b]) {
            size_t word = words[next[b]];
            for (size_t to; (to = word >> shift & (BUCKETS - 1)) != b;) {
                const size_t other = words[next[to]];
                words[next[to]++] = word;
                word = other;
            }
            words[next[b]++] = word;
        }
    }
}

/* Whether so many words are worth buckets by these bits, which must all be the keys'. */
static bool fill_well(const row_keys *keys, size_t count, int shift)
{
    return count > MANY_ROWS && shift >= 0 && keys->row_mask >> shift == 0;
}

/* Leaves no more than FEW_ROWS words among which the order is not the keys' yet. Random keys fill
 * buckets evenly, by those of their bits that words have, and are halved well enough by others; the
 * smaller half comes first, so the stack stays low. */
static void part_all(const row_keys *keys, size_t *words, size_t count, int shift)
{
    if (fill_well(keys, count, shift)) {
        size_t ends[BUCKETS];
        fill_buckets(words, count, shift, ends);
        for (size_t b = 0, first = 0; b < BUCKETS; first = ends[b++]) {
            part_all(keys, words + first, ends[b] - first, shift - DIGIT);
        }
        return;
    }
    while (count > FEW_ROWS) {
        const size_t half = part_rows(keys, words, count);
        if (half <= count / 2) {
            part_all(keys, words, half, -1);
            words += half;
            count -= half;
        } else {
            part_all(keys, words + half, count - half, -1);
            count = half;
        }
    }
}

/* The word of the i-th row, whose key is next in the stream. */
static size_t next_word(const row_keys *keys, random_stream *stream, size_t i)
{
    const size_t key = (size_t)(pycnn_stream_next(stream) >> (64 - 8 * sizeof i));
    return (key & ~keys->row_mask) | i;
}

/* All words, in the order of their keys but for FEW_ROWS together. Many are drawn twice, to be
 * counted and to be put into the first buckets: there is no other room for them. */
static void draw_rows(const row_keys *keys, size_t *words, size_t count)
{
    const int shift = 8 * (int)sizeof *words - DIGIT;
    random_stream stream = keys->start;
    size_t ends[BUCKETS] = {0};
    if (!fill_well(keys, count, shift)) {
        for (size_t i = 0; i < count; i++) {
            words[i] = next_word(keys, &stream, i);
        }
        part_all(keys, words, count, shift);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        ends[next_word(keys, &stream, i) >> shift]++;
    }
    for (size_t b = 0, end = 0; b < BUCKETS; b++) {
        const size_t first = end;
        end += ends[b];
        ends[b] = first;
    }
    stream = keys->start;
    for (size_t i = 0; i < count; i++) {
        const size_t word = next_word(keys, &stream, i);
        words[ends[word >> shift]++] = word;
    }
    for (size_t b = 0, first = 0; b < BUCKETS; first = ends[b++]) {
        part_all(keys, words + first, ends[b] - first, shift - DIGIT);
    }
}

int pycnn_permutation(size_t *order, size_t rows, uint64_t seed, size_t epoch)
{
    RETURN_IF(order == NULL, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(rows == 0 || rows > PTRDIFF_MAX / sizeof *order, PYCNN_ERROR_SIZE);
    row_keys keys = {pycnn_stream(seed, FOR_SHUFFLING), 0};
    while (keys.row_mask < rows - 1) {
        keys.row_mask = 2 * keys.row_mask + 1;
    }
    pycnn_stream_skip(&keys.start, epoch, rows);
    draw_rows(&keys, order, rows);
    insert_rows(&keys, order, rows);
    for (size_t i = 0; i < rows; i++) {
        order[i] &= keys.row_mask;
    }
    return PYCNN_OK;
}
