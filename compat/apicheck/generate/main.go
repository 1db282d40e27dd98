// Generate writes compat/go-nsq/nsq.go, which redeclares every exported name of the
// root package: types as aliases, functions that forward, constants and variables
// with the same value. Run it with go generate in compat/go-nsq.
package main

import (
	"log"
	"os"
)

const (
	root   = "../.."
	target = "../go-nsq/nsq.go"
)

func main() {
	source, err := generate(root)
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(target, source, 0o644); err != nil {
		log.Fatal(err)
	}
}
