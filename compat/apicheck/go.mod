module github.com/rdyhq/nsq/compat/apicheck

go 1.26.0

require (
	github.com/nsqio/go-nsq v1.1.0
	golang.org/x/tools v0.52.0
)

require (
	github.com/golang/snappy v0.0.1 // indirect
	golang.org/x/mod v0.42.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
)

replace github.com/rdyhq/nsq => ../..
