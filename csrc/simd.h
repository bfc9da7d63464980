/* What the kernel templates need of a compiler: regions of code for one instruction set, vectors,
 * and the few operations on them that have no operator.
 *
 * All files are compiled with the same flags; a file of kernels says BEGIN_TARGET, includes its
 * templates, and says END_TARGET. GNU vector extensions (gcc, clang, Apple clang, clang-cl) give
 * loads, stores and arithmetic; fused multiply-adds are asked for by name. */
#ifndef PYCNN_SIMD_H
#define PYCNN_SIMD_H

#include "common.h"

#if defined(__GNUC__) || defined(__clang__)
#define HAVE_VECTORS 1
#else
#define HAVE_VECTORS 0
#endif

/* gcc for Windows aligns the stack to 16 bytes only, and yet stores longer vectors there as if it
 * were aligned for them. */
#if defined(_WIN32) && defined(__GNUC__) && !defined(__clang__)
#define MISALIGNS_VECTORS 1
#else
#define MISALIGNS_VECTORS 0
#endif

#if HAVE_VECTORS && !MISALIGNS_VECTORS && (defined(__x86_64__) || defined(_M_X64))
#define HAVE_X86 1
#include <immintrin.h>
#if defined(_MSC_VER) /* clang-cl before 19 leaves these out, unless every file may use them */
#include <smmintrin.h>
#include <avxintrin.h>
#include <avx2intrin.h>
#include <fmaintrin.h>
#include <avx512fintrin.h>
#endif
#else
#define HAVE_X86 0
#endif

#if HAVE_VECTORS && defined(__aarch64__)
#define HAVE_NEON 1
#include <arm_neon.h>
#else
#define HAVE_NEON 0
#endif

#if !defined(HAVE_WASM) /* as in pycnn.c, the core as one file, which leaves these kernels out */
#if HAVE_VECTORS && defined(__wasm_relaxed_simd__)
#define HAVE_WASM 1
#include <wasm_simd128.h>
#else
#define HAVE_WASM 0
#endif
#endif

#if defined(__clang__)
#define BEGIN_TARGET(features, width)                                                    \
    PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function)) \
    PRAGMA(clang attribute push(__attribute__((min_vector_width(width))), apply_to = function))
#define END_TARGET PRAGMA(clang attribute pop) PRAGMA(clang attribute pop)
#elif defined(__GNUC__)
#define BEGIN_TARGET(features, width) PRAGMA(GCC push_options) PRAGMA(GCC target(features))
#define END_TARGET PRAGMA(GCC pop_options)
#endif

#endif
