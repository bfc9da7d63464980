/* What a call costs from C: loops over rows and steps, for pycnn's core and for other libraries in
 * C whose functions calls.py hands in. Each returns nanoseconds a row or a step. */
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "pycnn.h"

typedef struct {
    pycnn_network *net;
    pycnn_workspace *ws;
    pycnn_predictor *predictor;
    double *theta, *y;
    size_t theta_size;
} subject;

/* What newer glibcs no longer have, and genann's table of sigmoids is made by. */
double __exp_finite(double x) { return exp(x); }

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Layers of sigmoid units on squared errors: what all libraries have. NULL: it could not be. */
subject *subject_create(const size_t *sizes, size_t depth, const double *theta, size_t rows)
{
    pycnn_layer_spec layers[8] = {{0}};
    subject *s = calloc(1, sizeof *s);
    for (size_t l = 0; l < depth; l++) {
        layers[l] = (pycnn_layer_spec){.activation = PYCNN_SIGMOID, .units = sizes[l + 1]};
    }
    int status = pycnn_network_create(&s->net, sizes[0], layers, depth, PYCNN_MSE, 0);
    status = status ? status : pycnn_workspace_create(&s->ws, s->net, rows, PYCNN_BACKWARD);
    s->theta_size = pycnn_network_theta_size(s->net);
    s->theta = malloc(s->theta_size * sizeof(double));
    s->y = malloc(rows * sizes[depth] * sizeof(double));
    for (size_t i = 0; i < s->theta_size; i++) {
        s->theta[i] = theta[i];
    }
    status =
        status ? status : pycnn_predictor_create(&s->predictor, s->net, s->theta, s->theta_size);
    return status ? NULL : s;
}

const double *subject_result(const subject *s) { return s->y; }

double time_predict(subject *s, const double *x, size_t rows, size_t inputs, size_t batch,
                    size_t turns)
{
    const double start = now();
    for (size_t t = 0; t < turns; t++) {
        for (size_t i = 0; i < rows; i += batch) {
            pycnn_predict(s->y, s->net, s->ws, s->theta, s->theta_size, x + i * inputs, batch);
        }
    }
    return (now() - start) / (double)(turns * rows / batch);
}

double time_predictor(subject *s, const double *x, size_t rows, size_t inputs, size_t turns)
{
    const double start = now();
    for (size_t t = 0; t < turns; t++) {
        for (size_t i = 0; i < rows; i++) {
            pycnn_predictor_run(s->predictor, s->y, x + i * inputs);
        }
    }
    return (now() - start) / (double)(turns * rows);
}

double time_train(subject *s, const double *x, const double *y, size_t rows, size_t batch,
                  size_t turns)
{
    pycnn_totals *totals = calloc(turns, sizeof *totals);
    const pycnn_dataset data = {.rows = rows, .x = x, .y = y};
    pycnn_training state = {
        .epochs = turns, .batch_size = batch, .learning_rate = 0.01, .totals = totals};
    size_t steps;
    const double start = now();
    pycnn_train(&steps, s->theta, s->theta_size, &state, s->net, s->ws, &data, SIZE_MAX);
    const double end = now();
    free(totals);
    return (end - start) / (double)steps;
}

/* genann_run, fann_run: a row */
double time_run(const double *run(void *, const double *), void *net, const double *x, size_t rows,
                size_t inputs, size_t turns)
{
    const double start = now();
    for (size_t t = 0; t < turns; t++) {
        for (size_t i = 0; i < rows; i++) {
            run(net, x + i * inputs);
        }
    }
    return (now() - start) / (double)(turns * rows);
}

/* genann_train: a sample */
double time_genann_train(void train(void *, const double *, const double *, double), void *net,
                         const double *x, const double *y, size_t rows, size_t inputs,
                         size_t outputs, size_t turns)
{
    const double start = now();
    for (size_t t = 0; t < turns; t++) {
        for (size_t i = 0; i < rows; i++) {
            train(net, x + i * inputs, y + i * outputs, 0.01);
        }
    }
    return (now() - start) / (double)(turns * rows);
}

/* fann_train: a sample */
double time_fann_train(void train(void *, const double *, const double *), void *net,
                       const double *x, const double *y, size_t rows, size_t inputs, size_t outputs,
                       size_t turns)
{
    const double start = now();
    for (size_t t = 0; t < turns; t++) {
        for (size_t i = 0; i < rows; i++) {
            train(net, x + i * inputs, y + i * outputs);
        }
    }
    return (now() - start) / (double)(turns * rows);
}

/* fann_train_epoch: a mini-batch */
double time_fann_batch(float train(void *, void *), void *net, void *data, size_t turns)
{
    const double start = now();
    for (size_t t = 0; t < turns; t++) {
        train(net, data);
    }
    return (now() - start) / (double)turns;
}
