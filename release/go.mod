module github.com/rdyhq/nsq/release

go 1.26.0

require (
	github.com/rdyhq/nsq v0.0.0
	golang.org/x/mod v0.42.0
)

require github.com/klauspost/compress v1.20.4 // indirect

replace github.com/rdyhq/nsq => ..
