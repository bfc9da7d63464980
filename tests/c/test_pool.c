/* Pooling and padding: against plain loops to the bit, gradients against differences, of equal
 * numbers the first, and the same bits whatever the slices are. */
#include "check.h"

typedef struct {
    const char *name;
    size_t shape[3], kernel[2], strides[2];
    int padding;
} geometry;

static const geometry geometries[] = {
    {"one number", {1, 1, 1}, {1, 1}, {1, 1}, PYCNN_VALID},
    {"halves", {8, 6, 3}, {2, 2}, {2, 2}, PYCNN_VALID},
    {"what is over is left out", {7, 9, 2}, {2, 2}, {2, 2}, PYCNN_VALID},
    {"what is over is there", {7, 9, 2}, {2, 2}, {2, 2}, PYCNN_SAME},
    {"windows that overlap", {7, 8, 1}, {3, 3}, {2, 1}, PYCNN_VALID},
    {"windows that overlap, same", {6, 7, 5}, {3, 4}, {2, 2}, PYCNN_SAME},
    {"a stride of 0 stands for 1", {5, 6, 2}, {2, 3}, {0, 0}, PYCNN_VALID},
    {"strides beyond the windows", {9, 10, 3}, {2, 1}, {3, 4}, PYCNN_SAME},
    {"the whole image", {4, 5, 7}, {4, 5}, {1, 1}, PYCNN_VALID},
    {"larger than the image", {3, 2, 2}, {7, 5}, {1, 1}, PYCNN_SAME},
    {"a sequence", {1, 19, 4}, {1, 3}, {1, 2}, PYCNN_VALID},
    {"a sequence, same", {1, 20, 3}, {1, 4}, {1, 3}, PYCNN_SAME},
    {"many features", {4, 4, 33}, {2, 2}, {2, 2}, PYCNN_VALID},
    {"more than are worked on at a time", {3, 3, 70}, {2, 2}, {1, 1}, PYCNN_SAME},
};
enum { GEOMETRIES = sizeof geometries / sizeof *geometries };
static const int kinds[] = {PYCNN_MAX_POOL, PYCNN_AVERAGE_POOL};

static size_t stride_of(const geometry *g, int axis)
{
    return g->strides[axis] == 0 ? 1 : g->strides[axis];
}

/* By the definition, which Keras' agrees with. */
static size_t out_size(const geometry *g, int axis, size_t *before)
{
    const size_t in = g->shape[axis], kernel = g->kernel[axis], stride = stride_of(g, axis);
    *before = 0;
    if (g->padding == PYCNN_VALID) {
        return (in - kernel) / stride + 1;
    }
    const size_t out = (in + stride - 1) / stride, covered = (out - 1) * stride + kernel;
    *before = covered > in ? (covered - in) / 2 : 0;
    return out;
}

static size_t inputs_of(const geometry *g) { return g->shape[0] * g->shape[1] * g->shape[2]; }

static size_t outputs_of(const geometry *g)
{
    size_t before;
    return out_size(g, 0, &before) * out_size(g, 1, &before) * g->shape[2];
}

static pycnn_layer_spec spec_of(const geometry *g, int kind)
{
    return (pycnn_layer_spec){
        .kind = kind,
        .shape = {g->shape[0], g->shape[1], g->shape[2]},
        .kernel = {g->kernel[0], g->kernel[1]},
        .strides = {g->strides[0], g->strides[1]},
        .padding = g->padding,
        .dilation = {3, 0}, /* not read, as the rest of these: */
        .activation = PYCNN_TANH,
        .units = 5,
    };
}

/* One number of the output; *first: the input that the largest is, of equal ones the first. */
static double pool(const geometry *g, int kind, const double *x, size_t y, size_t column, size_t f,
                   size_t *first)
{
    size_t before[2], count = 0;
    out_size(g, 0, &before[0]), out_size(g, 1, &before[1]);
    double most = NAN, sum = 0;
    for (size_t k = 0; k < g->kernel[0]; k++) {
        for (size_t l = 0; l < g->kernel[1]; l++) {
            const size_t from_y = y * stride_of(g, 0) + k - before[0];
            const size_t from_x = column * stride_of(g, 1) + l - before[1];
            if (from_y < g->shape[0] && from_x < g->shape[1]) { /* not below 0 either */
                const size_t at = (from_y * g->shape[1] + from_x) * g->shape[2] + f;
                if (count++ == 0 || x[at] > most || isnan(x[at])) {
                    most = x[at];
                    *first = at;
                }
                sum += x[at];
            }
        }
    }
    return kind == PYCNN_MAX_POOL ? most : sum / (double)count;
}

static void pool_image(double *z, size_t *first, const geometry *g, int kind, const double *x)
{
    size_t before;
    for (size_t y = 0; y < out_size(g, 0, &before); y++) {
        for (size_t column = 0; column < out_size(g, 1, &before); column++) {
            for (size_t f = 0; f < g->shape[2]; f++) {
                *z++ = pool(g, kind, x, y, column, f, first++);
            }
        }
    }
}

static void check_image(const geometry *g, int kind)
{
    enum { ROWS = 53 };
    const size_t inputs = inputs_of(g), outputs = outputs_of(g);
    const pycnn_layer_spec layer = spec_of(g, kind);
    pycnn_network *net = create(inputs, &layer, 1, PYCNN_MSE);
    double *x = random_doubles(2, ROWS * inputs), *y = doubles(ROWS * outputs);
    double *expected = doubles(ROWS * outputs), *theta = doubles(1);
    size_t *first = checked_malloc(outputs * sizeof *first);
    CHECK(pycnn_network_outputs(net) == outputs && pycnn_network_theta_size(net) == 0);
    for (size_t i = 0; i < ROWS; i++) {
        pool_image(expected + i * outputs, first, g, kind, x + i * inputs);
    }
    for (size_t batch = 1; batch <= ROWS; batch += 4) {
        pycnn_workspace *ws = workspace(net, batch, PYCNN_FORWARD);
        CHECK(pycnn_predict(y, net, ws, theta, 0, x, ROWS) == PYCNN_OK);
        if (!CHECK(same_bits(y, expected, ROWS * outputs))) {
            printf("    %s, batches of %zu\n", g->name, batch);
        }
        pycnn_workspace_destroy(ws);
    }
    pycnn_predictor *predictor;
    CHECK(pycnn_predictor_create(&predictor, net, theta, 0) == PYCNN_OK);
    for (size_t i = 0; i < ROWS; i++) {
        CHECK(pycnn_predictor_run(predictor, y, x + i * inputs) == PYCNN_OK);
        CHECK(same_bits(y, expected + i * outputs, outputs));
    }
    pycnn_predictor_destroy(predictor);
    free(x), free(y), free(expected), free(theta), free(first);
    pycnn_network_destroy(net);
}

static void test_an_image_is_pooled(void)
{
    for (const geometry *g = geometries; g < geometries + GEOMETRIES; g++) {
        check_image(g, PYCNN_MAX_POOL);
        check_image(g, PYCNN_AVERAGE_POOL);
    }
}

static void test_zeros_are_around_an_image(void)
{
    enum { ROWS = 29, HEIGHT = 3, WIDTH = 4, FEATURES = 5, INPUTS = HEIGHT * WIDTH * FEATURES };
    const size_t margins[][4] = {{0, 0, 0, 0}, {1, 1, 1, 1}, {2, 0, 0, 3}, {0, 1, 4, 0}};
    double *x = random_doubles(2, ROWS * INPUTS), *theta = doubles(1);
    for (size_t t = 0; t < sizeof margins / sizeof *margins; t++) {
        const size_t *m = margins[t], rows = HEIGHT + m[0] + m[1], columns = WIDTH + m[2] + m[3];
        const size_t outputs = rows * columns * FEATURES;
        const pycnn_layer_spec layer = {.kind = PYCNN_ZERO_PADDING,
                                        .shape = {HEIGHT, WIDTH, FEATURES},
                                        .margins = {m[0], m[1], m[2], m[3]}};
        pycnn_network *net = create(INPUTS, &layer, 1, PYCNN_MSE);
        CHECK(pycnn_network_outputs(net) == outputs);
        double *expected = doubles(ROWS * outputs), *y = doubles(ROWS * outputs);
        memset(expected, 0, ROWS * outputs * sizeof *expected);
        for (size_t i = 0; i < ROWS * INPUTS; i++) {
            const size_t row = i / INPUTS, at = i % INPUTS / FEATURES;
            const size_t to = (at / WIDTH + m[0]) * columns + at % WIDTH + m[2];
            expected[row * outputs + to * FEATURES + i % FEATURES] = x[i];
        }
        for (size_t batch = 1; batch <= ROWS; batch += 4) {
            pycnn_workspace *ws = workspace(net, batch, PYCNN_FORWARD);
            CHECK(pycnn_predict(y, net, ws, theta, 0, x, ROWS) == PYCNN_OK);
            CHECK(same_bits(y, expected, ROWS * outputs));
            pycnn_workspace_destroy(ws);
        }
        free(expected), free(y);
        pycnn_network_destroy(net);
    }
    free(x), free(theta);
}

/* The gradient of the sum of outputs is 1 where a window's largest number is, and of weights that
 * multiply by 0 it is the input there. A bias makes all equal: the first one wins. */
static void test_of_equal_numbers_the_first_wins(void)
{
    for (const geometry *g = geometries; g < geometries + GEOMETRIES; g++) {
        const size_t inputs = inputs_of(g), outputs = outputs_of(g), features = g->shape[2];
        const pycnn_layer_spec layers[] = {
            {.kind = PYCNN_CONVOLUTION,
             .units = features,
             .shape = {g->shape[0], g->shape[1], features},
             .kernel = {1, 1}},
            spec_of(g, PYCNN_MAX_POOL),
        };
        pycnn_network *net = create(inputs, layers, 2, PYCNN_MSE);
        const size_t size = pycnn_network_theta_size(net);
        double *theta = doubles(size), *grad = doubles(size), *expected = doubles(size);
        double *x = random_doubles(7, inputs), *y = doubles(outputs), *zeros = doubles(inputs);
        size_t *first = checked_malloc(outputs * sizeof *first);
        memset(theta, 0, size * sizeof *theta);
        memset(expected, 0, size * sizeof *expected);
        memset(zeros, 0, inputs * sizeof *zeros);
        pool_image(y, first, g, PYCNN_MAX_POOL, zeros);
        const double mean = 1 / (double)pycnn_network_positions(net); /* of a sequence's losses */
        for (size_t j = 0; j < outputs; j++) {                        /* a - y is 1 */
            y[j] = -1;
            const size_t f = first[j] % features, place = first[j] / features;
            for (size_t c = 0; c < features; c++) {
                expected[f * features + c] += mean * x[place * features + c];
            }
            expected[features * features + f] += mean;
        }
        const pycnn_dataset data = {.rows = 1, .x = x, .y = y};
        for (size_t room = 1; room <= 8; room += 7) {
            pycnn_workspace *ws = workspace(net, room, PYCNN_BACKWARD);
            pycnn_totals totals;
            CHECK(pycnn_gradients(&totals, grad, net, ws, theta, size, &data, NULL) == PYCNN_OK);
            if (!CHECK(agree(grad, expected, size, 1e-13))) {
                printf("    %s\n", g->name);
            }
            pycnn_workspace_destroy(ws);
        }
        free(theta), free(grad), free(expected), free(x), free(y), free(zeros), free(first);
        pycnn_network_destroy(net);
    }
}

/* One NaN in an image is in each output whose window has it, wherever it lies there, and in no
 * other; also where an infinity, or another sample, is beside it. */
static void test_nothing_is_swallowed(void)
{
    static const geometry g = {"", {5, 5, 2}, {3, 3}, {2, 2}, PYCNN_SAME};
    enum { ROWS = 9, INPUTS = 50, OUTPUTS = 18 };
    const double strange[] = {NAN, INFINITY, -INFINITY};
    const pycnn_layer_spec layer = spec_of(&g, PYCNN_MAX_POOL);
    pycnn_network *net = create(INPUTS, &layer, 1, PYCNN_MSE);
    double theta[1] = {0}, y[ROWS * OUTPUTS], expected[ROWS * OUTPUTS], x[ROWS * INPUTS];
    size_t first[OUTPUTS];
    pycnn_workspace *ws = workspace(net, ROWS, PYCNN_FORWARD);
    for (size_t at = 0; at < INPUTS; at++) {
        for (size_t row = 0; row < ROWS; row++) {
            for (size_t i = 0; i < INPUTS; i++) {
                x[row * INPUTS + i] = row % 4 == 3 ? -INFINITY : sin((double)(i * (row + 1)));
            }
            x[row * INPUTS + at] = strange[row % 3];
            pool_image(expected + row * OUTPUTS, first, &g, PYCNN_MAX_POOL, x + row * INPUTS);
        }
        CHECK(pycnn_predict(y, net, ws, theta, 0, x, ROWS) == PYCNN_OK);
        for (size_t i = 0; i < ROWS * OUTPUTS; i++) {
            CHECK(isnan(expected[i]) ? isnan(y[i]) : y[i] == expected[i]);
        }
    }
    pycnn_workspace_destroy(ws);
    pycnn_network_destroy(net);
}

/* A convolution, padding, a layer that pools, and a convolution on top. */
static pycnn_network *network_of(const geometry *g, int kind, size_t *outputs)
{
    size_t before;
    const size_t rows = out_size(g, 0, &before), columns = out_size(g, 1, &before);
    const size_t above = g->shape[0] > 2, beside = g->shape[1] > 3; /* within the image */
    pycnn_layer_spec layers[] = {
        {.kind = PYCNN_CONVOLUTION,
         .activation = PYCNN_TANH,
         .units = g->shape[2],
         .shape = {g->shape[0] - above, g->shape[1] - 2 * beside, 2},
         .kernel = {2, 2},
         .padding = PYCNN_SAME},
        {.kind = PYCNN_ZERO_PADDING,
         .shape = {g->shape[0] - above, g->shape[1] - 2 * beside, g->shape[2]},
         .margins = {above, 0, 2 * beside, 0}},
        spec_of(g, kind),
        {.kind = PYCNN_CONVOLUTION,
         .activation = PYCNN_TANH,
         .units = 2,
         .shape = {rows, columns, g->shape[2]},
         .kernel = {1, 1}},
    };
    *outputs = rows * columns * 2;
    return create((g->shape[0] - above) * (g->shape[1] - 2 * beside) * 2, layers, 4, PYCNN_MSE);
}

static double loss_of(const pycnn_network *net, pycnn_workspace *ws, const double *theta,
                      size_t size, const pycnn_dataset *data)
{
    pycnn_totals totals;
    CHECK(pycnn_evaluate(&totals, net, ws, theta, size, data) == PYCNN_OK);
    return totals.loss / totals.weight;
}

static void check_gradient(const geometry *g, int kind)
{
    enum { ROWS = 3, CHECKED = 12 };
    size_t outputs;
    pycnn_network *net = network_of(g, kind, &outputs);
    const size_t size = pycnn_network_theta_size(net), inputs = pycnn_network_inputs(net);
    double *theta = random_doubles(3, size), *grad = doubles(size);
    double *x = random_doubles(4, ROWS * inputs), *y = random_doubles(5, ROWS * outputs);
    double expected[CHECKED], found[CHECKED];
    const pycnn_dataset data = {.rows = ROWS, .x = x, .y = y};
    pycnn_workspace *ws = workspace(net, ROWS, PYCNN_BACKWARD);
    pycnn_totals totals;
    CHECK(pycnn_gradients(&totals, grad, net, ws, theta, size, &data, NULL) == PYCNN_OK);
    for (size_t i = 0; i < CHECKED; i++) {
        const size_t at = i * (size - 1) / (CHECKED - 1);
        const double h = 1e-6, here = theta[at];
        theta[at] = here + h;
        const double above = loss_of(net, ws, theta, size, &data);
        theta[at] = here - h;
        expected[i] = (above - loss_of(net, ws, theta, size, &data)) / (2 * h);
        theta[at] = here;
        found[i] = grad[at];
    }
    if (!CHECK(agree(found, expected, CHECKED, 1e-7))) {
        printf("    %s\n", g->name);
    }
    free(theta), free(grad), free(x), free(y);
    pycnn_workspace_destroy(ws);
    pycnn_network_destroy(net);
}

static void test_gradients_are_those_of_differences(void)
{
    for (const geometry *g = geometries; g < geometries + GEOMETRIES; g++) {
        check_gradient(g, PYCNN_MAX_POOL);
        check_gradient(g, PYCNN_AVERAGE_POOL);
    }
}

static void check_bits(const geometry *g, int kind, size_t batch_size)
{
    enum { ROWS = 67 };
    size_t outputs;
    pycnn_network *net = network_of(g, kind, &outputs);
    const size_t size = pycnn_network_theta_size(net), inputs = pycnn_network_inputs(net);
    double *x = random_doubles(4, ROWS * inputs), *y = random_doubles(5, ROWS * outputs);
    const pycnn_dataset data = {.rows = ROWS, .x = x, .y = y};
    double *first = NULL;
    for (size_t threads = 1; threads <= 7; threads += 2) {
        for (size_t room = ROWS; room <= 4 * ROWS; room *= 4) {
            pycnn_threads *pool = NULL;
            CHECK(pycnn_threads_create(&pool, threads) == PYCNN_OK);
            pycnn_workspace *ws = workspace(net, room, PYCNN_BACKWARD);
            pycnn_workspace_set_threads(ws, pool);
            double *theta = random_doubles(3, size);
            pycnn_training state = {.epochs = 1, .batch_size = batch_size, .learning_rate = 0.01};
            size_t steps;
            CHECK(pycnn_train(&steps, theta, size, &state, net, ws, &data, SIZE_MAX) == PYCNN_OK);
            first = first == NULL ? copy_doubles(theta, size) : first;
            CHECK(same_bits(first, theta, size));
            free(theta);
            pycnn_workspace_destroy(ws);
            pycnn_threads_destroy(pool);
        }
    }
    free(first), free(x), free(y);
    pycnn_network_destroy(net);
}

static void test_neither_threads_nor_slices_change_a_bit(void)
{
    for (size_t i = 0; i < GEOMETRIES; i++) {
        check_bits(&geometries[i], kinds[i % 2], 33);
        check_bits(&geometries[i], kinds[(i + 1) % 2], 3);
    }
}

static void test_what_does_not_fit_is_refused(void)
{
    const size_t huge = SIZE_MAX / 2 + 1;
    const pycnn_layer_spec wrong[] = {
        {.shape = {3, 4, 1}, .kernel = {4, 1}},       /* reaches beyond */
        {.shape = {3, 4, 1}, .kernel = {1, 5}},       /* the same */
        {.shape = {3, 4, 1}, .kernel = {2, 0}},       /* nothing */
        {.shape = {3, 4, 1}},                         /* the same */
        {.shape = {3, 4, 2}, .kernel = {1, 1}},       /* other than the inputs */
        {.shape = {0, 4, 2}, .kernel = {1, 1}},       /* no image */
        {.shape = {huge, 4, huge}, .kernel = {1, 1}}, /* overflows, */
        {.shape = {3, 4, 1}, .kernel = {huge + 1, 1}, .padding = PYCNN_SAME},
        {.kind = PYCNN_ZERO_PADDING, .shape = {3, 4, 2}}, /* other than the inputs */
        {.kind = PYCNN_ZERO_PADDING, .shape = {3, 4, 1}, .margins = {huge, 0, 0, 0}},
        {.kind = PYCNN_ZERO_PADDING, .shape = {3, 4, 1}, .margins = {huge / 2, huge / 2, 1, 1}},
        {.kind = PYCNN_ZERO_PADDING, .shape = {3, 4, 1}, .margins = {huge / 8, 0, huge / 8, 0}},
    };
    for (size_t i = 0; i < 2 * sizeof wrong / sizeof *wrong; i++) {
        pycnn_layer_spec layer = wrong[i / 2];
        layer.kind = layer.kind == 0 ? kinds[i % 2] : layer.kind;
        pycnn_network *net = (pycnn_network *)&not_null;
        CHECK(pycnn_network_create(&net, 12, &layer, 1, PYCNN_MSE, 0) == PYCNN_ERROR_SIZE);
        CHECK(net == NULL);
    }
    pycnn_layer_spec layer = {.kind = PYCNN_MAX_POOL, .shape = {3, 4, 1}, .kernel = {2, 2}};
    pycnn_network *net;
    layer.padding = 2;
    CHECK(pycnn_network_create(&net, 12, &layer, 1, PYCNN_MSE, 0) == PYCNN_ERROR_ARGUMENT);
    /* As large as can be counted: the image is all that is there. */
    layer.padding = PYCNN_SAME;
    layer.kernel[0] = layer.kernel[1] = layer.strides[0] = layer.strides[1] = huge - 1;
    net = create(12, &layer, 1, PYCNN_MSE);
    pycnn_workspace *ws = workspace(net, 1, PYCNN_FORWARD);
    const double x[12] = {1, 7, 3, 9, 2};
    double y, theta[1] = {0};
    CHECK(pycnn_predict(&y, net, ws, theta, 0, x, 1) == PYCNN_OK && y == 9);
    pycnn_workspace_destroy(ws);
    pycnn_network_destroy(net);
}

const test pool_tests[] = {
    FOR_EACH_SET("an image is pooled", test_an_image_is_pooled),
    FOR_EACH_SET("zeros are around an image", test_zeros_are_around_an_image),
    FOR_EACH_SET("of equal numbers the first wins", test_of_equal_numbers_the_first_wins),
    FOR_EACH_SET("nothing is swallowed", test_nothing_is_swallowed),
    FOR_EACH_SET("gradients are those of differences", test_gradients_are_those_of_differences),
    FOR_EACH_SET("neither threads nor slices change a bit",
                 test_neither_threads_nor_slices_change_a_bit),
    ONCE("what does not fit is refused", test_what_does_not_fit_is_refused),
    {0},
};
