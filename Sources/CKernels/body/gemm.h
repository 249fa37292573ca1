/* c[m, n] = epilogue(a[m, k] w[n, k]^T), bf16 products, float32 sums.
 *
 * w is packed once into panels of NR columns, [panel][k pair][column] words of two bf16 (odd k: the last word's upper
 * half is 0). Rows go in groups; a group's a is rounded into scratch as [k block][row][K_BLOCK], K_BLOCK being the
 * constant row step of the register tiles. Then for each panel, k block and tile the sums are kept in scratch,
 * [row][NR], until the last k block's epilogue. */
#define K_BLOCK 768
#ifdef CK_HAS_DOT
typedef uint16_t gemm_a;
#define GROUP_ROWS (10 * MR)
DEFINE_TILE(gemm_tile, tile_pairs, uint32_t, uint32_t, K_BLOCK / 2, 1)
#else
typedef float gemm_a;
#define GROUP_ROWS (6 * MR)
DEFINE_TILE(gemm_tile, tile_pairs, float, uint32_t, K_BLOCK, 1)
#endif

static int64_t k_blocks(int64_t k) { return (k + K_BLOCK - 1) / K_BLOCK; }
static int64_t k_pairs(int64_t k) { return (k + 1) / 2; }

static size_t packed_bf16_bytes(int64_t n, int64_t k) {
  return (size_t)((n + NR - 1) / NR) * (size_t)k_pairs(k) * NR * sizeof(uint32_t);
}

static void pack_bf16(const float *w, int64_t ldw, int64_t n, int64_t k, void *packed) {
  enum { CHUNK = 256 }; /* one chunk of a panel stays in the first cache while its columns are filled in one by one */
  uint16_t rounded[CHUNK];
  for (int64_t panel = 0; panel * NR < n; panel++) {
    uint32_t *out = (uint32_t *)packed + panel * k_pairs(k) * NR;
    for (int64_t k0 = 0; k0 < k; k0 += CHUNK, out += CHUNK / 2 * NR) {
      const int64_t length = k - k0 < CHUNK ? k - k0 : CHUNK;
      for (int64_t j = 0; j < NR; j++) {
        const int64_t row = panel * NR + j;
        if (row < n) f32_to_bf16(w + row * ldw + k0, rounded, length);
        else memset(rounded, 0, sizeof rounded);
        if (length & 1) rounded[length] = 0;
        for (int64_t p = 0; p < k_pairs(length); p++) {
          uint32_t word;
          memcpy(&word, rounded + 2 * p, sizeof word);
          out[p * NR + j] = word;
        }
      }
    }
  }
}

static size_t gemm_bf16_scratch(int64_t k) {
  return (size_t)k_blocks(k) * GROUP_ROWS * K_BLOCK * sizeof(gemm_a) + (size_t)GROUP_ROWS * NR * sizeof(float);
}

/* `count` values of a's row, rounded to bf16, and a zero after an odd last one. */
CK_INLINE void gemm_load_a(const ck_gemm_args *args, int64_t row, int64_t k0, int64_t count, gemm_a *out) {
  const float *wide = (const float *)args->a + row * args->lda + k0;
  const uint16_t *narrow = (const uint16_t *)args->a + row * args->lda + k0;
#ifdef CK_HAS_DOT
  if (args->a_type == CK_BF16) memcpy(out, narrow, (size_t)count * sizeof *out);
  else f32_to_bf16(wide, out, count);
#else
  if (args->a_type == CK_BF16) bf16_to_f32(narrow, out, count);
  else CK_LOOP(i, count, { vf_store_n(out + i, vf_round_bf16(vf_load_n(wide + i, lanes)), lanes); });
#endif
  if (count & 1) out[count] = 0;
}

static void gemm_load_group(const ck_gemm_args *args, int64_t row0, int64_t rows, gemm_a *out) {
  for (int64_t k0 = 0; k0 < args->k; k0 += K_BLOCK) {
    const int64_t count = args->k - k0 < K_BLOCK ? args->k - k0 : K_BLOCK;
    for (int64_t r = 0; r < rows; r++, out += K_BLOCK) gemm_load_a(args, row0 + r, k0, count, out);
    out += (GROUP_ROWS - rows) * K_BLOCK;
  }
}

/* One vector of columns of a finished tile: sums to c. */
CK_INLINE void gemm_finish_columns(const ck_gemm_args *args, int64_t row0, int64_t rows, int64_t column,
                                   const int lanes, const float *sums) {
  const vf zero = vf_set1(0), one = vf_set1(1);
  const vf bias = args->bias != NULL ? vf_load_n(args->bias + column, lanes) : zero;
  const vf gamma = args->gamma != NULL ? vf_load_n(args->gamma + column, lanes) : one;
  for (int64_t r = 0; r < rows; r++, sums += NR) {
    const int64_t at = (row0 + r) * args->ldc + column;
    vf v = vf_load(sums);
    if (args->accumulate) v += vf_load_n((const float *)args->c + at, lanes);
    v += bias;
    if (args->epilogue == CK_EPILOGUE_GELU) v = vf_gelu(v);
    if (args->residual != NULL)
      v = vf_fma(gamma, v, vf_load_n(args->residual + (row0 + r) * args->ldr + column, lanes));
    if (args->c_type == CK_BF16) vf_store_bf16_n((uint16_t *)args->c + at, v, lanes);
    else vf_store_n((float *)args->c + at, v, lanes);
  }
}

static void gemm_finish(const ck_gemm_args *args, int64_t row0, int64_t rows, int64_t column, const float *sums) {
  for (int v = 0; v < 2; v++, column += VL, sums += VL) {
    const int64_t left = args->n - column;
    if (left >= VL) gemm_finish_columns(args, row0, rows, column, VL, sums);
    else if (left > 0) gemm_finish_columns(args, row0, rows, column, (int)left, sums);
  }
}

static void gemm_group(const ck_gemm_args *args, int64_t row0, int64_t rows, const gemm_a *a, float *sums) {
  const int64_t tiles = (rows + MR - 1) / MR, pairs = k_pairs(args->k), blocks = k_blocks(args->k);
  const uint32_t *panel = args->packed;
  for (int64_t column = 0; column < args->n; column += NR, panel += pairs * NR)
    for (int64_t block = 0; block < blocks || block == 0; block++) {
      const int64_t done = block * (K_BLOCK / 2), left = pairs - done;
      const tile_start from = {NULL, block == 0 ? START_ZERO : START_ADD};
      for (int64_t t = 0; t < tiles; t++) {
        const int64_t r = piece_start(rows, tiles, t), count = piece_start(rows, tiles, t + 1) - r;
        gemm_tile((int)count, left < K_BLOCK / 2 ? left : K_BLOCK / 2,
                  (const void *)(a + (block * GROUP_ROWS + r) * K_BLOCK), 0, panel + done * NR, sums + r * NR, from);
        if (block + 1 >= blocks) gemm_finish(args, row0 + r, count, column, sums + r * NR);
      }
    }
}

static void gemm_bf16(const ck_gemm_args *args, void *scratch) {
  gemm_a *a = scratch;
  float *sums = (float *)(a + k_blocks(args->k) * GROUP_ROWS * K_BLOCK);
  const int64_t groups = (args->m + GROUP_ROWS - 1) / GROUP_ROWS;
  for (int64_t g = 0; g < groups; g++) {
    const int64_t row0 = piece_start(args->m, groups, g), rows = piece_start(args->m, groups, g + 1) - row0;
    gemm_load_group(args, row0, rows, a);
    gemm_group(args, row0, rows, a, sums);
  }
}
