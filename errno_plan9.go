package nsq

// Plan 9 names errors by text alone.
var connRefused, connReset []error
