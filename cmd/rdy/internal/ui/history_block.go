package ui

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// maxBlock bounds the bytes of a minute before they are compressed: 100,000 channels with long
// names.
const maxBlock = 32 << 20

var errBlock = errors.New("a minute cannot be read")

// blocks turns minutes into bytes and back. A block is compressed and has a checksum, which
// bbolt's pages do not have. In it are the series one after the other: the length of the topic and
// the topic, the same of the channel, the three figures, and a byte that is 1 for a lower bound.
type blocks struct {
	zip   *zstd.Encoder
	unzip *zstd.Decoder
	names map[string]seriesKey // of blocks that were read: most minutes have the same
}

func newBlocks() (*blocks, error) {
	zip, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	if err != nil {
		return nil, err
	}
	unzip, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBlock))
	if err != nil {
		return nil, err
	}
	return &blocks{zip: zip, unzip: unzip, names: make(map[string]seriesKey)}, nil
}

// close ends reading. Minutes can be written after that.
func (b *blocks) close() {
	b.unzip.Close()
	b.names = nil
}

// write returns the block of a minute. The error says that it would be too large to be read.
func (b *blocks) write(m minute) ([]byte, error) {
	var plain []byte
	for _, key := range slices.SortedFunc(maps.Keys(m.points), compareKeys) { // names that are alike are small together
		p := m.points[key]
		for _, name := range []string{key.topic, key.channel} {
			plain = append(binary.AppendUvarint(plain, uint64(len(name))), name...)
		}
		for _, f := range []float32{p.depth, p.in, p.finished} {
			plain = binary.LittleEndian.AppendUint32(plain, math.Float32bits(f))
		}
		lower := byte(0)
		if p.lower {
			lower = 1
		}
		plain = append(plain, lower)
	}
	if len(plain) > maxBlock {
		return nil, fmt.Errorf("%d channels and topics are too many", len(m.points))
	}
	return b.zip.EncodeAll(plain, nil), nil
}

func compareKeys(a, b seriesKey) int {
	return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.channel, b.channel))
}

// read returns the minute that a block has.
func (b *blocks) read(at int64, block []byte) (minute, error) {
	m := minute{at: at, points: make(map[seriesKey]point)}
	plain, err := b.unzip.DecodeAll(block, nil)
	if err != nil {
		return m, errors.Join(errBlock, err)
	}
	const size = 3*4 + 1
	for len(plain) > 0 {
		key, n := b.key(plain)
		if n == 0 || len(plain) < n+size {
			return m, errBlock
		}
		f := plain[n:]
		m.points[key] = point{float(f), float(f[4:]), float(f[8:]), f[12] == 1}
		plain = f[size:]
	}
	return m, nil
}

func float(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }

// key returns the name of a series and the bytes that it takes, 0 if it cannot be read.
func (b *blocks) key(plain []byte) (key seriesKey, n int) {
	var names [2][]byte
	for i := range names {
		length, k := binary.Uvarint(plain[n:])
		if k <= 0 || length > uint64(len(plain)-n-k) { // #nosec G115 -- not negative
			return key, 0
		}
		n += k
		names[i] = plain[n : n+int(length)] // #nosec G115 -- not longer than plain
		n += int(length)                    // #nosec G115
	}
	if known, ok := b.names[string(plain[:n])]; ok {
		return known, n
	}
	key = seriesKey{string(names[0]), string(names[1])}
	b.names[string(plain[:n])] = key
	return key, n
}
