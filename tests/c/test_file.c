/* Model files: what is written is read again; what is no intact file is refused. */
#include "pycnn_file.h"

#include "check.h"

enum { ROOM = 1 << 16 };

/* Every kind of layer, one within another. */
static pycnn_file *make_model(int loss)
{
    static const pycnn_layer_spec inner[] = {
        DENSE(PYCNN_TANH, 5),
        {.kind = PYCNN_BATCH_NORM, .activation = PYCNN_RELU, .epsilon = 1e-5, .momentum = 0.1},
        DENSE(PYCNN_LINEAR, 4),
    };
    static const pycnn_layer_spec beside = DENSE(PYCNN_LINEAR, 4);
    const pycnn_layer_spec layers[] = {
        {.kind = PYCNN_RESCALE, .scale = 1.0 / 3, .offset = -1e-7},
        {.kind = PYCNN_RESHAPE},
        {.activation = PYCNN_SILU, .units = 4, .l1 = 0.5, .l2 = 1e17, .max_norm = 3},
        {.kind = PYCNN_RESIDUAL, .inner = inner, .inner_depth = 3, .shortcut = &beside},
        {.kind = PYCNN_RESIDUAL, .inner = inner, .inner_depth = 3, .activation = PYCNN_ELU},
        {.kind = PYCNN_DROPOUT, .rate = 0.25},
        {.kind = PYCNN_LAYER_NORM, .epsilon = 5e-324},
        DENSE(output_for(loss), 2),
    };
    pycnn_file *file = NULL;
    const double parameter = loss == PYCNN_BINARY_CROSSENTROPY ? 0.1 : parameter_of(loss);
    if (!CHECK(pycnn_file_create(&file, 3, layers, 8, loss, parameter) == PYCNN_OK)) {
        exit(EXIT_FAILURE);
    }
    uint64_t state = 5;
    for (size_t i = 0; i < file->theta_size; i++) {
        file->theta[i] = random_value(&state) + 1.5; /* variances among them */
    }
    return file;
}

/* What pycnn_file_save writes; returns how many bytes. */
static size_t written(const pycnn_file *file, char content[ROOM])
{
    CHECK(pycnn_file_save(file, path_for_tests()) == PYCNN_OK);
    FILE *in = fopen(path_for_tests(), "rb");
    if (!CHECK(in != NULL)) {
        exit(EXIT_FAILURE);
    }
    const size_t size = fread(content, 1, ROOM, in);
    fclose(in);
    CHECK(size > 0 && size < ROOM);
    return size;
}

static void check_same(const pycnn_file *a, const pycnn_file *b)
{
    const double x[] = {0.5, -1, 2};
    double y[2][2] = {{0}};
    const pycnn_file *files[] = {a, b};
    for (size_t i = 0; i < 2; i++) {
        pycnn_workspace *ws = workspace(files[i]->net, 1, PYCNN_FORWARD);
        CHECK(pycnn_predict(y[i], files[i]->net, ws, files[i]->theta, files[i]->theta_size, x, 1) ==
              PYCNN_OK);
        pycnn_workspace_destroy(ws);
    }
    CHECK(a->theta_size == b->theta_size && same_bits(a->theta, b->theta, a->theta_size));
    CHECK(pycnn_penalty(a->net, a->theta, a->theta_size) ==
          pycnn_penalty(b->net, b->theta, b->theta_size));
    CHECK(same_bits(y[0], y[1], 2) && y[0][0] == y[0][0]);
    CHECK(strcmp(a->description, b->description) == 0);
}

static void test_a_model_comes_back_as_it_was(void)
{
    static char content[ROOM], again[ROOM];
    for (int loss = 0; loss <= PYCNN_LOSS_COUNT; loss++) {
        pycnn_file *file = make_model(loss == PYCNN_LOSS_COUNT ? PYCNN_CUSTOM : loss), *back;
        const size_t size = written(file, content);
        const char *problem = NULL;
        CHECK(pycnn_file_load(&back, path_for_tests(), &problem) == PYCNN_OK);
        check_same(file, back);
        CHECK(back->classes == NULL && back->feature_names == NULL && back->target_mean == NULL);
        CHECK(written(back, again) == size && memcmp(content, again, size) == 0);
        pycnn_file_destroy(back);
        CHECK(pycnn_file_parse(&back, content, size, NULL) == PYCNN_OK);
        back->theta[3] += 1;
        CHECK(written(back, again) == size && memcmp(content, again, size) != 0);
        pycnn_file_destroy(back);
        pycnn_file_destroy(file);
    }
    remove(path_for_tests());
}

enum { INPUTS = 5 * 6 * 2, OUTPUTS = 3 };

/* What is in the file's description: `said`. */
static void check_comes_back(const pycnn_layer_spec *layers, size_t depth, const char *said)
{
    pycnn_file *file, *back;
    pycnn_network *net = create(INPUTS, layers, depth, PYCNN_CATEGORICAL_CROSSENTROPY);
    const char *problem = NULL;
    CHECK(pycnn_file_create(&file, INPUTS, layers, depth, PYCNN_CATEGORICAL_CROSSENTROPY, 0) ==
          PYCNN_OK);
    double *theta = random_doubles(3, file->theta_size), *x = random_doubles(4, INPUTS);
    CHECK(file->theta_size == pycnn_network_theta_size(net));
    CHECK((uintptr_t)file->theta % 64 == 0);
    for (size_t i = pycnn_network_parameter_count(net); i < file->theta_size; i++) {
        theta[i] += 1.5; /* variances among them */
    }
    memcpy(file->theta, theta, file->theta_size * sizeof *theta);
    CHECK(pycnn_file_save(file, path_for_tests()) == PYCNN_OK);
    CHECK(pycnn_file_load(&back, path_for_tests(), &problem) == PYCNN_OK);
    double y[2][OUTPUTS];
    const pycnn_network *nets[] = {net, back->net};
    for (size_t i = 0; i < 2; i++) {
        pycnn_workspace *ws = workspace(nets[i], 1, PYCNN_FORWARD);
        CHECK(pycnn_predict(y[i], nets[i], ws, back->theta, back->theta_size, x, 1) == PYCNN_OK);
        pycnn_workspace_destroy(ws);
    }
    CHECK(same_bits(y[0], y[1], OUTPUTS));
    CHECK(strstr(back->description, said) != NULL);
    CHECK(pycnn_penalty(net, theta, file->theta_size) ==
          pycnn_penalty(back->net, back->theta, back->theta_size));
    pycnn_file_destroy(file), pycnn_file_destroy(back);
    pycnn_network_destroy(net);
    free(theta), free(x);
    remove(path_for_tests());
}

/* Rows of numbers that become images, those within others too, and rows again. */
static void test_networks_of_images_come_back_as_they_were(void)
{
    static const pycnn_layer_spec inner[] = {{.kind = PYCNN_CONVOLUTION,
                                              .activation = PYCNN_TANH,
                                              .units = 4,
                                              .shape = {5, 3, 4},
                                              .kernel = {3, 3},
                                              .dilation = {2, 1},
                                              .padding = PYCNN_SAME,
                                              .no_bias = 1}};
    const pycnn_layer_spec layers[] = {
        {.kind = PYCNN_RESCALE, .scale = 0.5},
        {.kind = PYCNN_CONVOLUTION,
         .activation = PYCNN_RELU,
         .units = 4,
         .shape = {5, 6, 2},
         .kernel = {3, 2},
         .strides = {1, 2},
         .padding = PYCNN_SAME},
        {.kind = PYCNN_BATCH_NORM, .activation = PYCNN_TANH, .epsilon = 1e-3, .shape = {5, 3, 4}},
        {.kind = PYCNN_DROPOUT, .rate = 0.5, .shape = {5, 3, 4}},
        {.kind = PYCNN_DROPOUT, .rate = 0.25},
        {.kind = PYCNN_RESIDUAL, .inner = inner, .inner_depth = 1},
        {.kind = PYCNN_LAYER_NORM, .epsilon = 1e-3},
        {.kind = PYCNN_RESHAPE},
        {.kind = PYCNN_CONVOLUTION,
         .units = 2,
         .shape = {1, 20, 3},
         .kernel = {1, 5},
         .l2 = 0.1,
         .max_norm = 2},
        DENSE(PYCNN_SOFTMAX, OUTPUTS)};
    check_comes_back(layers, 10,
                     "{\"kind\": \"spatial_dropout\", \"rate\": 0.5}, "
                     "{\"kind\": \"dropout\", \"rate\": 0.25}");
}

static void test_dense_layers_at_each_position_come_back(void)
{
    const pycnn_layer_spec layers[] = {
        {.kind = PYCNN_RESCALE, .scale = 0.5},
        {.kind = PYCNN_DENSE, .activation = PYCNN_SOFTMAX, .units = 4, .shape = {1, 20, 3}},
        {.kind = PYCNN_DENSE, .activation = PYCNN_TANH, .units = 2, .shape = {1, 20, 4}},
        DENSE(PYCNN_SOFTMAX, OUTPUTS)};
    check_comes_back(layers, 4, "{\"kind\": \"reshape\", \"shape\": [20, 3]}, {");
}

/* Rows that become sequences, which are gone through from both ends. */
static void test_recurrent_networks_come_back_as_they_were(void)
{
    const pycnn_layer_spec gru[] = {
        {.kind = PYCNN_GRU, .units = 3, .shape = {1, 12, 5}, .return_sequences = 1, .l2 = 0.25},
        {.kind = PYCNN_GRU,
         .units = 3,
         .shape = {1, 12, 5},
         .return_sequences = 1,
         .l2 = 0.25,
         .reverse = 1}};
    const pycnn_layer_spec rnn[] = {
        {.kind = PYCNN_SIMPLE_RNN,
         .units = 4,
         .shape = {1, 12, 6},
         .activation = PYCNN_RELU,
         .reverse = 1},
        {.kind = PYCNN_SIMPLE_RNN, .units = 4, .shape = {1, 12, 6}, .activation = PYCNN_RELU}};
    pycnn_layer_spec layers[] = {
        {.kind = PYCNN_LSTM, .units = 5, .shape = {1, 12, 5}, .return_sequences = 1, .l1 = 0.125},
        {.kind = PYCNN_CONCATENATE,
         .inner = &gru[0],
         .inner_depth = 1,
         .shortcut = &gru[1],
         .shape = {1, 12, 3}},
        {.kind = PYCNN_RESIDUAL, .inner = &rnn[0], .inner_depth = 1, .shortcut = &rnn[1]},
        DENSE(PYCNN_SOFTMAX, OUTPUTS)};
    check_comes_back(layers, 4, "{\"kind\": \"reshape\", \"shape\": [12, 5]}, ");
    check_comes_back(layers, 4, "\"return_sequences\": true, \"reverse\": false");
    check_comes_back(layers, 4, "\"merge\": \"concatenate\"}, {\"kind\": \"bidirectional\", ");
    pycnn_file *file;
    layers[1].inner = &gru[1]; /* twice the same: no file says so */
    CHECK(pycnn_file_create(&file, INPUTS, layers, 4, PYCNN_CATEGORICAL_CROSSENTROPY, 0) ==
          PYCNN_ERROR_SIZE);
    CHECK(file == NULL);
}

/* Of layers within others, what reads is in front of both of their ends. */
static void test_attention_and_filters_come_back_as_they_were(void)
{
    enum { T = 12, F = 5 };
    const pycnn_layer_spec rnn[] = {{.kind = PYCNN_GRU, .units = 2, .shape = {1, T, 4}},
                                    {.kind = PYCNN_LSTM, .units = 2, .shape = {1, T, 4}}};
    for (int norm_first = 0; norm_first < 2; norm_first++) {
        const pycnn_layer_spec norm = {
            .kind = PYCNN_LAYER_NORM, .epsilon = 1e-5, .shape = {1, T, F}};
        const pycnn_layer_spec attention = {
            .kind = PYCNN_ATTENTION, .heads = 5, .causal = 1, .shape = {1, T, F}};
        const pycnn_layer_spec dense[] = {
            {.kind = PYCNN_DENSE, .units = 7, .activation = PYCNN_RELU, .shape = {1, T, F}},
            {.kind = PYCNN_DENSE, .units = F, .shape = {1, T, 7}}};
        const pycnn_layer_spec drop = {.kind = PYCNN_DROPOUT, .rate = 0.25};
        const pycnn_layer_spec within[][4] = {{norm, attention, drop},
                                              {norm, dense[0], dense[1], drop}};
        pycnn_layer_spec halves[4] = {
            {.kind = PYCNN_RESIDUAL}, norm, {.kind = PYCNN_RESIDUAL}, norm};
        pycnn_layer_spec *first = &halves[0], *second = &halves[2 - norm_first];
        *second = (pycnn_layer_spec){.kind = PYCNN_RESIDUAL};
        first->inner = &within[0][!norm_first];
        first->inner_depth = 2 + (size_t)norm_first;
        second->inner = &within[1][!norm_first];
        second->inner_depth = 3 + (size_t)norm_first;
        pycnn_layer_spec layers[] = {
            {.kind = PYCNN_POSITION_EMBEDDING, .shape = {1, T, F}},
            {.kind = PYCNN_STACK, .inner = halves, .inner_depth = norm_first ? 2 : 4},
            {.kind = PYCNN_POSITION_EMBEDDING, .shape = {1, T, F}, .sinusoidal = 1},
            {.kind = PYCNN_CONVOLUTION,
             .units = 4,
             .shape = {1, T, F},
             .kernel = {1, 3},
             .padding = PYCNN_SAME},
            {.kind = PYCNN_RESIDUAL, .inner = rnn, .inner_depth = 1, .shortcut = &rnn[1]},
            DENSE(PYCNN_SOFTMAX, OUTPUTS)};
        check_comes_back(layers, 6,
                         norm_first ? "\"norm_first\": true}" : "\"norm_first\": false}");
        check_comes_back(layers, 6,
                         "{\"activation\": \"relu\", \"causal\": true, \"dropout\": 0.25, "
                         "\"heads\": 5, \"hidden\": 7, \"kind\": \"transformer_block\", ");
        check_comes_back(layers, 6, "[12, 5]}, {\"kind\": \"position_embedding\", ");
        check_comes_back(layers, 6, "\"kernel_size\": [3], \"kind\": \"conv1d\"");
        pycnn_file *file;
        first->activation = PYCNN_TANH; /* no block has that */
        CHECK(pycnn_file_create(&file, INPUTS, layers, 6, PYCNN_CATEGORICAL_CROSSENTROPY, 0) ==
              PYCNN_ERROR_SIZE);
    }
}

static void test_networks_that_pool_come_back_as_they_were(void)
{
    const pycnn_layer_spec layers[] = {
        {.kind = PYCNN_ZERO_PADDING, .shape = {5, 6, 2}, .margins = {1, 0, 0, 2}},
        {.kind = PYCNN_MAX_POOL,
         .shape = {6, 8, 2},
         .kernel = {3, 2},
         .dilation = {5, 5}, /* is none of its settings */
         .padding = PYCNN_SAME},
        {.kind = PYCNN_AVERAGE_POOL, .shape = {6, 8, 2}, .kernel = {2, 3}, .strides = {2, 2}},
        {.kind = PYCNN_RESHAPE},
        {.kind = PYCNN_AVERAGE_POOL, .shape = {1, 9, 2}, .kernel = {1, 9}},
        DENSE(PYCNN_SOFTMAX, OUTPUTS)};
    check_comes_back(layers, 6,
                     "{\"kind\": \"zero_padding2d\", \"padding\": [[1, 0], [0, 2]]}, "
                     "{\"kind\": \"max_pool2d\", \"padding\": \"same\", \"pool_size\": [3, 2], "
                     "\"strides\": [1, 1]}");
}

static void check_refused(const char *content, size_t size)
{
    pycnn_file *file = (pycnn_file *)&not_null;
    const char *problem = NULL;
    char *copy = checked_malloc(size + 1); /* whose end a sanitizer watches */
    memcpy(copy, content, size);
    CHECK(pycnn_file_parse(&file, copy, size, &problem) == PYCNN_ERROR_FILE);
    CHECK(file == NULL && problem != NULL && strlen(problem) > 5);
    free(copy);
}

static void test_a_damaged_file_is_refused(void)
{
    static char content[ROOM];
    pycnn_file *file = make_model(PYCNN_HUBER);
    const size_t size = written(file, content);
    for (size_t i = 0; i < size; i += 1 + (i > 4000) * 7) {
        check_refused(content, i);
        content[i] ^= 1;
        check_refused(content, size);
        content[i] ^= 1 ^ 0x80;
        check_refused(content, size);
        content[i] ^= (char)0x80;
    }
    content[size] = 0;
    check_refused(content, size + 1);
    pycnn_file_destroy(file);
    remove(path_for_tests());
}

static void test_what_a_call_cannot_do_has_a_status(void)
{
    pycnn_file *file = (pycnn_file *)&not_null;
    const char *problem = NULL;
    CHECK(pycnn_file_load(&file, "no/such/file", &problem) == PYCNN_ERROR_IO && file == NULL);
    CHECK(strcmp(problem, "there is no such file") == 0);
    CHECK(pycnn_file_load(&file, ".", &problem) == PYCNN_ERROR_IO);
    CHECK(strcmp(problem, "there is no such file") != 0); /* Windows may not read it */
    CHECK(pycnn_file_load(&file, ".", NULL) == PYCNN_ERROR_IO);
    CHECK(pycnn_file_load(NULL, ".", NULL) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_file_load(&file, NULL, NULL) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_file_parse(NULL, "", 0, NULL) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_file_parse(&file, NULL, 0, NULL) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_file_save(NULL, ".") == PYCNN_ERROR_ARGUMENT);
    const pycnn_layer_spec one = DENSE(PYCNN_LINEAR, 1);
    CHECK(pycnn_file_create(NULL, 2, &one, 1, PYCNN_MSE, 0) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_file_create(&file, 2, &one, 1, PYCNN_HUBER, -1) != PYCNN_OK && file == NULL);
    CHECK(pycnn_file_create(&file, 0, &one, 1, PYCNN_MSE, 0) == PYCNN_ERROR_SIZE);
    /* No file keeps layers that are nested so deep. */
    pycnn_layer_spec nested[60] = {one};
    for (size_t i = 1; i < 60; i++) {
        nested[i] =
            (pycnn_layer_spec){.kind = PYCNN_RESIDUAL, .inner = &nested[i - 1], .inner_depth = 1};
    }
    CHECK(pycnn_file_create(&file, 1, &nested[59], 1, PYCNN_MSE, 0) == PYCNN_ERROR_SIZE);
    CHECK(pycnn_file_create(&file, 1, &nested[40], 1, PYCNN_MSE, 0) == PYCNN_OK);
    CHECK(pycnn_file_save(file, "no/such/folder") == PYCNN_ERROR_IO);
    CHECK(pycnn_file_save(file, ".") == PYCNN_ERROR_IO);
    CHECK(pycnn_file_save(file, NULL) == PYCNN_ERROR_ARGUMENT);
    pycnn_file_restore(NULL, NULL, 1);
    pycnn_file_restore(file, NULL, 1); /* there is no unit, so nothing is done */
    pycnn_file_destroy(file);
    pycnn_file_destroy(NULL);
}

const test file_tests[] = {
    ONCE("a model comes back as it was", test_a_model_comes_back_as_it_was),
    ONCE("networks of images come back as they were",
         test_networks_of_images_come_back_as_they_were),
    ONCE("networks that pool come back as they were",
         test_networks_that_pool_come_back_as_they_were),
    ONCE("dense layers at each position come back", test_dense_layers_at_each_position_come_back),
    ONCE("recurrent networks come back as they were",
         test_recurrent_networks_come_back_as_they_were),
    ONCE("attention and filters come back as they were",
         test_attention_and_filters_come_back_as_they_were),
    ONCE("a damaged file is refused", test_a_damaged_file_is_refused),
    ONCE("what a call cannot do has a status", test_what_a_call_cannot_do_has_a_status),
    {0},
};
