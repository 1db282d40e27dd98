// Package apicheck compares the exported API of the real go-nsq v1.1.0 with
// that of compat/go-nsq and of the root package. It has tests only.
package apicheck
