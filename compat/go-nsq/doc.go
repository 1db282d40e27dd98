// Package nsq is github.com/rdyhq/nsq under the import path of go-nsq. Programs
// switch to it in their go.mod, as README.md shows, without a change of source. Every
// name stands for the one in github.com/rdyhq/nsq, which documents it. The
// signatures are those of go-nsq v1.1.0.
package nsq

//go:generate go -C ../apicheck run ./generate
