/* Private to the core: arithmetic as it is written, error handling, checked sizes. Every file
 * includes it before all others. */
#ifndef PYCNN_COMMON_H
#define PYCNN_COMMON_H

#if defined(__cplusplus)
#error "pycnn needs a C compiler for its core: C++ includes pycnn.h, and is linked with it"
#endif

/* Results have the same bits everywhere, so a multiply-add is fused where it is written, and
 * nothing is reordered, whatever the compiler's options are. */
#if defined(__FAST_MATH__) || defined(_M_FP_FAST) || defined(__ASSOCIATIVE_MATH__) || \
    defined(__RECIPROCAL_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "pycnn needs arithmetic as it is written: compile it without -ffast-math, -Ofast etc."
#endif
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0 && __FLT_EVAL_METHOD__ != 1 && \
    __FLT_EVAL_METHOD__ != 16 /* 1 and 16 concern what is shorter than a double */
#error "pycnn needs doubles that are rounded to doubles: on 32-bit x86 add -msse2 -mfpmath=sse"
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__) /* does not know the standard's pragma */
#pragma GCC optimize("fp-contract=off")
#elif defined(_MSC_VER)
#pragma fp_contract(off)
#endif

/* Assertions are for builds with PYCNN_CHECKED, as the tests': the core never ends a program. */
#if !defined(PYCNN_CHECKED) && !defined(NDEBUG)
#define NDEBUG
#endif

/* Clocks, threads and files are more than the C library shows with -std=c11. */
#if defined(__linux__) && !defined(_DEFAULT_SOURCE)
#define _DEFAULT_SOURCE 1
#endif

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PYCNN_BUILDING
#include "pycnn.h"

/* In front of what several files of the core share, and nobody else sees. */
#if defined(PYCNN_PRIVATE) /* static, where all files are one: scripts/amalgamate.py */
#elif defined(__GNUC__) && !defined(_WIN32) && !defined(__CYGWIN__)
#define PYCNN_PRIVATE __attribute__((visibility("hidden")))
#else
#define PYCNN_PRIVATE
#endif

#if defined(_MSC_VER)
#define RESTRICT __restrict
#else
#define RESTRICT restrict
#endif

#define PRAGMA_(text) _Pragma(#text)
#define PRAGMA(text) PRAGMA_(text)
#if defined(__clang__)
#define UNROLL PRAGMA(clang loop unroll(full))
#elif defined(__GNUC__)
#define UNROLL PRAGMA(GCC unroll 32)
#else
#define UNROLL
#endif

/* Has a number that is wanted soon brought into cache, by compilers that know how. gcc takes a
 * function that only does this for one without effect, and drops its calls; the empty assembly
 * keeps them. */
#if defined(__GNUC__) || defined(__clang__)
#define FETCH(p)               \
    do {                       \
        __builtin_prefetch(p); \
        __asm__ volatile("");  \
    } while (0)
#else
#define FETCH(p) ((void)(p))
#endif
#if defined(__GNUC__) || defined(__clang__)
#define ALWAYS_INLINE static inline __attribute__((always_inline, unused))
#else
#define ALWAYS_INLINE static inline
#endif

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

#define RETURN_IF(condition, status) \
    do {                             \
        if (condition) {             \
            return (status);         \
        }                            \
    } while (0)

#define TRY(expression)                    \
    do {                                   \
        const int try_ = (expression);     \
        RETURN_IF(try_ != PYCNN_OK, try_); \
    } while (0)

/* The test program replaces these to make the n-th allocation fail. */
#ifndef PYCNN_MALLOC
#define PYCNN_MALLOC malloc
#define PYCNN_FREE free
#endif

/* Whether what a struct reserves is as this version wants it. */
static inline bool is_zero(const uint64_t *reserved, size_t count)
{
    uint64_t any = 0;
    for (size_t i = 0; i < count; i++) {
        any |= reserved[i];
    }
    return any == 0;
}

/* Returns the status, unless the condition holds, and puts why into *why, in words that users read.
 */
#define NEED(condition, status, words) \
    do {                               \
        if (!(condition)) {            \
            *why = (words);            \
            return (status);           \
        }                              \
    } while (0)

#define IS_RESERVED(object) \
    is_zero((object)->reserved, sizeof(object)->reserved / sizeof *(object)->reserved)

/* *total += a * b, or an error when that does not fit. No object is larger than PTRDIFF_MAX. */
static inline int add_product(size_t *total, size_t a, size_t b)
{
    RETURN_IF(b != 0 && a > (size_t)PTRDIFF_MAX / b, PYCNN_ERROR_SIZE);
    RETURN_IF(a * b > (size_t)PTRDIFF_MAX - *total, PYCNN_ERROR_SIZE);
    *total += a * b;
    return PYCNN_OK;
}

#endif
