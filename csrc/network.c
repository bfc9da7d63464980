/* The calls of pycnn.h on a network: what they ask for is checked, and done by others. */
#include "mode.h"
#include "online.h"

#include <math.h>

#include "update.h"

static int begin(const pycnn_network *net, pycnn_workspace *ws, int mode, const double *theta,
                 size_t theta_size)
{
    RETURN_IF(net == NULL || ws == NULL || theta == NULL, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(theta_size != theta_size_of(net), PYCNN_ERROR_SIZE);
    RETURN_IF(ws->net != net || ws->mode < mode, PYCNN_ERROR_WORKSPACE);
    ws->polled = 0;
    return PYCNN_OK;
}

static int find_data(const char **why, const pycnn_dataset *data)
{
    NEED(data != NULL && data->x != NULL, PYCNN_ERROR_ARGUMENT, "there are no samples: x is NULL");
    NEED(data->y != NULL || data->label != NULL, PYCNN_ERROR_ARGUMENT,
         "there are no targets: y and label are NULL");
    NEED(IS_RESERVED(data), PYCNN_ERROR_ARGUMENT, "the data's reserved numbers must be 0");
    NEED(data->rows > 0, PYCNN_ERROR_SIZE, "rows must be at least 1");
    return PYCNN_OK;
}

static int check_data(const pycnn_dataset *data)
{
    const char *ignored;
    return find_data(&ignored, data);
}

static int begin_prediction(const prediction *all, const pycnn_network *net, size_t theta_size,
                            bool dropping)
{
    pycnn_workspace *ws = all->ws;
    TRY(begin(net, ws, PYCNN_FORWARD, all->theta, theta_size));
    RETURN_IF(all->y == NULL || all->x == NULL, PYCNN_ERROR_ARGUMENT);
    ws->context.training = false;
    ws->context.dropping = dropping;
    ws->context.statistics = all->theta + net->parameter_count;
    return PYCNN_OK;
}

static int predict(double *y, const pycnn_network *net, pycnn_workspace *ws, const double *theta,
                   size_t theta_size, const double *x, size_t rows, bool finite)
{
    KEEP_MODE;
    const prediction work = {ws, theta, x, y, finite, true, 0};
    TRY(begin_prediction(&work, net, theta_size, false));
    return pycnn_predict_rows(&work, rows, 0);
}

int pycnn_predict(double *y, const pycnn_network *net, pycnn_workspace *ws, const double *theta,
                  size_t theta_size, const double *x, size_t rows)
{
    return predict(y, net, ws, theta, theta_size, x, rows, false);
}

int pycnn_predict_finite(double *y, const pycnn_network *net, pycnn_workspace *ws,
                         const double *theta, size_t theta_size, const double *x, size_t rows)
{
    return predict(y, net, ws, theta, theta_size, x, rows, true);
}

int pycnn_predict_samples(double *y, const pycnn_network *net, pycnn_workspace *ws,
                          const double *theta, size_t theta_size, const double *x, size_t rows,
                          const uint64_t *dropout_keys, size_t draws, size_t sample_offset)
{
    KEEP_MODE;
    prediction work = {ws, theta, x, y, false, false, 0};
    TRY(begin_prediction(&work, net, theta_size, true));
    RETURN_IF(dropout_keys == NULL, PYCNN_ERROR_ARGUMENT);
    for (size_t draw = 0; draw < draws; draw++) {
        if (draw > 0) {
            TRY(pycnn_workspace_poll(ws));
        }
        ws->context.dropout_key = dropout_keys[draw];
        TRY(pycnn_predict_rows(&work, rows, sample_offset));
        work.y += rows * net->outputs;
    }
    return PYCNN_OK;
}

int pycnn_evaluate(pycnn_totals *totals, const pycnn_network *net, pycnn_workspace *ws,
                   const double *theta, size_t theta_size, const pycnn_dataset *data)
{
    KEEP_MODE;
    TRY(begin(net, ws, PYCNN_FORWARD, theta, theta_size));
    TRY(check_data(data));
    RETURN_IF(totals == NULL, PYCNN_ERROR_ARGUMENT);
    *totals = (pycnn_totals){0};
    ws->context.training = ws->context.dropping = false;
    for (size_t done = 0; done < data->rows; done += ws->capacity) {
        if (done > 0) {
            TRY(pycnn_workspace_poll(ws));
        }
        const selection piece = {data, NULL, done, MIN(ws->capacity, data->rows - done)};
        TRY(pycnn_pass(totals, ws, theta, &piece, false));
    }
    pycnn_penalize(totals, net, theta);
    return PYCNN_OK;
}

/* With a key as in training, of which the first sample has this place among dropout's random
 * numbers; without as in prediction. */
static int sum_gradients(pycnn_totals *totals, double *grad, gradient_use use,
                         const pycnn_network *net, pycnn_workspace *ws, const double *theta,
                         size_t theta_size, const pycnn_dataset *data, const uint64_t *dropout_key,
                         size_t position)
{
    TRY(begin(net, ws, PYCNN_BACKWARD, theta, theta_size));
    TRY(check_data(data));
    RETURN_IF(totals == NULL || grad == NULL, PYCNN_ERROR_ARGUMENT);
    ws->context.training = ws->context.dropping = dropout_key != NULL;
    ws->context.dropout_key = dropout_key == NULL ? 0 : *dropout_key;
    ws->context.position = position;
    return pycnn_gradient_of(totals, grad, use, ws, theta, &(selection){data, NULL, 0, data->rows});
}

int pycnn_gradients(pycnn_totals *totals, double *grad, const pycnn_network *net,
                    pycnn_workspace *ws, const double *theta, size_t theta_size,
                    const pycnn_dataset *data, const uint64_t *dropout_keys)
{
    KEEP_MODE;
    pycnn_totals sums = {0};
    RETURN_IF(totals == NULL, PYCNN_ERROR_ARGUMENT);
    TRY(sum_gradients(&sums, grad, GRADIENT_SET, net, ws, theta, theta_size, data, dropout_keys,
                      0));
    pycnn_average(grad, &sums, net, theta);
    *totals = sums;
    return PYCNN_OK;
}

int pycnn_gradient_sums(pycnn_totals *totals, double *grad, double *statistics,
                        const pycnn_network *net, pycnn_workspace *ws, const double *theta,
                        size_t theta_size, const pycnn_dataset *data, const uint64_t *dropout_key,
                        size_t sample_offset)
{
    KEEP_MODE;
    TRY(sum_gradients(totals, grad, GRADIENT_ADD, net, ws, theta, theta_size, data, dropout_key,
                      sample_offset));
    if (statistics != NULL && dropout_key != NULL) {
        pycnn_update_statistics(statistics, ws);
    }
    return PYCNN_OK;
}

int pycnn_trace(pycnn_totals *totals, double *grad, double *z, double *a, double *delta,
                const pycnn_network *net, pycnn_workspace *ws, const double *theta,
                size_t theta_size, const pycnn_dataset *data)
{
    TRY(begin(net, ws, PYCNN_TRACE, theta, theta_size));
    RETURN_IF(z == NULL || a == NULL || delta == NULL, PYCNN_ERROR_ARGUMENT);
    TRY(check_data(data));
    RETURN_IF(ws->capacity < data->rows, PYCNN_ERROR_WORKSPACE);
    TRY(pycnn_gradients(totals, grad, net, ws, theta, theta_size, data, NULL));
    pycnn_copy_trace(z, a, delta, ws, data->rows);
    return PYCNN_OK;
}

int pycnn_input_gradient(double *gradient, const pycnn_network *net, pycnn_workspace *ws,
                         const double *theta, size_t theta_size, const pycnn_dataset *data)
{
    KEEP_MODE;
    TRY(begin(net, ws, PYCNN_TRACE, theta, theta_size));
    TRY(check_data(data));
    RETURN_IF(gradient == NULL, PYCNN_ERROR_ARGUMENT);
    ws->context.training = ws->context.dropping = false;
    return pycnn_input_gradient_of(gradient, ws, theta, &(selection){data, NULL, 0, data->rows});
}

/* That of the i-th of the next steps. */
static double rate_of(const pycnn_training *state, size_t i)
{
    return state->learning_rates == NULL ? state->learning_rate : state->learning_rates[i];
}

/* What the next steps go by. */
static int check_state(const char **why, const pycnn_training *state, size_t rates)
{
    NEED(IS_RESERVED(state), PYCNN_ERROR_ARGUMENT, "the training's reserved numbers must be 0");
    TRY(pycnn_optimizer_check(why, state->optimizer));
    NEED(pycnn_optimizer_slots(state->optimizer) == 0 || state->slots != NULL, PYCNN_ERROR_ARGUMENT,
         "slots is NULL, and the optimizer needs some");
    /* They are counted. */
    NEED(state->updates < SIZE_MAX, PYCNN_ERROR_RANGE, "updates must be below SIZE_MAX");
    for (size_t i = 0; i < rates; i++) {
        const double rate = rate_of(state, i);
        NEED(rate >= 0 && isfinite(rate), PYCNN_ERROR_RANGE,
             state->learning_rates == NULL ? "learning_rate must be finite and at least 0"
                                           : "learning_rates must be finite and at least 0");
    }
    return PYCNN_OK;
}

/* The sum of squares takes a fourth of the time, and overflows only where a number is very large.
 */
static bool is_finite(const double *grad, const pycnn_network *net)
{
    const size_t count = net->parameter_count;
    return isfinite(net->kernels->penalty(grad, 0, 2, count)) ||
           pycnn_find_not_finite(grad, count) == count;
}

int pycnn_update(double *theta, size_t theta_size, pycnn_training *state, double *grad,
                 const pycnn_totals *totals, const pycnn_network *net, pycnn_workspace *ws)
{
    KEEP_MODE;
    TRY(begin(net, ws, PYCNN_FORWARD, theta, theta_size));
    RETURN_IF(state == NULL || grad == NULL || totals == NULL, PYCNN_ERROR_ARGUMENT);
    const char *ignored;
    TRY(check_state(&ignored, state, 1));
    RETURN_IF(!is_finite(grad, net), PYCNN_ERROR_NOT_FINITE);
    pycnn_totals penalized = *totals;
    pycnn_penalize(&penalized, net, theta);
    RETURN_IF(!isfinite(penalized.loss), PYCNN_ERROR_DIVERGED);
    RETURN_IF(!weight_divides(totals->weight), PYCNN_ERROR_RANGE);
    if (totals->weight > 0) {
        pycnn_apply(theta, grad, state, rate_of(state, 0), ws, totals->weight);
        state->updates++;
    }
    return PYCNN_OK;
}

/* How many learning rates the next max_steps have, up to the end of the last epoch. */
static size_t count_rates(const pycnn_training *state, size_t rows, size_t max_steps)
{
    size_t steps = 0;
    if (state->learning_rates == NULL) {
        return 1;
    }
    for (size_t epoch = state->epoch; epoch < state->epochs && steps < max_steps; epoch++) {
        const size_t left = epoch == state->epoch ? rows - state->position : rows;
        steps += left / state->batch_size + (left % state->batch_size != 0);
    }
    return MIN(steps, max_steps);
}

static int check_training(const char **why, const pycnn_training *state, const pycnn_dataset *data,
                          size_t max_steps)
{
    NEED(state->batch_size > 0, PYCNN_ERROR_SIZE, "batch_size must be at least 1");
    NEED(state->position < data->rows, PYCNN_ERROR_SIZE, "position must be below rows");
    return check_state(why, state, count_rates(state, data->rows, max_steps));
}

/* What weights may sum to at most: losses can be multiplied with it. */
#define MOST_WEIGHT 1e250

/* What is wrong with a row of the data; NULL: nothing. */
static const char *row_problem(const pycnn_network *net, const pycnn_dataset *data, size_t row)
{
    const double *x = data->x + row * net->inputs;
    const size_t weights = data->weight_per_position ? net->positions : 1;
    for (size_t p = 0; p < net->positions && data->y == NULL; p++) {
        const size_t label = data->label[row * net->positions + p];
        if (label >= net->features && !(net->has_sequence && label == SIZE_MAX)) {
            return "label must be below the number of outputs";
        }
    }
    for (size_t p = 0; p < weights && data->weight != NULL; p++) {
        const double weight = data->weight[row * weights + p];
        if (!(weight >= 0 && weight <= MOST_WEIGHT && weight_divides(weight))) {
            return "weight must be 0, or lie between 1e-250 and 1e250";
        }
    }
    const layer *first = &net->layers[0];
    for (size_t k = 0; k < net->inputs && first->vocabulary > 0; k++) {
        if (pycnn_token_of(first, x[k]) == first->vocabulary) {
            return "x must be tokens: whole numbers below the vocabulary";
        }
    }
    return pycnn_find_not_finite(x, net->inputs) < net->inputs ? "x must be finite" : NULL;
}

const char *pycnn_training_check(const pycnn_training *training, const pycnn_network *net,
                                 const pycnn_dataset *data, size_t *row)
{
    const char *why = NULL;
    size_t ignored, *at = row == NULL ? &ignored : row;
    *at = SIZE_MAX;
    if (training == NULL || net == NULL) {
        return "training or net is NULL";
    }
    if (find_data(&why, data) != PYCNN_OK || check_training(&why, training, data, 1) != PYCNN_OK) {
        return why;
    }
    for (*at = 0; *at < data->rows; ++*at) {
        why = row_problem(net, data, *at);
        if (why != NULL) {
            return why;
        }
    }
    for (*at = 0; *at < data->rows && training->order != NULL; ++*at) {
        const size_t entry = training->epoch * data->rows + *at;
        if (training->epoch < training->epochs && training->order[entry] >= data->rows) {
            return "order must name rows of the data";
        }
    }
    *at = SIZE_MAX;
    return NULL;
}

/* The mini-batch that begins there, or where the next epoch does; of no samples behind the last. */
static selection batch_at(const pycnn_training *state, const pycnn_dataset *data, size_t epoch,
                          size_t position)
{
    if (position == data->rows) {
        epoch++;
        position = 0;
    }
    if (epoch >= state->epochs) {
        return (selection){data, NULL, 0, 0};
    }
    const size_t *order = state->order == NULL ? NULL : state->order + epoch * data->rows;
    return (selection){data, order, position, MIN(state->batch_size, data->rows - position)};
}

static int run_steps(size_t *steps, double *theta, pycnn_training *state, pycnn_workspace *ws,
                     const pycnn_dataset *data, size_t max_steps, bool online)
{
    while (*steps < max_steps && state->epoch < state->epochs) {
        const selection batch = batch_at(state, data, state->epoch, state->position);
        const selection next = batch_at(state, data, state->epoch, batch.first + batch.count);
        const double rate = rate_of(state, *steps);
        pycnn_totals sums;
        TRY(online ? pycnn_online_step(&sums, ws, &batch, &next, rate)
                   : pycnn_step(&sums, theta, state, rate, ws, &batch));
        pycnn_advance(state, &sums, batch.count, data->rows);
        ++*steps;
    }
    return PYCNN_OK;
}

int pycnn_train(size_t *steps, double *theta, size_t theta_size, pycnn_training *state,
                const pycnn_network *net, pycnn_workspace *ws, const pycnn_dataset *data,
                size_t max_steps)
{
    KEEP_MODE;
    RETURN_IF(steps == NULL, PYCNN_ERROR_ARGUMENT);
    *steps = 0;
    TRY(begin(net, ws, PYCNN_BACKWARD, theta, theta_size));
    TRY(check_data(data));
    RETURN_IF(state == NULL, PYCNN_ERROR_ARGUMENT);
    const char *ignored;
    TRY(check_training(&ignored, state, data, max_steps));
    const bool online =
        pycnn_online_serves(ws, state->batch_size) && pycnn_step_is_plain(net, state);
    if (online) {
        pycnn_online_begin(ws, theta);
    }
    const int status = run_steps(steps, theta, state, ws, data, max_steps, online);
    if (online) {
        pycnn_online_end(ws, theta);
    }
    return status;
}

/* Whether the loss can have such targets of one sample, or of one position. */
static bool are_targets(const pycnn_network *net, const double *y)
{
    const bool shares =
        net->loss == PYCNN_CATEGORICAL_CROSSENTROPY || net->loss == PYCNN_KL_DIVERGENCE;
    double sum = 0;
    for (size_t i = 0; i < net->features; i++) {
        if ((shares || net->loss == PYCNN_BINARY_CROSSENTROPY) && !(y[i] >= 0 && y[i] <= 1)) {
            return false;
        }
        if ((net->loss == PYCNN_POISSON && y[i] < 0) ||
            (net->loss == PYCNN_HINGE && fabs(y[i]) != 1)) {
            return false;
        }
        sum += y[i];
    }
    return !shares || fabs(sum - 1) <= 1e-6;
}

static bool is_aligned(const pycnn_dataset *data)
{
    const uintptr_t bits = (uintptr_t)data->x | (uintptr_t)data->y | (uintptr_t)data->weight;
    return bits % _Alignof(double) == 0 && (uintptr_t)data->label % _Alignof(size_t) == 0;
}

/* Behind the length of a sequence nothing is looked at. */
static int check_batch(const pycnn_network *net, const pycnn_workspace *ws,
                       const pycnn_dataset *data)
{
    RETURN_IF(!is_aligned(data), PYCNN_ERROR_ARGUMENT);
    size_t inputs = 0, outputs = 0, weights = 0;
    TRY(add_product(&inputs, data->rows, net->inputs));
    TRY(add_product(&outputs, data->rows, net->outputs));
    TRY(add_product(&weights, data->rows, data->weight_per_position ? net->positions : 1));
    double sum = 0;
    for (size_t i = 0; i < weights && data->weight != NULL; i++) {
        const double weight = data->weight[i];
        RETURN_IF(!isfinite(weight), PYCNN_ERROR_NOT_FINITE);
        RETURN_IF(weight < 0 || !weight_divides(weight), PYCNN_ERROR_RANGE);
        sum += weight;
    }
    RETURN_IF(sum > MOST_WEIGHT, PYCNN_ERROR_RANGE);
    if (ws->sequences.lengths != NULL) {
        return PYCNN_OK;
    }
    RETURN_IF(pycnn_find_not_finite(data->x, inputs) < inputs, PYCNN_ERROR_NOT_FINITE);
    if (data->y == NULL) {
        return PYCNN_OK;
    }
    RETURN_IF(pycnn_find_not_finite(data->y, outputs) < outputs, PYCNN_ERROR_NOT_FINITE);
    for (size_t first = 0; first < outputs; first += net->features) {
        RETURN_IF(!are_targets(net, data->y + first), PYCNN_ERROR_RANGE);
    }
    return PYCNN_OK;
}

static int try_batch(double *theta, size_t theta_size, pycnn_training *state,
                     const pycnn_network *net, pycnn_workspace *ws, const pycnn_dataset *data)
{
    size_t steps;
    TRY(pycnn_train(&steps, theta, theta_size, state, net, ws, data, 1));
    RETURN_IF(pycnn_find_not_finite(theta, theta_size) < theta_size, PYCNN_ERROR_DIVERGED);
    return PYCNN_OK;
}

int pycnn_train_batch(double *theta, size_t theta_size, pycnn_training *state, double *kept,
                      const pycnn_network *net, pycnn_workspace *ws, const pycnn_dataset *data)
{
    TRY(begin(net, ws, PYCNN_BACKWARD, theta, theta_size));
    TRY(check_data(data));
    RETURN_IF(state == NULL || state->totals == NULL || kept == NULL, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(state->epochs != 1 || state->batch_size < data->rows, PYCNN_ERROR_SIZE);
    state->epoch = state->position = 0;
    state->totals[0] = (pycnn_totals){0};
    if (state->norms != NULL) {
        state->norms[0] = 0;
    }
    TRY(check_batch(net, ws, data));
    const size_t updates = state->updates;
    const size_t slots = pycnn_optimizer_slots(state->optimizer) * net->parameter_count;
    RETURN_IF(slots > 0 && state->slots == NULL, PYCNN_ERROR_ARGUMENT);
    memcpy(kept, theta, theta_size * sizeof *theta);
    if (slots > 0) {
        memcpy(kept + theta_size, state->slots, slots * sizeof *theta);
    }
    const int status = try_batch(theta, theta_size, state, net, ws, data);
    if (status != PYCNN_OK && state->epoch > 0) {
        memcpy(theta, kept, theta_size * sizeof *theta);
        if (slots > 0) {
            memcpy(state->slots, kept + theta_size, slots * sizeof *theta);
        }
        state->updates = updates;
        state->epoch = 0;
    }
    return status;
}
