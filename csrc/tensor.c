/* The arrays that theta is made of: what a layer has says create(), where it lies the plan. Their
 * names, and where they start. */
#include "mode.h"
#include "plan.h"

size_t pycnn_network_tensor_count(const pycnn_network *net)
{
    return net == NULL ? 0 : net->tensor_count + net->statistic_tensor_count;
}

/* The last layer that has `number` or fewer of the tensors in front of its own. */
static const layer *owner_of(const pycnn_network *net, size_t number, bool counted)
{
    size_t first = 0, last = net->depth;
    while (last - first > 1) {
        const size_t middle = first + (last - first) / 2;
        const layer *self = &net->layers[middle];
        const bool behind = (counted ? self->first_statistic : self->first_tensor) > number;
        *(behind ? &last : &first) = middle;
    }
    return &net->layers[first];
}

int pycnn_network_tensor(const pycnn_network *net, size_t number, pycnn_tensor *tensor)
{
    RETURN_IF(net == NULL || tensor == NULL, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(number >= pycnn_network_tensor_count(net), PYCNN_ERROR_INDEX);
    const bool counted = number >= net->tensor_count;
    const size_t among = counted ? number - net->tensor_count : number;
    const layer *self = owner_of(net, among, counted);
    const layer_tensor *first = self->tensors + (counted ? self->tensor_count : 0);
    const layer_tensor *own =
        first + (among - (counted ? self->first_statistic : self->first_tensor));
    *tensor = (pycnn_tensor){.name = own->name, .role = own->role, .dims = own->dims};
    memcpy(tensor->shape, own->shape, sizeof own->shape);
    tensor->size = own->size;
    tensor->offset = counted ? net->parameter_count + self->statistic_offset : self->offset;
    for (const layer_tensor *before = first; before < own; before++) {
        tensor->offset += before->size;
    }
    return PYCNN_OK;
}

/* ---------------------------------------------------------------- names */

typedef struct {
    char *name;
    size_t room, length; /* of the name, also where it is longer than the room */
} name_writer;

static void append_text(name_writer *out, const char *text)
{
    for (; *text != 0; text++, out->length++) {
        if (out->length + 1 < out->room) {
            out->name[out->length] = *text;
        }
    }
}

static void append_number(name_writer *out, size_t number)
{
    char digits[3 * sizeof number + 1], *at = digits + sizeof digits - 1;
    *at = 0;
    for (; number > 0; number /= 10) {
        *--at = (char)('0' + number % 10);
    }
    append_text(out, at);
}

/* What a layer adds to the names of the tensors within. */
static void append_place(name_writer *out, const layer *self)
{
    if (self->named && self->parent != NO_LAYER) {
        append_text(out, self->name);
        append_text(out, *self->name == 0 ? "" : ".");
        return;
    }
    append_text(out, self->parent == NO_LAYER ? "layers."
                     : self->place == 0       ? "shortcut"
                                              : "inner.");
    if (self->place > 0) {
        append_number(out, self->place);
    }
    append_text(out, ".");
}

/* The layer itself (level 0), or that which it is part of, and so on; NULL: there is none. */
static const layer *around(const pycnn_network *net, const layer *self, size_t level)
{
    for (; level > 0 && self->parent != NO_LAYER; level--) {
        self = &net->layers[self->parent];
    }
    return level > 0 ? NULL : self;
}

size_t pycnn_network_tensor_name(const pycnn_network *net, size_t number, char *name, size_t size)
{
    name_writer out = {name, name == NULL ? 0 : size, 0};
    pycnn_tensor tensor;
    if (out.room > 0) {
        *name = 0;
    }
    if (pycnn_network_tensor(net, number, &tensor) != PYCNN_OK) {
        return 0;
    }
    const bool counted = number >= net->tensor_count;
    const layer *self = owner_of(net, counted ? number - net->tensor_count : number, counted);
    size_t level = 0;
    while (around(net, self, level + 1) != NULL) {
        level++;
    }
    for (level++; level-- > 0;) {
        append_place(&out, around(net, self, level));
    }
    append_text(&out, tensor.name);
    if (out.room > 0) {
        name[MIN(out.length, out.room - 1)] = 0;
    }
    return out.length;
}

/* ---------------------------------------------------------------- where they start */

int pycnn_initialize(double *theta, size_t theta_size, const pycnn_network *net, uint64_t seed)
{
    KEEP_MODE;
    RETURN_IF(theta == NULL || net == NULL, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(theta_size != theta_size_of(net), PYCNN_ERROR_SIZE);
    random_stream stream = pycnn_stream(seed, FOR_PARAMETERS);
    double *statistics = theta + net->parameter_count;
    for (const layer *self = net->layers; self < net->layers + net->depth; self++) {
        if (self->ops->initialize != NULL) {
            self->ops->initialize(self, theta + self->offset, statistics + self->statistic_offset,
                                  &stream);
        }
    }
    return PYCNN_OK;
}
