// Takes the place of go-nsq in programs that import it. See README.md.
module github.com/nsqio/go-nsq

go 1.26

require github.com/rdyhq/nsq v0.1.0

require github.com/klauspost/compress v1.20.4 // indirect
