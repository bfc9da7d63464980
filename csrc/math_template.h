/* exp, tanh, sigmoid, log and log(1 + x), and what the activations make of them, over vectors, for
 * one instruction set: 2 ulp from the exact value over the whole range at most, gelu 4, and the
 * same bits wherever FMA is fused, as well as wherever it is not.
 *
 * Where a rounding would show in the result it is carried along, as an excess: what is meant is
 * x - excess. (Minus, since the compiler may leave x - 0 out, but not x + 0.) */

/* What rounding added to sum = a + b, where |a| >= |b| or a = 0. */
ALWAYS_INLINE vector excess_of_sum(vector sum, vector a, vector b) { return (sum - a) - b; }

/* The same for any a and b. */
ALWAYS_INLINE vector excess_of_any_sum(vector sum, vector a, vector b)
{
    const vector b_there = sum - a;
    return ((sum - b_there) - a) + (b_there - b);
}

/* x - excess = k ln 2 + r with integer k and |r| <= ln 2 / 2; *expm1_r = e^r - 1.
 * The series needs r^14 / 14! < 2^-58. */
ALWAYS_INLINE vector reduce(vector x, vector excess, vector *expm1_r)
{
    const vector shift = BROADCAST(0x1.8p52); /* adding it rounds to an integer */
    const vector k = FMA(x, BROADCAST(0x1.71547652b82fep0), shift) - shift;
    /* The first 42 bits of ln 2: their product with k is exact, and so is this difference. */
    vector r = FMA(k, BROADCAST(-0x1.62e42fefa38p-1), x);
    r = FMA(k, BROADCAST(-0x1.ef35793c7673p-45), r - excess);
    /* Even and odd terms apart: two chains, half as long. */
    static const double inverse_factorial[] = {
        1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
        1.0 / 5040,       1.0 / 720,       1.0 / 120,      1.0 / 24,      1.0 / 6,      1.0 / 2};
    const vector square = r * r;
    vector odd = BROADCAST(inverse_factorial[0]), even = BROADCAST(inverse_factorial[1]);
    UNROLL for (int n = 2; n < 12; n += 2)
    {
        odd = FMA(odd, square, BROADCAST(inverse_factorial[n]));
        even = FMA(even, square, BROADCAST(inverse_factorial[n + 1]));
    }
    const vector series = FMA(odd, r, even);
    *expm1_r = FMA(square, series, r);
    return k;
}

/* 2^k for integer k in -1022 ... 1023. */
ALWAYS_INLINE vector power_of_two(vector k)
{
    /* The sum's low bits are k + 1023: the exponent field. */
    return of_bits(bits_of(k + BROADCAST(0x1.8p52 + 1023)) << 52);
}

ALWAYS_INLINE vector clamp(vector x, double low, double high)
{
    return AT_MOST(BROADCAST(high), AT_LEAST(BROADCAST(low), x));
}

/* The size of x with the sign of z. */
ALWAYS_INLINE vector with_sign_of(vector x, vector z)
{
    return of_bits(bits_of(absolute(x)) | (bits_of(z) & (uint64_t)INT64_MIN));
}

/* factor * e^(x - excess), |factor| <= 800, rounded to a subnormal only at the end. Where e^x is 0
 * or infinite, the excess does not count; 800 e^-800 is 0. */
ALWAYS_INLINE vector times_exponential(vector factor, vector x, vector excess)
{
    vector expm1_r;
    excess = choose(absolute(x) < 746, excess, (vector){0});
    const vector k = reduce(clamp(x, -800, 710), excess, &expm1_r);
    const vector scaled = FMA(factor, expm1_r, factor);
#ifdef TIMES_POWER_OF_TWO
    return TIMES_POWER_OF_TWO(scaled, k);
#else
    /* In two factors: 2^k alone may overflow, or be subnormal, where the result is not. */
    const vector shift = BROADCAST(0x1.8p52);
    const vector half = FMA(k, BROADCAST(0.5), shift) - shift;
    return scaled * power_of_two(half) * power_of_two(k - half);
#endif
}

ALWAYS_INLINE vector exponential_of_difference(vector x, vector excess)
{
    return times_exponential(BROADCAST(1.0), x, excess);
}

ALWAYS_INLINE vector exponential(vector x) { return exponential_of_difference(x, (vector){0}); }

/* e^x - 1 = result - *excess for x <= 0 */
ALWAYS_INLINE vector exponential_minus_one(vector x, vector *excess)
{
    vector expm1_r;
    const vector k = reduce(clamp(x, -746 + 100, 0), (vector){0}, &expm1_r);
    const vector scale = power_of_two(k), whole = scale - 1; /* k > -1000 */
    const vector result = FMA(scale, expm1_r, whole);
    *excess = FMA(-scale, expm1_r, result - whole);
    return result;
}

/* (a - a_excess) / (b - b_excess), where inverse = 1 / b */
ALWAYS_INLINE vector quotient(vector a, vector a_excess, vector b, vector b_excess, vector inverse)
{
    const vector first = a * inverse;
    const vector remainder = FMA(first, b_excess, remainder_of_quotient(a, b, first) - a_excess);
    return FMA(remainder, inverse, first);
}

/* e^-2x = 2^k (1 - 2 r / (1 + w)): a quotient that is made of it takes no second division. */
typedef struct {
    vector scale, twice, r, w; /* 2^(k + exponent), and twice as much */
} power_parts;

/* x = r - k ln 2 / 2 with integer k and |r| <= ln 2 / 4; e^-2r = (c - r) / (c + r) with
 * c = r coth r, and w = c - 1 + r. The series of c in r^2 has an error < 2^-59. */
ALWAYS_INLINE power_parts power_of_minus_twice(vector x, int exponent)
{
    static const double coefficient[] = {0x1.6375ee0a7811dp-16, -0x1.bbd41af3f9f68p-13,
                                         0x1.1566aaf1d7eb2p-9, -0x1.6c16c16bebb0bp-6,
                                         0x1.555555555553ep-2};
    /* Adding it rounds to an integer, and leaves the power's exponent in the last bits. */
    const vector shift = BROADCAST(0x1.8p52 + 1023 + exponent);
    const vector sum = FMA(x, BROADCAST(-0x1.71547652b82fep1), shift), k = sum - shift;
    vector r = FMA(k, BROADCAST(0x1.62e42fefa38p-2), x); /* as in reduce */
    r = FMA(k, BROADCAST(0x1.ef35793c7673p-46), r);
    const vector square = r * r, scale = of_bits(bits_of(sum) << 52);
    vector series = BROADCAST(coefficient[0]);
    UNROLL for (int n = 1; n < 5; n++) { series = FMA(series, square, BROADCAST(coefficient[n])); }
    return (power_parts){scale, scale + scale, r, FMA(series, square, r)};
}

/* tanh |x| = (1 - e^-2|x|) / (1 + e^-2|x|), which is 1 for 20. A part of it that is exact is taken
 * out of the quotient: 1 where that is near, 0 where x is small. So the quotient's roundings count
 * less, and those of numerator and denominator too, sums of what is exact and of what is small. */
ALWAYS_INLINE vector hyperbolic_tangent(vector x)
{
    const power_parts p = power_of_minus_twice(AT_MOST(BROADCAST(20.0), absolute(x)), 0);
    const vector half = 0.5 * (1 - p.scale), more = 1 + p.scale, turn = p.twice * p.r;
    const vector part = choose(p.scale < 0.25, BROADCAST(1.0), half);
    const vector rest = FMA(-(1 + part), p.scale, 1 - part);
    const vector above = rest + (turn + FMA(part, turn, p.w * rest));
    const vector below = more + FMA(p.w, more, -turn);
    return with_sign_of(part + above / below, x);
}

/* Beyond it logistic(x) > 1/2. */
#define LOGISTIC_HALF 0x1p-53

/* 1 / (1 + e^-x), 1 for 40 and 0 for -746. Numerator and denominator are times 2^-64: e^-x would
 * overflow where the result is subnormal. */
ALWAYS_INLINE vector logistic(vector x)
{
    const double unit = 0x1p-64;
    const power_parts p = power_of_minus_twice(0.5 * clamp(x, -746, 40), -64);
    const vector m = 1 + p.w, w = m - 1; /* rounded in one and the same way above and below */
    const vector sum = unit + p.scale, lost = unit - (sum - p.scale);
    return unit * m / (sum + FMA(-p.twice, p.r, FMA(w, sum, lost)));
}

/* k ln 2 + log(1 + f) + c, where 1 + f lies between sqrt(1/2) and sqrt(2): with s = f / (2 + f),
 * log(1 + f) = f - (f^2/2 - s (f^2/2 + R(s^2))). The coefficients of R are those of fdlibm's log,
 * error < 2^-58. */
ALWAYS_INLINE vector log_of_parts(vector k, vector f, vector c)
{
    static const double coefficient[] = {1.479819860511658591e-01, 1.531383769920937332e-01,
                                         1.818357216161805012e-01, 2.222219843214978396e-01,
                                         2.857142874366239149e-01, 3.999999999940941908e-01,
                                         6.666666666666735130e-01};
    const vector s = f / (2 + f), z = s * s, half = 0.5 * f * f;
    const vector square = z * z;
    vector even = BROADCAST(coefficient[0]), odd = BROADCAST(coefficient[1]);
    UNROLL for (int n = 2; n < 6; n += 2)
    {
        even = FMA(even, square, BROADCAST(coefficient[n]));
        odd = FMA(odd, square, BROADCAST(coefficient[n + 1]));
    }
    even = FMA(even, square, BROADCAST(coefficient[6]));
    const vector r = FMA(odd, square, even * z);
    const vector low = FMA(k, BROADCAST(1.90821492927058770002e-10), c);
    return FMA(k, BROADCAST(6.93147180369123816490e-01), f - (half - FMA(s, half + r, low)));
}

/* log(1 + x) for x >= 0, where inverse = 1 / (1 + x): u = 1 + x = 2^k (1 + f) up to the rounding
 * error c */
ALWAYS_INLINE vector log_one_plus(vector x, vector inverse)
{
    const vector u = 1 + x;
    const vector c = choose(x < 1, x - (u - 1), 1 - (u - x));
    /* Less the bits of sqrt(1/2): 1 + f lies between sqrt(1/2) and sqrt(2). u >= 1, so k >= 0. */
    const words k = (bits_of(u) - 0x3fe6a09e00000000) >> 52;
    const vector f = of_bits(bits_of(u) - (k << 52)) - 1;
    const vector kd = of_bits(k + bits_of(BROADCAST(0x1p52))) - 0x1p52;
    const vector log = log_of_parts(kd, f, c * inverse);
    return choose(x == BROADCAST((double)INFINITY), x, log);
}

/* log u for u >= 2^-1022, u finite */
ALWAYS_INLINE vector logarithm(vector u)
{
    /* As above, but k, which may be negative, is 1024 too large until it is a double. */
    const words k = (bits_of(u) + (0x4000000000000000 - 0x3fe6a09e00000000)) >> 52;
    const vector f = of_bits(bits_of(u) - (k << 52) + 0x4000000000000000) - 1;
    const vector kd = of_bits(k + bits_of(BROADCAST(0x1p52))) - (0x1p52 + 1024);
    return log_of_parts(kd, f, (vector){0});
}

/* z / (1 + e^-(u - excess)), where u has the sign of z: silu for u = z. u <= -746 means 0. */
ALWAYS_INLINE vector logistic_unit(vector z, vector u, vector excess)
{
    const vector one = BROADCAST(1.0), minus_u = -absolute(u);
    excess = choose(u < 0, excess, -excess);
    const vector e = times_exponential(one, minus_u, excess), sum = one + e;
    const vector below = times_exponential(clamp(z, -800, 0), minus_u, excess);
    const vector numerator = choose(u >= 0, z, below);
    const vector result =
        quotient(numerator, (vector){0}, sum, excess_of_sum(sum, one, e), 1 / sum);
    return with_sign_of(choose(u > 41, z, result), z); /* e^-41 < 2^-59 */
}

/* u - *excess = GELU_LINEAR z + GELU_CUBIC z^3, to more digits than a double has: e^u is wanted,
 * and an error of u is a relative one of that. */
ALWAYS_INLINE vector gelu_exponent(vector z, vector *excess)
{
    /* What is missing in the two constants. */
    const double linear_low = -0x1.cbc0d30ebfd15p-54, cubic_low = -0x1.6c843a29d1c70p-61;
    const vector linear = BROADCAST(GELU_LINEAR), cubic = BROADCAST(GELU_CUBIC);
    const vector square = z * z, square_low = rest_of_product(square, z, z);
    const vector term = cubic * square;
    const vector term_low =
        rest_of_product(term, cubic, square) + FMA(cubic, square_low, cubic_low * square);
    const vector sum = linear + term;
    const vector low = (term_low + linear_low) - excess_of_any_sum(sum, linear, term);
    const vector u = z * sum;
    *excess = -FMA(z, low, rest_of_product(u, z, sum));
    return u;
}

/* factor * h(x), with h(x) = Q(x) e^(x^2/2) for 0 <= x <= 40, where Q(x) = 1/2 erfc(x / sqrt 2) is
 * the tail of the standard normal distribution: h(x) = P(t) / (x + 5) with t = (x - 5) / (x + 5),
 * the form of Shepherd and Laframboise (1981). P is the Chebyshev interpolation, relative error
 * < 2^-60, and < 2^-55 with its coefficients rounded. */
ALWAYS_INLINE vector scaled_normal_tail(vector factor, vector x)
{
    static const double coefficient[] = {
        -0x1.5b7304334289bp-36, -0x1.cf731399e731ep-32, -0x1.2e765a34b6ac3p-30,
        0x1.473bd59b8fd09p-29,  0x1.70c591c71daf0p-27,  -0x1.2f884249c7181p-27,
        -0x1.2d3282d5bc810p-24, 0x1.5b7e2fa46eec2p-25,  0x1.d47f50fb2ba00p-22,
        -0x1.676e2e8b85213p-22, -0x1.73e25084db67dp-19, 0x1.0b15bc0085fb3p-18,
        0x1.17df295a42506p-16,  -0x1.a1701a0954619p-15, -0x1.f2149592ceac7p-15,
        0x1.1daf1af160dcfp-11,  -0x1.a2503771fafa8p-11, -0x1.88590e98c7218p-9,
        0x1.54b4d4f4865f8p-6,   -0x1.1b1c254ca3c7bp-4,  0x1.51f6329f01c04p-3,
        -0x1.410ed5f875952p-2,  0x1.fb31653876f88p-2,   -0x1.54ad03f27ca18p-1,
        0x1.89d3abe1f95aep-1,
    };
    enum { DEGREE = sizeof coefficient / sizeof *coefficient - 1 };
    const vector five = BROADCAST(5.0), sum = x + five, difference = x - five, inverse = 1 / sum;
    const vector sum_excess = excess_of_any_sum(sum, x, five);
    const vector difference_excess = excess_of_any_sum(difference, x, -five);
    const vector t = quotient(difference, difference_excess, sum, sum_excess, inverse);
    const vector square = t * t;
    vector even = BROADCAST(coefficient[0]), odd = BROADCAST(coefficient[1]);
    UNROLL for (int n = 2; n < DEGREE; n += 2)
    {
        even = FMA(even, square, BROADCAST(coefficient[n]));
        odd = FMA(odd, square, BROADCAST(coefficient[n + 1]));
    }
    /* The terms fall and rise in turn: the largest, the constant, comes last. */
    const vector series = FMA(odd, t, even * square) + coefficient[DEGREE];
    return quotient(factor * series, (vector){0}, sum, sum_excess, inverse);
}

/* z Phi(z), by way of |z| Q(|z|): Phi(z) is Q(-z) below 0, and 1 - Q(z) above. */
ALWAYS_INLINE vector gaussian_unit(vector z)
{
    const vector near = clamp(z, -40, 40), x = absolute(near), square = x * x;
    const vector excess =
        0.5 * rest_of_product(square, x, x); /* an error of x^2/2 is a relative one of Q */
    const vector tail = times_exponential(scaled_normal_tail(x, x), -0.5 * square, excess);
    return choose(z < 0, -tail, z - tail);
}

/* The derivative of z Phi(z): Phi(z) + z phi(z) with phi(z) = e^(-z^2/2) / sqrt(2 pi) */
ALWAYS_INLINE vector gaussian_unit_slope(vector z)
{
    const vector near = clamp(z, -40, 40), x = absolute(near);
    const vector power = exponential(-0.5 * (x * x)), tail = scaled_normal_tail(power, x);
    return FMA(near * 0.39894228040143267794, power, choose(z < 0, tail, 1 - tail));
}
