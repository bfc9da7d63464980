/* Model files. It stands on the public calls alone, so that it can be left out, or put beside the
 * core in whatever form. */
#include "common.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "pycnn_file.h"

#if defined(__APPLE__) || \
    (defined(__unix__) && (defined(_POSIX_C_SOURCE) || defined(_XOPEN_SOURCE)))
#include <unistd.h>
#define HAVE_FSYNC 1
#elif defined(_WIN32) /* without its header, which defines what it likes */
__declspec(dllimport) int __stdcall MoveFileExA(const char *from, const char *to,
                                                unsigned long flags);
#endif

enum {
    LONGEST_HEADER = 100000000, /* bytes, as the library of the format's makers has it */
    MOST_NESTED = 100,          /* JSON, as in Python */
    MOST_LAYERS = 10000,        /* the same, those within others included */
    DIGITS = 64,                /* of a checksum */
    LEAST_ENTRY = 45            /* characters of a header that describe a tensor, or more */
};

static const char ZEROS[DIGITS + 1] =
    "0000000000000000000000000000000000000000000000000000000000000000";

/* Memory for `count` elements, or NULL where there is none. */
static void *array_of(size_t count, size_t size)
{
    return count > (SIZE_MAX / 2) / size ? NULL : PYCNN_MALLOC(count * size + 1);
}

/* ---------------------------------------------------------------- SHA-256 (FIPS 180-4) */

typedef struct {
    uint32_t state[8];
    uint64_t length;
    unsigned char block[64];
} sha256;

static const uint32_t SHA256_START[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
static const uint32_t SHA256_ROUNDS[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t turned(uint32_t x, int by) { return x >> by | x << (32 - by); }

static void sha256_block(uint32_t state[8], const unsigned char block[64])
{
    uint32_t w[64], s[8];
    for (size_t i = 0; i < 16; i++) {
        const unsigned char *at = block + 4 * i;
        w[i] = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
    }
    for (size_t i = 16; i < 64; i++) {
        const uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (turned(a, 7) ^ turned(a, 18) ^ a >> 3) + w[i - 7] +
               (turned(b, 17) ^ turned(b, 19) ^ b >> 10);
    }
    memcpy(s, state, sizeof s);
    for (size_t i = 0; i < 64; i++) {
        const uint32_t choice = (s[4] & s[5]) ^ (~s[4] & s[6]);
        const uint32_t majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
        const uint32_t one = s[7] + (turned(s[4], 6) ^ turned(s[4], 11) ^ turned(s[4], 25)) +
                             choice + SHA256_ROUNDS[i] + w[i];
        const uint32_t two = (turned(s[0], 2) ^ turned(s[0], 13) ^ turned(s[0], 22)) + majority;
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += one;
        s[0] = one + two;
    }
    for (size_t i = 0; i < 8; i++) {
        state[i] += s[i];
    }
}

static void sha256_begin(sha256 *hash)
{
    memcpy(hash->state, SHA256_START, sizeof hash->state);
    hash->length = 0;
}

static void sha256_add(sha256 *hash, const void *bytes, size_t count)
{
    const unsigned char *at = bytes;
    while (count > 0) {
        const size_t filled = hash->length % 64;
        const size_t part = count < 64 - filled ? count : 64 - filled;
        memcpy(hash->block + filled, at, part);
        hash->length += part;
        at += part;
        count -= part;
        if (hash->length % 64 == 0) {
            sha256_block(hash->state, hash->block);
        }
    }
}

static void sha256_end(sha256 *hash, char digits[DIGITS])
{
    static const unsigned char padding[64] = {0x80};
    const uint64_t bits = 8 * hash->length;
    sha256_add(hash, padding, 1 + (119 - hash->length % 64) % 64);
    unsigned char length[8];
    for (int i = 0; i < 8; i++) {
        length[i] = (unsigned char)(bits >> (56 - 8 * i));
    }
    sha256_add(hash, length, sizeof length);
    for (size_t i = 0; i < DIGITS; i++) {
        digits[i] = "0123456789abcdef"[hash->state[i / 8] >> (28 - 4 * (i % 8)) & 15];
    }
}

/* ---------------------------------------------------------------- numbers, in and out */

/* On machines of either byte order, as in files: the least significant byte first. */
static uint64_t get_u64(const unsigned char *bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) {
        value |= (uint64_t)bytes[i] << (8 * i);
    }
    return value;
}

static void put_u64(unsigned char *bytes, uint64_t value)
{
    for (int i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)(value >> (8 * i));
    }
}

static double get_double(const unsigned char *bytes)
{
    const uint64_t bits = get_u64(bytes);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void put_double(unsigned char *bytes, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_u64(bytes, bits);
}

enum { LONGEST_NUMBER = 40 };

/* strtod of a text of JSON, whatever the locale calls a decimal point. */
static bool read_double(double *value, const char *text, size_t length)
{
    char point[16], copy[LONGEST_NUMBER + sizeof point];
    RETURN_IF(length > LONGEST_NUMBER, false);
    snprintf(point, sizeof point, "%.1f", 0.5);
    point[strlen(point) - 1] = 0;
    size_t filled = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '.') {
            memcpy(copy + filled, point + 1, strlen(point + 1));
            filled += strlen(point + 1);
        } else {
            copy[filled++] = text[i];
        }
    }
    copy[filled] = 0;
    char *end;
    *value = strtod(copy, &end);
    return end == copy + filled && isfinite(*value);
}

/* The digits of a finite number, the fewest that stand for it and no other; returns the exponent of
 * the first. Beside powers of two the nearest text of so many digits may lie beyond what rounds to
 * the number where its successor does not. */
static int shortest_digits(char digits[18], double value)
{
    char text[LONGEST_NUMBER];
    for (int count = 1;; count++) {
        snprintf(text, sizeof text, "%.*e", count - 1, value);
        const char *exponent = strchr(text, 'e');
        size_t filled = 0;
        for (const char *at = text; at < exponent; at++) {
            if (*at >= '0' && *at <= '9') {
                digits[filled++] = *at;
            }
        }
        const int scale = atoi(exponent + 1);
        for (int more = 0; more < 2; more++) {
            double back;
            digits[filled] = 0;
            snprintf(text, sizeof text, "%se%d", digits, scale - count + 1);
            if (read_double(&back, text, strlen(text)) && back == value) {
                return scale;
            }
            if (digits[filled - 1] == '9') {
                break;
            }
            digits[filled - 1]++;
        }
        if (count == 17) {
            return scale; /* which is never reached: 17 digits are enough */
        }
    }
}

/* As Python prints a finite number: what it would print otherwise it does not read. */
static void write_double(char text[LONGEST_NUMBER], double value)
{
    if (signbit(value)) {
        *text++ = '-';
        value = -value;
    }
    char digits[18];
    const int scale = shortest_digits(digits, value), count = (int)strlen(digits);
    if (scale < -4 || scale > 15) {
        snprintf(text, LONGEST_NUMBER - 1, "%c%s%se%+03d", digits[0], count > 1 ? "." : "",
                 digits + 1, scale);
        return;
    }
    for (int at = scale > 0 ? scale : 0; at >= -1 || at > scale - count; at--) {
        if (at == -1) {
            *text++ = '.';
        }
        *text++ = scale - at >= 0 && scale - at < count ? digits[scale - at] : '0';
    }
    *text = 0;
}

/* ---------------------------------------------------------------- JSON */

/* A text that is read from front to end. `plain`: it is written as pycnn writes it, in ASCII, with
 * one blank behind each comma and colon and none else, and keys in ascending order. */
typedef struct {
    const char *at, *end;
    bool plain;
    int depth;
    const char *problem;
} reader;

/* A string that stands in the text: what is between its quotes. */
typedef struct {
    const char *begin, *end;
} span;

static int wrong(reader *in, const char *problem)
{
    if (in->problem == NULL) {
        in->problem = problem;
    }
    return PYCNN_ERROR_FILE;
}

static void skip_blanks(reader *in)
{
    while (!in->plain && in->at < in->end && strchr(" \t\n\r", *in->at) != NULL && *in->at != 0) {
        in->at++;
    }
}

/* What comes next; 0 at the end. */
static char next(reader *in)
{
    skip_blanks(in);
    return in->at < in->end ? *in->at : 0;
}

static bool takes(reader *in, char wanted)
{
    RETURN_IF(next(in) != wanted || wanted == 0, false);
    in->at++;
    if (in->plain && (wanted == ',' || wanted == ':')) {
        RETURN_IF(in->at == in->end || *in->at != ' ', false);
        in->at++;
    }
    return true;
}

static int expect(reader *in, char wanted)
{
    return takes(in, wanted) ? PYCNN_OK : wrong(in, "its JSON is not well formed");
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The four digits of an escape; -1 where there are none. */
static long hex_digits(const char *at, const char *end)
{
    RETURN_IF(end - at < 4, -1);
    long value = 0;
    for (int i = 0; i < 4; i++) {
        RETURN_IF(hex_digit(at[i]) < 0, -1);
        value = 16 * value + hex_digit(at[i]);
    }
    return value;
}

/* One character of a checked string, or what an escape stands for; a half of a pair stands alone
 * where the other is not there. */
static long character(const char **at, const char *end)
{
    const char first = *(*at)++;
    if (first != '\\') {
        return (unsigned char)first;
    }
    const char second = *(*at)++;
    switch (second) {
    case 'n': return '\n';
    case 't': return '\t';
    case 'r': return '\r';
    case 'b': return '\b';
    case 'f': return '\f';
    case 'u': break;
    default: return second;
    }
    const long high = hex_digits(*at, end);
    *at += 4;
    if (high >> 10 == 0xd800 >> 10 && end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u') {
        const long low = hex_digits(*at + 2, end);
        if (low >> 10 == 0xdc00 >> 10) {
            *at += 6;
            return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    return high;
}

/* What is behind a backslash; Python writes one escape for each character that needs one. */
static bool good_escape(const reader *in, const char *at)
{
    RETURN_IF(at == in->end, false);
    if (*at != 'u') {
        return strchr(in->plain ? "\"\\nrtbf" : "\"\\/nrtbf", *at) != NULL && *at != 0;
    }
    const long value = hex_digits(at + 1, in->end);
    RETURN_IF(value < 0 || !in->plain, value >= 0);
    for (int i = 1; i <= 4; i++) {
        RETURN_IF(at[i] >= 'A' && at[i] <= 'F', false);
    }
    return (value < ' ' && strchr("\n\r\t\b\f", (int)value) == NULL) || value == 0 || value > '~';
}

static int read_string(reader *in, span *found)
{
    TRY(expect(in, '"'));
    found->begin = in->at;
    while (in->at < in->end && *in->at != '"') {
        const unsigned char c = (unsigned char)*in->at++;
        const bool escaped = c == '\\';
        if (c < ' ' || (in->plain && c > '~') || (escaped && !good_escape(in, in->at))) {
            return wrong(in, "its JSON has a character or an escape that it must not have");
        }
        in->at += escaped ? (*in->at == 'u' ? 5 : 1) : 0;
    }
    found->end = in->at;
    return expect(in, '"');
}

/* -1, 0, 1 as two checked strings follow each other. */
static int compare_strings(span a, span b)
{
    while (a.begin < a.end && b.begin < b.end) {
        const long x = character(&a.begin, a.end), y = character(&b.begin, b.end);
        RETURN_IF(x != y, x < y ? -1 : 1);
    }
    return (a.begin < a.end) - (b.begin < b.end);
}

static bool is(span string, const char *text)
{
    return compare_strings(string, (span){text, text + strlen(text)}) == 0;
}

/* Writes a checked string as UTF-8 with a 0 behind; returns what comes after. It needs no more room
 * than it has in the text, and one. */
static char *unescape(char *out, span string)
{
    while (string.begin < string.end) {
        const bool escaped = *string.begin == '\\';
        const long c = character(&string.begin, string.end);
        if (!escaped || (c > 0 && c < 0x80)) { /* the bytes of UTF-8 itself go as they are */
            *out++ = (char)c;
        } else if (c < 0x800) {
            *out++ = (char)(0xc0 | c >> 6);
            *out++ = (char)(0x80 | (c & 63));
        } else {
            if (c < 0x10000) {
                *out++ = (char)(0xe0 | c >> 12);
            } else {
                *out++ = (char)(0xf0 | c >> 18);
                *out++ = (char)(0x80 | (c >> 12 & 63));
            }
            *out++ = (char)(0x80 | (c >> 6 & 63));
            *out++ = (char)(0x80 | (c & 63));
        }
    }
    *out++ = 0;
    return out;
}

/* A list's or an object's next member, of which there are `count` already; false: there is none.
 * The caller has read its opening bracket, by open_group. */
static int open_group(reader *in, char bracket)
{
    TRY(expect(in, bracket));
    return ++in->depth > MOST_NESTED ? wrong(in, "its JSON is nested too deep") : PYCNN_OK;
}

static int has_member(reader *in, char closing, bool first, bool *has)
{
    *has = next(in) != closing;
    if (!*has) {
        in->depth--;
        return expect(in, closing);
    }
    return first ? PYCNN_OK : expect(in, ',');
}

/* An object's next key; *key is the one before, or empty at the first. */
static int next_key(reader *in, span *key, bool *has)
{
    const span before = *key;
    TRY(has_member(in, '}', before.begin == NULL, has));
    RETURN_IF(!*has, PYCNN_OK);
    TRY(read_string(in, key));
    if (in->plain && before.begin != NULL && compare_strings(before, *key) >= 0) {
        return wrong(in, "its JSON has a key twice, or not in order");
    }
    return expect(in, ':');
}

static bool takes_word(reader *in, const char *word)
{
    skip_blanks(in);
    RETURN_IF((size_t)(in->end - in->at) < strlen(word), false);
    RETURN_IF(memcmp(in->at, word, strlen(word)) != 0, false);
    in->at += strlen(word);
    return true;
}

static void skip_digits(reader *in)
{
    while (in->at < in->end && *in->at >= '0' && *in->at <= '9') {
        in->at++;
    }
}

/* The text of a number, by JSON's grammar. */
static int read_number(reader *in, span *found)
{
    skip_blanks(in);
    found->begin = in->at;
    in->at += in->at < in->end && *in->at == '-';
    const char *digits = in->at;
    skip_digits(in);
    bool good = in->at > digits && (*digits != '0' || in->at == digits + 1);
    if (in->at < in->end && *in->at == '.') {
        digits = ++in->at;
        skip_digits(in);
        good = good && in->at > digits;
    }
    if (in->at < in->end && (*in->at == 'e' || *in->at == 'E')) {
        in->at++;
        in->at += in->at < in->end && (*in->at == '+' || *in->at == '-');
        digits = in->at;
        skip_digits(in);
        good = good && in->at > digits;
    }
    found->end = in->at;
    return good ? PYCNN_OK : wrong(in, "its JSON has something else where a value must be");
}

static int read_real(reader *in, double *value)
{
    span text;
    TRY(read_number(in, &text));
    return read_double(value, text.begin, (size_t)(text.end - text.begin))
               ? PYCNN_OK
               : wrong(in, "it has a number that no double holds");
}

static int read_size(reader *in, size_t *value)
{
    span text;
    TRY(read_number(in, &text));
    *value = 0;
    for (const char *at = text.begin; at < text.end; at++) {
        const size_t digit = (size_t)(*at - '0');
        if (*at < '0' || *at > '9' || *value > (PTRDIFF_MAX - digit) / 10) {
            return wrong(in, "it has something else where a size must be");
        }
        *value = 10 * *value + digit;
    }
    return PYCNN_OK;
}

/* Any value, checked and left alone. */
static int skip_value(reader *in)
{
    const char first = next(in);
    span unused = {NULL, NULL};
    if (first == '"') {
        return read_string(in, &unused);
    }
    if (first == '{' || first == '[') {
        TRY(open_group(in, first));
        for (bool has = true, begun = false;; begun = true) {
            TRY(first == '{' ? next_key(in, &unused, &has) : has_member(in, ']', !begun, &has));
            RETURN_IF(!has, PYCNN_OK);
            TRY(skip_value(in));
        }
    }
    RETURN_IF(takes_word(in, "null") || takes_word(in, "true") || takes_word(in, "false"),
              PYCNN_OK);
    return read_number(in, &unused);
}

/* Whether bytes are UTF-8: no overlong forms, no halves of pairs. */
static bool is_utf8(const unsigned char *at, const unsigned char *end)
{
    while (at < end) {
        const unsigned char c = *at++;
        const int more = c < 0x80   ? 0
                         : c < 0xc2 ? -1
                         : c < 0xe0 ? 1
                         : c < 0xf0 ? 2
                         : c < 0xf5 ? 3
                                    : -1;
        RETURN_IF(more < 0 || end - at < more, false);
        for (int i = 0; i < more; i++) {
            const unsigned char least = i > 0 ? 0x80 : c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
            const unsigned char most = i > 0 ? 0xbf : c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
            RETURN_IF(at[i] < least || at[i] > most, false);
        }
        at += more;
    }
    return true;
}

/* ---------------------------------------------------------------- layers and losses by name */

static const char *const ACTIVATIONS[PYCNN_ACTIVATION_COUNT] = {
    [PYCNN_LINEAR] = "linear",
    [PYCNN_SIGMOID] = "sigmoid",
    [PYCNN_RELU] = "relu",
    [PYCNN_TANH] = "tanh",
    [PYCNN_SOFTMAX] = "softmax",
    [PYCNN_LEAKY_RELU] = "leaky_relu",
    [PYCNN_ELU] = "elu",
    [PYCNN_SELU] = "selu",
    [PYCNN_GELU] = "gelu",
    [PYCNN_GELU_TANH] = "gelu_tanh",
    [PYCNN_SILU] = "silu",
    [PYCNN_SOFTPLUS] = "softplus",
    [PYCNN_SOFTSIGN] = "softsign",
    [PYCNN_HARD_SIGMOID] = "hard_sigmoid",
    [PYCNN_HARD_TANH] = "hard_tanh",
};

/* A loss that carries a number has a name for it, and the number where it is not said. */
typedef struct {
    const char *name, *key;
    double value;
} loss_row;

static const loss_row LOSSES[PYCNN_LOSS_COUNT] = {
    [PYCNN_MSE] = {"mse", NULL, 0},
    [PYCNN_BINARY_CROSSENTROPY] = {"binary_crossentropy", "label_smoothing", 0},
    [PYCNN_CATEGORICAL_CROSSENTROPY] = {"categorical_crossentropy", "label_smoothing", 0},
    [PYCNN_MAE] = {"mae", NULL, 0},
    [PYCNN_HUBER] = {"huber", "delta", 1},
    [PYCNN_POISSON] = {"poisson", NULL, 0},
    [PYCNN_HINGE] = {"hinge", NULL, 0},
    [PYCNN_QUANTILE] = {"quantile", "q", 0.5},
    [PYCNN_KL_DIVERGENCE] = {"kl_divergence", NULL, 0},
};

/* Kinds of layers: of those that are one to the core, the first is what is written. */
static const struct {
    const char *name;
    int kind;
} KINDS[] = {
    {"dense", PYCNN_DENSE},
    {"dropout", PYCNN_DROPOUT},
    {"batch_norm", PYCNN_BATCH_NORM},
    {"layer_norm", PYCNN_LAYER_NORM},
    {"residual", PYCNN_RESIDUAL},
    {"flatten", PYCNN_RESHAPE},
    {"reshape", PYCNN_RESHAPE},
    {"rescale", PYCNN_RESCALE},
    {"conv2d", PYCNN_CONVOLUTION},
    {"conv1d", PYCNN_CONVOLUTION},
    {"spatial_dropout", PYCNN_DROPOUT},
    {"max_pool2d", PYCNN_MAX_POOL},
    {"max_pool1d", PYCNN_MAX_POOL},
    {"average_pool2d", PYCNN_AVERAGE_POOL},
    {"average_pool1d", PYCNN_AVERAGE_POOL},
    {"global_max_pool2d", PYCNN_MAX_POOL},
    {"global_max_pool1d", PYCNN_MAX_POOL},
    {"global_average_pool2d", PYCNN_AVERAGE_POOL},
    {"global_average_pool1d", PYCNN_AVERAGE_POOL},
    {"zero_padding2d", PYCNN_ZERO_PADDING},
    {"simple_rnn", PYCNN_SIMPLE_RNN},
    {"lstm", PYCNN_LSTM},
    {"gru", PYCNN_GRU},
    {"bidirectional", PYCNN_CONCATENATE},
    {"embedding", PYCNN_EMBEDDING},
    {"tied_dense", PYCNN_TIED_DENSE},
    {"multi_head_attention", PYCNN_ATTENTION},
    {"position_embedding", PYCNN_POSITION_EMBEDDING},
    {"transformer_block", PYCNN_STACK},
};
enum {
    KIND_COUNT = sizeof KINDS / sizeof *KINDS,
    DENSE = 1 << 0,
    DROPOUT = 1 << 1,
    BATCH_NORM = 1 << 2,
    LAYER_NORM = 1 << 3,
    RESIDUAL = 1 << 4,
    RESHAPE = 1 << 6,
    RESCALE = 1 << 7,
    CONV2D = 1 << 8,
    CONV1D = 1 << 9,
    CONV = CONV1D | CONV2D,
    SPATIAL_DROPOUT = 1 << 10,
    MAX_POOL2D = 1 << 11,
    MAX_POOL1D = 1 << 12,
    AVERAGE_POOL2D = 1 << 13,
    AVERAGE_POOL1D = 1 << 14,
    POOL = MAX_POOL2D | MAX_POOL1D | AVERAGE_POOL2D | AVERAGE_POOL1D,
    ZERO_PADDING2D = 1 << 19, /* behind those that pool whole images, which have no settings */
    SIMPLE_RNN = 1 << 20,
    RECURRENT = SIMPLE_RNN | 1 << 21 | 1 << 22,
    BOTH_WAYS = 23,
    BIDIRECTIONAL = 1 << BOTH_WAYS,
    EMBEDDING = 1 << 24,
    TIED_DENSE = 1 << 25,
    ATTENTION = 1 << 26,
    POSITIONS = 1 << 27,
    BLOCK = 1 << 28,
    BLOCK_PARTS = 9, /* layers that a block is made of, at the most */
    ALONG_ONE_AXIS = CONV1D | MAX_POOL1D | AVERAGE_POOL1D,
    WITH_WEIGHTS = DENSE | CONV | RECURRENT
};

/* What a layer's description may say, in ascending order. */
typedef enum {
    ACTIVATION,
    COUNT,
    COUNTS, /* along the axes: one number where there is one of them */
    FLAG,
    IGNORED,
    INNER,
    KIND,
    LAYER, /* which goes both ways */
    MAYBE_COUNT,
    MAYBE_REAL,
    MERGE,
    NOT,
    PADDING,
    REAL,
    SHAPE,
    SHORTCUT,
    WAVES /* or a table that is learned */
} field_type;
typedef struct {
    const char *key;
    field_type type;
    int kinds;    /* that have it: bits, by the rows of KINDS */
    int required; /* by these of them */
    size_t offset;
} field;

#define AT(member) offsetof(pycnn_layer_spec, member)
static const field FIELDS[] = {
    {"activation", ACTIVATION,
     DENSE | BATCH_NORM | LAYER_NORM | RESIDUAL | CONV | SIMPLE_RNN | TIED_DENSE | BLOCK, 0,
     AT(activation)},
    {"bias_initializer", IGNORED, WITH_WEIGHTS, 0, 0},
    {"causal", FLAG, ATTENTION | BLOCK, 0, AT(causal)},
    {"dilation", COUNTS, CONV, 0, AT(dilation)},
    {"dropout", REAL, BLOCK, 0, AT(rate)},
    {"epsilon", REAL, BATCH_NORM | LAYER_NORM, 0, AT(epsilon)},
    {"filters", COUNT, CONV, CONV, AT(units)},
    {"heads", COUNT, ATTENTION | BLOCK, ATTENTION | BLOCK, AT(heads)},
    {"hidden", MAYBE_COUNT, BLOCK, 0, AT(units)},
    {"kernel_size", COUNTS, CONV, CONV, AT(kernel)},
    {"kind", KIND, (1 << KIND_COUNT) - 1, (1 << KIND_COUNT) - 1, AT(kind)},
    {"l1", REAL, WITH_WEIGHTS, 0, AT(l1)},
    {"l2", REAL, WITH_WEIGHTS, 0, AT(l2)},
    {"layer", LAYER, BIDIRECTIONAL, BIDIRECTIONAL, 0},
    {"layers", INNER, RESIDUAL, RESIDUAL, 0},
    {"max_norm", MAYBE_REAL, WITH_WEIGHTS, 0, AT(max_norm)},
    {"merge", MERGE, BIDIRECTIONAL, 0, AT(activation)}, /* which it has none of */
    {"momentum", REAL, BATCH_NORM, 0, AT(momentum)},
    {"norm_first", NOT, BLOCK, 0, AT(no_bias)}, /* which it has none of */
    {"offset", REAL, RESCALE, 0, AT(offset)},
    {"padding", PADDING, CONV | POOL | ZERO_PADDING2D, 0, AT(padding)},
    {"pool_size", COUNTS, POOL, 0, AT(kernel)},
    {"position_kind", WAVES, POSITIONS, POSITIONS, AT(sinusoidal)},
    {"rate", REAL, DROPOUT | SPATIAL_DROPOUT, 0, AT(rate)},
    {"recurrent_initializer", IGNORED, RECURRENT, 0, 0},
    {"return_sequences", FLAG, RECURRENT, 0, AT(return_sequences)},
    {"reverse", FLAG, RECURRENT, 0, AT(reverse)},
    {"scale", REAL, RESCALE, RESCALE, AT(scale)},
    {"shape", SHAPE, RESHAPE, RESHAPE, AT(shape)},
    {"shortcut", SHORTCUT, RESIDUAL, RESIDUAL, 0},
    {"strides", COUNTS, CONV | POOL, 0, AT(strides)},
    {"units", COUNT, DENSE | RECURRENT | EMBEDDING, DENSE | RECURRENT | EMBEDDING, AT(units)},
    {"use_bias", NOT, CONV, 0, AT(no_bias)},
    {"weight_initializer", IGNORED, WITH_WEIGHTS, 0, 0},
};
enum { FIELD_COUNT = sizeof FIELDS / sizeof *FIELDS };
static const char *const PADDINGS[] = {[PYCNN_VALID] = "valid", [PYCNN_SAME] = "same"};
enum { MARGINS = 2 }; /* is no such padding, but numbers */

/* What becomes of both ways through a sequence. */
static const char *const MERGES[] = {"concatenate", "sum"};

/* What is added to positions. */
static const char *const POSITION_KINDS[] = {"learned", "sinusoidal"};

static int read_name(reader *in, int *found, const char *const *names, int count,
                     const char *problem)
{
    span name;
    TRY(read_string(in, &name));
    for (*found = 0; *found < count; ++*found) {
        RETURN_IF(is(name, names[*found]), PYCNN_OK);
    }
    return wrong(in, problem);
}

/* Layers as they are read: those of a list wait until it ends, and then lie side by side. */
typedef struct {
    pycnn_layer_spec *ready, *waiting; /* [most] */
    size_t ready_count, waiting_count, count, most;
    double l1, l2; /* the whole network's penalty */
} layer_list;

static int read_layer(reader *in, layer_list *list, pycnn_layer_spec *spec);

static int read_layers(reader *in, layer_list *list, const pycnn_layer_spec **first, size_t *count)
{
    const size_t before = list->waiting_count;
    TRY(open_group(in, '['));
    for (bool has = true;;) {
        TRY(has_member(in, ']', list->waiting_count == before, &has));
        if (!has) {
            break;
        }
        pycnn_layer_spec spec;
        TRY(read_layer(in, list, &spec));
        list->waiting[list->waiting_count++] = spec;
    }
    *first = list->ready + list->ready_count;
    *count = list->waiting_count - before;
    memcpy(list->ready + list->ready_count, list->waiting + before, *count * sizeof **first);
    list->ready_count += *count;
    list->waiting_count = before;
    return *count > 0 ? PYCNN_OK : wrong(in, "it has a list of no layers");
}

/* The row of a kind. */
static int read_kind(reader *in, int *row)
{
    const char *names[KIND_COUNT];
    for (int i = 0; i < KIND_COUNT; i++) {
        names[i] = KINDS[i].name;
    }
    return read_name(in, row, names, KIND_COUNT,
                     "it has a kind of layer that this version does not know");
}

/* A size that follows from the others of a shape; in a file -1. */
#define FOLLOWS SIZE_MAX

static int read_size_of_axis(reader *in, size_t *size, bool may_follow)
{
    if (may_follow && takes_word(in, "-1")) {
        *size = FOLLOWS;
        return PYCNN_OK;
    }
    TRY(read_size(in, size));
    return *size > 0 ? PYCNN_OK : wrong(in, "it has something else where a size must be");
}

/* Up to `most` sizes, in a list; their number. */
static int read_sizes(reader *in, size_t *sizes, size_t most, size_t *count, bool may_follow)
{
    bool has = true;
    TRY(open_group(in, '['));
    for (*count = 0;; ++*count) {
        TRY(has_member(in, ']', *count == 0, &has));
        RETURN_IF(!has, PYCNN_OK);
        RETURN_IF(*count == most, wrong(in, "it has a shape of more axes than there are"));
        TRY(read_size_of_axis(in, &sizes[*count], may_follow));
    }
}

/* A sample's shape: rows, columns and features, of which a sequence lacks the first, and what is
 * neither has but the last. */
static int read_shape_of_sample(reader *in, size_t shape[3], bool may_follow)
{
    size_t sizes[3] = {0}, count = 1;
    if (next(in) == '[') {
        TRY(read_sizes(in, sizes, 3, &count, may_follow));
    } else {
        TRY(read_size(in, sizes));
    }
    RETURN_IF(count == 0, wrong(in, "it has a shape of no axes"));
    memset(shape, 0, 3 * sizeof *shape);
    memcpy(shape + 3 - count, sizes, count * sizeof *sizes);
    shape[0] += count == 2; /* one row */
    return PYCNN_OK;
}

/* Rows and columns. What a layer's axes are is not known yet: of one number alone the first is 0,
 * of a list of one it is SIZE_MAX. */
static int read_sizes_along(reader *in, size_t sizes[2])
{
    size_t count;
    sizes[0] = 0;
    if (next(in) != '[') {
        TRY(read_size(in, &sizes[1]));
        return sizes[1] > 0 ? PYCNN_OK : wrong(in, "it has something else where a size must be");
    }
    TRY(read_sizes(in, sizes, 2, &count, false));
    RETURN_IF(count == 0, wrong(in, "it has something else where a size must be"));
    if (count == 1) {
        sizes[1] = sizes[0];
        sizes[0] = SIZE_MAX;
    }
    return PYCNN_OK;
}

/* The same once the row of KINDS is: a sequence has one row, and one number stands for both axes of
 * an image. Nothing, or null, is the size of what pools. */
static bool settle_sizes(size_t sizes[2], int row)
{
    if (sizes[1] == 0) {
        return POOL >> row & 1;
    }
    if (ALONG_ONE_AXIS >> row & 1) {
        const bool one = sizes[0] == 0 || sizes[0] == SIZE_MAX;
        sizes[0] = 1;
        return one;
    }
    sizes[0] = sizes[0] == 0 ? sizes[1] : sizes[0];
    return sizes[0] != SIZE_MAX;
}

/* Two sizes, or one that stands for both; 0 may be. */
static int read_margins(reader *in, size_t sides[2])
{
    if (next(in) != '[') {
        TRY(read_size(in, &sides[0]));
        sides[1] = sides[0];
        return PYCNN_OK;
    }
    bool has = true;
    TRY(open_group(in, '['));
    for (size_t i = 0; i < 3; i++) {
        TRY(has_member(in, ']', i == 0, &has));
        RETURN_IF(has != (i < 2), wrong(in, "it has something else where two sizes must be"));
        if (has) {
            TRY(read_size(in, &sides[i]));
        }
    }
    return PYCNN_OK;
}

/* What is beyond an image: by its name, or as margins of rows and of columns, or of both. */
static int read_padding(reader *in, pycnn_layer_spec *spec)
{
    size_t *margins = spec->margins;
    if (next(in) == '"') {
        return read_name(in, &spec->padding, PADDINGS, 2, "it has a padding of no kind");
    }
    spec->padding = MARGINS;
    if (next(in) != '[') {
        TRY(read_margins(in, margins));
        memcpy(margins + 2, margins, 2 * sizeof *margins);
        return PYCNN_OK;
    }
    bool has = true;
    TRY(open_group(in, '['));
    for (size_t i = 0; i < 3; i++) {
        TRY(has_member(in, ']', i == 0, &has));
        RETURN_IF(has != (i < 2), wrong(in, "it has something else where two sizes must be"));
        if (has) {
            TRY(read_margins(in, margins + 2 * i));
        }
    }
    return PYCNN_OK;
}

static bool is_recurrent(const pycnn_layer_spec *spec)
{
    return spec->kind == PYCNN_SIMPLE_RNN || spec->kind == PYCNN_LSTM || spec->kind == PYCNN_GRU;
}

/* A recurrent layer, and the same from the other end. */
static int read_both_ways(reader *in, layer_list *list, pycnn_layer_spec *spec)
{
    pycnn_layer_spec forward;
    TRY(read_layer(in, list, &forward));
    RETURN_IF(!is_recurrent(&forward),
              wrong(in, "it has a layer whose settings are not those of its kind"));
    if (list->count++ >= list->most) {
        return wrong(in, "it has more layers than a file may have");
    }
    pycnn_layer_spec *both = &list->ready[list->ready_count];
    list->ready_count += 2;
    both[0] = both[1] = forward;
    both[0].name = "forward";
    both[1].name = "backward";
    both[1].reverse = !forward.reverse;
    spec->inner = &both[0];
    spec->inner_depth = 1;
    spec->shortcut = &both[1];
    return PYCNN_OK;
}

/* A layer within a block, with the penalty that is the whole network's. */
static pycnn_layer_spec part_of(const pycnn_layer_spec *block, int kind, const char *name)
{
    return (pycnn_layer_spec){
        .kind = kind, .name = name, .l1 = block->l1, .l2 = block->l2, .epsilon = 1e-5};
}

/* One half of a block: attention, or two dense layers, with a norm in front or behind the sum.
 * `top` and `inner` are where its parts are put, on top of each other and within. */
static void read_half(const pycnn_layer_spec *block, bool is_attention, pycnn_layer_spec **top,
                      pycnn_layer_spec **inner)
{
    const bool norm_first = !block->no_bias;
    const pycnn_layer_spec norm =
        part_of(block, PYCNN_LAYER_NORM, is_attention ? "norm_1" : "norm_2");
    pycnn_layer_spec half = part_of(block, PYCNN_RESIDUAL, ""), *at = *inner;
    half.inner = at;
    if (norm_first) {
        *at++ = norm;
    }
    if (is_attention) {
        *at = part_of(block, PYCNN_ATTENTION, "attention");
        at->heads = block->heads;
        at++->causal = block->causal;
    } else {
        *at = part_of(block, PYCNN_DENSE, "dense_1");
        at->units = block->units;
        at++->activation = block->activation;
        *at++ = part_of(block, PYCNN_DENSE, "dense_2");
    }
    if (block->rate > 0) {
        *at = part_of(block, PYCNN_DROPOUT, is_attention ? "dropout_1" : "dropout_2");
        at++->rate = block->rate;
    }
    half.inner_depth = (size_t)(at - *inner);
    *(*top)++ = half;
    if (!norm_first) {
        *(*top)++ = norm;
    }
    *inner = at;
}

/* The layers that a block is made of, as in Python; the sizes that follow from what it reads are
 * found later. */
static int read_block(reader *in, layer_list *list, pycnn_layer_spec *block)
{
    list->count += BLOCK_PARTS;
    if (list->count > list->most) {
        return wrong(in, "it has more layers than a file may have");
    }
    pycnn_layer_spec *const begin = &list->ready[list->ready_count], *top = begin;
    block->inner_depth = block->no_bias ? 4 : 2;
    pycnn_layer_spec *inner = begin + block->inner_depth;
    read_half(block, true, &top, &inner);
    read_half(block, false, &top, &inner);
    list->ready_count += (size_t)(inner - begin);
    block->inner = begin;
    return PYCNN_OK;
}

static int read_flag(reader *in, int *flag)
{
    *flag = takes_word(in, "true");
    return *flag || takes_word(in, "false")
               ? PYCNN_OK
               : wrong(in, "it has something else where true or false must be");
}

static int read_field(reader *in, layer_list *list, pycnn_layer_spec *spec, const field *field)
{
    void *member = (char *)spec + field->offset;
    switch (field->type) {
    case ACTIVATION:
        return read_name(in, member, ACTIVATIONS, PYCNN_ACTIVATION_COUNT,
                         "it has an activation that this version does not know");
    case KIND: return read_kind(in, member);
    case INNER: return read_layers(in, list, &spec->inner, &spec->inner_depth);
    case SHORTCUT:
        RETURN_IF(takes_word(in, "null"), PYCNN_OK);
        pycnn_layer_spec beside;
        TRY(read_layer(in, list, &beside));
        list->ready[list->ready_count] = beside;
        spec->shortcut = &list->ready[list->ready_count++];
        return PYCNN_OK;
    case COUNT: return read_size(in, member);
    case COUNTS:
        RETURN_IF(field->offset == AT(strides) && takes_word(in, "null"), PYCNN_OK);
        return read_sizes_along(in, member);
    case SHAPE: return read_shape_of_sample(in, member, true);
    case PADDING: return read_padding(in, spec);
    case FLAG: return read_flag(in, member);
    case NOT:
        TRY(read_flag(in, member));
        *(int *)member = !*(int *)member;
        return PYCNN_OK;
    case LAYER: return read_both_ways(in, list, spec);
    case MERGE: return read_name(in, member, MERGES, 2, "it has a merge of no kind");
    case WAVES:
        return read_name(in, member, POSITION_KINDS, 2, "it has a kind of positions that is none");
    case MAYBE_COUNT:
        RETURN_IF(takes_word(in, "null"), PYCNN_OK);
        return read_size_of_axis(in, member, false);
    case MAYBE_REAL: RETURN_IF(takes_word(in, "null"), PYCNN_OK); return read_real(in, member);
    case REAL: return read_real(in, member);
    default: return skip_value(in);
    }
}

/* What is not said of windows that pool, and of margins; and the kind, by a row of KINDS. */
static void fill_in(pycnn_layer_spec *spec, int row)
{
    if ((POOL >> row & 1) && spec->kernel[1] == 0) {
        spec->kernel[0] = ALONG_ONE_AXIS >> row & 1 ? 1 : 2;
        spec->kernel[1] = 2;
    }
    if ((POOL >> row & 1) && spec->strides[1] == 0) {
        memcpy(spec->strides, spec->kernel, sizeof spec->strides);
    }
    if (spec->padding == MARGINS) {
        spec->padding = PYCNN_VALID;
    }
    spec->kind = KINDS[row].kind;
    if (row == BOTH_WAYS) {
        spec->kind = spec->activation == 0 ? PYCNN_CONCATENATE : PYCNN_RESIDUAL;
        spec->activation = PYCNN_LINEAR;
    }
}

static int usual_activation(int row)
{
    return SIMPLE_RNN >> row & 1   ? PYCNN_TANH
           : TIED_DENSE >> row & 1 ? PYCNN_SOFTMAX
           : BLOCK >> row & 1      ? PYCNN_GELU
                                   : PYCNN_LINEAR;
}

/* What is not said is as in Python. */
static int read_layer(reader *in, layer_list *list, pycnn_layer_spec *spec)
{
    if (list->count++ >= list->most) {
        return wrong(in, "it has more layers than a file may have");
    }
    *spec =
        (pycnn_layer_spec){.rate = NAN, .epsilon = 1e-5, .momentum = 0.1, .margins = {1, 1, 1, 1}};
    bool said[FIELD_COUNT] = {false};
    span key = {NULL, NULL};
    TRY(open_group(in, '{'));
    for (bool has = true;;) {
        TRY(next_key(in, &key, &has));
        if (!has) {
            break;
        }
        size_t i = 0;
        while (i < FIELD_COUNT && !is(key, FIELDS[i].key)) {
            i++;
        }
        if (i == FIELD_COUNT) {
            return wrong(in, "it has a layer with a setting that this version does not know");
        }
        said[i] = true;
        TRY(read_field(in, list, spec, &FIELDS[i]));
    }
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        const field *field = &FIELDS[i];
        bool good = said[i] ? field->kinds >> spec->kind & 1 : !(field->required >> spec->kind & 1);
        if (good && said[i] && field->type == COUNTS) {
            good = settle_sizes((size_t *)(void *)((char *)spec + field->offset), spec->kind);
        } else if (good && said[i] && field->type == PADDING) {
            good = (spec->padding == MARGINS) == (ZERO_PADDING2D >> spec->kind & 1);
        }
        RETURN_IF(!good, wrong(in, "it has a layer whose settings are not those of its kind"));
    }
    spec->shape[2] += SPATIAL_DROPOUT >> spec->kind & 1; /* it has features, to be found */
    if (!said[0] && (FIELDS[0].kinds >> spec->kind & 1)) {
        spec->activation = usual_activation(spec->kind);
    }
    if (isnan(spec->rate)) { /* was not said */
        spec->rate = BLOCK >> spec->kind & 1 ? 0 : 0.5;
    }
    spec->l1 += list->l1;
    spec->l2 += list->l2;
    const bool is_block = BLOCK >> spec->kind & 1;
    fill_in(spec, spec->kind);
    return is_block ? read_block(in, list, spec) : PYCNN_OK;
}

/* What a window reaches, and how often it fits, along an axis. What cannot be is refused by the
 * core, which is asked afterwards. */
static size_t count_windows(const pycnn_layer_spec *spec, int axis)
{
    const size_t in = spec->shape[axis], stride = MAX(spec->strides[axis], 1);
    const size_t dilation = spec->kind == PYCNN_CONVOLUTION ? MAX(spec->dilation[axis], 1) : 1;
    const size_t reach = (spec->kernel[axis] - 1) * dilation + 1;
    if (spec->padding == PYCNN_SAME) {
        return in / stride + (in % stride > 0);
    }
    return reach > in ? 0 : (in - reach) / stride + 1;
}

/* The shape of a sample in front of a layer -> that behind it. */
static void pass_shape(const pycnn_layer_spec *spec, size_t shape[3])
{
    switch (spec->kind) {
    case PYCNN_DENSE:
        shape[2] = spec->units;
        if (spec->shape[2] == 0) {
            shape[0] = shape[1] = 0;
        }
        return;
    case PYCNN_EMBEDDING:
        shape[0] = 1;
        shape[1] = shape[2];
        shape[2] = spec->units;
        return;
    case PYCNN_TIED_DENSE: shape[2] = spec->units; return;
    case PYCNN_CONVOLUTION:
        shape[0] = count_windows(spec, 0);
        shape[1] = count_windows(spec, 1);
        shape[2] = spec->units;
        return;
    case PYCNN_MAX_POOL:
    case PYCNN_AVERAGE_POOL:
        shape[0] = count_windows(spec, 0);
        shape[1] = count_windows(spec, 1);
        return;
    case PYCNN_ZERO_PADDING:
        shape[0] += spec->margins[0] + spec->margins[1];
        shape[1] += spec->margins[2] + spec->margins[3];
        return;
    case PYCNN_SIMPLE_RNN:
    case PYCNN_LSTM:
    case PYCNN_GRU:
        shape[2] = spec->units;
        if (!spec->return_sequences) {
            shape[0] = shape[1] = 0;
        }
        return;
    case PYCNN_CONCATENATE: shape[2] *= 2; return;
    default: return;
    }
}

static bool pools(int kind) { return kind == PYCNN_MAX_POOL || kind == PYCNN_AVERAGE_POOL; }

static bool normalizes(const pycnn_layer_spec *spec)
{
    return spec->kind == PYCNN_BATCH_NORM || spec->kind == PYCNN_LAYER_NORM;
}

/* Whether a layer's spec says which images it reads. */
static bool reads_images(const pycnn_layer_spec *spec)
{
    const bool by_features = normalizes(spec) || spec->kind == PYCNN_DROPOUT;
    return spec->kind == PYCNN_CONVOLUTION || pools(spec->kind) || is_recurrent(spec) ||
           spec->kind == PYCNN_ZERO_PADDING || spec->kind == PYCNN_ATTENTION ||
           spec->kind == PYCNN_POSITION_EMBEDDING ||
           ((by_features || spec->kind == PYCNN_TIED_DENSE || spec->kind == PYCNN_DENSE) &&
            spec->shape[2] > 0);
}

/* Whether it takes what it reads for one row. */
static bool reads_rows(const pycnn_layer_spec *spec)
{
    return (spec->kind == PYCNN_DENSE || normalizes(spec)) && !reads_images(spec);
}

static bool is_image(const size_t shape[3]) { return shape[0] > 0; }

static bool is_sequence(const size_t shape[3]) { return shape[0] == 1; }

/* The shape of a sample in front of a layer that gives it another -> that one, in which a size may
 * follow from the others. */
static void reshape(size_t shape[3], const size_t wanted[3])
{
    size_t numbers = 1, known = 1;
    for (size_t i = 0; i < 3; i++) {
        numbers *= MAX(shape[i], 1);
        known *= wanted[i] == FOLLOWS ? 1 : MAX(wanted[i], 1);
    }
    for (size_t i = 0; i < 3; i++) {
        shape[i] = wanted[i] == FOLLOWS ? numbers / MAX(known, 1) : wanted[i];
    }
}

/* The half of a block that has dense layers, and the first of these. */
static const pycnn_layer_spec *dense_half_of(const pycnn_layer_spec *block)
{
    return &block->inner[block->inner_depth / 2];
}

static const pycnn_layer_spec *dense_of(const pycnn_layer_spec *block)
{
    return &dense_half_of(block)->inner[block->inner_depth == 2];
}

/* Tells layers of images what shape they have, which files leave to be found. */
static void find_shapes(pycnn_layer_spec *specs, size_t depth, size_t shape[3])
{
    for (size_t i = 0; i < depth; i++) {
        pycnn_layer_spec *spec = &specs[i];
        if (spec->kind == PYCNN_RESHAPE) {
            if (spec->shape[2] > 0) {
                reshape(shape, spec->shape);
                for (size_t axis = 0; axis < 3; axis++) { /* of a row the core wants none */
                    spec->shape[axis] = is_image(shape) ? shape[axis] : 0;
                }
            } else if (is_image(shape)) {
                shape[2] *= shape[0] * shape[1];
                shape[0] = shape[1] = 0;
            }
            continue;
        }
        if (spec->kind == PYCNN_RESIDUAL || spec->kind == PYCNN_CONCATENATE) {
            size_t beside[3];
            memcpy(beside, shape, sizeof beside);
            find_shapes((pycnn_layer_spec *)spec->inner, spec->inner_depth, shape);
            find_shapes((pycnn_layer_spec *)spec->shortcut, spec->shortcut != NULL, beside);
            pass_shape(spec, shape);
            continue;
        }
        if (spec->kind == PYCNN_STACK) {
            pycnn_layer_spec *dense = (pycnn_layer_spec *)dense_of(spec);
            if (dense->units == 0) {
                dense->units = shape[2] > SIZE_MAX / 4 ? SIZE_MAX : 4 * shape[2];
            }
            dense[1].units = shape[2];
            find_shapes((pycnn_layer_spec *)spec->inner, spec->inner_depth, shape);
            continue;
        }
        const bool may_read = normalizes(spec) || spec->kind == PYCNN_TIED_DENSE;
        const bool by_position = spec->kind == PYCNN_DENSE || spec->kind == PYCNN_RESCALE;
        if (reads_images(spec) || (may_read && is_image(shape)) ||
            (by_position && is_sequence(shape))) {
            memcpy(spec->shape, shape, sizeof spec->shape);
        }
        const bool whole = pools(spec->kind) && spec->kernel[0] == 0; /* one window, and a row */
        if (whole) {
            memcpy(spec->kernel, shape, sizeof spec->kernel);
        }
        pass_shape(spec, shape);
        if (whole) {
            shape[0] = shape[1] = 0;
        }
    }
}

static int find_loss(reader *in, int *loss)
{
    const char *names[PYCNN_LOSS_COUNT];
    for (int i = 0; i < PYCNN_LOSS_COUNT; i++) {
        names[i] = LOSSES[i].name;
    }
    return read_name(in, loss, names, PYCNN_LOSS_COUNT,
                     "it has a loss that this version does not know");
}

static int read_loss(reader *in, int *loss, double *parameter)
{
    if (next(in) == '"') {
        TRY(find_loss(in, loss));
        *parameter = LOSSES[*loss].value;
        return PYCNN_OK;
    }
    span key = {NULL, NULL}, number = {NULL, NULL};
    bool has = true, named = false;
    TRY(open_group(in, '{'));
    for (;;) {
        TRY(next_key(in, &key, &has));
        if (!has) {
            break;
        }
        if (is(key, "name")) {
            reader custom = *in;
            span name;
            named = true;
            TRY(read_string(&custom, &name));
            if (is(name, "custom")) {
                *in = custom;
                *loss = PYCNN_CUSTOM;
                *parameter = 0;
            } else {
                TRY(find_loss(in, loss));
                *parameter = number.begin == NULL ? LOSSES[*loss].value : *parameter;
            }
        } else if (number.begin == NULL) {
            number = key;
            TRY(read_real(in, parameter));
        } else {
            return wrong(in, "it has a loss with settings of another");
        }
    }
    const char *wanted = named && *loss != PYCNN_CUSTOM ? LOSSES[*loss].key : NULL;
    const bool good = named && (number.begin == NULL ? *loss == PYCNN_CUSTOM || wanted != NULL
                                                     : wanted != NULL && is(number, wanted));
    return good ? PYCNN_OK : wrong(in, "it has a loss with settings of another");
}

/* ---------------------------------------------------------------- the description */

/* An array of the network by its name in the file. */
typedef struct {
    const char *name;
    pycnn_tensor place;
    const unsigned char *content; /* where a file has it */
} named_tensor;

typedef struct {
    pycnn_file shown; /* in front: what the caller has is a pointer to the model */
    double *block;    /* in which theta is */
    pycnn_layer_spec *specs;
    char *description;     /* without a training's state, and without the older checksum */
    size_t length, seal;   /* of it; where in it that checksum stands in a file */
    char *texts;           /* of labels and names */
    const char **lists;    /* [class_count + feature_count] */
    double *units;         /* [2,outputs] of the targets */
    named_tensor *tensors; /* in the order of their names, and of a file */
    size_t tensor_count;
    char *names;
} model;

/* What is found in a description on the way through it; the places of what has to wait. */
typedef struct {
    size_t format, inputs, depth;
    size_t shape[3];   /* of a sample */
    size_t vocabulary; /* of tokens, which it consists of; 0: of numbers */
    double loss_parameter;
    int loss;
    const pycnn_layer_spec *layers;
    layer_list list;
    reader classes, names, unit; /* at the value, or at NULL */
    span seal, seal_member;      /* the older checksum, and all that it stands in */
    span training_member;
    const char *behind_seal; /* the first key that comes after it */
    bool has_version;
} description;

static const char SEAL_KEY[] = "sha256";
static const span SEAL = {SEAL_KEY, SEAL_KEY + sizeof SEAL_KEY - 1};

/* How many tokens a sample consists of, and how many different ones there are. */
static int read_tokens(reader *in, description *found)
{
    span key = {NULL, NULL};
    TRY(open_group(in, '{'));
    for (bool has = true;;) {
        TRY(next_key(in, &key, &has));
        if (!has) {
            break;
        }
        if (!is(key, "length") && !is(key, "vocabulary")) {
            return wrong(in, "it has inputs with a setting that this version does not know");
        }
        TRY(read_size(in, is(key, "length") ? &found->inputs : &found->vocabulary));
    }
    found->shape[2] = found->inputs;
    return found->inputs > 0 && found->vocabulary > 1
               ? PYCNN_OK
               : wrong(in, "it has something else where a size must be");
}

/* One number, or the shape of a sample, which has so many; or tokens. */
static int read_inputs(reader *in, description *found)
{
    if (next(in) == '{') {
        return read_tokens(in, found);
    }
    TRY(read_shape_of_sample(in, found->shape, false));
    found->inputs = found->shape[2];
    for (size_t i = 0; i < 2 && is_image(found->shape); i++) {
        RETURN_IF(found->inputs > PTRDIFF_MAX / found->shape[i],
                  wrong(in, "it has something else where a size must be"));
        found->inputs *= found->shape[i];
    }
    return PYCNN_OK;
}

static int read_member(reader *in, description *found, span key)
{
    const char *begin = key.begin - 1;
    if (is(key, "format")) {
        return read_size(in, &found->format);
    }
    if (is(key, "inputs")) {
        return read_inputs(in, found);
    }
    if (is(key, "l1")) {
        return read_real(in, &found->list.l1);
    }
    if (is(key, "l2")) {
        return read_real(in, &found->list.l2);
    }
    if (is(key, "layers")) {
        return read_layers(in, &found->list, &found->layers, &found->depth);
    }
    if (is(key, "loss")) {
        return read_loss(in, &found->loss, &found->loss_parameter);
    }
    if (is(key, "sha256")) {
        TRY(next(in) == '"' ? read_string(in, &found->seal) : skip_value(in));
        found->seal_member = (span){begin, in->at + 2};
        return PYCNN_OK;
    }
    if (is(key, "classes") || is(key, "feature_names") || is(key, "target_scale")) {
        reader *place = is(key, "classes")         ? &found->classes
                        : is(key, "feature_names") ? &found->names
                                                   : &found->unit;
        *place = *in;
    }
    found->has_version = found->has_version || (is(key, "version") && next(in) == '"');
    TRY(skip_value(in));
    if (is(key, "training")) {
        found->training_member = (span){begin, in->at + 2};
    }
    return PYCNN_OK;
}

static int read_description(reader *in, description *found)
{
    span key = {NULL, NULL};
    TRY(open_group(in, '{'));
    for (bool has = true;;) {
        TRY(next_key(in, &key, &has));
        if (!has) {
            break;
        }
        if (found->behind_seal == NULL && compare_strings(key, SEAL) > 0) {
            found->behind_seal = key.begin - 1;
        }
        TRY(read_member(in, found, key));
    }
    if (in->at != in->end || !found->has_version) {
        return wrong(in, "its description does not end with its version");
    }
    if (found->format != 1 && found->format != 2) {
        return wrong(in, "it has a format that this version does not read");
    }
    return found->inputs > 0 && found->depth > 0 && found->loss >= 0
               ? PYCNN_OK
               : wrong(in, "its description lacks inputs, layers or the loss");
}

/* The description less what does not stay: a training's state, and the older checksum. */
static int keep_description(model *self, const description *found, span text)
{
    const span cuts[] = {found->seal_member, found->training_member};
    self->description = array_of((size_t)(text.end - text.begin), 1);
    RETURN_IF(self->description == NULL, PYCNN_ERROR_MEMORY);
    const char *from = text.begin;
    char *out = self->description;
    for (size_t i = 0; i < 2; i++) {
        if (cuts[i].begin != NULL) {
            memcpy(out, from, (size_t)(cuts[i].begin - from));
            out += cuts[i].begin - from;
            from = cuts[i].end;
        }
    }
    memcpy(out, from, (size_t)(text.end - from));
    out += text.end - from;
    *out = 0;
    self->length = (size_t)(out - self->description);
    const char *seal = found->seal_member.begin;
    self->seal = (size_t)((seal != NULL ? seal : found->behind_seal) - text.begin);
    self->shown.description = self->description;
    return PYCNN_OK;
}

/* Where a text stands `most` times at the most: in how many places. */
static size_t count_of(span text, const char *wanted, size_t most)
{
    const size_t length = strlen(wanted);
    size_t count = 0;
    for (const char *at = text.begin; count < most && text.end - at >= (ptrdiff_t)length; at++) {
        count += memcmp(at, wanted, length) == 0;
    }
    return count;
}

/* Tells the layers of tokens how many there are. A network on tokens begins with an embedding, and
 * no other does. */
static int find_vocabulary(reader *in, pycnn_layer_spec *layers, const description *found)
{
    for (pycnn_layer_spec *spec = layers; spec < layers + found->depth; spec++) {
        if (spec->kind == PYCNN_EMBEDDING) {
            spec->vocabulary = found->vocabulary;
        } else if (spec->kind == PYCNN_TIED_DENSE) {
            spec->units = found->vocabulary;
        }
    }
    return (layers[0].kind == PYCNN_EMBEDDING) == (found->vocabulary > 0)
               ? PYCNN_OK
               : wrong(in, "it has inputs that its first layer does not read");
}

/* What makes no network, of numbers that stand in a file, is the file's fault. */
static int make_network(model *self, reader *in, const description *found)
{
    size_t shape[3];
    memcpy(shape, found->shape, sizeof shape);
    TRY(find_vocabulary(in, (pycnn_layer_spec *)found->layers, found));
    find_shapes((pycnn_layer_spec *)found->layers, found->depth, shape);
    const int status = pycnn_network_create(&self->shown.net, found->inputs, found->layers,
                                            found->depth, found->loss, found->loss_parameter);
    if (status != PYCNN_OK && status != PYCNN_ERROR_MEMORY && status != PYCNN_ERROR_ISA) {
        return wrong(in, pycnn_strerror(status));
    }
    return status;
}

static int compare_named(const void *a, const void *b)
{
    return strcmp(((const named_tensor *)a)->name, ((const named_tensor *)b)->name);
}

static int name_tensors(model *self)
{
    const pycnn_network *net = self->shown.net;
    const size_t count = pycnn_network_tensor_count(net);
    size_t length = 0;
    for (size_t i = 0; i < count; i++) {
        length += pycnn_network_tensor_name(net, i, NULL, 0) + 1;
    }
    self->names = array_of(length, 1);
    self->tensors = array_of(count, sizeof *self->tensors);
    RETURN_IF(self->names == NULL || self->tensors == NULL, PYCNN_ERROR_MEMORY);
    char *name = self->names;
    for (size_t i = 0; i < count; i++) {
        self->tensors[i] = (named_tensor){.name = name};
        name += pycnn_network_tensor_name(net, i, name, length) + 1;
        TRY(pycnn_network_tensor(net, i, &self->tensors[i].place));
    }
    self->tensor_count = count;
    qsort(self->tensors, count, sizeof *self->tensors, compare_named);
    return PYCNN_OK;
}

/* Reads a list of `count` values as texts, numbers as they stand. */
static int read_texts(reader *in, char **texts, const char **list, size_t count)
{
    TRY(open_group(in, '['));
    for (size_t i = 0; i < count; i++) {
        bool has;
        TRY(has_member(in, ']', i == 0, &has));
        const bool quoted = has && next(in) == '"';
        span text = {in->at, NULL};
        if (!has || next(in) == '[' || next(in) == '{') {
            return wrong(in, "it has too few labels or names");
        }
        if (quoted) {
            TRY(read_string(in, &text));
        } else {
            TRY(skip_value(in));
            text.end = in->at;
        }
        list[i] = *texts;
        *texts = unescape(*texts, text);
    }
    in->depth--;
    return takes(in, ']') ? PYCNN_OK : wrong(in, "it has too many labels or names");
}

static int read_classes(reader *in, char **texts, const char **list, size_t count)
{
    span key = {NULL, NULL};
    bool has;
    TRY(open_group(in, '{'));
    TRY(next_key(in, &key, &has));
    RETURN_IF(!has || !is(key, "dtype"), wrong(in, "its classes have no dtype"));
    TRY(skip_value(in));
    TRY(next_key(in, &key, &has));
    RETURN_IF(!has || !is(key, "values"), wrong(in, "its classes have no values"));
    TRY(read_texts(in, texts, list, count));
    return expect(in, '}');
}

static bool is_there(reader place) { return place.at != NULL && *place.at != 'n'; }

/* What belongs to targets and inputs, once their numbers are known. */
static int read_labels(model *self, reader *in, const description *found)
{
    const size_t outputs = pycnn_network_outputs(self->shown.net);
    const bool two = found->loss == PYCNN_BINARY_CROSSENTROPY || found->loss == PYCNN_HINGE;
    const size_t classes = is_there(found->classes) ? (two ? 2 : outputs) : 0;
    const size_t names = is_there(found->names) ? found->inputs : 0;
    const size_t length = self->length; /* which has a character or more for each of them */
    if (classes > length || names > length) {
        return wrong(in, "it has too few labels or names");
    }
    self->texts = array_of(length, 1);
    self->lists = array_of(classes + names, sizeof *self->lists);
    RETURN_IF(self->texts == NULL || self->lists == NULL, PYCNN_ERROR_MEMORY);
    char *texts = self->texts;
    if (classes > 0) {
        reader at = found->classes;
        const int status = read_classes(&at, &texts, self->lists, classes);
        RETURN_IF(status != PYCNN_OK, wrong(in, at.problem));
        self->shown.classes = self->lists;
        self->shown.class_count = classes;
    }
    if (names > 0) {
        reader at = found->names;
        const int status = read_texts(&at, &texts, self->lists + classes, names);
        RETURN_IF(status != PYCNN_OK, wrong(in, at.problem));
        self->shown.feature_names = self->lists + classes;
    }
    return PYCNN_OK;
}

static int read_unit(model *self, reader *in, const description *found)
{
    RETURN_IF(!is_there(found->unit), PYCNN_OK);
    RETURN_IF(found->format == 1, wrong(in, "it has a unit of the targets, against its format"));
    const size_t outputs = pycnn_network_outputs(self->shown.net);
    RETURN_IF(outputs > self->length, wrong(in, "it has too few numbers of the targets' unit"));
    self->units = array_of(2 * outputs, sizeof *self->units);
    RETURN_IF(self->units == NULL, PYCNN_ERROR_MEMORY);
    *in = found->unit;
    bool has;
    TRY(open_group(in, '['));
    for (size_t i = 0; i < 2; i++) {
        TRY(has_member(in, ']', i == 0, &has));
        TRY(open_group(in, '['));
        for (size_t k = 0; k < outputs; k++) {
            TRY(has_member(in, ']', k == 0, &has));
            double *value = &self->units[i * outputs + k];
            TRY(read_real(in, value));
            RETURN_IF(i == 1 && !(*value > 0), wrong(in, "it has a unit that is not above 0"));
        }
        TRY(expect(in, ']'));
    }
    self->shown.target_mean = self->units;
    self->shown.target_deviation = self->units + outputs;
    return expect(in, ']');
}

/* Makes the network of a description, with all that is said beside it. */
static int describe(model *self, reader *in, description *found)
{
    const span text = {in->at, in->end};
    /* What goes both ways is three layers, and a block some more. */
    const size_t most = count_of(text, "\"kind\"", MOST_LAYERS) +
                        count_of(text, "\"bidirectional\"", MOST_LAYERS) +
                        BLOCK_PARTS * count_of(text, "\"transformer_block\"", MOST_LAYERS);
    found->loss = -1;
    found->list = (layer_list){.most = most};
    found->list.waiting = array_of(most, sizeof *self->specs);
    found->list.ready = self->specs = array_of(most, sizeof *self->specs);
    int status = PYCNN_ERROR_MEMORY;
    if (found->list.waiting != NULL && self->specs != NULL) {
        status = read_description(in, found);
    }
    PYCNN_FREE(found->list.waiting);
    TRY(status);
    TRY(keep_description(self, found, text));
    TRY(make_network(self, in, found));
    TRY(name_tensors(self));
    TRY(read_labels(self, in, found));
    return read_unit(self, in, found);
}

/* ---------------------------------------------------------------- a file's bytes */

static const struct {
    const char *name;
    size_t size;
} DTYPES[] = {{"F64", 8}, {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"U16", 2}, {"I16", 2},
              {"F16", 2}, {"U32", 4},  {"I32", 4}, {"F32", 4}, {"U64", 8}, {"I64", 8}};

typedef struct {
    size_t begin, end;
} extent;

/* A tensor as the header describes it. */
typedef struct {
    size_t dtype, dims, shape[PYCNN_MOST_DIMS], count; /* count: of its numbers */
    extent at;
} entry;

enum { MOST_DIMS = 32 };

static int read_shape(reader *in, entry *found)
{
    bool has, empty = false, beyond = false;
    found->dims = 0;
    found->count = 1;
    TRY(open_group(in, '['));
    for (;;) {
        TRY(has_member(in, ']', found->dims == 0, &has));
        if (!has) {
            break;
        }
        size_t size;
        TRY(read_size(in, &size));
        RETURN_IF(found->dims == MOST_DIMS, wrong(in, "it has a tensor of too many dimensions"));
        if (found->dims < PYCNN_MOST_DIMS) {
            found->shape[found->dims] = size;
        }
        found->dims++;
        empty = empty || size == 0;
        beyond = beyond || (size > 0 && found->count > SIZE_MAX / 8 / size);
        found->count *= beyond || size == 0 ? 1 : size;
    }
    found->count = empty ? 0 : found->count;
    return beyond && !empty ? wrong(in, "it has a tensor that is larger than the file") : PYCNN_OK;
}

static int read_place(reader *in, extent *found)
{
    bool has;
    TRY(open_group(in, '['));
    TRY(has_member(in, ']', true, &has));
    TRY(read_size(in, &found->begin));
    TRY(expect(in, ','));
    TRY(read_size(in, &found->end));
    TRY(expect(in, ']'));
    in->depth--;
    return PYCNN_OK;
}

static int read_entry(reader *in, entry *found)
{
    static const char *const keys[] = {"dtype", "shape", "data_offsets"};
    int said = 0;
    bool has;
    span key = {NULL, NULL};
    TRY(open_group(in, '{'));
    for (;;) {
        TRY(next_key(in, &key, &has));
        if (!has) {
            break;
        }
        int which = 0;
        while (which < 3 && !is(key, keys[which])) {
            which++;
        }
        RETURN_IF(which == 3 || (said >> which & 1), wrong(in, "it has a tensor not described"));
        said |= 1 << which;
        const char *names[sizeof DTYPES / sizeof *DTYPES];
        const int count = sizeof names / sizeof *names;
        for (int i = 0; i < count; i++) {
            names[i] = DTYPES[i].name;
        }
        int dtype;
        if (which == 0) {
            TRY(read_name(in, &dtype, names, count, "it has a tensor of an unknown dtype"));
            found->dtype = (size_t)dtype;
        } else {
            TRY(which == 1 ? read_shape(in, found) : read_place(in, &found->at));
        }
    }
    const bool fits = said == 7 && found->at.begin <= found->at.end &&
                      found->at.end - found->at.begin == found->count * DTYPES[found->dtype].size;
    return fits ? PYCNN_OK : wrong(in, "it has a tensor without the size of its shape");
}

/* Filters along a sequence have no rows in a file, though to the core they have one. */
static void drop_row(pycnn_tensor *place)
{
    place->dims = 3;
    memmove(place->shape + 1, place->shape + 2, 2 * sizeof *place->shape);
}

/* Whether a file has the array with its shape. */
static bool has_shape(pycnn_tensor *place, const entry *found)
{
    if (place->dims == 4 && found->dims == 3 && place->shape[1] == 1) {
        drop_row(place);
    }
    return found->dims == place->dims &&
           memcmp(found->shape, place->shape, place->dims * sizeof *place->shape) == 0;
}

/* Finds whose tensor it is; one of a training's state is nobody's. */
static int assign(model *self, reader *in, span name, const entry *found,
                  const unsigned char *content, bool training)
{
    size_t first = 0, last = self->tensor_count;
    while (first < last) {
        const size_t middle = first + (last - first) / 2;
        named_tensor *tensor = &self->tensors[middle];
        const int order =
            compare_strings(name, (span){tensor->name, tensor->name + strlen(tensor->name)});
        if (order == 0) {
            RETURN_IF(found->dtype != 0 || !has_shape(&tensor->place, found) ||
                          tensor->content != NULL,
                      wrong(in, "it has a tensor of another shape or dtype, or twice"));
            tensor->content = content + found->at.begin;
            return PYCNN_OK;
        }
        *(order < 0 ? &last : &first) = order < 0 ? middle : middle + 1;
    }
    static const char prefix[] = "training.";
    const bool known = training && name.end - name.begin >= (ptrdiff_t)strlen(prefix) &&
                       memcmp(name.begin, prefix, strlen(prefix)) == 0;
    return known ? PYCNN_OK : wrong(in, "it has a tensor that belongs to nothing");
}

static int compare_places(const void *a, const void *b)
{
    const extent *x = a, *y = b;
    return x->begin != y->begin ? (x->begin > y->begin) - (x->begin < y->begin)
                                : (x->end > y->end) - (x->end < y->end);
}

static int check_places(reader *in, extent *places, size_t count, size_t size)
{
    size_t at = 0;
    qsort(places, count, sizeof *places, compare_places);
    for (size_t i = 0; i < count; i++) {
        RETURN_IF(places[i].begin != at, wrong(in, "its tensors do not lie one behind the other"));
        at = places[i].end;
    }
    return at == size ? PYCNN_OK : wrong(in, "it has more or fewer bytes than its tensors");
}

/* Reads the header for its tensors, whose bytes are content[size]. */
static int read_tensors(model *self, reader *in, extent *places, const unsigned char *content,
                        size_t size, bool training)
{
    size_t count = 0;
    const size_t most = (size_t)(in->end - in->at) / LEAST_ENTRY + 1;
    bool has;
    span key = {NULL, NULL};
    TRY(open_group(in, '{'));
    for (;;) {
        TRY(next_key(in, &key, &has));
        if (!has) {
            break;
        }
        if (is(key, "__metadata__")) {
            TRY(skip_value(in));
            continue;
        }
        entry found;
        TRY(read_entry(in, &found));
        TRY(assign(self, in, key, &found, content, training));
        RETURN_IF(count == most, wrong(in, "it has a tensor not described"));
        places[count++] = found.at;
    }
    TRY(check_places(in, places, count, size));
    for (size_t i = 0; i < self->tensor_count; i++) {
        RETURN_IF(self->tensors[i].content == NULL, wrong(in, "it lacks a tensor"));
    }
    return PYCNN_OK;
}

/* The texts of a model's metadata, as they stand in the header. */
static int read_metadata(reader *in, span *text, span *digest)
{
    bool has, found = false;
    span key = {NULL, NULL};
    TRY(open_group(in, '{'));
    for (;;) {
        TRY(next_key(in, &key, &has));
        if (!has) {
            break;
        }
        if (!is(key, "__metadata__")) {
            TRY(skip_value(in));
            continue;
        }
        RETURN_IF(found, wrong(in, "it has metadata twice"));
        found = true;
        span inner = {NULL, NULL};
        TRY(open_group(in, '{'));
        for (;;) {
            TRY(next_key(in, &inner, &has));
            if (!has) {
                break;
            }
            span *value = is(inner, "pycnn") ? text : is(inner, "sha256") ? digest : NULL;
            RETURN_IF(value == NULL || value->begin != NULL,
                      wrong(in, "it has metadata that are not pycnn's"));
            TRY(read_string(in, value));
        }
    }
    skip_blanks(in);
    RETURN_IF(in->at != in->end, wrong(in, "its JSON is not well formed"));
    return text->begin != NULL ? PYCNN_OK
                               : wrong(in, "it is a safetensors file, but not a pycnn model");
}

/* The checksum of a whole file, which is computed with zeros in its own place. */
static int check_digest(reader *in, span stated, const char *content, size_t size)
{
    static const char problem[] = "the checksum does not match";
    char digits[DIGITS];
    sha256 hash;
    RETURN_IF(stated.end - stated.begin != DIGITS, wrong(in, problem));
    sha256_begin(&hash);
    sha256_add(&hash, content, (size_t)(stated.begin - content));
    sha256_add(&hash, ZEROS, DIGITS);
    sha256_add(&hash, stated.end, (size_t)(content + size - stated.end));
    sha256_end(&hash, digits);
    return memcmp(digits, stated.begin, DIGITS) == 0 ? PYCNN_OK : wrong(in, problem);
}

enum { AT_A_TIME = 256 };

/* Numbers as they are in files, into a hash, and into a file unless it is NULL. */
static bool put_numbers(sha256 *hash, FILE *file, const double *values, size_t count)
{
    unsigned char bytes[AT_A_TIME * 8];
    bool good = true;
    while (count > 0) {
        const size_t part = count < AT_A_TIME ? count : AT_A_TIME;
        for (size_t i = 0; i < part; i++) {
            put_double(bytes + 8 * i, values[i]);
        }
        sha256_add(hash, bytes, 8 * part);
        good = good && (file == NULL || fwrite(bytes, 8, part, file) == part);
        values += part;
        count -= part;
    }
    return good;
}

/* The checksum of pycnn 0.1: of the description without it, and of theta. */
static void older_digest(const model *self, char digits[DIGITS])
{
    sha256 hash;
    sha256_begin(&hash);
    sha256_add(&hash, self->description, self->length);
    put_numbers(&hash, NULL, self->shown.theta, self->shown.theta_size);
    sha256_end(&hash, digits);
}

static int check_older_digest(const model *self, reader *in, const description *found)
{
    char digits[DIGITS];
    RETURN_IF(found->training_member.begin != NULL,
              wrong(in, "a training's state of pycnn 0.1 is in it: load and save it in Python"));
    older_digest(self, digits);
    const bool good = found->seal.end - found->seal.begin == DIGITS &&
                      memcmp(digits, found->seal.begin, DIGITS) == 0;
    return good ? PYCNN_OK : wrong(in, "the checksum does not match");
}

/* Where theta begins, see pycnn.h, and the numbers that this may cost. */
enum { THETA_ALIGNMENT = 64, SPARE = THETA_ALIGNMENT / sizeof(double) };

static int make_theta(model *self)
{
    pycnn_file *shown = &self->shown;
    shown->theta_size = pycnn_network_theta_size(shown->net);
    RETURN_IF(shown->theta_size > SIZE_MAX - SPARE, PYCNN_ERROR_MEMORY);
    self->block = array_of(shown->theta_size + SPARE, sizeof *shown->theta);
    RETURN_IF(self->block == NULL, PYCNN_ERROR_MEMORY);
    const size_t above = (uintptr_t)self->block % THETA_ALIGNMENT;
    shown->theta = self->block + (above == 0 ? 0 : (THETA_ALIGNMENT - above) / sizeof(double));
    memset(shown->theta, 0, shown->theta_size * sizeof *shown->theta);
    return PYCNN_OK;
}

static int read_theta(model *self)
{
    TRY(make_theta(self));
    for (const named_tensor *t = self->tensors; t < self->tensors + self->tensor_count; t++) {
        for (size_t i = 0; i < t->place.size; i++) {
            self->shown.theta[t->place.offset + i] = get_double(t->content + 8 * i);
        }
    }
    return PYCNN_OK;
}

/* All of it, with buffers that are as large as the text in the header, and as its entries. */
static int read_model(model *self, reader *in, span text, span digest, char *buffer, extent *places,
                      const unsigned char *content, size_t size)
{
    description found = {0};
    const reader tensors = *in;
    reader inside = {.at = buffer, .end = unescape(buffer, text) - 1, .plain = true};
    const int status = describe(self, &inside, &found);
    in->problem = inside.problem;
    TRY(status);
    *in = tensors;
    TRY(read_tensors(self, in, places, content, size, found.training_member.begin != NULL));
    TRY(read_theta(self));
    return digest.begin != NULL ? PYCNN_OK : check_older_digest(self, in, &found);
}

static int parse(model *self, reader *in, const unsigned char *content, size_t size)
{
    const uint64_t header = size < 8 ? 0 : get_u64(content);
    RETURN_IF(header == 0 || header > size - 8, wrong(in, "it is too short for its header"));
    RETURN_IF(header > LONGEST_HEADER, wrong(in, "its header is longer than 100 MB"));
    const unsigned char *begin = content + 8, *end = begin + header;
    *in = (reader){.at = (const char *)begin, .end = (const char *)end};
    RETURN_IF(*begin != '{' || !is_utf8(begin, end), wrong(in, "its header is no JSON in UTF-8"));
    const reader start = *in;
    span text = {NULL, NULL}, digest = {NULL, NULL};
    TRY(read_metadata(in, &text, &digest));
    if (digest.begin != NULL) {
        TRY(check_digest(in, digest, (const char *)content, size));
    }
    *in = start;
    char *buffer = array_of((size_t)(text.end - text.begin), 1);
    extent *places = array_of((size_t)header / LEAST_ENTRY + 1, sizeof *places);
    int status = PYCNN_ERROR_MEMORY;
    if (buffer != NULL && places != NULL) {
        status = read_model(self, in, text, digest, buffer, places, end, size - 8 - (size_t)header);
    }
    PYCNN_FREE(buffer);
    PYCNN_FREE(places);
    return status;
}

int pycnn_file_parse(pycnn_file **out, const void *content, size_t size, const char **problem)
{
    RETURN_IF(out == NULL, PYCNN_ERROR_ARGUMENT);
    *out = NULL;
    RETURN_IF(content == NULL, PYCNN_ERROR_ARGUMENT);
    model *self = array_of(1, sizeof *self);
    RETURN_IF(self == NULL, PYCNN_ERROR_MEMORY);
    memset(self, 0, sizeof *self);
    reader in = {0};
    const int status = parse(self, &in, content, size);
    if (status == PYCNN_OK) {
        *out = &self->shown;
    } else {
        pycnn_file_destroy(&self->shown);
    }
    if (problem != NULL) {
        *problem = status == PYCNN_ERROR_FILE ? in.problem : pycnn_strerror(status);
    }
    return status;
}

void pycnn_file_destroy(pycnn_file *file)
{
    model *self = (model *)file;
    if (self == NULL) {
        return;
    }
    pycnn_network_destroy(self->shown.net);
    PYCNN_FREE(self->block);
    PYCNN_FREE(self->specs);
    PYCNN_FREE(self->description);
    PYCNN_FREE(self->texts);
    PYCNN_FREE(self->lists);
    PYCNN_FREE(self->units);
    PYCNN_FREE(self->tensors);
    PYCNN_FREE(self->names);
    PYCNN_FREE(self);
}

static int read_whole(FILE *file, unsigned char **content, size_t *size)
{
    RETURN_IF(fseek(file, 0, SEEK_END) != 0, PYCNN_ERROR_IO);
    const long end = ftell(file);
    RETURN_IF(end < 0 || fseek(file, 0, SEEK_SET) != 0, PYCNN_ERROR_IO);
    RETURN_IF(fgetc(file) == EOF && ferror(file), PYCNN_ERROR_IO); /* of a folder, say */
    rewind(file);
    *size = (size_t)end;
    *content = array_of(*size, 1);
    RETURN_IF(*content == NULL, PYCNN_ERROR_MEMORY);
    return fread(*content, 1, *size, file) == *size ? PYCNN_OK : PYCNN_ERROR_IO;
}

/* What kept a file from being read, of which C itself knows no more than that there is a number. */
static const char *words_for(int error)
{
#if defined(ENOENT)
    if (error == ENOENT) {
        return "there is no such file";
    }
#endif
#if defined(EISDIR)
    if (error == EISDIR) {
        return "this is a folder";
    }
#endif
#if defined(EACCES)
    if (error == EACCES) {
        return "this program may not read the file";
    }
#endif
    return pycnn_strerror(PYCNN_ERROR_IO);
}

int pycnn_file_load(pycnn_file **out, const char *path, const char **problem)
{
    RETURN_IF(out == NULL, PYCNN_ERROR_ARGUMENT);
    *out = NULL;
    RETURN_IF(path == NULL, PYCNN_ERROR_ARGUMENT);
    unsigned char *content = NULL;
    size_t size = 0;
    int status = PYCNN_ERROR_IO;
    errno = 0;
    FILE *file = fopen(path, "rb");
    if (file != NULL) {
        status = read_whole(file, &content, &size);
    }
    const int error = errno;
    if (file != NULL) {
        fclose(file);
    }
    if (status == PYCNN_OK) {
        status = pycnn_file_parse(out, content, size, problem);
    } else if (problem != NULL) {
        *problem = status == PYCNN_ERROR_IO ? words_for(error) : pycnn_strerror(status);
    }
    PYCNN_FREE(content);
    return status;
}

/* ---------------------------------------------------------------- writing */

/* A text as it grows; without memory it is only measured. */
typedef struct {
    char *text;
    size_t length;
    size_t axes; /* of samples that have places: a sequence is an image of one row, or has 2 */
} writer;

static void put(writer *out, const char *text, size_t length)
{
    if (out->text != NULL) {
        memcpy(out->text + out->length, text, length);
    }
    out->length += length;
}

static void put_text(writer *out, const char *text) { put(out, text, strlen(text)); }

/* A text of plain ASCII within a string of JSON. */
static void put_quoted(writer *out, const char *text, size_t length)
{
    for (const char *at = text; at < text + length; at++) {
        if (*at == '"' || *at == '\\') {
            put_text(out, "\\");
        }
        put(out, at, 1);
    }
}

static void put_size(writer *out, size_t value)
{
    char digits[3 * sizeof value + 1], *at = digits + sizeof digits;
    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    put(out, at, (size_t)(digits + sizeof digits - at));
}

static void put_real(writer *out, double value)
{
    char text[LONGEST_NUMBER];
    write_double(text, value);
    put_text(out, text);
}

static void put_name(writer *out, const char *name)
{
    put_text(out, "\"");
    put_text(out, name);
    put_text(out, "\"");
}

static void put_sizes(writer *out, const size_t *sizes, size_t count)
{
    put_text(out, "[");
    for (size_t i = 0; i < count; i++) {
        put_text(out, i > 0 ? ", " : "");
        put_size(out, MAX(sizes[i], 1)); /* 0 stands for 1 */
    }
    put_text(out, "]");
}

/* How many zeros there are, on each side; else what windows see beyond an image. */
static void put_padding(writer *out, const pycnn_layer_spec *spec)
{
    if (spec->kind != PYCNN_ZERO_PADDING) {
        put_name(out, PADDINGS[spec->padding]);
        return;
    }
    for (size_t i = 0; i < 4; i++) {
        put_text(out, i == 0 ? "[[" : i == 2 ? "], [" : ", ");
        put_size(out, spec->margins[i]);
    }
    put_text(out, "]]");
}

static void put_layer(writer *out, const pycnn_layer_spec *spec, size_t shape[3]);

/* The layer that reads what one that may be made of others reads. */
static const pycnn_layer_spec *reader_of(const pycnn_layer_spec *spec)
{
    const bool is_composite = spec->kind == PYCNN_RESIDUAL || spec->kind == PYCNN_CONCATENATE ||
                              spec->kind == PYCNN_STACK;
    return is_composite ? reader_of(spec->inner) : spec;
}

/* Whether it has windows of one row, over images of one row: sequences. */
static bool is_along_one_axis(const pycnn_layer_spec *spec)
{
    return (spec->kind == PYCNN_CONVOLUTION || pools(spec->kind)) && spec->shape[0] == 1 &&
           spec->kernel[0] == 1;
}

/* How many axes samples must have that a layer reads; 0: it is the same to it. */
static size_t axes_for(const pycnn_layer_spec *spec)
{
    if (normalizes(spec) || spec->kind == PYCNN_DROPOUT) {
        return 0;
    }
    const bool has_windows =
        spec->kind == PYCNN_CONVOLUTION || pools(spec->kind) || spec->kind == PYCNN_ZERO_PADDING;
    return has_windows && !is_along_one_axis(spec) ? 3 : 2;
}

static void put_reshape(writer *out, const size_t shape[3], size_t axes)
{
    put_text(out, "{\"kind\": \"reshape\", \"shape\": ");
    put_sizes(out, shape + 3 - axes, axes);
    put_text(out, "}");
    out->axes = axes;
}

/* What a file says and C does not: where rows of numbers become images, and images rows. */
static void put_change_of_shape(writer *out, const pycnn_layer_spec *spec, size_t shape[3])
{
    if (reads_images(spec)) {
        const bool same = memcmp(spec->shape, shape, sizeof spec->shape) == 0;
        const size_t wanted = axes_for(spec), one_row = is_sequence(spec->shape) ? 2 : 3;
        if (!same || (wanted > 0 && wanted != out->axes)) {
            put_reshape(out, spec->shape, wanted > 0 ? wanted : one_row);
            put_text(out, ", ");
            memcpy(shape, spec->shape, sizeof spec->shape);
        }
    } else if (reads_rows(spec) && is_image(shape)) {
        put_text(out, "{\"kind\": \"flatten\"}, ");
        memset(shape, 0, 2 * sizeof *shape);
    }
}

static void put_layers(writer *out, const pycnn_layer_spec *specs, size_t depth, size_t shape[3])
{
    for (size_t i = 0; i < depth; i++) {
        put_text(out, i > 0 ? ", " : "");
        put_change_of_shape(out, reader_of(&specs[i]), shape);
        put_layer(out, &specs[i], shape);
    }
}

/* Whether it is a recurrent layer beside the same from the other end. */
static bool goes_both_ways(const pycnn_layer_spec *spec)
{
    if ((spec->kind != PYCNN_RESIDUAL && spec->kind != PYCNN_CONCATENATE) ||
        spec->activation != PYCNN_LINEAR || spec->inner_depth != 1 || spec->shortcut == NULL) {
        return false;
    }
    const pycnn_layer_spec *a = spec->inner, *b = spec->shortcut;
    return is_recurrent(a) && a->kind == b->kind && a->units == b->units &&
           a->activation == b->activation && !a->reverse == (b->reverse != 0) && a->l1 == b->l1 &&
           a->l2 == b->l2 && a->max_norm == b->max_norm &&
           !a->return_sequences == !b->return_sequences &&
           memcmp(a->shape, b->shape, sizeof a->shape) == 0;
}

static bool is_plain(const pycnn_layer_spec *spec, int kind)
{
    return spec->kind == kind && spec->activation == PYCNN_LINEAR && spec->l1 == 0 &&
           spec->l2 == 0 && spec->max_norm == 0;
}

static bool is_norm(const pycnn_layer_spec *spec)
{
    return spec->kind == PYCNN_LAYER_NORM && spec->activation == PYCNN_LINEAR &&
           spec->epsilon == 1e-5;
}

/* Whether the half of a block has its norm, `layers` that are its own, and drops `rate` of them. */
static bool is_half(const pycnn_layer_spec *half, bool norm_first, size_t layers, double rate)
{
    const size_t before = norm_first + layers;
    return half->kind == PYCNN_RESIDUAL && half->activation == PYCNN_LINEAR &&
           half->shortcut == NULL && half->inner_depth == before + (rate > 0) &&
           is_norm(norm_first ? half->inner : half + 1) &&
           (rate == 0 || (half->inner[before].kind == PYCNN_DROPOUT &&
                          half->inner[before].rate == rate && half->inner[before].shape[2] == 0));
}

/* What a file says of a stack that is a block; without heads where it is none. */
static pycnn_layer_spec block_of(const pycnn_layer_spec *stack)
{
    const bool norm_first = stack->inner_depth == 2;
    const pycnn_layer_spec none = {.kind = PYCNN_STACK};
    if (!norm_first && stack->inner_depth != 4) {
        return none;
    }
    const pycnn_layer_spec *half = stack->inner, *behind = dense_half_of(stack);
    const bool is_deep =
        half->inner_depth > norm_first && behind->inner_depth > (size_t)norm_first + 1;
    const double rate = is_deep && half->inner_depth > (size_t)norm_first + 1
                            ? half->inner[norm_first + 1].rate
                            : 0;
    if (!is_deep || !is_half(half, norm_first, 1, rate) || !is_half(behind, norm_first, 2, rate)) {
        return none;
    }
    const pycnn_layer_spec *attention = &half->inner[norm_first], *dense = dense_of(stack);
    pycnn_layer_spec block = none, first = *dense;
    block.activation = first.activation;
    first.activation = PYCNN_LINEAR;
    if (is_plain(attention, PYCNN_ATTENTION) && is_plain(&first, PYCNN_DENSE) &&
        is_plain(dense + 1, PYCNN_DENSE) && dense[1].units == attention->shape[2]) {
        block.heads = attention->heads;
    }
    block.causal = attention->causal;
    block.units = dense->units;
    block.rate = rate;
    block.no_bias = !norm_first;
    return block;
}

/* Where KINDS first has a layer's kind, but those along one axis, and that of dropping whole
 * features; its end where it has not, or where a file cannot say what it is. */
static size_t row_of(const pycnn_layer_spec *spec)
{
    if (spec->kind == PYCNN_CONCATENATE || goes_both_ways(spec)) {
        return goes_both_ways(spec) ? (size_t)BOTH_WAYS : (size_t)KIND_COUNT;
    }
    if (spec->kind == PYCNN_STACK && spec->heads == 0) {
        return KIND_COUNT;
    }
    const bool spatial = spec->kind == PYCNN_DROPOUT && reads_images(spec);
    size_t row = 0;
    while (row < KIND_COUNT &&
           (KINDS[row].kind != spec->kind || (SPATIAL_DROPOUT >> row & 1) != spatial)) {
        row++;
    }
    return row + is_along_one_axis(spec); /* which is behind the other */
}

/* shape: of a sample in front of the layer, and what it becomes within it */
static void put_field(writer *out, const pycnn_layer_spec *spec, const field *field,
                      size_t shape[3])
{
    const void *member = (const char *)spec + field->offset;
    switch (field->type) {
    case ACTIVATION: put_name(out, ACTIVATIONS[*(const int *)member]); return;
    case KIND: put_name(out, KINDS[row_of(spec)].name); return;
    case INNER:
        put_text(out, "[");
        put_layers(out, spec->inner, spec->inner_depth, shape);
        put_text(out, "]");
        return;
    case COUNTS:
        put_sizes(out, (const size_t *)member + is_along_one_axis(spec),
                  is_along_one_axis(spec) ? 1 : 2);
        return;
    case PADDING: put_padding(out, spec); return;
    case FLAG: put_text(out, *(const int *)member ? "true" : "false"); return;
    case NOT: put_text(out, *(const int *)member ? "false" : "true"); return;
    case LAYER: put_layer(out, spec->inner, shape); return;
    case MERGE: put_name(out, MERGES[spec->kind == PYCNN_RESIDUAL]); return;
    case WAVES: put_name(out, POSITION_KINDS[*(const int *)member != 0]); return;
    case MAYBE_COUNT:
    case COUNT: put_size(out, *(const size_t *)member); return;
    case REAL: put_real(out, *(const double *)member); return;
    case MAYBE_REAL:
        if (*(const double *)member > 0) {
            put_real(out, *(const double *)member);
            return;
        }
        break;
    default:
        if (spec->shortcut != NULL) {
            put_layer(out, spec->shortcut, shape);
            return;
        }
    }
    put_text(out, "null");
}

static void put_layer(writer *out, const pycnn_layer_spec *given, size_t shape[3])
{
    pycnn_layer_spec block;
    const pycnn_layer_spec *spec = given;
    if (given->kind == PYCNN_STACK) {
        block = block_of(given);
        spec = &block;
    }
    const size_t row = row_of(spec), before_it[3] = {shape[0], shape[1], shape[2]};
    const size_t axes_before = out->axes;
    size_t axes_behind = axes_before;
    const char *before = "{";
    for (const field *field = FIELDS; field < FIELDS + FIELD_COUNT; field++) {
        if ((field->kinds >> row & 1) && field->type != IGNORED) {
            size_t beside[3] = {before_it[0], before_it[1], before_it[2]};
            put_text(out, before);
            put_name(out, field->key);
            put_text(out, ": ");
            const bool is_within = field->type == INNER || field->type == LAYER;
            out->axes = axes_before;
            put_field(out, spec, field, is_within ? shape : beside);
            axes_behind = is_within ? out->axes : axes_behind;
            before = ", ";
        }
    }
    put_text(out, "}");
    out->axes = spec->kind == PYCNN_EMBEDDING ? 2 : axes_behind;
    if (spec->kind == PYCNN_RESHAPE) { /* is written as one that flattens */
        memset(shape, 0, 2 * sizeof *shape);
    }
    pass_shape(spec, shape);
}

static void put_number(writer *out, const char *key, double value)
{
    put_name(out, key);
    put_text(out, ": ");
    put_real(out, value);
}

/* A loss that carries a number other than the usual one says so, with its keys in order. */
static void put_loss(writer *out, int loss, double parameter)
{
    if (loss == PYCNN_CUSTOM) {
        put_text(out, "{\"name\": \"custom\"}");
        return;
    }
    const loss_row *row = &LOSSES[loss];
    if (row->key == NULL || parameter == row->value) {
        put_name(out, row->name);
        return;
    }
    const bool in_front = strcmp(row->key, "name") < 0;
    put_text(out, "{");
    if (in_front) {
        put_number(out, row->key, parameter);
        put_text(out, ", ");
    }
    put_text(out, "\"name\": ");
    put_name(out, row->name);
    if (!in_front) {
        put_text(out, ", ");
        put_number(out, row->key, parameter);
    }
    put_text(out, "}");
}

static void put_description(writer *out, size_t inputs, const pycnn_layer_spec *layers,
                            size_t depth, int loss, double parameter)
{
    put_text(out, "{\"classes\": null, \"epochs_trained\": 0, \"format\": 2, \"inputs\": ");
    if (layers[0].kind == PYCNN_EMBEDDING) {
        put_text(out, "{\"length\": ");
        put_size(out, inputs);
        put_text(out, ", \"vocabulary\": ");
        put_size(out, layers[0].vocabulary);
        put_text(out, "}");
    } else {
        put_size(out, inputs);
    }
    put_text(out, ", \"l1\": 0.0, \"l2\": 0.0, \"layers\": [");
    size_t shape[3] = {0, 0, inputs};
    out->axes = 0;
    put_layers(out, layers, depth, shape);
    /* What a network gives is a row, or a sequence of them. */
    if (is_sequence(shape) && out->axes == 3) {
        put_text(out, ", ");
        put_reshape(out, shape, 2);
    } else if (is_image(shape) && !is_sequence(shape)) {
        put_text(out, ", {\"kind\": \"flatten\"}");
    }
    put_text(out, "], \"loss\": ");
    put_loss(out, loss, parameter);
    put_text(out, ", \"metadata\": {}, \"seed\": 0, \"version\": \"" PYCNN_VERSION "\"}");
}

/* Filters that are written as those along a sequence have their arrays' shapes. *at: where in theta
 * those of the layers begin. */
static void drop_rows(model *self, const pycnn_layer_spec *specs, size_t depth, size_t *at)
{
    for (size_t l = 0; l < depth; l++) {
        const pycnn_layer_spec *spec = &specs[l];
        drop_rows(self, spec->inner, spec->inner_depth, at);
        drop_rows(self, spec->shortcut, spec->shortcut != NULL, at);
        pycnn_tensor *filters = NULL; /* which alone have four axes */
        for (size_t i = 0; i < self->tensor_count && spec->kind == PYCNN_CONVOLUTION; i++) {
            pycnn_tensor *place = &self->tensors[i].place;
            if (place->dims == 4 && place->offset >= *at &&
                (filters == NULL || place->offset < filters->offset)) {
                filters = place;
            }
        }
        if (filters != NULL) {
            *at = filters->offset + filters->size;
            if (is_along_one_axis(spec)) {
                drop_row(filters);
            }
        }
    }
}

/* The network comes from the description, so that what is made can be read again. */
static int create(model *self, char *text, size_t length)
{
    reader in = {.at = text, .end = text + length, .plain = true};
    description found = {0};
    const int status = describe(self, &in, &found);
    TRY(status == PYCNN_ERROR_FILE ? PYCNN_ERROR_SIZE : status); /* no file keeps so many layers */
    size_t at = 0;
    drop_rows(self, found.layers, found.depth, &at);
    return make_theta(self);
}

int pycnn_file_create(pycnn_file **out, size_t inputs, const pycnn_layer_spec *layers, size_t depth,
                      int loss, double loss_parameter)
{
    RETURN_IF(out == NULL, PYCNN_ERROR_ARGUMENT);
    *out = NULL;
    pycnn_network *net;
    TRY(pycnn_network_create(&net, inputs, layers, depth, loss, loss_parameter));
    pycnn_network_destroy(net);
    writer text = {0};
    put_description(&text, inputs, layers, depth, loss, loss_parameter);
    text.text = array_of(text.length, 1);
    model *self = array_of(1, sizeof *self);
    int status = PYCNN_ERROR_MEMORY;
    if (text.text != NULL && self != NULL) {
        memset(self, 0, sizeof *self);
        text.length = 0;
        put_description(&text, inputs, layers, depth, loss, loss_parameter);
        status = create(self, text.text, text.length);
        *out = &self->shown;
    }
    PYCNN_FREE(text.text);
    if (status != PYCNN_OK) {
        *out = NULL;
        if (self != NULL && text.text != NULL) {
            pycnn_file_destroy(&self->shown);
        } else {
            PYCNN_FREE(self);
        }
    }
    return status;
}

/* The header of a file; returns where its checksum stands, so far in zeros. */
static size_t put_header(writer *out, const model *self, const char older[DIGITS])
{
    put_text(out, "{\"__metadata__\":{\"pycnn\":\"");
    put_quoted(out, self->description, self->seal);
    put_text(out, "\\\"sha256\\\": \\\"");
    put(out, older, DIGITS);
    put_text(out, "\\\", ");
    put_quoted(out, self->description + self->seal, self->length - self->seal);
    put_text(out, "\",\"sha256\":\"");
    const size_t digest = out->length;
    put_text(out, ZEROS);
    put_text(out, "\"}");
    size_t offset = 0;
    for (const named_tensor *t = self->tensors; t < self->tensors + self->tensor_count; t++) {
        put_text(out, ",");
        put_name(out, t->name);
        put_text(out, ":{\"dtype\":\"F64\",\"shape\":[");
        for (size_t i = 0; i < t->place.dims; i++) {
            put_text(out, i > 0 ? "," : "");
            put_size(out, t->place.shape[i]);
        }
        put_text(out, "],\"data_offsets\":[");
        put_size(out, offset);
        put_text(out, ",");
        put_size(out, offset += 8 * t->place.size);
        put_text(out, "]}");
    }
    put_text(out, "}");
    while (out->length % 8 != 0) {
        put_text(out, " ");
    }
    return digest;
}

/* Hashes all that is written behind the header's length. */
static bool put_tensors(const model *self, sha256 *hash, FILE *file)
{
    bool good = true;
    for (const named_tensor *t = self->tensors; t < self->tensors + self->tensor_count; t++) {
        good = put_numbers(hash, file, self->shown.theta + t->place.offset, t->place.size) && good;
    }
    return good;
}

static bool flush_to_disk(FILE *file)
{
    RETURN_IF(fflush(file) != 0, false);
#if defined(HAVE_FSYNC)
    return fsync(fileno(file)) == 0;
#else
    return true;
#endif
}

static int write_to(const char *path, const model *self, const writer *header)
{
    unsigned char length[8];
    sha256 unused;
    sha256_begin(&unused);
    put_u64(length, header->length);
    FILE *file = fopen(path, "wb");
    RETURN_IF(file == NULL, PYCNN_ERROR_IO);
    bool good = fwrite(length, 1, sizeof length, file) == sizeof length &&
                fwrite(header->text, 1, header->length, file) == header->length &&
                put_tensors(self, &unused, file) && flush_to_disk(file);
    good = fclose(file) == 0 && good;
    return good ? PYCNN_OK : PYCNN_ERROR_IO;
}

/* Writes beside `path`, and renames. */
static int write_whole(const char *path, const model *self, const writer *header)
{
    static const char ending[] = ".tmp";
    const size_t length = strlen(path);
    char *beside = array_of(length + sizeof ending, 1);
    RETURN_IF(beside == NULL, PYCNN_ERROR_MEMORY);
    memcpy(beside, path, length);
    memcpy(beside + length, ending, sizeof ending);
    int status = write_to(beside, self, header);
#if defined(_WIN32)
    const bool renamed = status == PYCNN_OK && MoveFileExA(beside, path, 1) /* replace */;
#else
    const bool renamed = status == PYCNN_OK && rename(beside, path) == 0;
#endif
    if (!renamed) {
        remove(beside);
        status = PYCNN_ERROR_IO;
    }
    PYCNN_FREE(beside);
    return status;
}

int pycnn_file_save(const pycnn_file *file, const char *path)
{
    RETURN_IF(file == NULL || path == NULL, PYCNN_ERROR_ARGUMENT);
    const model *self = (const model *)file;
    char digits[DIGITS];
    unsigned char length[8];
    older_digest(self, digits);
    writer header = {0};
    put_header(&header, self, digits);
    header.text = array_of(header.length, 1);
    RETURN_IF(header.text == NULL, PYCNN_ERROR_MEMORY);
    header.length = 0;
    const size_t place = put_header(&header, self, digits);
    sha256 hash;
    sha256_begin(&hash);
    put_u64(length, header.length);
    sha256_add(&hash, length, sizeof length);
    sha256_add(&hash, header.text, header.length);
    put_tensors(self, &hash, NULL);
    sha256_end(&hash, digits);
    memcpy(header.text + place, digits, DIGITS);
    const int status = write_whole(path, self, &header);
    PYCNN_FREE(header.text);
    return status;
}

void pycnn_file_restore(const pycnn_file *file, double *y, size_t rows)
{
    if (file == NULL || file->target_mean == NULL) {
        return;
    }
    const size_t outputs = pycnn_network_outputs(file->net);
    for (size_t i = 0; i < rows * outputs; i++) {
        y[i] = y[i] * file->target_deviation[i % outputs] + file->target_mean[i % outputs];
    }
}
