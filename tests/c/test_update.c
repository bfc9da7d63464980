/* Training steps: what each does, where training stands, and those that are refused. */
#include "check.h"

static void test_training_step_by_step_gives_the_same_bits(void)
{
    enum { ROWS = 10, EPOCHS = 4 };
    problem p = classifier(51, ROWS);
    pycnn_workspace *ws = workspace(p.net, 3, PYCNN_BACKWARD);
    for (size_t batch = 1; batch <= ROWS + 2; batch++) {
        const pycnn_training plan = {.epochs = EPOCHS, .batch_size = batch, .learning_rate = 0.2};
        pycnn_totals whole_totals[EPOCHS], totals[EPOCHS] = {{0}};
        double *whole = trained(&p, ws, plan, whole_totals);
        for (size_t stride = 1; stride <= 5; stride += 2) {
            double *theta = copy_doubles(p.theta, p.parameters);
            memset(totals, 0, sizeof totals);
            pycnn_training state = plan;
            state.totals = totals;
            size_t steps = 1, done = 0;
            while (state.epoch < EPOCHS && steps > 0) {
                pycnn_training saved = state; /* plain data: put back, it goes on from there */
                CHECK(pycnn_train(&steps, theta, p.theta_size, &saved, p.net, ws, &p.data,
                                  stride) == PYCNN_OK);
                state = saved;
                done += steps;
            }
            CHECK(state.epoch == EPOCHS && state.position == 0);
            CHECK(done == EPOCHS * ((ROWS + batch - 1) / batch));
            CHECK(same_bits(theta, whole, p.parameters));
            CHECK(same_bits(totals, whole_totals, 3 * EPOCHS));
            CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, stride) ==
                  PYCNN_OK);
            CHECK(steps == 0 && same_bits(theta, whole, p.parameters)); /* it is over */
            free(theta);
        }
        free(whole);
    }
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

static void test_a_step_is_the_gradient_times_the_learning_rate(void)
{
    enum { ROWS = 8 };
    problem p = classifier(61, ROWS);
    p.data.weight = p.weight;
    pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_BACKWARD);
    double *grad = doubles(p.parameters);
    pycnn_totals totals, epoch;
    CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, p.theta_size, &p.data, NULL) ==
          PYCNN_OK);
    const pycnn_training plan = {.epochs = 1, .batch_size = ROWS, .learning_rate = 0.25};
    double *theta = trained(&p, ws, plan, &epoch);
    for (size_t i = 0; i < p.parameters; i++) {
        grad[i] = p.theta[i] - 0.25 * grad[i];
    }
    CHECK(agree(theta, grad, p.parameters, 1e-15));
    CHECK(same_bits(&totals, &epoch, 3));
    free(theta), free(grad);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

static void test_divergence_leaves_the_last_finished_step(void)
{
    enum { ROWS = 6, EPOCHS = 400 };
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_TANH, 5), DENSE(PYCNN_LINEAR, 2)};
    problem p = make_problem(71, ROWS, 3, layers, 2, PYCNN_MSE);
    pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_BACKWARD);
    pycnn_totals totals[2][EPOCHS] = {{{0}}};
    double *theta = copy_doubles(p.theta, p.parameters);
    double *again = copy_doubles(p.theta, p.parameters);
    pycnn_training state = {
        .epochs = EPOCHS, .batch_size = 4, .learning_rate = 50, .totals = totals[0]};
    pycnn_training state_again = state;
    state_again.totals = totals[1];
    size_t steps = 0, steps_again = 0;
    CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, SIZE_MAX) ==
          PYCNN_ERROR_DIVERGED);
    CHECK(steps > 0 && state.epoch < EPOCHS && steps == 2 * state.epoch + (state.position > 0));
    CHECK(pycnn_train(&steps_again, again, p.theta_size, &state_again, p.net, ws, &p.data, steps) ==
          PYCNN_OK);
    CHECK(steps_again == steps && same_bits(theta, again, p.parameters));
    CHECK(state_again.epoch == state.epoch && state_again.position == state.position);
    CHECK(same_bits(totals[0], totals[1], 3 * EPOCHS));

    /* Called again it says so again, and changes nothing. */
    CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, 1) ==
          PYCNN_ERROR_DIVERGED);
    CHECK(steps == 0 && same_bits(theta, again, p.parameters));
    CHECK(same_bits(totals[0], totals[1], 3 * EPOCHS));

    /* NaN in the data. */
    memcpy(theta, p.theta, p.parameters * sizeof *theta);
    p.x[ROWS * 3 - 1] = NAN;
    state = (pycnn_training){
        .epochs = 1, .batch_size = ROWS, .learning_rate = 0.1, .totals = totals[0]};
    CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, 1) ==
          PYCNN_ERROR_DIVERGED);
    CHECK(steps == 0 && same_bits(theta, p.theta, p.parameters));
    free(theta), free(again);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

/* Wherever among the vectors of a mini-batch an entry is bad. */
static void test_bad_entries_of_many(void)
{
    enum { ROWS = 25 }; /* three vectors of the widest set, and one sample more */
    problem p = classifier(96, ROWS);
    pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_BACKWARD);
    double *theta = copy_doubles(p.theta, p.parameters);
    size_t order[ROWS], steps;
    for (size_t bad = 0; bad < ROWS; bad++) {
        for (size_t i = 0; i < ROWS; i++) {
            order[i] = i == bad ? (bad % 2 ? ROWS : SIZE_MAX) : ROWS - 1 - i;
        }
        pycnn_training state = {
            .epochs = 1, .batch_size = ROWS, .learning_rate = 0.1, .order = order};
        CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, 9) ==
              PYCNN_ERROR_INDEX);
        CHECK(steps == 0 && same_bits(theta, p.theta, p.parameters));
    }
    free(theta);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

static void test_trainings_that_cannot_be(void)
{
    enum { ROWS = 5 };
    problem p = classifier(95, ROWS);
    pycnn_workspace *forward = workspace(p.net, ROWS, PYCNN_FORWARD);
    pycnn_workspace *ws = workspace(p.net, 2, PYCNN_BACKWARD);
    double *theta = copy_doubles(p.theta, p.parameters);
    pycnn_totals totals = {0};
    size_t steps = 99;
    const pycnn_training good = {
        .epochs = 1, .batch_size = 2, .learning_rate = 0.1, .totals = &totals};
    pycnn_training state = good;
    CHECK(pycnn_train(NULL, theta, p.theta_size, &state, p.net, ws, &p.data, 9) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_train(&steps, NULL, p.theta_size, &state, p.net, ws, &p.data, 9) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(steps == 0);
    CHECK(pycnn_train(&steps, theta, p.theta_size, NULL, p.net, ws, &p.data, 9) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_train(&steps, theta, p.theta_size, &state, NULL, ws, &p.data, 9) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, NULL, &p.data, 9) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, NULL, 9) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, forward, &p.data, 9) ==
          PYCNN_ERROR_WORKSPACE);
    state.batch_size = 0;
    CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, 9) ==
          PYCNN_ERROR_SIZE);
    state = good, state.position = ROWS;
    CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, 9) ==
          PYCNN_ERROR_SIZE);
    state = good, state.position = SIZE_MAX;
    CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, 9) ==
          PYCNN_ERROR_SIZE);
    state = good;
    CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, 0) == PYCNN_OK &&
          steps == 0);
    state.epochs = 0;
    CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, 9) == PYCNN_OK &&
          steps == 0);
    CHECK(same_bits(theta, p.theta, p.parameters));

    /* The mini-batch that meets a bad entry changes nothing; those before it count. */
    size_t order[ROWS] = {4, 3, 2, 1, ROWS};
    state = good, state.order = order, state.batch_size = ROWS;
    CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, 9) ==
          PYCNN_ERROR_INDEX);
    CHECK(steps == 0 && state.position == 0 && same_bits(theta, p.theta, p.parameters));
    order[4] = SIZE_MAX;
    CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, 9) ==
          PYCNN_ERROR_INDEX);
    CHECK(steps == 0 && totals.weight == 0 && same_bits(theta, p.theta, p.parameters));
    state.batch_size = 2;
    CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, 9) ==
          PYCNN_ERROR_INDEX);
    CHECK(steps == 2 && state.position == 4 && totals.weight == 4);

    memcpy(theta, p.theta, p.parameters * sizeof *theta);
    p.data.y = NULL, p.data.label = p.label;
    for (size_t bad = 3; bad != 0; bad = bad == 3 ? SIZE_MAX : 0) {
        p.label[1] = bad;
        state = good;
        CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, 9) ==
              PYCNN_ERROR_LABEL);
        CHECK(steps == 0 && same_bits(theta, p.theta, p.parameters));
        double *grad = doubles(p.parameters);
        CHECK(pycnn_gradients(&totals, grad, p.net, ws, theta, p.theta_size, &p.data, NULL) ==
              PYCNN_ERROR_LABEL);
        CHECK(pycnn_evaluate(&totals, p.net, forward, theta, p.theta_size, &p.data) ==
              PYCNN_ERROR_LABEL);
        free(grad);
    }
    free(theta);
    pycnn_workspace_destroy(forward), pycnn_workspace_destroy(ws);
    free_problem(&p);
}

/* ---------------------------------------------------------------- loops of one's own */

static pycnn_dataset rows_of(const problem *p, size_t first, size_t count)
{
    return (pycnn_dataset){.rows = count,
                           .x = p->x + first * p->inputs,
                           .y = p->y + first * p->outputs,
                           .weight = p->data.weight == NULL ? NULL : p->data.weight + first};
}

/* Trains with pycnn_train and with a loop over the same mini-batches, in pieces of so many samples:
 * the same bits; but for those of theta where `tolerance` is not 0. */
static void check_own_loop(const problem *p, const pycnn_optimizer *how, bool with_norms,
                           size_t batch, size_t piece, double tolerance)
{
    enum { EPOCHS = 3, MOST_STEPS = 128 };
    static const uint64_t keys[EPOCHS] = {3, 1, 4};
    const size_t rows = p->data.rows, memory = pycnn_optimizer_slots(how) * p->parameters;
    const size_t count = p->parameters + pycnn_network_statistic_count(p->net);
    double *theta[2], *slots[2], rates[MOST_STEPS], norms[2][EPOCHS] = {{0}};
    pycnn_totals totals[2][EPOCHS] = {{{0}}};
    pycnn_training state[2];
    for (int i = 0; i < 2; i++) {
        theta[i] = doubles(count), slots[i] = doubles(memory);
        memset(slots[i], 0, memory * sizeof **slots);
        memcpy(theta[i], p->theta, p->parameters * sizeof **theta);
        for (size_t j = p->parameters; j < count; j++) {
            theta[i][j] = 0.5;
        }
        state[i] = (pycnn_training){.epochs = EPOCHS,
                                    .batch_size = batch,
                                    .totals = totals[i],
                                    .optimizer = how,
                                    .slots = slots[i],
                                    .dropout_keys = keys,
                                    .norms = with_norms ? norms[i] : NULL};
    }
    for (size_t i = 0; i < MOST_STEPS; i++) {
        rates[i] = 0.1 / (double)(i + 1);
    }
    pycnn_workspace *ws = workspace(p->net, batch, PYCNN_BACKWARD);
    size_t steps = 0, taken = 0;
    state[0].learning_rates = rates;
    CHECK(pycnn_train(&steps, theta[0], p->theta_size, &state[0], p->net, ws, &p->data, SIZE_MAX) ==
          PYCNN_OK);

    double *grad = doubles(p->parameters), *statistics = theta[1] + p->parameters;
    for (size_t epoch = 0; epoch < EPOCHS; epoch++) {
        for (size_t first = 0; first < rows; first += batch) {
            const size_t end = first + batch < rows ? first + batch : rows;
            pycnn_totals sums = {0};
            memset(grad, 0, p->parameters * sizeof *grad);
            for (size_t at = first; at < end; at += piece) {
                const pycnn_dataset part = rows_of(p, at, at + piece < end ? piece : end - at);
                CHECK(pycnn_gradient_sums(&sums, grad, statistics, p->net, ws, theta[1],
                                          p->theta_size, &part, &keys[epoch], at) == PYCNN_OK);
            }
            totals[1][epoch].loss +=
                sums.loss + sums.weight * pycnn_penalty(p->net, theta[1], p->theta_size);
            totals[1][epoch].weight += sums.weight;
            totals[1][epoch].correct += sums.correct;
            state[1].epoch = epoch, state[1].learning_rate = rates[taken++];
            CHECK(pycnn_update(theta[1], p->theta_size, &state[1], grad, &sums, p->net, ws) ==
                  PYCNN_OK);
        }
    }
    CHECK(taken == steps && state[1].updates == state[0].updates);
    CHECK(!same_bits(theta[0], p->theta, p->parameters));
    if (tolerance > 0) {
        CHECK(agree(theta[1], theta[0], count, tolerance));
    } else {
        CHECK(same_bits(theta[1], theta[0], count) && same_bits(slots[1], slots[0], memory));
        CHECK(same_bits(totals[1], totals[0], 3 * EPOCHS) && same_bits(norms[1], norms[0], EPOCHS));
    }
    for (int i = 0; i < 2; i++) {
        free(theta[i]), free(slots[i]);
    }
    free(grad);
    pycnn_workspace_destroy(ws);
}

static const pycnn_optimizer optimizers[] = {
    {.kind = PYCNN_SGD},
    {.kind = PYCNN_SGD, .momentum = 0.9},
    {.kind = PYCNN_SGD, .momentum = 0.9, .nesterov = 1, .clip_value = 0.01},
    {.kind = PYCNN_SGD, .clip_norm = 0.1},
    {.kind = PYCNN_ADAM, .beta_1 = 0.9, .beta_2 = 0.99, .epsilon = 1e-8},
    {.kind = PYCNN_ADAM, .beta_1 = 0.9, .beta_2 = 0.99, .epsilon = 1e-8, .weight_decay = 0.1},
    {.kind = PYCNN_RMSPROP, .beta_2 = 0.9, .epsilon = 1e-8, .momentum = 0.5, .centered = 1},
    {.kind = PYCNN_ADAGRAD, .epsilon = 1e-10},
    {.kind = PYCNN_RPROP},
};
enum { OPTIMIZERS = sizeof optimizers / sizeof *optimizers };

#define BATCH_NORM(n) {.kind = PYCNN_BATCH_NORM, .units = (n), .epsilon = 1e-5, .momentum = 0.1}
#define LAYER_NORM(n) {.kind = PYCNN_LAYER_NORM, .units = (n), .epsilon = 1e-5}

static void test_a_loop_of_ones_own_ends_in_the_same_bits(void)
{
    enum { ROWS = 11, BATCH = 4 };
    pycnn_layer_spec layers[] = {
        DENSE(PYCNN_TANH, 7), BATCH_NORM(7), {.kind = PYCNN_DROPOUT, .rate = 0.3},
        DENSE(PYCNN_RELU, 9), LAYER_NORM(9), DENSE(PYCNN_SOFTMAX, 3)};
    for (int held = 0; held < 2; held++) {
        problem p = make_problem(121, ROWS, 5, layers, 6, PYCNN_CATEGORICAL_CROSSENTROPY);
        for (int weighted = 0; weighted < 2; weighted++) {
            p.data.weight = weighted ? p.weight : NULL;
            memset(p.weight + BATCH, 0, BATCH * sizeof *p.weight); /* a mini-batch without any */
            for (size_t i = 0; i < OPTIMIZERS; i++) {
                check_own_loop(&p, &optimizers[i], weighted, BATCH, BATCH, 0);
            }
            check_own_loop(&p, NULL, false, BATCH, BATCH, 0);
        }
        free_problem(&p);
        layers[0].l1 = 0.01, layers[0].l2 = 0.1, layers[0].max_norm = 0.5;
        layers[3].max_norm = 0.4;
    }
    const pycnn_layer_spec inner[] = {DENSE(PYCNN_TANH, 5), BATCH_NORM(5), DENSE(PYCNN_LINEAR, 5)};
    const pycnn_layer_spec within[] = {
        {.kind = PYCNN_RESIDUAL, .units = 5, .inner = inner, .inner_depth = 3},
        DENSE(PYCNN_SOFTMAX, 3)};
    problem p = make_problem(122, ROWS, 5, within, 2, PYCNN_CATEGORICAL_CROSSENTROPY);
    check_own_loop(&p, NULL, false, BATCH, BATCH, 0);
    check_own_loop(&p, &optimizers[4], true, BATCH, BATCH, 0);
    free_problem(&p);
}

static void test_pieces_of_a_mini_batch_end_in_the_same_bits(void)
{
    enum { ROWS = 23, BATCH = 10 };
    const pycnn_layer_spec layers[] = {
        {.kind = PYCNN_DENSE, .activation = PYCNN_TANH, .units = 17, .l2 = 0.1, .max_norm = 0.5},
        {.kind = PYCNN_DROPOUT, .rate = 0.3},
        DENSE(PYCNN_SOFTMAX, 3)};
    problem p = make_problem(131, ROWS, 5, layers, 3, PYCNN_CATEGORICAL_CROSSENTROPY);
    problem plain = make_problem(132, ROWS, 5, layers + 1, 2, PYCNN_CATEGORICAL_CROSSENTROPY);
    p.data.weight = p.weight;
    for (size_t piece = 1; piece <= BATCH; piece++) {
        for (size_t i = 0; i < OPTIMIZERS; i++) {
            check_own_loop(&p, &optimizers[i], i % 2, BATCH, piece, 0);
        }
        check_own_loop(&plain, NULL, false, BATCH, piece, 0);
    }
    /* One sample at a time: plain descent multiplies the rate into the delta first. */
    check_own_loop(&p, &optimizers[1], false, 1, 1, 0);
    check_own_loop(&plain, NULL, false, 1, 1, 1e-14);
    free_problem(&p), free_problem(&plain);
}

/* What several machines do: each sums over its own samples, and the sums are added. */
static void test_sums_of_parts_add_up_to_the_gradient(void)
{
    enum { ROWS = 12, PARTS = 3, PART = ROWS / PARTS };
    static const uint64_t key = 7;
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_TANH, 7),
                                       {.kind = PYCNN_DROPOUT, .rate = 0.3},
                                       LAYER_NORM(7),
                                       DENSE(PYCNN_SOFTMAX, 3)};
    problem p = make_problem(141, ROWS, 5, layers, 4, PYCNN_CATEGORICAL_CROSSENTROPY);
    p.data.weight = p.weight;
    pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_BACKWARD);
    double *whole = doubles(p.parameters), *sum = doubles(p.parameters);
    double *part = doubles(p.parameters);
    pycnn_totals mean, all = {0};
    memset(sum, 0, p.parameters * sizeof *sum);
    for (size_t i = 0; i < PARTS; i++) {
        pycnn_totals totals = {0};
        const pycnn_dataset data = rows_of(&p, i * PART, PART);
        memset(part, 0, p.parameters * sizeof *part);
        CHECK(pycnn_gradient_sums(&totals, part, NULL, p.net, ws, p.theta, p.theta_size, &data,
                                  &key, i * PART) == PYCNN_OK);
        all.loss += totals.loss, all.weight += totals.weight, all.correct += totals.correct;
        for (size_t j = 0; j < p.parameters; j++) {
            sum[j] += part[j];
        }
    }
    CHECK(pycnn_gradients(&mean, whole, p.net, ws, p.theta, p.theta_size, &p.data, &key) ==
          PYCNN_OK);
    for (size_t j = 0; j < p.parameters; j++) {
        sum[j] /= all.weight;
    }
    CHECK(agree(sum, whole, p.parameters, 1e-13));
    CHECK(near(all.loss, mean.loss, 1e-14) && near(all.weight, mean.weight, 1e-14));
    CHECK(near(all.correct, mean.correct, 1e-14));

    /* Without a key: the network as it predicts. */
    pycnn_totals totals = {0};
    memset(sum, 0, p.parameters * sizeof *sum);
    CHECK(pycnn_gradient_sums(&totals, sum, NULL, p.net, ws, p.theta, p.theta_size, &p.data, NULL,
                              5) == PYCNN_OK);
    CHECK(pycnn_gradients(&mean, whole, p.net, ws, p.theta, p.theta_size, &p.data, NULL) ==
          PYCNN_OK);
    for (size_t j = 0; j < p.parameters; j++) {
        sum[j] /= totals.weight;
    }
    CHECK(same_bits(sum, whole, p.parameters) && same_bits(&totals, &mean, 3));
    free(whole), free(sum), free(part);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

static void test_updates_that_cannot_be(void)
{
    enum { ROWS = 5 };
    problem p = classifier(161, ROWS), other = classifier(161, ROWS);
    pycnn_workspace *forward = workspace(p.net, ROWS, PYCNN_FORWARD);
    pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_BACKWARD);
    pycnn_workspace *foreign = workspace(other.net, ROWS, PYCNN_BACKWARD);
    double *theta = copy_doubles(p.theta, p.parameters), *grad = doubles(p.parameters);
    const pycnn_network *net = p.net;
    const pycnn_dataset *data = &p.data, none = {.x = p.x, .y = p.y};
    pycnn_totals totals = {0};
    memset(grad, 0, p.parameters * sizeof *grad);
    CHECK(pycnn_gradient_sums(NULL, grad, NULL, net, ws, theta, p.theta_size, data, NULL, 0) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_gradient_sums(&totals, NULL, NULL, net, ws, theta, p.theta_size, data, NULL, 0) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_gradient_sums(&totals, grad, NULL, NULL, ws, theta, p.theta_size, data, NULL, 0) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_gradient_sums(&totals, grad, NULL, net, NULL, theta, p.theta_size, data, NULL, 0) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_gradient_sums(&totals, grad, NULL, net, ws, NULL, p.theta_size, data, NULL, 0) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_gradient_sums(&totals, grad, NULL, net, ws, theta, p.theta_size, NULL, NULL, 0) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_gradient_sums(&totals, grad, NULL, net, ws, theta, p.theta_size, &none, NULL, 0) ==
          PYCNN_ERROR_SIZE);
    CHECK(pycnn_gradient_sums(&totals, grad, NULL, net, forward, theta, p.theta_size, data, NULL,
                              0) == PYCNN_ERROR_WORKSPACE);
    CHECK(pycnn_gradient_sums(&totals, grad, NULL, net, foreign, theta, p.theta_size, data, NULL,
                              0) == PYCNN_ERROR_WORKSPACE);
    CHECK(totals.weight == 0 && totals.loss == 0 && largest(grad, p.parameters) == 0);
    CHECK(pycnn_gradient_sums(&totals, grad, NULL, net, ws, theta, p.theta_size, data, NULL, 0) ==
          PYCNN_OK);

    const pycnn_optimizer unknown = {.kind = PYCNN_OPTIMIZER_COUNT};
    const pycnn_training good = {.learning_rate = 0.1};
    pycnn_training state = good;
    CHECK(pycnn_update(NULL, p.theta_size, &state, grad, &totals, net, ws) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_update(theta, p.theta_size, NULL, grad, &totals, net, ws) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_update(theta, p.theta_size, &state, NULL, &totals, net, ws) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_update(theta, p.theta_size, &state, grad, NULL, net, ws) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_update(theta, p.theta_size, &state, grad, &totals, NULL, ws) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_update(theta, p.theta_size, &state, grad, &totals, net, NULL) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_update(theta, p.theta_size, &state, grad, &totals, net, foreign) ==
          PYCNN_ERROR_WORKSPACE);
    state.optimizer = &unknown;
    CHECK(pycnn_update(theta, p.theta_size, &state, grad, &totals, net, ws) ==
          PYCNN_ERROR_ARGUMENT);
    state = good;
    pycnn_totals bad = totals;
    bad.loss = NAN;
    CHECK(pycnn_update(theta, p.theta_size, &state, grad, &bad, net, ws) == PYCNN_ERROR_DIVERGED);
    bad = (pycnn_totals){0};
    CHECK(pycnn_update(theta, p.theta_size, &state, grad, &bad, net, ws) ==
          PYCNN_OK); /* nothing to learn from */
    CHECK(state.updates == 0 && same_bits(theta, p.theta, p.parameters));
    CHECK(pycnn_update(theta, p.theta_size, &state, grad, &totals, net, forward) == PYCNN_OK);
    CHECK(state.updates == 1 && !same_bits(theta, p.theta, p.parameters));
    free(theta), free(grad);
    pycnn_workspace_destroy(forward), pycnn_workspace_destroy(ws);
    pycnn_workspace_destroy(foreign);
    free_problem(&p), free_problem(&other);
}

const test update_tests[] = {
    FOR_EACH_SET("training step by step gives the same bits",
                 test_training_step_by_step_gives_the_same_bits),
    FOR_EACH_SET("a step is the gradient times the learning rate",
                 test_a_step_is_the_gradient_times_the_learning_rate),
    FOR_EACH_SET("divergence leaves the last finished step",
                 test_divergence_leaves_the_last_finished_step),
    FOR_EACH_SET("trainings that cannot be", test_trainings_that_cannot_be),
    FOR_EACH_SET("bad entries of many", test_bad_entries_of_many),
    FOR_EACH_SET("a loop of one's own ends in the same bits",
                 test_a_loop_of_ones_own_ends_in_the_same_bits),
    FOR_EACH_SET("pieces of a mini-batch end in the same bits",
                 test_pieces_of_a_mini_batch_end_in_the_same_bits),
    FOR_EACH_SET("sums of parts add up to the gradient", test_sums_of_parts_add_up_to_the_gradient),
    FOR_EACH_SET("updates that cannot be", test_updates_that_cannot_be),
    {0},
};
