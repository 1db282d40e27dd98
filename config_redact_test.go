package nsq

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/nsqtest"
)

// N24: whatever prints a Config, the secret does not show, and the rest does. Only JSON
// has it, so that a Config survives a round trip.
func TestConfigShowsNoSecret(t *testing.T) {
	const secret = "s3cret"
	c := NewConfig()
	mustSet(c, "auth_secret", secret)
	mustSet(c, "max_in_flight", 4711)
	mustSet(c, "tls_v1", true)
	c.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5}
	shown := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%q", "%x", "%X", "%60v"} {
		shown[verb] = fmt.Sprintf(verb, *c)
		shown[verb+" of a pointer"] = fmt.Sprintf(verb, c)
		shown[verb+" within"] = fmt.Sprintf(verb, []any{c, struct{ C Config }{*c}})
	}
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		slog.New(handler(&b)).Info("config", "pointer", c, "value", *c)
		shown[name] = b.String()
		log := slog.New(handler(&b)).With("with", c).WithGroup("group")
		log.Info("config", slog.Group("inner", "pointer", c, "value", *c), "resolved", slog.AnyValue(c).Resolve())
		shown[name+" under a group"] = b.String()
	}
	lines := &logLines{}
	logs := newLogs(nil)
	logs.SetLogger(lines, LogLevelDebug)
	logs.logger.With("with", c).Info("config", "pointer", c, "value", *c)
	shown["lines with values"] = strings.Join(lines.take(), "")
	for how, text := range shown {
		if hex := fmt.Sprintf("%x", secret); strings.Contains(text, secret) || strings.Contains(strings.ToLower(text), hex) {
			t.Errorf("%s shows the secret: %s", how, text)
		}
		if strings.ContainsAny(how, "vd") && !strings.Contains(text, "4711") && !strings.Contains(text, "0x1267") {
			t.Errorf("%s does not show max_in_flight: %s", how, text)
		}
	}
	if got := shown["json"]; !strings.Contains(got, `"auth_secret":"[redacted]"`) || !strings.Contains(got, `"local_addr":"127.0.0.1:5"`) {
		t.Errorf("json: %s", got)
	}
	if c.AuthSecret != secret || strings.Contains(fmt.Sprint(NewConfig()), redacted) {
		t.Error("printing changed the Config, or an empty secret shows as one")
	}

	c.LocalAddr = nil
	text, err := json.Marshal(c) //nolint:staticcheck // TlsConfig, which JSON cannot write, is nil
	if err != nil {
		t.Fatal(err)
	}
	again := NewConfig()
	if err := json.Unmarshal(text, again); err != nil || again.AuthSecret != secret || again.MaxInFlight != 4711 {
		t.Errorf("after a round trip: error %v, %q, %d", err, again.AuthSecret, again.MaxInFlight)
	}
}

// N24: a flag with = in place of the comma is refused without its value.
func TestConfigFlagShowsNoSecret(t *testing.T) {
	err := (&ConfigFlag{NewConfig()}).Set("auth_secret=s3cret")
	if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "auth_secret,") {
		t.Errorf("error %v", err)
	}
}

// N24: an nsqd that is sent the secret in clear is worth one warning, and only such an
// nsqd.
func TestSecretInClear(t *testing.T) {
	auth := func(o *nsqtest.Options) { o.AuthSecret = "s3cret" }
	warnings := func(log *logLines) []string { return matching(log.take(), "in clear") }
	inScene(t, func(s *scene) {
		s.cfg.AuthSecret = "s3cret"
		a, b, c := s.nsqd("a:1", auth), s.nsqd("b:1", auth), s.nsqd("c:1")
		s.consumer(1, noError)
		log := s.logged(LogLevelWarning)
		s.connect(a, b, c)
		for range 3 {
			a.Disconnect(a.Clients()[0].Conn)
			after(time.Hour)
		}
		if got := warnings(log); len(got) != 2 || !strings.Contains(got[0], "(a:1)") || !strings.Contains(got[1], "(b:1)") {
			s.Errorf("warned %q, want one warning each of a and b", got)
		}
	})
	inScene(t, func(s *scene) { // nsqd does not like the secret, but it has it
		s.cfg.AuthSecret = "wrong"
		s.nsqd("a:1", auth)
		s.consumer(1, noError)
		log := s.logged(LogLevelWarning)
		_ = s.c.ConnectToNSQD("a:1")
		if got := warnings(log); len(got) != 1 {
			s.Errorf("warned %q, want one warning", got)
		}
	})
	inScene(t, func(s *scene) { // there is no secret to be sent
		s.nsqd("a:1", auth)
		s.consumer(1, noError)
		log := s.logged(LogLevelWarning)
		if err := s.c.ConnectToNSQD("a:1"); !errors.Is(err, link.ErrAuthRequired) {
			s.Errorf("error %v", err)
		}
		if got := warnings(log); len(got) != 0 {
			s.Errorf("warned %q without a secret", got)
		}
	})
	inScene(t, func(s *scene) {
		ca := nsqtest.NewCA(s)
		mustSet(s.cfg, "tls_config", &tls.Config{RootCAs: ca.Roots()})
		s.cfg.AuthSecret = "s3cret"
		d := s.nsqd("a:1", auth, func(o *nsqtest.Options) {
			o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{ca.Issue("a")}}
		})
		s.consumer(1, noError)
		log := s.logged(LogLevelWarning)
		s.connect(d)
		if got := warnings(log); len(got) != 0 {
			s.Errorf("warned %q with TLS", got)
		}
	})
	inScene(t, func(s *scene) {
		s.cfg.AuthSecret = "s3cret"
		d := s.nsqd("a:1", auth)
		p, err := NewProducer("a:1", s.cfg)
		if err != nil {
			s.Fatal(err)
		}
		defer p.Stop()
		log := &logLines{}
		p.SetLogger(log, LogLevelWarning)
		for range 3 {
			if err := p.Ping(); err != nil {
				s.Fatal(err)
			}
			d.Kill()
			d.Restart()
			redialAllowed()
		}
		if got := warnings(log); len(got) != 1 {
			s.Errorf("a Producer warned %q, want one warning", got)
		}
	})
}
