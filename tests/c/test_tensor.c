/* The arrays in theta: their names, shapes and places. */
#include "check.h"

enum { INPUTS = 5, UNITS = 3 };

/* 5 -> 3, residual [4, batch norm, 3] beside a residual [3] beside 3, layer norm, 2 */
static pycnn_network *create_nested(void)
{
    const pycnn_layer_spec norm = {
        .kind = PYCNN_BATCH_NORM, .epsilon = 1e-5, .momentum = 0.1, .activation = PYCNN_RELU};
    const pycnn_layer_spec deepest[] = {DENSE(PYCNN_TANH, UNITS)};
    const pycnn_layer_spec inner[] = {DENSE(PYCNN_LINEAR, 4), norm, DENSE(PYCNN_LINEAR, UNITS)};
    const pycnn_layer_spec plain = DENSE(PYCNN_LINEAR, UNITS);
    const pycnn_layer_spec shortcut = {
        .kind = PYCNN_RESIDUAL, .inner = deepest, .inner_depth = 1, .shortcut = &plain};
    const pycnn_layer_spec layers[] = {
        plain,
        {.kind = PYCNN_DROPOUT, .rate = 0.5},
        {.kind = PYCNN_RESIDUAL, .inner = inner, .inner_depth = 3, .shortcut = &shortcut},
        {.kind = PYCNN_LAYER_NORM, .epsilon = 1e-5},
        norm,
        DENSE(PYCNN_LINEAR, 2)};
    return create(INPUTS, layers, 6, PYCNN_MSE);
}

static void test_tensors_fill_theta(void)
{
    static const struct {
        const char *name;
        int role;
        size_t dims, rows, columns;
    } expected[] = {{"layers.1.W", PYCNN_WEIGHT, 2, UNITS, INPUTS},
                    {"layers.1.b", PYCNN_BIAS, 1, UNITS, 1},
                    {"layers.3.inner.1.W", PYCNN_WEIGHT, 2, 4, UNITS},
                    {"layers.3.inner.1.b", PYCNN_BIAS, 1, 4, 1},
                    {"layers.3.inner.2.gamma", PYCNN_SCALE, 1, 4, 1},
                    {"layers.3.inner.2.beta", PYCNN_BIAS, 1, 4, 1},
                    {"layers.3.inner.3.W", PYCNN_WEIGHT, 2, UNITS, 4},
                    {"layers.3.inner.3.b", PYCNN_BIAS, 1, UNITS, 1},
                    {"layers.3.shortcut.inner.1.W", PYCNN_WEIGHT, 2, UNITS, UNITS},
                    {"layers.3.shortcut.inner.1.b", PYCNN_BIAS, 1, UNITS, 1},
                    {"layers.3.shortcut.shortcut.W", PYCNN_WEIGHT, 2, UNITS, UNITS},
                    {"layers.3.shortcut.shortcut.b", PYCNN_BIAS, 1, UNITS, 1},
                    {"layers.4.gamma", PYCNN_SCALE, 1, UNITS, 1},
                    {"layers.4.beta", PYCNN_BIAS, 1, UNITS, 1},
                    {"layers.5.gamma", PYCNN_SCALE, 1, UNITS, 1},
                    {"layers.5.beta", PYCNN_BIAS, 1, UNITS, 1},
                    {"layers.6.W", PYCNN_WEIGHT, 2, 2, UNITS},
                    {"layers.6.b", PYCNN_BIAS, 1, 2, 1},
                    {"layers.3.inner.2.mean", PYCNN_STATISTIC, 1, 4, 1},
                    {"layers.3.inner.2.variance", PYCNN_STATISTIC, 1, 4, 1},
                    {"layers.5.mean", PYCNN_STATISTIC, 1, UNITS, 1},
                    {"layers.5.variance", PYCNN_STATISTIC, 1, UNITS, 1}};
    pycnn_network *net = create_nested();
    const size_t count = sizeof expected / sizeof *expected;
    CHECK(pycnn_network_inputs(net) == INPUTS && pycnn_network_outputs(net) == 2);
    CHECK(pycnn_network_tensor_count(net) == count);
    size_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        char name[64];
        pycnn_tensor tensor;
        CHECK(pycnn_network_tensor_name(net, i, name, sizeof name) == strlen(expected[i].name));
        CHECK(strcmp(name, expected[i].name) == 0);
        CHECK(pycnn_network_tensor(net, i, &tensor) == PYCNN_OK);
        CHECK(strcmp(tensor.name, strrchr(name, '.') + 1) == 0 && tensor.role == expected[i].role);
        CHECK(tensor.dims == expected[i].dims && tensor.shape[0] == expected[i].rows);
        CHECK(tensor.shape[1] == expected[i].columns && tensor.shape[2] == 1);
        CHECK(tensor.shape[3] == 1 && tensor.size == tensor.shape[0] * tensor.shape[1]);
        CHECK(tensor.offset == offset);
        offset += tensor.size;
    }
    CHECK(offset == pycnn_network_theta_size(net));
    pycnn_network_destroy(net);
}

static void test_names_as_long_as_there_is_room(void)
{
    pycnn_network *net = create_nested();
    const char whole[] = "layers.3.inner.2.variance";
    CHECK(pycnn_network_tensor_name(net, 19, NULL, 5) == strlen(whole));
    for (size_t size = 0; size <= sizeof whole; size++) {
        char name[sizeof whole + 1];
        memset(name, '#', sizeof name);
        CHECK(pycnn_network_tensor_name(net, 19, name, size) == strlen(whole));
        CHECK(size == 0 || (strlen(name) == (size < sizeof whole ? size : sizeof whole) - 1 &&
                            strncmp(name, whole, size - 1) == 0));
        CHECK(name[size] == '#');
    }
    pycnn_network_destroy(net);
}

static void test_tensors_that_are_not_there(void)
{
    pycnn_network *net = create_nested();
    pycnn_tensor tensor = {.size = 7};
    char name[9] = "before";
    const size_t count = pycnn_network_tensor_count(net);
    CHECK(pycnn_network_tensor(NULL, 0, &tensor) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_network_tensor(net, 0, NULL) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_network_tensor(net, count, &tensor) == PYCNN_ERROR_INDEX);
    CHECK(pycnn_network_tensor(net, SIZE_MAX, &tensor) == PYCNN_ERROR_INDEX && tensor.size == 7);
    CHECK(pycnn_network_tensor_name(net, count, name, sizeof name) == 0 && *name == 0);
    CHECK(pycnn_network_tensor_name(NULL, 0, name, sizeof name) == 0);
    CHECK(pycnn_network_tensor_count(NULL) == 0);
    CHECK(pycnn_network_inputs(NULL) == 0 && pycnn_network_outputs(NULL) == 0);
    pycnn_network_destroy(net);
}

/* As those of a Transformer's block: what has an empty name adds nothing. */
static void test_layers_within_others_have_names_of_their_own(void)
{
    char norm[] = "norm_1", dense[] = "dense_1";
    const pycnn_layer_spec within[] = {{.kind = PYCNN_LAYER_NORM, .epsilon = 1e-5, .name = norm},
                                       {.kind = PYCNN_DENSE, .units = INPUTS, .name = dense},
                                       DENSE(PYCNN_LINEAR, INPUTS)};
    const pycnn_layer_spec shortcut = {.kind = PYCNN_DENSE, .units = INPUTS, .name = "beside"};
    const pycnn_layer_spec parts[] = {{.kind = PYCNN_RESIDUAL,
                                       .inner = within,
                                       .inner_depth = 3,
                                       .shortcut = &shortcut,
                                       .name = ""}};
    const pycnn_layer_spec layers[] = {
        {.kind = PYCNN_STACK, .inner = parts, .inner_depth = 1, .name = "of no meaning here"}};
    static const char *const expected[] = {
        "layers.1.norm_1.gamma", "layers.1.norm_1.beta", "layers.1.dense_1.W", "layers.1.dense_1.b",
        "layers.1.inner.3.W",    "layers.1.inner.3.b",   "layers.1.beside.W",  "layers.1.beside.b"};
    pycnn_network *net = create(INPUTS, layers, 1, PYCNN_MSE);
    memset(norm, '?', sizeof norm - 1); /* they are kept */
    memset(dense, '?', sizeof dense - 1);
    CHECK(pycnn_network_tensor_count(net) == sizeof expected / sizeof *expected);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        char name[64];
        CHECK(pycnn_network_tensor_name(net, i, name, sizeof name) == strlen(expected[i]));
        CHECK(strcmp(name, expected[i]) == 0);
    }
    pycnn_network_destroy(net);
    const pycnn_layer_spec longest = {
        .kind = PYCNN_DENSE, .units = 1, .name = "0123456789012345678901234567890"};
    const pycnn_layer_spec longer = {
        .kind = PYCNN_DENSE, .units = 1, .name = "01234567890123456789012345678901"};
    pycnn_network_destroy(create(INPUTS, &longest, 1, PYCNN_MSE));
    CHECK(pycnn_network_create(&net, INPUTS, &longer, 1, PYCNN_MSE, 0) == PYCNN_ERROR_SIZE);
}

const test tensor_tests[] = {
    ONCE("tensors fill theta", test_tensors_fill_theta),
    ONCE("layers within others have names of their own",
         test_layers_within_others_have_names_of_their_own),
    ONCE("names as long as there is room", test_names_as_long_as_there_is_room),
    ONCE("tensors that are not there", test_tensors_that_are_not_there),
    {0},
};
