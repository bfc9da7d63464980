/* Convolution: against its formula, its gradients against differences, and the same bits whatever
 * the slices are. */
#include "check.h"

typedef struct {
    const char *name;
    size_t shape[3], filters, kernel[2], strides[2], dilation[2];
    int padding;
    bool no_bias;
} geometry;

static const geometry geometries[] = {
    {"one number", {1, 1, 1}, 1, {1, 1}, {1, 1}, {1, 1}, PYCNN_VALID, false},
    {"a window that fits once", {3, 4, 2}, 5, {3, 4}, {0, 0}, {0, 0}, PYCNN_VALID, false},
    {"one tap", {4, 3, 3}, 9, {1, 1}, {1, 1}, {1, 1}, PYCNN_SAME, false},
    {"same", {7, 9, 1}, 6, {5, 5}, {1, 1}, {1, 1}, PYCNN_SAME, false},
    {"same, larger than the image", {3, 2, 2}, 3, {7, 5}, {1, 1}, {1, 1}, PYCNN_SAME, false},
    {"even windows", {6, 7, 2}, 3, {2, 4}, {1, 1}, {1, 1}, PYCNN_SAME, true},
    {"valid", {8, 6, 3}, 17, {3, 3}, {1, 1}, {1, 1}, PYCNN_VALID, true},
    {"strides", {9, 11, 2}, 8, {3, 3}, {2, 3}, {1, 1}, PYCNN_VALID, false},
    {"strides, same", {8, 7, 3}, 7, {3, 2}, {2, 2}, {1, 1}, PYCNN_SAME, false},
    {"strides beyond the windows", {9, 10, 1}, 2, {2, 1}, {3, 4}, {1, 1}, PYCNN_SAME, false},
    {"dilation", {9, 8, 2}, 5, {3, 2}, {1, 1}, {2, 3}, PYCNN_VALID, false},
    {"dilation, same", {6, 7, 3}, 4, {3, 3}, {1, 1}, {2, 2}, PYCNN_SAME, false},
    {"dilation and strides", {11, 10, 2}, 3, {3, 3}, {2, 3}, {2, 2}, PYCNN_SAME, false},
    {"a sequence", {1, 19, 4}, 12, {1, 5}, {1, 1}, {1, 1}, PYCNN_SAME, false},
    {"a sequence, strides", {1, 20, 3}, 6, {1, 4}, {1, 2}, {1, 1}, PYCNN_VALID, false},
    {"many filters", {4, 5, 5}, 33, {3, 3}, {1, 1}, {1, 1}, PYCNN_SAME, false},
};
enum { GEOMETRIES = sizeof geometries / sizeof *geometries };

static size_t at_least_1(size_t n) { return n == 0 ? 1 : n; }

/* By the definition, which Python's and PyTorch's agree on. */
static size_t out_size(const geometry *g, int axis, size_t *before)
{
    const size_t stride = at_least_1(g->strides[axis]), dilation = at_least_1(g->dilation[axis]);
    const size_t in = g->shape[axis], reach = (g->kernel[axis] - 1) * dilation + 1;
    *before = 0;
    if (g->padding == PYCNN_VALID) {
        return (in - reach) / stride + 1;
    }
    const size_t out = (in + stride - 1) / stride, covered = (out - 1) * stride + reach;
    *before = covered > in ? (covered - in) / 2 : 0;
    return out;
}

static pycnn_layer_spec spec_of(const geometry *g, int activation)
{
    return (pycnn_layer_spec){
        .kind = PYCNN_CONVOLUTION,
        .activation = activation,
        .units = g->filters,
        .shape = {g->shape[0], g->shape[1], g->shape[2]},
        .kernel = {g->kernel[0], g->kernel[1]},
        .strides = {g->strides[0], g->strides[1]},
        .dilation = {g->dilation[0], g->dilation[1]},
        .padding = g->padding,
        .no_bias = g->no_bias,
    };
}

static void convolve(double *z, const geometry *g, const double *theta, const double *x)
{
    size_t before[2];
    const size_t rows = out_size(g, 0, &before[0]), columns = out_size(g, 1, &before[1]);
    const size_t features = g->shape[2], taps = g->kernel[0] * g->kernel[1] * features;
    for (size_t y = 0; y < rows; y++) {
        for (size_t c = 0; c < columns; c++) {
            for (size_t f = 0; f < g->filters; f++) {
                long double sum = g->no_bias ? 0 : theta[g->filters * taps + f];
                for (size_t t = 0; t < taps; t++) {
                    const size_t k = t / features / g->kernel[1];
                    const size_t l = t / features % g->kernel[1];
                    const size_t from_y =
                        y * at_least_1(g->strides[0]) + k * at_least_1(g->dilation[0]) - before[0];
                    const size_t from_x =
                        c * at_least_1(g->strides[1]) + l * at_least_1(g->dilation[1]) - before[1];
                    if (from_y < g->shape[0] && from_x < g->shape[1]) { /* not below 0 either */
                        sum += (long double)theta[f * taps + t] *
                               x[(from_y * g->shape[1] + from_x) * features + t % features];
                    }
                }
                *z++ = (double)sum;
            }
        }
    }
}

static void test_an_image_is_convolved(void)
{
    enum { ROWS = 53 };
    for (const geometry *g = geometries; g < geometries + GEOMETRIES; g++) {
        size_t before;
        const size_t inputs = g->shape[0] * g->shape[1] * g->shape[2];
        const size_t outputs = out_size(g, 0, &before) * out_size(g, 1, &before) * g->filters;
        const pycnn_layer_spec layer = spec_of(g, PYCNN_LINEAR);
        pycnn_network *net = create(inputs, &layer, 1, PYCNN_MSE);
        const size_t size = pycnn_network_theta_size(net);
        double *theta = random_doubles(1, size), *x = random_doubles(2, ROWS * inputs);
        double *expected = doubles(ROWS * outputs), *y = doubles(ROWS * outputs);
        double *other = doubles(ROWS * outputs);
        for (size_t i = 0; i < ROWS; i++) {
            convolve(expected + i * outputs, g, theta, x + i * inputs);
        }
        pycnn_predictor *predictor;
        CHECK(pycnn_predictor_create(&predictor, net, theta, size) == PYCNN_OK);
        for (size_t i = 0; i < ROWS; i++) {
            CHECK(pycnn_predictor_run(predictor, other + i * outputs, x + i * inputs) == PYCNN_OK);
        }
        pycnn_predictor_destroy(predictor);
        CHECK(agree(other, expected, ROWS * outputs, 1e-14));
        for (size_t batch = 1; batch <= ROWS; batch += 4) {
            pycnn_workspace *ws = workspace(net, batch, PYCNN_FORWARD);
            CHECK(pycnn_predict(y, net, ws, theta, size, x, ROWS) == PYCNN_OK);
            CHECK(same_bits(y, other, ROWS * outputs));
            pycnn_workspace_destroy(ws);
        }
        if (!CHECK(agree(y, expected, ROWS * outputs, 1e-14))) {
            printf("    %s\n", g->name);
        }
        free(theta), free(x), free(expected), free(y), free(other);
        pycnn_network_destroy(net);
    }
}

/* tanh behind one convolution, and another on top of it: back through two. */
static pycnn_network *two_layers(const geometry *g, size_t *inputs, size_t *outputs)
{
    size_t before;
    const size_t rows = out_size(g, 0, &before), columns = out_size(g, 1, &before);
    const geometry top = {.shape = {rows, columns, g->filters},
                          .filters = 3,
                          .kernel = {rows > 1 ? 2 : 1, columns > 2 ? 3 : 1},
                          .padding = PYCNN_SAME};
    const pycnn_layer_spec layers[] = {spec_of(g, PYCNN_TANH), spec_of(&top, PYCNN_TANH)};
    *inputs = g->shape[0] * g->shape[1] * g->shape[2];
    *outputs = rows * columns * 3;
    return create(*inputs, layers, 2, PYCNN_MSE);
}

static double loss_of(const pycnn_network *net, pycnn_workspace *ws, const double *theta,
                      size_t size, const pycnn_dataset *data)
{
    pycnn_totals totals;
    CHECK(pycnn_evaluate(&totals, net, ws, theta, size, data) == PYCNN_OK);
    return totals.loss / totals.weight;
}

/* Along directions in which every parameter has a part: as telling as one by one, and sooner. */
static void test_gradients_are_those_of_differences(void)
{
    enum { ROWS = 11, DIRECTIONS = 16 };
    const double h = 1e-6;
    for (const geometry *g = geometries; g < geometries + GEOMETRIES; g++) {
        size_t inputs, outputs;
        pycnn_network *net = two_layers(g, &inputs, &outputs);
        const size_t size = pycnn_network_theta_size(net);
        double *theta = random_doubles(3, size), *grad = doubles(size), *moved = doubles(size);
        double *x = random_doubles(4, ROWS * inputs), *y = random_doubles(5, ROWS * outputs);
        double *weight = random_doubles(6, ROWS);
        for (size_t i = 0; i < ROWS; i++) {
            weight[i] += 1.5;
        }
        const pycnn_dataset data = {.rows = ROWS, .x = x, .y = y, .weight = weight};
        pycnn_workspace *ws = workspace(net, ROWS, PYCNN_BACKWARD);
        pycnn_totals totals;
        CHECK(pycnn_gradients(&totals, grad, net, ws, theta, size, &data, NULL) == PYCNN_OK);
        double slopes[DIRECTIONS] = {0}, found[DIRECTIONS];
        for (size_t d = 0; d < DIRECTIONS; d++) {
            double *direction = random_doubles(7 + d, size), losses[2];
            for (size_t side = 0; side < 2; side++) {
                for (size_t i = 0; i < size; i++) {
                    moved[i] = theta[i] + (side == 0 ? -h : h) * direction[i];
                }
                losses[side] = loss_of(net, ws, moved, size, &data);
            }
            for (size_t i = 0; i < size; i++) {
                slopes[d] += grad[i] * direction[i];
            }
            found[d] = (losses[1] - losses[0]) / (2 * h);
            free(direction);
        }
        if (!CHECK(agree(slopes, found, DIRECTIONS, 1e-8))) {
            printf("    %s\n", g->name);
        }
        free(theta), free(grad), free(moved), free(x), free(y), free(weight);
        pycnn_workspace_destroy(ws);
        pycnn_network_destroy(net);
    }
}

static void test_neither_threads_nor_slices_change_a_bit(void)
{
    enum { ROWS = 67 };
    for (const geometry *g = geometries; g < geometries + GEOMETRIES; g++) {
        size_t inputs, outputs;
        pycnn_network *net = two_layers(g, &inputs, &outputs);
        const size_t size = pycnn_network_theta_size(net);
        double *x = random_doubles(4, ROWS * inputs), *y = random_doubles(5, ROWS * outputs);
        const pycnn_dataset data = {.rows = ROWS, .x = x, .y = y};
        double *first = NULL;
        for (size_t threads = 1; threads <= 7; threads += 3) {
            for (size_t room = ROWS; room <= 4 * ROWS; room *= 4) {
                pycnn_threads *pool = NULL;
                CHECK(pycnn_threads_create(&pool, threads) == PYCNN_OK);
                pycnn_workspace *ws = workspace(net, room, PYCNN_BACKWARD);
                pycnn_workspace_set_threads(ws, pool);
                double *theta = random_doubles(3, size);
                pycnn_training state = {.epochs = 1, .batch_size = 33, .learning_rate = 0.01};
                size_t steps;
                CHECK(pycnn_train(&steps, theta, size, &state, net, ws, &data, SIZE_MAX) ==
                      PYCNN_OK);
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
}

/* Sizes as large as they can be asked for are refused, or held. */
static void test_windows_of_any_size_are_refused_or_fit(void)
{
    enum { VALID = PYCNN_VALID, SAME = PYCNN_SAME, NOT_EVEN_MADE = 0, MADE = 1, GOOD = 2 };
    const size_t most = SIZE_MAX, half = PTRDIFF_MAX, part = half / 256;
    const struct {
        geometry of;
        int fate;
    } cases[] = {
        {{"no rows", {0, 3, 1}, 1, {1, 1}, {0}, {0}, SAME, false}, NOT_EVEN_MADE},
        {{"no columns", {3, 0, 1}, 1, {1, 1}, {0}, {0}, SAME, false}, NOT_EVEN_MADE},
        {{"no features", {3, 3, 0}, 1, {1, 1}, {0}, {0}, SAME, false}, NOT_EVEN_MADE},
        {{"no filters", {3, 3, 1}, 0, {1, 1}, {0}, {0}, SAME, false}, NOT_EVEN_MADE},
        {{"no taps", {3, 3, 1}, 1, {1, 0}, {0}, {0}, SAME, false}, NOT_EVEN_MADE},
        {{"another image", {3, 4, 1}, 1, {1, 1}, {0}, {0}, SAME, false}, NOT_EVEN_MADE},
        {{"an image that wraps", {half + 1, 2, 9}, 1, {1, 1}, {0}, {0}, SAME, false}, 0},
        {{"a row too many", {3, 3, 1}, 1, {4, 1}, {0}, {0}, VALID, false}, NOT_EVEN_MADE},
        {{"dilated beyond", {3, 3, 1}, 1, {1, 2}, {0}, {1, 3}, VALID, false}, NOT_EVEN_MADE},
        {{"a reach that wraps", {3, 3, 1}, 1, {1, 3}, {0}, {1, half + 1}, VALID, false}, 0},
        {{"the same", {3, 3, 1}, 1, {1, 3}, {0}, {1, half + 1}, SAME, false}, NOT_EVEN_MADE},
        {{"as many taps", {3, 3, 1}, 1, {most, 1}, {0}, {0}, SAME, false}, NOT_EVEN_MADE},
        {{"a product of taps", {3, 3, 1}, 1, {part, part}, {0}, {0}, SAME, false}, NOT_EVEN_MADE},
        {{"as many filters", {3, 3, 1}, most, {1, 1}, {0}, {0}, SAME, false}, NOT_EVEN_MADE},
        {{"sums that wrap", {3, 3, 1}, 1, {1, half / 9}, {0}, {0}, SAME, false}, NOT_EVEN_MADE},
        {{"padding that wraps", {3, 3, 1}, 1, {1, 2}, {0}, {1, half / 9}, SAME, false}, 0},
        {{"bytes that wrap", {3, 3, 1}, 1, {1, part}, {0}, {0}, SAME, false}, MADE},
        {{"padding of as many", {3, 3, 1}, 1, {1, 2}, {0}, {1, part}, SAME, false}, MADE},
        {{"strides beyond", {3, 3, 1}, 1, {1, 2}, {most, half}, {0}, VALID, false}, GOOD},
        {{"strides beyond, same", {3, 3, 1}, 1, {3, 2}, {half, most}, {0}, SAME, false}, GOOD},
        {{"dilation of one tap", {3, 3, 1}, 1, {1, 1}, {0}, {most, most}, VALID, false}, GOOD},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const pycnn_layer_spec layer = spec_of(&cases[i].of, PYCNN_TANH);
        pycnn_network *net;
        const int made = pycnn_network_create(&net, 9, &layer, 1, PYCNN_MSE, 0);
        bool good = made == (cases[i].fate == NOT_EVEN_MADE ? PYCNN_ERROR_SIZE : PYCNN_OK);
        if (made == PYCNN_OK) {
            size_t bytes;
            const int status = pycnn_workspace_size(&bytes, net, 64, PYCNN_BACKWARD);
            good = good && status == (cases[i].fate == GOOD ? PYCNN_OK : PYCNN_ERROR_SIZE);
        }
        if (!CHECK(good)) {
            printf("    %s\n", cases[i].of.name);
        }
        pycnn_network_destroy(net);
    }
}

static void test_softmax_is_of_no_image(void)
{
    const geometry g = {"an image", {3, 3, 1}, 2, {2, 2}, {0}, {0}, PYCNN_VALID, false};
    const pycnn_layer_spec row = {
        .kind = PYCNN_LAYER_NORM, .activation = PYCNN_SOFTMAX, .epsilon = 1};
    pycnn_layer_spec image = row;
    image.shape[0] = image.shape[1] = 3;
    image.shape[2] = 1;
    const pycnn_layer_spec layers[] = {spec_of(&g, PYCNN_SOFTMAX), image, row};
    for (size_t i = 0; i < 3; i++) {
        pycnn_network *net;
        const int status = pycnn_network_create(&net, 9, &layers[i], 1, PYCNN_MSE, 0);
        CHECK(status == (i < 2 ? PYCNN_ERROR_ARGUMENT : PYCNN_OK));
        pycnn_network_destroy(net);
    }
}

const test convolution_tests[] = {
    FOR_EACH_SET("an image is convolved", test_an_image_is_convolved),
    FOR_EACH_SET("gradients are those of differences", test_gradients_are_those_of_differences),
    FOR_EACH_SET("neither threads nor slices change a bit",
                 test_neither_threads_nor_slices_change_a_bit),
    ONCE("softmax is of no image", test_softmax_is_of_no_image),
    ONCE("windows of any size are refused or fit", test_windows_of_any_size_are_refused_or_fit),
    {0},
};
