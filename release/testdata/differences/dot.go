package main

// row: Switching
import . "github.com/nsqio/go-nsq"

var _ = NewConfig
