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
                CHECK(pycnn_train(&steps, theta, &saved, p.net, ws, &p.data, stride) == PYCNN_OK);
                state = saved;
                done += steps;
            }
            CHECK(state.epoch == EPOCHS && state.position == 0);
            CHECK(done == EPOCHS * ((ROWS + batch - 1) / batch));
            CHECK(same_bits(theta, whole, p.parameters));
            CHECK(same_bits(totals, whole_totals, 3 * EPOCHS));
            CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, stride) == PYCNN_OK);
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
    CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, &p.data, NULL) == PYCNN_OK);
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
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, SIZE_MAX) == PYCNN_ERROR_DIVERGED);
    CHECK(steps > 0 && state.epoch < EPOCHS && steps == 2 * state.epoch + (state.position > 0));
    CHECK(pycnn_train(&steps_again, again, &state_again, p.net, ws, &p.data, steps) == PYCNN_OK);
    CHECK(steps_again == steps && same_bits(theta, again, p.parameters));
    CHECK(state_again.epoch == state.epoch && state_again.position == state.position);
    CHECK(same_bits(totals[0], totals[1], 3 * EPOCHS));

    /* Called again it says so again, and changes nothing. */
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 1) == PYCNN_ERROR_DIVERGED);
    CHECK(steps == 0 && same_bits(theta, again, p.parameters));
    CHECK(same_bits(totals[0], totals[1], 3 * EPOCHS));

    /* NaN in the data. */
    memcpy(theta, p.theta, p.parameters * sizeof *theta);
    p.x[ROWS * 3 - 1] = NAN;
    state = (pycnn_training){
        .epochs = 1, .batch_size = ROWS, .learning_rate = 0.1, .totals = totals[0]};
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 1) == PYCNN_ERROR_DIVERGED);
    CHECK(steps == 0 && same_bits(theta, p.theta, p.parameters));
    free(theta), free(again);
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
    CHECK(pycnn_train(NULL, theta, &state, p.net, ws, &p.data, 9) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_train(&steps, NULL, &state, p.net, ws, &p.data, 9) == PYCNN_ERROR_ARGUMENT);
    CHECK(steps == 0);
    CHECK(pycnn_train(&steps, theta, NULL, p.net, ws, &p.data, 9) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_train(&steps, theta, &state, NULL, ws, &p.data, 9) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_train(&steps, theta, &state, p.net, NULL, &p.data, 9) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, NULL, 9) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_train(&steps, theta, &state, p.net, forward, &p.data, 9) == PYCNN_ERROR_WORKSPACE);
    state.totals = NULL;
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 9) == PYCNN_ERROR_ARGUMENT);
    state = good, state.batch_size = 0;
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 9) == PYCNN_ERROR_SIZE);
    state = good, state.position = ROWS;
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 9) == PYCNN_ERROR_SIZE);
    state = good, state.position = SIZE_MAX;
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 9) == PYCNN_ERROR_SIZE);
    state = good;
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 0) == PYCNN_OK && steps == 0);
    state.epochs = 0;
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 9) == PYCNN_OK && steps == 0);
    CHECK(same_bits(theta, p.theta, p.parameters));

    /* The mini-batch that meets a bad entry changes nothing; those before it count. */
    size_t order[ROWS] = {4, 3, 2, 1, ROWS};
    state = good, state.order = order, state.batch_size = ROWS;
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 9) == PYCNN_ERROR_INDEX);
    CHECK(steps == 0 && state.position == 0 && same_bits(theta, p.theta, p.parameters));
    order[4] = SIZE_MAX;
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 9) == PYCNN_ERROR_INDEX);
    CHECK(steps == 0 && totals.weight == 0 && same_bits(theta, p.theta, p.parameters));
    state.batch_size = 2;
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 9) == PYCNN_ERROR_INDEX);
    CHECK(steps == 2 && state.position == 4 && totals.weight == 4);

    memcpy(theta, p.theta, p.parameters * sizeof *theta);
    p.data.y = NULL, p.data.label = p.label;
    for (size_t bad = 3; bad != 0; bad = bad == 3 ? SIZE_MAX : 0) {
        p.label[1] = bad;
        state = good;
        CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 9) == PYCNN_ERROR_LABEL);
        CHECK(steps == 0 && same_bits(theta, p.theta, p.parameters));
        double *grad = doubles(p.parameters);
        CHECK(pycnn_gradients(&totals, grad, p.net, ws, theta, &p.data, NULL) == PYCNN_ERROR_LABEL);
        CHECK(pycnn_evaluate(&totals, p.net, forward, theta, &p.data) == PYCNN_ERROR_LABEL);
        free(grad);
    }
    free(theta);
    pycnn_workspace_destroy(forward), pycnn_workspace_destroy(ws);
    free_problem(&p);
}

const test update_tests[] = {
    FOR_EACH_SET("training step by step gives the same bits",
                 test_training_step_by_step_gives_the_same_bits),
    FOR_EACH_SET("a step is the gradient times the learning rate",
                 test_a_step_is_the_gradient_times_the_learning_rate),
    FOR_EACH_SET("divergence leaves the last finished step",
                 test_divergence_leaves_the_last_finished_step),
    FOR_EACH_SET("trainings that cannot be", test_trainings_that_cannot_be),
    {0},
};
