package figures

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Things returns a number of things in words: "1 line", "2 lines".
func Things(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return strconv.Itoa(n) + " " + thing
}

// Verb returns the form of a verb for n things.
func Verb(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// Noun returns the form of a noun for n things.
func Noun(n int64, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return thing
}

// Command returns a command of rdy as a user types it. words are the name of the command and the
// topic and channel that it is about. Flags come last, but before a word that begins with "-", as
// names of NSQ may: a "--" in front of that word says that it is no flag.
func Command(words []string, flags ...string) []string {
	names := slices.IndexFunc(words, func(word string) bool { return strings.HasPrefix(word, "-") })
	if names < 0 {
		return slices.Concat([]string{"rdy"}, words, flags)
	}
	return slices.Concat([]string{"rdy"}, words[:names], flags, []string{"--"}, words[names:])
}

// List returns names with commas between them; of many only the first ones.
func List(names []string) string {
	const most = 10
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}
