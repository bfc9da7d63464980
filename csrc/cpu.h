/* Which instruction sets may run here. */
#ifndef PYCNN_CPU_H
#define PYCNN_CPU_H

#include "common.h"

/* Names of the sets, and bits of pycnn_cpu_features(). */
enum { CPU_AVX2 = 1, CPU_AVX512 = 2, CPU_NEON = 4, CPU_WASM = 8 };

/* The sets that processor and operating system both support. */
PYCNN_PRIVATE unsigned pycnn_cpu_features(void);

#endif
