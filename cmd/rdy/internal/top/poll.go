package top

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

// polled is the result of a poll.
type polled struct {
	report   *judge.Report
	failing  string // why daemons did not respond; empty if all did
	began    time.Time
	canceled bool
}

// next asks for the next poll, unless another was asked for since.
type next struct{ turn int }

// poll returns the command that polls the cluster, judges it, and polls the clients of the
// channel that is open and of the channels that the judge names. There is one at a time.
func (m *Model) poll() tea.Cmd {
	m.polling = true
	open := subject{}
	if m.screen == ofChannel {
		open = m.opened
	}
	return m.work.do(func(ctx context.Context) tea.Msg { return ask(ctx, &m.options, m.judge, open) })
}

// pollNow polls at once, unless a poll is under way.
func (m *Model) pollNow() tea.Cmd {
	if m.polling {
		return nil
	}
	return m.poll()
}

// pollLater waits for the time of the next poll.
func (m *Model) pollLater(began time.Time) tea.Cmd {
	m.polling = false
	m.turn++
	return m.work.after(m.options.Interval-m.now.Sub(began), next{m.turn})
}

// ask polls the cluster once, and at the same time the clients of the channel that is open: they
// are in the report then. A daemon that hangs holds up both at once, not one after the other, and
// then the clients of other channels can wait.
func ask(ctx context.Context, o *Options, j *judge.Judge, open subject) polled {
	p := polled{began: time.Now()}
	var clients *admin.View
	var polls sync.WaitGroup
	if open != (subject{}) {
		polls.Go(func() { clients, _ = o.Cluster.PollClients(ctx, open.topic, open.channel) }) // the other poll has its errors
	}
	view, err := o.Cluster.Poll(ctx)
	polls.Wait()
	if ctx.Err() != nil {
		return polled{canceled: true}
	}
	if clients != nil {
		j.AddClients(clients)
	}
	p.failing, p.report = failure(err), j.Add(view)
	if err != nil {
		return p
	}
	for _, n := range p.report.WorthClients {
		if n == (judge.Name{Topic: open.topic, Channel: open.channel}) {
			continue
		}
		if clients, _ := o.Cluster.PollClients(ctx, n.Topic, n.Channel); ctx.Err() == nil {
			j.AddClients(clients)
		}
	}
	return p
}

// failure returns why daemons did not respond, on one line.
func failure(err error) string {
	if err == nil {
		return ""
	}
	lines := strings.Split(err.Error(), "\n")
	text := clean(lines[0])
	if more := len(lines) - 1; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}
