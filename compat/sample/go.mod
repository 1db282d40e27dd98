// A program that was written for go-nsq. Its go.mod knows nothing of us.
module example.com/orders

go 1.21

require github.com/nsqio/go-nsq v1.1.0

require github.com/golang/snappy v0.0.1 // indirect
