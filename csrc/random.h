/* Seeded streams of random numbers: those of Python's pycnn, to the bit. */
#ifndef PYCNN_RANDOM_H
#define PYCNN_RANDOM_H

#include "common.h"

typedef struct {
    uint64_t high, low;
} wide;

/* A PCG64 generator. */
typedef struct {
    wide state, increment;
} random_stream;

/* What a stream is for: one for each use, so that none disturbs another. */
enum { FOR_PARAMETERS = 0, FOR_SHUFFLING = 1, FOR_DROPPING = 3, FOR_GENERATING = 7 };

PYCNN_PRIVATE random_stream pycnn_stream(uint64_t seed, uint32_t use);

/* Leaves out the next a * b numbers. */
PYCNN_PRIVATE void pycnn_stream_skip(random_stream *stream, uint64_t a, uint64_t b);

PYCNN_PRIVATE uint64_t pycnn_stream_next(random_stream *stream);

/* From [0, 1), and from the standard normal distribution. */
PYCNN_PRIVATE double pycnn_stream_uniform(random_stream *stream);
PYCNN_PRIVATE double pycnn_stream_normal(random_stream *stream);

/* Exactly rounded steps alone: the same bits everywhere, and Python's (pycnn/_exact.py). */
PYCNN_PRIVATE double pycnn_exact_log(double x);
PYCNN_PRIVATE double pycnn_exact_exp(double x);

#endif
