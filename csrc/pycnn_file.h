/* Model files: what Python's Network.save writes and pycnn.load reads, read and written in C.
 *
 * Optional: nothing else in the core needs these calls, and they alone open files.
 * docs/model_files.md says what a file is. A file that cannot be read or written gives
 * PYCNN_ERROR_IO; one that is no intact model, or holds what this version lacks, PYCNN_ERROR_FILE:
 * then `problem`, unless it is NULL, points to some words about it, a constant.
 */
#ifndef PYCNN_FILE_H
#define PYCNN_FILE_H

#include "pycnn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A model, made by the calls below and read by the caller: new fields may join at its end. Texts
 * are UTF-8 with a 0 behind; a 0 within one is written as the bytes C0 80. */
typedef struct pycnn_file {
    pycnn_network *net; /* with PYCNN_CUSTOM where Python's loss is a function: the caller's now */
    double *theta;      /* [theta_size] to predict with and to train; it is what is saved */
    size_t theta_size;
    const double *target_mean; /* [outputs] the targets' unit, see pycnn_file_restore; or NULL */
    const double *target_deviation;
    const char *const *classes; /* [class_count] labels: texts and dates, and numbers as they are
                                   written; an output of a sigmoid is class 1's. Or NULL */
    size_t class_count;
    const char *const *feature_names; /* [inputs] or NULL */
    const char *description;          /* all that the file says of the model, as JSON */
} pycnn_file;

/* Reads a model, from a file or from memory. A training's state is left out. */
PYCNN_API int pycnn_file_load(pycnn_file **out, const char *path, const char **problem);
PYCNN_API int pycnn_file_parse(pycnn_file **out, const void *content, size_t size,
                               const char **problem);

/* Makes a model that there was no file of: as pycnn_network_create, with a theta of zeros. */
PYCNN_API int pycnn_file_create(pycnn_file **out, size_t inputs, const pycnn_layer_spec *layers,
                                size_t depth, int loss, double loss_parameter);

/* Writes the model with the theta that it has now; labels, names and all else go back as they came.
 * What is at `path` stays whole until the new file is: that is written beside it, under the same
 * name and ".tmp". */
PYCNN_API int pycnn_file_save(const pycnn_file *file, const char *path);

PYCNN_API void pycnn_file_destroy(pycnn_file *file);

/* Brings outputs y[rows,outputs] of the network into the unit of the targets it was trained on, as
 * Python's predict does: y * deviation + mean, or nothing where it has no unit of its own. */
PYCNN_API void pycnn_file_restore(const pycnn_file *file, double *y, size_t rows);

#ifdef __cplusplus
}
#endif

#endif
