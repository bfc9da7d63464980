/* The operation table that every kind of layer fills in; pass.c walks a list of them. */
#ifndef PYCNN_LAYER_H
#define PYCNN_LAYER_H

#include "kernels.h"
#include "random.h"

typedef struct layer_ops layer_ops;

/* Where a layer may read from at most, and what the network is given as such a place. */
enum { MOST_INPUTS = 2 };
#define THE_DATA SIZE_MAX

/* An array of the layer's own in theta, as pycnn_tensor says of it. */
enum { MOST_TENSORS = 8 };
typedef struct {
    const char *name;
    int role; /* pycnn_role */
    size_t dims, size;
    size_t shape[PYCNN_MOST_DIMS];
} layer_tensor;

/* What a layer that is not part of another has for its parent. */
#define NO_LAYER SIZE_MAX

/* Bytes of a layer's own name, the last of which is 0. */
enum { MOST_NAME = 32 };

typedef struct {
    const layer_ops *ops;
    size_t fan_in; /* of each of its inputs */
    /* What the plan knows. */
    size_t inputs[MOST_INPUTS]; /* layers, or THE_DATA, whose outputs it reads */
    size_t input_count;
    size_t last_reader;     /* of its output */
    size_t input_positions; /* of what it reads first, as `positions` below; of the data 0 */
    bool has_lengths;       /* what it reads has, where the data's samples have */
    bool traced;            /* it is not part of another layer */
    const kernel_table *kernels;
    const activation_ops *activation;
    size_t offset;           /* of its parameters in theta */
    size_t statistic_offset; /* of its statistics, behind the parameters */
    uint64_t number;         /* of the layer: a dropout's own random numbers */
    bool rows_wanted;        /* by a layer that reads its output */
    size_t parent;           /* the layer that it is part of, or NO_LAYER */
    size_t place;            /* in there or in the network, from 1; 0: its shortcut */
    bool named;              /* ... in place of which it has a name */
    char name[MOST_NAME];
    size_t first_tensor;    /* how many of the parameters' are in front of its own ... */
    size_t first_statistic; /* ... and of the statistics' */
    /* What create() says. */
    size_t fan_out;
    size_t features;     /* of each position of an image, where they differ in more
                            than their numbers: fan_out where it has none */
    size_t positions;    /* of its output, a sequence [positions,features]: each has a softmax of
                            its own and, of the last layer, a loss; 0: it is no sequence */
    size_t state_count;  /* numbers of a sample that go on into the next part of its sequence */
    size_t state_offset; /* of these among those of all layers; the plan knows it */
    size_t vocabulary;   /* what it reads are tokens 0 ... vocabulary - 1; 0: numbers */
    int f;               /* pycnn_activation */
    layer_tensor tensors[MOST_TENSORS]; /* as pycnn_add_tensor has added them, and up: */
    size_t tensor_count;                /* of the parameters' */
    size_t statistic_tensor_count;      /* of the statistics', behind them */
    size_t parameter_count;
    size_t weight_count;     /* of these, in front, are weights: the ones that are penalized */
    size_t statistic_count;  /* numbers that training counts */
    size_t packed_rows;      /* that pack() fills ... */
    size_t packed_width;     /* ... with so many numbers each */
    size_t saved_per_slice;  /* doubles that a slice's forward pass, or what is reduced over the
                                batch, keeps for later: so many, ... */
    size_t saved_per_sample; /* ... and so many for each sample */
    size_t saved_for_delta;  /* of these, so many only where a way back follows */
    size_t row_positions;    /* rows of a sample that a layer packs itself for its gradient ... */
    size_t row_widths[2];    /* ... and the numbers in each, of two kinds */
    size_t work;             /* about as many multiply-adds as a sample's forward pass takes */
    bool reads_rows;         /* its gradient reads input_rows */
    bool knows_lengths;      /* samples may have fewer positions than there is room for */
    bool writes_z;           /* something of its own: z is not `output`, nor for a loss to read */
    bool sums_samples;       /* in CHAINS chains: slices must begin at multiples of these */
    bool trains_online;      /* in the layout of online.h */
    bool shares_gradient;    /* others add to it, or it to theirs: it must be written down */
    const char *refusal;     /* why it cannot be, where it cannot */
    double l1, l2;
    double max_norm; /* above 0: constrain() does something */
    double rate, momentum, epsilon;
    double scale, shift;
    bool slice_by_slice; /* its numbers are so many that a slice goes on alone through what is so */
    size_t scratch;      /* doubles that a chunk's pass and a part of the gradient need */
    convolution forward, backward;
    recurrence recurrence;
    size_t heads, window; /* of attention; and of positions that are numbered */
    bool causal;
} layer;

/* What all layers know of the mini-batch. */
typedef struct {
    bool training;            /* normalize by this mini-batch's own moments */
    bool dropping;            /* drop units: in training, and where predictions are drawn */
    uint64_t dropout_key;     /* the random numbers that are drawn from */
    size_t position;          /* ... and the first sample's place among them */
    size_t count;             /* samples, in all slices */
    bool apart;               /* threads that share them are far from each other */
    const double *statistics; /* what training has counted */
} batch_context;

/* What a layer reads and writes for one slice of a mini-batch; the buffers belong to the workspace.
 *
 * Each activation lies there twice, both times in panels: a few numbers side by side along what is
 * not summed over, and all that is summed over behind each other.
 *   - [units,batch] matrices, a column a sample, are what W and W^T are multiplied with. A slice's
 *     rows are `stride` apart, a multiple of the kernels' lanes: what lies between batch and stride
 *     is computed along and never read for a result.
 *   - `rows`, a row a sample, are what delta is multiplied with. They are packed into panels of as
 *     many units as a register tile takes, each [all samples,panel], the panels `distance` apart.
 *     There is a 1 behind the last unit: the input of the bias. */
typedef struct {
    const batch_context *context;
    size_t first; /* sample of the mini-batch that the slice begins with */
    size_t batch, stride;
    const double *input;        /* [fan_in,batch] */
    const double *second_input; /* the same of a layer that has two; else NULL */
    const double *input_rows;   /* the same as rows, from this slice's on; NULL in forward mode, and
                                   where the layer does not read them */
    double *z;                  /* [fan_out,batch]; may be `output` where nobody reads z again */
    bool z_is_own;              /* none but the layer's own derivative does */
    double *output;             /* [fan_out,batch] */
    double *output_rows;        /* NULL where nobody reads them */
    size_t distance;            /* of the panels of rows */
    double *delta;         /* [fan_out,batch] dL/doutput, which pycnn_derive turns into dL/dz */
    bool delta_is_dz;      /* ... unless the loss has done that already */
    const double *lengths; /* [stride] positions of each sample that are there; NULL: all are */
    double *state;         /* [state_count,stride] what the part of the sequence before has left,
                              which becomes what this one leaves; NULL: it begins with zeros, and
                              nobody goes on from it */
    double *saved;         /* [saved_per_slice] what the layer keeps for later */
    double *saved_samples; /* [saved_per_sample,stride] */
    double *own_rows;    /* of all samples, [row_positions,samples] rows of row_widths[0] numbers in
                            panels, then those of row_widths[1]; NULL in forward mode */
    double *delta_input; /* [fan_in,batch] dL/dinput; NULL where that is the data's */
    double *delta_second_input;    /* the same of the second */
    double *added_to[MOST_INPUTS]; /* the delta that each of these is a part of, to be added to the
                                      parts of later layers; NULL: it is all of it, or the first */
    /* The same as the kernels read it; those of a layer's slices lie behind each other. */
    const product_panel *forward, *backward; /* z and input; delta_input and delta */
    const gradient_terms *terms;             /* delta */
    double *scratch;                         /* for a product; the slices of a chunk have one */
} layer_io;

/* The index-th of `of` parts of a layer's units. */
typedef struct {
    size_t index, of;
    double *scratch; /* [scratch] of a layer that needs it */
    bool away;       /* of a gradient: threads far from this one read the parameters next */
} part;

struct layer_ops {
    /* Of a layer that is made of layers, those of its spec's inner and shortcut; or NULL: appends
     * them to the plan. inputs[0] is what the layer is put on, and inputs[*count] become what its
     * own other operations, which come behind, read. */
    int (*compose)(pycnn_network *net, const pycnn_layer_spec *spec, size_t inputs[MOST_INPUTS],
                   size_t *count);
    /* Says all that there is to say of the layer, whose fan_in is set. */
    int (*create)(layer *self, const pycnn_layer_spec *spec);
    /* input -> z, output (and output_rows) of io[slices]. theta is this layer's own part. */
    void (*forward)(const layer *self, const double *theta, const layer_io *io, size_t slices);
    /* The same for a part of the units, of which none needs the others; or NULL. The part's are
     * those whose weights are in that part of the gradient. */
    void (*forward_part)(const layer *self, const double *theta, const layer_io *io, size_t slices,
                         part which);
    /* delta = dL/dz -> delta_input. */
    void (*backward)(const layer *self, const double *theta, const layer_io *io, size_t slices);
    /* Of a layer with parameters: a part of its gradient, summed over the samples of all slices
     * io[slices], into `out`: this layer's part of a gradient or, with GRADIENT_DESCEND, of theta.
     * Where there are weights, that rounds as the kernels' `descend` does. */
    void (*gradient)(const layer *self, double *out, gradient_use use, double step,
                     const layer_io *io, size_t slices, part which);

    /* Of a layer with statistics, or one that predicts a single sample faster from a layout of its
     * own; else both NULL. Its part of theta and of the statistics ->
     * packed[packed_rows,packed_width], where rows are of whole vectors and begin as zeros; and
     * `forward` of one sample by it. */
    void (*pack)(const layer *self, double *packed, const double *theta, const double *statistics);
    void (*forward_packed)(const layer *self, const double *packed, const layer_io *io);

    /* Of a layer that needs the batch, or NULL: in training a part of what is reduced over the
     * whole mini-batch before `forward`, or before `backward` with delta = dL/dz. */
    void (*reduce)(const layer *self, const layer_io *io, size_t slices, part which, bool backward);
    /* statistics: what they become after the mini-batch that last passed; or NULL. */
    void (*update_statistics)(const layer *self, double *statistics, const layer_io *io);
    /* Of a layer with parameters: where they start, and its statistics. */
    void (*initialize)(const layer *self, double *theta, double *statistics, random_stream *stream);
    /* Holds the weights of each unit to a norm of max_norm, in theta, after an update; or NULL. */
    void (*constrain)(const layer *self, double *theta);
};

extern PYCNN_PRIVATE const layer_ops pycnn_dense_ops, pycnn_dropout_ops, pycnn_batch_norm_ops,
    pycnn_layer_norm_ops, pycnn_residual_ops, pycnn_stack_ops, pycnn_reshape_ops, pycnn_rescale_ops,
    pycnn_convolution_ops, pycnn_max_pool_ops, pycnn_average_pool_ops, pycnn_zero_padding_ops,
    pycnn_embedding_ops, pycnn_tied_dense_ops, pycnn_simple_rnn_ops, pycnn_lstm_ops, pycnn_gru_ops,
    pycnn_concatenate_ops, pycnn_attention_ops, pycnn_position_embedding_ops;

/* By pycnn_layer_kind; NULL: there is no such kind. */
PYCNN_PRIVATE const layer_ops *pycnn_layer_ops(int kind);

/* Returns the status, unless the condition holds, and says why in words that users read. */
#define REQUIRE(condition, self, status, why) \
    do {                                      \
        if (!(condition)) {                   \
            (self)->refusal = (why);          \
            return (status);                  \
        }                                     \
    } while (0)

/* Adds an array [shape[0],...,shape[dims - 1]] to those that a layer has: weights first, statistics
 * last. */
PYCNN_PRIVATE int pycnn_add_tensor(layer *self, const char *name, int role, size_t dims,
                                   const size_t *shape);

/* Sets the features that the positions of an image share something by: all numbers, of a sample
 * that is none. The positions of a sequence are those of the output. */
PYCNN_PRIVATE int pycnn_set_features(layer *self, const pycnn_layer_spec *spec);

/* Positions of a sequence, whose image has one row; of what is none 0. */
PYCNN_PRIVATE size_t pycnn_sequence_positions(const pycnn_layer_spec *spec);

/* Sets l1, l2 and max_norm. */
PYCNN_PRIVATE int pycnn_set_regularization(layer *self, const pycnn_layer_spec *spec);

/* Whether the spec's image is what the layer reads. */
PYCNN_PRIVATE int pycnn_check_image(layer *self, const pycnn_layer_spec *spec);

/* Sets how the spec's windows move over that image: of self->forward all but the filters. */
PYCNN_PRIVATE int pycnn_set_windows(layer *self, const pycnn_layer_spec *spec);

/* Scales down each row of a layer's weights, of a unit of its own, to max_norm. */
PYCNN_PRIVATE void pycnn_constrain_rows(const layer *self, double *theta);

/* Where the weights and biases of a unit with so many inputs and outputs start. */
PYCNN_PRIVATE void pycnn_draw_weights(const layer *self, double *theta, double fan_in,
                                      double fan_out, random_stream *stream);

/* From U(-limit, limit). */
PYCNN_PRIVATE void pycnn_draw_uniform(double *values, size_t count, double limit,
                                      random_stream *stream);

/* The token that a number is to a layer that reads such, or its vocabulary, where it is none. */
PYCNN_PRIVATE size_t pycnn_token_of(const layer *self, double value);

/* z -> output, output_rows */
PYCNN_PRIVATE void pycnn_activate(const layer *self, const layer_io *io);

/* The same of the units first ... last - 1, by a function of each number alone. */
PYCNN_PRIVATE void pycnn_activate_units(const layer *self, const layer_io *io, size_t first,
                                        size_t last);

/* output -> output_rows, where they are wanted */
PYCNN_PRIVATE void pycnn_rows(const layer *self, const layer_io *io);

/* delta = dL/doutput -> dL/dz */
PYCNN_PRIVATE void pycnn_derive(const layer *self, const layer_io *io);

/* What backward has left as parts -> the deltas below. The parts of a delta are added up from the
 * last layer that reads the output to the first. */
PYCNN_PRIVATE void pycnn_add_deltas(const layer *self, const layer_io *io, size_t slices);

/* Sets the activation's code. */
PYCNN_PRIVATE int pycnn_set_activation(layer *self, int activation);

/* Whether the samples of an activation's column meet, so that each position is one of its own. */
static inline bool meets_in_columns(const layer *self)
{
    return self->f == PYCNN_SOFTMAX && self->positions > 1;
}

#endif
