/* The public calls: the lecture's worked example, gradients, and calls that are refused. */
#include "check.h"

#include "mode.h"

/* ---------------------------------------------------------------- the lecture's worked example */

/* 2-2-2-1, relu, relu, sigmoid, binary cross-entropy, one sample; learning rate 0.1. */
static void test_lecture_example(void)
{
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_RELU, 2), DENSE(PYCNN_RELU, 2),
                                       DENSE(PYCNN_SIGMOID, 1)};
    double theta[15] = {0.1, 0.2, 0.3, 0.4, 0.05, 0.05, /* W[1], b[1] */
                        0.5, 0.6, 0.7, 0.8, 0.1,  0.1,  /* W[2], b[2] */
                        0.9, 1.0, 0.15};                /* W[3], b[3] */
    const double x[2] = {0.5, 1.0}, y[1] = {1.0};

    /* The lecture's formulas, written out; what it prints is rounded after each of them. */
    double z[5], a[5], delta[5], grad[15], updated[15];
    z[0] = theta[0] * x[0] + theta[1] * x[1] + theta[4];
    z[1] = theta[2] * x[0] + theta[3] * x[1] + theta[5];
    a[0] = fmax(0, z[0]), a[1] = fmax(0, z[1]);
    z[2] = theta[6] * a[0] + theta[7] * a[1] + theta[10];
    z[3] = theta[8] * a[0] + theta[9] * a[1] + theta[11];
    a[2] = fmax(0, z[2]), a[3] = fmax(0, z[3]);
    z[4] = theta[12] * a[2] + theta[13] * a[3] + theta[14];
    a[4] = 1 / (1 + exp(-z[4]));
    delta[4] = a[4] - y[0];
    delta[2] = z[2] > 0 ? theta[12] * delta[4] : 0;
    delta[3] = z[3] > 0 ? theta[13] * delta[4] : 0;
    delta[0] = z[0] > 0 ? theta[6] * delta[2] + theta[8] * delta[3] : 0;
    delta[1] = z[1] > 0 ? theta[7] * delta[2] + theta[9] * delta[3] : 0;
    for (int j = 0; j < 2; j++) {
        for (int k = 0; k < 2; k++) {
            grad[2 * j + k] = delta[j] * x[k];
            grad[6 + 2 * j + k] = delta[2 + j] * a[k];
        }
        grad[4 + j] = delta[j];
        grad[10 + j] = delta[2 + j];
        grad[12 + j] = delta[4] * a[2 + j];
    }
    grad[14] = delta[4];
    for (int i = 0; i < 15; i++) {
        updated[i] = theta[i] - 0.1 * grad[i];
    }

    pycnn_network *net = create(2, layers, 3, PYCNN_BINARY_CROSSENTROPY);
    const size_t theta_size = pycnn_network_theta_size(net);
    CHECK(theta_size == 15 && pycnn_network_parameter_count(net) == 15);
    pycnn_workspace *ws = workspace(net, 1, PYCNN_TRACE);
    const pycnn_dataset data = {.rows = 1, .x = x, .y = y};
    double z_core[5], a_core[5], delta_core[5], grad_core[15], output;
    pycnn_totals totals;
    CHECK(pycnn_trace(&totals, grad_core, z_core, a_core, delta_core, net, ws, theta, theta_size,
                      &data) == PYCNN_OK);
    for (int i = 0; i < 5; i++) {
        CHECK(near(z_core[i], z[i], 1e-12));
        CHECK(near(a_core[i], a[i], 1e-12));
        CHECK(near(delta_core[i], delta[i], 1e-12));
    }
    for (int i = 0; i < 15; i++) {
        CHECK(near(grad_core[i], grad[i], 1e-12));
    }
    CHECK(near(totals.loss, -log(a[4]), 1e-12));
    CHECK(totals.weight == 1 && totals.correct == 1);
    CHECK(pycnn_predict(&output, net, ws, theta, theta_size, x, 1) == PYCNN_OK);
    CHECK(same_bits(&output, &a_core[4], 1));

    /* The figures it prints, for what they are worth. */
    CHECK(fabs(z_core[4] - 1.489) < 1e-12);
    CHECK(fabs(output - 0.816) < 1e-3);
    CHECK(fabs(totals.loss - 0.203) < 1e-3);
    CHECK(fabs(delta_core[4] + 0.184) < 1e-3);

    pycnn_totals epoch = {0};
    pycnn_training state = {.epochs = 1, .batch_size = 1, .learning_rate = 0.1, .totals = &epoch};
    size_t steps = 0;
    CHECK(pycnn_train(&steps, theta, theta_size, &state, net, ws, &data, 10) == PYCNN_OK);
    CHECK(steps == 1 && state.epoch == 1 && state.position == 0);
    CHECK(same_bits(&epoch, &totals, 3));
    for (int i = 0; i < 15; i++) {
        CHECK(near(theta[i], updated[i], 1e-12));
    }
    CHECK(fabs(theta[0] - 0.110580) < 1e-4 && fabs(theta[12] - 0.911224) < 1e-4);
    CHECK(pycnn_evaluate(&totals, net, ws, theta, theta_size, &data) == PYCNN_OK);
    CHECK(totals.loss < epoch.loss); /* the second iteration's loss is the lower one */
    pycnn_workspace_destroy(ws);
    pycnn_network_destroy(net);
}

/* ---------------------------------------------------------------- gradients */

static double mean_loss(const problem *p, pycnn_workspace *ws)
{
    pycnn_totals totals;
    CHECK(pycnn_evaluate(&totals, p->net, ws, p->theta, p->theta_size, &p->data) == PYCNN_OK);
    return totals.loss / totals.weight;
}

static bool is_far(double x, double kink) { return fabs(x - kink) > 1e-3; }

/* A difference across a kink measures nothing: no z may be close to one of an activation (relu's is
 * at 0, those of the hard ones at -1, 1, -3 and 3), and no output to one of a loss. */
static bool far_from_kinks(const problem *p, pycnn_workspace *ws)
{
    const size_t count = p->units * p->data.rows;
    double *z = doubles(count), *a = doubles(count), *delta = doubles(count);
    double *grad = doubles(p->parameters);
    pycnn_totals totals;
    CHECK(pycnn_trace(&totals, grad, z, a, delta, p->net, ws, p->theta, p->theta_size, &p->data) ==
          PYCNN_OK);
    bool far = true;
    for (size_t i = 0; i < count; i++) {
        far = far && is_far(z[i], 0) && is_far(fabs(z[i]), 1) && is_far(fabs(z[i]), 3);
    }
    for (size_t j = 0; j < p->outputs; j++) {
        for (size_t i = 0; i < p->data.rows; i++) {
            const double output = a[(p->units - p->outputs + j) * p->data.rows + i];
            const double target = p->y[i * p->outputs + j], error = output - target;
            far = far && is_far(error, 0) && is_far(fabs(error), parameter_of(PYCNN_HUBER)) &&
                  is_far(target * output, 1);
        }
    }
    free(z), free(a), free(delta), free(grad);
    return far;
}

/* Targets of a class that add up to 1. */
static problem make_soft_problem(uint64_t seed, size_t rows, const pycnn_layer_spec layers[2],
                                 int loss)
{
    problem p = make_problem(seed, rows, 3, layers, 2, loss);
    for (size_t i = 0; i < rows; i++) {
        p.y[3 * i + p.label[i]] = 0.9;
        p.y[3 * i + (p.label[i] + 1) % 3] = 0.1;
    }
    return p;
}

static void check_gradient(int hidden, int output, int loss, bool weighted)
{
    const pycnn_layer_spec layers[] = {DENSE(hidden, 4), DENSE(output, 3)};
    enum { ROWS = 6 };
    uint64_t seed = 100;
    problem p = make_soft_problem(seed, ROWS, layers, loss);
    pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_TRACE);
    while (!far_from_kinks(&p, ws) && seed < 200) {
        pycnn_workspace_destroy(ws);
        free_problem(&p);
        p = make_soft_problem(++seed, ROWS, layers, loss);
        ws = workspace(p.net, ROWS, PYCNN_TRACE);
    }
    p.data.weight = weighted ? p.weight : NULL;
    double *grad = doubles(p.parameters), *numeric = doubles(p.parameters);
    pycnn_totals totals;
    CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, p.theta_size, &p.data, NULL) ==
          PYCNN_OK);
    CHECK(near(totals.loss / totals.weight, mean_loss(&p, ws), 1e-15));
    CHECK(largest(grad, p.parameters) > 1e-2);
    const double h = 1e-5; /* errors: h^2 f''' = 1e-10 and eps / h = 1e-11 */
    for (size_t i = 0; i < p.parameters; i++) {
        const double value = p.theta[i];
        p.theta[i] = value + h;
        const double above = mean_loss(&p, ws);
        p.theta[i] = value - h;
        const double below = mean_loss(&p, ws);
        p.theta[i] = value;
        numeric[i] = (above - below) / (2 * h);
    }
    CHECK(agree(grad, numeric, p.parameters, 1e-8));
    free(grad), free(numeric);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

static void test_gradients_meet_central_differences(void)
{
    for (int weighted = 0; weighted < 2; weighted++) {
        for (int hidden = 0; hidden < ACTIVATIONS; hidden++) {
            for (int output = 0; output < ACTIVATIONS; output++) {
                check_gradient(hidden, output, PYCNN_MSE, weighted);
            }
            for (int loss = 0; loss < LOSSES; loss++) {
                check_gradient(hidden, output_for(loss), loss, weighted);
            }
        }
    }
}

static void test_the_first_number_that_is_not_finite_is_found(void)
{
    static const double bad[] = {INFINITY, -INFINITY, NAN};
    for (size_t count = 0; count < 70; count++) {
        double *x = random_doubles(count, count);
        x[count] = NAN; /* behind the end */
        CHECK(pycnn_find_not_finite(x, count) == count);
        for (size_t i = 0; i < count; i++) {
            const double value = x[i];
            x[i] = i % 2 ? DBL_MAX : -DBL_MAX;
            CHECK(pycnn_find_not_finite(x, count) == count);
            x[i] = bad[i % 3];
            CHECK(pycnn_find_not_finite(x, count) == i);
            x[count - 1] = NAN; /* the first one counts */
            CHECK(pycnn_find_not_finite(x, count) == i);
            x[count - 1] = 0, x[i] = value;
        }
        free(x);
    }
}

/* ---------------------------------------------------------------- refusals */

static void test_calls_that_cannot_be(void)
{
    enum { ROWS = 5 };
    problem p = classifier(91, ROWS), other = classifier(91, ROWS);
    pycnn_workspace *forward = workspace(p.net, ROWS, PYCNN_FORWARD);
    pycnn_workspace *backward = workspace(p.net, ROWS, PYCNN_BACKWARD);
    pycnn_workspace *trace = workspace(p.net, ROWS, PYCNN_TRACE);
    pycnn_workspace *small = workspace(p.net, ROWS - 1, PYCNN_TRACE);
    pycnn_workspace *foreign = workspace(other.net, ROWS, PYCNN_TRACE);
    double *out = doubles(p.units * ROWS), *grad = doubles(p.parameters);
    pycnn_totals totals;
    const pycnn_network *net = p.net;
    const double *theta = p.theta;

    CHECK(pycnn_predict(NULL, net, forward, theta, p.theta_size, p.x, ROWS) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predict(out, NULL, forward, theta, p.theta_size, p.x, ROWS) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predict(out, net, NULL, theta, p.theta_size, p.x, ROWS) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predict(out, net, forward, NULL, p.theta_size, p.x, ROWS) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predict(out, net, forward, theta, p.theta_size, NULL, ROWS) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predict(out, net, foreign, theta, p.theta_size, p.x, ROWS) ==
          PYCNN_ERROR_WORKSPACE);
    CHECK(pycnn_predict(out, net, forward, theta, p.theta_size, p.x, 0) == PYCNN_OK);

    const pycnn_dataset good = p.data, no_rows = {.x = p.x, .y = p.y};
    const pycnn_dataset no_x = {.rows = ROWS, .y = p.y}, no_y = {.rows = ROWS, .x = p.x};
    CHECK(pycnn_evaluate(NULL, net, forward, theta, p.theta_size, &good) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_evaluate(&totals, NULL, forward, theta, p.theta_size, &good) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_evaluate(&totals, net, NULL, theta, p.theta_size, &good) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_evaluate(&totals, net, forward, NULL, p.theta_size, &good) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_evaluate(&totals, net, forward, theta, p.theta_size, NULL) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_evaluate(&totals, net, forward, theta, p.theta_size, &no_x) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_evaluate(&totals, net, forward, theta, p.theta_size, &no_y) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_evaluate(&totals, net, forward, theta, p.theta_size, &no_rows) == PYCNN_ERROR_SIZE);
    CHECK(pycnn_evaluate(&totals, net, foreign, theta, p.theta_size, &good) ==
          PYCNN_ERROR_WORKSPACE);

    CHECK(pycnn_gradients(NULL, grad, net, backward, theta, p.theta_size, &good, NULL) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_gradients(&totals, NULL, net, backward, theta, p.theta_size, &good, NULL) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_gradients(&totals, grad, net, backward, theta, p.theta_size, &no_x, NULL) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_gradients(&totals, grad, net, forward, theta, p.theta_size, &good, NULL) ==
          PYCNN_ERROR_WORKSPACE);
    CHECK(pycnn_gradients(&totals, grad, net, foreign, theta, p.theta_size, &good, NULL) ==
          PYCNN_ERROR_WORKSPACE);

    CHECK(pycnn_trace(NULL, grad, out, out, out, net, trace, theta, p.theta_size, &good) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_trace(&totals, NULL, out, out, out, net, trace, theta, p.theta_size, &good) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_trace(&totals, grad, NULL, out, out, net, trace, theta, p.theta_size, &good) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_trace(&totals, grad, out, NULL, out, net, trace, theta, p.theta_size, &good) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_trace(&totals, grad, out, out, NULL, net, trace, theta, p.theta_size, &good) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_trace(&totals, grad, out, out, out, net, trace, theta, p.theta_size, NULL) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_trace(&totals, grad, out, out, out, net, trace, theta, p.theta_size, &no_rows) ==
          PYCNN_ERROR_SIZE);
    CHECK(pycnn_trace(&totals, grad, out, out, out, net, backward, theta, p.theta_size, &good) ==
          PYCNN_ERROR_WORKSPACE);
    CHECK(pycnn_trace(&totals, grad, out, out, out, net, small, theta, p.theta_size, &good) ==
          PYCNN_ERROR_WORKSPACE);
    CHECK(pycnn_trace(&totals, grad, out, out, out, net, foreign, theta, p.theta_size, &good) ==
          PYCNN_ERROR_WORKSPACE);

    CHECK(pycnn_input_gradient(NULL, net, trace, theta, p.theta_size, &good) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_input_gradient(out, net, trace, theta, p.theta_size, NULL) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_input_gradient(out, net, trace, theta, p.theta_size, &no_y) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_input_gradient(out, net, trace, theta, p.theta_size, &no_rows) == PYCNN_ERROR_SIZE);
    CHECK(pycnn_input_gradient(out, net, backward, theta, p.theta_size, &good) ==
          PYCNN_ERROR_WORKSPACE);
    CHECK(pycnn_input_gradient(out, net, foreign, theta, p.theta_size, &good) ==
          PYCNN_ERROR_WORKSPACE);

    free(out), free(grad);
    pycnn_workspace_destroy(forward), pycnn_workspace_destroy(backward);
    pycnn_workspace_destroy(trace), pycnn_workspace_destroy(small);
    pycnn_workspace_destroy(foreign);
    free_problem(&p), free_problem(&other);
}

static void test_theta_of_another_size(void)
{
    enum { ROWS = 4, UNITS = 3 };
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_TANH, UNITS),
                                       {.kind = PYCNN_BATCH_NORM, .epsilon = 1e-5, .momentum = 0.1},
                                       DENSE(PYCNN_LINEAR, 1)};
    problem p = make_problem(5, ROWS, 2, layers, 3, PYCNN_MSE);
    pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_TRACE);
    CHECK(p.theta_size == p.parameters + 2 * UNITS && pycnn_network_theta_size(NULL) == 0);
    double *theta = doubles(p.theta_size), *grad = doubles(p.parameters);
    double *out = doubles(3 * ROWS * (2 * UNITS + 1)), *untouched = random_doubles(1, p.theta_size);
    memcpy(theta, untouched, p.theta_size * sizeof *theta);
    /* Without its statistics, as one may think that it is, too, and where it may be long enough. */
    const size_t sizes[] = {p.parameters, 0, p.theta_size - 1, p.theta_size + 1, SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const size_t size = sizes[i];
        const uint64_t key = 1;
        pycnn_totals totals = {0}, sums = {.loss = 1, .weight = 1};
        pycnn_training state = {
            .epochs = 1, .batch_size = ROWS, .learning_rate = 0.1, .totals = &totals};
        size_t steps = 1;
        const int found[] = {
            pycnn_predict(out, p.net, ws, theta, size, p.x, ROWS),
            pycnn_predict_finite(out, p.net, ws, theta, size, p.x, ROWS),
            pycnn_predict_samples(out, p.net, ws, theta, size, p.x, ROWS, &key, 1, 0),
            pycnn_evaluate(&totals, p.net, ws, theta, size, &p.data),
            pycnn_gradients(&totals, grad, p.net, ws, theta, size, &p.data, NULL),
            pycnn_gradient_sums(&totals, grad, NULL, p.net, ws, theta, size, &p.data, &key, 0),
            pycnn_trace(&totals, grad, out, out, out, p.net, ws, theta, size, &p.data),
            pycnn_input_gradient(out, p.net, ws, theta, size, &p.data),
            pycnn_update(theta, size, &state, grad, &sums, p.net, ws),
            pycnn_train(&steps, theta, size, &state, p.net, ws, &p.data, SIZE_MAX)};
        for (size_t k = 0; k < sizeof found / sizeof *found; k++) {
            CHECK(found[k] == PYCNN_ERROR_SIZE);
        }
        CHECK(steps == 0 && state.updates == 0 && state.epoch == 0 && totals.weight == 0);
        CHECK(isnan(pycnn_penalty(p.net, theta, size)));
        CHECK(same_bits(theta, untouched, p.theta_size));
    }
    free(theta), free(grad), free(out), free(untouched);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

static void test_data_of_a_later_version(void)
{
    enum { ROWS = 4 };
    problem p = classifier(3, ROWS);
    pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_TRACE);
    double *theta = copy_doubles(p.theta, p.theta_size), *grad = doubles(p.parameters);
    double *out = doubles(p.units * ROWS);
    for (int i = 0; i < 3; i++) {
        pycnn_totals totals = {0};
        pycnn_training state = {.epochs = 1, .batch_size = ROWS, .learning_rate = 0.1};
        size_t steps = 1;
        pycnn_dataset data = p.data;
        data.reserved[i] = (uint64_t)1 << 63;
        const int found[] = {
            pycnn_evaluate(&totals, p.net, ws, theta, p.theta_size, &data),
            pycnn_gradients(&totals, grad, p.net, ws, theta, p.theta_size, &data, NULL),
            pycnn_gradient_sums(&totals, grad, NULL, p.net, ws, theta, p.theta_size, &data, NULL,
                                0),
            pycnn_trace(&totals, grad, out, out, out, p.net, ws, theta, p.theta_size, &data),
            pycnn_input_gradient(out, p.net, ws, theta, p.theta_size, &data),
            pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &data, SIZE_MAX)};
        for (size_t k = 0; k < sizeof found / sizeof *found; k++) {
            CHECK(found[k] == PYCNN_ERROR_ARGUMENT);
        }
        CHECK(steps == 0 && same_bits(theta, p.theta, p.theta_size));
    }
    free(theta), free(grad), free(out);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

/* ---------------------------------------------------------------- the mode of the thread */

/* Gradients, and behind them the parameters that a training ends with. */
static double *computed_in_mode(uint64_t mode, const problem *p, size_t threads)
{
    const uint64_t before = read_mode();
    double *all = doubles(2 * p->parameters);
    pycnn_totals totals, epochs[2];
    const pycnn_training plan = {.epochs = 2, .batch_size = 16, .learning_rate = 0.25};
    write_mode(mode);
    pycnn_threads *pool; /* its workers begin in this mode */
    CHECK(pycnn_threads_create(&pool, threads) == PYCNN_OK);
    pycnn_workspace *ws = workspace(p->net, p->data.rows, PYCNN_BACKWARD);
    pycnn_workspace_set_threads(ws, pool);
    CHECK(pycnn_gradients(&totals, all, p->net, ws, p->theta, p->theta_size, &p->data, NULL) ==
          PYCNN_OK);
    double *theta = trained(p, ws, plan, epochs);
    memcpy(all + p->parameters, theta, p->parameters * sizeof *all);
    const uint64_t after = read_mode();
    write_mode(before);
    CHECK((after & MODE_BITS) == (mode & MODE_BITS));
    pycnn_workspace_destroy(ws);
    pycnn_threads_destroy(pool);
    free(theta);
    return all;
}

static void test_a_mode_of_the_callers_does_not_matter_and_stays(void)
{
#if !HAVE_ASSEMBLY /* the caller's mode is taken as it is */
    static const uint64_t modes[] = {MODE_NEEDED};
#elif defined(__SSE2__)
    static const uint64_t modes[] = {0x9fc0, 0x5f80, 0x1f80}; /* flushing; upwards; as usual */
#elif defined(__aarch64__) || defined(__arm__)
    static const uint64_t modes[] = {1 << 24, 1 << 22, 0};
#elif defined(FE_UPWARD)
    static const uint64_t modes[] = {FE_UPWARD, FE_TONEAREST};
#else
    static const uint64_t modes[] = {FE_TONEAREST};
#endif
    problem p = classifier(11, 40);
    for (size_t i = 0; i < p.data.rows * p.inputs; i++) {
        p.x[i] *= i % 2 == 0 ? 0x1p-1022 : 1;
    }
    double *expected = computed_in_mode(MODE_NEEDED, &p, 1);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        double *computed = computed_in_mode(modes[i], &p, 2);
        CHECK(same_bits(computed, expected, 2 * p.parameters));
        free(computed);
    }
    free(expected);
    free_problem(&p);
}

static void test_what_is_wrong_with_a_training_is_said(void)
{
    enum { ROWS = 12 };
    problem p = classifier(5, ROWS);
    size_t order[ROWS], row = 0;
    for (size_t i = 0; i < ROWS; i++) {
        order[i] = i;
    }
    pycnn_optimizer adam;
    pycnn_optimizer_init(&adam, PYCNN_ADAM);
    double *slots = doubles(2 * p.parameters);
    pycnn_training good;
    pycnn_training_init(&good);
    good.optimizer = &adam, good.slots = slots, good.order = order, good.epochs = 1;
    const pycnn_dataset data = {.rows = ROWS, .x = p.x, .label = p.label, .weight = p.weight};
    CHECK(pycnn_training_check(&good, p.net, &data, &row) == NULL && row == SIZE_MAX);
    CHECK(pycnn_training_check(&good, p.net, &data, NULL) == NULL);
    CHECK(pycnn_training_check(NULL, p.net, &data, &row) != NULL);
    CHECK(pycnn_training_check(&good, p.net, NULL, &row) != NULL);

    pycnn_training bad = good;
#define SAID(words) (strstr(pycnn_training_check(&bad, p.net, &data, &row), (words)) != NULL)
    bad.learning_rate = NAN;
    CHECK(SAID("learning_rate must be") && row == SIZE_MAX);
    bad = good, bad.batch_size = 0;
    CHECK(SAID("batch_size"));
    bad = good, bad.position = ROWS;
    CHECK(SAID("position"));
    bad = good, bad.slots = NULL;
    CHECK(SAID("slots is NULL"));
    bad = good, bad.reserved[1] = 7;
    CHECK(SAID("the training's reserved"));
    bad = good;
    adam.beta_1 = 1;
    CHECK(SAID("beta_1"));
    pycnn_optimizer_init(&adam, PYCNN_ADAM), adam.epsilon = 0;
    CHECK(SAID("epsilon"));
    pycnn_optimizer_init(&adam, PYCNN_RPROP), adam.max_step = 1e-9;
    CHECK(SAID("max_step"));
    pycnn_optimizer_init(&adam, PYCNN_SGD), adam.momentum = 1;
    CHECK(SAID("momentum"));
    pycnn_optimizer_init(&adam, PYCNN_ADAM), adam.kind = 77;
    CHECK(SAID("kind"));
    pycnn_optimizer_init(&adam, PYCNN_ADAM);
    order[7] = ROWS;
    CHECK(SAID("order") && row == 7);
    order[7] = 7;
    p.label[3] = 3;
    CHECK(SAID("label must be below") && row == 3);
    p.label[3] = 2, p.x[5 * p.inputs + 1] = NAN;
    CHECK(SAID("x must be finite") && row == 5);
    p.x[5 * p.inputs + 1] = 0, p.weight[4] = -1;
    CHECK(SAID("weight must be") && row == 4);
#undef SAID
    p.weight[4] = 1;
    CHECK(pycnn_training_check(&bad, p.net, &data, &row) == NULL);
    free(slots);
    free_problem(&p);
}

/* On one mini-batch with Adam: the bits of pycnn_train or, where it is refused, nothing. */
static void test_a_batch_is_trained_on_as_a_whole_or_not_at_all(void)
{
    enum { ROWS = 12, SLOTS = 2 };
    problem p = classifier(5, ROWS);
    pycnn_optimizer adam;
    pycnn_optimizer_init(&adam, PYCNN_ADAM);
    pycnn_workspace *ws = NULL;
    CHECK(pycnn_workspace_create(&ws, p.net, ROWS, PYCNN_BACKWARD) == PYCNN_OK);
    const size_t size = p.theta_size, all = size + SLOTS * p.parameters;
    double *theta[2], *kept = doubles(all), *before = doubles(all);
    pycnn_training state[2];
    pycnn_totals totals[2] = {0};
    for (size_t i = 0; i < 2; i++) { /* the slots lie behind theta */
        theta[i] = doubles(all);
        memset(theta[i], 0, all * sizeof(double));
        memcpy(theta[i], p.theta, size * sizeof(double));
        pycnn_training_init(&state[i]);
        state[i].optimizer = &adam, state[i].slots = theta[i] + size, state[i].epochs = 1;
        state[i].batch_size = ROWS, state[i].totals = &totals[i];
    }
    for (size_t turn = 0; turn < 3; turn++) {
        size_t steps;
        totals[0] = (pycnn_totals){0};
        state[0].epoch = 0;
        CHECK(pycnn_train(&steps, theta[0], size, &state[0], p.net, ws, &p.data, 1) == PYCNN_OK);
        CHECK(pycnn_train_batch(theta[1], size, &state[1], kept, p.net, ws, &p.data) == PYCNN_OK);
        CHECK(state[1].epoch == 1 && state[1].updates == turn + 1);
        CHECK(memcmp(theta[0], theta[1], all * sizeof(double)) == 0);
        CHECK(memcmp(&totals[0], &totals[1], sizeof totals[0]) == 0);
    }
    memcpy(before, theta[1], all * sizeof(double));
#define REFUSED(status)                                                                    \
    (pycnn_train_batch(theta[1], size, &state[1], kept, p.net, ws, &p.data) == (status) && \
     state[1].epoch == 0 && state[1].updates == 3 &&                                       \
     memcmp(theta[1], before, all * sizeof(double)) == 0)
    const double x = p.x[7], y = p.data.y[4];
    p.x[7] = INFINITY;
    CHECK(REFUSED(PYCNN_ERROR_NOT_FINITE));
    p.x[7] = x, p.y[4] = NAN;
    CHECK(REFUSED(PYCNN_ERROR_NOT_FINITE));
    p.y[4] = 2;
    CHECK(REFUSED(PYCNN_ERROR_RANGE));
    p.y[4] = y;
    double *weight = doubles(ROWS);
    for (size_t i = 0; i < ROWS; i++) {
        weight[i] = 1e250;
    }
    p.data.weight = weight;
    CHECK(REFUSED(PYCNN_ERROR_RANGE));
    p.data.weight = NULL, p.data.rows = state[1].batch_size = SIZE_MAX / 2 + 2;
    CHECK(REFUSED(PYCNN_ERROR_SIZE));
    p.data.rows = state[1].batch_size = ROWS;
    free(weight);
    state[1].learning_rate = 1e308, adam.weight_decay = 1e9;
    CHECK(REFUSED(PYCNN_ERROR_DIVERGED));
    state[1].epochs = 2;
    CHECK(pycnn_train_batch(theta[1], size, &state[1], kept, p.net, ws, &p.data) ==
          PYCNN_ERROR_SIZE);
#undef REFUSED
    for (size_t i = 0; i < 2; i++) {
        free(theta[i]);
    }
    free(kept);
    free(before);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

const test network_tests[] = {
    FOR_EACH_SET("a batch is trained on as a whole, or not at all",
                 test_a_batch_is_trained_on_as_a_whole_or_not_at_all),
    ONCE("what is wrong with a training is said", test_what_is_wrong_with_a_training_is_said),
    ONCE("data of a later version", test_data_of_a_later_version),
    FOR_EACH_SET("the lecture's worked example", test_lecture_example),
    FOR_EACH_SET("gradients meet central differences", test_gradients_meet_central_differences),
    FOR_EACH_SET("the first number that is not finite is found",
                 test_the_first_number_that_is_not_finite_is_found),
    FOR_EACH_SET("calls that cannot be", test_calls_that_cannot_be),
    ONCE("theta of another size", test_theta_of_another_size),
    FOR_EACH_SET("a mode of the caller's does not matter, and stays",
                 test_a_mode_of_the_callers_does_not_matter_and_stays),
    {0},
};
