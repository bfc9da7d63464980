/* What turns the gradient of a mini-batch into a step: penalties, clipping, the optimizer, norms
 * that weights are held to, statistics. Where the loss is not finite, theta stays as it was. */
#include "update.h"

#include <math.h>

/* ---------------------------------------------------------------- penalties */

static double penalty_of(const pycnn_network *net, const double *theta)
{
    double sum = 0;
    for (size_t l = 0; l < net->depth && net->penalized; l++) {
        const layer *self = &net->layers[l];
        if (self->l1 > 0 || self->l2 > 0) {
            sum +=
                net->kernels->penalty(theta + self->offset, self->l1, self->l2, self->weight_count);
        }
    }
    return sum;
}

double pycnn_penalty(const pycnn_network *net, const double *theta, size_t theta_size)
{
    const bool good = net != NULL && theta != NULL && theta_size == theta_size_of(net);
    return good ? penalty_of(net, theta) : NAN;
}

void pycnn_penalize(pycnn_totals *totals, const pycnn_network *net, const double *theta)
{
    totals->loss += totals->weight * penalty_of(net, theta);
}

/* grad[first ... last - 1], a sum over samples, becomes the penalized loss's, held to +-limit. */
static void regularize(double *grad, const pycnn_network *net, const double *theta, double scale,
                       double limit, size_t first, size_t last)
{
    for (size_t l = 0; l < net->depth; l++) {
        const layer *self = &net->layers[l];
        const size_t middle = self->offset + self->weight_count;
        const struct {
            size_t begin, end;
            double l1, l2;
        } parts[] = {{self->offset, middle, self->l1, self->l2},
                     {middle, self->offset + self->parameter_count, 0, 0}};
        for (int p = 0; p < 2; p++) { /* weights, biases */
            const size_t from = first > parts[p].begin ? first : parts[p].begin;
            const size_t to = MIN(last, parts[p].end);
            const regularization how = {scale, parts[p].l1, parts[p].l2, limit};
            if (from < to) {
                net->kernels->regularize(grad + from, theta + from, &how, to - from);
            }
        }
    }
}

void pycnn_average(double *grad, pycnn_totals *totals, const pycnn_network *net,
                   const double *theta)
{
    for (size_t i = 0; i < net->parameter_count; i++) {
        grad[i] = totals->weight == 0 ? 0 : grad[i] / totals->weight;
    }
    if (net->penalized && totals->weight > 0) {
        pycnn_penalize(totals, net, theta);
        regularize(grad, net, theta, 1, 0, 0, net->parameter_count);
    }
}

/* ---------------------------------------------------------------- an optimizer's update */

/* Parameters of one task: a multiple of every kernel's lanes. */
#define UPDATE_CHUNK ((size_t)1 << 14)

typedef struct {
    const pycnn_network *net;
    double *grad;
    double scale, limit;
    update how;
    update_function *run;
} update_work;

static void regularize_task(void *context, size_t task)
{
    const update_work *work = context;
    const size_t first = task * UPDATE_CHUNK;
    regularize(work->grad, work->net, work->how.theta, work->scale, work->limit, first,
               MIN(first + UPDATE_CHUNK, work->net->parameter_count));
}

static void update_task(void *context, size_t task)
{
    const update_work *work = context;
    const size_t first = task * UPDATE_CHUNK;
    work->run(&work->how, first, MIN(first + UPDATE_CHUNK, work->net->parameter_count));
}

static void constrain_task(void *context, size_t l)
{
    const update_work *work = context;
    const layer *self = &work->net->layers[l];
    if (self->max_norm > 0) {
        self->ops->constrain(self, work->how.theta + self->offset);
    }
}

/* theta from grad by the optimizer, where more is to be done than theta -= step * grad. */
static void optimize(double *theta, double *grad, const pycnn_training *state, double rate,
                     const pycnn_workspace *ws, double weight)
{
    const pycnn_network *net = ws->net;
    const pycnn_optimizer *optimizer = state->optimizer;
    const size_t count = net->parameter_count, tasks = (count + UPDATE_CHUNK - 1) / UPDATE_CHUNK;
    const double clip_value = optimizer == NULL ? 0 : optimizer->clip_value;
    const double clip_norm = optimizer == NULL ? 0 : optimizer->clip_norm;
    double *norm = state->norms == NULL ? NULL : &state->norms[state->epoch];
    update_work work = {net,
                        grad,
                        1 / weight,
                        clip_value > 0 ? clip_value : 0,
                        pycnn_update_of(optimizer, rate, state->updates, state->slots, count),
                        net->kernels->updates[optimizer == NULL ? PYCNN_SGD : optimizer->kind]};
    work.how.theta = theta;
    work.how.grad = grad;
    pycnn_threads_run(ws->threads, tasks, regularize_task, &work);
    if (clip_norm > 0 || norm != NULL) {
        double shrunk;
        const double size = pycnn_norm(&shrunk, grad, net->kernels, count);
        work.how.scale = clip_norm > 0 ? pycnn_norm_scale(clip_norm, size, shrunk) : 1 / shrunk;
        if (norm != NULL) {
            *norm += size / shrunk;
        }
    }
    pycnn_threads_run(ws->threads, tasks, update_task, &work);
    if (net->constrained) {
        pycnn_threads_run(ws->threads, net->depth, constrain_task, &work);
    }
}

/* theta -= step * grad, rounded as where the sums go straight into theta: products with a weight's
 * inputs are fused with what they are added to, the few sums of other layers are not. */
static void descend_by(double *theta, const double *grad, const pycnn_network *net, double step)
{
    for (size_t l = 0; l < net->depth; l++) {
        const layer *self = &net->layers[l];
        const size_t end = self->offset + self->parameter_count;
        if (self->weight_count > 0) {
            net->kernels->descend(theta + self->offset, grad + self->offset, step,
                                  self->parameter_count);
            continue;
        }
        for (size_t i = self->offset; i < end; i++) {
            theta[i] -= step * grad[i];
        }
    }
}

/* ---------------------------------------------------------------- a step */

bool pycnn_step_is_plain(const pycnn_network *net, const pycnn_training *state)
{
    return pycnn_optimizer_is_plain(state->optimizer) && !net->penalized && !net->constrained &&
           state->norms == NULL;
}

/* Samples of a mini-batch beside which a second pass over theta does not show. */
enum { MANY = 4096 };

/* theta -= step * the same. The sums go straight into theta and are never written down; but those
 * that layers share are, and the long ones over many samples, so that they can be interrupted: what
 * changes theta must not. */
static int descend(pycnn_workspace *ws, double *theta, double step)
{
    const bool at_once = !is_long(ws) || ws->context.count < MANY;
    if (at_once && !ws->net->shares_gradient) {
        return pycnn_sum_gradients(ws, theta, GRADIENT_DESCEND, step);
    }
    TRY(pycnn_sum_gradients(ws, ws->grad, GRADIENT_SET, 0));
    descend_by(theta, ws->grad, ws->net, step);
    return PYCNN_OK;
}

void pycnn_update_statistics(double *statistics, const pycnn_workspace *ws)
{
    if (ws->net->statistic_count == 0) {
        return;
    }
    pycnn_totals own = {0}; /* of this mini-batch alone: in a longer sum a little weight is lost */
    pycnn_add_totals(&own, ws);
    for (size_t l = 0; l < ws->net->depth && own.weight > 0 && isfinite(own.loss); l++) {
        const layer *self = &ws->net->layers[l];
        if (self->ops->update_statistics != NULL) {
            self->ops->update_statistics(self, statistics + self->statistic_offset,
                                         io_of(ws, l, 0));
        }
    }
}

void pycnn_advance(pycnn_training *state, const pycnn_totals *sums, size_t count, size_t rows)
{
    if (state->totals != NULL) {
        pycnn_totals *epoch = &state->totals[state->epoch];
        epoch->loss += sums->loss;
        epoch->weight += sums->weight;
        epoch->correct += sums->correct;
    }
    state->updates += sums->weight > 0;
    state->position += count;
    if (state->position == rows) {
        state->position = 0;
        state->epoch++;
    }
}

void pycnn_apply(double *theta, double *grad, const pycnn_training *state, double rate,
                 pycnn_workspace *ws, double weight)
{
    if (pycnn_step_is_plain(ws->net, state)) {
        descend_by(theta, grad, ws->net, rate / weight);
    } else {
        optimize(theta, grad, state, rate, ws, weight);
    }
}

int pycnn_step(pycnn_totals *totals, double *theta, const pycnn_training *state, double rate,
               pycnn_workspace *ws, const selection *samples)
{
    const pycnn_network *net = ws->net;
    const bool plain = pycnn_step_is_plain(net, state), whole = samples->count <= ws->capacity;
    const bool at_once = samples->count == pycnn_samples_together(ws, samples->count);
    const uint64_t *key = state->dropout_keys == NULL ? NULL : &state->dropout_keys[state->epoch];
    *totals = (pycnn_totals){0};
    ws->context.training = ws->context.dropping = true;
    ws->context.dropout_key = key == NULL ? 0 : *key;
    ws->context.position = state->sample_offset + state->position;
    if (plain && at_once) { /* the gradient need not be written down */
        TRY(pycnn_pass(totals, ws, theta, samples, true));
    } else {
        TRY(pycnn_gradient_of(totals, ws->grad, GRADIENT_SET, ws, theta, samples));
        pycnn_penalize(totals, net, theta);
    }
    RETURN_IF(!isfinite(totals->loss), PYCNN_ERROR_DIVERGED);
    RETURN_IF(!weight_divides(totals->weight), PYCNN_ERROR_RANGE);
    if (!(totals->weight > 0)) {
        return PYCNN_OK;
    }
    if (!plain) {
        pycnn_apply(theta, ws->grad, state, rate, ws, totals->weight);
    } else if (at_once) {
        TRY(descend(ws, theta, rate / totals->weight));
    } else if (whole) {
        descend_by(theta, ws->grad, net, rate / totals->weight);
    } else {
        net->kernels->descend(theta, ws->grad, rate / totals->weight, net->parameter_count);
    }
    pycnn_update_statistics(theta + net->parameter_count, ws);
    return PYCNN_OK;
}
