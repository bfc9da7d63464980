/* The one list of error texts, and what the library says of itself. */
#include "kernels.h"

const char *pycnn_strerror(int status)
{
    switch (status) {
    case PYCNN_OK: return "no error";
    case PYCNN_ERROR_MEMORY: return "out of memory";
    case PYCNN_ERROR_SIZE: return "a size is zero, too large, or does not fit";
    case PYCNN_ERROR_ARGUMENT:
        return "a pointer is NULL, an enum value is unknown, or a reserved number is not 0";
    case PYCNN_ERROR_PAIRING: return "this loss does not go with this output activation";
    case PYCNN_ERROR_WORKSPACE: return "the workspace does not fit the network or the call";
    case PYCNN_ERROR_INDEX:
        return "an entry of the sample order, or a number, is that of nothing there";
    case PYCNN_ERROR_LABEL: return "a class label is not below the number of outputs";
    case PYCNN_ERROR_DIVERGED: return "the loss is infinite or not a number";
    case PYCNN_ERROR_ISA: return "PYCNN_ISA must name an instruction set that can run here";
    case PYCNN_ERROR_LOSS: return "the loss function failed";
    case PYCNN_ERROR_NOT_FINITE: return "the samples, or a gradient, hold an infinity or a NaN";
    case PYCNN_ERROR_BUILD:
        return "the core was compiled with options that change its arithmetic, such as "
               "-ffp-contract=fast";
    case PYCNN_ERROR_INTERRUPTED: return "the call was interrupted";
    case PYCNN_ERROR_RANGE:
        return "a number of a layer, a loss, an optimizer or a training is out of range";
    case PYCNN_ERROR_LENGTHS:
        return "a length is 0 or more than there are positions, or a layer needs all of them";
    case PYCNN_ERROR_FILE: return "this is not an intact model file";
    case PYCNN_ERROR_TOKEN: return "a token is no whole number, or not below the vocabulary";
    case PYCNN_ERROR_IO: return "the file could not be read or written";
    default: return "unknown status";
    }
}

const char *pycnn_version(void) { return PYCNN_VERSION; }

int pycnn_abi(void) { return PYCNN_ABI; }

const char *pycnn_isa(void)
{
    const kernel_table *kernels = pycnn_kernels_find(SIZE_MAX);
    return kernels == NULL ? NULL : kernels->name;
}

#define STRING_(x) #x
#define STRING(x) STRING_(x)

const char *pycnn_compiler(void)
{
#if defined(__clang__)
    return "clang " __clang_version__;
#elif defined(__GNUC__)
    return "gcc " __VERSION__;
#elif defined(_MSC_VER)
    return "msvc " STRING(_MSC_VER);
#else
    return "unknown";
#endif
}
