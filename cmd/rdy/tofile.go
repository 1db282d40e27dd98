package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	// toFileStopTimeout bounds a stop. Disks that are busy take seconds to sync.
	toFileStopTimeout = 30 * time.Second

	toFileInFlight    = 200
	maxRotateInterval = 365 * 24 * time.Hour

	// maxSyncInterval leaves room in nsqd's max-msg-timeout, 15 minutes by default, after
	// which no TOUCH keeps a message.
	maxSyncInterval = 5 * time.Minute
)

// toFile appends the messages of topics to files.
type toFile struct {
	*app
	sourceAddresses
	topics         []string
	pattern        *regexp.Regexp // nil without
	channel        string
	outputDir      string
	workDir        string // the same as outputDir unless set
	filename       filenameFlag
	delimiter      []byte
	compression    string
	level          int // of the compression; 0 means its default
	rotateSize     int64
	rotateInterval time.Duration
	emptyFiles     bool
	appends        bool
	syncInterval   time.Duration
	maxInFlight    int // 0 means the default
	exitOnError    bool
	client         clientFlags

	// Tests replace these. create creates a file that must not exist yet.
	create        func(name string) (file, error)
	lookupdClient *http.Client // nil means the default
}

const toFileHelp = `Append the messages of topics to files: the body of each message as it is, and a delimiter.
It runs until Ctrl-C or SIGTERM.

rdy finishes a message only when its line is on disk. It gathers lines, writes them
together, syncs the file, and then finishes their messages. It does so when no more messages
can come until some are finished, and at least every --sync-interval. So a message may be in
the files twice, but none is lost, whenever rdy or the machine stops. With --compress each
write is a gzip or zstd frame of its own. A file that a crash has cut off can be read at
least up to the last finished message, and ends with at most one partial line or frame.

If a file cannot be written, for example because the disk is full, rdy says so once and cuts
off what it has written in part. It tries again, first after a quarter of a second, in the
end every 15 seconds. Meanwhile it takes no new messages. It touches those that it has, so
that nsqd delivers none again and they use up no attempts. nsqd allows that for its
max-msg-timeout, 15 minutes by default. With --exit-on-error rdy requeues them and exits.

--filename gives the names of files, for the time when a message came. In it
  <TOPIC>     is the topic
  <HOST>      is the name of this machine up to its first dot
  <HOSTNAME>  is the whole name of this machine
  <PID>       is the process ID
  <REV>       is -000000 or, if there is such a file, the first free number after it
and escapes such as %Y are those of strftime, in local time; %% stands for %. Slashes make
subdirectories. --compress appends .gz or .zst unless the name has it. rdy never overwrites
a file. It appends to a file that exists only with --append.

With --append lines go to the end of a file that exists, also after a restart and SIGHUP. If
a crash has cut off its last line, rdy first appends the delimiter. It locks the file:
another rdy that would append to the file uses the next <REV>, or waits if the name has
none.

A file is complete when the time in its name or --rotate-interval is over, when it reaches
--rotate-size, on SIGHUP, and at the end. With --work-dir files appear in the output
directory only when they are complete. rdy renames them, and never replaces a file. To
another device it copies a file as .NAME.NUMBER.part, syncs it, and renames it. What a
killed rdy leaves in the work directory, or under such a name, stays there.

SIGHUP, also from a closed terminal, completes all files. The next messages go to new ones.

Name the topics, or give --topic-pattern, which may match anywhere in a name. With a pattern
rdy asks the nsqlookupds for topics at once, and then every minute or --set
lookupd_poll_interval.

` + clientHelp

const toFileExamples = `  rdy to-file orders --nsqd 127.0.0.1:4150 --channel archive --output-dir /var/log/nsq
  rdy to-file --topic-pattern '^audit\.' --lookupd nsqlookupd:4161 --channel archive \
      --output-dir /srv/audit --work-dir /srv/audit.work --compress zstd \
      --filename '<TOPIC>/%Y/%m/%d/<HOST><REV>.log' --rotate-size 1000000000`

func newToFile(a *app) *cobra.Command {
	t := &toFile{
		app: a, filename: defaultFilename, delimiter: []byte("\n"), compression: compressNone,
		syncInterval: 30 * time.Second, create: createFile,
	}
	cmd := &cobra.Command{
		Use:     "to-file TOPIC... (--nsqd host:port | --lookupd host:port) --channel name --output-dir dir",
		Short:   "Append the messages of topics to files",
		Long:    toFileHelp,
		Example: toFileExamples,
		RunE: func(cmd *cobra.Command, args []string) error {
			t.topics = args
			if err := t.validate(cmd); err != nil {
				return err
			}
			log, _ := t.logger()
			cfg, err := t.consumerConfig(log)
			if err != nil {
				return usage(cmd, "%w", err)
			}
			if t.json && closedAtStart(t.stdout) {
				return errClosedAtStart
			}
			return t.run(cmd.Context(), cfg)
		},
	}
	t.addFlags(cmd.Flags())
	return cmd
}

func (t *toFile) addFlags(f *pflag.FlagSet) {
	f.SortFlags = false
	t.addAddresses(f)
	f.Var(patternFlag{&t.pattern}, "topic-pattern", "also take all topics whose names match; needs --lookupd")
	f.Var((*channelFlag)(&t.channel), "channel", "channel to read from")
	f.StringVar(&t.outputDir, "output-dir", "", "`directory` for the files; created if it does not exist")
	f.StringVar(&t.workDir, "work-dir", "", "`directory` for files until they are complete (default the output directory)")
	f.Var(&t.filename, "filename", "name of the files")
	f.Var((*delimiterFlag)(&t.delimiter), "delimiter", `what ends a line; escapes such as \0, \t, \r\n and \x1e are understood`)
	f.Var(oneOfFlag(&t.compression, compressNone, compressGzip, compressZstd), "compress", "compression of the files")
	f.Var(intFlag(&t.level, 0, maxZstdLevel), "compress-level", "1 to 9 for gzip, 1 to 22 for zstd; 0 means the default (gzip 6, zstd 3)")
	f.Var(int64Flag(&t.rotateSize, 0, math.MaxInt64), "rotate-size", "largest size of a file in bytes, unless a single message is larger; 0 means no limit")
	f.Var(durationFlag(&t.rotateInterval, 0, maxRotateInterval), "rotate-interval", "begin a new file when one is this old; 0 means never")
	f.BoolVar(&t.appends, "append", false, "append to a file that exists; --filename needs no <REV> then")
	f.BoolVar(&t.emptyFiles, "empty-files", false, "also create files for times without messages")
	f.Var(durationFlag(&t.syncInterval, time.Millisecond, maxSyncInterval), "sync-interval", "longest time until a message is synced to disk and finished")
	f.Var(intFlag(&t.maxInFlight, 1, maxMaxInFlight), "max-in-flight", "maximum messages of each topic in flight, and so synced together (default 200)")
	f.BoolVar(&t.exitOnError, "exit-on-error", false, "exit with code 1 when a file cannot be written or moved, instead of trying again")
	t.client.add(f)
}

// validate checks the flags, and creates the directories, before anything is dialled.
func (t *toFile) validate(cmd *cobra.Command) error {
	slices.Sort(t.topics)
	t.topics = slices.Compact(t.topics)
	for _, topic := range t.topics {
		if !nsq.IsValidTopicName(topic) {
			return usage(cmd, "invalid topic %q: want %s", topic, nameRule)
		}
	}
	if err := t.filename.check(t); err != nil {
		return usage(cmd, "--filename: %w", err)
	}
	switch {
	case len(t.topics) == 0 && t.pattern == nil:
		return usage(cmd, "want a topic or --topic-pattern")
	case t.pattern != nil && len(t.lookupds) == 0:
		return usage(cmd, "--topic-pattern needs --lookupd: only nsqlookupd knows the topics")
	case len(t.nsqds)+len(t.lookupds) == 0:
		return t.checkAddresses(cmd)
	case t.channel == "":
		return usage(cmd, "--channel is missing")
	case t.outputDir == "":
		return usage(cmd, "--output-dir is missing")
	case t.appends && (t.compression != compressNone || t.workDir != "" || t.rotateInterval > 0):
		return usage(cmd, "--append excludes --compress, --work-dir and --rotate-interval")
	case t.level > 0 && t.compression == compressNone:
		return usage(cmd, "--compress-level needs --compress")
	case t.level > maxGzipLevel && t.compression == compressGzip:
		return usage(cmd, "--compress-level %d: gzip has the levels 1 to %d", t.level, maxGzipLevel)
	}
	if t.appends {
		t.create = t.createOrAppend
	}
	t.outputDir, t.workDir = filepath.Clean(t.outputDir), filepath.Clean(cmp.Or(t.workDir, t.outputDir))
	for _, dir := range []string{t.outputDir, t.workDir} {
		if err := probeDir(dir); err != nil {
			return usage(cmd, "%w", err)
		}
	}
	return nil
}

// probeDir creates a directory unless it exists, and checks that files can be created in it.
func probeDir(dir string) error {
	if err := makeDirs(dir); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".rdy-*")
	if err != nil {
		return fmt.Errorf("no file can be created in %s: %w", dir, err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// consumerConfig returns the config of the consumers. Options that --set names override
// the command's own defaults, and other flags override both.
func (t *toFile) consumerConfig(log *slog.Logger) (*nsq.Config, error) {
	cfg := t.config(log)
	cfg.StopTimeout = toFileStopTimeout
	cfg.MaxInFlight = toFileInFlight
	if err := t.client.apply(cfg); err != nil {
		return nil, err
	}
	cfg.MaxInFlight = cmp.Or(t.maxInFlight, cfg.MaxInFlight)
	cfg.AutoTouch = 0 // the deadlines that hand reads would lie behind the ends of leases
	return cfg, cfg.Validate()
}
