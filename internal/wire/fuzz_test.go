package wire

import (
	"bytes"
	"errors"
	"testing"
)

// prefixes calls f with the lengths below n. For a long input it calls f only
// with those near either end, where parsers make their decisions.
func prefixes(n int, f func(i int)) {
	const near = 64
	for i := range n {
		if i < near || i >= n-near {
			f(i)
		}
	}
}

// final reports whether err is an error that no further input can cure.
func final(err error) bool { return err != nil && !errors.Is(err, ErrShort) }

func FuzzParseFrame(f *testing.F) {
	for _, g := range goldenFrames {
		f.Add(g.bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, n, err := ParseFrame(b)
		if err != nil {
			if n != 0 || frame.Data != nil {
				t.Fatalf("got %+v, took %d, with error %v", frame, n, err)
			}
			if _, _, again := ParseFrame(append(b, 0)); final(err) && !final(again) {
				t.Fatalf("%v became %v with one more byte", err, again)
			}
			if errors.Is(err, ErrShort) {
				_ = CutShort(b) // must not panic
			}
			return
		}
		if n > len(b) {
			t.Fatalf("took %d bytes of %d", n, len(b))
		}
		if again := AppendFrame(nil, frame.Type, frame.Data); !bytes.Equal(again, b[:n]) {
			t.Fatalf("parsed %q, encoded again %q", b[:n], again)
		}
		prefixes(n, func(i int) {
			if frame, _, err := ParseFrame(b[:i]); !errors.Is(err, ErrShort) {
				t.Fatalf("first %d of %d bytes: %+v, error %v", i, n, frame, err)
			}
		})
		switch frame.Type {
		case FrameMessage:
			m, err := ParseMessage(frame.Data)
			if err != nil {
				t.Fatal(err)
			}
			if again := AppendMessage(nil, &m); !bytes.Equal(again, b[:n]) {
				t.Fatalf("parsed %q, encoded again %q", b[:n], again)
			}
		case FrameError:
			e := ParseError(frame.Data)
			if again := AppendError(nil, e); e.Desc != "" && !bytes.Equal(again, b[:n]) {
				t.Fatalf("parsed %q, encoded again %q", b[:n], again)
			}
		}
	})
}

func FuzzParseCommand(f *testing.F) {
	for _, g := range goldenCommands {
		f.Add(g.bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, n, err := ParseCommand(b, DefaultLimits)
		if err != nil {
			if n != 0 || c.Body != nil {
				t.Fatalf("got %+v, took %d, with error %v", c, n, err)
			}
			if _, _, again := ParseCommand(append(b, '\n'), DefaultLimits); final(err) && !final(again) {
				t.Fatalf("%v became %v with one more byte", err, again)
			}
			return
		}
		if n > len(b) {
			t.Fatalf("took %d bytes of %d", n, len(b))
		}
		prefixes(n, func(i int) {
			if c, _, err := ParseCommand(b[:i], DefaultLimits); !errors.Is(err, ErrShort) {
				t.Fatalf("first %d of %d bytes: %+v, error %v", i, n, c, err)
			}
		})
		again := []byte(c.String() + "\n")
		if line, _, _ := bytes.Cut(b, []byte("\n")); bytes.HasSuffix(line, []byte("\r")) {
			again = []byte(c.String() + "\r\n")
		}
		if c.Body != nil {
			again = appendBody(again, c.Body)
		}
		if c.Name == CmdMpub { // whose announced length says nothing
			copy(again[len(again)-len(c.Body)-4:], b[n-len(c.Body)-4:n-len(c.Body)])
		}
		if !bytes.Equal(again, b[:n]) {
			t.Fatalf("parsed %q, encoded again %q", b[:n], again)
		}
	})
}

func FuzzParseMpub(f *testing.F) {
	const head = len("MPUB t\n") + 4
	f.Add(AppendMpub(nil, "t", [][]byte{[]byte("a"), []byte("bc")})[head:])
	f.Fuzz(func(t *testing.T, body []byte) {
		bodies, err := ParseMpub(body, DefaultLimits)
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok || bodies != nil {
				t.Fatalf("%q, error %v", bodies, err)
			}
			return
		}
		if again := AppendMpub(nil, "t", bodies)[head:]; !bytes.Equal(again, body) {
			t.Fatalf("parsed %q, encoded again %q", body, again)
		}
		prefixes(len(body), func(i int) {
			if bodies, err := ParseMpub(body[:i], DefaultLimits); err == nil {
				t.Fatalf("first %d of %d bytes: %q", i, len(body), bodies)
			}
		})
	})
}

func FuzzParseIdentifyResponse(f *testing.F) {
	f.Add([]byte(OK))
	f.Add([]byte(goldenResponseJSON))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, negotiated, err := ParseIdentifyResponse(data)
		switch {
		case err != nil || !negotiated:
			if r != (IdentifyResponse{}) || negotiated || (err == nil) != (string(data) == OK) {
				t.Fatalf("%+v, negotiated %v, error %v", r, negotiated, err)
			}
			return
		case data[0] != '{':
			t.Fatalf("%q was parsed as an object", data)
		}
		frame := must(AppendIdentifyResponse(nil, &r))
		if again, _, err := ParseIdentifyResponse(frame[HeaderLen:]); err != nil || again != r {
			t.Fatalf("%+v encoded and parsed again: %+v, error %v", r, again, err)
		}
		prefixes(len(data), func(i int) {
			if cut, _, err := ParseIdentifyResponse(data[:i]); err == nil && cut != r {
				t.Fatalf("first %d of %d bytes: %+v instead of %+v", i, len(data), cut, r)
			}
		})
	})
}
