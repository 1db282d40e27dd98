// Package nsq is github.com/rdyhq/nsq under the import path of go-nsq, for
// programs that move by one line of their go.mod and no change of source. All
// names are those of github.com/rdyhq/nsq: its documentation holds. Signatures
// are those of go-nsq v1.1.0.
package nsq

//go:generate go -C ../apicheck run ./generate
