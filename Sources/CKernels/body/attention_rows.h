/* Attention, second half: one head, one block of queries, over all keys with an online softmax (Milakov,
 * Gimelshein 2018, arXiv:1805.02867; Dao et al. 2022, arXiv:2205.14135). Scores exist only as one [KEYS, NR] tile. */
#define KEYS 192 /* keys per step: [KEYS, NR] floats of scores, and the step's k and v, stay near the core */

DEFINE_TILE(score_tile_64, tile_f32, float, float, 64, 1, 2, 0)
DEFINE_TILE(score_tile_any, tile_f32, float, float, step, 1, 2, 0)
DEFINE_TILE(value_tile, tile_f32, float, float, 1, rows, 2, 0)
#ifdef CK_HAS_DOT
DEFINE_TILE(score_pairs_64, tile_pairs, uint32_t, uint32_t, 32, 1, 2, 0)
DEFINE_TILE(score_pairs_any, tile_pairs, uint32_t, uint32_t, step, 1, 2, 0)
DEFINE_TILE(value_pairs, tile_pairs, uint32_t, uint32_t, 1, step, 2, 0)
#endif

typedef struct {
  float out[PANELS][HEAD_MAX][NR] __attribute__((aligned(64))); /* O^T, not yet divided by the sum */
  float best[PANELS][NR], sum[PANELS][NR], carry[NR];           /* running maximum and sum per query */
  float scores[KEYS][NR];
  uint32_t weights[KEYS / 2][NR]; /* P^T as bf16 pairs */
} attention_state;

static size_t attention_scratch(const ck_attention_args *args) {
  (void)args;
  return sizeof(attention_state) + 63;
}

/* S^T = K Q^T for keys [key0, key0 + keys) and one panel of queries */
static void attention_scores(const ck_attention_args *args, int64_t head, int64_t key0, int64_t keys, int64_t panel,
                             float *s) {
  const int64_t d = args->head_dim, tiles = (keys + MR - 1) / MR;
  const tile_start from = {.start = START_ZERO};
  const char *q = packed_part(args, head, 0) + (size_t)(panel * NR * d) * element_bytes(args);
  const char *k = packed_part(args, head, 1) + (size_t)(key0 * d) * element_bytes(args);
  for (int64_t t = 0; t < tiles; t++) {
    const int64_t r = piece_start(keys, tiles, t);
    const int count = (int)(piece_start(keys, tiles, t + 1) - r);
    const void *rows = k + (size_t)(r * d) * element_bytes(args), *columns = q;
#ifdef CK_HAS_DOT
    if (packs_pairs(args)) {
      (d == 64 ? score_pairs_64 : score_pairs_any)(count, d / 2, rows, d / 2, columns, s + r * NR, from);
      continue;
    }
#endif
    (d == 64 ? score_tile_64 : score_tile_any)(count, d, rows, d, columns, s + r * NR, from);
  }
}

/* O^T = O^T * carry + V^T P^T for the same keys; the first step starts from 0 */
static void attention_values(const ck_attention_args *args, int64_t head, int64_t key0, int64_t keys,
                             attention_state *state, float *out) {
  const int64_t d = args->head_dim, tokens = token_blocks(args) * BLOCK_TOKENS;
  const tile_start from = {.carry = state->carry, .start = key0 == 0 ? START_ZERO : START_CARRY};
  const char *v = packed_part(args, head, 2);
  for (int64_t t = 0; t < value_tiles(d); t++) {
    const int64_t r = value_row(d, t), count = value_row(d, t + 1) - r;
#ifdef CK_HAS_DOT
    if (packs_pairs(args)) {
      value_pairs((int)count, (keys + 1) / 2, (const uint32_t *)v + key0 / 2 * d + r, d, state->weights[0], out + r * NR, from);
      continue;
    }
#endif
    value_tile((int)count, keys, (const float *)v + r * tokens + key0 * count, 0, state->scores[0], out + r * NR, from);
  }
}

/* The largest score so far of one vector of queries. Four chains, so that the latency of max is hidden. */
CK_INLINE vf column_max(const float *s, int64_t keys, vf best) {
  vf b1 = best, b2 = best, b3 = best;
  int64_t i = 0;
  for (; i + 4 <= keys; i += 4, s += 4 * NR) {
    best = vf_max(best, vf_load(s));
    b1 = vf_max(b1, vf_load(s + NR));
    b2 = vf_max(b2, vf_load(s + 2 * NR));
    b3 = vf_max(b3, vf_load(s + 3 * NR));
  }
  for (; i < keys; i++, s += NR) best = vf_max(best, vf_load(s));
  return vf_max(vf_max(best, b1), vf_max(b2, b3));
}

/* The scores of `n` keys become weights 2^((s - max) factor), in place as float32 (rounded to bf16 when `rounded`), and
 * are added, unrounded, to the n sums. */
CK_INLINE void key_weights(const int n, float *s, vf best, vf factor, const int rounded, vf *sums) {
  vf t[n];
  FOR_N t[i] = (vf_load(s + i * NR) - best) * factor;
  if (rounded) vf_exp2_negative_coarse_n(n, t);
  else vf_exp2_negative_n(n, t);
  FOR_N {
    sums[i] += t[i];
    vf_store(s + i * NR, rounded ? vf_round_bf16(t[i]) : t[i]);
  }
}
/* Of all keys; returns the sum. */
CK_INLINE vf column_weights(float *s, int64_t keys, vf best, vf factor, const int rounded) {
  vf sums[AT_ONCE], sum;
  for (int i = 0; i < AT_ONCE; i++) sums[i] = vf_set1(0);
  int64_t key = 0;
  for (; key + AT_ONCE <= keys; key += AT_ONCE, s += AT_ONCE * NR) key_weights(AT_ONCE, s, best, factor, rounded, sums);
  for (; key < keys; key++, s += NR) key_weights(1, s, best, factor, rounded, sums);
  sum = sums[0];
  for (int i = 1; i < AT_ONCE; i++) sum += sums[i];
  return sum;
}

#ifdef CK_HAS_DOT
/* The same into words of two keys; an odd last key's partner weighs 0. */
CK_INLINE vf column_weight_pairs(const float *s, uint32_t *words, int64_t keys, vf best, vf factor) {
  vf sum = vf_set1(0), odd_sum = vf_set1(0);
  for (int64_t i = 0; i < keys; i += 2, s += 2 * NR, words += NR) {
    const vf even = vf_exp2_negative_coarse((vf_load(s) - best) * factor);
    const vf odd = i + 1 < keys ? vf_exp2_negative_coarse((vf_load(s + NR) - best) * factor) : vf_set1(0);
    sum += even;
    odd_sum += odd;
    vu_store(words, vu_pair_bf16(even, odd));
  }
  return sum + odd_sum;
}
#endif

static void attention_softmax(const ck_attention_args *args, int64_t keys, int64_t panel, vf factor,
                              attention_state *state) {
  for (int i = 0; i < NR; i += VL) {
    float *s = &state->scores[0][i], *top = &state->best[panel][i], *sum = &state->sum[panel][i];
    const vf old = vf_load(top), best = column_max(s, keys, old);
    /* old is minus infinity at first: then nothing is carried */
    const vf carry = vf_exp2_negative((old - best) * factor);
    vf added;
#ifdef CK_HAS_DOT
    if (packs_pairs(args)) added = column_weight_pairs(s, &state->weights[0][i], keys, best, factor);
    else
#endif
    if (args->precision == CK_BF16) added = column_weights(s, keys, best, factor, 1);
    else added = column_weights(s, keys, best, factor, 0);
    vf_store(top, best);
    vf_store(sum, vf_fma(vf_load(sum), carry, added));
    vf_store(state->carry + i, carry);
  }
}

/* Divides by the sums and turns O^T into rows of out. */
static void attention_store(const ck_attention_args *args, int64_t head, int64_t token0, int64_t panel, double scale_by,
                            attention_state *state) {
  const int64_t d = args->head_dim, left = args->tokens - token0, queries = left < NR ? left : NR;
  float(*o)[NR] = state->out[panel];
  for (int v = 0; v < NR; v += VL) {
    const vf inverse = 1.0f / vf_load(&state->sum[panel][v]);
    for (int64_t i = 0; i < d; i++) vf_store(&o[i][v], vf_load(&o[i][v]) * inverse);
  }
  for (int64_t t = 0; t < queries; t++) {
    float *out = args->out + (token0 + t) * args->out_stride + head * d;
    for (int64_t i = 0; i < d; i++) out[i] = o[i][t];
    if (args->log_sum_exp != NULL)
      args->log_sum_exp[head * args->tokens + token0 + t] =
          (float)(state->best[panel][t] * scale_by + log((double)state->sum[panel][t]));
  }
}

static void attention_rows(const ck_attention_args *args, int64_t head, int64_t block, void *scratch) {
  attention_state *state = (attention_state *)(((uintptr_t)scratch + 63) & ~(uintptr_t)63);
  const double scale_by = 1.0 / sqrt((double)args->head_dim);
  const vf factor = vf_set1((float)(scale_by * 1.4426950408889634)); /* log2(e): the softmax runs in powers of two */
  const int64_t token0 = block * BLOCK_TOKENS, left = args->tokens - token0;
  const int64_t panels = left < BLOCK_TOKENS ? (left + NR - 1) / NR : PANELS;
  for (int64_t p = 0; p < panels; p++)
    for (int i = 0; i < NR; i++) state->best[p][i] = -INFINITY, state->sum[p][i] = 0;
  for (int64_t key0 = 0; key0 < args->tokens; key0 += KEYS) {
    const int64_t keys = args->tokens - key0 < KEYS ? args->tokens - key0 : KEYS;
    for (int64_t p = 0; p < panels; p++) {
      attention_scores(args, head, key0, keys, block * PANELS + p, state->scores[0]);
      attention_softmax(args, keys, p, factor, state);
      attention_values(args, head, key0, keys, state, state->out[p][0]);
    }
  }
  for (int64_t p = 0; p < panels; p++) attention_store(args, head, token0 + p * NR, p, scale_by, state);
}
