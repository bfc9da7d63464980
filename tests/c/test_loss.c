/* Losses: their values, extreme logits, and what targets may be. */
#include "check.h"

#if !defined(__wasi__) /* where nobody can leave */
#define HAVE_LONGJMP 1
#include <setjmp.h>
#endif

/* The binary cross-entropy of logit z and target 0: log(1 + e^z). */
static void test_logarithms_meet_the_c_library(void)
{
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_SIGMOID, 1)};
    pycnn_network *net = create(1, layers, 1, PYCNN_BINARY_CROSSENTROPY);
    pycnn_workspace *ws = workspace(net, 1, PYCNN_FORWARD);
    const double theta[2] = {1, 0}, y = 0;
    uint64_t seed = 6;
    for (int i = 0; i < 4000; i++) {
        const double z = (i % 2 ? 3 : 45) * random_value(&seed);
        const double e = exp(-fabs(z)), expected = fmax(z, 0) + log1p(e);
        const pycnn_dataset data = {.rows = 1, .x = &z, .y = &y};
        pycnn_totals totals;
        CHECK(pycnn_evaluate(&totals, net, ws, theta, pycnn_network_theta_size(net), &data) ==
              PYCNN_OK);
        CHECK(near(totals.loss, expected, 6 * DBL_EPSILON));
    }
    pycnn_workspace_destroy(ws);
    pycnn_network_destroy(net);
}

/* One unit without inputs to speak of: the logits are the biases. */
static void check_logits(const double *bias, size_t units, int output, int loss, const double *y,
                         double expected_loss, const double *expected_delta)
{
    const pycnn_layer_spec layers[] = {DENSE(output, units)};
    pycnn_network *net = create(1, layers, 1, loss);
    pycnn_workspace *ws = workspace(net, 1, PYCNN_BACKWARD);
    double theta[8] = {0}, grad[8];
    memcpy(theta + units, bias, units * sizeof *bias);
    const double x = 1;
    const pycnn_dataset data = {.rows = 1, .x = &x, .y = y};
    pycnn_totals totals;
    CHECK(pycnn_gradients(&totals, grad, net, ws, theta, pycnn_network_theta_size(net), &data,
                          NULL) == PYCNN_OK);
    CHECK(near(totals.loss, expected_loss, 1e-14));
    for (size_t j = 0; j < units; j++) {
        CHECK(near(grad[units + j], expected_delta[j], 1e-14));
    }
    pycnn_workspace_destroy(ws);
    pycnn_network_destroy(net);
}

static void test_cross_entropies_of_extreme_logits(void)
{
    static const double zero[2] = {0, 0}, one[2] = {1, 0}, two[2] = {0, 1};
    for (double z = 50; z < 1e300; z *= z) {
        /* wrong: the loss is the logit, delta is 1; right: both are e^-z, not 0. */
        const double small = exp(-z), delta_wrong[1] = {1}, delta_right[1] = {-small};
        check_logits(&(double){z}, 1, PYCNN_SIGMOID, PYCNN_BINARY_CROSSENTROPY, zero, z,
                     delta_wrong);
        check_logits(&(double){z}, 1, PYCNN_SIGMOID, PYCNN_BINARY_CROSSENTROPY, one, small,
                     delta_right);
        const double logits[2] = {z / 2, -z / 2};
        const double wrong[2] = {1, -1}, right[2] = {-small, small};
        check_logits(logits, 2, PYCNN_SOFTMAX, PYCNN_CATEGORICAL_CROSSENTROPY, two, z, wrong);
        check_logits(logits, 2, PYCNN_SOFTMAX, PYCNN_CATEGORICAL_CROSSENTROPY, one, small, right);
    }
    const double largest_logit[1] = {DBL_MAX}, delta[1] = {1};
    check_logits(largest_logit, 1, PYCNN_SIGMOID, PYCNN_BINARY_CROSSENTROPY, zero, DBL_MAX, delta);
}

static void test_labels_and_one_hot_rows_give_the_same_bits(void)
{
    enum { ROWS = 23, EPOCHS = 2 };
    problem p = classifier(23, ROWS);
    pycnn_workspace *ws = workspace(p.net, 8, PYCNN_BACKWARD);
    const pycnn_training plan = {.epochs = EPOCHS, .batch_size = 5, .learning_rate = 0.3};
    pycnn_totals totals[2][EPOCHS], sums[2];
    double *one_hot_grad = doubles(p.parameters), *label_grad = doubles(p.parameters);
    double *one_hot = trained(&p, ws, plan, totals[0]);
    CHECK(pycnn_gradients(&sums[0], one_hot_grad, p.net, ws, p.theta, p.theta_size, &p.data,
                          NULL) == PYCNN_OK);
    p.data.y = NULL, p.data.label = p.label;
    double *labels = trained(&p, ws, plan, totals[1]);
    CHECK(pycnn_gradients(&sums[1], label_grad, p.net, ws, p.theta, p.theta_size, &p.data, NULL) ==
          PYCNN_OK);
    CHECK(same_bits(one_hot, labels, p.parameters));
    CHECK(same_bits(one_hot_grad, label_grad, p.parameters));
    CHECK(same_bits(totals[0], totals[1], 3 * EPOCHS));
    CHECK(same_bits(&sums[0], &sums[1], 3));
    CHECK(sums[0].correct >= 0 && sums[0].correct <= ROWS && sums[0].weight == ROWS);
    free(one_hot), free(labels), free(one_hot_grad), free(label_grad);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

/* As if somebody else had smoothed the targets; what is right is told from them as they were. */
static void check_smoothing(int loss, size_t units)
{
    enum { ROWS = 23, EPOCHS = 2 };
    const double e = 0.1, classes = loss == PYCNN_BINARY_CROSSENTROPY ? 2 : (double)units;
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_TANH, 5), DENSE(output_for(loss), units)};
    problem p = make_problem(29, ROWS, 4, layers, 2, loss), q = p;
    CHECK(pycnn_network_create(&q.net, 4, layers, 2, loss, e) == PYCNN_OK);
    for (size_t batch = 1; batch <= 8; batch += 7) { /* few samples take another way */
        pycnn_workspace *ws = workspace(p.net, 8, PYCNN_BACKWARD);
        pycnn_workspace *smoothing_ws = workspace(q.net, 8, PYCNN_BACKWARD);
        const pycnn_training plan = {.epochs = EPOCHS, .batch_size = batch, .learning_rate = 0.3};
        double *smoothed = copy_doubles(p.y, ROWS * units);
        for (size_t i = 0; i < ROWS * units; i++) {
            smoothed[i] = (1 - e) * p.y[i] + e / classes;
        }
        pycnn_totals totals[3][EPOCHS];
        p.data.y = smoothed;
        double *expected = trained(&p, ws, plan, totals[0]);
        double *theta = trained(&q, smoothing_ws, plan, totals[1]);
        q.data.y = NULL, q.data.label = q.label;
        double *of_labels = trained(&q, smoothing_ws, plan, totals[2]);
        q.data.y = q.y;
        CHECK(same_bits(theta, expected, p.parameters));
        CHECK(same_bits(totals[0], totals[1], 3 * EPOCHS));
        CHECK(same_bits(of_labels, expected, p.parameters));
        free(expected), free(theta), free(of_labels), free(smoothed);
        pycnn_workspace_destroy(ws), pycnn_workspace_destroy(smoothing_ws);
    }
    pycnn_network_destroy(q.net);
    free_problem(&p);
}

static void test_labels_are_smoothed(void)
{
    check_smoothing(PYCNN_CATEGORICAL_CROSSENTROPY, 3);
    check_smoothing(PYCNN_BINARY_CROSSENTROPY, 3);
    check_smoothing(PYCNN_BINARY_CROSSENTROPY, 1);
}

/* Targets of several outputs, some of them missing. */
static void check_missing_targets(int loss, bool weighted)
{
    enum { ROWS = 21, UNITS = 3, EPOCHS = 2 };
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_TANH, 5), DENSE(output_for(loss), UNITS)};
    problem p = make_problem(31, ROWS, 4, layers, 2, loss);
    pycnn_workspace *ws = workspace(p.net, 8, PYCNN_BACKWARD);
    double *grad = doubles(p.parameters), *expected = doubles(p.parameters);
    p.data.weight = weighted ? p.weight : NULL;

    /* One sample: its loss is the sum of what the losses of the outputs that it has are. */
    pycnn_totals totals, part, sum = {0};
    p.data.rows = 1;
    memset(expected, 0, p.parameters * sizeof *expected);
    for (size_t mask = 1; mask < 1 << UNITS; mask++) {
        double loss_sum = 0, fraction = 0, count = 0;
        for (size_t j = 0; j < UNITS; j++) {
            const double one[] = {j == 0 ? p.y[0] : NAN, j == 1 ? p.y[1] : NAN,
                                  j == 2 ? p.y[2] : NAN};
            p.data.y = one;
            CHECK(pycnn_evaluate(&part, p.net, ws, p.theta, p.theta_size, &p.data) == PYCNN_OK);
            if (mask >> j & 1) {
                loss_sum += part.loss, fraction += part.correct, count++;
            }
        }
        const double some[] = {mask & 1 ? p.y[0] : NAN, mask & 2 ? p.y[1] : NAN,
                               mask & 4 ? p.y[2] : NAN};
        p.data.y = some;
        CHECK(pycnn_evaluate(&totals, p.net, ws, p.theta, p.theta_size, &p.data) == PYCNN_OK);
        CHECK(totals.weight == (weighted ? p.weight[0] : 1));
        CHECK(near(totals.loss, loss_sum, 1e-14) && near(totals.correct, fraction / count, 1e-14));
    }

    /* Rows without any target are as if they were not there. */
    p.data.rows = ROWS;
    double *kept_x = doubles(ROWS * p.inputs), *kept_y = doubles(ROWS * UNITS);
    double *kept_weight = doubles(ROWS), *y = copy_doubles(p.y, ROWS * UNITS);
    size_t kept = 0;
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t j = 0; j < UNITS; j++) {
            y[i * UNITS + j] = i % 3 == 0 || (i + j) % 4 == 0 ? NAN : p.y[i * UNITS + j];
        }
        if (i % 3 != 0) {
            memcpy(kept_x + kept * p.inputs, p.x + i * p.inputs, p.inputs * sizeof *p.x);
            memcpy(kept_y + kept * UNITS, y + i * UNITS, UNITS * sizeof *y);
            kept_weight[kept++] = p.weight[i];
        }
    }
    p.data.y = y;
    CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, p.theta_size, &p.data, NULL) ==
          PYCNN_OK);
    const pycnn_dataset rest = {
        .rows = kept, .x = kept_x, .y = kept_y, .weight = weighted ? kept_weight : NULL};
    CHECK(pycnn_gradients(&sum, expected, p.net, ws, p.theta, p.theta_size, &rest, NULL) ==
          PYCNN_OK);
    CHECK(same_bits(grad, expected, p.parameters) && same_bits(&totals, &sum, 3));

    /* A mini-batch of such rows changes nothing; others train, few samples at a time or many. */
    for (size_t batch = 1; batch <= 8; batch += 7) {
        pycnn_totals epochs[EPOCHS];
        const pycnn_training plan = {.epochs = EPOCHS, .batch_size = batch, .learning_rate = 0.1};
        double *theta = trained(&p, ws, plan, epochs);
        CHECK(largest(theta, p.parameters) < 100 && !same_bits(theta, p.theta, p.parameters));
        CHECK(near(epochs[1].weight, sum.weight, 1e-14));
        CHECK(epochs[1].loss < epochs[0].loss);
        free(theta);
    }
    for (size_t i = 0; i < ROWS * UNITS; i++) {
        y[i] = NAN;
    }
    for (size_t batch = 1; batch <= 8; batch += 7) {
        pycnn_totals epoch;
        const pycnn_training plan = {.epochs = 1, .batch_size = batch, .learning_rate = 0.1};
        double *theta = trained(&p, ws, plan, &epoch);
        CHECK(same_bits(theta, p.theta, p.parameters) && epoch.weight == 0 && epoch.loss == 0);
        free(theta);
    }
    free(grad), free(expected), free(kept_x), free(kept_y), free(kept_weight), free(y);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

static void test_targets_may_be_missing(void)
{
    for (int loss = 0; loss < LOSSES; loss++) {
        if (loss != PYCNN_CATEGORICAL_CROSSENTROPY && loss != PYCNN_KL_DIVERGENCE) {
            check_missing_targets(loss, false);
            check_missing_targets(loss, true);
        }
    }
    /* A class that is missing is an error of the caller's; the loss shows it. */
    problem p = classifier(23, 4);
    pycnn_workspace *ws = workspace(p.net, 4, PYCNN_FORWARD);
    pycnn_totals totals;
    p.y[3] = p.y[4] = p.y[5] = NAN;
    CHECK(pycnn_evaluate(&totals, p.net, ws, p.theta, p.theta_size, &p.data) == PYCNN_OK);
    CHECK(isnan(totals.loss));
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

#ifdef HAVE_LONGJMP
static jmp_buf outside;
static int calls_before_leaving;

static int leave(void *context, double *losses, double *gradient, const double *outputs,
                 const double *targets, size_t rows, size_t units)
{
    if (calls_before_leaving-- == 0) {
        longjmp(outside, 1);
    }
    memset(losses, 0, rows * sizeof *losses);
    for (size_t i = 0; i < rows * units; i++) {
        const double error = outputs[i] - targets[i];
        losses[i / units] += error * error / 2;
        if (gradient != NULL) {
            gradient[i] = error;
        }
    }
    (void)context;
    return 0;
}

static void test_a_loss_function_may_leave_by_longjmp(void)
{
    enum { ROWS = 1000, BATCH = 250, STEPS = ROWS / BATCH };
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_TANH, 200), DENSE(PYCNN_LINEAR, 2)};
    problem p = make_problem(5, ROWS, 9, layers, 2, PYCNN_CUSTOM);
    double *whole = NULL;
    for (int threads = 1; threads <= 3; threads += 2) {
        pycnn_threads *pool;
        CHECK(pycnn_threads_create(&pool, (size_t)threads) == PYCNN_OK);
        for (volatile int before = STEPS; before >= 0; before--) {
            pycnn_workspace *ws = workspace(p.net, BATCH, PYCNN_BACKWARD);
            pycnn_workspace_set_threads(ws, pool);
            pycnn_workspace_set_loss(ws, leave, NULL);
            double *theta = copy_doubles(p.theta, p.theta_size);
            pycnn_training state = {.epochs = 1, .batch_size = BATCH, .learning_rate = 1e-3};
            size_t steps = 99;
            calls_before_leaving = before;
            if (setjmp(outside) == 0) {
                CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, 99) ==
                          PYCNN_OK &&
                      before == STEPS);
            } else { /* it stands where the last step has ended, and goes on from there */
                CHECK(steps == (size_t)before && state.position == (size_t)before * BATCH);
                CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, 99) ==
                      PYCNN_OK);
            }
            whole = whole == NULL ? copy_doubles(theta, p.theta_size) : whole;
            CHECK(same_bits(theta, whole, p.theta_size));
            free(theta);
            pycnn_workspace_destroy(ws);
        }
        pycnn_threads_destroy(pool);
    }
    free(whole);
    free_problem(&p);
}
#endif

const test loss_tests[] = {
#ifdef HAVE_LONGJMP
    ONCE("a loss function may leave by longjmp", test_a_loss_function_may_leave_by_longjmp),
#endif
    FOR_EACH_SET("logarithms meet the C library", test_logarithms_meet_the_c_library),
    FOR_EACH_SET("cross-entropies of extreme logits", test_cross_entropies_of_extreme_logits),
    FOR_EACH_SET("labels and one-hot rows give the same bits",
                 test_labels_and_one_hot_rows_give_the_same_bits),
    FOR_EACH_SET("labels are smoothed", test_labels_are_smoothed),
    FOR_EACH_SET("targets may be missing", test_targets_may_be_missing),
    {0},
};
