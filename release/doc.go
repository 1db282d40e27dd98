// Package release has tests that release this tree into a module proxy on disk and
// then do what users do: get the library, install the CLI, switch a program from
// go-nsq. They run the commands that README.md and docs/MIGRATION.md print, word for
// word.
//
//	GOWORK=off go -C release test -count=1 .
//
// They need git, a shell, and the network for modules that are not in Go's cache.
package release
