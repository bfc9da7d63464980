/* What is drawn by probabilities: by hand, in the long run, and in the end all that is refused. */
#include "check.h"

static size_t sampled(const double *probabilities, size_t count, pycnn_sampling how, double draw)
{
    double *copy = copy_doubles(probabilities, count);
    size_t token = SIZE_MAX;
    CHECK(pycnn_sample(&token, copy, count, &how, draw) == PYCNN_OK);
    free(copy);
    return token;
}

static const double some[] = {0.1, 0.4, 0, 0.2, 0.2, 0.1};
enum { SOME = sizeof some / sizeof *some };

/* Which of `some` can be drawn, as bits, by many draws that are evenly spaced. */
static unsigned drawn(pycnn_sampling how)
{
    enum { DRAWS = 2000 };
    unsigned found = 0;
    for (int i = 0; i < DRAWS; i++) {
        found |= 1u << sampled(some, SOME, how, (double)i / DRAWS);
    }
    return found;
}

static void test_draws_by_hand(void)
{
    const pycnn_sampling plain = {.temperature = 1}, greedy = {0};
    const double draws[] = {0, 0.0999, 0.1001, 0.4999, 0.5001, 0.6999, 0.7001, 0.8999, 0.9001};
    const size_t tokens[] = {0, 0, 1, 1, 3, 3, 4, 4, 5};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        CHECK(sampled(some, SOME, plain, draws[i]) == tokens[i]);
        CHECK(sampled(some, SOME, greedy, draws[i]) == 1);
    }
    CHECK(sampled(some, SOME, plain, 1 - 0x1p-53) == 5);
    const double ties[] = {0.25, 0.5, 0.5};
    CHECK(sampled(ties, 3, greedy, 0.9) == 1);
    const double one[] = {1e-300};
    CHECK(sampled(one, 1, plain, 0.9) == 0);
}

static void test_the_most_probable_alone(void)
{
    CHECK(drawn((pycnn_sampling){.temperature = 1}) == (1 | 2 | 8 | 16 | 32));
    CHECK(drawn((pycnn_sampling){.temperature = 1, .top_k = 1}) == 2);
    CHECK(drawn((pycnn_sampling){.temperature = 1, .top_k = 2}) == (2 | 8 | 16)); /* equals too */
    CHECK(drawn((pycnn_sampling){.temperature = 1, .top_k = 3}) == (2 | 8 | 16));
    CHECK(drawn((pycnn_sampling){.temperature = 1, .top_k = 6}) == (1 | 2 | 8 | 16 | 32));
    CHECK(drawn((pycnn_sampling){.temperature = 1, .top_k = SIZE_MAX}) == (1 | 2 | 8 | 16 | 32));
    CHECK(drawn((pycnn_sampling){.temperature = 1, .top_p = 0.39}) == 2);
    CHECK(drawn((pycnn_sampling){.temperature = 1, .top_p = 0.41}) == (2 | 8 | 16));
    CHECK(drawn((pycnn_sampling){.temperature = 1, .top_p = 0.9}) == (1 | 2 | 8 | 16 | 32));
    CHECK(drawn((pycnn_sampling){.temperature = 1, .top_p = 1e-300}) == 2);
    CHECK(drawn((pycnn_sampling){.temperature = 1, .top_k = 3, .top_p = 0.45}) == 2);
}

static void test_temperatures(void)
{
    const pycnn_sampling cold = {.temperature = 0.5}; /* squares: 1, 16, 0, 4, 4, 1 of 26 */
    CHECK(sampled(some, SOME, cold, 0.99 / 26) == 0);
    CHECK(sampled(some, SOME, cold, 1.01 / 26) == 1);
    CHECK(sampled(some, SOME, cold, 16.99 / 26) == 1);
    CHECK(sampled(some, SOME, cold, 17.01 / 26) == 3);
    CHECK(sampled(some, SOME, cold, 25.01 / 26) == 5);
    CHECK(drawn((pycnn_sampling){.temperature = 1e-300}) == 2);
    CHECK(drawn((pycnn_sampling){.temperature = DBL_MAX}) == (1 | 2 | 8 | 16 | 32)); /* no zeros */
    const double small[] = {0x1p-1074, 0, 0x1p-1073, 0x1p-1060};
    CHECK(sampled(small, 4, cold, 0.5) == 3);
    CHECK(sampled(small, 4, (pycnn_sampling){.temperature = 1}, 0.99) == 3);
    CHECK(sampled(small, 4, (pycnn_sampling){.temperature = 1e9}, 0.5) == 2);
}

static void test_streams_of_draws(void)
{
    CHECK(pycnn_draw(0, 0) == 0x1.38b4f1e36b684p-2);
    CHECK(pycnn_draw(7, 1000) == 0x1.494846bd2828ep-1);
    CHECK(pycnn_draw(UINT64_MAX, 3) == 0x1.3ed47b00ff754p-3);
    double sum = 0;
    for (size_t i = 0; i < 1000; i++) {
        const double draw = pycnn_draw(5, i);
        CHECK(draw >= 0 && draw < 1);
        sum += draw;
    }
    CHECK(sum > 450 && sum < 550);
}

static void test_what_cannot_be_drawn(void)
{
    const pycnn_sampling how = {.temperature = 1};
    double p[3] = {0.5, 0.25, 0.25};
    size_t token = 9;
    CHECK(pycnn_sample(NULL, p, 3, &how, 0) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_sample(&token, NULL, 3, &how, 0) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_sample(&token, p, 3, NULL, 0) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_sample(&token, p, 0, &how, 0) == PYCNN_ERROR_SIZE);
    const pycnn_sampling reserved = {.temperature = 1, .reserved = {0, 1}};
    CHECK(pycnn_sample(&token, p, 3, &reserved, 0) == PYCNN_ERROR_ARGUMENT);
    const double outside[] = {-1, 1.5, NAN, INFINITY};
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        const double value = outside[i];
        const pycnn_sampling cold = {.temperature = value == 1.5 ? -0.5 : value};
        CHECK(pycnn_sample(&token, p, 3, &cold, 0) == PYCNN_ERROR_RANGE);
        const pycnn_sampling top = {.temperature = 1, .top_p = value};
        CHECK(pycnn_sample(&token, p, 3, &top, 0) == PYCNN_ERROR_RANGE);
        CHECK(pycnn_sample(&token, p, 3, &how, value) == PYCNN_ERROR_RANGE);
        double wrong[3] = {0.5, value == 1.5 ? -0x1p-1074 : value, 0.5};
        CHECK(pycnn_sample(&token, wrong, 3, &how, 0) == PYCNN_ERROR_NOT_FINITE);
    }
    CHECK(pycnn_sample(&token, p, 3, &how, 1) == PYCNN_ERROR_RANGE);
    double none[2] = {0}, many[2] = {DBL_MAX, DBL_MAX};
    CHECK(pycnn_sample(&token, none, 2, &how, 0) == PYCNN_ERROR_NOT_FINITE);
    CHECK(pycnn_sample(&token, many, 2, &how, 0) == PYCNN_ERROR_NOT_FINITE);
    CHECK(token == 9);
}

const test sample_tests[] = {
    ONCE("draws by hand", test_draws_by_hand),
    ONCE("the most probable alone", test_the_most_probable_alone),
    ONCE("temperatures", test_temperatures),
    ONCE("streams of draws", test_streams_of_draws),
    ONCE("what cannot be drawn", test_what_cannot_be_drawn),
    {0},
};
