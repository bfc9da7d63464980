// Tests the kernels of each instruction set that runs here, one by one.
//
//     cc -O2 -Icsrc csrc/*.c tests/c/kernels_run.c -o kernels_run -pthread -lm
//
// Where sums of products are concerned the kernels promise bits: one chain of fused multiply-adds
// in index order. So they must equal a loop around C's fma() exactly; the plain kernels, which do
// not fuse, must agree within a bound. All buffers end at an unmapped page.
#if defined(__linux__)
#define _DEFAULT_SOURCE 1 /* MAP_ANONYMOUS, also with -std=c11 */
#endif

#include <float.h>
#include <math.h>
#include <stdio.h>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#include <unistd.h>
#define HAVE_GUARD_PAGES 1
#endif

#include "cpu.h"
#include "kernels.h"
#include "simd.h"

/* Where kernels can run that fuse, so can a loop around fma(): a call each takes most of the time.
 */
#if HAVE_X86
#define FUSED __attribute__((target("fma")))
#else
#define FUSED
#endif

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* The unit roundoff: a rounded result is off by at most this part of it. */
#define ROUNDOFF (DBL_EPSILON / 2)

/* ---------------------------------------------------------------- the frame */

static size_t passed, failed;
static char where[160]; /* what is being tested */

static void check(bool good, const char *what)
{
    if (good) {
        passed++;
    } else if (failed++ < 20) {
        printf("failed: %s: %s\n", where, what);
    }
}

#define AT(...) snprintf(where, sizeof where, __VA_ARGS__)

/* The worst difference of a kernel from its plain twin so far, as a part of what is allowed. */
static struct {
    const char *name;
    double part;
} worst[32];

static void note(const char *name, double part)
{
    size_t i = 0;
    while (i < COUNT_OF(worst) - 1 && worst[i].name != NULL && strcmp(worst[i].name, name) != 0) {
        i++;
    }
    worst[i].name = name;
    worst[i].part = MAX(worst[i].part, part);
}

/* |x - y| <= bound, or the same infinity or NaN */
static bool near_enough(const char *name, double x, double y, double bound)
{
    if (x == y || (isnan(x) && isnan(y))) {
        note(name, 0);
        return true;
    }
    note(name, fabs(x - y) / bound);
    return fabs(x - y) <= bound;
}

static bool same_bits(const double *x, const double *y, size_t count)
{
    return memcmp(x, y, count * sizeof *x) == 0;
}

/* ---------------------------------------------------------------- buffers that end at a hole */

enum { SLOT = 1 << 18, MARGIN = 8 }; /* doubles */

/* Each buffer of a test has a slot, made once; its end is where the hole begins. */
typedef struct {
    double *end;
    double *start; /* of what was handed out last; MARGIN marks lie before it */
} slot;

static const double MARK = -1234.5;

static double *new_slot(void)
{
    const size_t bytes = (size_t)SLOT * sizeof(double);
#if defined(HAVE_GUARD_PAGES)
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t whole = round_up(bytes, page);
    char *block =
        mmap(NULL, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED || mprotect(block + whole, page, PROT_NONE) != 0) {
        printf("the test program itself is out of memory\n");
        exit(EXIT_FAILURE);
    }
    return (double *)(block + whole);
#else
    double *block = malloc(bytes + MARGIN * sizeof(double));
    if (block == NULL) {
        printf("the test program itself is out of memory\n");
        exit(EXIT_FAILURE);
    }
    for (size_t i = 0; i < MARGIN; i++) {
        block[SLOT + i] = MARK;
    }
    return block + SLOT;
#endif
}

static double *place(slot *s, size_t count)
{
    if (count + MARGIN > SLOT) {
        printf("a slot of the test program is too small for %zu numbers\n", count);
        exit(EXIT_FAILURE);
    }
    if (s->end == NULL) {
        s->end = new_slot();
    }
    s->start = s->end - count;
    for (size_t i = 1; i <= MARGIN; i++) {
        s->start[-(ptrdiff_t)i] = MARK;
    }
    return s->start;
}

/* Nothing was written before the buffer, nor, where there is no hole, behind it. */
static bool untouched_around(const slot *s)
{
    for (size_t i = 1; i <= MARGIN; i++) {
        if (s->start[-(ptrdiff_t)i] != MARK) {
            return false;
        }
    }
#if !defined(HAVE_GUARD_PAGES)
    for (size_t i = 0; i < MARGIN; i++) {
        if (s->end[i] != MARK) {
            return false;
        }
    }
#endif
    return true;
}

/* splitmix64: the same numbers everywhere. */
static uint64_t state;

static double uniform(double low, double high)
{
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return low + (high - low) * ((double)((z ^ (z >> 31)) >> 11) * 0x1p-53);
}

static double *place_random(slot *s, size_t count, double low, double high)
{
    double *x = place(s, count);
    for (size_t i = 0; i < count; i++) {
        x[i] = uniform(low, high);
    }
    return x;
}

static double *place_copy(slot *s, const double *x, size_t count)
{
    return memcpy(place(s, count), x, count * sizeof *x);
}

/* ---------------------------------------------------------------- product */

typedef struct {
    size_t rows, depth;
    size_t strides[3]; /* of each panel; 0 ends them */
    size_t row_stride, column_stride;
    bool has_bias;
} product_case;

/* sum[stride] = one row of the matrix @ in[depth,stride], from 0 in index order, and the absolute
 * values of all terms */
FUSED static void reference_product(double *sum, double *terms, const double *row,
                                    size_t column_stride, const double *in, size_t depth,
                                    size_t stride)
{
    memset(sum, 0, stride * sizeof *sum);
    memset(terms, 0, stride * sizeof *terms);
    for (size_t k = 0; k < depth; k++) {
        const double m = row[k * column_stride];
        for (size_t i = 0; i < stride; i++) {
            sum[i] = fma(m, in[k * stride + i], sum[i]);
            terms[i] += fabs(m * in[k * stride + i]);
        }
    }
}

/* One panel against a loop around fma(), and the plain kernel's. */
static void check_product(const product_case *c, const product_panel *got, const double *plain,
                          const double *matrix, const double *bias)
{
    static slot sum_slot, terms_slot;
    double *sum = place(&sum_slot, got->stride), *terms = place(&terms_slot, got->stride);
    bool exact = true, near_plain = true;
    for (size_t r = 0; r < c->rows; r++) {
        reference_product(sum, terms, matrix + r * c->row_stride, c->column_stride, got->in,
                          c->depth, got->stride);
        for (size_t i = 0; i < got->stride; i++) {
            const size_t at = r * got->stride + i;
            sum[i] += bias == NULL ? 0 : bias[r];
            terms[i] += bias == NULL ? 0 : fabs(bias[r]);
            exact &= same_bits(&got->out[at], &sum[i], 1);
            /* Two chains of depth + 1 sums; the plain one rounds its products too. */
            near_plain &= near_enough("product", got->out[at], plain[at],
                                      (double)(2 * c->depth + 3) * ROUNDOFF * terms[i]);
        }
    }
    check(exact, "one chain of fused multiply-adds");
    check(near_plain, "near the plain kernel");
}

static void test_product(const kernel_table *kernels, const product_case *c)
{
    static slot matrix_slot, bias_slot, in_slots[3], out_slots[3], plain_slots[3], scratch_slot;
    AT("%s product %zux%zu @ %zu %zu %zu, strides %zu and %zu, bias %d", kernels->name, c->rows,
       c->depth, c->strides[0], c->strides[1], c->strides[2], c->row_stride, c->column_stride,
       c->has_bias);
    const size_t last = (c->rows - 1) * c->row_stride + (c->depth - 1) * c->column_stride;
    const double *matrix = place_random(&matrix_slot, last + 1, -1, 1);
    const double *bias = c->has_bias ? place_random(&bias_slot, c->rows, -1, 1) : NULL;
    product_panel panels[3], plain[3];
    size_t count = 0;
    for (; count < COUNT_OF(panels) && c->strides[count] > 0; count++) {
        const size_t stride = c->strides[count];
        const size_t room = stride == 1 ? round_up(c->rows, kernels->lanes) : c->rows * stride;
        const double *in = place_random(&in_slots[count], c->depth * stride, -1, 1);
        panels[count] = (product_panel){place_random(&out_slots[count], room, 5, 6), in, stride};
        plain[count] = (product_panel){place(&plain_slots[count], c->rows * stride), in, stride};
    }
    double *scratch = place(&scratch_slot, kernels->block);
    kernels->product(panels, count, matrix, c->row_stride, c->column_stride, bias, c->rows,
                     c->depth, scratch);
    check(untouched_around(&scratch_slot), "nothing is written around the scratch memory");
    pycnn_kernels_baseline.product(plain, count, matrix, c->row_stride, c->column_stride, bias,
                                   c->rows, c->depth, NULL);
    for (size_t p = 0; p < count; p++) {
        check_product(c, &panels[p], plain[p].out, matrix, bias);
        check(untouched_around(&out_slots[p]), "nothing is written around the output");
    }
}

/* W @ A: the matrix by rows; W^T @ delta: by columns. Both also with longer rows than needed. */
static void test_product_orders(const kernel_table *kernels, size_t rows, size_t depth, size_t a,
                                size_t b, size_t c)
{
    for (size_t padding = 0; padding < 6; padding += 3) {
        test_product(kernels, &(product_case){rows, depth, {a, b, c}, depth + padding, 1, true});
        test_product(kernels, &(product_case){rows, depth, {a, b, c}, 1, rows + padding, false});
    }
    test_product(kernels, &(product_case){rows, depth, {a, b, c}, depth, 1, false});
    if (a > 1) { /* what no layer asks for yet */
        test_product(kernels, &(product_case){rows, depth, {a, b, c}, 1, rows, true});
    }
}

static void test_products(const kernel_table *kernels)
{
    /* The largest tiles are 8 rows and, with 8 lanes, 24 samples: up to two of them and one more.
     */
    static const size_t depths[] = {1, 2, 3, 5, 8, 9, 17};
    for (size_t rows = 1; rows <= 17; rows++) {
        for (size_t stride = kernels->lanes; stride <= 56; stride += kernels->lanes) {
            if (kernels->lanes < 8 && stride > 26 && stride % 8 != 0) {
                continue; /* two of their tiles and one vector more are below 26 */
            }
            test_product_orders(kernels, rows, depths[(rows + stride) % COUNT_OF(depths)], stride,
                                0, 0);
            test_product_orders(kernels, rows, 4, stride, kernels->lanes, kernels->panel);
        }
    }
    /* One sample: vectors run along the matrix, 1 to 4 of them at a time. */
    for (size_t rows = 1; rows <= 67; rows += rows < 18 ? 1 : rows == 18 ? 13 : 1) {
        for (size_t depth = 1; depth <= 18; depth++) {
            test_product_orders(kernels, rows, depth, 1, 0, 0);
        }
        test_product_orders(kernels, rows, 300, 1, 0, 0);
    }
    /* Where the matrix is copied, 256 columns at a time, and just where it is not; in panels, and
     * in one piece. */
    static const size_t deep[] = {7, 255, 256, 257, 513, 769}, wide[] = {32, 48, 96, 120, 128, 136};
    for (size_t d = 0; d < COUNT_OF(deep); d++) {
        for (size_t s = 0; s < COUNT_OF(wide); s++) {
            test_product_orders(kernels, 17, deep[d], wide[s], 0, 0);
            const size_t third = wide[s] / 24 * 8;
            test_product_orders(kernels, 41, deep[d], third, third, wide[s] - 2 * third);
        }
        test_product_orders(kernels, 6, deep[d], 128, 0, 0);
        test_product_orders(kernels, 9, deep[d], 128, 0, 0);
    }
}

/* A sum over `depth` in two parts is the same chain. */
static void test_product_in_parts(const kernel_table *kernels, size_t rows, size_t depth,
                                  const size_t strides[2], bool by_columns)
{
    static slot matrix_slot, bias_slot, in_slots[2], out_slots[2], whole_slots[2], scratch_slot;
    const size_t first = depth / 3, room = round_up(rows, kernels->lanes);
    const size_t row_stride = by_columns ? 1 : depth, column_stride = by_columns ? rows : 1;
    const double *matrix = place_random(&matrix_slot, rows * depth, -1, 1);
    const double *behind = matrix + first * column_stride;
    product_panel whole[2], panels[2], rest[2];
    size_t count = 0;
    AT("%s product in parts %zux%zu @ %zu %zu", kernels->name, rows, depth, strides[0], strides[1]);
    for (; count < COUNT_OF(panels) && strides[count] > 0; count++) {
        const size_t stride = strides[count], size = stride == 1 ? room : rows * stride;
        const double *in = place_random(&in_slots[count], depth * stride, -1, 1);
        whole[count] = (product_panel){place(&whole_slots[count], size), in, stride};
        panels[count] = (product_panel){place(&out_slots[count], size), in, stride};
        rest[count] = (product_panel){panels[count].out, in + first * stride, stride};
    }
    /* One sample's columns have no bias. */
    const double *bias = by_columns ? NULL : place_random(&bias_slot, rows, -1, 1);
    double *scratch = place(&scratch_slot, kernels->block);
    kernels->product(whole, count, matrix, row_stride, column_stride, bias, rows, depth, scratch);
    kernels->product(panels, count, matrix, row_stride, column_stride, NULL, rows, first, scratch);
    kernels->product_onto(rest, count, behind, row_stride, column_stride, bias, rows, depth - first,
                          scratch);
    for (size_t p = 0; p < count; p++) {
        check(same_bits(panels[p].out, whole[p].out, rows * panels[p].stride),
              "the same chain in two parts");
        check(untouched_around(&out_slots[p]), "nothing is written around the output");
    }
}

static void test_products_in_parts(const kernel_table *kernels)
{
    static const size_t depths[] = {3, 4, 9, 33, 300, 900};
    for (size_t rows = 1; rows <= 67; rows += 3) {
        for (size_t d = 0; d < COUNT_OF(depths); d++) {
            for (int by_columns = 0; by_columns < 2; by_columns++) {
                test_product_in_parts(kernels, rows, depths[d], (size_t[2]){1}, by_columns);
                test_product_in_parts(kernels, rows, depths[d], (size_t[2]){kernels->lanes, 8},
                                      by_columns);
                test_product_in_parts(kernels, rows, depths[d], (size_t[2]){24, 128}, by_columns);
            }
        }
    }
}

/* ---------------------------------------------------------------- gradient */

/* sum[rows,fan_in+1], starting from `sum` itself, and the absolute values of all terms */
static void reference_gradient(double *sum, double *terms, const gradient_terms *slices,
                               size_t count, const double *inputs, size_t rows, size_t fan_in)
{
    for (size_t j = 0; j < rows; j++) {
        for (size_t k = 0; k <= fan_in; k++) {
            double *s = &sum[j * (fan_in + 1) + k], *t = &terms[j * (fan_in + 1) + k];
            size_t row = 0;
            *t = fabs(*s);
            for (size_t n = 0; n < count; n++) {
                for (size_t i = 0; i < slices[n].batch; i++, row++) {
                    const double d = slices[n].delta[j * slices[n].stride + i];
                    const double a = inputs[row * (fan_in + 1) + k];
                    *s = fma(d, a, *s);
                    *t += fabs(d * a);
                }
            }
        }
    }
}

typedef struct {
    size_t rows, fan_in;
    size_t batches[3]; /* of each slice; 0 ends them */
} gradient_case;

/* rows[samples,columns] as a kernel reads them: in panels, the last as short as it may be. */
static const double *place_panels(slot *s, const kernel_table *kernels, const double *rows,
                                  size_t samples, size_t columns)
{
    const size_t panel = kernels->panel, whole = (columns - 1) / panel;
    const size_t rest = round_up(columns - whole * panel, kernels->lanes);
    double *panels = place_random(s, whole * panel * samples + (samples - 1) * panel + rest, -1, 1);
    for (size_t i = 0; i < samples; i++) {
        kernels->pack(panels + i * panel, samples * panel, rows + i * columns,
                      i + 1 < samples ? rows + (i + 1) * columns : NULL, columns);
    }
    for (size_t i = 0; i < samples; i++) { /* what pack() has done, number by number */
        bool same = true;
        for (size_t k = 0; k < columns; k++) {
            same &= same_bits(&panels[k / panel * panel * samples + i * panel + k % panel],
                              &rows[i * columns + k], 1);
        }
        check(same && untouched_around(s), "rows packed into panels");
    }
    return panels;
}

static void test_gradient(const kernel_table *kernels, const gradient_case *c, gradient_use use)
{
    enum { MOST = 128 * 140 };
    static slot weight_slot, bias_slot, plain_weight_slot, plain_bias_slot, delta_slots[3],
        rows_slot, input_slot, plain_input_slot;
    static double sum[MOST], terms[MOST];
    AT("%s gradient %zux%zu, batches %zu %zu %zu, use %d", kernels->name, c->rows, c->fan_in,
       c->batches[0], c->batches[1], c->batches[2], (int)use);
    gradient_terms slices[3], all[3]; /* of delta's rows from `first` on, and of all */
    const size_t first = c->rows % 3;
    size_t count = 0, samples = 0;
    for (; count < COUNT_OF(slices) && c->batches[count] > 0; count++) {
        const size_t batch = c->batches[count];
        const size_t stride =
            batch == 1 && count == 0 && c->batches[1] == 0 ? 1 : round_up(batch, kernels->lanes);
        const double *delta = place_random(&delta_slots[count], (first + c->rows) * stride, -1, 1);
        all[count] = (gradient_terms){.delta = delta, .stride = stride, .batch = batch};
        slices[count] =
            (gradient_terms){.delta = delta + first * stride, .stride = stride, .batch = batch};
        samples += batch;
    }
    double *rows = place_random(&rows_slot, samples * (c->fan_in + 1), -1, 1);
    for (size_t i = 0; i < samples; i++) {
        rows[i * (c->fan_in + 1) + c->fan_in] = 1;
    }
    const double *inputs = place_panels(&input_slot, kernels, rows, samples, c->fan_in + 1);
    const double *plain_inputs =
        place_panels(&plain_input_slot, &pycnn_kernels_baseline, rows, samples, c->fan_in + 1);
    double *weight = place_random(&weight_slot, c->rows * c->fan_in, -1, 1);
    double *bias = place_random(&bias_slot, c->rows, -1, 1);
    double *plain_weight = place_copy(&plain_weight_slot, weight, c->rows * c->fan_in);
    double *plain_bias = place_copy(&plain_bias_slot, bias, c->rows);
    const double step = 0.125 / 3;

    for (size_t j = 0; j < c->rows; j++) {
        for (size_t k = 0; k <= c->fan_in; k++) {
            const double start = k < c->fan_in ? weight[j * c->fan_in + k] : bias[j];
            sum[j * (c->fan_in + 1) + k] = use == GRADIENT_ADD ? start : 0;
        }
    }
    reference_gradient(sum, terms, slices, count, rows, c->rows, c->fan_in);
    const bool one = samples == 1; /* -step is multiplied into the delta, not into the sum */
    for (size_t j = 0; use == GRADIENT_DESCEND && j < c->rows; j++) {
        for (size_t k = 0; k <= c->fan_in; k++) {
            const double start = k < c->fan_in ? weight[j * c->fan_in + k] : bias[j];
            double *s = &sum[j * (c->fan_in + 1) + k];
            *s = one ? fma(-step * slices[0].delta[j], rows[k], start) : fma(-step, *s, start);
            terms[j * (c->fan_in + 1) + k] += fabs(start); /* step < 1 */
        }
    }

    kernels->gradient(weight, bias, use, step, all, count, inputs, samples * kernels->panel, first,
                      c->rows, c->fan_in);
    pycnn_kernels_baseline.gradient(plain_weight, plain_bias, use, step, all, count, plain_inputs,
                                    samples * pycnn_kernels_baseline.panel, first, c->rows,
                                    c->fan_in);
    bool exact = true, near_plain = true;
    for (size_t j = 0; j < c->rows; j++) {
        for (size_t k = 0; k <= c->fan_in; k++) {
            const size_t at = j * (c->fan_in + 1) + k;
            const double got = k < c->fan_in ? weight[j * c->fan_in + k] : bias[j];
            const double plain = k < c->fan_in ? plain_weight[j * c->fan_in + k] : plain_bias[j];
            exact &= same_bits(&got, &sum[at], 1);
            near_plain &= near_enough("gradient", got, plain,
                                      (double)(2 * samples + 4) * ROUNDOFF * terms[at]);
        }
    }
    check(exact, "one chain of fused multiply-adds");
    check(near_plain, "near the plain kernel");
    check(untouched_around(&weight_slot) && untouched_around(&bias_slot),
          "nothing is written around the output");
}

static void test_gradients(const kernel_table *kernels)
{
    /* Batches of 1 alone are a path of their own; a slice of 1 among others is not. */
    static const size_t batches[][3] = {{1}, {2}, {8}, {11}, {1, 1}, {8, 8, 3}, {12, 24, 7}};
    static const gradient_use uses[] = {GRADIENT_SET, GRADIENT_ADD, GRADIENT_DESCEND};
    for (size_t rows = 1; rows <= 17; rows++) {
        for (size_t fan_in = 1; fan_in <= 57; fan_in++) {
            for (size_t u = 0; u < COUNT_OF(uses); u++) {
                const size_t pick = (rows + fan_in + u) % COUNT_OF(batches);
                gradient_case c = {rows, fan_in, {0}};
                memcpy(c.batches, batches[pick], sizeof c.batches);
                test_gradient(kernels, &c, uses[u]);
                test_gradient(kernels, &(gradient_case){rows, fan_in, {1}}, uses[u]);
            }
        }
    }
    for (size_t u = 0; u < COUNT_OF(uses); u++) { /* more panels than stay in cache */
        test_gradient(kernels, &(gradient_case){9, 130, {128, 128}}, uses[u]);
    }
    for (size_t b = 0; b < COUNT_OF(batches); b++) {
        for (size_t u = 0; u < COUNT_OF(uses); u++) {
            gradient_case c = {67, 130, {0}};
            memcpy(c.batches, batches[b], sizeof c.batches);
            test_gradient(kernels, &c, uses[u]);
        }
    }
}

/* A sequence of positions is one sum over the samples of each, one after the other; without a bias
 * the weights' sums are the same. */
static void test_sequence_gradient(const kernel_table *kernels, size_t rows, size_t fan_in,
                                   gradient_use use)
{
    enum { POSITIONS = 3, SLICES = 2, HEIGHT = 20 };
    static slot weight_slots[3], bias_slots[2], delta_slots[SLICES], input_slot;
    const size_t batches[SLICES] = {8, 1 + fan_in % 8}, stride = 8;
    const size_t samples = POSITIONS * (batches[0] + batches[1]), first = rows % 3;
    const size_t panels = round_up(fan_in + 1, kernels->panel);
    AT("%s gradient of a sequence %zux%zu, use %d", kernels->name, rows, fan_in, (int)use);
    gradient_terms terms[SLICES], flat[POSITIONS * SLICES];
    for (size_t s = 0; s < SLICES; s++) {
        const double *delta = place_random(&delta_slots[s], POSITIONS * HEIGHT * stride, -1, 1);
        terms[s] = (gradient_terms){delta, stride, batches[s], POSITIONS, HEIGHT};
        for (size_t p = 0; p < POSITIONS; p++) {
            flat[p * SLICES + s] = (gradient_terms){
                .delta = delta + p * HEIGHT * stride, .stride = stride, .batch = batches[s]};
        }
    }
    const double *inputs = place_random(&input_slot, panels * samples, -1, 1);
    double *weight[3], *bias[3] = {place_random(&bias_slots[0], rows, -1, 1)};
    weight[0] = place_random(&weight_slots[0], rows * fan_in, -1, 1);
    bias[1] = place_copy(&bias_slots[1], bias[0], rows);
    bias[2] = NULL;
    for (size_t i = 1; i < 3; i++) {
        weight[i] = place_copy(&weight_slots[i], weight[0], rows * fan_in);
    }
    kernels->gradient(weight[0], bias[0], use, 0.125, flat, COUNT_OF(flat), inputs,
                      samples * kernels->panel, first, rows, fan_in);
    for (size_t i = 1; i < 3; i++) {
        kernels->gradient(weight[i], bias[i], use, 0.125, terms, SLICES, inputs,
                          samples * kernels->panel, first, rows, fan_in);
        check(same_bits(weight[i], weight[0], rows * fan_in), "position after position");
        check(untouched_around(&weight_slots[i]), "nothing is written around the weights");
    }
    check(same_bits(bias[1], bias[0], rows), "position after position, of the bias too");
}

static void test_sequence_gradients(const kernel_table *kernels)
{
    for (size_t rows = 1; rows <= 17; rows++) {
        for (size_t fan_in = 1; fan_in <= 57; fan_in++) {
            test_sequence_gradient(kernels, rows, fan_in, (gradient_use)((rows + fan_in) % 3));
        }
    }
}

/* ---------------------------------------------------------------- cells */

/* Each against the plain one, in as many numbers as there may be, and none beside. */
static void test_cells(const kernel_table *kernels)
{
    static slot slots[2][8];
    for (size_t count = 1; count <= 40; count += count < 18 ? 1 : 11) {
        AT("%s cells %zu", kernels->name, count);
        double *x[2][8];
        for (size_t i = 0; i < 8; i++) {
            x[0][i] = place_random(&slots[0][i], 4 * count, -2, 2);
            x[1][i] = place_copy(&slots[1][i], x[0][i], 4 * count);
        }
        for (int k = 0; k < 2; k++) {
            const recurrent_kernels *cells =
                k == 0 ? kernels->recurrent : pycnn_kernels_baseline.recurrent;
            double **v = x[k];
            cells->lstm(v[0], v[1], v[2], v[3], v[4], count);
            cells->lstm_back(v[0], v[4], v[1], v[5], v[2], v[3], count);
            cells->gru(v[6], v[1] + count, v[7], count);
            cells->gru_back(v[6], v[7] + count, v[5], v[7], count);
        }
        bool near_plain = true;
        for (size_t i = 0; i < 8; i++) {
            for (size_t n = 0; n < 4 * count; n++) {
                near_plain &= near_enough("cell", x[0][i][n], x[1][i][n], 100 * ROUNDOFF);
            }
            check(untouched_around(&slots[0][i]), "nothing is written around a cell's numbers");
        }
        check(near_plain, "near the plain kernel");
    }
}

static void test_descend(const kernel_table *kernels)
{
    static slot theta_slot, grad_slot, plain_slot, fused_slot;
    for (size_t count = 0; count <= 67; count++) {
        AT("%s descend %zu", kernels->name, count);
        double *theta = place_random(&theta_slot, count, -1, 1);
        const double *grad = place_random(&grad_slot, count, -1, 1), step = 1.0 / 3;
        double *plain = place_copy(&plain_slot, theta, count);
        double *fused = place_copy(&fused_slot, theta, count);
        kernels->descend(theta, grad, step, count);
        pycnn_kernels_baseline.descend(plain, grad, step, count);
        bool near_plain = true;
        for (size_t i = 0; i < count; i++) {
            near_plain &= near_enough("descend", theta[i], plain[i],
                                      3 * ROUNDOFF * (fabs(fused[i]) + fabs(step * grad[i])));
            fused[i] = fma(-step, grad[i], fused[i]);
        }
        check(same_bits(theta, fused, count), "a fused multiply-add each");
        check(near_plain, "near the plain kernel");
        check(untouched_around(&theta_slot), "nothing is written around theta");
    }
}

/* ---------------------------------------------------------------- optimizers */

static void test_update(const kernel_table *kernels, const pycnn_optimizer *how, size_t count)
{
    static slot buffers[2][2 + MOST_SLOTS];
    const size_t slots = pycnn_optimizer_slots(how), first = count > 9 ? 8 : 0;
    AT("%s optimizer %d, %zu parameters", kernels->name, how->kind, count);
    /* Squares are large enough for a variance not to cancel. */
    double *memory = place_random(&buffers[0][2], slots * count, 1, 2);
    for (size_t i = 0; i < count && slots > 0; i++) {
        memory[i] *= how->kind == PYCNN_ADAM && i % 2 ? -0.25 : 1;
        memory[i] -= how->kind == PYCNN_RPROP && i % 3 == 0 ? 1.5 : 0;
    }
    for (size_t i = count; i < 2 * count && how->centered; i++) {
        memory[i] *= 0.25;
    }
    double *theta = place_random(&buffers[0][0], count, -1, 1);
    const double *grad = place_random(&buffers[0][1], count, -1, 1);
    double *plain = place_copy(&buffers[1][0], theta, count);
    double *plain_memory = place_copy(&buffers[1][2], memory, slots * count);
    for (size_t turn = 0; turn < 2; turn++) {
        update u = pycnn_update_of(how, 0.125, turn + 3, memory, count);
        u.theta = theta, u.grad = grad, u.scale = turn == 0 ? 1 : 0.3;
        kernels->updates[how->kind](&u, first, count);
        u = pycnn_update_of(how, 0.125, turn + 3, plain_memory, count);
        u.theta = plain, u.grad = grad, u.scale = turn == 0 ? 1 : 0.3;
        pycnn_updates[how->kind](&u, first, count);
        bool near_plain = true;
        for (size_t i = 0; i < count; i++) {
            near_plain &=
                near_enough("update", theta[i], plain[i], 16 * ROUNDOFF * (1 + fabs(plain[i])));
        }
        for (size_t i = 0; i < slots * count; i++) {
            near_plain &= near_enough("slots", memory[i], plain_memory[i],
                                      16 * ROUNDOFF * (1 + fabs(plain_memory[i])));
        }
        check(near_plain, "near the plain kernel");
    }
    check(untouched_around(&buffers[0][0]) && untouched_around(&buffers[0][2]),
          "nothing is written around theta and the slots");
}

static void test_regularize(const kernel_table *kernels, size_t count)
{
    static slot slots[3];
    AT("%s regularize %zu", kernels->name, count);
    double *grad = place_random(&slots[0], count, -1, 1);
    const double *theta = place_random(&slots[1], count, -1, 1);
    double *plain = place_copy(&slots[2], grad, count);
    const regularization how = {0.25, count % 2 ? 0.5 : 0, 0.125, count % 3 ? 0.3 : 0};
    kernels->regularize(grad, theta, &how, count);
    pycnn_kernels_baseline.regularize(plain, theta, &how, count);
    bool near_plain = true;
    for (size_t i = 0; i < count; i++) {
        near_plain &= near_enough("regularize", grad[i], plain[i], 4 * ROUNDOFF);
    }
    check(near_plain && untouched_around(&slots[0]), "near the plain kernel");
    const double sum = kernels->penalty(theta, 0.5, 2, count);
    const double expected = pycnn_kernels_baseline.penalty(theta, 0.5, 2, count);
    check(near_enough("penalty", sum, expected, (double)(count + 4) * ROUNDOFF * expected),
          "the penalty, near the plain kernel");
}

static void test_updates(const kernel_table *kernels)
{
    static const pycnn_optimizer optimizers[] = {
        {.kind = PYCNN_SGD},
        {.kind = PYCNN_SGD, .momentum = 0.9},
        {.kind = PYCNN_SGD, .momentum = 0.9, .nesterov = 1},
        {.kind = PYCNN_ADAM, .beta_1 = 0.9, .beta_2 = 0.999, .epsilon = 1e-8},
        {.kind = PYCNN_ADAM, .beta_1 = 0.9, .beta_2 = 0.9, .epsilon = 1e-8, .weight_decay = 0.1},
        {.kind = PYCNN_RMSPROP, .beta_2 = 0.9, .epsilon = 1e-8},
        {.kind = PYCNN_RMSPROP, .beta_2 = 0.9, .epsilon = 1e-8, .momentum = 0.5},
        {.kind = PYCNN_RMSPROP, .beta_2 = 0.9, .epsilon = 1e-8, .momentum = 0.5, .centered = 1},
        {.kind = PYCNN_ADAGRAD, .epsilon = 1e-10},
        {.kind = PYCNN_RPROP},
        {.kind = PYCNN_RPROP, .increase = 2, .decrease = 0.1, .min_step = 0.5, .max_step = 0.9},
    };
    for (size_t count = 1; count <= 35; count++) {
        for (size_t i = 0; i < COUNT_OF(optimizers); i++) {
            test_update(kernels, &optimizers[i], count);
        }
        test_regularize(kernels, count);
    }
}

/* ---------------------------------------------------------------- normalization and dropout */

/* All that goes once over each number gives the plain kernels' bits. */
static void test_normalization(const kernel_table *kernels, size_t units, size_t stride)
{
    static slot slots[16];
    enum { TABLES = 2, OUTPUTS = 8, MOST_SUMMED = 19 };
    AT("%s normalization %zux%zu", kernels->name, units, stride);
    const size_t count = units * stride, batch = stride == 1 ? 1 : stride - stride / 8;
    const double *x = place_random(&slots[0], count, -3, 3);
    const double *delta = place_random(&slots[1], count, -1, 1);
    const double *gamma = place_random(&slots[2], units, 0.5, 2);
    const double *beta = place_random(&slots[3], units, -1, 1);
    const double *mean = place_random(&slots[4], MAX(units, count), -1, 1);
    const double *inverse = place_random(&slots[5], MAX(units, count), 0.5, 2);
    double *out = place(&slots[6], count), *scratch = place(&slots[7], 4 * stride);
    static double kept[TABLES][OUTPUTS][1 << 14];
    const normalization_kernels *tables[TABLES] = {kernels->normalization,
                                                   pycnn_kernels_baseline.normalization};
    for (int t = 0; t < TABLES; t++) {
        const normalization_kernels *k = tables[t];
        /* A row of numbers, and as many images of one feature. */
        const feature_rows rows[] = {{units, 1, 0, batch, stride},
                                     {1, units, stride, batch, stride}};
        double sums[2][4][MOST_SUMMED * CHAINS] = {{{0}}};
        for (int i = 0; i < 2; i++) {
            k->add(sums[i][0], x, &rows[i]);
            k->add_squares(sums[i][1], x, mean, &rows[i]);
            k->add_deltas(sums[i][2], sums[i][3], delta, x, mean, inverse,
                          stride % 3 == 0 ? stride : 0, &rows[i]);
        }
        memcpy(kept[t][0], sums, sizeof sums);
        k->normalize_units(out, x, mean, inverse, gamma, beta, units, stride);
        memcpy(kept[t][1], out, count * sizeof *out);
        k->normalize_samples(out, x, mean, inverse, gamma, beta, units, stride);
        memcpy(kept[t][2], out, count * sizeof *out);
        k->sample_moments(scratch, scratch + stride, x, 1e-5, units, stride);
        memcpy(kept[t][3], scratch, 2 * stride * sizeof *out);
        k->unit_deltas(out, delta, x, mean, inverse, gamma, beta, gamma, 0.125, units, batch,
                       stride);
        memcpy(kept[t][4], out, count * sizeof *out);
        k->sample_deltas(out, delta, x, mean, inverse, gamma, scratch + 2 * stride, units, stride);
        memcpy(kept[t][5], out, count * sizeof *out);
        k->draw_mask(out, 77, 5, 0.375, units, stride);
        memcpy(kept[t][6], out, count * sizeof *out);
    }
    check(memcmp(kept[0], kept[1], sizeof kept[0]) == 0, "the plain kernels' bits");
    check(untouched_around(&slots[6]) && untouched_around(&slots[7]),
          "nothing is written around the outputs");
}

static void test_normalizations(const kernel_table *kernels)
{
    for (size_t units = 1; units <= 19; units += 3) {
        for (size_t vectors = 0; vectors <= 20; vectors += vectors < 3 ? 1 : 17) {
            test_normalization(kernels, units, vectors == 0 ? 1 : vectors * kernels->lanes);
        }
    }
}

/* ---------------------------------------------------------------- activations */

static const char *const activation_names[] = {
    "linear", "sigmoid",   "relu", "tanh",     "softmax",  "leaky_relu",   "elu",      "selu",
    "gelu",   "gelu_tanh", "silu", "softplus", "softsign", "hard_sigmoid", "hard_tanh"};

/* Values that a random one is unlikely to be. */
static double *place_logits(slot *s, size_t count, size_t stride)
{
    static const double special[] = {0.0, -0.0, INFINITY, -INFINITY, NAN,    1e-310, -1e-310, 40,
                                     -40, 750,  -750,     1e300,     -1e300, 0.35,   -0.35};
    double *z = place_random(s, count, -20, 20);
    for (size_t i = 0; i < COUNT_OF(special) && stride > 1; i++) {
        z[(i * 7 + 3) % count] = special[i];
    }
    return z;
}

/* How far a may be from its plain twin, in units of a's own roundoff. tanh: 2 ulp of ours and 1 of
 * libm's; sigmoid: 2 and 3; softmax: libm's exp of a rounded difference of at most 750 in a sum of
 * `units`; gelu and gelu_tanh: exp of at most 750 in size, rounded several times; silu: a subnormal
 * number times at most 750. An ulp is at most two roundoffs. */
static double activation_bound(int activation, size_t units)
{
    switch (activation) {
    case PYCNN_SIGMOID: return 10;
    case PYCNN_TANH: return 6;
    case PYCNN_SOFTMAX: return 2 * (750 + (double)units + 8);
    case PYCNN_ELU: return 6;
    case PYCNN_SELU: return 8;
    case PYCNN_GELU: return 2 * (4 * 750 + 10);
    case PYCNN_GELU_TANH: return 2 * (6 * 750 + 10);
    case PYCNN_SILU: return 760;
    case PYCNN_SOFTPLUS: return 12;
    default: return 0;
    }
}

/* dL/dz from d = dL/da where only exact operations are promised, else NaN; a in place of z. */
static double exact_derivative(int activation, double d, double a)
{
    switch (activation) {
    case PYCNN_LINEAR: return d;
    case PYCNN_SIGMOID: return d * (a * (1 - a));
    case PYCNN_RELU: return a > 0 ? d : 0;
    case PYCNN_TANH: return d * fma(-a, a, 1);
    case PYCNN_LEAKY_RELU: return a > 0 ? d : LEAKY_SLOPE * d;
    case PYCNN_ELU: return d * (a > 0 ? 1 : a + 1);
    case PYCNN_SELU: return d * (a > 0 ? SELU_SCALE : a + SELU_SCALE_ALPHA);
    case PYCNN_SOFTSIGN: return d * ((1 - fabs(a)) * (1 - fabs(a)));
    case PYCNN_HARD_SIGMOID: return a > 0 && a < 1 ? d * (1.0 / 6) : 0;
    case PYCNN_HARD_TANH: return fabs(a) < 1 ? d : 0;
    default: return NAN;
    }
}

/* How far the derivative may be from its plain twin, in roundoffs of d. */
static double derivative_bound(int activation)
{
    switch (activation) {
    case PYCNN_TANH: return 3;
    case PYCNN_GELU: return 20;
    case PYCNN_GELU_TANH: return 60; /* of an exponent u, of terms up to some 5 */
    case PYCNN_SILU: return 20;
    case PYCNN_SOFTPLUS: return 6;
    default: return 0;
    }
}

/* f and f' at once have the bits of f and of f' one after the other. */
static void test_slope(const activation_ops *ops, const double *z, const double *a,
                       const double *delta, const double *back, size_t units, size_t stride,
                       size_t count)
{
    static slot a_slot, slope_slot, back_slot;
    double *again = place(&a_slot, count), *slope = place_copy(&slope_slot, z, count);
    double *times = place_copy(&back_slot, delta, count);
    ops->forward_with_slope(again, slope, units, stride);
    ops->times_slope(times, slope, units, stride);
    check(same_bits(again, a, units * stride), "with the slope the same");
    check(same_bits(times, back, units * stride), "the slope's delta is the derivative's");
    check(untouched_around(&a_slot) && untouched_around(&slope_slot) &&
              untouched_around(&back_slot),
          "nothing is written around what the slope takes");
}

static void test_activation(const kernel_table *kernels, int activation, size_t units,
                            size_t stride)
{
    static slot z_slot, from_slot, a_slot, plain_slot, delta_slot, back_slot, plain_back_slot;
    const activation_ops *ops = &kernels->activations[activation];
    const activation_ops *plain_ops = &pycnn_activations[activation];
    const size_t count = round_up(units * stride, kernels->lanes); /* room for whole vectors */
    AT("%s %s %zux%zu", kernels->name, activation_names[activation], units, stride);
    double *z = place_logits(&z_slot, count, stride), *a = place(&a_slot, count);
    double *plain = place(&plain_slot, count);
    const double *from = place_copy(&from_slot, z, count);
    check(ops->from_z == plain_ops->from_z, "of one mind");
    ops->forward(a, z, units, stride);
    from = ops->from_z ? from : a;
    plain_ops->forward(plain, z, units, stride);
    bool near_plain = true;
    for (size_t i = 0; i < units * stride; i++) {
        const double bound =
            activation_bound(activation, units) * (ROUNDOFF * fabs(plain[i]) + 0x1p-1074);
        near_plain &= near_enough(activation_names[activation], a[i], plain[i], bound);
    }
    check(near_plain, "near the plain kernel");
    check(untouched_around(&a_slot), "nothing is written around the output");
    ops->forward(z, z, units, stride);
    check(same_bits(z, a, units * stride), "in place the same");

    const double *delta = place_random(&delta_slot, count, -1, 1);
    double *back = place_copy(&back_slot, delta, count);
    double *plain_back = place_copy(&plain_back_slot, delta, count);
    ops->backward(back, from, units, stride);
    plain_ops->backward(plain_back, from, units, stride);
    near_plain = true;
    for (size_t i = 0; i < stride; i++) {
        double mean = 0, terms = 0; /* of softmax */
        for (size_t j = 0; j < units; j++) {
            mean = fma(delta[j * stride + i], a[j * stride + i], mean);
            terms += fabs(delta[j * stride + i] * a[j * stride + i]);
        }
        for (size_t j = 0; j < units; j++) {
            const size_t at = j * stride + i;
            const double d = delta[at], f = a[at];
            double exact = exact_derivative(activation, d, f);
            double bound = derivative_bound(activation) * ROUNDOFF * fabs(d);
            if (activation == PYCNN_SOFTMAX) {
                exact = f * (d - mean);
                bound = (double)(2 * units + 4) * ROUNDOFF * fabs(f) * (fabs(d) + terms);
            }
            near_plain &= near_enough("derivative", back[at], plain_back[at], bound);
            near_plain &= same_bits(&back[at], &exact, 1) || isnan(exact);
        }
    }
    check(near_plain, "the derivative, to the bit");
    check(untouched_around(&back_slot), "nothing is written around delta");
    check((ops->forward_with_slope == NULL) == (plain_ops->forward_with_slope == NULL),
          "of one mind on slopes");
    if (ops->forward_with_slope != NULL) {
        test_slope(ops, from, a, delta, back, units, stride, count);
    }
}

/* ---------------------------------------------------------------- losses */

static const char *const loss_names[] = {"mse",   "binary",   "categorical",
                                         "mae",   "huber",    "poisson",
                                         "hinge", "quantile", "kl_divergence"};

typedef enum { ANY, HARD, MISSING } target_kind;

static void test_loss(const kernel_table *kernels, int loss, size_t units, size_t stride,
                      target_kind kind)
{
    static slot z_slot, a_slot, y_slot, loss_slot, correct_slot, delta_slot;
    static slot plain_loss_slot, plain_correct_slot, plain_delta_slot;
    static const char *const kinds[] = {"any", "0 or 1", "missing"};
    AT("%s %s %zux%zu, targets %s", kernels->name, loss_names[loss], units, stride, kinds[kind]);
    const size_t count = round_up(units * stride, kernels->lanes),
                 row = round_up(stride, kernels->lanes);
    const int needed = pycnn_loss_activation(loss);
    const int activation = loss == PYCNN_POISSON ? PYCNN_SOFTPLUS : MAX(needed, PYCNN_LINEAR);
    double *z = place_random(&z_slot, count, -30, 30), *a = place(&a_slot, count);
    double *y = place_random(&y_slot, count, 0, 1);
    for (size_t i = 0; i < count; i++) {
        y[i] = kind == HARD ? y[i] < 0.3 : kind == MISSING && y[i] < 0.4 ? NAN : y[i];
    }
    z[0] = loss == PYCNN_POISSON && stride > 1 ? -800 : z[0]; /* a = 0 */
    pycnn_activations[activation].forward(a, z, units, stride);
    const loss_inputs in = {z, a, y, units, stride, 0.25};
    const loss_outputs out = {place(&loss_slot, row), place(&correct_slot, row),
                              place(&delta_slot, count)};
    const loss_outputs plain = {place(&plain_loss_slot, row), place(&plain_correct_slot, row),
                                place(&plain_delta_slot, count)};
    kernels->losses[loss](&out, &in);
    pycnn_losses[loss](&plain, &in);
    bool near_plain = true, exact = true;
    for (size_t i = 0; i < stride; i++) {
        double squares = 0, y_sum = 0, terms = plain.loss[i];
        for (size_t j = 0; j < units; j++) {
            if (isnan(y[j * stride + i])) {
                continue;
            }
            const double error = a[j * stride + i] - y[j * stride + i];
            squares = fma(0.5 * error, error, squares);
            y_sum += y[j * stride + i];
            if (loss == PYCNN_POISSON || loss == PYCNN_KL_DIVERGENCE) { /* signs differ */
                const double of = loss == PYCNN_POISSON ? a[j * stride + i] : y[j * stride + i];
                terms += 2 * y[j * stride + i] * fabs(log(MAX(of, LEAST_FOR_LOG)));
            }
            terms += loss == PYCNN_HINGE ? fabs(y[j * stride + i] * a[j * stride + i]) : 0;
        }
        exact &= loss != PYCNN_MSE || same_bits(&out.loss[i], &squares, 1);
        exact &= out.correct[i] == plain.correct[i];
        /* All terms of a loss are positive, but for three losses. */
        near_plain &= near_enough(loss_names[loss], out.loss[i], plain.loss[i],
                                  (double)(2 * units + 10) * ROUNDOFF * terms);
        for (size_t j = 0; j < units; j++) {
            const size_t at = j * stride + i;
            if (isnan(y[at])) {
                exact &= out.delta[at] == 0 && plain.delta[at] == 0;
                continue;
            }
            /* delta is a difference of two terms, each at most a + y in sum. */
            double bound = 10 * ROUNDOFF * (fabs(a[at]) * MAX(1, y_sum) + y[at]);
            bound = loss == PYCNN_POISSON ? 4 * ROUNDOFF * (1 + y[at] / MAX(a[at], LEAST_FOR_LOG))
                                          : bound;
            near_plain &= near_enough("delta", out.delta[at], plain.delta[at], bound);
        }
    }
    check(exact, "to the bit, where it is so promised");
    check(near_plain, "near the plain kernel");
    check(untouched_around(&loss_slot) && untouched_around(&correct_slot) &&
              untouched_around(&delta_slot),
          "nothing is written around the outputs");
    double *before = place_copy(&plain_loss_slot, out.loss, row);
    kernels->losses[loss](&(loss_outputs){out.loss, out.correct, NULL}, &in);
    check(same_bits(before, out.loss, stride), "the same without delta");
}

/* Without a target an output counts as little as if it were not there. */
static void test_targets_not_observed(const kernel_table *kernels, int loss)
{
    enum { UNITS = 5, STRIDE = 16, MISSING = 2 };
    static slot slots[10];
    AT("%s %s without a target", kernels->name, loss_names[loss]);
    const size_t count = UNITS * STRIDE, fewer = count - STRIDE, before = MISSING * STRIDE;
    double *z = place_random(&slots[0], count, -3, 3), *a = place(&slots[1], count);
    double *y = place_random(&slots[2], count, 0, 1);
    pycnn_activations[loss == PYCNN_BINARY_CROSSENTROPY ? PYCNN_SIGMOID : PYCNN_SOFTPLUS].forward(
        a, z, UNITS, STRIDE);
    double *without[3];
    const double *with[3] = {z, a, y};
    for (int m = 0; m < 3; m++) {
        without[m] = place(&slots[3 + m], fewer);
        memcpy(without[m], with[m], before * sizeof(double));
        memcpy(without[m] + before, with[m] + before + STRIDE, (fewer - before) * sizeof(double));
    }
    for (size_t i = 0; i < STRIDE; i++) {
        y[before + i] = NAN;
    }
    static double sums[2][2][STRIDE], delta[2][UNITS * STRIDE];
    kernels->losses[loss](&(loss_outputs){sums[0][0], sums[0][1], delta[0]},
                          &(loss_inputs){z, a, y, UNITS, STRIDE, 0.25});
    kernels->losses[loss](
        &(loss_outputs){sums[1][0], sums[1][1], delta[1]},
        &(loss_inputs){without[0], without[1], without[2], UNITS - 1, STRIDE, 0.25});
    static const double none[STRIDE]; /* for mse only samples that are observed as a whole count */
    const double *right = loss == PYCNN_MSE ? none : sums[1][1];
    check(same_bits(sums[0][0], sums[1][0], STRIDE) && same_bits(sums[0][1], right, STRIDE),
          "the others' loss and right answers");
    bool zeros = true;
    for (size_t i = 0; i < STRIDE; i++) {
        zeros &= delta[0][before + i] == 0;
    }
    check(zeros, "no delta");
    check(same_bits(delta[0], delta[1], before) &&
              same_bits(delta[0] + before + STRIDE, delta[1] + before, fewer - before),
          "the others' deltas");
}

/* A sample's numbers are the same in a column of its own as among others. */
static void test_column_alone(const kernel_table *kernels, size_t units)
{
    static slot many_slot, one_slot;
    const size_t stride = 2 * kernels->lanes;
    AT("%s softmax of one of %zu columns", kernels->name, stride);
    double *many = place_random(&many_slot, units * stride, -9, 9);
    double *one = place(&one_slot, round_up(units, kernels->lanes));
    for (size_t j = 0; j < units; j++) {
        one[j] = many[j * stride + 1];
    }
    kernels->activations[PYCNN_SOFTMAX].forward(many, many, units, stride);
    kernels->activations[PYCNN_SOFTMAX].forward(one, one, units, 1);
    bool same = true;
    for (size_t j = 0; j < units; j++) {
        same &= same_bits(&one[j], &many[j * stride + 1], 1);
    }
    check(same, "the same bits");
}

static void test_elementwise(const kernel_table *kernels)
{
    for (size_t units = 1; units <= 17; units++) {
        for (size_t stride = 1; stride <= 33;
             stride += stride == 1 ? kernels->lanes - 1 : kernels->lanes) {
            for (int f = 0; f < PYCNN_ACTIVATION_COUNT; f++) {
                test_activation(kernels, f, units, stride);
            }
            for (int l = 0; l < PYCNN_LOSS_COUNT; l++) {
                test_loss(kernels, l, units, stride, ANY);
                test_loss(kernels, l, units, stride, HARD);
                if (loss_allows_missing(l)) {
                    test_loss(kernels, l, units, stride, MISSING);
                }
            }
        }
        test_column_alone(kernels, units);
    }
    for (int l = 0; l < PYCNN_LOSS_COUNT; l++) {
        if (loss_allows_missing(l)) {
            test_targets_not_observed(kernels, l);
        }
    }
}

int main(void)
{
    static const kernel_table *const tables[] = {
#if HAVE_X86
        &pycnn_kernels_avx512,
        &pycnn_kernels_avx2,
#elif HAVE_NEON
        &pycnn_kernels_neon,
#elif HAVE_WASM
        &pycnn_kernels_wasm,
#endif
        &pycnn_kernels_baseline,
    };
    for (size_t i = 0; i + 1 < COUNT_OF(tables); i++) {
        const kernel_table *kernels = tables[i];
        if ((kernels->feature & ~pycnn_cpu_features()) != 0) {
            printf("%s: cannot run here\n", kernels->name);
            continue;
        }
        test_products(kernels);
        test_products_in_parts(kernels);
        test_gradients(kernels);
        test_sequence_gradients(kernels);
        test_cells(kernels);
        test_descend(kernels);
        test_updates(kernels);
        test_normalizations(kernels);
        test_elementwise(kernels);
        printf("%s: worst difference from the plain kernels, as a part of what is allowed:",
               kernels->name);
        for (size_t n = 0; n < COUNT_OF(worst) && worst[n].name != NULL; n++) {
            printf(" %s %.2g", worst[n].name, worst[n].part);
        }
        printf("\n");
        memset(worst, 0, sizeof worst);
    }
    printf("%zu passed, %zu failed\n", passed, failed);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
