package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/lestrrat-go/strftime"
)

const (
	defaultFilename = "<TOPIC>.<HOST><REV>.%Y-%m-%d_%H.log"
	revision        = "<REV>"
)

// filenameFlag is a flag that takes the name of files, with placeholders: see toFileHelp.
type filenameFlag string

func (f *filenameFlag) String() string { return string(*f) }
func (f *filenameFlag) Type() string   { return "name" }

var (
	placeholder      = regexp.MustCompile(`<[A-Z_]+>`)
	namePlaceholders = map[string]bool{"<TOPIC>": true, "<HOST>": true, "<HOSTNAME>": true, "<PID>": true, revision: true}
)

func (f *filenameFlag) Set(s string) error {
	for _, p := range placeholder.FindAllString(s, -1) {
		if !namePlaceholders[p] {
			return fmt.Errorf("want <TOPIC>, <HOST>, <HOSTNAME>, <PID> or <REV>, not %s", p)
		}
	}
	_, err := strftime.New(s)
	switch {
	case err != nil:
		return err
	case strings.Count(s, revision) > 1:
		return errOneRevision
	case !filepath.IsLocal(filepath.FromSlash(s)):
		return errors.New("want a name in the output directory, without .. and without a slash at the beginning")
	case strings.HasSuffix(s, "/"):
		return errors.New("want the name of a file, not of a directory")
	}
	*f = filenameFlag(s)
	return nil
}

var errOneRevision = errors.New("want one <REV>, which tells files of the same name apart")

// check returns an error if a to-file needs a <REV> that the name lacks.
func (f *filenameFlag) check(t *toFile) error {
	several := len(t.topics) > 1 || t.pattern != nil
	switch {
	case strings.Contains(string(*f), revision):
		return nil
	case !t.appends:
		return errOneRevision
	case t.rotateSize > 0:
		return errors.New("want one <REV>, which --rotate-size needs")
	case several && !strings.Contains(string(*f), "<TOPIC>"):
		return errors.New("want <TOPIC> or <REV>: several topics do not share a file")
	}
	return nil
}

// namer makes the names of a topic's files.
type namer struct {
	format *strftime.Strftime
	fixed  *strings.Replacer // of the placeholders, except <REV>
	suffix string

	// The last result of name, and the second that it is for.
	second int64
	last   string
}

// newNamer returns a namer for a valid format. Names end with suffix. It fails if the topic
// would lead out of the output directory.
func newNamer(format filenameFlag, topic, suffix string) (*namer, error) {
	compiled, err := strftime.New(string(format))
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	short, _, _ := strings.Cut(host, ".")
	fixed := strings.NewReplacer("<TOPIC>", topic, "<HOST>", short, "<HOSTNAME>", host, "<PID>", strconv.Itoa(os.Getpid()))
	n := &namer{format: compiled, fixed: fixed, suffix: suffix}
	if name := n.name(time.Now()); !filepath.IsLocal(name) { // the topic may be ".."
		return nil, fmt.Errorf("file %s of topic %s would not be in the output directory", name, topic)
	}
	return n, nil
}

// name returns the name for a time, with <REV> still in it.
func (n *namer) name(at time.Time) string {
	if second := at.Unix(); n.last == "" || second != n.second {
		name := n.fixed.Replace(n.format.FormatString(at))
		if !strings.HasSuffix(name, n.suffix) {
			name += n.suffix
		}
		n.second, n.last = second, filepath.FromSlash(name)
	}
	return n.last
}

// withRevision fills in <REV>.
func withRevision(name string, rev int) string {
	return strings.Replace(name, revision, fmt.Sprintf("-%06d", rev), 1)
}
