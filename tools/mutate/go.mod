module github.com/rdyhq/nsq/tools/mutate

go 1.26.0
