// Package apicheck compares the exported API of the real go-nsq v1.1.0 with those
// of compat/go-nsq and the root package. It contains only tests.
package apicheck
