package link

import (
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// FuzzHandshake feeds any bytes to a link that may ask for TLS, compression and AUTH. The
// link connects or fails, and ends, and takes no more memory than the limits of frames
// allow.
func FuzzHandshake(f *testing.F) {
	auth := nsqtest.ResponseFrame(`{"identity":"me","permission_count":1}`)
	for wants, tr := range transports() {
		upgraded := slices.Concat(okFrame, heartbeat, auth, okFrame, message("a", "x"), closeWaitFrame)
		if tr.compression != "" {
			var z bytes.Buffer
			_, _ = compressTo(&z, tr.compression).Write(upgraded)
			upgraded = z.Bytes()
		} else if !tr.secure {
			upgraded = upgraded[len(okFrame):]
		}
		f.Add(uint8(wants), slices.Concat(heartbeat, tr.granted(`,"auth_required":true`), heartbeat, upgraded))
	}
	f.Add(uint8(3), slices.Concat(transport{true, ""}.granted(""), []byte("\x16\x03\x03\x00\x02\x02\x00")))
	f.Add(uint8(3), slices.Concat(transport{true, ""}.granted(""), []byte("\x15\x03\x03\x00\x02\x02\x28")))
	f.Add(uint8(1), slices.Concat(transport{false, OpSnappy}.granted(""), []byte("\xff\x06\x00\x00sNaPpY\xfe\x03\x00\x00...\x01\x05\x00\x00....x")))
	f.Add(uint8(0), []byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	all := transports()
	f.Fuzz(func(t *testing.T, wants uint8, said []byte) {
		const maxBody = 1 << 10
		cfg := all[int(wants)%len(all)].want(Config{
			Addr: testAddr, Topic: "t", Channel: "ch", AuthSecret: "secret", MaxBody: maxBody,
			Dial: func(context.Context, string, string) (net.Conn, error) {
				return &speaker{Reader: bytes.NewReader(said)}, nil
			},
		})
		cfg.Identify.FeatureNegotiation = true
		l, err := Dial(t.Context(), cfg)
		if err != nil {
			return
		}
		s := &sink{link: l, down: make(chan struct{})}
		l.Start(s)
		<-s.down
		if n, limit := len(l.in.buf), max(busyBuffer, 2*(wire.HeaderLen+wire.MaxControl)); n > limit {
			t.Errorf("a buffer of %d", n)
		}
	})
}

// speaker is a socket that delivers some bytes and swallows what is written.
type speaker struct {
	io.Reader
	net.Conn
}

func (s *speaker) Read(p []byte) (int, error)     { return s.Reader.Read(p) }
func (*speaker) Write(p []byte) (int, error)      { return len(p), nil }
func (*speaker) Close() error                     { return nil }
func (*speaker) SetDeadline(time.Time) error      { return nil }
func (*speaker) SetReadDeadline(time.Time) error  { return nil }
func (*speaker) SetWriteDeadline(time.Time) error { return nil }
