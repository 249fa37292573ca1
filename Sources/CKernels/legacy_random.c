/* Bulk draws of the MT19937 generator: hundreds of millions per dataset fingerprint. */
#include "ckernels.h"

enum { LENGTH = 624, OFFSET = 397 };

static uint32_t twist(uint32_t upper, uint32_t lower) {
  uint32_t joined = (upper & 0x80000000u) | (lower & 0x7fffffffu);
  return (joined >> 1) ^ (-(joined & 1u) & 0x9908b0dfu);
}

static void refill(uint32_t *state) {
  for (int i = 0; i < LENGTH - OFFSET; i++) state[i] = state[i + OFFSET] ^ twist(state[i], state[i + 1]);
  for (int i = LENGTH - OFFSET; i < LENGTH - 1; i++) state[i] = state[i + OFFSET - LENGTH] ^ twist(state[i], state[i + 1]);
  state[LENGTH - 1] = state[OFFSET - 1] ^ twist(state[LENGTH - 1], state[0]);
}

static uint32_t temper(uint32_t word) {
  word ^= word >> 11;
  word ^= (word << 7) & 0x9d2c5680u;
  word ^= (word << 15) & 0xefc60000u;
  return word ^ (word >> 18);
}

void ck_legacy_count(uint32_t state[624], int32_t *position, uint32_t maximum, int64_t draws, uint32_t *counts) {
  if (maximum == 0) {
    counts[0] += (uint32_t)draws;
    return;
  }
  uint32_t mask = UINT32_MAX >> __builtin_clz(maximum);
  int32_t place = *position;
  while (draws > 0) {
    if (place == LENGTH) {
      refill(state);
      place = 0;
    }
    uint32_t number = temper(state[place++]) & mask;
    if (number > maximum) continue;
    counts[number]++;
    draws--;
  }
  *position = place;
}
