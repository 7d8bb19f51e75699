// The sum of a page over 32 lanes, in a shape that compilers turn into vectors. Source
// of the algorithm: pg_checksum_block in src/include/storage/checksum_impl.h of
// PostgreSQL.

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LANES 32
#define ROW (LANES * 4)

static inline __attribute__((always_inline)) uint32_t pageSumOf(const uint8_t *page, size_t size, const uint32_t basis[LANES])
{
	uint32_t sum[LANES], row[LANES], folded = 0;
	memcpy(sum, basis, sizeof sum);
	memcpy(row, page, ROW);
	row[2] &= 0xffff0000u; // the checksum itself, at byte 8, counts as zero
	for (size_t at = ROW;; at += ROW) {
		for (int i = 0; i < LANES; i++) {
			uint32_t t = sum[i] ^ row[i];
			sum[i] = t * 16777619u ^ t >> 17;
		}
		if (at >= size)
			break;
		memcpy(row, page + at, ROW);
	}
	for (int round = 0; round < 2; round++) // zeros mix the last values
		for (int i = 0; i < LANES; i++)
			sum[i] = sum[i] * 16777619u ^ sum[i] >> 17;
	for (int i = 0; i < LANES; i++)
		folded ^= sum[i];
	return folded;
}

static uint32_t pageSumPlain(const uint8_t *page, size_t size, const uint32_t basis[LANES]) { return pageSumOf(page, size, basis); }

#ifdef __x86_64__
__attribute__((target("avx2"))) static uint32_t pageSumAVX2(const uint8_t *page, size_t size, const uint32_t basis[LANES]) { return pageSumOf(page, size, basis); }

__attribute__((target("avx512f,prefer-vector-width=512"))) static uint32_t pageSumAVX512(const uint8_t *page, size_t size, const uint32_t basis[LANES]) { return pageSumOf(page, size, basis); }
#endif

// pageKernels is the number of the best kernel that this processor has.
static int pageKernels(void)
{
#ifdef __x86_64__
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512f"))
		return 2;
	if (__builtin_cpu_supports("avx2"))
		return 1;
#endif
	return 0;
}

// pageSum takes 0 for what every processor has, 1 for AVX2, 2 for AVX-512.
static uint32_t pageSum(const uint8_t *page, size_t size, const uint32_t basis[LANES], int kernel)
{
#ifdef __x86_64__
	switch (kernel) {
	case 1:
		return pageSumAVX2(page, size, basis);
	case 2:
		return pageSumAVX512(page, size, basis);
	}
#endif
	return pageSumPlain(page, size, basis);
}
