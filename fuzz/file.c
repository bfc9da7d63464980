/* Model files in C: whatever the bytes, pycnn_file_parse makes a model of them or says why not.
 *
 * The first byte of an input tells whether the rest is a file, or only the header of one: then a
 * length, and zeros for the tensors, are put around it. A checksum is made to fit, so that altered
 * files get past it. What is read predicts; it is saved, and then reads the same again.
 */
#include "pycnn_file.c" /* for its checksum */

#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static char path[64];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    const char *folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(path, sizeof path, "%s/pycnn-fuzz-%ld", folder, (long)getpid());
    return 0;
}

static void check(bool good)
{
    if (!good) {
        abort();
    }
}

/* Where the tensors end that a header speaks of. */
static size_t end_of(const char *header, size_t size)
{
    size_t most = 0;
    for (size_t i = 0; i < size; i++) {
        if (header[i] == ',' || header[i] == ' ') {
            size_t end = 0, k = i + 1;
            for (; k < size && k < i + 6 && header[k] >= '0' && header[k] <= '9'; k++) {
                end = 10 * end + (size_t)(header[k] - '0');
            }
            most = k < size && header[k] == ']' && end > most ? end : most;
        }
    }
    return most;
}

static void seal(char *content, size_t size)
{
    static const char mark[] = "\"sha256\":\"";
    const size_t before = sizeof mark - 1;
    for (size_t i = 0; i + before + DIGITS <= size; i++) {
        if (memcmp(content + i, mark, before) == 0) {
            sha256 hash;
            memcpy(content + i + before, ZEROS, DIGITS);
            sha256_begin(&hash);
            sha256_add(&hash, content, size);
            sha256_end(&hash, content + i + before);
            return;
        }
    }
}

/* Predicts a row of ones, in the unit of the targets. */
static void predict(const pycnn_file *file)
{
    pycnn_predictor *predictor = NULL;
    const size_t inputs = pycnn_network_inputs(file->net);
    const size_t outputs = pycnn_network_outputs(file->net);
    double *x = malloc(inputs * sizeof *x), *y = malloc(outputs * sizeof *y);
    if (x != NULL && y != NULL &&
        pycnn_predictor_create(&predictor, file->net, file->theta, file->theta_size) == PYCNN_OK) {
        for (size_t i = 0; i < inputs; i++) {
            x[i] = 1;
        }
        check(pycnn_predictor_run(predictor, y, x) == PYCNN_OK);
        pycnn_file_restore(file, y, 1);
    }
    pycnn_predictor_destroy(predictor);
    free(x);
    free(y);
}

static void check_texts(const char *const *a, const char *const *b, size_t count)
{
    check((a == NULL) == (b == NULL));
    for (size_t i = 0; i < count && a != NULL; i++) {
        check(strcmp(a[i], b[i]) == 0);
    }
}

static void save_and_load(const pycnn_file *file)
{
    const char *problem = NULL;
    pycnn_file *again = NULL;
    check(pycnn_file_save(file, path) == PYCNN_OK);
    const int status = pycnn_file_load(&again, path, &problem);
    if (status != PYCNN_OK) {
        fprintf(stderr, "what was saved: %s\n", problem);
    }
    check(status == PYCNN_OK && again->theta_size == file->theta_size);
    check(memcmp(again->theta, file->theta, file->theta_size * sizeof *file->theta) == 0);
    check(strcmp(again->description, file->description) == 0);
    check(again->class_count == file->class_count);
    check_texts(again->classes, file->classes, file->class_count);
    check_texts(again->feature_names, file->feature_names, pycnn_network_inputs(file->net));
    pycnn_file_destroy(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const bool framed = bytes[0] == 'h';
    const size_t header = size - 1, padded = (header + 7) / 8 * 8;
    const size_t data = framed ? end_of((const char *)bytes + 1, header) : 0;
    const size_t all = framed ? 8 + padded + data : header;
    char *content = malloc(all); /* no byte more: what is read beyond is found */
    if (content == NULL) {
        return 0;
    }
    memset(content, framed ? ' ' : 0, all);
    memcpy(content + (framed ? 8 : 0), bytes + 1, header);
    if (framed) {
        put_u64((unsigned char *)content, padded);
        memset(content + 8 + padded, 0, data);
    }
    seal(content, all);
    const char *problem = NULL;
    pycnn_file *file = NULL;
    const int status = pycnn_file_parse(&file, content, all, &problem);
    free(content);
    check(status == PYCNN_OK || status == PYCNN_ERROR_FILE || status == PYCNN_ERROR_MEMORY);
    check((status == PYCNN_OK) == (file != NULL) && (file != NULL || problem != NULL));
    if (file != NULL) {
        predict(file);
        save_and_load(file);
        pycnn_file_destroy(file);
    }
    return 0;
}
