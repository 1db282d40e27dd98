// Mutate shows what tests do not notice. It changes one expression or statement of a
// package at a time, builds the tests with the change, and runs them: a change that fails
// no test survives, and shows behaviour that no test checks. Some survivors change nothing
// that a test could notice, such as the size of a buffer; the reader has to judge.
//
//	go run ./tools/mutate [flags] package...
//
// A package is named by its directory. Its files stay as they are: the change reaches the
// compiler through go test -overlay. Mutate draws from all possible changes alike, so big
// packages get more of them, and runs only the tests of the changed package. It prints each
// survivor when it finds it, a line of progress every ten seconds, and the score at the
// end. Survivors do not make it fail.
package main
