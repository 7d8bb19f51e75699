package compress

import "math"

// A sample is looked at before a block is compressed that may not get smaller.
const (
	sampleByteRuns = 16 // places whose bytes are counted
	sampleByteLen  = 256
	sampleBits     = 7.5 // bits a byte, below which a block gets smaller surely
	sampleRuns     = 4   // places that are compressed when the bytes leave it open
	sampleRunLen   = 8 << 10
	sampleGain     = 0.97 // of its size, above which a run is not worth it
)

// A Sampler tells blocks that do not get smaller, such as images, or what was
// compressed or encrypted before. It belongs to one goroutine.
type Sampler struct {
	codec Codec
	room  []byte
}

// NewSampler returns a sampler that compresses with the codec.
func NewSampler(c Codec) *Sampler {
	return &Sampler{codec: c, room: make([]byte, 0, Bound(sampleRunLen))}
}

// Hopeless reports whether compressing the block is not worth it. First it counts
// some bytes, which takes next to no time; only when all values are about equally
// frequent it compresses a sixteenth of a block.
func (s *Sampler) Hopeless(block []byte) bool {
	if len(block) < 2*sampleRuns*sampleRunLen || entropy(block) < sampleBits {
		return false
	}
	for i := range sampleRuns {
		at := i * (len(block) - sampleRunLen) / (sampleRuns - 1)
		frame, err := s.codec.Encode(s.room, block[at:at+sampleRunLen])
		if err != nil || float64(len(frame)) < sampleGain*sampleRunLen {
			return false
		}
	}
	return true
}

// entropy estimates how many bits a byte of the block holds, each by itself.
func entropy(block []byte) float64 {
	var counts [256]int
	for i := range sampleByteRuns {
		at := i * (len(block) - sampleByteLen) / (sampleByteRuns - 1)
		for _, b := range block[at : at+sampleByteLen] {
			counts[b]++
		}
	}
	const n = sampleByteRuns * sampleByteLen
	bits := 0.0
	for _, c := range counts {
		if c > 0 {
			bits -= float64(c) * math.Log2(float64(c)/n)
		}
	}
	return bits / n
}
