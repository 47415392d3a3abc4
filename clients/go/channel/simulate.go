package channel

import "math/bits"

// simulate answers what search answers, in a time that depends on the lengths alone: a few nanoseconds for each
// byte of the pattern. It follows all ways to divide s among the gaps at once. A place is where a byte of s begins,
// or the end of s; simulate keeps the set of places that what it has read of the pattern can reach.
func (p *Pattern) simulate(s string) bool {
	var where [256]bitmap // of each byte value: the places in s where such a byte begins
	for i := range len(s) {
		where[s[i]][i/64] |= 1 << (i % 64)
	}
	var inLevel bitmap // the places where a byte other than '/' begins
	for i := range inLevel {
		inLevel[i] = ^where['/'][i] & ones(len(s)-i*64)
	}
	reached := places{1}
	last := len(p.gaps) - 1
	for g, gap := range p.gaps {
		if gap.deep {
			reached.spread()
		} else {
			reached.spreadIn(&inLevel)
		}
		if g == last {
			break
		}
		for i := range len(gap.literal) {
			reached.pass(&where[gap.literal[i]])
		}
		if reached == (places{}) {
			return false
		}
	}
	return reached[len(s)/64]&(1<<(len(s)%64)) != 0
}

// bitmap has a bit for each byte of a name.
type bitmap [MaxBytes / 64]uint64

// places has one more, for the end of the name.
type places [MaxBytes/64 + 1]uint64

// pass moves each place over the byte that begins there, if it is one of those in the bitmap.
func (p *places) pass(b *bitmap) {
	carry := uint64(0)
	for i := range b {
		word := p[i] & b[i]
		p[i] = word<<1 | carry
		carry = word >> 63
	}
	p[len(b)] = carry
}

// spread adds all places behind the first.
func (p *places) spread() {
	for i, word := range p {
		if word == 0 {
			continue
		}
		p[i] = ^uint64(0) << bits.TrailingZeros64(word)
		for i++; i < len(p); i++ {
			p[i] = ^uint64(0)
		}
		return
	}
}

// spreadIn adds to each place those that can be reached from it over bytes in the bitmap. A sum does it: what is
// carried runs through a row of ones, and up to the zero behind it.
func (p *places) spreadIn(b *bitmap) {
	carry := uint64(0)
	for i, word := range b {
		var sum uint64
		sum, carry = bits.Add64(p[i]&word, word, carry)
		p[i] |= sum ^ word
	}
	p[len(b)] |= carry
}

// ones returns a word whose lowest n bits are set.
func ones(n int) uint64 {
	switch {
	case n <= 0:
		return 0
	case n >= 64:
		return ^uint64(0)
	}
	return 1<<n - 1
}
