package link

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// A feed is a reader that returns data in chunks.
type feed struct {
	data  []byte
	sizes []int // of the chunks, over and over; empty for all data at once
	reads int
}

func (f *feed) Read(p []byte) (int, error) {
	if len(f.data) == 0 {
		return 0, io.EOF
	}
	size := len(f.data)
	if len(f.sizes) > 0 {
		size = f.sizes[f.reads%len(f.sizes)]
	}
	f.reads++
	n := copy(p, f.data[:min(size, len(f.data))])
	f.data = f.data[n:]
	return n, nil
}

// readAll reads a stream to its end. It returns a line for each frame, the largest
// buffer or body in use, and the error that ended it.
func readAll(src io.Reader, maxBody, ownAbove int) (lines []string, largest int, err error) {
	var in input
	in.init(src, maxBody)
	in.ownAbove = ownAbove
	for {
		f, err := in.readFrame()
		largest = max(largest, len(in.buf))
		if l := in.large; l != nil {
			largest = max(largest, cap(l.message.Body))
		}
		if l, ok := errors.AsType[*largeMessage](err); ok {
			if len(l.message.Body) != cap(l.message.Body) || len(l.message.Body) <= ownAbove {
				return lines, largest, fmt.Errorf("a body of %d in %d", len(l.message.Body), cap(l.message.Body))
			}
			lines = append(lines, fmt.Sprintf("%d %q", wire.FrameMessage, wire.AppendMessageData(nil, &l.message)))
		} else if big, ok := errors.AsType[*oversizeMessage](err); ok {
			lines = append(lines, fmt.Sprintf("too big %q %d", big.message.ID, big.size))
		} else if err != nil {
			return lines, largest, err
		} else {
			lines = append(lines, fmt.Sprintf("%d %q", f.Type, f.Data))
		}
	}
}

func expectLines(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got  %.200q\nwant %.200q", got, want)
	}
}

// A stream that is cut in two anywhere, or in pieces of any size, gives the same frames
// as a whole one.
func TestInputSplit(t *testing.T) {
	stream := slices.Concat(okFrame, heartbeat, message("a", "x"), message("b", strings.Repeat("y", 50)),
		nsqtest.ErrorFrame("E_FIN_FAILED", "why"), nsqtest.ResponseFrame(""), closeWaitFrame)
	want, _, err := readAll(&feed{data: stream}, 0, 0)
	if len(want) != 7 || !errors.Is(err, io.EOF) {
		t.Fatalf("whole: %q, %v", want, err)
	}
	for n := 1; n <= len(stream); n++ {
		for _, sizes := range [][]int{{n, len(stream)}, {n}} {
			for _, ownAbove := range []int{0, 49, 50} {
				got, largest, err := readAll(&feed{data: stream, sizes: sizes}, 0, ownAbove)
				expectLines(t, got, want)
				if !errors.Is(err, io.EOF) || largest > idleBuffer {
					t.Fatalf("chunks of %d: ended with %v, buffer of %d", sizes, err, largest)
				}
			}
		}
	}
}

// More frames than the buffer holds are read in as few reads as possible.
func TestInputManyFrames(t *testing.T) {
	const n = 10_000
	var stream []byte
	var want []string
	for i := range n {
		data := fmt.Sprint(i)
		stream = append(stream, nsqtest.ResponseFrame(data)...)
		want = append(want, fmt.Sprintf("0 %q", data))
	}
	src := &feed{data: stream}
	got, largest, _ := readAll(src, 0, 0)
	expectLines(t, got, want)
	if most := len(stream)/(busyBuffer-100) + 3; largest != busyBuffer || src.reads > most {
		t.Errorf("buffer of %d, %d reads, want at most %d", largest, src.reads, most)
	}
}

// If a frame does not fit, the buffer grows with the bytes that have arrived.
func TestInputLargeFrame(t *testing.T) {
	body := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	stream := slices.Concat(message("a", body), okFrame, message("b", body), okFrame)
	want, _, _ := readAll(&feed{data: stream}, 0, 0)
	if len(want) != 4 {
		t.Fatalf("%d frames", len(want))
	}
	for _, size := range []int{1000, busyBuffer, len(body)} {
		for _, ownAbove := range []int{0, 16 << 10} {
			got, largest, _ := readAll(&feed{data: stream, sizes: []int{size}}, 0, ownAbove)
			expectLines(t, got, want)
			if largest > 2<<20 {
				t.Errorf("chunks of %d: buffer of %d", size, largest)
			}
		}
	}
}

// A large body is read into its own memory. The buffer gets only its beginning, and
// grows again when small messages follow.
func TestInputOwnMemory(t *testing.T) {
	var in input
	body := strings.Repeat("0123456789abcdef", 1<<12)
	src := &feed{data: slices.Concat(bytes.Repeat(okFrame, 1000), message("a", body), message("b", body), bytes.Repeat(okFrame, 10_000))}
	in.init(src, 0)
	in.ownAbove = 16 << 10
	bodies := 0
	for {
		_, err := in.readFrame()
		if l, ok := errors.AsType[*largeMessage](err); ok {
			if bodies++; string(l.message.Body) != body {
				t.Fatal("the body differs")
			}
		} else if err != nil {
			break
		}
	}
	// Three reads in which the buffer grows; the third has most of the first body. One
	// for that body's end. Two for the second body: beginning and rest. Four for the
	// 100 kB after it.
	if bodies != 2 || src.reads != 3+1+2+4 {
		t.Errorf("%d bodies in %d reads", bodies, src.reads)
	}
}

// If the buffer holds several bodies, several come with one read, although each gets
// memory of its own.
func TestInputOwnMemoryInFewReads(t *testing.T) {
	const n = 100
	var stream []byte
	for range n {
		stream = append(stream, message("a", strings.Repeat("x", 17<<10))...)
	}
	src := &feed{data: stream}
	got, largest, _ := readAll(src, 0, 16<<10)
	if len(got) != n || largest > busyBuffer || src.reads > n/2+3 {
		t.Errorf("%d messages in %d reads, buffer of %d", len(got), src.reads, largest)
	}
}

// The limit applies to the body. A message whose body exceeds it is skipped, however the
// stream is cut.
func TestInputTooBig(t *testing.T) {
	const limit = 100
	for body := limit - 1; body <= limit+1; body++ {
		m := message("a", strings.Repeat("x", body))
		stream := slices.Concat(okFrame, m, heartbeat)
		want := []string{`0 "OK"`, fmt.Sprintf("2 %q", m[wire.HeaderLen:]), `0 "_heartbeat_"`}
		if body > limit {
			want[1] = fmt.Sprintf(`too big %q %d`, testID("a"), body)
		}
		got, _, _ := readAll(&feed{data: stream}, limit, 0)
		expectLines(t, got, want)
		for n := 1; n < len(stream); n++ {
			got, _, _ := readAll(&feed{data: stream, sizes: []int{n, len(stream)}}, limit, 0)
			expectLines(t, got, want)
			got, _, _ = readAll(&feed{data: stream, sizes: []int{n}}, limit, 0)
			expectLines(t, got, want)
		}
	}
}

// Messages over the limit may follow each other directly.
func TestInputTooBigInARow(t *testing.T) {
	big := strings.Repeat("x", 200)
	stream := slices.Concat(message("a", big), message("b", big), message("c", big))
	for n := 1; n <= len(stream); n++ {
		got, _, _ := readAll(&feed{data: stream, sizes: []int{n}}, 100, 50)
		expectLines(t, got, []string{
			fmt.Sprintf("too big %q 200", testID("a")),
			fmt.Sprintf("too big %q 200", testID("b")),
			fmt.Sprintf("too big %q 200", testID("c")),
		})
	}
}

// The largest int as limit is no limit. Control frames have a limit of their own.
func TestInputNoLimit(t *testing.T) {
	m := message("a", strings.Repeat("x", 200))
	got, _, _ := readAll(&feed{data: m}, math.MaxInt, 0)
	expectLines(t, got, []string{fmt.Sprintf("2 %q", m[wire.HeaderLen:])})

	long := nsqtest.ResponseFrame(strings.Repeat("x", 200))
	got, _, _ = readAll(&feed{data: long}, 1, 1)
	expectLines(t, got, []string{fmt.Sprintf("0 %q", long[wire.HeaderLen:])})
}

// Whatever length a frame announces, memory grows only with the bytes that arrive.
func TestInputMemory(t *testing.T) {
	announced := func(size uint32, frameType byte) []byte {
		return []byte{byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size), 0, 0, 0, frameType}
	}
	tests := []struct {
		name              string
		header            []byte
		body              int // bytes that arrive
		maxBody, ownAbove int
		largest           int // buffer or body
		err               error
	}{
		{"message of 2 GiB", announced(math.MaxInt32, 2), 26, 0, 0, idleBuffer, io.EOF},
		{"message of 2 GiB, some of it", announced(math.MaxInt32, 2), 200_000, 0, 0, 512 << 10, io.EOF},
		{"message of 2 GiB, in memory of its own", announced(math.MaxInt32, 2), 26, 0, 100, unseenBody, io.EOF},
		{"the same, some of it", announced(math.MaxInt32, 2), 5 << 20, 0, 100, 8 << 20, io.EOF},
		{"message of 2 GiB, skipped", announced(math.MaxInt32, 2), 1 << 20, 1 << 20, 0, busyBuffer, io.EOF},
		{"message of 4 GiB", announced(math.MaxUint32, 2), 1 << 20, 0, 0, idleBuffer, wire.ErrFrame},
		{"response of 2 GiB", announced(math.MaxInt32, 0), 1 << 20, 0, 0, idleBuffer, wire.ErrFrame},
		{"longest response", announced(wire.MaxControl+4, 0), wire.MaxControl - 1, 0, 0, 2 * busyBuffer, io.EOF},
		{"HTTP", []byte("HTTP/1.1"), 1 << 20, 0, 0, idleBuffer, wire.ErrHTTP},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stream := slices.Concat(tt.header, bytes.Repeat([]byte("x"), tt.body))
			_, largest, err := readAll(&feed{data: stream}, tt.maxBody, tt.ownAbove)
			if !errors.Is(err, tt.err) || largest > tt.largest {
				t.Errorf("ended with %v and a buffer of %d, want %v and at most %d", err, largest, tt.err, tt.largest)
			}
		})
	}
}

// The buffer begins small, grows when a read fills it or a frame does not fit, falls
// back to busyBuffer when it is empty, and is small again after shrink.
func TestInputBuffer(t *testing.T) {
	var in input
	src := &feed{}
	in.init(src, 0)
	read := func(frames int, data ...[]byte) {
		t.Helper()
		src.data = bytes.Join(data, nil)
		for range frames {
			if _, err := in.readFrame(); err != nil {
				t.Fatal(err)
			}
		}
	}
	expect := func(size int) {
		t.Helper()
		if len(in.buf) != size {
			t.Errorf("buffer of %d, want %d", len(in.buf), size)
		}
	}
	expect(idleBuffer)
	read(1, okFrame)
	expect(idleBuffer)
	read(2, message("a", strings.Repeat("x", idleBuffer)), okFrame)
	expect(bufferGrowth * idleBuffer)
	read(1000, bytes.Repeat(okFrame, 1000))
	expect(busyBuffer)
	read(1, okFrame)
	expect(busyBuffer)
	read(1, message("b", strings.Repeat("x", 300<<10)))
	expect(512 << 10)
	read(1, okFrame)
	expect(busyBuffer)
	in.shrink()
	expect(idleBuffer)
	read(1, okFrame)
	expect(idleBuffer)

	read(1000, bytes.Repeat(okFrame, 1000), okFrame[:5])
	in.shrink() // has no effect: the buffer holds half a frame
	expect(busyBuffer)
	read(1, okFrame[5:])
	in.shrink()
	expect(idleBuffer)
}

// A reader may return its last bytes together with an error, or nothing at all.
func TestInputErrors(t *testing.T) {
	lost := errors.New("lost")
	got, _, err := readAll(&last{okFrame, lost}, 0, 0)
	expectLines(t, got, []string{`0 "OK"`})
	if !errors.Is(err, lost) {
		t.Errorf("ended with %v", err)
	}
	if _, _, err := readAll(&last{}, 0, 0); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("ended with %v", err)
	}
}

// last is a reader that returns all its data and its error in one Read.
type last struct {
	data []byte
	err  error
}

func (l *last) Read(p []byte) (int, error) {
	n := copy(p, l.data)
	l.data = l.data[n:]
	return n, l.err
}
