package simulation

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"
)

// A story is what happens in a world, a line for each actor and for each event.
type story []line

// A line is a word, names, and options: consumer c1 t1/x mif=10.
type line struct {
	word    string
	names   []string
	options []option
}

type option struct {
	key   string
	value string
}

func (l line) String() string {
	words := append([]string{l.word}, l.names...)
	for _, o := range l.options {
		words = append(words, o.key+"="+o.value)
	}
	return strings.Join(words, " ")
}

// name returns the name at a position, empty if there is none.
func (l line) name(i int) string {
	if i >= len(l.names) {
		return ""
	}
	return l.names[i]
}

func (l line) text(key string) string {
	for _, o := range l.options {
		if o.key == key {
			return o.value
		}
	}
	return ""
}

// number returns an option, 0 if it is missing.
func (l line) number(key string) int {
	n, _ := strconv.Atoi(l.text(key))
	return n
}

// ms returns an option that is in milliseconds.
func (l line) ms(key string) time.Duration { return time.Duration(l.number(key)) * time.Millisecond }

// with returns the line with an option more, unless its value is 0 or empty.
func (l line) with(key string, value any) line {
	if text := fmt.Sprint(value); text != "0" && text != "" {
		l.options = append(l.options[:len(l.options):len(l.options)], option{key, text})
	}
	return l
}

// event returns what happens at a time: the time, and the line without it.
func (l line) event() (at time.Duration, what line) {
	ms, _ := strconv.ParseFloat(l.name(0), 64)
	return time.Duration(ms * float64(time.Millisecond)).Round(time.Microsecond), line{l.name(1), l.names[min(2, len(l.names)):], l.options}
}

func parse(text string) (s story) {
	for l := range strings.Lines(text) {
		words := strings.Fields(l)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		read := line{word: words[0]}
		for _, word := range words[1:] {
			if key, value, ok := strings.Cut(word, "="); ok {
				read.options = append(read.options, option{key, value})
			} else {
				read.names = append(read.names, word)
			}
		}
		s = append(s, read)
	}
	return s
}

func (s story) String() string {
	var b strings.Builder
	for _, l := range s {
		b.WriteString(l.String() + "\n")
	}
	return b.String()
}

// all returns the lines that begin with a word.
func (s story) all(word string) (lines []line) {
	for _, l := range s {
		if l.word == word {
			lines = append(lines, l)
		}
	}
	return lines
}

// chance returns a number from 0 to 99 that depends on what it is for alone: not on the order in
// which goroutines ask.
func chance(what ...any) int {
	h := fnv.New64a()
	_, _ = fmt.Fprintln(h, what...)
	return int(h.Sum64() >> 7 % 100)
}
