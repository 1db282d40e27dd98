package diskqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq"
)

// record returns a message as nsqd writes it.
func record(id, body string) []byte {
	var r []byte
	r = binary.BigEndian.AppendUint32(r, uint32(headerSize+len(body)))
	r = binary.BigEndian.AppendUint64(r, uint64(time.Date(2026, 11, 30, 1, 2, 3, 4, time.UTC).UnixNano()))
	r = binary.BigEndian.AppendUint16(r, 3)
	r = append(r, fmt.Sprintf("%-16s", id)...)
	return append(r, body...)
}

// records returns messages one after the other. The bodies are also the IDs.
func records(bodies ...string) (all []byte) {
	for _, body := range bodies {
		all = append(all, record(body, body)...)
	}
	return all
}

// dir returns a file system with these files.
func dir(files map[string][]byte) fstest.MapFS {
	fsys := make(fstest.MapFS)
	for name, data := range files {
		fsys[name] = &fstest.MapFile{Data: data}
	}
	return fsys
}

// one is the length of a record with a body of one letter.
var one = int64(len(record("a", "a")))

func metaOf(depth, readFile, readPos, writeFile, writePos int64) []byte {
	return fmt.Appendf(nil, "%d\n%d,%d\n%d,%d\n", depth, readFile, readPos, writeFile, writePos)
}

// readAll reads a queue to its end or its first error.
func readAll(r *Reader) (bodies []string, err error) {
	for {
		m, err := r.Next()
		if errors.Is(err, io.EOF) {
			return bodies, nil
		}
		if err != nil {
			return bodies, err
		}
		bodies = append(bodies, string(m.Body))
	}
}

func open1(t *testing.T, fsys fs.FS) *Reader {
	t.Helper()
	r, err := Open(fsys, "t", "c")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestList(t *testing.T) {
	fsys := dir(map[string][]byte{
		"t.diskqueue.meta.dat":                       metaOf(2, 0, one, 1, one),
		"t.diskqueue.000000.dat":                     records("a", "b"),
		"t.diskqueue.000001.dat":                     records("c"),
		"t.diskqueue.meta.dat.123.tmp":               []byte("x"),
		"t:c.diskqueue.000007.dat":                   records("a"),
		"t:c.diskqueue.000005.dat.bad":               []byte("x"),
		"t:c.diskqueue.000006.dat.bad":               []byte("x"),
		"t;windows.diskqueue.meta.dat":               metaOf(0, 3, 9, 3, 9),
		"broken:c.diskqueue.meta.dat":                []byte("1\n2\n"),
		"odd.diskqueue.meta:c.diskqueue.meta.dat":    metaOf(1, 1_000_000, 0, 1_000_000, one),
		"odd.diskqueue.meta:c.diskqueue.1000000.dat": records("a"),
		"nsqd.dat":                     []byte("{}"),
		"a b.diskqueue.meta.dat":       metaOf(1, 0, 0, 0, 0),
		"t:a:b.diskqueue.meta.dat":     metaOf(1, 0, 0, 0, 0),
		"t.diskqueue.1.dat":            nil,
		"t.diskqueue.-00001.dat":       nil,
		"t.diskqueue.000001.dat.other": nil,
		"t:dir.diskqueue.meta.dat/x":   nil,
	})
	queues, err := List(fsys)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, q := range queues {
		got = append(got, fmt.Sprintf("%s:%s depth %d, %d bytes, %d bad, error %t", q.Topic, q.Channel, q.Depth, q.Bytes, q.BadFiles, q.Err != nil))
	}
	want := []string{
		"broken:c depth -1, 0 bytes, 0 bad, error true",
		fmt.Sprintf("odd.diskqueue.meta:c depth 1, %d bytes, 0 bad, error false", one),
		fmt.Sprintf("t: depth 2, %d bytes, 0 bad, error false", 2*one),
		fmt.Sprintf("t:c depth -1, %d bytes, 2 bad, error false", one),
		"t:windows depth 0, 0 bytes, 0 bad, error false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestReader(t *testing.T) {
	for name, tc := range map[string]struct {
		files map[string][]byte
		want  string
		torn  int64
	}{
		"from a position, over files": {map[string][]byte{
			"t:c.diskqueue.meta.dat":   metaOf(4, 0, one, 2, one),
			"t:c.diskqueue.000000.dat": records("a", "b", "c"),
			"t:c.diskqueue.000001.dat": records("d"),
			"t:c.diskqueue.000002.dat": records("e"),
		}, "b c d e", 0},
		"an empty queue":         {map[string][]byte{"t:c.diskqueue.meta.dat": metaOf(0, 3, 0, 3, 0)}, "", 0},
		"only a file put aside":  {map[string][]byte{"t:c.diskqueue.000000.dat.bad": records("a")}, "", 0},
		"a new file without any": {map[string][]byte{"t:c.diskqueue.meta.dat": metaOf(1, 0, 0, 1, 0), "t:c.diskqueue.000000.dat": records("a")}, "a", 0},
		"more than the meta file knows": {map[string][]byte{
			"t:c.diskqueue.meta.dat": metaOf(1, 0, 0, 0, one), "t:c.diskqueue.000000.dat": records("a", "b", "c"),
		}, "a b c", 0},
		"a message that is being written": {map[string][]byte{
			"t:c.diskqueue.meta.dat": metaOf(1, 0, 0, 0, one), "t:c.diskqueue.000000.dat": append(records("a", "b"), records("c")[:9]...),
		}, "a b", 9},
		"a length that is being written": {map[string][]byte{
			"t:c.diskqueue.meta.dat": metaOf(1, 0, 0, 0, one), "t:c.diskqueue.000000.dat": append(records("a", "b"), 0),
		}, "a b", 1},
		"no meta file": {map[string][]byte{
			"t:c.diskqueue.000004.dat": records("a"), "t:c.diskqueue.000005.dat": records("b"),
		}, "a b", 0},
		"Windows": {map[string][]byte{"t;c.diskqueue.meta.dat": metaOf(1, 0, 0, 0, one), "t;c.diskqueue.000000.dat": records("a")}, "a", 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := open1(t, dir(tc.files))
			bodies, err := readAll(r)
			if got := strings.Join(bodies, " "); got != tc.want || err != nil || r.Torn() != tc.torn || r.Skipped() {
				t.Errorf("got %q, error %v, %d bytes torn, skipped %t", got, err, r.Torn(), r.Skipped())
			}
			if _, err := r.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

func TestMessage(t *testing.T) {
	r := open1(t, dir(map[string][]byte{"t:c.diskqueue.000000.dat": append(record("0123456789abcdef", ""), record("x", "body\x00")...)}))
	m, err := r.Next()
	if err != nil || m.ID != nsq.MessageID([]byte("0123456789abcdef")) || m.Attempts != 3 || len(m.Body) != 0 ||
		!time.Unix(0, m.Timestamp).Equal(time.Date(2026, 11, 30, 1, 2, 3, 4, time.UTC)) {
		t.Errorf("got %+v, error %v", m, err)
	}
	if m, err = r.Next(); err != nil || string(m.Body) != "body\x00" {
		t.Errorf("got %+v, error %v", m, err)
	}
}

// A damaged queue is read up to the damage, and the error says where that is.
func TestDamage(t *testing.T) {
	negative := []byte{0xff, 0xff, 0xff, 0xff, 1, 2, 3}
	for name, tc := range map[string]struct {
		files map[string][]byte
		want  string
	}{
		"an invalid length": {map[string][]byte{
			"t:c.diskqueue.meta.dat": metaOf(2, 0, 0, 0, 100), "t:c.diskqueue.000000.dat": append(records("a"), negative...),
		}, fmt.Sprintf("t:c.diskqueue.000000.dat is damaged at offset %d, after 1 messages of the queue: a message cannot have -1 bytes", one)},
		"zeros": {map[string][]byte{
			"t:c.diskqueue.meta.dat": metaOf(1, 0, 0, 0, one), "t:c.diskqueue.000000.dat": append(records("a"), make([]byte, 99)...),
		}, "a message cannot have 0 bytes"},
		"a large length": {map[string][]byte{
			"t:c.diskqueue.meta.dat": metaOf(1, 0, 0, 0, one), "t:c.diskqueue.000000.dat": append(records("a"), 0x7f, 0xff, 0xff, 0xff, 1),
		}, "a message cannot have 2147483647 bytes"},
		"a file that ends early": {map[string][]byte{
			"t:c.diskqueue.meta.dat":   metaOf(2, 0, 0, 1, one),
			"t:c.diskqueue.000000.dat": records("a")[:9], "t:c.diskqueue.000001.dat": records("b"),
		}, "t:c.diskqueue.000000.dat is damaged at offset 0, after 0 messages of the queue: the file ends within a message"},
		"a last file that is shorter than the meta file says": {map[string][]byte{
			"t:c.diskqueue.meta.dat": metaOf(2, 0, 0, 0, 2*one), "t:c.diskqueue.000000.dat": records("a"),
		}, fmt.Sprintf("at offset %d, after 1 messages of the queue: unexpected EOF", one)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readAll(open1(t, dir(tc.files)))
			if _, ok := errors.AsType[*DamageError](err); !ok || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v", err)
			}
		})
	}
}

func TestOpenFails(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "want a depth and two positions",
		"1\n0,0\n0,x\n":            "want a depth and two positions",
		"-1\n0,0\n0,0\n":           "cannot be",
		"1\n2,0\n1,0\n":            "from file 2 at 0 to file 1 at 0 cannot be",
		"1\n1,5\n1,4\n":            "cannot be",
		"1\n0,-1\n0,0\n":           "cannot be",
		strings.Repeat("1", 1<<20): "want a depth",
	} {
		_, err := Open(dir(map[string][]byte{"t:c.diskqueue.meta.dat": []byte(text)}), "t", "c")
		if err == nil || !strings.HasPrefix(err.Error(), "t:c.diskqueue.meta.dat: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	for _, topic := range []string{"t", "other"} {
		if _, err := Open(dir(map[string][]byte{"t:c.diskqueue.meta.dat": metaOf(0, 0, 0, 0, 0)}), topic, ""); !errors.Is(err, ErrNotFound) {
			t.Errorf("topic %s: %v", topic, err)
		}
	}
}

// While the reader reads, nsqd sends all messages of files, deletes them, and then replaces the
// meta file.
func TestDeletedFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := dir(map[string][]byte{
			"t:c.diskqueue.meta.dat":   metaOf(5, 0, 0, 3, one),
			"t:c.diskqueue.000000.dat": records("a"),
			"t:c.diskqueue.000001.dat": records("b"),
			"t:c.diskqueue.000002.dat": records("c", "d"),
			"t:c.diskqueue.000003.dat": records("e"),
		})
		changing := &changingFS{MapFS: fsys}
		r := open1(t, changing)
		if m, err := r.Next(); err != nil || string(m.Body) != "a" {
			t.Fatalf("got %v, error %v", m, err)
		}
		delete(fsys, "t:c.diskqueue.000000.dat")
		delete(fsys, "t:c.diskqueue.000001.dat")
		changing.onMeta = func(tries int) {
			if tries == 3 {
				fsys["t:c.diskqueue.meta.dat"] = &fstest.MapFile{Data: metaOf(2, 2, one, 3, one)}
			}
		}
		bodies, err := readAll(r)
		if got := strings.Join(bodies, " "); got != "d e" || err != nil || !r.Skipped() {
			t.Errorf("got %q, error %v, skipped %t", got, err, r.Skipped())
		}
	})
}

// changingFS is a file system that changes while it is read.
type changingFS struct {
	fstest.MapFS
	onMeta func(tries int) // called before the meta file is opened
	tries  int
}

func (c *changingFS) Open(name string) (fs.File, error) {
	if c.onMeta != nil && strings.HasSuffix(name, "meta.dat") {
		c.tries++
		c.onMeta(c.tries)
	}
	return c.MapFS.Open(name)
}

// A file that is missing for good is an error. A queue that is emptied has ended.
func TestMissingFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := dir(map[string][]byte{"t:c.diskqueue.meta.dat": metaOf(2, 0, 0, 1, one), "t:c.diskqueue.000001.dat": records("b")})
		r := open1(t, fsys)
		if _, err := r.Next(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "t:c.diskqueue.000000.dat") {
			t.Errorf("got %v", err)
		}
		delete(fsys, "t:c.diskqueue.meta.dat")
		if _, err := r.Next(); !errors.Is(err, io.EOF) || !r.Skipped() {
			t.Errorf("got %v, skipped %t", err, r.Skipped())
		}
	})
}

// What nsqd writes after the queue was opened is not read: a busy nsqd could go on for ever.
func TestEndIsFixed(t *testing.T) {
	fsys := dir(map[string][]byte{"t:c.diskqueue.meta.dat": metaOf(1, 0, 0, 0, one), "t:c.diskqueue.000000.dat": records("a", "b")})
	r := open1(t, fsys)
	fsys["t:c.diskqueue.000000.dat"] = &fstest.MapFile{Data: records("a", "b", "c")}
	fsys["t:c.diskqueue.000001.dat"] = &fstest.MapFile{Data: records("d")}
	if bodies, err := readAll(r); strings.Join(bodies, " ") != "a b" || err != nil {
		t.Errorf("got %v, error %v", bodies, err)
	}
}

// Whatever the files hold, the reader ends, and the messages are what the files hold.
func FuzzReader(f *testing.F) {
	f.Add(string(metaOf(2, 0, 0, 0, 2*one)), records("a", "b"))
	f.Add(string(metaOf(2, 0, one, 1, 1)), records("a", "b"))
	f.Add(string(metaOf(1, 0, 0, 0, one)), append(records("a"), 0, 0, 0))
	f.Add(string(metaOf(1, 0, 0, 0, 9)), []byte{0x7f, 0xff, 0xff, 0xff, 0})
	f.Add("", records("a"))
	f.Fuzz(func(t *testing.T, metaText string, data []byte) {
		files := map[string][]byte{"t:c.diskqueue.000000.dat": data, "t:c.diskqueue.000001.dat": records("x")}
		if metaText != "" {
			files["t:c.diskqueue.meta.dat"] = []byte(metaText)
		}
		fsys := dir(files)
		r, err := Open(fsys, "t", "c")
		if err != nil {
			return
		}
		if r.number > 0 || r.last > 1 {
			return // files are missing, for which the reader waits
		}
		start, at := r.pos, r.pos
		for {
			m, err := r.Next()
			if err != nil || r.number > 0 {
				break
			}
			length := int64(lengthSize + headerSize + len(m.Body))
			if r.pos != at+length || at+length > int64(len(data)) || string(data[at+lengthSize+headerSize:at+length]) != string(m.Body) {
				t.Fatalf("at %d: %+v", at, m)
			}
			at += length
		}
		if at < start || r.Torn() < 0 {
			t.Errorf("from %d to %d, %d bytes torn", start, at, r.Torn())
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}
