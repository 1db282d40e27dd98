package diskqueue

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/rdyhq/nsq"
)

const (
	lengthSize = 4
	headerSize = 8 + 2 + nsq.MsgIDLength // time, attempts and ID, before the body

	// maxMessage bounds what a damaged length can make the reader allocate. By default nsqd
	// accepts messages of 1 MiB.
	maxMessage = 256 << 20

	// nsqd deletes a data file first and then replaces the meta file. How often the reader
	// looks for a new meta file, and how long it waits in between:
	metaTries = 40
	metaPause = 50 * time.Millisecond
)

// Message is a message on disk.
type Message struct {
	ID        nsq.MessageID
	Timestamp int64  // when it was published, in nanoseconds since 1970
	Attempts  uint16 // how often nsqd has sent it
	Body      []byte
}

// DamageError reports that a queue cannot be read on.
type DamageError struct {
	File   string // name of the data file
	Offset int64  // where in the file the message begins that cannot be read
	Read   int    // messages read before, from all files
	Err    error
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("%s is damaged at offset %d, after %d messages of the queue: %v", e.File, e.Offset, e.Read, e.Err)
}

func (e *DamageError) Unwrap() error { return e.Err }

// Reader reads the messages of a queue, oldest first. It ends where the queue ended when it
// was opened. It is not for concurrent use.
type Reader struct {
	dir   fs.FS
	queue string
	read  int // messages

	file   fs.File // nil before the first message of a file
	buf    *bufio.Reader
	number int64 // of the file
	pos    int64 // in the file
	size   int64 // of the file

	last     int64 // number of the last file
	lastSize int64
	synced   int64 // up to where the last file is full, by the meta file

	torn    int64
	skipped bool
}

// Open returns a reader of the queue of a topic or, unless channel is empty, of a channel. The
// error wraps ErrNotFound if there is no such queue. The caller closes the reader.
func Open(dir fs.FS, topic, channel string) (*Reader, error) {
	queues, err := List(dir)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(queues, func(q Queue) bool { return q.Topic == topic && q.Channel == channel })
	if i < 0 {
		return nil, ErrNotFound
	}
	q := &queues[i]
	if q.Err != nil {
		return nil, q.Err
	}
	r := &Reader{dir: dir, queue: q.name}
	numbers := slices.Sorted(maps.Keys(q.sizes))
	switch {
	case q.meta != nil:
		r.number, r.pos, r.last, r.synced = q.meta.readFile, q.meta.readPos, q.meta.writeFile, q.meta.writePos
	case len(numbers) > 0: // nsqd has ended before it wrote a meta file
		r.number, r.last = numbers[0], numbers[len(numbers)-1]
	default:
		r.last = -1 // only bad files
	}
	r.lastSize = max(q.sizes[r.last], r.synced)
	return r, nil
}

// Close closes the reader.
func (r *Reader) Close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

// Torn returns how many bytes after the last message are not a whole message. It is known when
// Next has returned io.EOF. nsqd was writing a message then, or it ended while it did.
func (r *Reader) Torn() int64 { return r.torn }

// Skipped reports whether nsqd has deleted a file before the reader came to it. The messages
// of that file are missing.
func (r *Reader) Skipped() bool { return r.skipped }

// Next returns the next message, or io.EOF after the last one. An error is a *DamageError
// or one of the file system.
func (r *Reader) Next() (*Message, error) {
	for {
		if r.number > r.last || r.number == r.last && r.pos >= r.lastSize {
			return nil, io.EOF
		}
		if r.file == nil {
			if err := r.open(); err != nil {
				return nil, err
			}
			continue // the position may be another
		}
		if r.pos < r.size {
			return r.next()
		}
		if err := r.Close(); err != nil {
			return nil, err
		}
		r.number, r.pos = r.number+1, 0
	}
}

// open opens the file of the next message. nsqd may have deleted it: all its messages were
// sent. Then the queue goes on where a new meta file says.
func (r *Reader) open() error {
	for try := 0; ; try++ {
		f, err := open(r.dir, dataName(r.queue, r.number))
		if err == nil {
			return r.use(f)
		}
		if !errors.Is(err, fs.ErrNotExist) || try == metaTries {
			return err
		}
		m, metaErr := readMeta(r.dir, r.queue)
		switch {
		case metaErr == nil && m.readFile > r.number:
			r.number, r.pos, r.skipped = m.readFile, m.readPos, true
			return nil
		case errors.Is(metaErr, fs.ErrNotExist): // the queue was emptied or deleted
			r.number, r.skipped = r.last+1, true
			return nil
		case metaErr != nil:
			return metaErr
		}
		time.Sleep(metaPause)
	}
}

// use reads on from a file that was opened.
func (r *Reader) use(f fs.File) error {
	at, ok := f.(io.ReaderAt)
	info, err := f.Stat()
	if err == nil && !ok {
		err = errors.ErrUnsupported
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r.size = info.Size()
	if r.number == r.last {
		r.size = r.lastSize // nsqd may have written since
	}
	r.file = f
	r.buf = bufio.NewReader(io.NewSectionReader(at, r.pos, max(0, r.size-r.pos)))
	return nil
}

// next reads the message at the position, which is before the end of the file.
func (r *Reader) next() (*Message, error) {
	left := r.size - r.pos
	if left < lengthSize {
		return nil, r.end(errors.New("the file ends within a length"))
	}
	var head [lengthSize + headerSize]byte
	if _, err := io.ReadFull(r.buf, head[:lengthSize]); err != nil {
		return nil, r.damage(err)
	}
	length := int64(int32(binary.BigEndian.Uint32(head[:]))) // #nosec G115 -- as nsqd reads it
	switch {
	case length < headerSize || length > maxMessage:
		return nil, r.damage(fmt.Errorf("a message cannot have %d bytes", length))
	case lengthSize+length > left:
		return nil, r.end(fmt.Errorf("the file ends within a message of %d bytes", length))
	}
	if _, err := io.ReadFull(r.buf, head[lengthSize:]); err != nil {
		return nil, r.damage(err)
	}
	m := &Message{
		Timestamp: int64(binary.BigEndian.Uint64(head[lengthSize:])), // #nosec G115 -- as nsqd writes it
		Attempts:  binary.BigEndian.Uint16(head[lengthSize+8:]),
		ID:        nsq.MessageID(head[lengthSize+10:]),
		Body:      make([]byte, length-headerSize),
	}
	if _, err := io.ReadFull(r.buf, m.Body); err != nil {
		return nil, r.damage(err)
	}
	r.pos += lengthSize + length
	r.read++
	return m, nil
}

// end returns the error for a file that ends within a message. That is no damage at the end of
// the last file, after what the meta file knows: nsqd was writing the message.
func (r *Reader) end(why error) error {
	if r.number == r.last && r.pos >= r.synced {
		r.torn = r.lastSize - r.pos
		r.pos = r.lastSize
		return io.EOF
	}
	return r.damage(why)
}

func (r *Reader) damage(why error) error {
	if errors.Is(why, io.EOF) {
		why = io.ErrUnexpectedEOF // the end of a file is not the end of the queue
	}
	return &DamageError{File: dataName(r.queue, r.number), Offset: r.pos, Read: r.read, Err: why}
}
