module github.com/rdyhq/nsq/compat/behaviour

go 1.26

require (
	github.com/nsqio/go-nsq v1.1.0
	github.com/rdyhq/nsq v0.0.0
)

require (
	github.com/golang/snappy v0.0.1 // indirect
	github.com/klauspost/compress v1.20.4 // indirect
)

replace github.com/rdyhq/nsq => ../..
