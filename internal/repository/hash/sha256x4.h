// SHA-256 of four messages at once, with the instructions that x86 has for it. One
// message alone waits for each instruction's result; four keep the unit busy.
//
// The instructions and what each computes: Intel 64 and IA-32 Architectures Software
// Developer's Manual, SHA256RNDS2, SHA256MSG1 and SHA256MSG2. They want the state as
// two registers, ABEF and CDGH. The algorithm and its constants: FIPS 180-4, 4.2.2
// and 6.2.2.

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define LANES 4
#define TARGET __attribute__((target("sha,sse4.1,ssse3")))
#define EACH for (int l = 0; l < LANES; l++)

static const uint32_t roundConstants[64] __attribute__((aligned(16))) = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

// sha256x4 takes so many 64-byte blocks of each message into its state.
TARGET static void sha256x4(uint32_t state[LANES][8], const uint8_t *p0, const uint8_t *p1, const uint8_t *p2, const uint8_t *p3, size_t blocks)
{
	const uint8_t *p[LANES] = {p0, p1, p2, p3};
	const __m128i bigEndian = _mm_set_epi64x(0x0c0d0e0f08090a0bULL, 0x0405060700010203ULL);
	__m128i abef[LANES], cdgh[LANES];
#pragma GCC unroll 4
	EACH {
		__m128i dcba = _mm_loadu_si128((const __m128i *)&state[l][0]), hgfe = _mm_loadu_si128((const __m128i *)&state[l][4]);
		__m128i cdab = _mm_shuffle_epi32(dcba, 0xb1), efgh = _mm_shuffle_epi32(hgfe, 0x1b);
		abef[l] = _mm_alignr_epi8(cdab, efgh, 8);
		cdgh[l] = _mm_blend_epi16(efgh, cdab, 0xf0);
	}
	for (; blocks > 0; blocks--) {
		__m128i w[4][LANES], abef0[LANES], cdgh0[LANES];
#pragma GCC unroll 4
		EACH {
			abef0[l] = abef[l];
			cdgh0[l] = cdgh[l];
		}
#pragma GCC unroll 16
		for (int i = 0; i < 16; i++) { // four rounds each
			const __m128i k = _mm_load_si128((const __m128i *)&roundConstants[4 * i]);
#pragma GCC unroll 4
			EACH {
				if (i < 4)
					w[i][l] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(p[l] + 16 * i)), bigEndian);
				__m128i wk = _mm_add_epi32(w[i & 3][l], k);
				cdgh[l] = _mm_sha256rnds2_epu32(cdgh[l], abef[l], wk);
				abef[l] = _mm_sha256rnds2_epu32(abef[l], cdgh[l], _mm_shuffle_epi32(wk, 0x0e));
			}
			if (i >= 3 && i < 15) { // words 16 and on; their first part was made as soon as it could be
#pragma GCC unroll 4
				EACH {
					__m128i s = _mm_add_epi32(w[(i + 1) & 3][l], _mm_alignr_epi8(w[i & 3][l], w[(i + 3) & 3][l], 4));
					w[(i + 1) & 3][l] = _mm_sha256msg2_epu32(s, w[i & 3][l]);
				}
			}
			if (i >= 1 && i < 13) {
#pragma GCC unroll 4
				EACH w[(i + 3) & 3][l] = _mm_sha256msg1_epu32(w[(i + 3) & 3][l], w[i & 3][l]);
			}
		}
#pragma GCC unroll 4
		EACH {
			abef[l] = _mm_add_epi32(abef[l], abef0[l]);
			cdgh[l] = _mm_add_epi32(cdgh[l], cdgh0[l]);
			p[l] += 64;
		}
	}
#pragma GCC unroll 4
	EACH {
		__m128i feba = _mm_shuffle_epi32(abef[l], 0x1b), dchg = _mm_shuffle_epi32(cdgh[l], 0xb1);
		_mm_storeu_si128((__m128i *)&state[l][0], _mm_blend_epi16(feba, dchg, 0xf0));
		_mm_storeu_si128((__m128i *)&state[l][4], _mm_alignr_epi8(dchg, feba, 8));
	}
}
