/* What a page needs beside the core: model files in memory in place of a disk's, how the layers'
 * outputs lie, and a clock that stands still, since the page asks for a few steps at a time. So the
 * module imports nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct {
    unsigned char *bytes;
    size_t size, room;
} saved;

static FILE *open_memory(const char *path, const char *mode)
{
    (void)path;
    saved.size = 0;
    return *mode == 'w' ? (FILE *)&saved : NULL;
}

static size_t write_memory(const void *bytes, size_t size, size_t count, FILE *file)
{
    (void)file;
    const size_t more = size * count, needed = saved.size + more;
    if (needed > saved.room) {
        unsigned char *larger = realloc(saved.bytes, 2 * needed);
        if (larger == NULL) {
            return 0;
        }
        saved.bytes = larger;
        saved.room = 2 * needed;
    }
    memcpy(saved.bytes + saved.size, bytes, more);
    saved.size += more;
    return count;
}

#define fopen open_memory
#define fwrite write_memory
#define fread(bytes, size, count, file) ((void)(bytes), (void)(file), (size_t)0)
#define fseek(file, offset, whence) ((void)(file), -1)
#define ftell(file) ((void)(file), -1L)
#define rewind(file) ((void)(file))
#define fgetc(file) ((void)(file), EOF)
#define ferror(file) ((void)(file), 1)
#define fflush(file) ((void)(file), 0)
#define fclose(file) ((void)(file), 0)
#define rename(from, to) ((void)(from), (void)(to), 0)
#define remove(path) ((void)(path), 0)
#include "pycnn_file.c"
#include "plan.h"

/* What pycnn_file_save wrote last: its bytes, and how many they are. */
const unsigned char *page_saved(void);
size_t page_saved_size(void);

const unsigned char *page_saved(void) { return saved.bytes; }
size_t page_saved_size(void) { return saved.size; }

/* Layers, and what they are made of. */
size_t page_depth(const pycnn_network *net);
/* Writes down how the outputs of the layers of a trace lie, as images of so many rows, columns and
 * features; what is no image has one place. Behind them is 0 where a layer computes nothing, and
 * changes but how its numbers are seen. shapes[page_depth(net)] begins with the data's shape. It
 * returns how many layers they are. */
size_t page_shapes(size_t (*shapes)[4], const pycnn_network *net);

size_t page_depth(const pycnn_network *net) { return net->depth; }

/* Kinds that leave an image one. */
static bool keeps_places(const layer *self)
{
    static const int kinds[] = {PYCNN_DROPOUT,  PYCNN_BATCH_NORM,  PYCNN_LAYER_NORM, PYCNN_RESCALE,
                                PYCNN_RESIDUAL, PYCNN_CONCATENATE, PYCNN_STACK};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (self->ops == pycnn_layer_ops(kinds[i])) {
            return true;
        }
    }
    return false;
}

size_t page_shapes(size_t (*shapes)[4], const pycnn_network *net)
{
    const size_t data[] = {shapes[0][0], shapes[0][1]};
    size_t count = 0;
    for (size_t l = 0; l < net->depth; l++) {
        const layer *self = &net->layers[l];
        const size_t from = self->inputs[0], *below = from == THE_DATA ? data : shapes[from];
        size_t rows = 1, columns = 1;
        if (self->forward.out[0] > 0) {
            rows = self->forward.out[0];
            columns = self->forward.out[1];
        } else if (self->positions > 0) {
            columns = self->positions;
        } else if (keeps_places(self)) {
            rows = below[0];
            columns = below[1];
        }
        const size_t shape[] = {rows, columns, self->fan_out / (rows * columns),
                                self->ops != pycnn_layer_ops(PYCNN_RESHAPE)};
        memcpy(shapes[l], shape, sizeof shape);
    }
    for (size_t l = 0; l < net->depth; l++) {
        if (net->layers[l].traced) {
            memmove(shapes[count++], shapes[l], sizeof shapes[l]);
        }
    }
    return count;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    (void)clock;
    *now = (struct timespec){0};
    return 0;
}
