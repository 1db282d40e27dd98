package main

import (
	"bytes"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	compressNone = "none"
	compressGzip = "gzip"
	compressZstd = "zstd"

	defaultGzipLevel = 6
	maxGzipLevel     = 9
	defaultZstdLevel = 3
	maxZstdLevel     = 22
)

// framer makes frames from lines: the lines themselves, a gzip member or a zstd frame.
// Files that consist of whole frames can be read with zcat and zstdcat. All methods may
// be called from any goroutine.
type framer struct {
	suffix string // of file names
	gzips  *sync.Pool
	zstd   *zstd.Encoder
}

// newFramer returns a framer for a valid compression and level.
func newFramer(compression string, level int) (*framer, error) {
	switch compression {
	case compressGzip:
		if level == 0 {
			level = defaultGzipLevel
		}
		// A writer takes about a megabyte: one for each topic would be too much.
		return &framer{suffix: ".gz", gzips: &sync.Pool{New: func() any {
			w, _ := gzip.NewWriterLevel(nil, level) // the level is valid
			return w
		}}}, nil
	case compressZstd:
		if level == 0 {
			level = defaultZstdLevel
		}
		e, err := zstd.NewWriter(nil, zstd.WithZeroFrames(true), zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)))
		return &framer{suffix: ".zst", zstd: e}, err
	}
	return &framer{}, nil
}

// frame returns the frame of some lines. It may be lines itself.
func (f *framer) frame(lines []byte) ([]byte, error) {
	switch {
	case f.zstd != nil:
		return f.zstd.EncodeAll(lines, nil), nil
	case f.gzips != nil:
		w := f.gzips.Get().(*gzip.Writer)
		defer f.gzips.Put(w)
		var out bytes.Buffer
		w.Reset(&out)
		if _, err := w.Write(lines); err != nil {
			return nil, err
		}
		err := w.Close()
		return out.Bytes(), err
	}
	return lines, nil
}
