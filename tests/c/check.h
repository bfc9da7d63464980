/* What the suites share: checks, numbers, and networks and data to test on. A suite is a file
 * test_*.c that ends with a table of its tests, which test_all.c runs. */
#ifndef CHECK_H
#define CHECK_H

#if defined(__linux__)
#define _DEFAULT_SOURCE 1 /* MAP_ANONYMOUS and setenv, also with -std=c11 */
#endif

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__unix__) || defined(__APPLE__)
#define HAVE_POSIX 1
#endif

#include "common.h" /* the arithmetic of what is compared, too, is as it is written */

typedef struct {
    const char *name;
    void (*run)(void);
    bool once; /* rather than for each instruction set */
} test;

#define FOR_EACH_SET(name, run) {(name), (run), false}
#define ONCE(name, run) {(name), (run), true}

/* ---------------------------------------------------------------- checks and numbers */

extern _Atomic size_t checks_passed, checks_failed;

#define CHECK(condition) check_at((condition), #condition, __FILE__, __LINE__)

bool check_at(bool good, const char *what, const char *file, int line);

/* An output pointer that a call must clear points to it before. */
extern double not_null;

/* Never NULL. */
void *checked_malloc(size_t size);
double *doubles(size_t count);
double *copy_doubles(const double *source, size_t count);

/* The same numbers everywhere, in [-1, 1). */
double random_value(uint64_t *state);
double *random_doubles(uint64_t seed, size_t count);

/* Of a file that a test may write, and removes. */
const char *path_for_tests(void);

bool same_bits(const void *a, const void *b, size_t count);
double largest(const double *values, size_t count);

/* |a - b| relative to the largest of b: rounding errors of a sum follow its terms, not its value.
 */
bool agree(const double *a, const double *b, size_t count, double tolerance);
bool near(double a, double b, double tolerance);

/* ---------------------------------------------------------------- networks and data to test on */

#define DENSE(f, n) {.kind = PYCNN_DENSE, .activation = (f), .units = (n)}

enum { ACTIVATIONS = PYCNN_ACTIVATION_COUNT, LOSSES = PYCNN_LOSS_COUNT };

/* An output activation that suits the loss, and what it carries. */
int output_for(int loss);
double parameter_of(int loss);

/* Never NULL. */
pycnn_network *create(size_t inputs, const pycnn_layer_spec *layers, size_t depth, int loss);
pycnn_workspace *workspace(const pycnn_network *net, size_t batch, int mode);

/* A network, its parameters and labelled samples. */
typedef struct {
    size_t inputs, outputs, parameters, theta_size, units; /* units: of all layers together */
    pycnn_network *net;
    double *theta, *x, *y, *weight;
    size_t *label;
    pycnn_dataset data;
} problem;

/* Targets suit every loss: one-hot rows of `label`, of a sequence at each position. Weights are
 * there, but not in use. */
problem make_problem(uint64_t seed, size_t rows, size_t inputs, const pycnn_layer_spec *layers,
                     size_t depth, int loss);
void free_problem(problem *p);

/* 5 -> 7 tanh -> 6 relu -> 3 softmax */
problem classifier(uint64_t seed, size_t rows);

/* 4x5x2 -> 5 filters gelu -> 9 filters relu -> 3 softmax */
problem image_classifier(uint64_t seed, size_t rows);

/* ---------------------------------------------------------------- what they compute */

/* Trains a copy of p->theta and returns it; totals[epochs]. */
double *trained(const problem *p, pycnn_workspace *ws, pycnn_training state, pycnn_totals *totals);

/* Everything that a network computes, one thing after the other. */
double *compute_everything(size_t rows, size_t *count, pycnn_threads *threads);

/* ---------------------------------------------------------------- instruction sets */

enum { SET_COUNT = 5, BASELINE = SET_COUNT - 1 };
extern const char *const instruction_sets[SET_COUNT]; /* the fused ones first */

#endif
