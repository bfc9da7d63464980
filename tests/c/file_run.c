/* Does with model files what a test in Python asks for; numbers go in and out as they lie in
 * memory.
 *
 *     file_run predict MODEL COPY    saves the model once more; outputs for the rows on stdin
 *     file_run read MODEL ...        a line each: its status, and what is wrong
 *     file_run labels MODEL          classes and names, a line each
 *     file_run numbers MODEL         saves a model that keeps the numbers on stdin
 *     file_run image MODEL           saves a model that gives an image, by the 3 weights on stdin
 *     file_run sequence MODEL        saves a model of 6 x 4 numbers: filters, a residual layer of
 *                                    recurrent ones, a block; by what numbers are on stdin
 */
#include "pycnn_file.h"

#include "check.h"

enum { MOST = 10000 };

static double values[MOST];

static pycnn_file *load(const char *path)
{
    pycnn_file *file;
    const char *problem;
    if (pycnn_file_load(&file, path, &problem) != PYCNN_OK) {
        printf("%s\n", problem);
        exit(EXIT_FAILURE);
    }
    return file;
}

static int predict(const char *path, const char *copy)
{
    pycnn_file *file = load(path);
    const size_t inputs = pycnn_network_inputs(file->net);
    const size_t outputs = pycnn_network_outputs(file->net);
    const size_t rows = fread(values, sizeof *values, MOST, stdin) / inputs;
    double *y = doubles(rows * outputs);
    pycnn_workspace *ws = workspace(file->net, rows, PYCNN_FORWARD);
    int status = pycnn_predict(y, file->net, ws, file->theta, file->theta_size, values, rows);
    pycnn_file_restore(file, y, rows);
    fwrite(y, sizeof *y, rows * outputs, stdout);
    if (status == PYCNN_OK) {
        status = pycnn_file_save(file, copy);
    }
    free(y);
    pycnn_workspace_destroy(ws);
    pycnn_file_destroy(file);
    return status;
}

static int read_all(int count, char **paths)
{
    for (int i = 0; i < count; i++) {
        pycnn_file *file;
        const char *problem;
        const int status = pycnn_file_load(&file, paths[i], &problem);
        printf("%d %s\n", status, problem);
        pycnn_file_destroy(file);
    }
    return 0;
}

static int show_labels(const char *path)
{
    pycnn_file *file = load(path);
    for (size_t i = 0; i < file->class_count; i++) {
        printf("%s\n", file->classes[i]);
    }
    for (size_t i = 0; file->feature_names != NULL && i < pycnn_network_inputs(file->net); i++) {
        printf("%s\n", file->feature_names[i]);
    }
    pycnn_file_destroy(file);
    return 0;
}

static int keep_numbers(const char *path)
{
    static pycnn_layer_spec layers[MOST / 2];
    const size_t count = fread(values, sizeof *values, MOST, stdin) / 2;
    for (size_t i = 0; i < count; i++) {
        layers[i] = (pycnn_layer_spec){
            .kind = PYCNN_RESCALE, .scale = values[2 * i], .offset = values[2 * i + 1]};
    }
    pycnn_file *file;
    int status = pycnn_file_create(&file, 1, layers, count, PYCNN_MSE, 0);
    if (status == PYCNN_OK) {
        status = pycnn_file_save(file, path);
    }
    pycnn_file_destroy(file);
    return status;
}

/* out[x] = w[0] in[x] + w[1] in[x + 1] + w[2] */
static int give_image(const char *path)
{
    const pycnn_layer_spec layer = {
        .kind = PYCNN_CONVOLUTION, .units = 1, .shape = {1, 3, 1}, .kernel = {1, 2}};
    pycnn_file *file;
    int status = pycnn_file_create(&file, 3, &layer, 1, PYCNN_MSE, 0);
    if (status == PYCNN_OK) {
        const size_t count = fread(file->theta, sizeof *file->theta, 3, stdin);
        status = count == file->theta_size ? pycnn_file_save(file, path) : PYCNN_ERROR_IO;
    }
    pycnn_file_destroy(file);
    return status;
}

static int give_sequence(const char *path)
{
    const pycnn_layer_spec ends[] = {
        {.kind = PYCNN_GRU, .units = 4, .shape = {1, 5, 3}, .return_sequences = 1},
        {.kind = PYCNN_LSTM, .units = 4, .shape = {1, 5, 3}, .return_sequences = 1}};
    const pycnn_layer_spec norm = {.kind = PYCNN_LAYER_NORM, .epsilon = 1e-5, .shape = {1, 5, 4}};
    const pycnn_layer_spec first[] = {norm,
                                      {.kind = PYCNN_ATTENTION, .heads = 2, .shape = {1, 5, 4}}};
    const pycnn_layer_spec second[] = {
        norm,
        {.kind = PYCNN_DENSE, .units = 6, .activation = PYCNN_GELU, .shape = {1, 5, 4}},
        {.kind = PYCNN_DENSE, .units = 4, .shape = {1, 5, 6}}};
    const pycnn_layer_spec block[] = {{.kind = PYCNN_RESIDUAL, .inner = first, .inner_depth = 2},
                                      {.kind = PYCNN_RESIDUAL, .inner = second, .inner_depth = 3}};
    const pycnn_layer_spec layers[] = {
        {.kind = PYCNN_CONVOLUTION, .units = 3, .shape = {1, 6, 4}, .kernel = {1, 2}},
        {.kind = PYCNN_RESIDUAL, .inner = ends, .inner_depth = 1, .shortcut = &ends[1]},
        {.kind = PYCNN_STACK, .inner = block, .inner_depth = 2}};
    pycnn_file *file;
    int status = pycnn_file_create(&file, 24, layers, 3, PYCNN_MSE, 0);
    if (status == PYCNN_OK) {
        const size_t count = fread(file->theta, sizeof *file->theta, file->theta_size, stdin);
        status = count == file->theta_size ? pycnn_file_save(file, path) : PYCNN_ERROR_IO;
    }
    pycnn_file_destroy(file);
    return status;
}

int main(int argc, char **argv)
{
    if (argc > 3 && strcmp(argv[1], "predict") == 0) {
        return predict(argv[2], argv[3]);
    }
    if (argc > 2 && strcmp(argv[1], "read") == 0) {
        return read_all(argc - 2, argv + 2);
    }
    if (argc > 2 && strcmp(argv[1], "labels") == 0) {
        return show_labels(argv[2]);
    }
    if (argc > 2 && strcmp(argv[1], "image") == 0) {
        return give_image(argv[2]);
    }
    if (argc > 2 && strcmp(argv[1], "sequence") == 0) {
        return give_sequence(argv[2]);
    }
    return argc > 2 && strcmp(argv[1], "numbers") == 0 ? keep_numbers(argv[2]) : EXIT_FAILURE;
}
