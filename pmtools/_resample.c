/* Resampling of pixels along two monotone axes, and the maps of coordinates: the compiled back end of resample.py and
 * interpolation.py.
 *
 * Knows nothing of maps: it is told where each output row and column looks, in the words of footprints.py (centre, low and
 * high edge, kernel), and does what the NumPy path there does.
 *
 * An output row is made in two passes. The rows pass sums the source rows below it, weighted, into one row of wide numbers,
 * which stays in the first-level cache; the columns pass sums that row along its pixels and rounds. Memory beyond input and
 * output is that one row, whatever the size of the image.
 *
 *   source    row between   weights           arithmetic
 *   uint8     int16         int16, sum 2^14   int32, the same bits on every processor
 *   uint16    float         float             float
 *   float32   float         float             float
 *
 * Weights are packed as the loops read them (struct plan). Each pass is written once in plain C, and for the cases that
 * matter in AVX2, chosen at run time, or NEON; all give the same result (to rounding, for floats).
 *
 * Stable ABI, buffer protocol, no NumPy headers; the GIL is released while pixels move.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if !defined(WITHOUT_AVX2) && (defined(__GNUC__) || defined(__clang__)) && (defined(__x86_64__) || defined(__i386__))
#define HAVE_AVX2 1
#define AVX2 __attribute__((target("avx2,fma")))
#include <immintrin.h>
#else
#define HAVE_AVX2 0
#endif

#if defined(__aarch64__) && defined(__ARM_NEON)
#define HAVE_NEON 1
#include <arm_neon.h>
#else
#define HAVE_NEON 0
#endif

#if defined(__GNUC__) || defined(__clang__)
#define INLINE static inline __attribute__((always_inline)) /* so that a body is compiled for the target of its caller */
#else
#define INLINE static inline
#endif

#define ONE 16384      /* a weight of 1 in the fixed-point passes */
#define ONE_BITS 14
#define LANES 4        /* output columns that share a loop */
#define FIXED_DEPTH 2  /* taps that share an instruction of the fixed-point passes, but for one channel in AVX2 */
#define MAX_GAIN 4.0   /* weights of an average: their absolute values sum to 1.3 for a cubic, to 2 in the worst corner */

typedef ptrdiff_t index_t;

static inline index_t least(index_t a, index_t b) { return a < b ? a : b; }
static inline index_t most(index_t a, index_t b) { return a > b ? a : b; }
/* NaN, which another thread may write while coordinates are read, is `low`. */
static inline double within(double x, double low, double high) { return x > low ? (x < high ? x : high) : low; }

/* ------------------------------------------------------------------------------------------------------- taps
 * Which source samples an output sample takes, and how much of each: the formulas of footprints.kernel_weights. */

enum kernel { GATHER, LINEAR, BOX, CUBIC };

struct axis {                        /* what Python says about one axis */
    enum kernel kernel;
    const double *centre, *low, *high; /* length */
    index_t length, size;            /* output and source samples */
    index_t first, last;             /* outermost visible source samples */
};

struct span {
    index_t start, count;
};

static double keys(double t)         /* Keys' cubic with a = -1/2, t >= 0 */
{
    if (t < 1.0)
        return (1.5 * t - 2.5) * t * t + 1.0;
    return t < 2.0 ? ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0 : 0.0;
}

static double cubic_width(const struct axis *axis, index_t i) { return fmax(axis->high[i] - axis->low[i], 1.0); }

static double visible_centre(const struct axis *axis, index_t i)
{
    return within(axis->centre[i], (double)axis->first + 0.5, (double)axis->last + 0.5);
}

/* The source samples with weight, never beyond the visible ones. */
static struct span span_of(const struct axis *axis, index_t i)
{
    const double first = (double)axis->first, last = (double)axis->last, centre = visible_centre(axis, i);
    double from, to;
    if (axis->kernel == GATHER) {
        from = to = floor(axis->centre[i]);
    } else if (axis->kernel == CUBIC) {
        const double reach = 2.0 * cubic_width(axis, i);
        from = ceil(centre - reach - 0.5);
        to = floor(centre + reach - 0.5);
    } else if (axis->kernel == BOX && axis->high[i] - axis->low[i] > 1.0) {
        from = floor(axis->low[i]);
        to = ceil(axis->high[i]) - 1.0;
    } else {
        from = floor(centre - 0.5);
        to = ceil(centre - 0.5);
    }
    from = within(from, first, last);
    to = within(to, from, last);
    return (struct span){(index_t)from, (index_t)to - (index_t)from + 1};
}

/* Their weights, which sum to 1. Returns -1 if these samples make no average: the footprint is not of an increasing map. */
static int weigh(const struct axis *axis, index_t i, struct span span, double *weights)
{
    const double low = axis->low[i], high = axis->high[i], centre = visible_centre(axis, i);
    double sum = 0.0, size = 0.0;
    for (index_t k = 0; k < span.count; k++) {
        const double left = (double)(span.start + k), distance = fabs(left + 0.5 - centre);
        double w = 1.0;
        if (axis->kernel == CUBIC)
            w = keys(distance / cubic_width(axis, i));
        else if (axis->kernel == BOX && high - low > 1.0)
            w = fmax(fmin(high, left + 1.0) - fmax(low, left), 0.0);
        else if (axis->kernel != GATHER)
            w = fmax(1.0 - distance, 0.0);
        weights[k] = w;
        sum += w;
        size += fabs(w);
    }
    if (!(sum > 0.0 && size <= MAX_GAIN * sum && size <= (double)span.count * MAX_GAIN))
        return -1;
    for (index_t k = 0; k < span.count; k++)
        weights[k] /= sum;
    return 0;
}

/* ------------------------------------------------------------------------------------------------------- plan
 * Outputs in groups of `lanes`, their taps in chunks of `depth`; a group has as many chunks as its longest span needs, the
 * rest is padded with weights 0. For each group in turn: weight[chunk][lane][tap]. */

struct plan {
    index_t length, size;                /* of the axis */
    enum kernel kernel;
    index_t lanes, depth, groups, reach; /* reach: the most taps, padding included */
    int32_t *start;                      /* (groups * lanes); lanes beyond the end are all padding */
    int32_t *chunks;                     /* (groups) */
    int16_t *fixed;                      /* one of the two */
    float *real;
};

static void plan_free(struct plan *plan)
{
    free(plan->start);
    free(plan->chunks);
    free(plan->fixed);
    free(plan->real);
    memset(plan, 0, sizeof *plan);
}

static void *allocate(size_t count, size_t size) { return count > PTRDIFF_MAX / size ? NULL : calloc(most(count, 1), size); }

enum outcome { DONE, NO_MEMORY, NO_AVERAGE };

/* `stride`: elements between neighbouring samples; starts are counted in elements. */
static enum outcome plan_make(struct plan *plan, const struct axis *axis, int lanes, int depth, int fixed, index_t stride)
{
    const index_t groups = (axis->length + lanes - 1) / lanes;
    size_t total = 0;
    index_t longest = 1;
    enum outcome outcome = NO_MEMORY;
    double *weights = NULL;
    struct span *spans = allocate((size_t)axis->length, sizeof *spans);
    memset(plan, 0, sizeof *plan);
    plan->length = axis->length;
    plan->size = axis->size;
    plan->kernel = axis->kernel;
    plan->lanes = lanes;
    plan->depth = depth;
    plan->groups = groups;
    plan->start = allocate((size_t)(groups * lanes), sizeof *plan->start);
    plan->chunks = allocate((size_t)groups, sizeof *plan->chunks);
    if (!spans || !plan->start || !plan->chunks)
        goto end;
    for (index_t i = 0; i < axis->length; i++) {
        const struct span span = spans[i] = span_of(axis, i);
        int32_t *chunks = &plan->chunks[i / lanes];
        plan->start[i] = (int32_t)(span.start * stride);
        *chunks = (int32_t)most(*chunks, (span.count + depth - 1) / depth);
        longest = most(longest, span.count);
    }
    for (index_t g = 0; g < groups; g++) {
        plan->reach = most(plan->reach, (index_t)plan->chunks[g] * depth);
        total += (size_t)((index_t)plan->chunks[g] * lanes * depth);
    }
    weights = allocate((size_t)longest, sizeof *weights);
    if (fixed)
        plan->fixed = allocate(total, sizeof *plan->fixed);
    else
        plan->real = allocate(total, sizeof *plan->real);
    if (!weights || !(fixed ? (void *)plan->fixed : (void *)plan->real))
        goto end;
    size_t group = 0;                    /* where the weights of the group begin */
    for (index_t i = 0; i < axis->length; i++) {
        const struct span span = spans[i];
        double running = 0.0;
        long before = 0;
        if (weigh(axis, i, span, weights) < 0) {
            outcome = NO_AVERAGE;
            goto end;
        }
        for (index_t k = 0; k < span.count; k++) {
            const size_t at = group + (size_t)(((k / depth) * lanes + i % lanes) * depth + k % depth);
            if (fixed) {                 /* rounding the running sum keeps the total at exactly ONE: flat stays flat */
                running += weights[k];
                const long after = k + 1 == span.count ? ONE : lrint(running * ONE);
                plan->fixed[at] = (int16_t)within((double)(after - before), INT16_MIN, INT16_MAX);
                before = after;
            } else {
                plan->real[at] = (float)weights[k];
            }
        }
        if (i % lanes == lanes - 1)
            group += (size_t)((index_t)plan->chunks[i / lanes] * lanes * depth);
    }
    outcome = DONE;
end:
    free(spans);
    free(weights);
    if (outcome != DONE)
        plan_free(plan);
    return outcome;
}

/* -------------------------------------------------------------------------------------------- rows pass, plain C
 * n numbers of the row between, from the source rows `rows`. Blocks keep the sums in the first-level cache. */

#define BLOCK 64

INLINE int16_t to_int16(int32_t v) { return (int16_t)(v < INT16_MIN ? INT16_MIN : v > INT16_MAX ? INT16_MAX : v); }

INLINE void rows_u8(int16_t *restrict out, const uint8_t *const *rows, const int16_t *weights, index_t pairs, index_t n,
                    int shift)
{
    for (index_t x = 0; x < n; x += BLOCK) {
        const index_t m = least(n - x, BLOCK);
        int32_t sum[BLOCK];
        for (index_t j = 0; j < m; j++)
            sum[j] = 1 << (shift - 1);
        for (index_t k = 0; k < pairs; k++) {
            const uint8_t *a = rows[2 * k] + x, *b = rows[2 * k + 1] + x;
            const int16_t u = weights[2 * k], v = weights[2 * k + 1];
            for (index_t j = 0; j < m; j++) /* 16 by 16 bits: what vector units multiply */
                sum[j] += u * (int16_t)a[j] + v * (int16_t)b[j];
        }
        for (index_t j = 0; j < m; j++)
            out[x + j] = to_int16(sum[j] >> shift);
    }
}

#define DEFINE_ROWS_REAL(NAME, TYPE)                                                                                       \
    INLINE void NAME(float *restrict out, const TYPE *const *rows, const float *weights, index_t taps, index_t n)          \
    {                                                                                                                      \
        for (index_t x = 0; x < n; x += BLOCK) {                                                                           \
            const index_t m = least(n - x, BLOCK);                                                                         \
            float sum[BLOCK];                                                                                              \
            index_t k = 1;                                                                                                 \
            for (index_t j = 0; j < m; j++)                                                                                \
                sum[j] = weights[0] * (float)rows[0][x + j];                                                               \
            for (; k + 1 < taps; k += 2) { /* two at a time: half the traffic of the sums */                               \
                const TYPE *a = rows[k] + x, *b = rows[k + 1] + x;                                                         \
                const float u = weights[k], v = weights[k + 1];                                                            \
                for (index_t j = 0; j < m; j++)                                                                            \
                    sum[j] += u * (float)a[j] + v * (float)b[j];                                                           \
            }                                                                                                              \
            for (; k < taps; k++)                                                                                          \
                for (index_t j = 0; j < m; j++)                                                                            \
                    sum[j] += weights[k] * (float)rows[k][x + j];                                                          \
            memcpy(out + x, sum, (size_t)m * sizeof *sum);                                                                 \
        }                                                                                                                  \
    }

DEFINE_ROWS_REAL(rows_u16, uint16_t)
DEFINE_ROWS_REAL(rows_f32, float)

/* ----------------------------------------------------------------------------------------- columns pass, plain C
 * The output row from the row between; pixels of `channels` numbers. Called with a constant number of channels where that
 * is common, so that the compiler unrolls. */

#define CHANNEL_BLOCK 16

INLINE uint8_t to_uint8(int32_t v) { return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v); }

INLINE void columns_fixed(uint8_t *restrict out, const int16_t *row, const struct plan *plan, index_t length, index_t channels,
                          int shift)
{
    const int16_t *group = plan->fixed;
    for (index_t g = 0; g < plan->groups; g++) {
        const index_t taps = plan->chunks[g] * FIXED_DEPTH;
        for (index_t i = g * LANES; i < least((g + 1) * LANES, length); i++) {
            const int16_t *from = row + plan->start[i], *weights = group + i % LANES * FIXED_DEPTH;
            for (index_t c = 0; c < channels; c += CHANNEL_BLOCK) {
                const index_t m = least(channels - c, CHANNEL_BLOCK);
                int32_t sum[CHANNEL_BLOCK];
                for (index_t j = 0; j < m; j++)
                    sum[j] = 1 << (shift - 1);
                for (index_t k = 0; k < taps; k += 2) {
                    const int16_t *a = from + k * channels + c, *b = a + channels;
                    const int32_t u = weights[k * LANES], v = weights[k * LANES + 1];
                    for (index_t j = 0; j < m; j++)
                        sum[j] += u * a[j] + v * b[j];
                }
                for (index_t j = 0; j < m; j++)
                    out[i * channels + c + j] = to_uint8(sum[j] >> shift);
            }
        }
        group += taps * LANES;
    }
}

struct range {
    float low, high;
};

INLINE float clamp(float v, struct range range) { return v < range.low ? range.low : v > range.high ? range.high : v; }

INLINE uint16_t to_uint16(float v)       /* 0 <= v < 2^22; rounds half to even, as NumPy does */
{
    const float magic = 12582912.0f;     /* 1.5 * 2^23: the last bit of the sum is worth 1 */
    return (uint16_t)(v + magic - magic);
}

#define DEFINE_COLUMNS_REAL(NAME, TYPE, CONVERT)                                                                           \
    INLINE void NAME(TYPE *restrict out, const float *row, const struct plan *plan, index_t length, index_t channels,      \
                     struct range range)                                                                                   \
    {                                                                                                                      \
        const float *group = plan->real;                                                                                   \
        for (index_t g = 0; g < plan->groups; g++) {                                                                       \
            const index_t taps = plan->chunks[g]; /* depth 1 */                                                            \
            for (index_t i = g * LANES; i < least((g + 1) * LANES, length); i++) {                                         \
                const float *from = row + plan->start[i], *weights = group + i % LANES;                                    \
                for (index_t c = 0; c < channels; c += CHANNEL_BLOCK) {                                                    \
                    const index_t m = least(channels - c, CHANNEL_BLOCK);                                                  \
                    float sum[CHANNEL_BLOCK];                                                                              \
                    for (index_t j = 0; j < m; j++)                                                                        \
                        sum[j] = weights[0] * from[c + j];                                                                 \
                    for (index_t k = 1; k < taps; k++)                                                                     \
                        for (index_t j = 0; j < m; j++)                                                                    \
                            sum[j] += weights[k * LANES] * from[k * channels + c + j];                                     \
                    for (index_t j = 0; j < m; j++)                                                                        \
                        out[i * channels + c + j] = CONVERT(clamp(sum[j], range));                                         \
                }                                                                                                          \
            }                                                                                                              \
            group += taps * LANES;                                                                                         \
        }                                                                                                                  \
    }

DEFINE_COLUMNS_REAL(columns_u16, uint16_t, to_uint16)
DEFINE_COLUMNS_REAL(columns_f32, float, (float))

/* --------------------------------------------------------------------------------------------------------- NEON
 * uint8 columns of two to four channels, which fill a register; compilers vectorise the rows, but these along the taps, and
 * GCC 12.2 does that wrongly for four channels. */

#if HAVE_NEON
static void columns_few_neon(uint8_t *out, const int16_t *row, const struct plan *plan, index_t length, index_t channels,
                             int shift)
{
    const int32x4_t half = vdupq_n_s32(1 << (shift - 1)), down = vdupq_n_s32(-shift);
    const int16_t *group = plan->fixed;
    for (index_t g = 0; g < plan->groups; g++) {
        const index_t taps = plan->chunks[g] * FIXED_DEPTH;
        for (index_t i = g * LANES; i < least((g + 1) * LANES, length); i++) {
            const int16_t *from = row + plan->start[i], *weights = group + i % LANES * FIXED_DEPTH;
            int32x4_t sum = half;
            for (index_t k = 0; k < taps; k += 2, from += 2 * channels) { /* loads may reach past the row: it is padded */
                sum = vmlal_n_s16(sum, vld1_s16(from), weights[k * LANES]);
                sum = vmlal_n_s16(sum, vld1_s16(from + channels), weights[k * LANES + 1]);
            }
            uint8_t pixel[8];
            vst1_u8(pixel, vqmovun_s16(vcombine_s16(vqmovn_s32(vshlq_s32(sum, down)), vdup_n_s16(0))));
            memcpy(out + i * channels, pixel, (size_t)channels);
        }
        group += taps * LANES;
    }
}
#endif

/* --------------------------------------------------------------------------------------------------------- AVX2
 * uint8 rows, and columns of up to four channels; the other loops are the plain ones, compiled for AVX2.
 *
 * Columns: the numbers of one pixel fill one 128-bit lane, so four output pixels are two registers. With one channel the
 * lane holds neighbouring taps instead, and the sum over the lane is taken at the end. The row between is padded, so loads
 * may reach past its end; stores may not, and the last ones go through `rest`. */

#if HAVE_AVX2

/* Source rows that the next output row needs and this one did not. So many rows are read side by side that the processor does
 * not see them coming; asked for early, they are there. */
struct ahead {
    const char *rows;
    index_t stride, count;
};

/* Two rows whose weights are >= 0: the one product (b - a) v gives the same bits as a u + b v, in 16 instead of 32 bits. */
AVX2 static void lerp_u8_avx2(int16_t *out, const uint8_t *a, const uint8_t *b, int16_t weight, index_t n)
{
    if (weight == ONE) {                 /* twice that would not fit */
        a = b;
        weight = 0;
    }
    const __m256i w = _mm256_set1_epi16((int16_t)(2 * weight));
    for (index_t x = 0;; x = least(x + 16, n - 16)) { /* the last step overlaps the one before */
        const __m256i p = _mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(a + x))), 7);
        const __m256i q = _mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(b + x))), 7);
        _mm256_storeu_si256((__m256i *)(out + x), _mm256_add_epi16(p, _mm256_mulhrs_epi16(_mm256_sub_epi16(q, p), w)));
        if (x == n - 16)
            return;
    }
}

AVX2 INLINE void add_pair(__m256i sums[4], const uint8_t *from_a, const uint8_t *from_b, __m256i w)
{
    const __m256i zero = _mm256_setzero_si256();
    const __m256i a = _mm256_loadu_si256((const __m256i *)from_a), b = _mm256_loadu_si256((const __m256i *)from_b);
    const __m256i low = _mm256_unpacklo_epi8(a, b);  /* a0 b0 a1 b1 ..  of columns 0..7 | 16..23 */
    const __m256i high = _mm256_unpackhi_epi8(a, b); /*                            8..15 | 24..31 */
    sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(_mm256_unpacklo_epi8(low, zero), w));  /* 0..3 | 16..19 */
    sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(_mm256_unpackhi_epi8(low, zero), w));  /* 4..7 | 20..23 */
    sums[2] = _mm256_add_epi32(sums[2], _mm256_madd_epi16(_mm256_unpacklo_epi8(high, zero), w)); /* 8..11 | 24..27 */
    sums[3] = _mm256_add_epi32(sums[3], _mm256_madd_epi16(_mm256_unpackhi_epi8(high, zero), w)); /* 12..15 | 28..31 */
}

AVX2 INLINE void store_sums(int16_t *out, const __m256i sums[4], __m128i bits)
{
    const __m256i p = _mm256_packs_epi32(_mm256_sra_epi32(sums[0], bits), _mm256_sra_epi32(sums[1], bits)); /* 0..7 | 16..23 */
    const __m256i q = _mm256_packs_epi32(_mm256_sra_epi32(sums[2], bits), _mm256_sra_epi32(sums[3], bits)); /* 8..15 | 24..31 */
    _mm256_storeu_si256((__m256i *)out, _mm256_permute2x128_si256(p, q, 0x20));
    _mm256_storeu_si256((__m256i *)(out + 16), _mm256_permute2x128_si256(p, q, 0x31));
}

/* Rows whose distance is a multiple of PAGE bytes share a set of the first-level cache: it holds few of them, and fetching more
 * side by side makes them evict each other. They take turns then, few at a time, over STEPS cache lines. */
#define PAGE 4096
#define PAIRS_IN_A_SET 5
#define STEPS 8

AVX2 static void rows_u8_avx2(int16_t *out, const uint8_t *const *rows, const int16_t *weights, index_t pairs, index_t n,
                              int shift, struct ahead ahead)
{
    if (n < 64) {                        /* steps are whole cache lines */
        rows_u8(out, rows, weights, pairs, n, shift);
        return;
    }
    if (pairs == 1 && shift == 7 && weights[0] >= 0 && weights[1] >= 0) {
        lerp_u8_avx2(out, rows[0], rows[1], weights[1], n);
        return;
    }
    const int share_a_set = ((uintptr_t)rows[1] - (uintptr_t)rows[0]) % PAGE == 0;
    const index_t at_once = share_a_set ? PAIRS_IN_A_SET : pairs;
    const __m256i half = _mm256_set1_epi32(1 << (shift - 1));
    const __m128i bits = _mm_cvtsi32_si128(shift);
    for (index_t block = 0; block < n; block += 64 * STEPS) {
        const index_t steps = least((n - block + 63) / 64, STEPS);
        __m256i so_far[STEPS][8];
        for (index_t from = 0; from < pairs; from += at_once) {
            const index_t to = least(from + at_once, pairs);
            for (index_t step = 0; step < steps; step++) {
                const index_t x = least(block + 64 * step, n - 64); /* the last step overlaps the one before */
                __m256i low[4] = {half, half, half, half}, high[4] = {half, half, half, half};
                if (from > 0) {
                    memcpy(low, so_far[step], sizeof low);
                    memcpy(high, so_far[step] + 4, sizeof high);
                }
                for (index_t k = from; k < to; k++) {
                    int32_t pair;
                    memcpy(&pair, weights + 2 * k, sizeof pair);
                    const __m256i w = _mm256_set1_epi32(pair);
                    add_pair(low, rows[2 * k] + x, rows[2 * k + 1] + x, w);
                    add_pair(high, rows[2 * k] + x + 32, rows[2 * k + 1] + x + 32, w);
                }
                if (to < pairs) {
                    memcpy(so_far[step], low, sizeof low);
                    memcpy(so_far[step] + 4, high, sizeof high);
                    continue;
                }
                store_sums(out + x, low, bits);
                store_sums(out + x + 32, high, bits);
                for (index_t k = 0; k < ahead.count; k++)
                    _mm_prefetch(ahead.rows + k * ahead.stride + x, _MM_HINT_T1);
            }
        }
    }
}

AVX2 INLINE __m256i load_two(const int16_t *low, const int16_t *high)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)low)),
                                   _mm_loadu_si128((const __m128i *)high), 1);
}

AVX2 INLINE __m256 load_two_real(const float *low, const float *high)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
}

/* depth 8: eight taps of the one channel at a time */
AVX2 static void columns_u8_one_avx2(uint8_t *out, const int16_t *row, const struct plan *plan, index_t length, int shift)
{
    const __m128i half = _mm_set1_epi32(1 << (shift - 1)), bits = _mm_cvtsi32_si128(shift);
    const int16_t *w = plan->fixed;
    for (index_t g = 0; g < plan->groups; g++) {
        const int32_t *start = plan->start + g * LANES;
        __m256i s = _mm256_setzero_si256(), t = s;
        for (index_t k = 0; k < plan->chunks[g]; k++, w += 32) {
            const int16_t *from = row + 8 * k;
            const __m256i u = _mm256_loadu_si256((const __m256i *)w), v = _mm256_loadu_si256((const __m256i *)(w + 16));
            s = _mm256_add_epi32(s, _mm256_madd_epi16(load_two(from + start[0], from + start[1]), u));
            t = _mm256_add_epi32(t, _mm256_madd_epi16(load_two(from + start[2], from + start[3]), v));
        }
        s = _mm256_hadd_epi32(s, t);     /* 0 0 2 2 | 1 1 3 3 */
        s = _mm256_hadd_epi32(s, s);     /* 0 2 0 2 | 1 3 1 3 */
        __m128i sum = _mm_unpacklo_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
        sum = _mm_sra_epi32(_mm_add_epi32(sum, half), bits);
        sum = _mm_packs_epi32(sum, sum);
        const int32_t four = _mm_cvtsi128_si32(_mm_packus_epi16(sum, sum));
        memcpy(out + g * LANES, &four, (size_t)least(length - g * LANES, LANES));
    }
}

/* depth 2: two neighbouring pixels of two to four channels at a time; `one_chunk`: none takes more than two */
AVX2 INLINE void columns_u8_pairs(uint8_t *out, const int16_t *row, const struct plan *plan, index_t length, index_t channels,
                                  int shift, int one_chunk)
{
    const __m256i pair_up = _mm256_broadcastsi128_si256(
        channels == 2   ? _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, -1, -1, -1, -1, -1, -1, -1, -1)
        : channels == 3 ? _mm_setr_epi8(0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11, -1, -1, -1, -1)
                        : _mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15));
    const __m128i close_up = channels == 2   ? _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1)
                             : channels == 3 ? _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1)
                                             : _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m256i first_two = _mm256_setr_epi64x(0x0302010003020100, 0x0302010003020100, 0x0706050407060504, 0x0706050407060504);
    const __m256i last_two = _mm256_add_epi8(first_two, _mm256_set1_epi8(8)); /* bytes of the weights, for lane 0 | 1, 2 | 3 */
    const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5);
    const __m256i half = _mm256_set1_epi32(1 << (shift - 1));
    const __m128i bits = _mm_cvtsi32_si128(shift);
    const int16_t *w = plan->fixed;
    const index_t size = length * channels;
    for (index_t g = 0; g < plan->groups; g++) {
        const int32_t *start = plan->start + g * LANES;
        const index_t chunks = one_chunk ? 1 : plan->chunks[g];
        __m256i s = half, t = half;
        for (index_t k = 0; k < chunks; k++, w += 8) {
            const int16_t *from = row + 2 * channels * k;
            const __m256i four = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)w));
            const __m256i a = _mm256_shuffle_epi8(load_two(from + start[0], from + start[1]), pair_up);
            const __m256i b = _mm256_shuffle_epi8(load_two(from + start[2], from + start[3]), pair_up);
            s = _mm256_add_epi32(s, _mm256_madd_epi16(a, _mm256_shuffle_epi8(four, first_two)));
            t = _mm256_add_epi32(t, _mm256_madd_epi16(b, _mm256_shuffle_epi8(four, last_two)));
        }
        __m256i v = _mm256_packs_epi32(_mm256_sra_epi32(s, bits), _mm256_sra_epi32(t, bits)); /* 0 2 | 1 3 */
        v = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(v, v), in_order);
        const __m128i pixels = _mm_shuffle_epi8(_mm256_castsi256_si128(v), close_up);
        const index_t at = g * LANES * channels;
        if (at + 16 <= size) {           /* what it writes too much, the next store overwrites */
            _mm_storeu_si128((__m128i *)(out + at), pixels);
        } else {
            uint8_t rest[16];
            _mm_storeu_si128((__m128i *)rest, pixels);
            memcpy(out + at, rest, (size_t)least(size - at, LANES * channels));
        }
    }
}

AVX2 INLINE void columns_u8_few(uint8_t *out, const int16_t *row, const struct plan *plan, index_t length, index_t channels,
                                int shift)
{
    if (plan->reach == FIXED_DEPTH)      /* linear: a fifth faster without the loop */
        columns_u8_pairs(out, row, plan, length, channels, shift, 1);
    else
        columns_u8_pairs(out, row, plan, length, channels, shift, 0);
}

/* The sums of four output pixels, channels (2 to 4) in 128-bit lanes: s = 0 | 1, t = 2 | 3. Depth 1. */
#define SUM_FEW_REAL(s, t)                                                                                                 \
    __m256 s = _mm256_setzero_ps(), t = s;                                                                                 \
    for (index_t k = 0; k < plan->chunks[g]; k++, w += 4) {                                                                \
        const float *from = row + channels * k;                                                                            \
        const __m256 four = _mm256_castps128_ps256(_mm_loadu_ps(w));                                                       \
        s = _mm256_fmadd_ps(load_two_real(from + start[0], from + start[1]), _mm256_permutevar8x32_ps(four, first_two), s); \
        t = _mm256_fmadd_ps(load_two_real(from + start[2], from + start[3]), _mm256_permutevar8x32_ps(four, last_two), t);  \
    }                                                                                                                      \
    s = _mm256_min_ps(_mm256_max_ps(s, low), high);                                                                        \
    t = _mm256_min_ps(_mm256_max_ps(t, low), high);

/* The sums of four output pixels of one channel, in order. Depth 4. */
#define SUM_ONE_REAL(sum)                                                                                                  \
    __m256 s = _mm256_setzero_ps(), t = s;                                                                                 \
    for (index_t k = 0; k < plan->chunks[g]; k++, w += 16) {                                                               \
        const float *from = row + 4 * k;                                                                                   \
        s = _mm256_fmadd_ps(load_two_real(from + start[0], from + start[1]), _mm256_loadu_ps(w), s);                       \
        t = _mm256_fmadd_ps(load_two_real(from + start[2], from + start[3]), _mm256_loadu_ps(w + 8), t);                   \
    }                                                                                                                      \
    s = _mm256_hadd_ps(s, t);                                                                                              \
    s = _mm256_hadd_ps(s, s);                                                                                              \
    __m128 sum = _mm_unpacklo_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));                                  \
    sum = _mm_min_ps(_mm_max_ps(sum, _mm256_castps256_ps128(low)), _mm256_castps256_ps128(high));

#define REAL_CONSTANTS                                                                                                     \
    const __m256 low = _mm256_set1_ps(range.low), high = _mm256_set1_ps(range.high);                                       \
    const float *w = plan->real;

AVX2 static void columns_f32_one_avx2(float *out, const float *row, const struct plan *plan, index_t length,
                                      struct range range)
{
    REAL_CONSTANTS
    for (index_t g = 0; g < plan->groups; g++) {
        const int32_t *start = plan->start + g * LANES;
        SUM_ONE_REAL(sum)
        float rest[4];
        _mm_storeu_ps(rest, sum);
        memcpy(out + g * LANES, rest, (size_t)least(length - g * LANES, LANES) * sizeof *out);
    }
}

AVX2 static void columns_u16_one_avx2(uint16_t *out, const float *row, const struct plan *plan, index_t length,
                                      struct range range)
{
    REAL_CONSTANTS
    for (index_t g = 0; g < plan->groups; g++) {
        const int32_t *start = plan->start + g * LANES;
        SUM_ONE_REAL(sum)
        const __m128i whole = _mm_cvtps_epi32(sum); /* rounds half to even */
        uint16_t rest[8];
        _mm_storeu_si128((__m128i *)rest, _mm_packus_epi32(whole, whole));
        memcpy(out + g * LANES, rest, (size_t)least(length - g * LANES, LANES) * sizeof *out);
    }
}

AVX2 INLINE void columns_f32_few(float *out, const float *row, const struct plan *plan, index_t length, index_t channels,
                                 struct range range)
{
    REAL_CONSTANTS
    const __m256i first_two = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1), last_two = _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3);
    const index_t size = length * channels;
    for (index_t g = 0; g < plan->groups; g++) {
        const int32_t *start = plan->start + g * LANES;
        SUM_FEW_REAL(s, t)
        const index_t at = g * LANES * channels;
        float rest[16];
        float *to = at + 16 <= size ? out + at : rest; /* in this order each store overwrites what the last wrote too much */
        _mm_storeu_ps(to, _mm256_castps256_ps128(s));
        _mm_storeu_ps(to + channels, _mm256_extractf128_ps(s, 1));
        _mm_storeu_ps(to + 2 * channels, _mm256_castps256_ps128(t));
        _mm_storeu_ps(to + 3 * channels, _mm256_extractf128_ps(t, 1));
        if (to == rest)
            memcpy(out + at, rest, (size_t)least(size - at, LANES * channels) * sizeof *out);
    }
}

AVX2 INLINE void columns_u16_few(uint16_t *out, const float *row, const struct plan *plan, index_t length, index_t channels,
                                 struct range range)
{
    REAL_CONSTANTS
    const __m256i first_two = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1), last_two = _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3);
    const index_t size = length * channels;
    for (index_t g = 0; g < plan->groups; g++) {
        const int32_t *start = plan->start + g * LANES;
        SUM_FEW_REAL(s, t)
        const __m256i v = _mm256_packus_epi32(_mm256_cvtps_epi32(s), _mm256_cvtps_epi32(t)); /* 0 2 | 1 3 */
        const __m128i even = _mm256_castsi256_si128(v), odd = _mm256_extracti128_si256(v, 1);
        const index_t at = g * LANES * channels;
        uint16_t rest[16];
        uint16_t *to = at + 16 <= size ? out + at : rest;
        _mm_storel_epi64((__m128i *)to, even);
        _mm_storel_epi64((__m128i *)(to + channels), odd);
        _mm_storel_epi64((__m128i *)(to + 2 * channels), _mm_unpackhi_epi64(even, even));
        _mm_storel_epi64((__m128i *)(to + 3 * channels), _mm_unpackhi_epi64(odd, odd));
        if (to == rest)
            memcpy(out + at, rest, (size_t)least(size - at, LANES * channels) * sizeof *out);
    }
}

#endif /* HAVE_AVX2 */

/* --------------------------------------------------------------------------------------------- passes by type */

enum type { UINT8, UINT16, FLOAT32 };

/* CASES calls a function with a constant number of channels where that is common. */
#define CASES(FUNCTION, CHANNELS, ...)                                                                                     \
    switch (CHANNELS) {                                                                                                    \
    case 1: FUNCTION(1, __VA_ARGS__); break;                                                                               \
    case 2: FUNCTION(2, __VA_ARGS__); break;                                                                               \
    case 3: FUNCTION(3, __VA_ARGS__); break;                                                                               \
    case 4: FUNCTION(4, __VA_ARGS__); break;                                                                               \
    default: FUNCTION(CHANNELS, __VA_ARGS__);                                                                              \
    }

struct job {
    enum type type;
    int avx2;
    int row_bits;                        /* fraction bits of the fixed row between */
    index_t channels;                    /* that lie next to each other; planes are images of one channel */
    index_t width, length;               /* source and output columns */
    const struct plan *rows, *columns;
};

static void rows_pass(const struct job *job, void *between, const void *const *rows, size_t weights, index_t chunks)
{
    const index_t n = job->width * job->channels;
    if (job->type == UINT8)
        rows_u8(between, (const uint8_t *const *)rows, job->rows->fixed + weights, chunks, n, ONE_BITS - job->row_bits);
    else if (job->type == UINT16)
        rows_u16(between, (const uint16_t *const *)rows, job->rows->real + weights, chunks, n);
    else
        rows_f32(between, (const float *const *)rows, job->rows->real + weights, chunks, n);
}

static void columns_pass(const struct job *job, void *out, const void *between, struct range range)
{
    const int shift = ONE_BITS + job->row_bits;
#define PLAIN(C, FUNCTION, LAST) FUNCTION(out, between, job->columns, job->length, C, LAST)
#if HAVE_NEON
    if (job->type == UINT8 && job->channels >= 2 && job->channels <= 4) {
        columns_few_neon(out, between, job->columns, job->length, job->channels, shift);
        return;
    }
#endif
    if (job->type == UINT8) {
        CASES(PLAIN, job->channels, columns_fixed, shift)
    } else if (job->type == UINT16) {
        CASES(PLAIN, job->channels, columns_u16, range)
    } else {
        CASES(PLAIN, job->channels, columns_f32, range)
    }
}

#if HAVE_AVX2
AVX2 static void rows_pass_avx2(const struct job *job, void *between, const void *const *rows, size_t weights, index_t chunks,
                                struct ahead ahead)
{
    const index_t n = job->width * job->channels;
    if (job->type == UINT8)
        rows_u8_avx2(between, (const uint8_t *const *)rows, job->rows->fixed + weights, chunks, n, ONE_BITS - job->row_bits,
                     ahead);
    else if (job->type == UINT16)
        rows_u16(between, (const uint16_t *const *)rows, job->rows->real + weights, chunks, n);
    else
        rows_f32(between, (const float *const *)rows, job->rows->real + weights, chunks, n);
}

AVX2 static void columns_pass_avx2(const struct job *job, void *out, const void *between, struct range range)
{
    const struct plan *plan = job->columns;
    const index_t length = job->length, channels = job->channels;
    const int shift = ONE_BITS + job->row_bits;
#define BY_TYPE(FUNCTION_U8, FUNCTION_U16, FUNCTION_F32, ...)                                                              \
    if (job->type == UINT8)                                                                                                \
        FUNCTION_U8(out, between, plan, __VA_ARGS__, shift);                                                               \
    else if (job->type == UINT16)                                                                                          \
        FUNCTION_U16(out, between, plan, __VA_ARGS__, range);                                                              \
    else                                                                                                                   \
        FUNCTION_F32(out, between, plan, __VA_ARGS__, range);
    switch (channels) {
    case 1: BY_TYPE(columns_u8_one_avx2, columns_u16_one_avx2, columns_f32_one_avx2, length) break;
    case 2: BY_TYPE(columns_u8_few, columns_u16_few, columns_f32_few, length, 2) break;
    case 3: BY_TYPE(columns_u8_few, columns_u16_few, columns_f32_few, length, 3) break;
    case 4: BY_TYPE(columns_u8_few, columns_u16_few, columns_f32_few, length, 4) break;
    default: BY_TYPE(columns_fixed, columns_u16, columns_f32, length, channels)
    }
}
#endif

/* ------------------------------------------------------------------------------------------------ source rows */

/* The source as rows of neighbouring numbers: the image itself where it is laid out so, otherwise copies of as many rows as
 * one output row needs. */
struct source {
    const char *base;                    /* of this plane */
    index_t row_stride, column_stride, channel_stride, size; /* bytes; size of one number */
    index_t width, channels;
    int direct;
    index_t slots;
    char *ring;                          /* (slots, width * channels numbers) */
    index_t *held;                       /* (slots): which row a slot holds, or -1 */
};

static void pack(const struct source *source, const char *from, char *to)
{
    for (index_t x = 0; x < source->width; x++)
        for (index_t c = 0; c < source->channels; c++, to += source->size) {
            const char *number = from + x * source->column_stride + c * source->channel_stride;
            switch (source->size) {      /* constant sizes become moves */
            case 1: memcpy(to, number, 1); break;
            case 2: memcpy(to, number, 2); break;
            default: memcpy(to, number, 4);
            }
        }
}

static const void *source_row(struct source *source, index_t y)
{
    const char *row = source->base + y * source->row_stride;
    if (source->direct)
        return row;
    const index_t slot = y % source->slots;
    char *copy = source->ring + slot * source->width * source->channels * source->size;
    if (source->held[slot] != y) {
        pack(source, row, copy);
        source->held[slot] = y;
    }
    return copy;
}

static void resample_plane(const struct job *job, struct source *source, char *out, index_t out_stride, const void **pointers,
                           void *between, struct range range)
{
    const struct plan *rows = job->rows;
    size_t weights = 0;
    for (index_t k = 0; k < source->slots && !source->direct; k++)
        source->held[k] = -1;
    for (index_t i = 0; i < rows->length; i++) {
        const index_t chunks = rows->chunks[i], taps = chunks * rows->depth;
        for (index_t k = 0; k < taps; k++) /* padding has weight 0, any row will do */
            pointers[k] = source_row(source, least(rows->start[i] + k, rows->size - 1));
#if HAVE_AVX2
        if (job->avx2) {
            struct ahead ahead = {0};
            if (source->direct && i + 1 < rows->length) {
                const index_t from = rows->start[i] + taps;
                const index_t to = least(rows->start[i + 1] + (index_t)rows->chunks[i + 1] * rows->depth, rows->size);
                if (from < to)
                    ahead = (struct ahead){source->base + from * source->row_stride, source->row_stride, to - from};
            }
            rows_pass_avx2(job, between, pointers, weights, chunks, ahead);
            columns_pass_avx2(job, out + i * out_stride, between, range);
        } else
#endif
        {
            rows_pass(job, between, pointers, weights, chunks);
            columns_pass(job, out + i * out_stride, between, range);
        }
        weights += (size_t)taps;
    }
}

/* ------------------------------------------------------------------------------------------------------ images */

struct images {                          /* n images of (H, W, C) numbers, strides in bytes */
    char *base;
    index_t shape[4], strides[4], size;
};

static int is_aligned(const struct images *images)
{
    uintptr_t bits = (uintptr_t)images->base;
    for (int i = 0; i < 4; i++)
        if (images->shape[i] > 1)
            bits |= (uintptr_t)images->strides[i];
    return bits % (uintptr_t)images->size == 0;
}

/* What the numbers of a pass are: the plans of both axes are made for it. */
struct layout {
    enum type type;
    int avx2;
    index_t channels;                    /* that lie next to each other; planes are images of one channel */
};

static enum outcome plan_rows(struct plan *plan, const struct axis *axis, struct layout layout)
{
    const int fixed = layout.type == UINT8;
    return plan_make(plan, axis, 1, fixed ? FIXED_DEPTH : 1, fixed, 1);
}

static enum outcome plan_columns(struct plan *plan, const struct axis *axis, struct layout layout)
{
    const int fixed = layout.type == UINT8;
    int depth = fixed ? FIXED_DEPTH : 1;
    if (layout.avx2 && layout.channels == 1)
        depth = fixed ? 8 : 4;
    return plan_make(plan, axis, LANES, depth, fixed, layout.channels);
}

/* The plans of both axes, for one image or for all. */
struct pair {
    const struct plan *rows, *columns;
};

/* `pairs`: one for each image, or one for all; `limits`: two floats for each image, or NULL. Called without the GIL. */
static enum outcome resample_images(const struct images *from, const struct images *to, const struct pair *pairs,
                                    index_t pair_count, struct layout layout, const float *limits)
{
    if (pair_count == 0)                 /* no images, whose sides no plan has bounded */
        return DONE;
    const index_t channels = layout.channels, planes = from->shape[3] / channels, width = from->shape[2];
    struct source source = {.row_stride = from->strides[1], .column_stride = from->strides[2],
                            .channel_stride = from->strides[3], .size = from->size, .width = width, .channels = channels};
    source.direct = (width == 1 || from->strides[2] == channels * from->size) &&
                    (channels == 1 || from->strides[3] == from->size) && is_aligned(from);
    index_t row_reach = 1, column_reach = 1;
    for (index_t i = 0; i < pair_count; i++) {
        row_reach = most(row_reach, pairs[i].rows->reach);
        column_reach = most(column_reach, pairs[i].columns->reach);
    }
    enum outcome outcome = NO_MEMORY;
    const void **pointers = allocate((size_t)row_reach, sizeof *pointers);
    /* padded by what a lane reads past the end of the row, which must be finite */
    char *between = allocate((size_t)((width + column_reach) * channels + 16), sizeof(float));
    if (!source.direct) {
        source.ring = allocate((size_t)row_reach, (size_t)(width * channels * source.size));
        source.held = allocate((size_t)row_reach, sizeof *source.held);
    }
    if (!pointers || !between || (!source.direct && (!source.ring || !source.held)))
        goto end;
    for (index_t i = 0; i < from->shape[0]; i++) {
        const struct pair pair = pairs[pair_count == 1 ? 0 : i];
        const struct job job = {.type = layout.type, .avx2 = layout.avx2, .channels = channels, .width = width,
                                .length = pair.columns->length, .rows = pair.rows, .columns = pair.columns,
                                /* a cubic overshoots: 255 * 1.3 * 2^7 would not fit */
                                .row_bits = pair.rows->kernel == CUBIC ? 6 : 7};
        struct range range = {-INFINITY, INFINITY};
        if (layout.type == UINT16)
            range = (struct range){0.0f, 65535.0f};
        else if (limits)
            range = (struct range){limits[2 * i], limits[2 * i + 1]};
        source.slots = pair.rows->reach;
        for (index_t c = 0; c < planes; c++) {
            source.base = from->base + i * from->strides[0] + c * from->strides[3];
            char *out = to->base + i * to->strides[0] + c * to->strides[3];
            resample_plane(&job, &source, out, to->strides[1], pointers, between, range);
        }
    }
    outcome = DONE;
end:
    free(source.ring);
    free(source.held);
    free(pointers);
    free(between);
    return outcome;
}

/* ------------------------------------------------------------------------------------------------- coordinates
 * An increasing piecewise linear map at many places, as interpolation.py has it: what NumPy's interp says where all places are
 * between the outermost knots, and the same formula on the outermost pieces otherwise. */

struct places {                          /* strides in bytes; base and strides are aligned */
    char *base;
    index_t count, stride;
};

#define BUCKETS 8                        /* for each piece; most then begin in the piece they end in */

/* The piece of `x`, starting to look at `piece`: the last one whose first knot is not beyond it. NaN is in the last one. */
INLINE index_t piece_of(double x, const double *knots, index_t last_piece, index_t piece)
{
    while (piece < last_piece && !(x < knots[piece + 1]))
        piece++;
    while (piece > 0 && x < knots[piece])
        piece--;
    return piece;
}

static int all_inside(struct places from, double first, double last)
{
    int inside = 1;
    for (index_t i = 0; i < from.count; i++) {
        const double x = *(const double *)(from.base + i * from.stride);
        inside &= (x >= first) & (x <= last);
    }
    return inside;
}

/* Few places: no table is made. Each looks at the piece of the one before and at the next, and then for its own by halving. */
static void map_few_places(struct places from, struct places to, const double *knots, const double *values, index_t count)
{
    const int inside = all_inside(from, knots[0], knots[count - 1]);
    index_t low = 0;
    for (index_t i = 0; i < from.count; i++) {
        const double x = *(const double *)(from.base + i * from.stride);
        low += low + 2 < count && x >= knots[low + 1];
        if (!(x >= knots[low] && x < knots[low + 1])) {
            index_t high = count - 1;    /* the piece is one of low..high - 1 */
            low = 0;
            while (high - low > 1) {
                const index_t middle = (low + high) / 2;
                if (x < knots[middle])
                    high = middle;
                else
                    low = middle;
            }
        }
        const double slope = (values[low + 1] - values[low]) / (knots[low + 1] - knots[low]);
        const double y = slope * (x - knots[low]) + values[low];
        *(double *)(to.base + i * to.stride) = inside && x == knots[count - 1] ? values[count - 1] : y;
    }
}

static enum outcome map_places(struct places from, struct places to, const double *knots, const double *values, index_t count)
{
    const index_t last_piece = count - 2, buckets = BUCKETS * (count - 1);
    const double first = knots[0], last = knots[count - 1], per_unit = (double)buckets / (last - first);
    if (from.count < BUCKETS * count) {
        map_few_places(from, to, knots, values, count);
        return DONE;
    }
    double *slopes = allocate((size_t)count, sizeof *slopes);
    int32_t *begin = allocate((size_t)buckets, sizeof *begin);
    if (!slopes || !begin) {
        free(slopes);
        free(begin);
        return NO_MEMORY;
    }
    for (index_t k = 0; k <= last_piece; k++)
        slopes[k] = (values[k + 1] - values[k]) / (knots[k + 1] - knots[k]);
    for (index_t b = 0, piece = 0; b < buckets; b++) {
        piece = piece_of(first + (double)b / per_unit, knots, last_piece, piece);
        begin[b] = (int32_t)piece;
    }
    const int inside = all_inside(from, first, last);
    for (index_t i = 0; i < from.count; i++) {
        const double x = *(const double *)(from.base + i * from.stride);
        const double bucket = (x - first) * per_unit;
        /* NaN fails both comparisons */
        const index_t guess = bucket >= 0.0 ? (bucket < (double)buckets ? begin[(index_t)bucket] : last_piece) : 0;
        const index_t k = piece_of(x, knots, last_piece, guess);
        const double y = slopes[k] * (x - knots[k]) + values[k];
        *(double *)(to.base + i * to.stride) = inside && x == last ? values[count - 1] : y;
    }
    free(slopes);
    free(begin);
    return DONE;
}

/* ---------------------------------------------------------------------------------------------------- marginals
 * The greatest of each column of a map whose rows are interpolated linearly, as marginals.upsampled_marginal has it, in the
 * sums of interpolation.resample_axis. All samples between two cells share these: no interpolated map is needed. */

struct grid {                            /* strides in bytes; base and strides are aligned */
    const char *base;
    index_t rows, cells, row_stride, cell_stride;
};

static double cell_at(const struct grid *grid, index_t row, index_t cell)
{
    return *(const double *)(grid->base + row * grid->row_stride + cell * grid->cell_stride);
}

static enum outcome upsampled_greatest(const struct grid *grid, double *restrict out, index_t length)
{
    const index_t last = grid->cells - 1;
    const double step = (double)grid->cells / (double)length;
    double *place = allocate((size_t)length, sizeof *place), *share = allocate((size_t)length, sizeof *share);
    if (!place || !share) {
        free(place);
        free(share);
        return NO_MEMORY;
    }
    for (index_t x = 0; x < length; x++) {
        place[x] = within(((double)x + 0.5) * step - 0.5, 0.0, (double)last);
        share[x] = place[x] - floor(place[x]); /* of the second cell */
        out[x] = -INFINITY;
    }
    for (index_t begin = 0, end; begin < length; begin = end) {
        const index_t first = (index_t)place[begin], second = least(first + 1, last);
        for (end = begin + 1; end < length && place[end] < (double)(first + 1);)
            end++;
        for (index_t row = 0; row < grid->rows; row++) {
            const double a = cell_at(grid, row, first), b = cell_at(grid, row, second);
            for (index_t x = begin; x < end; x++) {
                const double value = a * (1.0 - share[x]) + b * share[x];
                out[x] = value > out[x] ? value : out[x];
            }
        }
    }
    free(place);
    free(share);
    return DONE;
}

/* ------------------------------------------------------------------------------------------------ Python's door */

static int cpu_has_avx2(void)
{
#if HAVE_AVX2
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 0;
#endif
}

static int open_images(PyObject *object, const char *name, int flags, Py_buffer *view, struct images *images)
{
    if (PyObject_GetBuffer(object, view, flags) < 0)
        return -1;
    if (view->ndim != 4 || !view->format || !view->shape || !view->strides) {
        PyErr_Format(PyExc_ValueError, "`%s` must have shape (n, H, W, C)", name);
        PyBuffer_Release(view);
        return -1;
    }
    images->base = view->buf;
    images->size = view->itemsize;
    for (int i = 0; i < 4; i++) {
        images->shape[i] = view->shape[i];
        images->strides[i] = view->strides[i];
    }
    return 0;
}

/* The type of numbers of one of the formats 'B', 'H' and 'f', or -1; NumPy puts '=' in front where they are not aligned. */
static int type_of(const char *format)
{
    format += *format == '=' || *format == '@';
    const char *found = strlen(format) == 1 ? strchr("BHf", *format) : NULL;
    return found ? (int)(found - strchr("BHf", 'B')) : -1;
}

static int open_numbers(PyObject *object, const char *format, Py_ssize_t length, Py_buffer *view)
{
    if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0)
        return -1;
    if (!view->format || strcmp(view->format, format) != 0 || (length >= 0 && view->len != length * view->itemsize) ||
        (uintptr_t)view->buf % (uintptr_t)view->itemsize != 0) {
        PyErr_Format(PyExc_ValueError, "an array of dtype '%s' has the wrong dtype, length or alignment", format);
        PyBuffer_Release(view);
        return -1;
    }
    return 0;
}

/* The three coordinate arrays of an axis; `views` must be released by the caller, `*held` of them. */
static int open_axis(PyObject *const *arrays, struct axis *axis, Py_buffer *views, int *held)
{
    const double *numbers[3];
    Py_ssize_t length = -1;
    for (int i = 0; i < 3; i++) {
        if (open_numbers(arrays[i], "d", length, &views[*held]) < 0)
            return -1;
        numbers[i] = views[*held].buf;
        length = views[*held].len / (Py_ssize_t)sizeof(double);
        (*held)++;
        for (Py_ssize_t k = 0; k < length; k++)
            if (!isfinite(numbers[i][k])) {
                PyErr_SetString(PyExc_ValueError, "footprints must be finite");
                return -1;
            }
    }
    axis->centre = numbers[0];
    axis->low = numbers[1];
    axis->high = numbers[2];
    axis->length = length;
    if ((int)axis->kernel < GATHER || axis->kernel > CUBIC || axis->first < 0 || axis->last < axis->first ||
        axis->last >= axis->size) {
        PyErr_SetString(PyExc_ValueError, "an axis needs a kernel from 0 to 3 and 0 <= first <= last < size");
        return -1;
    }
    return 0;
}

/* A plan as Python holds it. */
struct held_plan {
    struct plan plan;
    struct layout layout;
    int across;                          /* of columns */
};

#define PLAN "pmtools._resample.plan"

static void drop_plan(PyObject *capsule)
{
    struct held_plan *held = PyCapsule_GetPointer(capsule, PLAN);
    if (held)
        plan_free(&held->plan);
    free(held);
}

PyDoc_STRVAR(plan_doc,
"plan(across, kernel, centre, low, high, first, last, size, format, channels, portable)\n--\n\n"
"Where the output pixels of one axis look, with weights, ready to be used again: of columns if `across`, of rows otherwise.\n"
"Kernels: 0 gather, 1 linear, 2 box, 3 cubic. For pixels of format 'B', 'H' or 'f', whose `channels` lie next to each other;\n"
"1 for planes, and for rows, which do not ask.");

static PyObject *plan(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *arrays[3], *result = NULL;
    struct axis axis = {0};
    const char *format;
    Py_ssize_t channels;
    int across, kernel, portable, opened = 0;
    Py_buffer views[3];
    if (!PyArg_ParseTuple(args, "piOOOnnnsnp:plan", &across, &kernel, &arrays[0], &arrays[1], &arrays[2], &axis.first, &axis.last,
                          &axis.size, &format, &channels, &portable))
        return NULL;
    axis.kernel = (enum kernel)kernel;
    const int type = type_of(format);
    if (type < 0 || channels < 1) {
        PyErr_SetString(PyExc_ValueError, "a plan is for uint8, uint16 or float32, in native byte order, of one channel or more");
        return NULL;
    }
    struct held_plan *held = NULL;
    if (open_axis(arrays, &axis, views, &opened) < 0)
        goto end;
    if (axis.size > INT32_MAX / 16 / channels) {
        PyErr_SetString(PyExc_ValueError, "`pixels` has rows or columns that are too long");
        goto end;
    }
    held = allocate(1, sizeof *held);
    if (!held) {
        PyErr_NoMemory();
        goto end;
    }
    held->layout = (struct layout){.type = (enum type)type, .avx2 = !portable && cpu_has_avx2(), .channels = channels};
    held->across = across;
    enum outcome outcome;
    Py_BEGIN_ALLOW_THREADS
    outcome = (across ? plan_columns : plan_rows)(&held->plan, &axis, held->layout);
    Py_END_ALLOW_THREADS
    if (outcome == NO_MEMORY)
        PyErr_NoMemory();
    else if (outcome == NO_AVERAGE)
        PyErr_SetString(PyExc_ValueError, "a footprint is not that of an increasing map: its weights make no average");
    else
        result = PyCapsule_New(held, PLAN, drop_plan);
    if (!result) {
        plan_free(&held->plan);
        free(held);
    }
end:
    while (opened > 0)
        PyBuffer_Release(&views[--opened]);
    return result;
}

/* The plan in `capsule`, if it is one for such an axis of such pixels. */
static const struct plan *plan_in(PyObject *capsule, int across, struct layout layout, index_t length, index_t size)
{
    const struct held_plan *held = PyCapsule_GetPointer(capsule, PLAN);
    if (!held)
        return NULL;
    if (held->across != across || held->layout.type != layout.type ||
        (across && (held->layout.channels != layout.channels || held->layout.avx2 != layout.avx2)) || held->plan.length != length || held->plan.size != size) {
        PyErr_SetString(PyExc_ValueError, "a plan must be of the other axis, of other pixels, or of other sizes");
        return NULL;
    }
    return &held->plan;
}

/* The plans in a tuple of (rows, columns, rows, columns, ...), to be freed. */
static struct pair *open_plans(PyObject *plans, struct layout layout, const struct images *from, const struct images *to,
                               index_t *count)
{
    const Py_ssize_t entries = PyTuple_Check(plans) ? PyTuple_Size(plans) : -1;
    *count = entries / 2;
    if (entries != 2 && (entries < 0 || entries % 2 || *count != from->shape[0])) {
        PyErr_SetString(PyExc_ValueError, "`plans` must be a tuple of two plans, or of two for each image");
        return NULL;
    }
    struct pair *pairs = allocate((size_t)*count, sizeof *pairs);
    if (!pairs) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < *count; i++) {
        pairs[i].rows = plan_in(PyTuple_GetItem(plans, 2 * i), 0, layout, to->shape[1], from->shape[1]);
        if (pairs[i].rows)
            pairs[i].columns = plan_in(PyTuple_GetItem(plans, 2 * i + 1), 1, layout, to->shape[2], from->shape[2]);
        if (!pairs[i].rows || !pairs[i].columns) {
            free(pairs);
            return NULL;
        }
    }
    return pairs;
}

PyDoc_STRVAR(resample_doc,
"resample(pixels, out, plans, limits, portable)\n--\n\n"
"Resample `pixels` (n, H, W, C), uint8, uint16 or float32 with any strides, into `out` (n, H', W', C), whose channels (or,\n"
"in planes, columns) lie next to each other. `plans`: a tuple of the plans of rows and of columns, for all images or, one pair\n"
"after the other, for each. `limits`: float32 (n, 2) or None.");

static PyObject *resample(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *pixels, *out, *plans, *limits;
    int portable, limited = 0;
    struct images from, to;
    Py_buffer source_view, out_view, limits_view;
    PyObject *result = NULL;
    struct pair *pairs = NULL;
    if (!PyArg_ParseTuple(args, "OOOOp:resample", &pixels, &out, &plans, &limits, &portable))
        return NULL;
    if (open_images(pixels, "pixels", PyBUF_RECORDS_RO, &source_view, &from) < 0)
        return NULL;
    if (open_images(out, "out", PyBUF_RECORDS, &out_view, &to) < 0) {
        PyBuffer_Release(&source_view);
        return NULL;
    }
    const int type = type_of(source_view.format);
    if (type < 0 || type != type_of(out_view.format)) {
        PyErr_SetString(PyExc_ValueError, "`pixels` and `out` must both be uint8, uint16 or float32, in native byte order");
        goto end;
    }
    if (to.shape[0] != from.shape[0] || to.shape[3] != from.shape[3] || from.shape[3] < 1) {
        PyErr_SetString(PyExc_ValueError, "`out` must have as many images and channels as `pixels`");
        goto end;
    }
    const int interleaved = to.shape[3] == 1 || to.strides[3] == to.size;
    if (!is_aligned(&to) ||
        (to.shape[2] > 1 && to.strides[2] != (interleaved ? to.shape[3] * to.size : to.size))) {
        PyErr_SetString(PyExc_ValueError, "`out` must be aligned, with the numbers of a row next to each other");
        goto end;
    }
    const struct layout layout = {.type = (enum type)type, .avx2 = !portable && cpu_has_avx2(),
                                  .channels = interleaved ? to.shape[3] : 1};
    index_t count;
    pairs = open_plans(plans, layout, &from, &to, &count);
    if (!pairs)
        goto end;
    const float *bounds = NULL;
    if (limits != Py_None) {
        if (open_numbers(limits, "f", 2 * from.shape[0], &limits_view) < 0)
            goto end;
        limited = 1;
        bounds = limits_view.buf;
    }
    enum outcome outcome;
    Py_BEGIN_ALLOW_THREADS
    outcome = resample_images(&from, &to, pairs, count, layout, bounds);
    Py_END_ALLOW_THREADS
    if (outcome == NO_MEMORY)
        PyErr_NoMemory();
    else
        result = Py_NewRef(Py_None);
end:
    free(pairs);
    if (limited)
        PyBuffer_Release(&limits_view);
    PyBuffer_Release(&out_view);
    PyBuffer_Release(&source_view);
    return result;
}

static int open_places(PyObject *object, const char *name, int flags, Py_buffer *view, struct places *places)
{
    if (PyObject_GetBuffer(object, view, flags | PyBUF_STRIDES | PyBUF_FORMAT) < 0)
        return -1;
    if (view->ndim != 1 || !view->format || strcmp(view->format, "d") != 0 || (uintptr_t)view->buf % sizeof(double) != 0 ||
        view->strides[0] % (Py_ssize_t)sizeof(double) != 0) {
        PyErr_Format(PyExc_ValueError, "`%s` must have shape (n,) and dtype float64, aligned", name);
        PyBuffer_Release(view);
        return -1;
    }
    *places = (struct places){view->buf, view->shape[0], view->strides[0]};
    return 0;
}

PyDoc_STRVAR(interpolate_doc,
"interpolate(x, out, knots_x, knots_y)\n--\n\n"
"The piecewise linear map through increasing knots at `x`, into `out`, which may be `x`: float64 (n,) with any strides. Both\n"
"knots: float64 (k,), k >= 2.");

static PyObject *interpolate(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *x, *out, *knots_x, *knots_y, *result = NULL;
    Py_buffer views[4];
    int opened = 0;
    struct places from, to;
    if (!PyArg_ParseTuple(args, "OOOO:interpolate", &x, &out, &knots_x, &knots_y))
        return NULL;
    if (open_places(x, "x", 0, &views[opened], &from) < 0)
        goto end;
    opened++;
    if (open_places(out, "out", PyBUF_WRITABLE, &views[opened], &to) < 0)
        goto end;
    opened++;
    if (open_numbers(knots_x, "d", -1, &views[opened]) < 0)
        goto end;
    const double *knots = views[opened].buf;
    const Py_ssize_t count = views[opened++].len / (Py_ssize_t)sizeof(double);
    if (open_numbers(knots_y, "d", count, &views[opened]) < 0)
        goto end;
    const double *values = views[opened++].buf;
    if (from.count != to.count || count < 2 || count > INT32_MAX / BUCKETS) {
        PyErr_SetString(PyExc_ValueError, "`out` must be as long as `x`, and there must be two knots at least");
        goto end;
    }
    enum outcome outcome;
    Py_BEGIN_ALLOW_THREADS
    outcome = map_places(from, to, knots, values, count);
    Py_END_ALLOW_THREADS
    if (outcome == NO_MEMORY)
        PyErr_NoMemory();
    else
        result = Py_NewRef(Py_None);
end:
    while (opened > 0)
        PyBuffer_Release(&views[--opened]);
    return result;
}

PyDoc_STRVAR(upsampled_greatest_doc,
"upsampled_greatest(values, out)\n--\n\n"
"The greatest of each column of `values`, float64 (rows, cells) with any strides, after every row is resampled linearly to as\n"
"many cells as `out` has, float64 (length,), contiguous.");

static PyObject *upsampled_greatest_of(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *values, *out, *result = NULL;
    Py_buffer view, out_view;
    if (!PyArg_ParseTuple(args, "OO:upsampled_greatest", &values, &out))
        return NULL;
    if (PyObject_GetBuffer(values, &view, PyBUF_STRIDES | PyBUF_FORMAT) < 0)
        return NULL;
    if (open_numbers(out, "d", -1, &out_view) < 0) {
        PyBuffer_Release(&view);
        return NULL;
    }
    const index_t number = sizeof(double);
    if (view.ndim != 2 || !view.format || strcmp(view.format, "d") != 0 || (uintptr_t)view.buf % sizeof(double) != 0 ||
        view.strides[0] % number != 0 || view.strides[1] % number != 0 || view.shape[0] < 1 || view.shape[1] < 1 ||
        out_view.readonly) {
        PyErr_SetString(PyExc_ValueError, "`values` must have shape (rows, cells) and dtype float64, aligned and not empty, and "
                                          "`out` must be writeable");
        goto end;
    }
    const struct grid grid = {view.buf, view.shape[0], view.shape[1], view.strides[0], view.strides[1]};
    enum outcome outcome;
    Py_BEGIN_ALLOW_THREADS
    outcome = upsampled_greatest(&grid, out_view.buf, out_view.len / number);
    Py_END_ALLOW_THREADS
    if (outcome == NO_MEMORY)
        PyErr_NoMemory();
    else
        result = Py_NewRef(Py_None);
end:
    PyBuffer_Release(&out_view);
    PyBuffer_Release(&view);
    return result;
}

static PyObject *has_avx2(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    return PyBool_FromLong(cpu_has_avx2());
}

static PyMethodDef methods[] = {
    {"interpolate", interpolate, METH_VARARGS, interpolate_doc},
    {"plan", plan, METH_VARARGS, plan_doc},
    {"resample", resample, METH_VARARGS, resample_doc},
    {"upsampled_greatest", upsampled_greatest_of, METH_VARARGS, upsampled_greatest_doc},
    {"has_avx2", has_avx2, METH_NOARGS, PyDoc_STR("has_avx2()\n--\n\nWhether this processor runs the AVX2 loops.")},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_resample",
    .m_doc = PyDoc_STR("Compiled back end of pmtools.resample."),
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__resample(void) { return PyModuleDef_Init(&definition); }
