/* Settings of optimizers and trainings: those that are usual, and those that would destroy theta.
 */
#include "check.h"

enum { ROWS = 6, BATCH = 2, EPOCHS = 2, STEPS = EPOCHS * ROWS / BATCH };

/* 5 -> 4 tanh -> batch norm -> 3 softmax; plain descent takes other ways where `norm` is false. */
static problem make_learner(bool norm)
{
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_TANH, 4),
                                       {.kind = norm ? PYCNN_BATCH_NORM : PYCNN_DENSE,
                                        .units = 4,
                                        .epsilon = 1e-5,
                                        .momentum = 0.1},
                                       DENSE(PYCNN_SOFTMAX, 3)};
    problem p = make_problem(31, ROWS, 5, layers, 3, PYCNN_CATEGORICAL_CROSSENTROPY);
    free(p.theta);
    p.theta = doubles(p.theta_size);
    CHECK(pycnn_initialize(p.theta, p.theta_size, p.net, 1) == PYCNN_OK);
    return p;
}

/* Trains, and does an update from sums that have been there; neither changes anything. */
static void expect_refusal(int status, const problem *p, pycnn_training state)
{
    pycnn_workspace *ws = workspace(p->net, BATCH, PYCNN_BACKWARD);
    double *theta = copy_doubles(p->theta, p->theta_size);
    double *grad = random_doubles(3, p->parameters);
    pycnn_totals sums = {.loss = 1, .weight = 1}, totals[EPOCHS] = {{0}};
    size_t steps = 99;
    state.epochs = EPOCHS, state.batch_size = BATCH, state.totals = totals;
    CHECK(pycnn_train(&steps, theta, p->theta_size, &state, p->net, ws, &p->data, SIZE_MAX) ==
          status);
    CHECK(steps == 0 && state.epoch == 0 && state.position == 0 && totals[0].weight == 0);
    CHECK(pycnn_update(theta, p->theta_size, &state, grad, &sums, p->net, ws) == status);
    CHECK(same_bits(theta, p->theta, p->theta_size));
    free(theta), free(grad);
    pycnn_workspace_destroy(ws);
}

static void test_settings_out_of_range_change_nothing(void)
{
    static const double bad_fractions[] = {-0.1, 1, 2, NAN, INFINITY};
    static const double not_positive[] = {0, -1, NAN, INFINITY}, bad_limits[] = {-1, NAN, INFINITY};
    static const double bad_growth[] = {0.5, -1, NAN, INFINITY}, bad_steps[] = {-1, NAN, INFINITY};
#define FIELD(k, name, values)                                                          \
    {                                                                                   \
        (k), offsetof(pycnn_optimizer, name), (values), sizeof(values) / sizeof(double) \
    }
    const struct {
        int kind;
        size_t offset;
        const double *bad;
        size_t count;
    } cases[] = {
        FIELD(PYCNN_SGD, momentum, bad_fractions),     FIELD(PYCNN_SGD, clip_value, bad_limits),
        FIELD(PYCNN_SGD, clip_norm, bad_limits),       FIELD(PYCNN_ADAM, beta_1, bad_fractions),
        FIELD(PYCNN_ADAM, beta_2, bad_fractions),      FIELD(PYCNN_ADAM, epsilon, not_positive),
        FIELD(PYCNN_ADAM, weight_decay, bad_limits),   FIELD(PYCNN_ADAM, clip_norm, bad_limits),
        FIELD(PYCNN_RMSPROP, beta_2, bad_fractions),   FIELD(PYCNN_RMSPROP, epsilon, not_positive),
        FIELD(PYCNN_RMSPROP, momentum, bad_fractions), FIELD(PYCNN_ADAGRAD, epsilon, not_positive),
        FIELD(PYCNN_RPROP, increase, bad_growth),      FIELD(PYCNN_RPROP, decrease, bad_fractions),
        FIELD(PYCNN_RPROP, min_step, bad_steps),       FIELD(PYCNN_RPROP, max_step, bad_steps),
    };
#undef FIELD
    problem p = make_learner(true);
    double *slots = doubles(3 * p.parameters);
    memset(slots, 0, 3 * p.parameters * sizeof *slots);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t k = 0; k < cases[i].count; k++) {
            pycnn_optimizer optimizer;
            pycnn_optimizer_init(&optimizer, cases[i].kind);
            memcpy((char *)&optimizer + cases[i].offset, &cases[i].bad[k], sizeof(double));
            expect_refusal(
                PYCNN_ERROR_RANGE, &p,
                (pycnn_training){.learning_rate = 0.1, .optimizer = &optimizer, .slots = slots});
        }
    }
    const pycnn_optimizer crossed = {.kind = PYCNN_RPROP, .min_step = 2, .max_step = 1};
    const pycnn_optimizer zeros = {.kind = PYCNN_ADAM}, unknown = {.kind = PYCNN_OPTIMIZER_COUNT};
    pycnn_training state = {.learning_rate = 0.1, .optimizer = &crossed, .slots = slots};
    expect_refusal(PYCNN_ERROR_RANGE, &p, state);
    state.optimizer = &zeros;
    expect_refusal(PYCNN_ERROR_RANGE, &p, state);
    state.optimizer = &unknown;
    expect_refusal(PYCNN_ERROR_ARGUMENT, &p, state);
    pycnn_optimizer adam;
    pycnn_optimizer_init(&adam, PYCNN_ADAM);
    state.optimizer = &adam;
    state.updates = SIZE_MAX; /* the next one would be the first again */
    expect_refusal(PYCNN_ERROR_RANGE, &p, state);
    state.updates = 0, state.slots = NULL;
    expect_refusal(PYCNN_ERROR_ARGUMENT, &p, state);
    state.slots = slots;
    for (int i = 0; i < 4; i++) { /* fields of a later version */
        state.reserved[i] = 1;
        expect_refusal(PYCNN_ERROR_ARGUMENT, &p, state);
        state.reserved[i] = 0, adam.reserved[i] = 1;
        expect_refusal(PYCNN_ERROR_ARGUMENT, &p, state);
        adam.reserved[i] = 0;
    }
    free(slots);
    free_problem(&p);
}

static void test_learning_rates_out_of_range_change_nothing(void)
{
    static const double bad[] = {-0.1, NAN, INFINITY, -INFINITY};
    for (int norm = 0; norm < 2; norm++) {
        problem p = make_learner(norm);
        pycnn_workspace *ws = workspace(p.net, BATCH, PYCNN_BACKWARD);
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            expect_refusal(PYCNN_ERROR_RANGE, &p, (pycnn_training){.learning_rate = bad[i]});
            expect_refusal(PYCNN_ERROR_RANGE, &p, (pycnn_training){.learning_rates = &bad[i]});
            /* The last of those that the call would take, not the next one. */
            double rates[STEPS + 1];
            for (size_t k = 0; k <= STEPS; k++) {
                rates[k] = k == STEPS - 1 ? bad[i] : 0.1;
            }
            double *theta = copy_doubles(p.theta, p.theta_size);
            pycnn_training state = {.epochs = EPOCHS, .batch_size = BATCH, .learning_rates = rates};
            size_t steps = 99;
            CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, SIZE_MAX) ==
                  PYCNN_ERROR_RANGE);
            CHECK(steps == 0 && same_bits(theta, p.theta, p.theta_size));
            CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, STEPS - 1) ==
                  PYCNN_OK);
            CHECK(steps == STEPS - 1 && largest(theta, p.theta_size) < 100);
            state.learning_rates = rates + STEPS;
            CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, SIZE_MAX) ==
                  PYCNN_OK);
            CHECK(steps == 1 && state.epoch == EPOCHS);
            free(theta);
        }
        pycnn_workspace_destroy(ws);
        free_problem(&p);
    }
}

/* Weights that cannot be divided by, and gradients that are not finite, before they get into theta.
 */
static void test_sums_that_would_destroy_theta(void)
{
    for (int norm = 0; norm < 2; norm++) {
        problem p = make_learner(norm);
        pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_BACKWARD);
        double *theta = copy_doubles(p.theta, p.theta_size), *grad = doubles(p.parameters);
        for (size_t i = 0; i < ROWS; i++) {
            p.weight[i] = 1e-320;
        }
        p.data.weight = p.weight;
        pycnn_training state = {.epochs = 1, .batch_size = BATCH, .learning_rate = 0.1};
        size_t steps = 99;
        CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, SIZE_MAX) ==
              PYCNN_ERROR_RANGE);
        CHECK(steps == 0 && same_bits(theta, p.theta, p.theta_size));
        pycnn_totals sums = {.loss = 1, .weight = 1e-300};
        memset(grad, 0, p.parameters * sizeof *grad);
        CHECK(pycnn_update(theta, p.theta_size, &state, grad, &sums, p.net, ws) ==
              PYCNN_ERROR_RANGE);
        sums.weight = 1;
        grad[p.parameters - 1] = NAN;
        CHECK(pycnn_update(theta, p.theta_size, &state, grad, &sums, p.net, ws) ==
              PYCNN_ERROR_NOT_FINITE);
        CHECK(state.updates == 0 && same_bits(theta, p.theta, p.theta_size));
        free(theta), free(grad);
        pycnn_workspace_destroy(ws);
        free_problem(&p);
    }
}

static void test_what_is_usual_learns(void)
{
    for (int kind = 0; kind < PYCNN_OPTIMIZER_COUNT; kind++) {
        problem p = make_learner(true);
        pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_BACKWARD);
        double *theta = copy_doubles(p.theta, p.theta_size);
        pycnn_optimizer optimizer;
        pycnn_training state;
        pycnn_totals before, after;
        size_t steps;
        pycnn_optimizer_init(&optimizer, kind);
        pycnn_training_init(&state);
        CHECK(state.learning_rate == pycnn_optimizer_learning_rate(PYCNN_SGD));
        const size_t slots = pycnn_optimizer_slots(&optimizer) * p.parameters;
        state.slots = doubles(slots);
        memset(state.slots, 0, slots * sizeof *state.slots);
        state.optimizer = &optimizer;
        state.learning_rate = pycnn_optimizer_learning_rate(kind);
        CHECK(pycnn_evaluate(&before, p.net, ws, theta, p.theta_size, &p.data) == PYCNN_OK);
        CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, SIZE_MAX) ==
              PYCNN_OK);
        CHECK(pycnn_evaluate(&after, p.net, ws, theta, p.theta_size, &p.data) == PYCNN_OK);
        CHECK(steps == 10 && after.loss < before.loss);
        free(theta), free(state.slots);
        pycnn_workspace_destroy(ws);
        free_problem(&p);
    }
    pycnn_optimizer unknown;
    pycnn_optimizer_init(&unknown, 42);
    CHECK(unknown.kind == 42 && isnan(pycnn_optimizer_learning_rate(42)));
    CHECK(isnan(pycnn_optimizer_learning_rate(-1)));
    pycnn_optimizer_init(NULL, PYCNN_ADAM), pycnn_training_init(NULL);
}

static void test_a_training_without_totals_is_the_same(void)
{
    for (int norm = 0; norm < 2; norm++) {
        problem p = make_learner(norm);
        pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_BACKWARD);
        double *theta[2];
        pycnn_totals totals[EPOCHS] = {{0}};
        for (int i = 0; i < 2; i++) {
            pycnn_training state = {.epochs = EPOCHS,
                                    .batch_size = BATCH,
                                    .learning_rate = 0.1,
                                    .totals = i == 0 ? totals : NULL};
            size_t steps;
            theta[i] = copy_doubles(p.theta, p.theta_size);
            CHECK(pycnn_train(&steps, theta[i], p.theta_size, &state, p.net, ws, &p.data,
                              SIZE_MAX) == PYCNN_OK);
            CHECK(steps == STEPS);
        }
        CHECK(same_bits(theta[0], theta[1], p.theta_size) && totals[1].weight == ROWS);
        free(theta[0]), free(theta[1]);
        pycnn_workspace_destroy(ws);
        free_problem(&p);
    }
}

const test optimizer_tests[] = {
    FOR_EACH_SET("settings out of range change nothing", test_settings_out_of_range_change_nothing),
    FOR_EACH_SET("learning rates out of range change nothing",
                 test_learning_rates_out_of_range_change_nothing),
    FOR_EACH_SET("sums that would destroy theta", test_sums_that_would_destroy_theta),
    FOR_EACH_SET("what is usual learns", test_what_is_usual_learns),
    FOR_EACH_SET("a training without totals is the same",
                 test_a_training_without_totals_is_the_same),
    {0},
};
