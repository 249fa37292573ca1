/* Attention, first half: rotation and packing of q, k and v of one head and one block of tokens.
 *
 * Scores are computed transposed, S^T[key, query] = K Q^T, and so is the output, O^T[d, query] = V^T P^T. The softmax
 * then runs down the keys with one query per lane: no sum or maximum across lanes, and P^T is already the panel that
 * the second product reads. Packed, per head:
 *   q: [block][panel][d][NR] (NR queries of one panel),  k: [token][d],  v: [tile of d][token][row of the tile], so that
 *   a register tile of V^T P^T reads one run of memory.
 * With CK_HAS_DOT and bf16 precision the elements are bf16, the two products pair up along d and along keys:
 *   q: [block][panel][d / 2][NR] words,  k: [token][d],  v: [token / 2][d] words of two tokens.
 * Otherwise they are float32 (rounded to bf16 first when the precision is). Tokens past the end are zero up to whole panels. */
#define BLOCK_TOKENS 96 /* a multiple of every NR and of 2 */
#define PANELS (BLOCK_TOKENS / NR)
#define HEAD_MAX 128
#define AHEAD 12 /* tokens prefetched ahead of the one being packed */

static int64_t attention_block(void) { return BLOCK_TOKENS; }
static int64_t token_blocks(const ck_attention_args *args) { return (args->tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS; }

static int packs_pairs(const ck_attention_args *args) {
#ifdef CK_HAS_DOT
  return args->precision == CK_BF16;
#else
  (void)args;
  return 0;
#endif
}
static size_t element_bytes(const ck_attention_args *args) {
  return packs_pairs(args) ? sizeof(uint16_t) : sizeof(float);
}
static size_t part_bytes(const ck_attention_args *args) { /* one of q, k, v of one head; a multiple of 64 */
  return (size_t)(token_blocks(args) * BLOCK_TOKENS * args->head_dim) * element_bytes(args);
}
static size_t attention_bytes(const ck_attention_args *args) { return 3 * (size_t)args->heads * part_bytes(args); }
static char *packed_part(const ck_attention_args *args, int64_t head, int part) {
  return (char *)args->packed + (size_t)(3 * head + part) * part_bytes(args);
}

/* Tokens of a block that are packed: those there are, and zeros up to whole panels. */
CK_INLINE int64_t packed_tokens(const ck_attention_args *args, int64_t token0) {
  const int64_t left = (args->tokens - token0 + NR - 1) / NR * NR;
  return left < BLOCK_TOKENS ? left : BLOCK_TOKENS;
}

/* x' = x cos + rot(x) sin, rot(x) = concat(-x[d/2:], x[:d/2]) (RoFormer, arXiv:2104.09864, in DINOv3's half-split
 * layout). Official bf16 RoPE rounds each product and the sum; a product of two bf16 values is exact in float32
 * before its one rounding. */
CK_INLINE void rotate_half(const float *x, const float *sin, const float *cos, int64_t half, const int rounded,
                           float *out) {
  CK_LOOP(i, half, {
    vf low = vf_load_n(x + i, lanes), high = vf_load_n(x + half + i, lanes);
    if (rounded) low = vf_round_bf16(low), high = vf_round_bf16(high);
    vf a = low * vf_load_n(cos + i, lanes), b = -high * vf_load_n(sin + i, lanes);
    vf c = high * vf_load_n(cos + half + i, lanes), d = low * vf_load_n(sin + half + i, lanes);
    if (rounded) a = vf_round_bf16(a), b = vf_round_bf16(b), c = vf_round_bf16(c), d = vf_round_bf16(d);
    a += b;
    c += d;
    if (rounded) a = vf_round_bf16(a), c = vf_round_bf16(c);
    vf_store_n(out + i, a, lanes);
    vf_store_n(out + half + i, c, lanes);
  });
}

CK_INLINE void round_or_copy(const float *x, int64_t count, int rounded, float *out) {
  CK_LOOP(i, count, {
    const vf v = vf_load_n(x + i, lanes);
    vf_store_n(out + i, rounded ? vf_round_bf16(v) : v, lanes);
  });
}

/* q, k (rotated) or v of one token and head as float32 in out[head_dim]; zero past the last token. */
static void load_token(const ck_attention_args *args, int64_t head, int part, int64_t token, float *out) {
  const int64_t d = args->head_dim;
  if (token >= args->tokens) {
    memset(out, 0, (size_t)d * sizeof *out);
    return;
  }
  const float *x = args->qkv + token * args->qkv_stride + (part * args->heads + head) * d;
  if (token + AHEAD < args->tokens) /* rows lie pages apart, which the processor does not foresee */
    for (int64_t i = 0; i < d; i += 16) __builtin_prefetch(x + AHEAD * args->qkv_stride + i);
  const int rotates = part < 2 && args->sin != NULL && args->cos != NULL && token >= args->prefix;
  const int64_t at = (token - args->prefix) * d;
  if (!rotates) {
    round_or_copy(x, d, (part < 2 && args->rope_bf16) || args->precision == CK_BF16, out);
  } else if (args->rope_bf16) { /* the result is a bf16 value already, whatever the precision */
    rotate_half(x, args->sin + at, args->cos + at, d / 2, 1, out);
  } else {
    rotate_half(x, args->sin + at, args->cos + at, d / 2, 0, out);
    if (args->precision == CK_BF16) round_or_copy(out, d, 1, out);
  }
}

/* v is cut into tiles of rows of V^T: tile t has rows [value_row(d, t), value_row(d, t + 1)). */
CK_INLINE int64_t value_tiles(int64_t d) { return (d + MR - 1) / MR; }
CK_INLINE int64_t value_row(int64_t d, int64_t tile) { return piece_start(d, value_tiles(d), tile); }

/* Of V^T's tiles the first rows, and after them head_dim. */
typedef int64_t value_rows[HEAD_MAX / MR + 2];

static void pack_value(const ck_attention_args *args, const value_rows first, const float *row, int64_t token, float *v) {
  const int64_t d = args->head_dim, tokens = token_blocks(args) * BLOCK_TOKENS;
  for (int64_t t = 0; first[t] < d; t++) {
    const int64_t count = first[t + 1] - first[t];
    float *out = v + first[t] * tokens + token * count;
    for (int64_t i = 0; i < count; i++) out[i] = row[first[t] + i];
  }
}

static void pack_block_f32(const ck_attention_args *args, int64_t head, int64_t block) {
  const int64_t d = args->head_dim, token0 = block * BLOCK_TOKENS, count = packed_tokens(args, token0);
  float *q = (float *)packed_part(args, head, 0) + token0 * d;
  float *k = (float *)packed_part(args, head, 1) + token0 * d;
  float *v = (float *)packed_part(args, head, 2);
  value_rows first;
  for (int64_t t = 0; t <= value_tiles(d); t++) first[t] = value_row(d, t);
  for (int64_t t = 0; t < count; t++) {
    float row[HEAD_MAX], *column = q + t / NR * NR * d + t % NR;
    load_token(args, head, 0, token0 + t, row);
    for (int64_t i = 0; i < d; i++) column[i * NR] = row[i];
    load_token(args, head, 1, token0 + t, k + t * d);
    load_token(args, head, 2, token0 + t, row);
    pack_value(args, first, row, token0 + t, v);
  }
}

#ifdef CK_HAS_DOT
static void pack_block_pairs(const ck_attention_args *args, int64_t head, int64_t block) {
  const int64_t d = args->head_dim, token0 = block * BLOCK_TOKENS, count = packed_tokens(args, token0);
  uint32_t *q = (uint32_t *)packed_part(args, head, 0) + token0 * d / 2;
  uint16_t *k = (uint16_t *)packed_part(args, head, 1) + token0 * d;
  uint32_t *v = (uint32_t *)packed_part(args, head, 2) + token0 * d / 2;
  float row[HEAD_MAX], next[HEAD_MAX];
  for (int64_t t = 0; t < count; t++) {
    uint32_t words[HEAD_MAX / 2], *column = q + t / NR * NR * (d / 2) + t % NR;
    load_token(args, head, 0, token0 + t, row);
    f32_to_bf16(row, (uint16_t *)words, d);
    for (int64_t i = 0; i < d / 2; i++) column[i * NR] = words[i];
    load_token(args, head, 1, token0 + t, row);
    f32_to_bf16(row, k + t * d, d);
  }
  for (int64_t t = 0; t < count; t += 2, v += d) {
    load_token(args, head, 2, token0 + t, row);
    load_token(args, head, 2, token0 + t + 1, next);
    CK_LOOP(i, d, {
      const vf words = (vf)vu_pair_bf16(vf_load_n(row + i, lanes), vf_load_n(next + i, lanes));
      vf_store_n((float *)v + i, words, lanes);
    });
  }
}
#endif

static void attention_pack(const ck_attention_args *args, int64_t head, int64_t block) {
#ifdef CK_HAS_DOT
  if (packs_pairs(args)) {
    pack_block_pairs(args, head, block);
    return;
  }
#endif
  pack_block_f32(args, head, block);
}
