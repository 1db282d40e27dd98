package ui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
	"github.com/rdyhq/nsq/cmd/rdy/internal/letters"
	"golang.org/x/time/rate"
)

const (
	flushEvery  = 250 * time.Millisecond // new messages go to the viewer
	wordsEvery  = time.Second
	wordsOver   = 5 // seconds whose rates are told
	noBodies    = "This page shows no messages: rdy ui was started with --no-bodies."
	findTimeout = 10 * time.Second
)

// tail serves the page with the new messages of a topic.
func (s *Server) tail(w http.ResponseWriter, r *http.Request) { s.readPage(w, r, &tailing) }

// peek serves the page with the next few messages of a topic, from the page of a channel or of
// the topic.
func (s *Server) peek(w http.ResponseWriter, r *http.Request) { s.readPage(w, r, &peeking) }

// readData is what the template of both gets.
type readData struct {
	Word, Topic, Channel   string
	TopicLink, ChannelLink string
	Start                  string // where the reading is asked for
	Count                  int
	Rate, Kept             int
	Peek                   bool
}

func (s *Server) readPage(w http.ResponseWriter, r *http.Request, k *kind) {
	name := judge.Name{Topic: nameIn(r, "topic"), Channel: nameIn(r, "channel")}
	switch {
	case s.NoBodies:
		s.notFound(w, r, noBodies)
		return
	case !nsq.IsValidTopicName(name.Topic), name.Channel != "" && !nsq.IsValidChannelName(name.Channel):
		s.notFound(w, r, "No topic or channel can have this name.")
		return
	}
	st := s.poller.first(r.Context())
	d := readData{
		Word: k.word, Topic: name.Topic, Channel: name.Channel, TopicLink: subjectPath(judge.Name{Topic: name.Topic}), ChannelLink: subjectPath(name),
		Start: readLink(k, judge.Name{Topic: name.Topic}), Count: k.count, Rate: tailRate, Kept: keptLines, Peek: k == &peeking,
	}
	s.page(w, r, st, &listPage{func(*state) []cell { return nil }}, "read", k.word+" "+name.Topic, d)
}

// readLink returns the page on which a channel's or topic's new messages are read.
func readLink(k *kind, n judge.Name) string {
	return strings.Replace(subjectPath(n), "/topics/", "/"+strings.ToLower(k.word)+"/", 1)
}

// readLinks returns the links to both.
func (s *Server) readLinks(n judge.Name) (links []choice) {
	if s.NoBodies {
		return nil
	}
	return []choice{{Name: tailing.word, Link: readLink(&tailing, judge.Name{Topic: n.Topic})}, {Name: peeking.word, Link: readLink(&peeking, n)}}
}

// startTail and startPeek begin a reading. It connects when its stream is asked for.
func (s *Server) startTail(w http.ResponseWriter, r *http.Request) { s.startReading(w, r, tailing) }
func (s *Server) startPeek(w http.ResponseWriter, r *http.Request) { s.startReading(w, r, peeking) }

// readingData is what the template of a reading gets.
type readingData struct {
	ID, Topic string
	Filter    string
	Forms     []choice
	Without   string
	Kept      int
	Peek      bool
	// Refused says why there is no reading.
	Refused, Advice, Command string
}

func (s *Server) startReading(w http.ResponseWriter, r *http.Request, k kind) {
	topic := nameIn(r, "topic")
	switch {
	case s.NoBodies:
		s.refuse(w, http.StatusForbidden, noBodies)
		return
	case !nsq.IsValidTopicName(topic):
		s.refuse(w, http.StatusForbidden, "No topic can have this name.")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), findTimeout)
	defer cancel()
	v, _ := s.Cluster.PollClients(ctx, topic, "") // the View says which nsqds have not responded
	reading := &reading{kind: k, topic: topic, made: time.Now(), form: formOf(r.FormValue("as"), k.forms), filter: filterOf(r.FormValue("q")), over: make(chan struct{})}
	reading.addrs, reading.without = sources(v, topic, s.Cluster.NSQDs)
	if len(reading.addrs) == 0 {
		s.render(w, http.StatusOK, "reading", s.unread(v, topic, reading.without))
		return
	}
	reading.percent = 100
	if k.count == 0 {
		reading.limit = rate.NewLimiter(tailRate, tailRate)
		if st, _ := s.poller.current(); st.topics[topic] != nil {
			reading.percent = sampleRate(st.topics[topic].Published)
		}
	}
	if !s.readings.add(reading) {
		s.refuse(w, http.StatusTooManyRequests, fmt.Sprintf("%d viewers are reading messages, which is the most at a time. Stop one, or try again later.", maxReadings))
		return
	}
	s.note(r, Action{Action: strings.ToLower(k.word), Topic: topic}, nil)
	s.render(w, http.StatusOK, "reading", readingData{
		ID: reading.id, Topic: topic, Filter: reading.filter, Forms: formChoices(k.forms, reading.form), Without: leftOut(reading.without), Kept: keptLines, Peek: k.count > 0,
	})
}

func formChoices(forms []form, now form) (choices []choice) {
	words := map[form]string{asLine: "Line", asText: "Text", asJSON: "JSON", asHex: "Hex"}
	for _, f := range forms {
		choices = append(choices, choice{Name: words[f], Link: string(f), On: f == now})
	}
	return choices
}

func leftOut(without []string) string {
	if len(without) == 0 {
		return ""
	}
	return "Not read: " + figures.List(without) + "."
}

// sources returns the addresses of the nsqds from which new messages of a topic can be read,
// and why others cannot. NSQ gives all that waits in a topic to its first channel. That must not
// be the channel of a viewer, with which it would go. So the nsqds are left out where the topic
// has no channel.
func sources(v *admin.View, topic string, named []string) (addrs, without []string) {
	t := v.Topic(topic)
	for _, n := range v.NSQDs {
		on := func(addr string) bool { return addr == n.Addr }
		switch {
		case n.Error != "":
			without = append(without, n.Addr+" does not respond")
		case t == nil, !slices.ContainsFunc(t.NSQDs, func(o admin.TopicOn) bool { return on(o.NSQD) }):
		case !slices.ContainsFunc(t.Channels, func(c admin.Channel) bool {
			return slices.ContainsFunc(c.NSQDs, func(o admin.ChannelOn) bool { return on(o.NSQD) })
		}):
			without = append(without, n.Addr+", where the topic has no channel yet")
		default:
			if addr := letters.ClientAddr(n, named); addr != "" {
				addrs = append(addrs, addr)
			} else {
				without = append(without, n.Addr+", which listens on a Unix socket only")
			}
		}
	}
	return addrs, without
}

// unread says why a topic cannot be read.
func (s *Server) unread(v *admin.View, topic string, without []string) readingData {
	d := readingData{Topic: topic, Refused: "No nsqd that responds has the topic " + topic + "."}
	t := v.Topic(topic)
	switch {
	case t == nil:
	case len(t.Channels) == 0:
		d.Refused = "The topic " + topic + " has no channel."
		d.Advice = "NSQ gives all messages of a topic to its first channel"
		if t.Depth > 0 {
			d.Advice += ", including the " + messages(t.Depth, false) + " that " + figures.Verb(int(min(t.Depth, 2)), "waits", "wait") + " there now"
		}
		d.Advice += ". That would be the channel of this page, and the messages would be lost when you leave. Create a channel first:"
		d.Command = command(s.Flags, "channel", "create", topic, "NAME")
	default:
		d.Refused, d.Advice = "The topic "+topic+" cannot be read.", leftOut(without)
	}
	return d
}

// lookReading changes how the messages of a reading are shown. They come by its stream, or if that
// has ended with the response.
func (s *Server) lookReading(w http.ResponseWriter, r *http.Request) {
	reading := s.readings.get(r.PathValue("id"))
	if reading == nil {
		s.refuse(w, http.StatusNotFound, "This has ended. Start again.")
		return
	}
	reading.look(formOf(r.FormValue("as"), reading.forms), filterOf(r.FormValue("q")))
	if _, left := reading.stage(); left.IsZero() {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	lines, form, _ := reading.take()
	s.render(w, http.StatusOK, "lines", lineRows(lines, form))
}

// read sends the messages of a reading while the viewer is there. A browser that has lost the
// stream asks again, and is told not to: the channel is gone.
func (s *Server) read(w http.ResponseWriter, r *http.Request) {
	reading := s.readings.get(r.PathValue("id"))
	if reading == nil || !reading.begin() {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	defer reading.leave()
	ctx, cancel := context.WithTimeout(r.Context(), reading.longest)
	defer cancel()
	ctx, done, ok := s.errands.begin(ctx)
	if !ok {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	defer done()
	stream := newStream(w, r)
	defer stream.close()
	if stream.comment() != nil {
		return
	}
	consumer, without, err := reading.connect(ctx, s.Client)
	if err != nil {
		_ = stream.event("end", []byte("No messages can be read: "+seen(oneLine(err))))
		return
	}
	defer stop(consumer)
	if len(without) > 0 && stream.event("without", []byte(seen(leftOut(append(reading.without, without...))))) != nil {
		return
	}
	if why := s.stream(ctx, stream, reading); why != "" {
		_ = stream.event("end", []byte(seen(why)))
	}
}

// stream sends what comes, and returns why it has ended. That is empty if the viewer has gone.
func (s *Server) stream(ctx context.Context, out *stream, r *reading) (why string) {
	flush := time.NewTicker(flushEvery)
	defer flush.Stop()
	past := []counts{{}} // one for each second, the oldest first
	alive, told, none := time.Now(), time.Time{}, true
	for {
		lines, form, again := r.take()
		if len(lines) > 0 || again {
			name := "lines"
			if again {
				name = "all"
			}
			if out.event(name, linesHTML(lines, form)) != nil {
				return ""
			}
			alive = time.Now()
		}
		due, first := time.Since(told) >= wordsEvery, none && len(lines) > 0 // above them must not be that none has come
		if due || first {
			now := r.soFar()
			if out.event("words", []byte(r.words(past[0], now, wordsEvery*time.Duration(len(past))))) != nil {
				return ""
			}
			alive = time.Now()
			if due {
				told = alive
				if past = append(past, now); len(past) > wordsOver {
					past = past[1:]
				}
			}
		}
		none = none && len(lines) == 0
		if time.Since(alive) > keepAlive && out.comment() != nil {
			return ""
		}
		select {
		case <-flush.C:
		case <-r.over:
			return s.last(out, r)
		case <-ctx.Done():
			return r.ending(ctx)
		}
	}
}

// last sends the messages that have come just before the end.
func (s *Server) last(out *stream, r *reading) (why string) {
	if lines, form, again := r.take(); len(lines) > 0 && !again {
		if out.event("lines", linesHTML(lines, form)) != nil {
			return ""
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return "A connection was lost: " + oneLine(r.err) + ". Start again to read on."
	}
	return fmt.Sprintf("These were the next %s. The channel that read them is gone.", figures.Things(int(r.counts.shown), "message"))
}

// ending says why a reading has ended with its context.
func (r *reading) ending(ctx context.Context) string {
	switch now := r.soFar(); {
	case !errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "" // the viewer has gone, or the server ends
	case now.shown == 0:
		return "No message has come in " + figures.Duration(r.longest) + "."
	}
	return "This has ended after " + figures.Duration(r.longest) + "."
}

// oneLine returns an error without line breaks.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// lineData is a message for the template.
type lineData struct {
	line
	When, Text, More, Bytes string
	Wide                    bool // the body has line breaks
}

// linesHTML returns the rows of messages.
func linesHTML(lines []line, f form) []byte {
	return []byte(part("", "lines", lineRows(lines, f)).HTML)
}

func lineRows(lines []line, f form) []lineData {
	rows := make([]lineData, 0, len(lines))
	for _, l := range lines {
		d := lineData{line: l, When: l.At.Local().Format("15:04:05.000"), Text: f.show(l.Body), Bytes: figures.Bytes(int64(l.Size)), Wide: f != asLine}
		if more := l.Size - len(l.Body); more > 0 {
			d.More = figures.Bytes(int64(more)) + " more"
		}
		rows = append(rows, d)
	}
	return rows
}
