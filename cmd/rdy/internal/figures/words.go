package figures

import "strconv"

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
