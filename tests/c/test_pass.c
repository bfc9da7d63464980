/* A mini-batch's way through the network: order, weights, and long work that can be ended. */
#include "check.h"

static void test_order_decides_which_sample_comes_when(void)
{
    enum { ROWS = 11, EPOCHS = 3 };
    problem p = classifier(11, ROWS), q = classifier(11, ROWS);
    pycnn_workspace *ws = workspace(p.net, 4, PYCNN_BACKWARD);
    pycnn_workspace *ws_q = workspace(q.net, 4, PYCNN_BACKWARD);
    size_t order[EPOCHS * ROWS];
    pycnn_totals totals[2][EPOCHS];
    for (size_t i = 0; i < EPOCHS * ROWS; i++) {
        order[i] = i % ROWS;
    }
    pycnn_training plan = {.epochs = EPOCHS, .batch_size = 4, .learning_rate = 0.1};
    double *plain = trained(&p, ws, plan, totals[0]);
    plan.order = order;
    double *identity = trained(&p, ws, plan, totals[1]);
    CHECK(same_bits(plain, identity, p.parameters));
    CHECK(same_bits(totals[0], totals[1], 3 * EPOCHS));

    /* The same order in every epoch is the same as data that lie in that order. */
    for (size_t i = 0; i < ROWS; i++) {
        const size_t from = (i * 4 + 3) % ROWS;
        order[i] = order[ROWS + i] = order[2 * ROWS + i] = from;
        memcpy(q.x + i * q.inputs, p.x + from * p.inputs, p.inputs * sizeof *q.x);
        memcpy(q.y + i * q.outputs, p.y + from * p.outputs, p.outputs * sizeof *q.y);
        q.weight[i] = p.weight[from];
    }
    p.data.weight = p.weight, q.data.weight = q.weight;
    double *ordered = trained(&p, ws, plan, totals[0]);
    plan.order = NULL;
    double *moved = trained(&q, ws_q, plan, totals[1]);
    CHECK(same_bits(ordered, moved, p.parameters));
    CHECK(same_bits(totals[0], totals[1], 3 * EPOCHS));
    CHECK(!same_bits(ordered, plain, p.parameters));

    /* Another order in another epoch is read from its own place. */
    for (size_t i = 0; i < ROWS; i++) {
        order[2 * ROWS + i] = ROWS - 1 - i;
    }
    plan.order = order;
    double *varied = trained(&p, ws, plan, totals[0]);
    CHECK(same_bits(totals[0], totals[1], 3 * 2));
    CHECK(!same_bits(varied, ordered, p.parameters));
    free(plain), free(identity), free(ordered), free(moved), free(varied);
    pycnn_workspace_destroy(ws), pycnn_workspace_destroy(ws_q);
    free_problem(&p), free_problem(&q);
}

static void test_weights_count_samples(void)
{
    enum { ROWS = 9 };
    problem p = classifier(41, ROWS);
    pycnn_workspace *ws = workspace(p.net, 2 * ROWS, PYCNN_BACKWARD);
    double *plain = doubles(p.parameters), *grad = doubles(p.parameters);
    pycnn_totals plain_totals, totals;
    CHECK(pycnn_gradients(&plain_totals, plain, p.net, ws, p.theta, p.theta_size, &p.data, NULL) ==
          PYCNN_OK);
    p.data.weight = p.weight;

    /* All 1 is the same as none. */
    for (size_t i = 0; i < ROWS; i++) {
        p.weight[i] = 1;
    }
    CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, p.theta_size, &p.data, NULL) ==
          PYCNN_OK);
    CHECK(same_bits(plain, grad, p.parameters) && same_bits(&plain_totals, &totals, 3));

    /* A weight of 2 is a sample that is there twice, a weight of 0 one that is not there. */
    problem twice = classifier(41, ROWS);
    memcpy(twice.x, p.x + p.inputs, p.inputs * sizeof *p.x);
    memcpy(twice.y, p.y + p.outputs, p.outputs * sizeof *p.y);
    p.weight[0] = 0, p.weight[1] = 2;
    pycnn_workspace *twice_ws = workspace(twice.net, ROWS, PYCNN_BACKWARD);
    CHECK(pycnn_gradients(&plain_totals, plain, twice.net, twice_ws, twice.theta, twice.theta_size,
                          &twice.data, NULL) == PYCNN_OK);
    CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, p.theta_size, &p.data, NULL) ==
          PYCNN_OK);
    CHECK(agree(grad, plain, p.parameters, 1e-14));
    CHECK(near(totals.loss, plain_totals.loss, 1e-14) && totals.weight == ROWS);
    CHECK(totals.correct == plain_totals.correct);

    /* Weights of all zero: no gradient, and a mini-batch that changes nothing. */
    memset(p.weight, 0, ROWS * sizeof *p.weight);
    CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, p.theta_size, &p.data, NULL) ==
          PYCNN_OK);
    CHECK(totals.weight == 0 && totals.loss == 0 && largest(grad, p.parameters) == 0);
    const pycnn_training plan = {.epochs = 1, .batch_size = 4, .learning_rate = 0.5};
    double *theta = trained(&p, ws, plan, &totals);
    CHECK(same_bits(theta, p.theta, p.parameters) && totals.weight == 0);
    free(theta);

    /* An infinite loss at weight 0 is none. */
    p.weight[0] = 1;
    double *far = copy_doubles(p.x, ROWS * p.inputs);
    far[p.inputs] = INFINITY;
    p.data.x = far;
    CHECK(pycnn_evaluate(&totals, p.net, ws, p.theta, p.theta_size, &p.data) == PYCNN_OK);
    CHECK(isfinite(totals.loss) && totals.loss > 0 && totals.weight == 1);
    free(far), free(plain), free(grad);
    pycnn_workspace_destroy(ws), pycnn_workspace_destroy(twice_ws);
    free_problem(&p), free_problem(&twice);
}

#ifdef HAVE_POSIX
/* ---------------------------------------------------------------- long calls */

/* Says stop at the call number *context. */
static int count_down(void *context)
{
    size_t *left = context;
    return --*left == 0;
}

/* Trains on all samples at once until the caller says stop, and then as many steps again. */
static void check_interrupted_training(const problem *p, size_t capacity,
                                       const pycnn_optimizer *optimizer)
{
    enum { EPOCHS = 2000 };
    const size_t count = p->parameters + pycnn_network_statistic_count(p->net);
    const size_t memory = pycnn_optimizer_slots(optimizer) * p->parameters;
    double *theta[2], *slots[2];
    static pycnn_totals totals[2][EPOCHS];
    size_t left = 2, steps = 0, stopped = 0;
    pycnn_training state[2];
    for (int i = 0; i < 2; i++) {
        theta[i] = doubles(count), slots[i] = doubles(memory);
        memset(theta[i], 0, count * sizeof **theta);
        memcpy(theta[i], p->theta, p->parameters * sizeof **theta);
        memset(slots[i], 0, memory * sizeof **slots);
        memset(totals[i], 0, sizeof totals[i]);
        state[i] = (pycnn_training){.epochs = EPOCHS,
                                    .batch_size = p->data.rows,
                                    .learning_rate = 1e-3,
                                    .totals = totals[i],
                                    .optimizer = optimizer,
                                    .slots = slots[i]};
        pycnn_workspace *ws = workspace(p->net, capacity, PYCNN_BACKWARD);
        pycnn_workspace_set_poll(ws, i == 0 ? count_down : NULL, &left);
        CHECK(pycnn_train(&steps, theta[i], p->theta_size, &state[i], p->net, ws, &p->data,
                          i == 0 ? EPOCHS : stopped) ==
              (i == 0 ? PYCNN_ERROR_INTERRUPTED : PYCNN_OK));
        stopped = steps;
        pycnn_workspace_destroy(ws);
    }
    CHECK(left == 0 && stopped < EPOCHS && state[0].epoch == stopped);
    CHECK(state[0].updates == stopped && state[1].updates == stopped);
    CHECK(same_bits(theta[0], theta[1], count) && same_bits(slots[0], slots[1], memory));
    CHECK(same_bits(totals[0], totals[1], 3 * EPOCHS));
    for (int i = 0; i < 2; i++) {
        free(theta[i]), free(slots[i]);
    }
}

static void test_a_training_in_pieces_can_be_ended(void)
{
    static const pycnn_layer_spec layers[] = {DENSE(PYCNN_TANH, 40), DENSE(PYCNN_LINEAR, 1)};
    const pycnn_optimizer adam = {
        .kind = PYCNN_ADAM, .beta_1 = 0.9, .beta_2 = 0.999, .epsilon = 1e-8};
    problem p = make_problem(1, 9000, 4, layers, 2, PYCNN_MSE);
    check_interrupted_training(&p, 256, NULL);
    check_interrupted_training(&p, 256, &adam);
    free_problem(&p);
}

static void test_a_long_look_at_data_can_be_ended(void)
{
    enum { ROWS = 1 << 20 };
    static const pycnn_layer_spec layers[] = {DENSE(PYCNN_TANH, 80), DENSE(PYCNN_TANH, 80),
                                              DENSE(PYCNN_LINEAR, 1)};
    problem p = make_problem(3, ROWS, 1, layers, 3, PYCNN_MSE);
    pycnn_workspace *ws = workspace(p.net, 256, PYCNN_BACKWARD);
    double *y = doubles(ROWS), *grad = doubles(p.parameters);
    pycnn_totals totals;
    size_t left = 1;
    pycnn_workspace_set_poll(ws, count_down, &left);
    CHECK(pycnn_predict(y, p.net, ws, p.theta, p.theta_size, p.x, ROWS) ==
              PYCNN_ERROR_INTERRUPTED &&
          left == 0);
    left = 1;
    CHECK(pycnn_evaluate(&totals, p.net, ws, p.theta, p.theta_size, &p.data) ==
          PYCNN_ERROR_INTERRUPTED);
    CHECK(left == 0);
    left = 1;
    CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, p.theta_size, &p.data, NULL) ==
          PYCNN_ERROR_INTERRUPTED);
    CHECK(left == 0);
    const uint64_t keys[2] = {1, 2};
    double *drawn = doubles(2 * ROWS);
    left = 1;
    CHECK(pycnn_predict_samples(drawn, p.net, ws, p.theta, p.theta_size, p.x, ROWS, keys, 2, 0) ==
          PYCNN_ERROR_INTERRUPTED);
    CHECK(left == 0);
    free(drawn);
    left = 1; /* what is short asks nothing */
    CHECK(pycnn_predict(y, p.net, ws, p.theta, p.theta_size, p.x, 256) == PYCNN_OK && left == 1);
    pycnn_workspace_set_poll(NULL, count_down, &left);
    free(y), free(grad);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

/* So much work that it takes a kernel at its full speed. */
#if defined(__has_feature)
#define WATCHED (__has_feature(thread_sanitizer) || __has_feature(address_sanitizer))
#elif defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define WATCHED 1
#else
#define WATCHED 0
#endif
#if defined(__OPTIMIZE__) && !WATCHED
#define FAST

static void test_a_training_in_rounds_can_be_ended(void)
{
    static const pycnn_layer_spec layers[] = {
        DENSE(PYCNN_TANH, 500),
        {.kind = PYCNN_BATCH_NORM, .activation = PYCNN_LINEAR, .units = 500, .epsilon = 1e-5},
        DENSE(PYCNN_TANH, 400),
        DENSE(PYCNN_LINEAR, 1)};
    problem p = make_problem(2, 1500, 4, layers, 4, PYCNN_MSE);
    check_interrupted_training(&p, 1500, NULL);
    free_problem(&p);
}

/* So much work at once that a thread alone does it in several rounds, where three do it in one: the
 * same bits, also where something is reduced over the batch. */
static void test_long_work_gives_the_same_bits(void)
{
    enum { ROWS = 4200 };
    static const pycnn_layer_spec layers[] = {DENSE(PYCNN_RELU, 300),
                                              {.kind = PYCNN_BATCH_NORM,
                                               .activation = PYCNN_LINEAR,
                                               .units = 300,
                                               .epsilon = 1e-5,
                                               .momentum = 0.1},
                                              DENSE(PYCNN_RELU, 300),
                                              DENSE(PYCNN_SOFTMAX, 3)};
    const pycnn_optimizer momentum = {.kind = PYCNN_SGD, .momentum = 0.9};
    problem p = make_problem(5, ROWS, 9, layers, 4, PYCNN_CATEGORICAL_CROSSENTROPY);
    const size_t count = p.parameters + pycnn_network_statistic_count(p.net);
    double *theta[2][2];
    pycnn_totals totals[2][2] = {{{0}}};
    for (int i = 0; i < 2; i++) {
        pycnn_threads *threads = NULL;
        pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_BACKWARD);
        CHECK(pycnn_threads_create(&threads, i == 0 ? 1 : 3) == PYCNN_OK);
        pycnn_workspace_set_threads(ws, threads);
        for (int j = 0; j < 2; j++) {
            double *slots = doubles(p.parameters);
            size_t steps;
            pycnn_training state = {.epochs = 1,
                                    .batch_size = ROWS,
                                    .learning_rate = 0.1,
                                    .totals = &totals[i][j],
                                    .optimizer = j == 0 ? NULL : &momentum,
                                    .slots = slots};
            memset(slots, 0, p.parameters * sizeof *slots);
            theta[i][j] = doubles(count);
            memset(theta[i][j], 0, count * sizeof *slots);
            memcpy(theta[i][j], p.theta, p.parameters * sizeof *slots);
            CHECK(pycnn_train(&steps, theta[i][j], p.theta_size, &state, p.net, ws, &p.data, 1) ==
                  PYCNN_OK);
            free(slots);
        }
        pycnn_workspace_destroy(ws);
        pycnn_threads_destroy(threads);
    }
    CHECK(!same_bits(theta[0][0], p.theta, p.parameters));
    for (int j = 0; j < 2; j++) {
        CHECK(same_bits(theta[0][j], theta[1][j], count));
        free(theta[0][j]), free(theta[1][j]);
    }
    CHECK(same_bits(totals[0], totals[1], 6));
    free_problem(&p);
}

#endif
#endif

const test pass_tests[] = {
    FOR_EACH_SET("order decides which sample comes when",
                 test_order_decides_which_sample_comes_when),
    FOR_EACH_SET("weights count samples", test_weights_count_samples),
#ifdef HAVE_POSIX
    ONCE("a training in pieces can be ended", test_a_training_in_pieces_can_be_ended),
    ONCE("a long look at data can be ended", test_a_long_look_at_data_can_be_ended),
#endif
#ifdef FAST
    ONCE("a training in rounds can be ended", test_a_training_in_rounds_can_be_ended),
    ONCE("long work gives the same bits", test_long_work_gives_the_same_bits),
#endif
    {0},
};
