package nsq

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// CheckNSQD reports what nsqd grants, sends only the handshake, and leaves nothing behind.
func TestCheckNSQD(t *testing.T) {
	ca := nsqtest.NewCA(t)
	tests := map[string]struct {
		nsqd   func(*nsqtest.Options)
		config func(*Config)
		want   NSQDInfo
		sent   []string // after IDENTIFY
	}{
		"plain": {},
		"limits": {
			nsqd: func(o *nsqtest.Options) {
				o.Version, o.MaxRdyCount, o.MsgTimeout, o.MaxMsgTimeout = "1.2.1", 7, 3*time.Second, time.Minute
			},
			want: NSQDInfo{Version: "1.2.1", MaxRDY: 7, MsgTimeout: 3 * time.Second, MaxMsgTimeout: time.Minute},
		},
		"msg_timeout": {
			config: func(c *Config) { c.MsgTimeout = 5 * time.Minute },
			want:   NSQDInfo{MsgTimeout: 5 * time.Minute},
		},
		"all": {
			nsqd: func(o *nsqtest.Options) {
				o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{ca.Issue("a")}}
				o.Snappy, o.AuthSecret = true, "s3cret"
			},
			config: func(c *Config) {
				c.TlsV1, c.TlsConfig = true, &tls.Config{RootCAs: ca.Roots()}
				c.Snappy, c.AuthSecret = true, "s3cret"
			},
			want: NSQDInfo{TLS: "TLS 1.3", Compression: "snappy", AuthRequired: true},
			sent: []string{"AUTH"},
		},
		"deflate": {
			nsqd:   func(o *nsqtest.Options) { o.Deflate = true },
			config: func(c *Config) { c.Deflate = true },
			want:   NSQDInfo{Compression: "deflate"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				want := NSQDInfo{
					Addr: "a:1", Version: "1.3.0", MaxRDY: 2500, MsgTimeout: time.Minute, MaxMsgTimeout: 15 * time.Minute,
				}
				want.merge(tt.want)
				d := s.nsqd("a:1", func(o *nsqtest.Options) {
					if tt.nsqd != nil {
						tt.nsqd(o)
					}
				})
				if tt.config != nil {
					tt.config(s.cfg)
				}
				got, err := CheckNSQD(s.Context(), "a:1", s.cfg)
				if err != nil || got != want {
					s.Errorf("%+v, error %v, want %+v", got, err, want)
				}
				var sent []string
				for _, line := range d.CommandsOf(1)[1:] {
					name, _, _ := strings.Cut(line, " ")
					sent = append(sent, name)
				}
				if !slices.Equal(sent, tt.sent) {
					s.Errorf("sent %q, want %q", sent, tt.sent)
				}
				if n := len(d.Clients()); n != 0 {
					s.Errorf("%d connections are left", n)
				}
			})
		})
	}
}

// merge sets the fields that are set in other.
func (i *NSQDInfo) merge(other NSQDInfo) {
	set := func(to *time.Duration, from time.Duration) {
		if from != 0 {
			*to = from
		}
	}
	set(&i.MsgTimeout, other.MsgTimeout)
	set(&i.MaxMsgTimeout, other.MaxMsgTimeout)
	if other.Version != "" {
		i.Version = other.Version
	}
	if other.MaxRDY != 0 {
		i.MaxRDY = other.MaxRDY
	}
	i.TLS, i.Compression, i.AuthRequired = other.TLS, other.Compression, other.AuthRequired
}

// The errors of CheckNSQD name the address and have the documented types. None shows the
// secret.
func TestCheckNSQDErrors(t *testing.T) {
	ca := nsqtest.NewCA(t)
	withTLS := func(o *nsqtest.Options) { o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{ca.Issue("a")}} }
	withAuth := func(o *nsqtest.Options) { o.AuthSecret = "right" }
	as := func(target any) func(error) bool { return func(err error) bool { return errors.As(err, target) } }
	is := func(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }
	for name, tt := range map[string]struct {
		nsqd    func(*nsqtest.Options)
		config  func(*Config)
		network func(*scene, *nsqtest.Nsqd)
		typed   func(error) bool
		text    string
	}{
		"refused":    {network: func(_ *scene, d *nsqtest.Nsqd) { d.Kill() }, typed: as(new(*net.OpError)), text: "failed to connect"},
		"dial hangs": {network: func(s *scene, _ *nsqtest.Nsqd) { s.net.Blackhole("a:1") }, typed: is(context.DeadlineExceeded), text: "failed to connect"},
		"nsqd hangs": {network: func(_ *scene, d *nsqtest.Nsqd) { d.StopReading() }, typed: as(new(ErrIdentify)), text: "timed out"},
		"no TLS":     {config: func(c *Config) { c.TlsV1 = true }, typed: is(ErrTLSRefused), text: "does not offer TLS"},
		"unknown CA": {nsqd: withTLS, config: func(c *Config) { c.TlsV1 = true }, typed: as(new(x509.UnknownAuthorityError)), text: "TLS"},
		"bad option": {config: func(c *Config) { c.HeartbeatInterval = 2 * time.Minute; c.ReadTimeout = 4 * time.Minute }, typed: as(new(*ProtocolError)), text: "E_BAD_BODY"},
		"no secret":  {nsqd: withAuth, typed: func(error) bool { return true }, text: "auth required"},
		"secret":     {nsqd: withAuth, config: func(c *Config) { c.AuthSecret = "wr0ng" }, typed: as(new(*ProtocolError)), text: "failed to authenticate"},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				d := s.nsqd("a:1", func(o *nsqtest.Options) {
					if tt.nsqd != nil {
						tt.nsqd(o)
					}
				})
				if tt.config != nil {
					tt.config(s.cfg)
				}
				if tt.network != nil {
					tt.network(s, d)
				}
				begin := time.Now()
				info, err := CheckNSQD(s.Context(), "a:1", s.cfg)
				if info != (NSQDInfo{}) || err == nil || !tt.typed(err) {
					s.Fatalf("%+v, error %v (%[2]T)", info, err)
				}
				text := err.Error()
				if !strings.HasPrefix(text, "[a:1] ") || !strings.Contains(text, tt.text) || strings.Contains(text, "wr0ng") {
					s.Errorf("error %q", text)
				}
				if took := time.Since(begin); took > s.cfg.handshakeTimeout()+s.cfg.DialTimeout {
					s.Errorf("took %v", took)
				}
			})
		})
	}
}

// A mistake in the Config costs no connection.
func TestCheckNSQDValidates(t *testing.T) {
	inScene(t, func(s *scene) {
		s.nsqd("a:1")
		s.cfg.Snappy, s.cfg.Deflate = true, true
		if _, err := CheckNSQD(s.Context(), "a:1", s.cfg); err == nil || s.net.Dials() != 0 {
			s.Errorf("error %v, %d dials", err, s.net.Dials())
		}
	})
}

// The context bounds the check in every step, and its cause is the error.
func TestCheckNSQDContext(t *testing.T) {
	for name, hang := range map[string]func(*scene, *nsqtest.Nsqd){
		"dial":     func(s *scene, _ *nsqtest.Nsqd) { s.net.Blackhole("a:1") },
		"IDENTIFY": func(_ *scene, d *nsqtest.Nsqd) { d.StopReading() },
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.DialTimeout = time.Minute
				hang(s, s.nsqd("a:1"))
				ctx, cancel := context.WithTimeout(s.Context(), time.Second)
				defer cancel()
				begin := time.Now()
				if _, err := CheckNSQD(ctx, "a:1", s.cfg); !errors.Is(err, context.DeadlineExceeded) {
					s.Errorf("error %v", err)
				}
				if took := time.Since(begin); took != time.Second {
					s.Errorf("took %v", took)
				}
			})
		})
	}
}
