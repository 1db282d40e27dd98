// Package ui serves the page of "rdy ui": what a cluster does, live, in a browser.
package ui

import (
	"context"
	"net/http"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/admin"
)

// Options are what a Server shows, and what it lets its viewers do.
type Options struct {
	Cluster *admin.Cluster
	// Name is what the page calls the cluster.
	Name string
	// Flags are those that name the cluster in the commands that the page offers.
	Flags []string
	// Interval is the least time between two polls. Polls are rarer where they take long: they
	// keep neither the server nor an nsqd busy for more than a twentieth of the time.
	Interval time.Duration
	// Hosts are names by which viewers reach the page, beside "localhost", the name of this
	// machine and IP addresses. Requests to other names are refused.
	Hosts []string
	// Users are those that may see the page. With nil all may.
	Users *Users
	// TrustHeader is a header in which a proxy on this machine names the viewer, for the Audit.
	// Empty stands for none.
	TrustHeader string
	// AllowActions lets viewers pause, empty and delete topics and channels.
	AllowActions bool
	// Client is the Config of connections to nsqds, for reading messages and dead letters and for
	// replays. Nil stands for the default one.
	Client *nsq.Config
	// NoBodies keeps viewers from reading messages: there is no tail and no peek, and dead letters
	// come without their bodies.
	NoBodies bool
	// Audit is called after each action, and when a viewer begins to read messages. It is called
	// by several goroutines.
	Audit func(Action)
	// History keeps the last day in a file. Nil stands for none: then a restart begins without.
	History *HistoryFile
	// Prometheus has the figures of longer times. Nil stands for none: charts show a day at most.
	Prometheus *Prometheus
	// Trouble is called with an error when the History cannot be written, once until it can be,
	// and when there are more channels and topics than charts are kept for.
	Trouble func(error)
}

// Server serves the page. Its Handler may be used once Run has been called.
type Server struct {
	Options
	poller   *poller
	screens  *screens
	log      *actionLog
	static   http.Handler
	errands  *errands
	readings readings
	dead     deadDesk
}

// New returns a server for o.
func New(o Options) *Server {
	if o.Client == nil {
		o.Client = nsq.NewConfig()
	}
	s := &Server{
		Options:  o,
		poller:   newPoller(o.Cluster, o.Interval),
		screens:  newScreens(),
		log:      new(actionLog),
		static:   staticFiles(),
		errands:  newErrands(),
		readings: readings{byID: make(map[string]*reading)},
	}
	s.poller.trouble = o.Trouble
	if o.History != nil {
		o.History.restore(s)
	}
	return s
}

// Run polls the cluster until ctx ends, and writes the History. It then ends actions and the
// connections to nsqds through which viewers read messages, and waits for them. The History is
// written for the last time after that, and so has how they ended.
func (s *Server) Run(ctx context.Context) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.poller.run(ctx)
		s.errands.wait()
	}()
	if s.History != nil {
		s.History.run(ended, s)
	}
	<-ended
}

// Handler returns the handler of all pages.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /static/", s.static)
	mux.HandleFunc("GET /{$}", s.overview)
	mux.HandleFunc("GET /counter", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusMovedPermanently) })
	mux.HandleFunc("GET /topics/{topic}", s.topic)
	mux.HandleFunc("GET /topics/{topic}/{channel}", s.channel)
	mux.HandleFunc("GET /nodes", s.nodes)
	mux.HandleFunc("GET /nodes/{addr...}", s.node)
	mux.HandleFunc("GET /lookup", s.lookup)
	mux.HandleFunc("GET /log", s.logPage)
	mux.HandleFunc("GET /tail/{topic}", s.tail)
	mux.HandleFunc("POST /tail/{topic}", s.startTail)
	mux.HandleFunc("GET /peek/{topic}", s.peek)
	mux.HandleFunc("GET /peek/{topic}/{channel}", s.peek)
	mux.HandleFunc("POST /peek/{topic}", s.startPeek)
	mux.HandleFunc("GET /read/{id}", s.read)
	mux.HandleFunc("POST /read/{id}", s.lookReading)
	mux.HandleFunc("GET /dead", s.deadPage)
	mux.HandleFunc("GET /dead/{topic}", s.deadPage)
	mux.HandleFunc("GET /dead/{topic}/{id}", s.deadPage)
	mux.HandleFunc("POST /dead/look", s.deadLook)
	mux.HandleFunc("POST /dead/ask/{action}", s.deadAsk)
	mux.HandleFunc("POST /dead/do/{action}", s.deadDo)
	mux.HandleFunc("GET /jump", s.jump)
	mux.HandleFunc("GET /names", s.offers)
	mux.HandleFunc("GET /menu", s.menu)
	mux.HandleFunc("GET /connections", s.connections)
	mux.HandleFunc("GET /pulse", s.pulse)
	mux.HandleFunc("POST /hide", s.hide)
	mux.HandleFunc("GET /series", s.series)
	mux.HandleFunc("GET /live/{screen}", s.live)
	mux.HandleFunc("GET /ask/{action}", s.ask)
	mux.HandleFunc("POST /do/{action}", s.do)
	mux.HandleFunc("POST /theme", setTheme)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.notFound(w, r, "There is no such page.")
	})
	return s.guard(s.identify(mux))
}
