/* Attention's backward, one head at a time (Dao et al. 2022, arXiv:2205.14135; Dao 2023, arXiv:2307.08691).
 *
 * With P = softmax(scale Q K^T) computed again from the logarithms of its sums, O = P V and D = rowsum(dO O):
 *   dV = P^T dO,  dP = dO V^T,  dS = P (dP - D),  dQ = scale dS K,  dK = scale dS^T Q.
 * P and dS exist as one [BLOCK_TOKENS, BLOCK_TOKENS] tile. A chunk of keys keeps its own share of dQ, so that chunks run
 * side by side and the shares are added in one order. Packed, per head, all float32 (rounded to bf16 where the precision
 * says so), rows of `width` = head_dim in whole panels, tokens in whole blocks, zero beyond head_dim and beyond the tokens up to a
 * whole panel:
 *   q, k, dO: [token][width];  K^T, V^T: [panel][d][NR tokens];  shares of dQ: [chunk][token][width];
 *   the logarithms times log2(e), D: [token]. */

CK_INLINE int64_t backward_width(const ck_attention_backward_args *args) {
  return (args->forward.head_dim + NR - 1) / NR * NR;
}
CK_INLINE int64_t backward_tokens(const ck_attention_backward_args *args) {
  return token_blocks(&args->forward) * BLOCK_TOKENS;
}
CK_INLINE int64_t backward_head(const ck_attention_backward_args *args) { /* floats of one head */
  return backward_tokens(args) * ((5 + args->chunks) * backward_width(args) + 2);
}
static size_t attention_backward_bytes(const ck_attention_backward_args *args) {
  return (size_t)(args->forward.heads * backward_head(args)) * sizeof(float);
}

typedef struct {
  float *q, *k, *gradient, *k_turned, *v_turned, *shares, *logs, *dots;
} backward_parts;

static backward_parts parts_of(const ck_attention_backward_args *args, int64_t head) {
  const int64_t tokens = backward_tokens(args), part = tokens * backward_width(args);
  float *q = (float *)args->forward.packed + head * backward_head(args), *logs = q + (5 + args->chunks) * part;
  return (backward_parts){q, q + part, q + 2 * part, q + 3 * part, q + 4 * part, q + 5 * part, logs, logs + tokens};
}

static void attention_backward_pack(const ck_attention_backward_args *args, int64_t head, int64_t block) {
  const ck_attention_args *forward = &args->forward;
  const backward_parts to = parts_of(args, head);
  const int64_t d = forward->head_dim, width = backward_width(args), token0 = block * BLOCK_TOKENS;
  const int64_t count = packed_tokens(forward, token0);
  float v[NR * HEAD_MAX];
  if (width > d) {
    memset(to.q + token0 * width, 0, (size_t)(count * width) * sizeof(float));
    memset(to.k + token0 * width, 0, (size_t)(count * width) * sizeof(float));
    memset(to.gradient + token0 * width, 0, (size_t)(count * width) * sizeof(float));
  }
  for (int64_t t = token0; t < token0 + count; t++) {
    load_token(forward, head, 0, t, to.q + t * width);
    load_token(forward, head, 1, t, to.k + t * width);
    load_token(forward, head, 2, t, v + (t % NR) * d);
    to.logs[t] = to.dots[t] = 0;
    if (t < forward->tokens) {
      const float *g = args->gradient + t * forward->out_stride + head * d;
      const float *out = forward->out + t * forward->out_stride + head * d;
      vf sum = vf_set1(0);
      CK_LOOP(i, d, { sum = vf_fma(vf_load_n(g + i, lanes), vf_load_n(out + i, lanes), sum); });
      round_or_copy(g, d, forward->precision == CK_BF16, to.gradient + t * width);
      to.dots[t] = vf_sum(sum);
      to.logs[t] = forward->log_sum_exp[head * forward->tokens + t] * 1.44269504f;
    } else {
      memset(to.gradient + t * width, 0, (size_t)width * sizeof(float));
    }
    if (t % NR == NR - 1) {
      const int64_t first = t - (NR - 1);
      transpose(to.k + first * width, width, NR, d, to.k_turned + first * width, NR);
      transpose(v, d, NR, d, to.v_turned + first * width, NR);
    }
  }
}

/* c[rows, NR] (+)= a[rows, k] b[k, NR] */
CK_INLINE void backward_tile(const int rows, int64_t k, const float *a, int64_t row_step, int64_t k_step,
                             const float *b, int64_t b_step, float *c, int64_t c_step, const int adds) {
  vf acc[16][2];
  FOR_ROWS for (int v = 0; v < 2; v++) acc[r][v] = adds ? vf_load(c + r * c_step + v * VL) : vf_set1(0);
  for (int64_t p = 0; p < k; p++, a += k_step, b += b_step) {
    const vf b0 = vf_load(b), b1 = vf_load(b + VL);
    FOR_ROWS {
      const vf x = vf_set1(a[r * row_step]);
      acc[r][0] = vf_fma(x, b0, acc[r][0]);
      acc[r][1] = vf_fma(x, b1, acc[r][1]);
    }
  }
  FOR_ROWS for (int v = 0; v < 2; v++) vf_store(c + r * c_step + v * VL, acc[r][v]);
}

#define BACKWARD_CASE(n, ...)                 \
  case n:                                     \
    if (n <= MR) backward_tile(n, __VA_ARGS__); \
    break;
#define DEFINE_BACKWARD_TILE(NAME, ROW_STEP, K_STEP, B_STEP, C_STEP, ADDS)                                         \
  static __attribute__((noinline)) void NAME(int rows, int64_t k, const float *a, const float *b, float *c,        \
                                             int64_t width) {                                                      \
    (void)width;                                                                                                   \
    switch (rows) {                                                                                                \
      BACKWARD_CASE(1, k, a, ROW_STEP, K_STEP, b, B_STEP, c, C_STEP, ADDS)                                         \
      BACKWARD_CASE(2, k, a, ROW_STEP, K_STEP, b, B_STEP, c, C_STEP, ADDS)                                         \
      BACKWARD_CASE(3, k, a, ROW_STEP, K_STEP, b, B_STEP, c, C_STEP, ADDS)                                         \
      BACKWARD_CASE(4, k, a, ROW_STEP, K_STEP, b, B_STEP, c, C_STEP, ADDS)                                         \
      BACKWARD_CASE(5, k, a, ROW_STEP, K_STEP, b, B_STEP, c, C_STEP, ADDS)                                         \
      BACKWARD_CASE(6, k, a, ROW_STEP, K_STEP, b, B_STEP, c, C_STEP, ADDS)                                         \
      BACKWARD_CASE(7, k, a, ROW_STEP, K_STEP, b, B_STEP, c, C_STEP, ADDS)                                         \
      BACKWARD_CASE(8, k, a, ROW_STEP, K_STEP, b, B_STEP, c, C_STEP, ADDS)                                         \
      BACKWARD_CASE(9, k, a, ROW_STEP, K_STEP, b, B_STEP, c, C_STEP, ADDS)                                         \
      BACKWARD_CASE(10, k, a, ROW_STEP, K_STEP, b, B_STEP, c, C_STEP, ADDS)                                        \
      BACKWARD_CASE(11, k, a, ROW_STEP, K_STEP, b, B_STEP, c, C_STEP, ADDS)                                        \
      BACKWARD_CASE(12, k, a, ROW_STEP, K_STEP, b, B_STEP, c, C_STEP, ADDS)                                        \
      BACKWARD_CASE(13, k, a, ROW_STEP, K_STEP, b, B_STEP, c, C_STEP, ADDS)                                        \
      BACKWARD_CASE(14, k, a, ROW_STEP, K_STEP, b, B_STEP, c, C_STEP, ADDS)                                        \
    }                                                                                                              \
  }
/* scores [queries, keys]; sums over queries into rows of keys; sums over keys into rows of queries */
DEFINE_BACKWARD_TILE(pair_tile_64, 64, 1, NR, BLOCK_TOKENS, 0)
DEFINE_BACKWARD_TILE(pair_tile_any, width, 1, NR, BLOCK_TOKENS, 0)
DEFINE_BACKWARD_TILE(key_tile_64, 1, BLOCK_TOKENS, 64, 64, 1)
DEFINE_BACKWARD_TILE(key_tile_any, 1, BLOCK_TOKENS, width, width, 1)
DEFINE_BACKWARD_TILE(query_tile_64, BLOCK_TOKENS, 1, 64, 64, 1)
DEFINE_BACKWARD_TILE(query_tile_any, BLOCK_TOKENS, 1, width, width, 1)

typedef struct {
  float p[BLOCK_TOKENS][BLOCK_TOKENS] __attribute__((aligned(64))); /* query, key */
  float ds[BLOCK_TOKENS][BLOCK_TOKENS];
  float dk[BLOCK_TOKENS * HEAD_MAX], dv[BLOCK_TOKENS * HEAD_MAX];
} backward_state;

static size_t attention_backward_scratch(const ck_attention_backward_args *args) {
  (void)args;
  return sizeof(backward_state);
}

/* s[queries, keys] = a[queries, width] times turned panels of keys */
static void backward_pairs(const float *a, const float *turned, int64_t queries, int64_t keys, int64_t d,
                           int64_t width, float *s) {
  const int64_t tiles = (queries + MR - 1) / MR;
  for (int64_t key = 0; key < keys; key += NR)
    for (int64_t t = 0; t < tiles; t++) {
      const int64_t r = piece_start(queries, tiles, t);
      (width == 64 ? pair_tile_64 : pair_tile_any)((int)(piece_start(queries, tiles, t + 1) - r), d, a + r * width,
                                                   turned + key * width, s + r * BLOCK_TOKENS + key, width);
    }
}

/* sums[keys, width] += s^T rows */
static void backward_onto_keys(const float *s, const float *rows, int64_t queries, int64_t keys, int64_t width,
                               float *sums) {
  const int64_t tiles = (keys + MR - 1) / MR;
  for (int64_t t = 0; t < tiles; t++) {
    const int64_t r = piece_start(keys, tiles, t);
    const int count = (int)(piece_start(keys, tiles, t + 1) - r);
    for (int64_t i = 0; i < width; i += NR)
      (width == 64 ? key_tile_64 : key_tile_any)(count, queries, s + r, rows + i, sums + r * width + i, width);
  }
}

/* sums[queries, width] += s rows */
static void backward_onto_queries(const float *s, const float *rows, int64_t queries, int64_t keys, int64_t width,
                                  float *sums) {
  const int64_t tiles = (queries + MR - 1) / MR;
  for (int64_t t = 0; t < tiles; t++) {
    const int64_t r = piece_start(queries, tiles, t);
    const int count = (int)(piece_start(queries, tiles, t + 1) - r);
    for (int64_t i = 0; i < width; i += NR)
      (width == 64 ? query_tile_64 : query_tile_any)(count, keys, s + r * BLOCK_TOKENS, rows + i, sums + r * width + i,
                                                     width);
  }
}

/* Scores and dP become P and dS, in place. */
CK_INLINE void backward_softmax(backward_state *state, const float *logs, const float *dots, int64_t queries,
                                int64_t keys, vf factor, const int rounded) {
  for (int64_t r = 0; r < queries; r++) {
    float *p = state->p[r], *ds = state->ds[r];
    const vf log = vf_set1(logs[r]), dot = vf_set1(dots[r]);
    for (int64_t i = 0; i < keys; i += VL) {
      const vf t = vf_fma(vf_load(p + i), factor, -log);
      const vf weight = rounded ? vf_exp2_negative_coarse(t) : vf_exp2_negative(t);
      const vf slope = weight * (vf_load(ds + i) - dot);
      vf_store(p + i, rounded ? vf_round_bf16(weight) : weight);
      vf_store(ds + i, rounded ? vf_round_bf16(slope) : slope);
    }
  }
}

/* The way back through the rotation and its casts: x' = x cos + rot(x) sin. `rounded`: the gradient of every product and
 * sum in bf16 is one. */
CK_INLINE void rotate_half_back(const float *g, const float *sin, const float *cos, int64_t half, const int rounded,
                                float *out) {
  CK_LOOP(i, half, {
    vf low = vf_load_n(g + i, lanes), high = vf_load_n(g + half + i, lanes);
    if (rounded) low = vf_round_bf16(low), high = vf_round_bf16(high);
    vf a = low * vf_load_n(cos + i, lanes), b = high * vf_load_n(sin + half + i, lanes);
    vf c = high * vf_load_n(cos + half + i, lanes), e = -low * vf_load_n(sin + i, lanes);
    if (rounded) a = vf_round_bf16(a), b = vf_round_bf16(b), c = vf_round_bf16(c), e = vf_round_bf16(e);
    a += b;
    c += e;
    if (rounded) a = vf_round_bf16(a), c = vf_round_bf16(c);
    vf_store_n(out + i, a, lanes);
    vf_store_n(out + half + i, c, lanes);
  });
}

/* The gradient of one token's q, k or v from that of what load_token gave. */
static void store_gradient(const ck_attention_backward_args *args, int64_t head, int part, int64_t token,
                           const float *g) {
  const ck_attention_args *forward = &args->forward;
  const int64_t d = forward->head_dim, at = (token - forward->prefix) * d;
  float *to = args->qkv_gradient + token * forward->qkv_stride + (part * forward->heads + head) * d;
  const int rotates = part < 2 && forward->sin != NULL && forward->cos != NULL && token >= forward->prefix;
  if (!rotates) round_or_copy(g, d, part < 2 && forward->rope_bf16, to);
  else if (forward->rope_bf16) rotate_half_back(g, forward->sin + at, forward->cos + at, d / 2, 1, to);
  else rotate_half_back(g, forward->sin + at, forward->cos + at, d / 2, 0, to);
}

static void backward_block(const ck_attention_backward_args *args, int64_t head, int64_t chunk, int64_t block,
                           backward_state *state) {
  const ck_attention_args *forward = &args->forward;
  const backward_parts from = parts_of(args, head);
  const int64_t d = forward->head_dim, width = backward_width(args), key0 = block * BLOCK_TOKENS;
  const int64_t left = forward->tokens - key0, keys = left < BLOCK_TOKENS ? left : BLOCK_TOKENS;
  const float scale_by = 1.0f / sqrtf((float)d);
  const vf factor = vf_set1((float)(1.4426950408889634 / sqrt((double)d)));
  float *share = from.shares + chunk * backward_tokens(args) * width;
  memset(state->dk, 0, (size_t)(keys * width) * sizeof(float));
  memset(state->dv, 0, (size_t)(keys * width) * sizeof(float));
  for (int64_t query0 = 0; query0 < forward->tokens; query0 += BLOCK_TOKENS) {
    const int64_t rest = forward->tokens - query0, queries = rest < BLOCK_TOKENS ? rest : BLOCK_TOKENS;
    const float *q = from.q + query0 * width, *g = from.gradient + query0 * width;
    backward_pairs(q, from.k_turned + key0 * width, queries, keys, d, width, state->p[0]);
    backward_pairs(g, from.v_turned + key0 * width, queries, keys, d, width, state->ds[0]);
    if (forward->precision == CK_BF16)
      backward_softmax(state, from.logs + query0, from.dots + query0, queries, keys, factor, 1);
    else backward_softmax(state, from.logs + query0, from.dots + query0, queries, keys, factor, 0);
    backward_onto_keys(state->p[0], g, queries, keys, width, state->dv);
    backward_onto_keys(state->ds[0], q, queries, keys, width, state->dk);
    backward_onto_queries(state->ds[0], from.k + key0 * width, queries, keys, width, share + query0 * width);
  }
  scale(state->dk, scale_by, keys * width);
  for (int64_t t = 0; t < keys; t++) {
    store_gradient(args, head, 1, key0 + t, state->dk + t * width);
    store_gradient(args, head, 2, key0 + t, state->dv + t * width);
  }
}

static void attention_backward_keys(const ck_attention_backward_args *args, int64_t head, int64_t chunk,
                                    void *scratch) {
  const int64_t blocks = token_blocks(&args->forward), size = backward_tokens(args) * backward_width(args);
  memset(parts_of(args, head).shares + chunk * size, 0, (size_t)(args->forward.tokens * backward_width(args)) * sizeof(float));
  for (int64_t b = piece_start(blocks, args->chunks, chunk); b < piece_start(blocks, args->chunks, chunk + 1); b++)
    backward_block(args, head, chunk, b, scratch);
}

static void attention_backward_queries(const ck_attention_backward_args *args, int64_t head, int64_t block) {
  const int64_t d = args->forward.head_dim, width = backward_width(args), part = backward_tokens(args) * width;
  const float scale_by = 1.0f / sqrtf((float)d);
  const float *shares = parts_of(args, head).shares;
  float sum[HEAD_MAX];
  for (int64_t t = block * BLOCK_TOKENS; t < (block + 1) * BLOCK_TOKENS && t < args->forward.tokens; t++) {
    memcpy(sum, shares + t * width, (size_t)d * sizeof *sum);
    for (int64_t c = 1; c < args->chunks; c++) add(sum, shares + c * part + t * width, d);
    scale(sum, scale_by, d);
    store_gradient(args, head, 0, t, sum);
  }
}
