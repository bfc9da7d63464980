/* Private to the core: error handling, checked sizes, aligned memory. */
#ifndef PYCNN_COMMON_H
#define PYCNN_COMMON_H

/* Assertions are for builds with PYCNN_CHECKED, as the tests': the core never ends a program. */
#if !defined(PYCNN_CHECKED) && !defined(NDEBUG)
#define NDEBUG
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

#define MIN(a, b) ((a) < (b) ? (a) : (b))

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

/* *total += a * b, or an error when that does not fit. No object is larger than PTRDIFF_MAX. */
static inline int add_product(size_t *total, size_t a, size_t b)
{
    RETURN_IF(b != 0 && a > (size_t)PTRDIFF_MAX / b, PYCNN_ERROR_SIZE);
    RETURN_IF(a * b > (size_t)PTRDIFF_MAX - *total, PYCNN_ERROR_SIZE);
    *total += a * b;
    return PYCNN_OK;
}

#endif
