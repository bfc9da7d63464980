// All of a training: handwritten digits are read, a network with batch normalization and dropout
// learns them by Adam, in an order drawn anew for each epoch, until images that were held out are
// recognized no better; its best parameters become a model file, which Python's pycnn.load reads.
//
//     cc -O2 -Icsrc csrc/*.c examples/c/digits.c -o digits -pthread -lm
//     ./digits digits.csv digits_c.safetensors
//
// where the table has been written in Python:
//
//     X, y = pycnn.datasets.load_digits()
//     numpy.savetxt("digits.csv", numpy.c_[X, y], "%d", ",")
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pycnn_file.h"

enum {
    PIXELS = 64,
    CLASSES = 10,
    HELD_OUT = 5, // every fifth image
    EPOCHS = 60,  // at most
    PATIENCE = 8, // epochs without a better one
    BATCH = 32,
    SEED = 1
};

typedef struct {
    size_t rows, room;
    double *x;
    size_t *label;
} images;

static void stop(const char *what)
{
    fprintf(stderr, "digits: %s\n", what);
    exit(EXIT_FAILURE);
}

static void must(int status)
{
    if (status != PYCNN_OK) {
        stop(pycnn_strerror(status));
    }
}

static void *allocated(void *memory)
{
    must(memory == NULL ? PYCNN_ERROR_MEMORY : PYCNN_OK);
    return memory;
}

// ---------------------------------------------------------------- the images

static void append(images *to, const double pixels[PIXELS], size_t label)
{
    if (to->rows == to->room) {
        to->room = to->room == 0 ? 256 : 2 * to->room;
        to->x = allocated(realloc(to->x, to->room * PIXELS * sizeof *to->x));
        to->label = allocated(realloc(to->label, to->room * sizeof *to->label));
    }
    memcpy(to->x + to->rows * PIXELS, pixels, PIXELS * sizeof *pixels);
    to->label[to->rows++] = label;
}

// A row of the table is an image: its pixels, from 0 to 16, and which digit it is.
static void read_images(const char *path, images *train, images *test)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        stop("the file cannot be read; the first lines of digits.c say how to make it");
    }
    double pixels[PIXELS], digit;
    for (size_t row = 0; fscanf(file, "%lf", &pixels[0]) == 1; row++) {
        for (int i = 1; i < PIXELS; i++) {
            must(fscanf(file, ",%lf", &pixels[i]) == 1 ? PYCNN_OK : PYCNN_ERROR_FILE);
        }
        must(fscanf(file, ",%lf", &digit) == 1 ? PYCNN_OK : PYCNN_ERROR_FILE);
        must(digit >= 0 && digit < CLASSES ? PYCNN_OK : PYCNN_ERROR_LABEL);
        for (int i = 0; i < PIXELS; i++) {
            pixels[i] /= 16; // where weights start, numbers around 1 are expected
        }
        append(row % HELD_OUT == 0 ? test : train, pixels, (size_t)digit);
    }
    fclose(file);
    if (train->rows == 0 || test->rows == 0) {
        stop("the file has no images");
    }
}

// ---------------------------------------------------------------- the training

static double accuracy(const pycnn_file *model, pycnn_workspace *workspace, const images *some)
{
    const pycnn_dataset data = {.rows = some->rows, .x = some->x, .label = some->label};
    pycnn_totals totals;
    must(pycnn_evaluate(&totals, model->net, workspace, model->theta, model->theta_size, &data));
    return totals.correct / totals.weight;
}

// Leaves the parameters of the epoch that recognized most of the images held out; returns their
// accuracy.
static double train(pycnn_file *model, const images *some, const images *held_out)
{
    pycnn_optimizer adam;
    pycnn_optimizer_init(&adam, PYCNN_ADAM);
    const size_t slots = pycnn_optimizer_slots(&adam) * pycnn_network_parameter_count(model->net);
    size_t *order = allocated(malloc(some->rows * sizeof *order));
    double *best = allocated(malloc(model->theta_size * sizeof *best));
    double best_accuracy = -1;

    pycnn_workspace *workspace;
    must(pycnn_workspace_create(&workspace, model->net, BATCH, PYCNN_BACKWARD));
    pycnn_training training;
    pycnn_training_init(&training);
    training.batch_size = BATCH;
    training.epochs = 1; // at a time: in between the images held out are looked at
    training.optimizer = &adam;
    training.slots = allocated(calloc(slots, sizeof *training.slots));
    training.learning_rate = pycnn_optimizer_learning_rate(PYCNN_ADAM);
    training.order = order;
    const pycnn_dataset data = {.rows = some->rows, .x = some->x, .label = some->label};
    for (size_t epoch = 0, since = 0; epoch < EPOCHS && since < PATIENCE; epoch++, since++) {
        const uint64_t key = pycnn_dropout_key(SEED, epoch);
        pycnn_totals totals = {0};
        size_t steps;
        must(pycnn_permutation(order, some->rows, SEED, epoch));
        training.epoch = 0;
        training.dropout_keys = &key;
        training.totals = &totals;
        must(pycnn_train(&steps, model->theta, model->theta_size, &training, model->net, workspace,
                         &data, SIZE_MAX));
        const double now = accuracy(model, workspace, held_out);
        printf("epoch %2zu: loss %.4f, %.4f of the images held out\n", epoch + 1,
               totals.loss / totals.weight, now);
        if (now > best_accuracy) {
            best_accuracy = now;
            memcpy(best, model->theta, model->theta_size * sizeof *best);
            since = 0;
        }
    }
    memcpy(model->theta, best, model->theta_size * sizeof *best);
    free(order), free(best), free(training.slots);
    pycnn_workspace_destroy(workspace);
    return best_accuracy;
}

int main(int count, char **arguments)
{
    const pycnn_layer_spec layers[] = {
        {.kind = PYCNN_DENSE, .activation = PYCNN_LINEAR, .units = 64},
        {.kind = PYCNN_BATCH_NORM, .activation = PYCNN_RELU, .epsilon = 1e-5, .momentum = 0.1},
        {.kind = PYCNN_DROPOUT, .rate = 0.2},
        {.kind = PYCNN_DENSE, .activation = PYCNN_SOFTMAX, .units = CLASSES}};
    images some = {0}, held_out = {0};
    if (count != 3) {
        stop("usage: digits TABLE MODEL");
    }
    read_images(arguments[1], &some, &held_out);

    pycnn_file *model;
    must(pycnn_file_create(&model, PIXELS, layers, 4, PYCNN_CATEGORICAL_CROSSENTROPY, 0));
    must(pycnn_initialize(model->theta, model->theta_size, model->net, SEED));
    const double best = train(model, &some, &held_out);
    must(pycnn_file_save(model, arguments[2]));
    printf("%zu images, %.4f of %zu others recognized\n", some.rows, best, held_out.rows);
    pycnn_file_destroy(model);
    free(some.x), free(some.label), free(held_out.x), free(held_out.label);
    return best > 0.95 ? EXIT_SUCCESS : EXIT_FAILURE;
}
