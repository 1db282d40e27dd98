// Mutate shows what tests do not notice. It changes one expression or statement of a
// package at a time, builds the tests with the change, and runs them: a change that fails
// no test survives, and names behaviour that no test holds. Some survivors change nothing
// that could be noticed, like the size of a buffer; whether one does is for the reader to
// judge.
//
//	go run ./tools/mutate [flags] package...
//
// A package is named by its directory. Its files stay as they are: the change reaches the
// compiler through go test -overlay. Mutate draws from the changes of all packages alike,
// so that big packages get more of them, and tries each on the tests of its own package
// only. It prints a line per survivor when it finds it, a line of progress every ten
// seconds, and the score at the end. Survivors do not make it fail.
package main
