/* What all kinds of layers do alike: their activation, and its derivative. */
#include "layer.h"

const layer_ops *pycnn_layer_ops(int kind)
{
    /* A new kind of layer is one more row here. */
    static const layer_ops *const table[] = {
        [PYCNN_DENSE] = &pycnn_dense_ops,           [PYCNN_DROPOUT] = &pycnn_dropout_ops,
        [PYCNN_BATCH_NORM] = &pycnn_batch_norm_ops, [PYCNN_LAYER_NORM] = &pycnn_layer_norm_ops,
        [PYCNN_RESIDUAL] = &pycnn_residual_ops,     [PYCNN_RESHAPE] = &pycnn_reshape_ops,
        [PYCNN_RESCALE] = &pycnn_rescale_ops,
    };
    const int count = (int)(sizeof table / sizeof *table);
    return kind < 0 || kind >= count ? NULL : table[kind];
}

int pycnn_add_tensor(layer *self, const char *name, int role, size_t dims, const size_t *shape)
{
    const bool counted = role == PYCNN_STATISTIC;
    assert(self->tensor_count + self->statistic_tensor_count < MOST_TENSORS);
    assert(counted || self->statistic_tensor_count == 0);
    layer_tensor *tensor = &self->tensors[self->tensor_count + self->statistic_tensor_count];
    *tensor = (layer_tensor){.name = name, .role = role, .dims = dims, .size = 1};
    for (size_t d = 0; d < PYCNN_MOST_DIMS; d++) {
        tensor->shape[d] = d < dims ? shape[d] : 1;
        size_t size = 0;
        TRY(add_product(&size, tensor->size, tensor->shape[d]));
        tensor->size = size;
    }
    *(counted ? &self->statistic_tensor_count : &self->tensor_count) += 1;
    if (role == PYCNN_WEIGHT) {
        TRY(add_product(&self->weight_count, tensor->size, 1));
    }
    return add_product(counted ? &self->statistic_count : &self->parameter_count, tensor->size, 1);
}

int pycnn_set_activation(layer *self, int activation)
{
    REQUIRE(activation >= 0 && activation < PYCNN_ACTIVATION_COUNT, self, PYCNN_ERROR_ARGUMENT,
            "activation is no pycnn_activation");
    self->f = activation;
    return PYCNN_OK;
}

/* a[fan_out,batch] = f(z)                                                      (lecture, 2) */
void pycnn_activate(const layer *self, const layer_io *io)
{
    self->activation->forward(io->output, io->z, self->fan_out, io->stride);
    pycnn_rows(self, io);
}

void pycnn_rows(const layer *self, const layer_io *io)
{
    if (io->output_rows == NULL) {
        return;
    }
    const size_t panel = self->kernels->panel;
    double *rows = io->output_rows;
    for (size_t j = 0; j < self->fan_out && rows != io->output; j += panel) {
        self->kernels->transpose(rows + j / panel * io->distance, panel,
                                 io->output + j * io->stride, io->stride,
                                 MIN(panel, self->fan_out - j), io->batch);
    }
    double *ones = rows + self->fan_out / panel * io->distance + self->fan_out % panel;
    for (size_t i = 0; i < io->batch; i++) { /* the inputs of the next layer's bias */
        ones[i * panel] = 1;
    }
}

/* delta[fan_out,batch] = dL/da * f'(z) */
void pycnn_derive(const layer *self, const layer_io *io)
{
    if (!io->delta_is_dz) {
        const double *from = self->activation->from_z ? io->z : io->output;
        self->activation->backward(io->delta, from, self->fan_out, io->stride);
    }
}

static void add(double *sum, const double *part, size_t count)
{
    for (size_t i = 0; i < count && sum != NULL; i++) {
        sum[i] += part[i];
    }
}

void pycnn_add_deltas(const layer *self, const layer_io *io, size_t slices)
{
    if (io->added_to[0] == NULL && io->added_to[1] == NULL) { /* nor of any other slice */
        return;
    }
    for (const layer_io *end = io + slices; io < end; io++) {
        add(io->added_to[0], io->delta_input, self->fan_in * io->stride);
        add(io->added_to[1], io->delta_second_input, self->fan_in * io->stride);
    }
}
