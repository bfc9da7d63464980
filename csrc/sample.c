/* Drawing one of several by their probabilities: what generates text, token by token. Each number
 * follows by operations that IEEE 754 rounds exactly, in the order of the probabilities, so that
 * what is drawn is the same everywhere, and the same as Python's (pycnn/backend/numpy/sample.py).
 */
#include "mode.h"
#include "random.h"

#include <math.h>

double pycnn_draw(uint64_t seed, size_t number)
{
    KEEP_MODE;
    random_stream stream = pycnn_stream(seed, FOR_GENERATING);
    pycnn_stream_skip(&stream, number, 1);
    return pycnn_stream_uniform(&stream);
}

static size_t place_of_largest(const double *values, size_t count)
{
    size_t largest = 0;
    for (size_t i = 1; i < count; i++) {
        largest = values[i] > values[largest] ? i : largest;
    }
    return largest;
}

/* p^(1 / temperature), all divided by the largest, so that not all of them can vanish. */
static void sharpen(double *weights, size_t count, double temperature)
{
    const double most = weights[place_of_largest(weights, count)];
    for (size_t i = 0; i < count; i++) {
        const double ratio = weights[i] / most;
        const double exponent = ratio > 0 ? pycnn_exact_log(ratio) / temperature : -INFINITY;
        weights[i] = exponent >= -700 ? pycnn_exact_exp(exponent) : 0;
    }
}

/* ---------------------------------------------------------------- the most probable ones */

/* Of the weights from a threshold on: their number, or their sum. */
typedef double measure(const double *weights, size_t count, double threshold);

static double number_from(const double *weights, size_t count, double threshold)
{
    size_t number = 0;
    for (size_t i = 0; i < count; i++) {
        number += weights[i] >= threshold;
    }
    return (double)number;
}

static double sum_from(const double *weights, size_t count, double threshold)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += weights[i] >= threshold ? weights[i] : 0;
    }
    return sum;
}

static double of_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Leaves those alone from the highest threshold on from which there is as much as is wanted. It is
 * found by halving the bits, in whose order numbers from 0 on are: nothing is sorted, and no memory
 * is needed. */
static void keep_most(double *weights, size_t count, measure *of, double wanted)
{
    uint64_t low = 0, high = (uint64_t)0x7ff << 52; /* 0 and infinity */
    while (high - low > 1) {
        const uint64_t middle = low + (high - low) / 2;
        if (of(weights, count, of_bits(middle)) >= wanted) {
            low = middle;
        } else {
            high = middle;
        }
    }
    for (size_t i = 0; i < count; i++) {
        weights[i] = weights[i] >= of_bits(low) ? weights[i] : 0;
    }
}

/* ---------------------------------------------------------------- drawing */

int pycnn_sample(size_t *token, double *probabilities, size_t count, const pycnn_sampling *how,
                 double draw)
{
    KEEP_MODE;
    RETURN_IF(token == NULL || probabilities == NULL || how == NULL || !IS_RESERVED(how),
              PYCNN_ERROR_ARGUMENT);
    RETURN_IF(count == 0, PYCNN_ERROR_SIZE);
    RETURN_IF(!(how->temperature >= 0 && how->temperature < INFINITY), PYCNN_ERROR_RANGE);
    RETURN_IF(!(how->top_p >= 0 && how->top_p <= 1 && draw >= 0 && draw < 1), PYCNN_ERROR_RANGE);
    for (size_t i = 0; i < count; i++) {
        RETURN_IF(!(probabilities[i] >= 0), PYCNN_ERROR_NOT_FINITE);
    }
    const double sum = sum_from(probabilities, count, 0);
    RETURN_IF(!(sum > 0 && sum < INFINITY), PYCNN_ERROR_NOT_FINITE);
    if (how->temperature == 0) {
        *token = place_of_largest(probabilities, count);
        return PYCNN_OK;
    }
    if (how->temperature != 1) {
        sharpen(probabilities, count, how->temperature);
    }
    if (how->top_k > 0 && how->top_k < count) {
        keep_most(probabilities, count, number_from, (double)how->top_k);
    }
    if (how->top_p > 0 && how->top_p < 1) {
        keep_most(probabilities, count, sum_from, how->top_p * sum_from(probabilities, count, 0));
    }
    const double target = draw * sum_from(probabilities, count, 0);
    double below = 0;
    *token = place_of_largest(probabilities, count); /* where rounding leaves nothing above it */
    for (size_t i = 0; i < count; i++) {
        below += probabilities[i];
        if (below > target) {
            *token = i;
            break;
        }
    }
    return PYCNN_OK;
}
