// Package diskqueue reads the disk queues of nsqd. It writes nothing and takes no lock, so it
// also reads those of an nsqd that runs.
//
// In its data directory nsqd keeps two kinds of files for each topic and channel. Data files
// are numbered and hold messages, each after its length. The meta file says where the first
// message begins, where the last one ends, and how many there are. nsqd replaces it every 2
// seconds, after every 2,500 messages and at its exit. Between two of these it lags behind the
// data files: at its start there may be messages that clients have since got, and at its end
// messages are missing. A [Reader] reads on to the end of the last file, as nsqd itself does
// after a crash.
//
// What nsqd holds in memory is not in these files. At its exit nsqd writes all of it there,
// messages in flight and deferred ones included. Ephemeral topics and channels have no files.
package diskqueue

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/rdyhq/nsq"
)

// ErrNotFound means that a topic or channel has no disk queue in the directory.
var ErrNotFound = errors.New("no disk queue")

// Queue is the disk queue of a topic, or of a channel.
type Queue struct {
	Topic   string
	Channel string // empty for the queue of the topic itself
	// Depth is how many messages the queue has, by its meta file. It is -1 if there is none.
	Depth int64
	// Bytes is how large the queue is: the size of its data files after its first message.
	Bytes int64
	// BadFiles is how many of its files nsqd has put aside because it could not read them.
	BadFiles int
	// Err is what is wrong with the meta file.
	Err error

	name  string          // of its files
	sizes map[int64]int64 // of the data files, by number
	meta  *meta           // nil without a meta file
}

// List returns the disk queues of a data directory, by topic and channel. A queue whose meta
// file is damaged has an Err. Files that are not of disk queues are passed over.
func List(dir fs.FS) ([]Queue, error) {
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		return nil, err
	}
	byName := make(map[string]*Queue)
	for _, entry := range entries {
		if entry.Type().IsRegular() {
			add(byName, entry)
		}
	}
	var queues []Queue
	for _, q := range byName {
		if q.meta, q.Err = readMeta(dir, q.name); errors.Is(q.Err, fs.ErrNotExist) {
			q.Err = nil
		}
		q.measure()
		queues = append(queues, *q)
	}
	slices.SortFunc(queues, func(a, b Queue) int {
		if a.Topic != b.Topic {
			return strings.Compare(a.Topic, b.Topic)
		}
		return strings.Compare(a.Channel, b.Channel)
	})
	return queues, nil
}

// add adds a file to the queue that it belongs to, if it is one of a queue.
func add(queues map[string]*Queue, entry fs.DirEntry) {
	f, ok := parseName(entry.Name())
	if !ok {
		return
	}
	q := queues[f.queue]
	if q == nil {
		topic, channel, _ := cutName(f.queue)
		q = &Queue{Topic: topic, Channel: channel, Depth: -1, name: f.queue, sizes: make(map[int64]int64)}
		queues[f.queue] = q
	}
	switch f.kind {
	case badFile:
		q.BadFiles++
	case dataFile:
		if info, err := entry.Info(); err == nil { // else nsqd has just deleted it
			q.sizes[f.number] = info.Size()
		}
	}
}

// measure sets the depth and the size.
func (q *Queue) measure() {
	first, pos := int64(0), int64(0)
	if q.meta != nil {
		q.Depth, first, pos = q.meta.depth, q.meta.readFile, q.meta.readPos
	}
	for number, size := range q.sizes {
		switch {
		case number == first:
			q.Bytes += max(0, size-pos)
		case number > first:
			q.Bytes += size
		}
	}
}

// The kinds of files of a queue.
const (
	metaFile = iota
	dataFile
	badFile // a data file that nsqd could not read and has renamed
)

// file is what the name of a file says.
type file struct {
	queue  string // as nsqd names it
	kind   int
	number int64 // of a data file
}

const infix = ".diskqueue."

// parseName parses the name of a file. The temporary files of nsqd belong to no queue.
func parseName(name string) (f file, ok bool) {
	at := strings.LastIndex(name, infix) // topics may have it in their names
	if at < 0 {
		return file{}, false
	}
	f.queue = name[:at]
	if _, _, ok := cutName(f.queue); !ok {
		return file{}, false
	}
	rest := name[at+len(infix):]
	if rest == "meta.dat" {
		return f, true
	}
	digits, suffix, _ := strings.Cut(rest, ".")
	switch suffix {
	case "dat":
		f.kind = dataFile
	case "dat.bad":
		f.kind = badFile
	default:
		return file{}, false
	}
	n, err := fmt.Sscanf(digits, "%d", &f.number)
	return f, n == 1 && err == nil && f.number >= 0 && fmt.Sprintf("%06d", f.number) == digits
}

// separators are what nsqd puts between topic and channel in the names of files: the second
// one on Windows. Neither is valid in a name.
const separators = ":;"

// cutName splits the name of a queue. ok is false if nsqd does not use such a name.
func cutName(queue string) (topic, channel string, ok bool) {
	at := strings.IndexAny(queue, separators)
	if at < 0 {
		return queue, "", nsq.IsValidTopicName(queue)
	}
	topic, channel = queue[:at], queue[at+1:]
	return topic, channel, nsq.IsValidTopicName(topic) && nsq.IsValidChannelName(channel)
}

func metaName(queue string) string { return queue + infix + "meta.dat" }

func dataName(queue string, number int64) string {
	return fmt.Sprintf("%s%s%06d.dat", queue, infix, number)
}

// meta is what a meta file says.
type meta struct {
	depth               int64
	readFile, readPos   int64 // where the first message begins
	writeFile, writePos int64 // where the last message ends
}

// maxMeta is larger than any meta file.
const maxMeta = 256

// readMeta reads the meta file of a queue. nsqd replaces it as a whole.
func readMeta(dir fs.FS, queue string) (*meta, error) {
	name := metaName(queue)
	f, err := open(dir, name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxMeta))
	if err != nil {
		return nil, err
	}
	m := new(meta)
	_, err = fmt.Sscanf(string(text), "%d\n%d,%d\n%d,%d\n", &m.depth, &m.readFile, &m.readPos, &m.writeFile, &m.writePos)
	if err != nil {
		return nil, fmt.Errorf("%s: want a depth and two positions: %w", name, err)
	}
	if m.depth < 0 || m.readFile < 0 || m.readPos < 0 || m.writePos < 0 ||
		m.readFile > m.writeFile || m.readFile == m.writeFile && m.readPos > m.writePos {
		return nil, fmt.Errorf("%s: depth %d from file %d at %d to file %d at %d cannot be", name,
			m.depth, m.readFile, m.readPos, m.writeFile, m.writePos)
	}
	return m, nil
}

// open opens a regular file. Opening anything else, a pipe for instance, might block.
func open(dir fs.FS, name string) (fs.File, error) {
	info, err := fs.Stat(dir, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	return dir.Open(name)
}
