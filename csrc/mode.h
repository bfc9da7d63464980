/* The mode in which a thread computes: rounded to nearest, small numbers kept, without traps.
 *
 * Others change it for all that their thread does, and for the threads that it starts: a library
 * that was linked with -Ofast has numbers below 2^-1022 flushed to zero from when it is loaded, and
 * some programs round up or down. So a call that computes has the mode it needs, and gives its
 * caller's back. Where nothing was changed that is one read of a register. */
#ifndef PYCNN_MODE_H
#define PYCNN_MODE_H

#include "common.h"

#if defined(__GNUC__) || defined(__clang__) /* as clang-cl, which is not the former */
#define HAVE_ASSEMBLY 1
#else
#define HAVE_ASSEMBLY 0
#endif

#if HAVE_ASSEMBLY && defined(__SSE2__)
#define MODE_BITS 0xffc0u /* what is not a flag of something that has happened */
#define MODE_NEEDED 0x1f80u

static inline uint64_t read_mode(void)
{
    uint32_t mode;
    __asm__ volatile("stmxcsr %0" : "=m"(mode) : : "memory");
    return mode;
}

static inline void write_mode(uint64_t wanted)
{
    const uint32_t mode = (uint32_t)wanted;
    __asm__ volatile("ldmxcsr %0" : : "m"(mode) : "memory");
}
#elif HAVE_ASSEMBLY && defined(__aarch64__)
#define MODE_BITS UINT64_MAX
#define MODE_NEEDED 0

static inline uint64_t read_mode(void)
{
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode) : : "memory");
    return mode;
}

static inline void write_mode(uint64_t mode)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(mode) : "memory");
}
#elif HAVE_ASSEMBLY && defined(__arm__) && defined(__VFP_FP__) && !defined(__SOFTFP__)
#define MODE_BITS 0x03c09f00u
#define MODE_NEEDED 0

static inline uint64_t read_mode(void)
{
    uint32_t mode;
    __asm__ volatile("vmrs %0, fpscr" : "=r"(mode) : : "memory");
    return mode;
}

static inline void write_mode(uint64_t wanted)
{
    const uint32_t mode = (uint32_t)wanted;
    __asm__ volatile("vmsr fpscr, %0" : : "r"(mode) : "memory");
}
#else /* the standard knows of rounding alone */
#include <fenv.h>
#define MODE_BITS UINT64_MAX
#define MODE_NEEDED ((uint64_t)FE_TONEAREST)

static inline uint64_t read_mode(void) { return (uint64_t)fegetround(); }
static inline void write_mode(uint64_t mode) { fesetround((int)mode); }
#endif

static inline uint64_t begin_mode(void)
{
    const uint64_t before = read_mode();
    if ((before & MODE_BITS) != MODE_NEEDED) {
        write_mode(MODE_NEEDED | (before & ~(uint64_t)MODE_BITS));
    }
    return before;
}

static inline void end_mode(const uint64_t *before)
{
    if ((*before & MODE_BITS) != MODE_NEEDED) {
        write_mode(*before);
    }
}

/* From here to the end of the block; without GNU extensions the caller's mode is taken as it is. */
#if HAVE_ASSEMBLY
#define KEEP_MODE \
    __attribute__((cleanup(end_mode), unused)) const uint64_t mode_before = begin_mode()
#else
#define KEEP_MODE (void)begin_mode, (void)end_mode
#endif

#endif
