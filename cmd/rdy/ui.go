package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/letters"
	"github.com/rdyhq/nsq/cmd/rdy/internal/ui"
	"github.com/spf13/cobra"
)

const (
	defaultUIAddr = "127.0.0.1:4180"
	uiHeaders     = 10 * time.Second // a browser sends its request within this time
	uiShutdown    = 2 * time.Second
	uiIdle        = 2 * time.Minute // for which a connection without requests is kept
	uiMaxHeaders  = 32 << 10
)

// uiCommand serves the page.
type uiCommand struct {
	*app
	cluster      clusterFlags
	listen       string
	name         string
	interval     time.Duration
	hosts        []string
	authFile     string
	trustHeader  string
	allowActions bool
	noBodies     bool
	client       clientFlags

	historyFile     string
	prometheusURL   string
	prometheusMatch string
	prometheus      *ui.Prometheus // nil without --prometheus
}

func newUI(a *app) *cobra.Command {
	u := &uiCommand{app: a, interval: defaultInterval, listen: defaultUIAddr}
	cmd := &cobra.Command{
		Use:   "ui (--lookupd address | --nsqd-http address)",
		Short: "Serve a page that shows a cluster live",
		Long: `Serve a page that shows what a cluster does: which channels need you, depths, rates,
the time to drain, clients and daemons, live and for the last day. The command prints the
address of the page. Open it in a browser.

rdy polls the cluster once for all viewers. If a poll takes long, rdy waits longer before
the next: polls take at most a twentieth of the time. History is kept in memory, 45 KB for
each channel and topic: an hour of polls and a day of minutes. Beyond 10,000 channels and
topics, those that have not been seen for longest are forgotten. With --history the day, the
problems and the actions are also kept in a file, and survive a restart. The file stays
below 40 MB for 1,000 channels. Each "rdy ui" needs a file of its own.

--prometheus names a Prometheus that scrapes "rdy exporter". Charts of a day and a week
then show its figures, and say so. If it has figures of several clusters,
--prometheus-match tells them apart by labels.

Without --allow-actions viewers can change nothing. With it they can pause, empty and
delete topics and channels, tombstone a topic on an nsqd, and replay and drop dead letters.
Each action is a line on standard error. Before anything is lost, the viewer types a name.

Without --auth-file the page has no login: serve it to others only behind a proxy that
has one. --auth-file names a file with lines of a name, a colon and a bcrypt hash, as
"htpasswd -B" writes them. The browser sends passwords unencrypted, so put a proxy with
TLS in front.

Viewers can read messages: dead letters, and copies of the new messages of a topic, through
an ephemeral channel. --no-bodies removes such copies and the bodies of dead letters. Each
look at messages is a line on standard error. To list dead letters, rdy reads them and puts
them back, which costs each an attempt. That may create the channel ` + letters.DefaultChannel + `, but only
with --allow-actions: see "rdy dead". rdy finds nsqds as "rdy dead" does, and connects
with --set and the secret for AUTH.

Requests must name this server by an IP address, "localhost", the name of this machine, or
a --host. Otherwise another web site could point a name of its own at this server, and
read the page. If a proxy passes on the name that viewers use, give that name as --host.

` + clusterHelp + "\n\n" + clientHelp + `

Exit codes: 0 after Ctrl-C, 1 if rdy cannot listen on the address or read a file.`,
		Example: `  rdy ui --lookupd 127.0.0.1:4161
  rdy ui --nsqd-http 127.0.0.1:4151 --listen 127.0.0.1:8080 --allow-actions
  rdy ui --lookupd 127.0.0.1:4161 --history history.db --prometheus http://127.0.0.1:9090`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := u.clientConfig()
			if err != nil {
				return usage(cmd, "%w", err)
			}
			if err := u.checkPrometheus(cmd); err != nil {
				return err
			}
			t, err := u.cluster.target(cmd)
			if err != nil {
				return err
			}
			defer t.close()
			return u.run(cmd.Context(), t, cfg)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	u.cluster.add(f)
	f.StringVar(&u.listen, "listen", u.listen, "`address` to serve the page at")
	f.StringVar(&u.name, "name", "", "what the page calls the cluster; by default the first address")
	f.Var(durationFlag(&u.interval, minInterval, maxInterval), "interval", "shortest time between two polls")
	f.StringSliceVar(&u.hosts, "host", nil, "`name` by which viewers reach the page (repeatable)")
	f.StringVar(&u.authFile, "auth-file", "", "`file` with the names of viewers and the bcrypt hashes of their passwords")
	f.StringVar(&u.trustHeader, "trust-header", "", "`name` of the header in which a proxy on this machine says who the viewer is")
	f.BoolVar(&u.allowActions, "allow-actions", false, "let viewers change the cluster, and replay and drop dead letters")
	f.BoolVar(&u.noBodies, "no-bodies", false, "show viewers no bodies of messages")
	f.StringVar(&u.historyFile, "history", "", "`file` that keeps the last day across restarts, created if it does not exist")
	f.StringVar(&u.prometheusURL, "prometheus", "", "`URL` of a Prometheus that scrapes \"rdy exporter\", for charts of a day and a week")
	f.StringVar(&u.prometheusMatch, "prometheus-match", "", "label `matchers` of this cluster's metrics in Prometheus, such as cluster=\"prod\"")
	u.client.add(f)
	return cmd
}

// checkPrometheus makes the Prometheus that the flags name, if they do.
func (u *uiCommand) checkPrometheus(cmd *cobra.Command) (err error) {
	switch {
	case u.prometheusURL != "":
		if u.prometheus, err = ui.NewPrometheus(u.prometheusURL, u.prometheusMatch); err != nil {
			return usage(cmd, "--prometheus: %v", err)
		}
	case u.prometheusMatch != "":
		return usage(cmd, "--prometheus-match needs --prometheus")
	}
	return nil
}

// run serves the page until ctx ends. cfg is for connections to nsqds; nil stands for the default one.
func (u *uiCommand) run(ctx context.Context, t *target, cfg *nsq.Config) (err error) {
	if u.prometheus != nil {
		defer u.prometheus.Close()
	}
	users, err := u.users()
	if err != nil {
		return err
	}
	var history *ui.HistoryFile
	if u.historyFile != "" {
		if history, err = ui.OpenHistory(u.historyFile); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, history.Close()) }()
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", u.listen)
	if err != nil {
		return err
	}
	server := ui.New(ui.Options{
		Cluster: t.Cluster, Name: u.clusterName(), Flags: u.flags(), Interval: u.interval, AllowActions: u.allowActions, Audit: u.audit,
		Hosts: u.names(), Users: users, TrustHeader: u.trustHeader,
		Client: cfg, NoBodies: u.noBodies,
		History: history, Prometheus: u.prometheus, Trouble: func(err error) { u.notice("rdy: %v", err) },
	})
	polling, stop := context.WithCancel(ctx)
	polled := make(chan struct{})
	go func() {
		defer close(polled)
		server.Run(polling)
	}()
	h := &http.Server{Handler: server.Handler(), ReadHeaderTimeout: uiHeaders, IdleTimeout: uiIdle, MaxHeaderBytes: uiMaxHeaders, BaseContext: func(net.Listener) context.Context { return polling }}
	served := make(chan error, 1)
	go func() { served <- h.Serve(l) }()
	u.notice("rdy: the page is at http://%s/", l.Addr())
	select {
	case err = <-served:
	case <-ctx.Done():
	}
	stop() // ends the streams, too
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), uiShutdown)
	defer cancel()
	if h.Shutdown(grace) != nil {
		_ = h.Close() // a browser holds a connection
	}
	<-polled
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// clientConfig returns the Config with which messages are read and published. Viewers see what
// fails.
func (u *uiCommand) clientConfig() (*nsq.Config, error) {
	log, level := u.logger()
	u.mute(level)
	cfg := u.config(log)
	if err := u.client.apply(cfg); err != nil {
		return nil, err
	}
	return cfg, cfg.Validate()
}

func (u *uiCommand) clusterName() string {
	addrs := append(append([]string{}, u.cluster.lookupds...), u.cluster.nsqds...)
	if u.name != "" {
		return u.name
	}
	return addrs[0]
}

// users reads the file with those that may see the page. It returns nil if there is none.
func (u *uiCommand) users() (*ui.Users, error) {
	if u.authFile == "" {
		return nil, nil
	}
	f, err := os.Open(u.authFile)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	users, err := ui.ReadUsers(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.authFile, err)
	}
	return users, nil
}

// names returns the names by which viewers reach the page: those of --host, and the one that
// --listen has if it has one.
func (u *uiCommand) names() []string {
	names := u.hosts
	if host, _, err := net.SplitHostPort(u.listen); err == nil && host != "" {
		names = append(names, host)
	}
	return names
}

// flags returns the flags that name the cluster.
func (u *uiCommand) flags() (flags []string) {
	for _, addr := range u.cluster.lookupds {
		flags = append(flags, "--lookupd", addr)
	}
	for _, addr := range u.cluster.nsqds {
		flags = append(flags, "--nsqd-http", addr)
	}
	return flags
}

// audit tells what a viewer has done.
func (u *uiCommand) audit(a ui.Action) {
	result := "done"
	if a.Error != "" {
		result = "failed: " + a.Error
	}
	u.notice("rdy: %s %s %s from %s: %s", a.At.UTC().Format(time.RFC3339), a.Action, a.Subject(), a.From(), strings.ReplaceAll(result, "\n", "; "))
}
