/* The training that tests/test_c_calls.py does in Python too, in C from the seed on: the network,
 * where it starts, the order of the samples, dropout, Adam. The samples come from the standard
 * input, rows of doubles with the class behind; theta and the sums of each epoch go to the standard
 * output, as doubles.
 *
 *     train_run rows [stop] < samples > theta
 *
 * stop: the steps after which all that there is moves to other buffers, as if the program had been
 * left and started again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pycnn.h"

enum { INPUTS = 6, CLASSES = 3, EPOCHS = 5, BATCH = 32, SEED = 2026, DEPTH = 6 };

static void stop(const char *why)
{
    fprintf(stderr, "train_run: %s\n", why);
    exit(EXIT_FAILURE);
}

static void succeed(int status)
{
    if (status != PYCNN_OK) {
        stop(pycnn_strerror(status));
    }
}

static void *allocate(size_t count, size_t size)
{
    void *block = calloc(count, size);
    if (block == NULL) {
        stop("out of memory");
    }
    return block;
}

/* A copy; the original is gone. */
static void *moved(void *block, size_t bytes)
{
    void *copy = allocate(bytes, 1);
    memcpy(copy, block, bytes);
    memset(block, 0xff, bytes);
    free(block);
    return copy;
}

static pycnn_network *create_network(void)
{
    const pycnn_layer_spec inner[] = {
        {.kind = PYCNN_DENSE, .activation = PYCNN_TANH, .units = 9, .max_norm = 2},
        {.kind = PYCNN_DENSE, .units = 16}};
    const pycnn_layer_spec layers[DEPTH] = {
        {.kind = PYCNN_DENSE, .activation = PYCNN_RELU, .units = 16, .l2 = 1e-3},
        {.kind = PYCNN_BATCH_NORM, .epsilon = 1e-5, .momentum = 0.1},
        {.kind = PYCNN_DROPOUT, .rate = 0.25},
        {.kind = PYCNN_RESIDUAL, .activation = PYCNN_SILU, .inner = inner, .inner_depth = 2},
        {.kind = PYCNN_LAYER_NORM, .epsilon = 1e-5},
        {.kind = PYCNN_DENSE, .activation = PYCNN_SOFTMAX, .units = CLASSES}};
    pycnn_network *net;
    succeed(pycnn_network_create(&net, INPUTS, layers, DEPTH, PYCNN_CATEGORICAL_CROSSENTROPY, 0));
    return net;
}

static pycnn_dataset read_samples(size_t rows, double *x, size_t *label)
{
    for (size_t i = 0; i < rows; i++) {
        double number = 0;
        if (fread(x + i * INPUTS, sizeof *x, INPUTS, stdin) != INPUTS ||
            fread(&number, sizeof number, 1, stdin) != 1) {
            stop("there are too few samples");
        }
        label[i] = (size_t)number;
    }
    return (pycnn_dataset){.rows = rows, .x = x, .label = label};
}

int main(int argc, char **argv)
{
    const size_t rows = argc > 1 ? (size_t)atoi(argv[1]) : 1;
    const size_t first_steps = argc > 2 ? (size_t)atoi(argv[2]) : SIZE_MAX;
    double *x = allocate(rows * INPUTS, sizeof *x);
    size_t *label = allocate(rows, sizeof *label), *order = allocate(EPOCHS * rows, sizeof *order);
    const pycnn_dataset data = read_samples(rows, x, label);
    uint64_t keys[EPOCHS];
    for (size_t epoch = 0; epoch < EPOCHS; epoch++) {
        succeed(pycnn_permutation(order + epoch * rows, rows, SEED, epoch));
        keys[epoch] = pycnn_dropout_key(SEED, epoch);
    }

    pycnn_network *net = create_network();
    const size_t size = pycnn_network_theta_size(net);
    double *theta = allocate(size, sizeof *theta);
    succeed(pycnn_initialize(theta, size, net, SEED));
    pycnn_optimizer adam;
    pycnn_optimizer_init(&adam, PYCNN_ADAM);
    const size_t slots = pycnn_optimizer_slots(&adam) * pycnn_network_parameter_count(net);
    pycnn_training state;
    pycnn_training_init(&state);
    state.epochs = EPOCHS;
    state.batch_size = BATCH;
    state.learning_rate = pycnn_optimizer_learning_rate(PYCNN_ADAM);
    state.order = order;
    state.totals = allocate(EPOCHS, sizeof *state.totals);
    state.optimizer = &adam;
    state.slots = allocate(slots, sizeof *state.slots);
    state.dropout_keys = keys;

    for (int part = 0; part < 2; part++) {
        pycnn_workspace *workspace;
        size_t steps;
        succeed(pycnn_workspace_create(&workspace, net, BATCH, PYCNN_BACKWARD));
        succeed(pycnn_train(&steps, theta, size, &state, net, workspace, &data,
                            part == 0 ? first_steps : SIZE_MAX));
        pycnn_workspace_destroy(workspace);
        pycnn_network_destroy(net);
        net = create_network();
        theta = moved(theta, size * sizeof *theta);
        state.slots = moved(state.slots, slots * sizeof *state.slots);
        state.totals = moved(state.totals, EPOCHS * sizeof *state.totals);
    }
    if (fwrite(theta, sizeof *theta, size, stdout) != size ||
        fwrite(state.totals, sizeof *state.totals, EPOCHS, stdout) != EPOCHS) {
        stop("the results could not be written");
    }
    pycnn_network_destroy(net);
    free(theta), free(state.slots), free(state.totals), free(x), free(label), free(order);
    return EXIT_SUCCESS;
}
