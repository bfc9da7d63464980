// XOR from C alone: the first program to read when pycnn.h is all you want.
//
//     cc -O2 -pthread -Icsrc csrc/*.c examples/c/xor.c -o xor -lm && ./xor
//
// One line cannot separate the two classes of XOR, so the network needs a hidden layer.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "pycnn.h"

/* Initial weights decide what a run gives, so they come from a generator of our own with a fixed
 * seed (splitmix64): every run, on every machine, starts from the same ones. */
static double uniform(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) / (1ull << 53); /* in [0, 1) */
}

/* Every call returns a status: 0 or what went wrong. The core never prints and never exits. */
static int succeeded(int status)
{
    if (status != PYCNN_OK) {
        fprintf(stderr, "xor: %s\n", pycnn_strerror(status));
    }
    return status == PYCNN_OK;
}

int main(void)
{
    /* The data: a row is a sample. The core reads it where it lies. */
    enum { ROWS = 4, INPUTS = 2, EPOCHS = 2000 };
    const double x[ROWS * INPUTS] = {0, 0, 0, 1, 1, 0, 1, 1};
    const double y[ROWS] = {0, 1, 1, 0};
    const pycnn_dataset data = {.rows = ROWS, .x = x, .y = y};

    /* The network is a plan, 2 -> 4 tanh -> 1 sigmoid: shapes only, no numbers. */
    const pycnn_layer_spec layers[] = {
        {.kind = PYCNN_DENSE, .activation = PYCNN_TANH, .units = 4},
        {.kind = PYCNN_DENSE, .activation = PYCNN_SIGMOID, .units = 1}};
    pycnn_network *net = NULL;
    pycnn_workspace *workspace = NULL; /* scratch memory for mini-batches of up to ROWS samples */
    double *theta = NULL;              /* the parameters are ours: one flat buffer */
    pycnn_totals *totals = NULL;       /* the loss of each epoch is summed up here: zeroed */
    int result = EXIT_FAILURE;
    if (!succeeded(pycnn_network_create(&net, INPUTS, layers, 2, PYCNN_BINARY_CROSSENTROPY, 0)) ||
        !succeeded(pycnn_workspace_create(&workspace, net, ROWS, PYCNN_BACKWARD))) {
        goto out;
    }
    const size_t theta_size = pycnn_network_theta_size(net);
    theta = malloc(theta_size * sizeof *theta); /* of wide layers better on 64 bytes */
    totals = calloc(EPOCHS, sizeof *totals);
    if (theta == NULL || totals == NULL) {
        succeeded(PYCNN_ERROR_MEMORY);
        goto out;
    }
    uint64_t seed = 1;
    for (size_t i = 0; i < theta_size; i++) {
        theta[i] = 2 * uniform(&seed) - 1;
    }

    /* Training: batch gradient descent, since a mini-batch holds all the rows. The state is plain
     * data: with a smaller last argument pycnn_train would return early, to be called again. */
    pycnn_training state = {
        .epochs = EPOCHS, .batch_size = ROWS, .learning_rate = 1.0, .totals = totals};
    size_t steps = 0;
    if (!succeeded(
            pycnn_train(&steps, theta, theta_size, &state, net, workspace, &data, SIZE_MAX))) {
        goto out;
    }
    for (size_t epoch = 0; epoch < EPOCHS; epoch += EPOCHS / 5) {
        printf("epoch %4zu  loss %.6f\n", epoch + 1, totals[epoch].loss / totals[epoch].weight);
    }

    double output[ROWS];
    pycnn_totals score;
    if (!succeeded(pycnn_predict(output, net, workspace, theta, theta_size, x, ROWS)) ||
        !succeeded(pycnn_evaluate(&score, net, workspace, theta, theta_size, &data))) {
        goto out;
    }
    for (int i = 0; i < ROWS; i++) {
        printf("%g xor %g = %.4f (should be %g)\n", x[2 * i], x[2 * i + 1], output[i], y[i]);
    }
    const double loss = score.loss / score.weight;
    printf("%zu steps, loss %.6f: %s\n", steps, loss, loss < 0.01 ? "learned" : "not learned");
    result = loss < 0.01 ? EXIT_SUCCESS : EXIT_FAILURE;

out:
    free(totals);
    free(theta);
    pycnn_workspace_destroy(workspace); /* NULL is fine */
    pycnn_network_destroy(net);
    return result;
}
