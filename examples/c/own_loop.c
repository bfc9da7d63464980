// A training loop of one's own in C, for what pycnn_train does not do: here a mini-batch comes in
// four pieces, as it would from a disk or from four machines. It ends in pycnn_train's bits.
//
//     cc -O2 -pthread -Icsrc csrc/*.c examples/c/own_loop.c -o own_loop -lm
//     ./own_loop
//
// The network learns which points of a square lie in a circle.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pycnn.h"

enum { ROWS = 256, INPUTS = 2, EPOCHS = 150, BATCH = 64, PIECE = 16, PARAMETERS_AT_MOST = 500 };

static double x[ROWS * INPUTS], y[ROWS];
static uint64_t dropout_keys[EPOCHS]; /* of each epoch: any numbers will do */

/* splitmix64 */
static uint64_t random_bits(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* In [-1, 1). */
static double random_value(uint64_t *state)
{
    return (double)(random_bits(state) >> 11) / (double)(1ull << 52) - 1;
}

static int succeeded(int status)
{
    if (status != PYCNN_OK) {
        fprintf(stderr, "own_loop: %s\n", pycnn_strerror(status));
    }
    return status == PYCNN_OK;
}

/* One step on samples first ... first + BATCH - 1: sums over pieces, and one update from them. */
static int take_step(double *theta, pycnn_training *state, const pycnn_network *net,
                     pycnn_workspace *workspace, size_t first)
{
    static double grad[PARAMETERS_AT_MOST];
    const size_t theta_size = pycnn_network_theta_size(net);
    pycnn_totals sums = {0};
    memset(grad, 0, sizeof grad);
    for (size_t at = first; at < first + BATCH; at += PIECE) {
        const pycnn_dataset piece = {.rows = PIECE, .x = x + at * INPUTS, .y = y + at};
        /* `at` is the piece's place in the epoch, from which dropout's random numbers follow. The
         * NULL would be theta + parameters if there were batch normalization. */
        const int status = pycnn_gradient_sums(&sums, grad, NULL, net, workspace, theta, theta_size,
                                               &piece, &dropout_keys[state->epoch], at);
        if (status != PYCNN_OK) {
            return status;
        }
    }
    /* Several machines would add up their sums and grad here. */
    pycnn_totals *epoch = &state->totals[state->epoch];
    epoch->loss += sums.loss + sums.weight * pycnn_penalty(net, theta, theta_size);
    epoch->weight += sums.weight;
    return pycnn_update(theta, theta_size, state, grad, &sums, net, workspace);
}

int main(void)
{
    uint64_t seed = 1;
    for (size_t i = 0; i < ROWS; i++) {
        x[2 * i] = random_value(&seed), x[2 * i + 1] = random_value(&seed);
        y[i] = hypot(x[2 * i], x[2 * i + 1]) < 0.8;
    }
    for (size_t i = 0; i < EPOCHS; i++) {
        dropout_keys[i] = random_bits(&seed);
    }

    /* 2 -> 32 tanh -> dropout -> 1 sigmoid, Adam with a penalty and a clip. */
    const pycnn_layer_spec layers[] = {
        {.kind = PYCNN_DENSE, .activation = PYCNN_TANH, .units = 32, .l2 = 1e-4},
        {.kind = PYCNN_DROPOUT, .rate = 0.1},
        {.kind = PYCNN_DENSE, .activation = PYCNN_SIGMOID, .units = 1}};
    const pycnn_optimizer adam = {
        .kind = PYCNN_ADAM, .beta_1 = 0.9, .beta_2 = 0.999, .epsilon = 1e-8, .clip_norm = 1};
    static _Alignas(64) double theta[2][PARAMETERS_AT_MOST];
    static double slots[2][2 * PARAMETERS_AT_MOST];
    static pycnn_totals totals[2][EPOCHS];
    pycnn_training state[2];
    pycnn_network *net = NULL;
    pycnn_workspace *whole = NULL, *small = NULL;
    int result = EXIT_FAILURE;
    if (!succeeded(pycnn_network_create(&net, INPUTS, layers, 3, PYCNN_BINARY_CROSSENTROPY, 0)) ||
        !succeeded(pycnn_workspace_create(&whole, net, BATCH, PYCNN_BACKWARD)) ||
        !succeeded(pycnn_workspace_create(&small, net, PIECE, PYCNN_BACKWARD))) {
        goto out;
    }
    const size_t theta_size = pycnn_network_theta_size(net); /* no statistics: the parameters */
    for (size_t i = 0; i < theta_size; i++) {
        theta[0][i] = theta[1][i] = 0.5 * random_value(&seed);
    }
    for (int i = 0; i < 2; i++) {
        state[i] = (pycnn_training){.epochs = EPOCHS,
                                    .batch_size = BATCH,
                                    .learning_rate = 0.02,
                                    .totals = totals[i],
                                    .optimizer = &adam,
                                    .slots = slots[i],
                                    .dropout_keys = dropout_keys};
    }

    const pycnn_dataset data = {.rows = ROWS, .x = x, .y = y};
    size_t steps = 0;
    if (!succeeded(
            pycnn_train(&steps, theta[0], theta_size, &state[0], net, whole, &data, SIZE_MAX))) {
        goto out;
    }
    for (; state[1].epoch < EPOCHS; state[1].epoch++) {
        for (size_t first = 0; first < ROWS; first += BATCH) {
            if (!succeeded(take_step(theta[1], &state[1], net, small, first))) {
                goto out;
            }
        }
    }
    for (size_t epoch = 0; epoch < EPOCHS; epoch += EPOCHS / 5) {
        printf("epoch %3zu  loss %.6f\n", epoch + 1,
               totals[1][epoch].loss / totals[1][epoch].weight);
    }
    pycnn_totals score;
    if (!succeeded(pycnn_evaluate(&score, net, whole, theta[1], theta_size, &data))) {
        goto out;
    }
    const int same = memcmp(theta[0], theta[1], theta_size * sizeof **theta) == 0;
    printf("%zu updates, accuracy %.3f; pycnn_train's %zu steps end in %s\n", state[1].updates,
           score.correct / score.weight, steps, same ? "the same bits" : "other bits");
    result = same ? EXIT_SUCCESS : EXIT_FAILURE;

out:
    pycnn_workspace_destroy(whole), pycnn_workspace_destroy(small); /* NULL is fine */
    pycnn_network_destroy(net);
    return result;
}
