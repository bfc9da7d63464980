// Trains small networks whose shapes cross the edges of all tiles, and prints a hash of each one's
// parameters, gradients and predictions, of all networks of images, of sequences and, last, of all
// others: the same for every instruction set with fused multiply-adds and for any number of
// threads.
//
//     cc -O2 -Icsrc csrc/*.c tests/c/hash_run.c -o hash_run -pthread -lm
//     ./hash_run [THREADS]
//
// All numbers that go in are made here, of integers: nothing depends on a library.
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pycnn.h"

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

#define DENSE(f, n) {.kind = PYCNN_DENSE, .activation = (f), .units = (n)}

enum { MOST_LAYERS = 7, EPOCHS = 2 };

static void stop(const char *what)
{
    printf("hash_run: %s\n", what);
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
    void *block = calloc(count + 1, size);
    if (block == NULL) {
        stop("out of memory");
    }
    return block;
}

/* splitmix64 */
static uint64_t random_bits(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* In [-1,1), exactly. */
static double random_number(uint64_t *state)
{
    return (double)(int64_t)(random_bits(state) >> 11) * 0x1p-52 - 1;
}

/* FNV-1a over the bits of the numbers, lowest byte first. */
static uint64_t hash_of(uint64_t hash, const double *x, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        for (int byte = 0; byte < 8; byte++) {
            hash = (hash ^ (bits >> (8 * byte) & 0xff)) * 0x100000001b3u;
        }
    }
    return hash;
}

#define HASH_START 0xcbf29ce484222325u

typedef struct {
    size_t inputs;
    pycnn_layer_spec layers[MOST_LAYERS];
    size_t depth;
    int loss;
    size_t batch;
    size_t rows;
    pycnn_optimizer optimizer;
} run;

typedef struct {
    double *theta, *grad, *prediction, *slots;
    double *x, *y, *weight;
    size_t *label, *order;
    size_t parameters, statistics, theta_size, outputs;
    pycnn_dataset data;
} buffers;

/* Targets as the loss wants them: any, in [0,1], classes by label or, every other time, one-hot. */
static void make_targets(buffers *b, const run *r, uint64_t *state)
{
    for (size_t i = 0; i < r->rows * b->outputs; i++) {
        const double number = random_number(state);
        const bool fraction = r->loss == PYCNN_BINARY_CROSSENTROPY || r->loss == PYCNN_POISSON;
        b->y[i] = fraction                 ? 0.5 + 0.5 * number
                  : r->loss == PYCNN_HINGE ? (number < 0 ? -1 : 1)
                                           : number;
    }
    b->data.y = b->y;
    if (r->loss != PYCNN_CATEGORICAL_CROSSENTROPY && r->loss != PYCNN_KL_DIVERGENCE) {
        return;
    }
    memset(b->y, 0, r->rows * b->outputs * sizeof *b->y);
    for (size_t i = 0; i < r->rows; i++) {
        b->label[i] = random_bits(state) % b->outputs;
        b->y[i * b->outputs + b->label[i]] = 1;
    }
    b->data.y = r->batch % 2 == 0 ? b->y : NULL;
}

static void make_buffers(buffers *b, const run *r, const pycnn_network *net, uint64_t *state)
{
    b->parameters = pycnn_network_parameter_count(net);
    b->outputs = r->layers[r->depth - 1].units;
    b->statistics = pycnn_network_statistic_count(net);
    b->theta_size = pycnn_network_theta_size(net);
    b->theta = allocate(b->theta_size, sizeof(double));
    b->slots = allocate(pycnn_optimizer_slots(&r->optimizer) * b->parameters + 1, sizeof(double));
    memset(b->slots, 0, pycnn_optimizer_slots(&r->optimizer) * b->parameters * sizeof(double));
    b->grad = allocate(b->parameters, sizeof(double));
    b->prediction = allocate(r->rows * b->outputs, sizeof(double));
    b->x = allocate(r->rows * r->inputs, sizeof(double));
    b->y = allocate(r->rows * b->outputs, sizeof(double));
    b->weight = allocate(r->rows, sizeof(double));
    b->label = allocate(r->rows, sizeof(size_t));
    b->order = allocate(EPOCHS * r->rows, sizeof(size_t));
    for (size_t i = 0; i < b->parameters; i++) {
        b->theta[i] = 0.25 * random_number(state);
    }
    for (size_t i = 0; i < b->statistics; i++) { /* means and variances */
        b->theta[b->parameters + i] = 1;
    }
    for (size_t i = 0; i < r->rows * r->inputs; i++) {
        b->x[i] = random_number(state);
    }
    for (size_t i = 0; i < r->rows; i++) {
        b->weight[i] = 1 + (double)(random_bits(state) % 3);
    }
    for (size_t i = 0; i < EPOCHS * r->rows; i++) { /* any rows: some twice, some never */
        b->order[i] = random_bits(state) % r->rows;
    }
    b->data = (pycnn_dataset){.rows = r->rows, .x = b->x, .label = b->label};
    b->data.weight = r->batch % 3 == 0 ? b->weight : NULL;
    make_targets(b, r, state);
}

static void free_buffers(buffers *b)
{
    free(b->theta), free(b->slots), free(b->grad), free(b->prediction), free(b->x), free(b->y);
    free(b->weight), free(b->label), free(b->order);
}

/* A row's prediction does not depend on the rows beside it, nor on who predicts. */
static void check_rows_alone(const buffers *b, const run *r, const pycnn_network *net,
                             pycnn_workspace *ws)
{
    double *alone = allocate(b->outputs, sizeof(double));
    pycnn_predictor *predictor;
    succeed(pycnn_predictor_create(&predictor, net, b->theta, b->theta_size));
    for (size_t i = 0; i < r->rows; i += 7) {
        const double *x = b->x + i * r->inputs, *expected = b->prediction + i * b->outputs;
        succeed(pycnn_predict(alone, net, ws, b->theta, b->theta_size, x, 1));
        if (memcmp(alone, expected, b->outputs * sizeof(double)) != 0) {
            stop("a row's prediction depends on the rows beside it");
        }
        succeed(pycnn_predictor_run(predictor, alone, x));
        if (memcmp(alone, expected, b->outputs * sizeof(double)) != 0) {
            stop("a predictor's row has bits of its own");
        }
    }
    pycnn_predictor_destroy(predictor);
    free(alone);
}

/* Gradients before and predictions after EPOCHS epochs, and the parameters. */
static uint64_t train(const run *r, pycnn_threads *threads, uint64_t seed)
{
    pycnn_network *net;
    pycnn_workspace *ws;
    buffers b;
    pycnn_totals sums, totals[EPOCHS] = {{0}};
    const uint64_t dropout_keys[EPOCHS] = {seed};
    const double parameter = r->loss == PYCNN_HUBER || r->loss == PYCNN_QUANTILE ? 0.25 : 0;
    succeed(pycnn_network_create(&net, r->inputs, r->layers, r->depth, r->loss, parameter));
    make_buffers(&b, r, net, &seed);
    succeed(pycnn_workspace_create(&ws, net, r->batch, PYCNN_BACKWARD));
    pycnn_workspace_set_threads(ws, threads);

    uint64_t hash = HASH_START;
    succeed(pycnn_gradients(&sums, b.grad, net, ws, b.theta, b.theta_size, &b.data,
                            NULL)); /* piece by piece */
    hash = hash_of(hash, b.grad, b.parameters);
    hash = hash_of(hash, &sums.loss, 1);

    pycnn_training state = {.epochs = EPOCHS, .batch_size = r->batch, .learning_rate = 0.0625};
    state.order = b.order;
    state.totals = totals;
    state.dropout_keys = dropout_keys;
    state.optimizer = &r->optimizer;
    state.slots = b.slots;
    size_t steps;
    succeed(pycnn_train(&steps, b.theta, b.theta_size, &state, net, ws, &b.data, SIZE_MAX));
    hash = hash_of(hash, b.theta, b.theta_size);
    for (size_t e = 0; e < EPOCHS; e++) {
        hash = hash_of(hash, &totals[e].loss, 1);
        hash = hash_of(hash, &totals[e].correct, 1);
    }

    succeed(pycnn_predict(b.prediction, net, ws, b.theta, b.theta_size, b.x, r->rows));
    hash = hash_of(hash, b.prediction, r->rows * b.outputs);
    succeed(pycnn_evaluate(&sums, net, ws, b.theta, b.theta_size, &b.data));
    hash = hash_of(hash, &sums.loss, 1);
    check_rows_alone(&b, r, net, ws);

    pycnn_workspace_destroy(ws);
    pycnn_network_destroy(net);
    free_buffers(&b);
    return hash;
}

static void report_to(uint64_t *all, const run *r, pycnn_threads *threads)
{
    static uint64_t seed;
    const uint64_t hash = train(r, threads, ++seed);
    printf("%zu", r->inputs);
    for (size_t l = 0; l < r->depth; l++) {
        printf("-%zu", r->layers[l].units);
    }
    printf(" batch %zu: %016llx\n", r->batch, (unsigned long long)hash);
    double as_number; /* of the same bits */
    memcpy(&as_number, &hash, sizeof hash);
    *all = hash_of(*all, &as_number, 1);
}

static uint64_t hash_of_all = HASH_START, hash_of_images = HASH_START,
                hash_of_sequences = HASH_START;

static void report(const run *r, pycnn_threads *threads) { report_to(&hash_of_all, r, threads); }

static void run_small_networks(pycnn_threads *threads)
{
    /* One vector, one tile and two tiles of 2, 4 and 8 lanes, less one, exactly, and one more. */
    static const size_t widths[] = {1, 7, 8, 9, 23, 24, 25, 33, 67, 130};
    static const size_t batches[] = {1, 2, 7, 8, 9, 31, 33, 129, 300};
    static const int hidden[] = {
        PYCNN_TANH,       PYCNN_SIGMOID,  PYCNN_RELU,     PYCNN_LINEAR,       PYCNN_SOFTMAX,
        PYCNN_LEAKY_RELU, PYCNN_ELU,      PYCNN_SELU,     PYCNN_GELU,         PYCNN_GELU_TANH,
        PYCNN_SILU,       PYCNN_SOFTPLUS, PYCNN_SOFTSIGN, PYCNN_HARD_SIGMOID, PYCNN_HARD_TANH,
    };
    static const struct {
        int activation, loss;
    } ends[] = {
        {PYCNN_LINEAR, PYCNN_MSE},
        {PYCNN_SIGMOID, PYCNN_BINARY_CROSSENTROPY},
        {PYCNN_SOFTMAX, PYCNN_CATEGORICAL_CROSSENTROPY},
        {PYCNN_TANH, PYCNN_MSE},
        {PYCNN_SOFTMAX, PYCNN_MSE},
        {PYCNN_GELU, PYCNN_MAE},
        {PYCNN_LINEAR, PYCNN_HUBER},
        {PYCNN_SOFTPLUS, PYCNN_POISSON},
        {PYCNN_LINEAR, PYCNN_HINGE},
        {PYCNN_SELU, PYCNN_QUANTILE},
        {PYCNN_SOFTMAX, PYCNN_KL_DIVERGENCE},
    };
    enum { W = COUNT_OF(widths), B = COUNT_OF(batches), H = COUNT_OF(hidden), E = COUNT_OF(ends) };
    for (size_t i = 0; i < 8 * B; i++) {
        const size_t turn = i / B;
        /* The steps through the widths differ, so that neighbours meet in many combinations. */
        const size_t middle = widths[(W - 1 + 7 * i) % W], out = widths[(2 + i + turn) % W];
        run r = {.inputs = widths[(W - 1 + 3 * i + turn) % W]};
        r.layers[r.depth++] =
            (pycnn_layer_spec){.kind = PYCNN_DENSE, .activation = hidden[i % H], .units = middle};
        if (turn % 2 == 1) {
            r.layers[r.depth++] = (pycnn_layer_spec){
                .kind = PYCNN_DENSE, .activation = hidden[(i + 1) % H], .units = 25};
        }
        r.layers[r.depth++] = (pycnn_layer_spec){
            .kind = PYCNN_DENSE, .activation = ends[i % E].activation, .units = out};
        r.loss = ends[i % E].loss;
        r.batch = batches[i % B];
        r.rows = r.batch < 20 ? 41 : r.batch + r.batch / 2; /* the last batch is a smaller one */
        report(&r, threads);
    }
}

/* Enough work for all threads; wider than the blocks of the matrix kernel. */
static void run_large_networks(pycnn_threads *threads)
{
    static const run runs[] = {
        {.inputs = 130,
         .layers = {DENSE(PYCNN_TANH, 67), DENSE(PYCNN_SIGMOID, 33)},
         .depth = 2,
         .loss = PYCNN_BINARY_CROSSENTROPY,
         .batch = 300,
         .rows = 450},
        {.inputs = 300,
         .layers = {DENSE(PYCNN_RELU, 67), DENSE(PYCNN_SOFTMAX, 9)},
         .depth = 2,
         .loss = PYCNN_CATEGORICAL_CROSSENTROPY,
         .batch = 129,
         .rows = 300},
        {.inputs = 67,
         .layers = {DENSE(PYCNN_SIGMOID, 258), DENSE(PYCNN_TANH, 25)},
         .depth = 2,
         .loss = PYCNN_MSE,
         .batch = 128,
         .rows = 200},
        /* Two that would be partitioned into more slices than there may be. */
        {.inputs = 3,
         .layers = {DENSE(PYCNN_TANH, 259), DENSE(PYCNN_SIGMOID, 2)},
         .depth = 2,
         .loss = PYCNN_BINARY_CROSSENTROPY,
         .batch = 3100,
         .rows = 6300},
        {.inputs = 3,
         .layers = {DENSE(PYCNN_RELU, 258),
                    {.kind = PYCNN_BATCH_NORM,
                     .activation = PYCNN_TANH,
                     .epsilon = 1e-5,
                     .momentum = 0.1},
                    DENSE(PYCNN_SOFTMAX, 5)},
         .depth = 3,
         .loss = PYCNN_CATEGORICAL_CROSSENTROPY,
         .batch = 3100,
         .rows = 6300},
    };
    for (size_t i = 0; i < COUNT_OF(runs); i++) {
        report(&runs[i], threads);
    }
}

/* Layers that normalize and drop, and what the optimizers remember. */
static void run_other_layers(pycnn_threads *threads)
{
    static const pycnn_optimizer optimizers[] = {
        {.kind = PYCNN_SGD, .momentum = 0.9, .nesterov = 1},
        {.kind = PYCNN_ADAM, .beta_1 = 0.9, .beta_2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.01},
        {.kind = PYCNN_RMSPROP, .beta_2 = 0.99, .epsilon = 1e-8, .momentum = 0.5, .centered = 1},
        {.kind = PYCNN_ADAGRAD, .epsilon = 1e-10, .clip_norm = 0.5},
        {.kind = PYCNN_RPROP, .clip_value = 0.25},
    };
    static const size_t batches[] = {2, 9, 33, 200};
    for (size_t i = 0; i < COUNT_OF(optimizers) * COUNT_OF(batches); i++) {
        const size_t batch = batches[i / COUNT_OF(optimizers)], width = batch == 200 ? 258 : 9 + i;
        const run r = {
            .inputs = 13,
            .layers = {{.kind = PYCNN_DROPOUT, .rate = 0.25},
                       {.kind = PYCNN_DENSE, .units = width, .l2 = 0.01, .max_norm = 0.5},
                       {.kind = PYCNN_BATCH_NORM,
                        .activation = PYCNN_GELU,
                        .epsilon = 1e-5,
                        .momentum = 0.1},
                       DENSE(PYCNN_RELU, width + 1),
                       {.kind = PYCNN_LAYER_NORM, .activation = PYCNN_TANH, .epsilon = 1e-5},
                       {.kind = PYCNN_DROPOUT, .rate = 0.5},
                       DENSE(PYCNN_SOFTMAX, 5)},
            .depth = 7,
            .loss = PYCNN_CATEGORICAL_CROSSENTROPY,
            .batch = batch,
            .rows = 3 * batch,
            .optimizer = optimizers[i % COUNT_OF(optimizers)]};
        report(&r, threads);
    }
}

/* Windows of all forms, with as many features and filters as tiles hold, and one more or less. */
static void run_images(pycnn_threads *threads)
{
    enum { SAME = PYCNN_SAME, VALID = PYCNN_VALID };
    static const struct {
        size_t shape[3], filters, kernel[2], strides[2], dilation[2];
        int padding;
        size_t out[2];
    } windows[] = {
        {{1, 1, 1}, 1, {1, 1}, {1, 1}, {1, 1}, VALID, {1, 1}},
        {{8, 8, 1}, 8, {3, 3}, {1, 1}, {1, 1}, SAME, {8, 8}},
        {{7, 9, 3}, 5, {2, 3}, {1, 1}, {1, 1}, VALID, {6, 7}},
        {{9, 8, 2}, 13, {3, 3}, {2, 3}, {1, 1}, SAME, {5, 3}},
        {{6, 11, 4}, 3, {3, 2}, {1, 1}, {2, 3}, VALID, {2, 8}},
        {{5, 5, 2}, 9, {5, 7}, {2, 1}, {1, 2}, SAME, {3, 5}},
        {{1, 70, 3}, 17, {1, 5}, {1, 1}, {1, 1}, SAME, {1, 70}},
    };
    static const size_t batches[] = {1, 3, 7, 8, 9, 33, 130};
    static const int activations[] = {PYCNN_RELU, PYCNN_TANH, PYCNN_GELU, PYCNN_LINEAR};
    for (size_t i = 0; i < COUNT_OF(windows) * COUNT_OF(batches); i++) {
        const size_t w = i % COUNT_OF(windows), filters = windows[w].filters;
        const size_t *in = windows[w].shape, *out = windows[w].out;
        const int f = activations[i % COUNT_OF(activations)];
        const bool momentum = i % 3 == 0;
        run r = {.inputs = in[0] * in[1] * in[2], .depth = 3, .batch = batches[i % 5 + i / 24]};
        r.layers[0] =
            (pycnn_layer_spec){.kind = PYCNN_CONVOLUTION,
                               .activation = f,
                               .units = filters,
                               .shape = {in[0], in[1], in[2]},
                               .kernel = {windows[w].kernel[0], windows[w].kernel[1]},
                               .strides = {windows[w].strides[0], windows[w].strides[1]},
                               .dilation = {windows[w].dilation[0], windows[w].dilation[1]},
                               .padding = windows[w].padding,
                               .no_bias = i % 2 == 1,
                               .l2 = momentum ? 0.01 : 0};
        r.layers[1] = (pycnn_layer_spec){.kind = PYCNN_CONVOLUTION,
                                         .activation = f,
                                         .units = 1 + i % 11,
                                         .shape = {out[0], out[1], filters},
                                         .kernel = {out[0] > 2 ? 3 : 1, out[1] > 1 ? 2 : 1},
                                         .padding = SAME};
        r.layers[2] = (pycnn_layer_spec)DENSE(PYCNN_SOFTMAX, 4);
        r.loss = PYCNN_CATEGORICAL_CROSSENTROPY;
        r.rows = r.batch + r.batch / 2 + 3;
        r.optimizer = (pycnn_optimizer){.kind = PYCNN_SGD, .momentum = momentum ? 0.5 : 0};
        report_to(&hash_of_images, &r, threads);
    }
}

/* Layers that normalize and drop features, as many as are summed together, and one more or less. */
static void run_features(pycnn_threads *threads)
{
    static const size_t features[] = {1, 6, 16, 17, 35}, batches[] = {1, 8, 33, 130};
    for (size_t i = 0; i < COUNT_OF(features) * COUNT_OF(batches); i++) {
        const size_t c = features[i % COUNT_OF(features)], batch = batches[i % COUNT_OF(batches)];
        const run r = {.inputs = 5 * 6 * 2,
                       .layers = {{.kind = PYCNN_CONVOLUTION,
                                   .units = c,
                                   .shape = {5, 6, 2},
                                   .kernel = {3, 2},
                                   .padding = PYCNN_SAME,
                                   .no_bias = 1},
                                  {.kind = PYCNN_BATCH_NORM,
                                   .activation = PYCNN_GELU,
                                   .epsilon = 1e-3,
                                   .momentum = 0.1,
                                   .shape = {5, 6, c}},
                                  {.kind = PYCNN_DROPOUT, .rate = 0.25, .shape = {5, 6, c}},
                                  {.kind = PYCNN_LAYER_NORM,
                                   .activation = PYCNN_TANH,
                                   .epsilon = 1e-3,
                                   .shape = {5, 6, c}},
                                  DENSE(PYCNN_SOFTMAX, 5)},
                       .depth = 5,
                       .loss = PYCNN_CATEGORICAL_CROSSENTROPY,
                       .batch = batch,
                       .rows = 2 * batch + batch / 2};
        report_to(&hash_of_images, &r, threads);
    }
}

/* Recurrent layers on top of each other, one of them both ways, as wide as tiles are, and one more
 * or less. */
static void run_sequences(pycnn_threads *threads)
{
    static const int kinds[] = {PYCNN_LSTM, PYCNN_GRU, PYCNN_SIMPLE_RNN};
    static const size_t widths[] = {1, 7, 8, 9, 24, 33}, batches[] = {1, 3, 8, 25, 129};
    enum { K = COUNT_OF(kinds), W = COUNT_OF(widths), B = COUNT_OF(batches) };
    for (size_t i = 0; i < K * W * 2; i++) {
        const int kind = kinds[i % K], f = kind == PYCNN_SIMPLE_RNN ? PYCNN_TANH : PYCNN_LINEAR;
        const size_t positions = 1 + i % 6, features = widths[(i + i / W) % W];
        const size_t width = widths[(5 * i + 1) % W];
        const pycnn_layer_spec forward = {.kind = kind,
                                          .activation = f,
                                          .units = 4,
                                          .shape = {1, positions, width},
                                          .return_sequences = i % 4 == 0};
        pycnn_layer_spec backward = forward;
        backward.reverse = 1;
        run r = {.inputs = positions * features, .depth = 3, .batch = batches[i % B]};
        r.layers[0] = (pycnn_layer_spec){.kind = kind,
                                         .activation = f,
                                         .units = width,
                                         .shape = {1, positions, features},
                                         .return_sequences = 1,
                                         .reverse = i % 2,
                                         .l2 = i % 3 == 0 ? 0.01 : 0};
        r.layers[1] = (pycnn_layer_spec){.kind = i % 5 == 0 ? PYCNN_RESIDUAL : PYCNN_CONCATENATE,
                                         .inner = &forward,
                                         .inner_depth = 1,
                                         .shortcut = &backward,
                                         .shape = {1, forward.return_sequences ? positions : 1, 4}};
        r.layers[2] = (pycnn_layer_spec)DENSE(PYCNN_SOFTMAX, 5);
        r.loss = PYCNN_CATEGORICAL_CROSSENTROPY;
        r.rows = r.batch + r.batch / 2 + 3;
        r.optimizer = (pycnn_optimizer){.kind = PYCNN_SGD, .momentum = i % 3 == 1 ? 0.5 : 0};
        report_to(&hash_of_sequences, &r, threads);
    }
}

int main(int argc, char **argv)
{
    pycnn_threads *threads = NULL;
    if (argc > 1) {
        succeed(pycnn_threads_create(&threads, strtoul(argv[1], NULL, 10)));
    }
    run_small_networks(threads);
    run_large_networks(threads);
    run_other_layers(threads);
    run_images(threads);
    run_features(threads);
    run_sequences(threads);
    pycnn_threads_destroy(threads);
    printf("images %016llx\n", (unsigned long long)hash_of_images);
    printf("sequences %016llx\n", (unsigned long long)hash_of_sequences);
    printf("%s %016llx\n", pycnn_isa(), (unsigned long long)hash_of_all);
    return EXIT_SUCCESS;
}
