/* The GEMM over packed panels, included once per arithmetic with
 *   GEMM(name)   name with the arithmetic's suffix
 *   GEMM_A       what the values of a are turned into; where a word holds two, an odd last one is followed by 0
 *   GEMM_W       a word of the panels, GEMM_PAIR values of one column each (1 or 2)
 *   GEMM_K       values of k per block: the constant row step of the register tiles
 *   GEMM_STRIPS  where a transposed a is multiplied without being turned, by GEMM(strip) and GEMM(strip_half)
 * and GEMM(load_a), GEMM(tile), GEMM(half) defined.
 *
 * Panels of NR columns are [panel][k word][column]. Rows go in groups; a group's a is turned into
 * [k block][row][GEMM_K] in scratch. Columns go in chunks of GEMM_PANELS panels, and within a chunk the k blocks come
 * one after the other: a block of a stays in the second cache for all panels of the chunk, while each panel's block is
 * read once per group. The sums, [panel of the chunk][row][NR], wait in scratch for the last block's epilogue. */
enum { GEMM(words) = GEMM_K / GEMM_PAIR, GEMM(group_size) = GEMM_ROWS * GEMM_K };

static int64_t GEMM(k_words)(int64_t k) { return (k + GEMM_PAIR - 1) / GEMM_PAIR; }
static int64_t GEMM(k_blocks)(int64_t k) { return k > 0 ? (k + GEMM_K - 1) / GEMM_K : 1; }

static size_t GEMM(packed_bytes)(int64_t n, int64_t k) {
  return (size_t)((n + NR - 1) / NR) * (size_t)GEMM(k_words)(k) * NR * sizeof(GEMM_W);
}

static size_t GEMM(scratch)(int64_t k) {
  const int64_t blocks = GEMM(k_blocks)(k);
  return (size_t)blocks * GEMM(group_size) * sizeof(GEMM_A) +
         (size_t)(blocks > 1 ? GEMM_PANELS : 1) * GEMM_ROWS * NR * sizeof(float);
}

#ifdef GEMM_STRIPS
/* A transposed a stays as it is, cut into strips for register tiles whose rows are neighbours: [tile][k][MR]. Where a strip is narrower,
 * what lies beside it in memory comes along, except at the end of the matrix. */
static void GEMM(load_turned)(const ck_gemm_args *args, int64_t row0, int64_t rows, int64_t k0, int64_t count,
                              GEMM_A *out) {
  const int64_t tiles = (rows + MR - 1) / MR;
  const float *from = (const float *)args->a + k0 * args->lda + row0;
  int64_t first[GEMM_ROWS / MR + 1];
  for (int64_t t = 0; t <= tiles; t++) first[t] = piece_start(rows, tiles, t);
  for (int64_t p = 0; p < count; p++, from += args->lda, out += MR) {
    if (k0 + p + 1 < args->k)
      for (int64_t t = 0; t < tiles; t++) memcpy(out + t * MR * GEMM_K, from + first[t], MR * sizeof *out);
    else
      for (int64_t t = 0; t < tiles; t++)
        memcpy(out + t * MR * GEMM_K, from + first[t], (size_t)(first[t + 1] - first[t]) * sizeof *out);
  }
}
#else
/* Of a transposed a a few rows at a time are turned over in the first cache. */
static void GEMM(load_turned)(const ck_gemm_args *args, int64_t row0, int64_t rows, int64_t k0, int64_t count,
                              GEMM_A *out) {
  enum { STRIP = 8 };
  float strip[STRIP * GEMM_K];
  const ck_gemm_args turned = {.a = strip, .lda = GEMM_K, .a_type = CK_F32};
  for (int64_t r = 0; r < rows; r += STRIP) {
    const int64_t some = rows - r < STRIP ? rows - r : STRIP;
    transpose((const float *)args->a + k0 * args->lda + row0 + r, args->lda, count, some, strip, GEMM_K);
    for (int64_t i = 0; i < some; i++) GEMM(load_a)(&turned, i, 0, count, out + (r + i) * GEMM_K);
  }
}
#endif

static void GEMM(load_group)(const ck_gemm_args *args, int64_t row0, int64_t rows, GEMM_A *out) {
  for (int64_t k0 = 0; k0 < args->k; k0 += GEMM_K, out += GEMM(group_size)) {
    const int64_t count = args->k - k0 < GEMM_K ? args->k - k0 : GEMM_K;
    if (args->a_transposed) GEMM(load_turned)(args, row0, rows, k0, count, out);
    else for (int64_t r = 0; r < rows; r++) GEMM(load_a)(args, row0 + r, k0, count, out + r * GEMM_K);
  }
}

/* All rows of a group times one k block of one panel; `next` is the block that follows. */
static void GEMM(panel)(const ck_gemm_args *args, int64_t row0, int64_t rows, int64_t column, int64_t block,
                        const GEMM_A *a, float *sums, const GEMM_W *next) {
  const int64_t tiles = (rows + MR - 1) / MR, all = GEMM(k_words)(args->k), left = all - block * GEMM(words);
  const GEMM_W *panel = (const GEMM_W *)args->packed + column * all + block * GEMM(words) * NR;
  const int64_t words = left < GEMM(words) ? left : GEMM(words);
  tile_start from = {.start = block == 0 ? START_ZERO : START_ADD, .step = NR * (int64_t)sizeof *next / tiles};
  const int half = args->n - column <= VL;
  for (int64_t t = 0, r = 0, end; t < tiles; t++, r = end) { /* each tile fetches its share of the next block */
    end = piece_start(rows, tiles, t + 1);
    const int64_t count = end - r;
    from.next = (const char *)next + t * words * from.step;
    if (left <= GEMM(words)) gemm_fetch(args, row0 + r, count, column);
#ifdef GEMM_STRIPS
    if (args->a_transposed)
      (half ? GEMM(strip_half) : GEMM(strip))((int)count, words, a + t * MR * GEMM_K, 0, panel, sums + r * NR, from);
    else
#endif
      (half ? GEMM(half) : GEMM(tile))((int)count, words, (const void *)(a + r * GEMM_K), 0, panel, sums + r * NR, from);
    if (left <= GEMM(words)) gemm_finish(args, row0 + r, count, column, sums + r * NR);
  }
}

static void GEMM(group)(const ck_gemm_args *args, int64_t row0, int64_t rows, const GEMM_A *a, float *sums) {
  const int64_t blocks = GEMM(k_blocks)(args->k), size = blocks > 1 ? GEMM_ROWS * NR : 0;
  const int64_t panel = GEMM(k_words)(args->k) * NR;
  for (int64_t chunk = 0; chunk < args->n; chunk += GEMM_PANELS * NR) {
    const int64_t rest = (args->n - chunk + NR - 1) / NR, panels = rest < GEMM_PANELS ? rest : GEMM_PANELS;
    const GEMM_W *first = (const GEMM_W *)args->packed + chunk / NR * panel;
    for (int64_t block = 0; block < blocks; block++, first += GEMM(words) * NR)
      for (int64_t p = 0; p < panels; p++) {
        const int64_t follows = p + 1 < panels ? (p + 1) * panel : block + 1 < blocks ? GEMM(words) * NR : 0;
        GEMM(panel)(args, row0, rows, chunk + p * NR, block, a + block * GEMM(group_size), sums + p * size,
                    first + follows);
      }
  }
}

static void GEMM(gemm)(const ck_gemm_args *args, void *scratch) {
  GEMM_A *a = scratch;
  float *sums = (float *)(a + GEMM(k_blocks)(args->k) * GEMM(group_size));
  const int64_t groups = (args->m + GEMM_ROWS - 1) / GEMM_ROWS;
  for (int64_t g = 0; g < groups; g++) {
    const int64_t row0 = piece_start(args->m, groups, g), rows = piece_start(args->m, groups, g + 1) - row0;
    GEMM(load_group)(args, row0, rows, a);
    GEMM(group)(args, row0, rows, a, sums);
  }
}
#undef GEMM
#undef GEMM_A
#undef GEMM_W
#undef GEMM_PAIR
#undef GEMM_K
#undef GEMM_STRIPS
