/* pycnn: a small neural-network core in plain C.
 *
 * This is the only header that a user opens. The core trains and runs feed-forward networks on
 * contiguous buffers of double; it needs libc and libm, prints nothing, never exits, and keeps
 * no global state. Creating a network reads one environment variable: PYCNN_ISA (avx512,
 * avx2, neon, wasm, baseline) forces the kernels of one instruction set; without it the best that
 * the machine has are used.
 *
 * Glossary, the same words in C, in Python and in the documentation:
 *   theta      all parameters in one flat buffer: W[1], b[1], W[2], b[2], ... (row-major); behind
 *              them, where layers keep some, the statistics that training counts
 *   fan_in     number of inputs of a layer, n_{l-1};  fan_out: number of its units, n_l
 *   batch      number of samples that one step works on, m
 *   z, a       pre-activation and activation of a layer, [fan_out,batch]: a column is a sample
 *   delta      dL/dz of a layer, [fan_out,batch]
 *   grad       dL/dtheta, laid out like theta's parameters
 *
 * Ownership: theta, grad and the data belong to the caller and are lent for the length of a call.
 * A pycnn_network is a plan (shapes and offsets, no parameters): it never changes after creation
 * and may be shared by any number of threads. A pycnn_workspace is scratch memory: one call at a
 * time may use it. No function allocates but those that create, check or measure one of these
 * objects, and the first call that needs a pool's threads, which starts them.
 *
 * Theta comes with its size, the number of doubles behind the pointer: a call refuses what is not
 * pycnn_network_theta_size() of its network with PYCNN_ERROR_SIZE, and reads nothing of it. Let it
 * begin on 64 bytes, which malloc does not promise: else vectors of weights that are read in place
 * lie across two cache lines, and one row of 512-512-512-10 takes 161 us instead of 84 (AVX-512).
 * A predictor's copy, mini-batches and results do not depend on it.
 *
 * Hosts: a call takes less than 16 kB of stack (that makes a network, 200 bytes more for each level
 * of layers within layers). Built with PYCNN_NO_THREADS the core needs no threads of the system's:
 * there are no pools, and every call works on its own thread; with PYCNN_NO_GETENV it reads no
 * environment. A call computes in the mode that it needs (rounded to nearest, subnormal numbers
 * kept, no traps), whatever its thread's is, and gives that back. What the core calls of the
 * caller's, a loss or a poll function, is called in the core's mode, and may leave by longjmp() or,
 * where C has been compiled so that a C++ exception passes through it (-fexceptions; on 64-bit
 * Linux and macOS it always has), by an exception: that is as if it had returned 1, but nobody sees
 * the status, and the mode stays the core's. An allocator must not leave so. After fork() a child
 * may use what it has inherited; pools are said below. No call may be made in a signal handler.
 *
 * Versions: what a later version adds to a struct takes the place of its `reserved` numbers, where
 * zeros mean "as before". So a program that was compiled with an older header goes on as it did,
 * and one that asks an older library for something new is refused (PYCNN_ERROR_ARGUMENT) and never
 * misread. Zero the structs first, as initializers and the *_init calls do. Any other change of
 * this header's structs, numbers or calls is another PYCNN_ABI: who loads the library at run time,
 * or has written the structs down in another language, compares pycnn_abi() with the number that
 * this was done for.
 */
#ifndef PYCNN_H
#define PYCNN_H

#include <stddef.h>
#include <stdint.h>

#define PYCNN_VERSION "0.2.0"
#define PYCNN_ABI 1

/* In front of every call. What is compiled into a program, or into somebody's plugin, serves that
 * one alone. A shared library of its own exports the calls: it is built with PYCNN_SHARED, and so
 * is on Windows what uses it. */
#if defined(_WIN32) || defined(__CYGWIN__)
#if !defined(PYCNN_SHARED)
#define PYCNN_API
#elif defined(PYCNN_BUILDING) /* as the core's own files are */
#define PYCNN_API __declspec(dllexport)
#else
#define PYCNN_API __declspec(dllimport)
#endif
#elif !defined(PYCNN_BUILDING) || !defined(__GNUC__)
#define PYCNN_API
#elif defined(PYCNN_SHARED)
#define PYCNN_API __attribute__((visibility("default")))
#else
#define PYCNN_API __attribute__((visibility("hidden")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* cdef: begin */

/* What a call has to say; the numbers never change. pycnn_strerror() puts them into words. */
typedef enum {
    PYCNN_OK = 0,
    PYCNN_ERROR_MEMORY = 1,    /* an allocation failed */
    PYCNN_ERROR_SIZE = 2,      /* a size is zero where it must not be, too large, or does not fit */
    PYCNN_ERROR_ARGUMENT = 3,  /* a pointer is NULL, an enum value is unknown, or what a struct
                                     reserves is not 0 */
    PYCNN_ERROR_PAIRING = 4,   /* this loss does not go with this output activation */
    PYCNN_ERROR_WORKSPACE = 5, /* the workspace is of another network, another mode, or too small */
    PYCNN_ERROR_INDEX = 6,     /* an entry of `order` is not a row of the data */
    PYCNN_ERROR_LABEL = 7,     /* a class label is not below the number of outputs */
    PYCNN_ERROR_DIVERGED = 8,  /* the loss is infinite or not a number */
    PYCNN_ERROR_ISA = 9,       /* PYCNN_ISA names no instruction set that can run here */
    PYCNN_ERROR_LOSS = 10,     /* the caller's loss function failed */
    PYCNN_ERROR_NOT_FINITE = 11,  /* the samples, or a gradient, hold an infinity or a NaN */
    PYCNN_ERROR_INTERRUPTED = 12, /* the caller's poll function asked for it */
    PYCNN_ERROR_RANGE = 13,  /* a number of a layer, a loss, an optimizer or a training is out of
                                its range, or a NaN */
    PYCNN_ERROR_FILE = 14,   /* pycnn_file.h: not an intact model file */
    PYCNN_ERROR_IO = 15,     /* the same: a file could not be read or written */
    PYCNN_ERROR_BUILD = 16,  /* the compiler had options that change the core's arithmetic, of which
                                no macro tells */
    PYCNN_ERROR_TOKEN = 17,  /* an input of a network on tokens is none: not whole, or out of its
                                vocabulary */
    PYCNN_ERROR_LENGTHS = 18 /* a length is 0 or more than there are positions, or a layer cannot do
                                with lengths */
} pycnn_status;

typedef enum {
    PYCNN_DENSE = 0,
    PYCNN_DROPOUT = 1,       /* these have as many units as inputs */
    PYCNN_BATCH_NORM = 2,    /* parameters: gamma[units], beta[units]; of images shape[2] of each */
    PYCNN_LAYER_NORM = 3,    /* the same */
    PYCNN_RESIDUAL = 4,      /* f(inner layers + shortcut): parameters and statistics of the inner
                                layers, then the shortcut's */
    PYCNN_RESHAPE = 5,       /* the numbers as they are: shapes are how they are seen */
    PYCNN_RESCALE = 6,       /* scale x + offset */
    PYCNN_CONVOLUTION = 7,   /* parameters: W[units,kernel[0],kernel[1],shape[2]], b[units] */
    PYCNN_MAX_POOL = 8,      /* of each window and feature the largest; without parameters, too: */
    PYCNN_AVERAGE_POOL = 9,  /* ... the mean of what lies within the image */
    PYCNN_ZERO_PADDING = 10, /* the image, with zeros around it */
    /* Of sequences [positions,features], which are images of one row: */
    PYCNN_SIMPLE_RNN = 11, /* W[units,features], U[units,units], b[units] */
    PYCNN_LSTM = 12,       /* W[4 units,features], U[4 units,units], b[4 units]; gates i, f, g, o */
    PYCNN_GRU = 13,        /* W[3 units,features], U[3 units,units], b[3 units], b_n[units]; gates
                               r, u, n */
    PYCNN_CONCATENATE = 14,        /* features of the inner layers, then those of the shortcut */
    PYCNN_STACK = 15,              /* the inner layers on top of each other, as one layer */
    PYCNN_EMBEDDING = 16,          /* of tokens, a number each: W[vocabulary,units] */
    PYCNN_POSITION_EMBEDDING = 17, /* added to a sequence: W[positions,features] */
    PYCNN_ATTENTION = 18, /* of several heads: W and b[features] of query, key, value, output */
    PYCNN_TIED_DENSE = 19 /* by the network's embedding: b[vocabulary] */
} pycnn_layer_kind;

/* What windows see beyond an image: nothing, so that they stay within it; or so many zeros on both
 * sides, one more behind than before where they are odd, that there is an output for each
 * strides-th input. */
typedef enum { PYCNN_VALID = 0, PYCNN_SAME = 1 } pycnn_padding;

typedef enum {
    PYCNN_LINEAR = 0,
    PYCNN_SIGMOID = 1,
    PYCNN_RELU = 2,
    PYCNN_TANH = 3,
    PYCNN_SOFTMAX = 4,
    PYCNN_LEAKY_RELU = 5, /* slope 0.01 below 0 */
    PYCNN_ELU = 6,        /* alpha 1 */
    PYCNN_SELU = 7,
    PYCNN_GELU = 8,      /* z Phi(z), with the normal distribution itself */
    PYCNN_GELU_TANH = 9, /* the same, by way of tanh */
    PYCNN_SILU = 10,
    PYCNN_SOFTPLUS = 11,
    PYCNN_SOFTSIGN = 12,
    PYCNN_HARD_SIGMOID = 13, /* z / 6 + 1/2, held to 0 ... 1 */
    PYCNN_HARD_TANH = 14,    /* z, held to -1 ... 1 */
    PYCNN_ACTIVATION_COUNT = 15
} pycnn_activation;

/* Of one sample, summed over outputs; any output activation where none is named. But for the
 * categorical ones a target that is NaN has not been observed: it adds nothing, and a sample
 * without any target weighs 0. */
typedef enum {
    PYCNN_MSE = 0,                      /* 1/2 (a - y)^2 */
    PYCNN_BINARY_CROSSENTROPY = 1,      /* needs sigmoid */
    PYCNN_CATEGORICAL_CROSSENTROPY = 2, /* needs softmax */
    PYCNN_MAE = 3,                      /* |a - y| */
    PYCNN_HUBER = 4,         /* 1/2 (a - y)^2 up to |a - y| = parameter, straight beyond */
    PYCNN_POISSON = 5,       /* a - y log a, y >= 0; needs softplus, sigmoid or softmax */
    PYCNN_HINGE = 6,         /* max(0, 1 - y a), y = -1 or 1; needs linear */
    PYCNN_QUANTILE = 7,      /* q (y - a) where a < y, else (1 - q) (a - y); q: the parameter */
    PYCNN_KL_DIVERGENCE = 8, /* y log(y / a); needs softmax */
    PYCNN_LOSS_COUNT = 9,
    PYCNN_CUSTOM = 99 /* the caller's, see pycnn_workspace_set_loss */
} pycnn_loss;

/* A layer. What its kind does not name is not read. */
typedef struct pycnn_layer_spec {
    int kind;        /* pycnn_layer_kind */
    int activation;  /* pycnn_activation; what drops, pools or pads has none */
    size_t units;    /* dense: fan_out; convolution: the filters, features of an output; embedding:
                        numbers of a token; tied dense: the vocabulary */
    double l1, l2;   /* of layers with weights: >= 0: the loss gets l1 sum |w| + l2/2 sum w^2 */
    double max_norm; /* above 0: after each update the weights of no unit have a larger norm */
    double rate;     /* dropout: 0 <= rate < 1 */
    double epsilon;  /* normalization: above 0, added to the variance */
    double momentum; /* batch normalization: 0 ... 1, the fraction of the latest mini-batch in what
                        training counts */
    const struct pycnn_layer_spec *inner;    /* residual, stack: [inner_depth], one on another */
    size_t inner_depth;                      /* at least 1 */
    const struct pycnn_layer_spec *shortcut; /* beside them, as wide; or NULL: their input itself */
    double scale, offset;                    /* rescale: a factor that is not 0, and a summand */
    size_t shape[3];      /* of an input image: rows, columns, features, which lie side by side; a
                             sequence has one row. Dropout and normalization: shape[2] may be 0,
                             else they drop, or normalize, a feature at all positions alike. Dense,
                             rescale: shape[2] may be 0; of a sequence each position has the units.
                             Reshape: of its output, where that is an image or a sequence */
    size_t kernel[2];     /* rows and columns of a window */
    size_t strides[2];    /* from one window to the next; 0 stands for 1 */
    size_t dilation[2];   /* from one number of a window to the next; 0 stands for 1 */
    size_t margins[4];    /* zero padding: before and behind the rows, before and behind columns */
    int padding;          /* pycnn_padding */
    int no_bias;          /* convolution: not 0: without b */
    size_t vocabulary;    /* embedding: tokens are 0 ... vocabulary - 1 */
    size_t heads;         /* attention: they share out the features */
    size_t window;        /* attention, position embedding: positions that they have in all, where
                             a sample is but some of them, and a state holds the ones before; 0:
                             a sample is all of them */
    int causal;           /* attention: not 0: a position sees none behind it */
    int reverse;          /* recurrent: not 0: from the last position to the first */
    int return_sequences; /* recurrent: not 0: the output at each position, not the last alone */
    int sinusoidal;       /* position embedding: not 0: waves, and no W */
    const char *name;     /* of a layer within another, in the names of tensors, of less than 32
                             bytes; "" adds nothing to them, and NULL its number */
    uint64_t reserved[8]; /* 0 */
} pycnn_layer_spec;

/* What an array of a layer is: penalties and max_norm mean the weights, and what training counts is
 * behind the parameters. */
typedef enum { PYCNN_WEIGHT = 0, PYCNN_BIAS = 1, PYCNN_SCALE = 2, PYCNN_STATISTIC = 3 } pycnn_role;

enum { PYCNN_MOST_DIMS = 4 };

/* An array in theta, row-major. */
typedef struct {
    const char *name; /* in its layer: W, b, gamma, beta, mean, variance; see also
                         pycnn_network_tensor_name */
    int role;         /* pycnn_role */
    size_t dims;
    size_t shape[PYCNN_MOST_DIMS]; /* [dims], then ones */
    size_t size;                   /* of all of it */
    size_t offset;                 /* in theta */
    uint64_t reserved[4];
} pycnn_tensor;

typedef struct pycnn_network pycnn_network;
typedef struct pycnn_workspace pycnn_workspace;
typedef struct pycnn_threads pycnn_threads;
typedef struct pycnn_predictor pycnn_predictor;
typedef struct pycnn_writer pycnn_writer;

/* Where an object's memory comes from, and goes back to: both functions are called by the thread
 * that makes or destroys it. */
typedef void *pycnn_allocate_function(void *context, size_t bytes);
typedef void pycnn_release_function(void *context, void *block);
typedef struct {
    pycnn_allocate_function *allocate; /* aligned as malloc's, or NULL */
    pycnn_release_function *release;   /* of what allocate has returned */
    void *context;
} pycnn_allocator;

/* What a workspace has room for: each mode can also do what the ones before it do. */
typedef enum {
    PYCNN_FORWARD = 0,  /* pycnn_predict, pycnn_evaluate */
    PYCNN_BACKWARD = 1, /* and pycnn_gradients, pycnn_gradient_sums, pycnn_train */
    PYCNN_TRACE = 2     /* and pycnn_trace, pycnn_input_gradient */
} pycnn_mode;

/* Labelled samples, lent by the caller. Where the output is a sequence [positions,features] (see
 * pycnn_network_positions) each position has a class, a loss and a weight of its own; one whose
 * targets are all NaN, or whose label is SIZE_MAX, has not been observed: it weighs 0. */
typedef struct {
    size_t rows;
    const double *x;      /* [rows,inputs] row-major: a row is a sample */
    const double *y;      /* [rows,outputs] row-major, or NULL: then label counts */
    const size_t *label;  /* [rows,positions] class indices, one for each output, or feature of a
                             position; only read when y is NULL */
    const double *weight; /* [rows] 0 or, to be divided by, 1e-250 ... 1e250; or NULL: all are 1 */
    int weight_per_position; /* not 0: weight is [rows,positions] */
    uint64_t reserved[3];    /* 0 */
} pycnn_dataset;

/* What sequences have besides, lent by the caller; by the rows of the data. */
typedef struct {
    const size_t *lengths; /* [rows] 1 ... the positions of a sample: so many, the first ones, are
                              there; or NULL: all are */
    double *state; /* [rows,pycnn_network_state_count()] what the part of a sequence before has left
                      (zeros: there was none), which becomes what this one leaves, and after an
                      error is not to be used; or NULL: each sample is a whole sequence. Of a
                      network with a window there are no gradients then (PYCNN_ERROR_LENGTHS) */
    uint64_t reserved[4]; /* 0 */
} pycnn_sequences;

/* Weighted sums over samples, or their positions: the mean loss is loss / weight, the accuracy
 * correct / weight. */
typedef struct {
    double loss;
    double weight;
    double correct; /* samples whose class is right (see pycnn_evaluate); 0 where there is none */
} pycnn_totals;

typedef enum {
    PYCNN_SGD = 0,
    PYCNN_ADAM = 1, /* AdamW with a weight_decay */
    PYCNN_RMSPROP = 2,
    PYCNN_ADAGRAD = 3,
    PYCNN_RPROP = 4,
    PYCNN_OPTIMIZER_COUNT = 5
} pycnn_optimizer_kind;

/* How a gradient changes the parameters: optimizer.c has the formulas. What its kind does not name
 * is not read; what it names is finite and in its range, or the optimizer is refused where it is
 * used (PYCNN_ERROR_RANGE). pycnn_optimizer_init() fills in what is usual. */
typedef struct {
    int kind;             /* pycnn_optimizer_kind */
    int nesterov;         /* SGD with momentum: not 0 looks ahead */
    int centered;         /* RMSprop: not 0 divides by the standard deviation */
    double momentum;      /* SGD, RMSprop: 0 <= momentum < 1 */
    double beta_1;        /* Adam: 0 <= beta_1 < 1, decay of the mean of gradients */
    double beta_2;        /* Adam, RMSprop (its rho): the same for the mean of their squares */
    double epsilon;       /* Adam, RMSprop, Adagrad: above 0 */
    double weight_decay;  /* Adam: >= 0 */
    double clip_value;    /* above 0: components of the gradient are held to +- this, then ... */
    double clip_norm;     /* above 0: a gradient of a larger norm is scaled down to this one */
    double increase;      /* RPROP: >= 1, how a step grows; 0 stands for 1.2 */
    double decrease;      /* RPROP: between 0 and 1, how it shrinks; 0 stands for 0.5 */
    double min_step;      /* RPROP: above 0, the least step; 0 stands for 1e-6 */
    double max_step;      /* RPROP: >= min_step, the largest; 0 stands for 50 */
    uint64_t reserved[4]; /* 0 */
} pycnn_optimizer;

/* The settings that Python's optimizer of this kind has by default; and its learning rate, which is
 * a training's (NaN where there is no such kind). */
PYCNN_API void pycnn_optimizer_init(pycnn_optimizer *optimizer, int kind);
PYCNN_API double pycnn_optimizer_learning_rate(int kind);

/* Buffers of theta's size that an optimizer remembers. */
PYCNN_API size_t pycnn_optimizer_slots(const pycnn_optimizer *optimizer);

/* Everything that decides the next training step, beside theta: plain data, which the caller may
 * save between any two calls and put back. */
typedef struct {
    size_t epochs;        /* epochs to run; the entries of `order` and `totals` count from 0 */
    size_t epoch;         /* epochs finished so far */
    size_t position;      /* samples of this epoch already used */
    size_t batch_size;    /* the last batch of an epoch may be smaller */
    double learning_rate; /* >= 0 */
    const size_t *order;  /* [epochs,rows] the order of the samples, or NULL: as they lie */
    pycnn_totals *totals; /* [epochs] sums over each epoch, added to: zero them at the start; or
                             NULL */
    const pycnn_optimizer *optimizer; /* or NULL: gradient descent */
    double *slots;                /* [pycnn_optimizer_slots(),parameters], zero them at the start */
    size_t updates;               /* of theta so far */
    const double *learning_rates; /* [max_steps] of the next call's steps, or NULL: learning_rate */
    const uint64_t *dropout_keys; /* [epochs] seeds of dropout's random numbers; NULL: zeros */
    size_t sample_offset; /* samples of the epoch that came before this data: dropout counts on */
    double *norms; /* [epochs] sums of the gradients' norms before clipping, added to; or NULL */
    uint64_t reserved[4]; /* 0 */
} pycnn_training;

/* How one of several is drawn by probabilities. */
typedef struct {
    double temperature; /* >= 0: they are raised to 1 / temperature; 0: the first of the largest */
    size_t top_k; /* above 0: then so many of the most probable alone, and what equals the last */
    double top_p; /* between 0 and 1: then as few of the most probable as have together this part
                     of the sum, and what equals the last of them; 0 or 1: all */
    uint64_t reserved[4]; /* 0 */
} pycnn_sampling;

/* What Python's Network.fit does by default: 10 epochs of mini-batches of 32 samples by gradient
 * descent with a learning rate of 0.1; all else is 0 or NULL. */
PYCNN_API void pycnn_training_init(pycnn_training *training);

/* NULL where pycnn_train would begin with these, or else what is wrong, in words that stay where
 * they are; *row (which may be NULL) becomes the row of the data, or the entry of the current
 * epoch's order, that it is about, or SIZE_MAX. It looks at all of the data, and knows of no
 * lengths. */
PYCNN_API const char *pycnn_training_check(const pycnn_training *training, const pycnn_network *net,
                                           const pycnn_dataset *data, size_t *row);

PYCNN_API const char *pycnn_strerror(int status);
PYCNN_API const char *pycnn_version(void);
PYCNN_API int pycnn_abi(void);         /* PYCNN_ABI of the library */
PYCNN_API const char *pycnn_isa(void); /* instruction set of new networks' kernels, or NULL */
PYCNN_API const char *pycnn_compiler(void);

/* Makes a plan of `depth` layers, and those that they are made of, on top of `inputs` features.
 * loss_parameter: huber's delta (above 0), quantile's q (between 0 and 1), the label smoothing of
 * the binary and the categorical cross-entropy (0: none; below 1); the other losses do not read it.
 */
PYCNN_API int pycnn_network_create(pycnn_network **out, size_t inputs,
                                   const pycnn_layer_spec *layers, size_t depth, int loss,
                                   double loss_parameter);

/* The same with memory from an allocator (NULL: malloc and free), for the network and all that is
 * made of it. */
PYCNN_API int pycnn_network_create_with(pycnn_network **out, size_t inputs,
                                        const pycnn_layer_spec *layers, size_t depth, int loss,
                                        double loss_parameter, const pycnn_allocator *allocator);

/* NULL where pycnn_network_create would return PYCNN_OK, or else what is wrong, in words that stay
 * where they are. Then *layer (which may be NULL) becomes the number of the layer that it is about,
 * from 0, all layers counted in the order in which they are written: a residual one, its inner
 * layers, its shortcut, the one behind it; or SIZE_MAX, where it is about none. It makes the plan,
 * so it allocates. */
PYCNN_API const char *pycnn_network_check(size_t inputs, const pycnn_layer_spec *layers,
                                          size_t depth, int loss, double loss_parameter,
                                          size_t *layer);
PYCNN_API void pycnn_network_destroy(pycnn_network *net);
PYCNN_API size_t pycnn_network_parameter_count(const pycnn_network *net);

/* Numbers that training counts beside: `theta` has so many more behind the parameters, those of
 * each batch normalization mean and variance, as large as gamma, which begin as 0 and 1. */
PYCNN_API size_t pycnn_network_statistic_count(const pycnn_network *net);

/* Numbers in theta: parameters and statistics together. */
PYCNN_API size_t pycnn_network_theta_size(const pycnn_network *net);

PYCNN_API size_t pycnn_network_inputs(const pycnn_network *net);
PYCNN_API size_t pycnn_network_outputs(const pycnn_network *net);

/* Positions of an output that is a sequence [positions,features]; 1 where it is none. */
PYCNN_API size_t pycnn_network_positions(const pycnn_network *net);

/* Numbers of a sample that its sequence's next part begins with: what recurrent layers remember. */
PYCNN_API size_t pycnn_network_state_count(const pycnn_network *net);

/* The arrays that theta is made of, in its order and without gaps: number 0 ... count - 1, and
 * PYCNN_ERROR_INDEX where there is no such one. */
PYCNN_API size_t pycnn_network_tensor_count(const pycnn_network *net);
PYCNN_API int pycnn_network_tensor(const pycnn_network *net, size_t number, pycnn_tensor *tensor);

/* Writes the name of an array among those of the whole network, which is that of model files and of
 * Python's Network.tensors: "layers.1.W", in a residual layer "layers.2.inner.1.W" or
 * "layers.2.shortcut.W"; as much of it as `size` has room for, with a 0 behind. Returns its length
 * without the 0, however much there is room for: less than `size` where all is well; 0 where there
 * is no such array. */
PYCNN_API size_t pycnn_network_tensor_name(const pycnn_network *net, size_t number, char *name,
                                           size_t size);

/* Where training starts: theta, and the statistics in it, as Python's Network(..., seed=seed) has
 * them, to the bit, where its layers have their default initializers. */
PYCNN_API int pycnn_initialize(double *theta, size_t theta_size, const pycnn_network *net,
                               uint64_t seed);

/* The order of the samples in an epoch, order[rows], as Python's Network.fit of a network with that
 * seed has it, to the bit: epochs count from 0, through all fits. */
PYCNN_API int pycnn_permutation(size_t *order, size_t rows, uint64_t seed, size_t epoch);

/* And what dropout's random numbers follow from in that epoch: one of pycnn_training's
 * dropout_keys.
 */
PYCNN_API uint64_t pycnn_dropout_key(uint64_t seed, size_t epoch);

/* What the loss of a mini-batch, of data and of a gradient includes for the size of the weights;
 * NaN where an argument is NULL or theta of another size. */
PYCNN_API double pycnn_penalty(const pycnn_network *net, const double *theta, size_t theta_size);

/* Draws one of count: *token is its place. probabilities[count] are used up: they need not sum to
 * 1, but PYCNN_ERROR_NOT_FINITE where one is negative or not a number, or their sum is 0 or
 * infinite. `draw`, from 0 to below 1, decides: pycnn_draw() is the number of that place in a
 * seed's stream. So a text is drawn as by Python's Network.generate(seed=seed), to the bit, where
 * the probabilities have the same bits. */
PYCNN_API int pycnn_sample(size_t *token, double *probabilities, size_t count,
                           const pycnn_sampling *how, double draw);
PYCNN_API double pycnn_draw(uint64_t seed, size_t number);

/* Makes scratch memory for mini-batches of up to `batch` samples. pycnn_trace needs all rows at
 * once; the others work through larger data, and larger mini-batches, piece by piece. */
PYCNN_API int pycnn_workspace_create(pycnn_workspace **out, const pycnn_network *net, size_t batch,
                                     int mode);
/* The bytes that pycnn_workspace_create would allocate, in a few blocks. It makes the small ones,
 * and frees them again. */
PYCNN_API int pycnn_workspace_size(size_t *bytes, const pycnn_network *net, size_t batch, int mode);
PYCNN_API void pycnn_workspace_destroy(pycnn_workspace *ws);

/* A pool of `count` threads (64 at most), the calling one included; they start when first needed,
 * and sleep when there is nothing to do. Any number of workspaces may share a pool: while it works
 * for one, the others work on their own threads. In a forked child a pool of the parent's runs
 * nothing, and the caller does the work. Destroy it, from the process that made it, when no call
 * uses it any more. */
PYCNN_API int pycnn_threads_create(pycnn_threads **out, size_t count);
PYCNN_API int pycnn_threads_create_with(pycnn_threads **out, size_t count,
                                        const pycnn_allocator *allocator);
PYCNN_API void pycnn_threads_destroy(pycnn_threads *threads);

/* Lets calls with this workspace use a pool, or NULL: the calling thread only, as at first. The
 * results do not depend on it, to the bit. */
PYCNN_API void pycnn_workspace_set_threads(pycnn_workspace *ws, pycnn_threads *threads);

/* Lets calls with this workspace use lengths and states of the data's samples, until other ones are
 * set, or NULL: none, as at first. The arrays must be there until then, and have as many rows as
 * the data of each call. What lies behind a sample's length is not read, neither of its inputs nor
 * of its targets, and weighs nothing; of its outputs nothing is said. pycnn_predict_samples reads
 * a state and leaves it as it was; of a row that is there twice in a mini-batch the last one's
 * state is left. Samples that go through the network together leave theirs when all of them are
 * through: where a call fails, those of rows before may have gone on. PYCNN_ERROR_LENGTHS where
 * there are lengths, and a layer needs all positions: then nothing is set. */
PYCNN_API int pycnn_workspace_set_sequences(pycnn_workspace *ws, const pycnn_sequences *sequences);

/* The loss of a network that was made with PYCNN_CUSTOM: of outputs[rows,units] and targets it puts
 * each sample's loss into losses[rows] and its derivative by the outputs into gradient[rows,units],
 * which is NULL where nobody asks. Where the output is a sequence a row is a position, all those of
 * a sample behind each other, and units are its features; behind a sample's length targets are NaN,
 * and what the function makes of them is of no account. It is called on the thread that called the
 * core, and returns 0, or anything else to end the call with PYCNN_ERROR_LOSS. */
typedef int pycnn_loss_function(void *context, double *losses, double *gradient,
                                const double *outputs, const double *targets, size_t rows,
                                size_t units);
PYCNN_API void pycnn_workspace_set_loss(pycnn_workspace *ws, pycnn_loss_function *function,
                                        void *context);

/* Lets a long call be ended. About every 25 ms, between two pieces of its work, the core calls
 * `function` (NULL, as at first: nothing) on the thread that called the core. It returns 0, or
 * anything else to end the call with PYCNN_ERROR_INTERRUPTED: then theta and a training's state are
 * those of the last finished step, and what else the call writes is not to be used. A piece is at
 * least some 200 samples, through all layers; what changes theta is one piece. A call of one piece
 * never asks: nor does pycnn_train between steps, whose number the caller chooses. */
typedef int pycnn_poll_function(void *context);
PYCNN_API void pycnn_workspace_set_poll(pycnn_workspace *ws, pycnn_poll_function *function,
                                        void *context);

/* y[rows,outputs] = the network's output for x[rows,inputs]. The bits of a row do not depend on
 * the rows beside it. */
PYCNN_API int pycnn_predict(double *y, const pycnn_network *net, pycnn_workspace *ws,
                            const double *theta, size_t theta_size, const double *x, size_t rows);

/* The same, but PYCNN_ERROR_NOT_FINITE where x holds an infinity or a NaN: then y is not to be
 * used. pycnn_find_not_finite() says where. */
PYCNN_API int pycnn_predict_finite(double *y, const pycnn_network *net, pycnn_workspace *ws,
                                   const double *theta, size_t theta_size, const double *x,
                                   size_t rows);

/* y[draws,rows,outputs] = the output with dropout left on, drawn by each of dropout_keys[draws]:
 * their spread tells what the network does not know. All else is as in prediction. Which units drop
 * out follows from the key, the layer, the sample's number (that of the first is sample_offset) and
 * the unit. */
PYCNN_API int pycnn_predict_samples(double *y, const pycnn_network *net, pycnn_workspace *ws,
                                    const double *theta, size_t theta_size, const double *x,
                                    size_t rows, const uint64_t *dropout_keys, size_t draws,
                                    size_t sample_offset);

/* Predicts one row at a time with the least delay: a predictor has a copy of theta, laid out for
 * it, and its own scratch memory. One call at a time may use it, so each thread has its own; the
 * network must outlast it. */
PYCNN_API int pycnn_predictor_create(pycnn_predictor **out, const pycnn_network *net,
                                     const double *theta, size_t theta_size);
PYCNN_API void pycnn_predictor_destroy(pycnn_predictor *predictor);

/* Copies theta anew: what it has become does not reach a predictor by itself. */
PYCNN_API int pycnn_predictor_update(pycnn_predictor *predictor, const double *theta,
                                     size_t theta_size);

/* What goes on from one row to the next: from this call on each row is the next part of one and the
 * same sequence, and these numbers, `*count` of them, are what the rows before have left. They
 * begin as zeros, may be read and replaced between two runs, and zeros begin a new sequence; they
 * live as long as the predictor, and pycnn_predictor_update leaves them. NULL where the network
 * remembers nothing; without this call each row is a whole sequence. The same layers with T = 1
 * have the same theta: so they step through a sequence of any length, one position at a time. */
PYCNN_API double *pycnn_predictor_state(pycnn_predictor *predictor, size_t *count);

/* y[outputs] = the network's output for x[inputs], to the bits of pycnn_predict. */
PYCNN_API int pycnn_predictor_run(pycnn_predictor *predictor, double *y, const double *x);

/* The same of rows that are each the next part of a sequence of its own: states[rows,count] are
 * what the parts before have left, and become what these leave. */
PYCNN_API int pycnn_predictor_steps(pycnn_predictor *predictor, double *y, const double *x,
                                    double *states, size_t rows);

/* Writes on from tokens, as Python's Network.generate does, to the bit. `step` is a network on one
 * token, whose output is a softmax over all of them, and where layers have a window `half` the
 * same layers on window / 2 of them, or NULL, which takes longer: when a window is full, its last
 * half begins the next one. A writer has a copy of theta; the networks must outlast it. */
PYCNN_API int pycnn_writer_create(pycnn_writer **out, const pycnn_network *step,
                                  const pycnn_network *half, const double *theta,
                                  size_t theta_size);
PYCNN_API void pycnn_writer_destroy(pycnn_writer *writer);

/* Draws tokens[known ... known + count - 1] behind tokens[0 ... known - 1], `written` of which have
 * been drawn before: 0 begins a text, and else the last call was that which drew the last of them.
 * *done says how many have been drawn, also where an error ends it: PYCNN_ERROR_NOT_FINITE where
 * the outputs are no probabilities, PYCNN_ERROR_TOKEN where what is known is no token. A call takes
 * as long as `count` steps: between calls is the time for all else. */
PYCNN_API int pycnn_writer_run(size_t *done, size_t *tokens, size_t known, size_t count,
                               pycnn_writer *writer, const pycnn_sampling *how, uint64_t seed,
                               size_t written);

/* Sums loss, weight and right answers over the data. Right is: the largest output is that of the
 * largest target (categorical, KL divergence, mse of several outputs), or output and target are on
 * the same side of 1/2 (binary) or of 0 (hinge); with several outputs the fraction of them that
 * are.
 */
PYCNN_API int pycnn_evaluate(pycnn_totals *totals, const pycnn_network *net, pycnn_workspace *ws,
                             const double *theta, size_t theta_size, const pycnn_dataset *data);

/* Mean loss over the data (into totals, as sums) and its gradient, laid out like the parameters.
 * When all weights are zero the gradient is zero. A loss that is not finite is no error here.
 * dropout_keys: NULL for the network as it predicts, or as pycnn_training's for one epoch: dropout
 * drops, and batch normalization takes the data, which must fit the workspace, for one mini-batch.
 */
PYCNN_API int pycnn_gradients(pycnn_totals *totals, double *grad, const pycnn_network *net,
                              pycnn_workspace *ws, const double *theta, size_t theta_size,
                              const pycnn_dataset *data, const uint64_t *dropout_keys);

/* Sums over the samples, each by its weight, for training loops of one's own: the loss without its
 * penalty, the weight and the right answers are added to totals, and the gradient to grad, so that
 * a mini-batch may come in pieces, one call each; zero both before the first. pycnn_update takes
 * them. dropout_key as in pycnn_gradients; the first sample is number sample_offset of its epoch:
 * dropout drops from the pieces what it would from the whole. In training, and unless they are
 * NULL, `statistics` (those behind theta's parameters, or a copy of them) take in the data as one
 * mini-batch, as pycnn_train's would; not when its samples all weigh 0, or their loss is not
 * finite. Where a later piece may diverge, hand in a copy. After an error none is to be used. */
PYCNN_API int pycnn_gradient_sums(pycnn_totals *totals, double *grad, double *statistics,
                                  const pycnn_network *net, pycnn_workspace *ws,
                                  const double *theta, size_t theta_size, const pycnn_dataset *data,
                                  const uint64_t *dropout_key, size_t sample_offset);

/* One step from such sums, whose mean is that of all samples in `totals`: with the penalty,
 * clipped, by the optimizer, with its decay, and held to max_norm, as in pycnn_train. Of `state` it
 * reads learning_rate (or learning_rates[0]) and the optimizer with its slots and updates, which it
 * counts; and it adds to norms[epoch] where there are norms. grad is used up; a workspace of any
 * mode will do. A weight of 0 changes nothing, nor does a loss that is not finite
 * (PYCNN_ERROR_DIVERGED), a gradient that is not (PYCNN_ERROR_NOT_FINITE), or a number out of range
 * (PYCNN_ERROR_RANGE).
 *
 * The bits are pycnn_train's where mini-batches fit the workspace and come in one call each;
 * where no layer has positions, and none normalizes, also where they come in several. But plain
 * descent (no optimizer that remembers, no penalty, clip, max_norm or norms) on one sample rounds
 * otherwise: there pycnn_train multiplies learning_rate into delta first. */
PYCNN_API int pycnn_update(double *theta, size_t theta_size, pycnn_training *state, double *grad,
                           const pycnn_totals *totals, const pycnn_network *net,
                           pycnn_workspace *ws);

/* As pycnn_gradients without dropout_keys, and copies out what lies between: for each layer
 * [units,rows], one layer after the other, the pre-activations z, the activations a and the error
 * signals delta. Of a residual layer z is the sum; what it is made of is left out. */
PYCNN_API int pycnn_trace(pycnn_totals *totals, double *grad, double *z, double *a, double *delta,
                          const pycnn_network *net, pycnn_workspace *ws, const double *theta,
                          size_t theta_size, const pycnn_dataset *data);

/* gradient[rows,inputs]: for each sample the gradient of its own loss, times its weight, by the
 * numbers that it has in x. The network is as it predicts. */
PYCNN_API int pycnn_input_gradient(double *gradient, const pycnn_network *net, pycnn_workspace *ws,
                                   const double *theta, size_t theta_size,
                                   const pycnn_dataset *data);

/* Up to max_steps steps of training, by default of gradient descent, theta -= learning_rate *
 * gradient, from where `state` stands. A mini-batch's gradient is the weighted mean over its own
 * samples; one whose weights are all zero changes nothing. Stops before the update when a
 * mini-batch's loss is not finite (PYCNN_ERROR_DIVERGED), or its weight too small to divide by
 * (PYCNN_ERROR_RANGE): theta and state are those of the last finished step. Settings out of range,
 * of the optimizer and all learning rates, are found before the first one (PYCNN_ERROR_RANGE). A
 * step that is much too large can still overflow theta: the next one's loss shows it. */
PYCNN_API int pycnn_train(size_t *steps, double *theta, size_t theta_size, pycnn_training *state,
                          const pycnn_network *net, pycnn_workspace *ws, const pycnn_dataset *data,
                          size_t max_steps);

/* One such step on data that are one mini-batch, for callers that come with one after the other:
 * all of it or nothing. `state` has one epoch, which begins anew, its totals and norms with it: its
 * epoch says whether the step was done. PYCNN_ERROR_NOT_FINITE where an infinity or a NaN is among
 * x or the targets, PYCNN_ERROR_RANGE where the loss cannot have such targets, and
 * PYCNN_ERROR_DIVERGED also where a parameter would not be finite: theta, slots and updates are as
 * before. kept[theta_size + slots of them] is scratch memory. The data must be aligned
 * (PYCNN_ERROR_ARGUMENT). */
PYCNN_API int pycnn_train_batch(double *theta, size_t theta_size, pycnn_training *state,
                                double *kept, const pycnn_network *net, pycnn_workspace *ws,
                                const pycnn_dataset *data);

/* Where the first infinity or NaN of x[count] stands; count when there is none. */
PYCNN_API size_t pycnn_find_not_finite(const double *x, size_t count);

/* cdef: end */

#ifdef __cplusplus
}
#endif

#endif
