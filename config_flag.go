package nsq

import "strings"

// ConfigFlag lets a command line set the options of a Config. It implements
// flag.Value:
//
//	cfg := nsq.NewConfig()
//	flag.Var(&nsq.ConfigFlag{Config: cfg}, "consumer-opt", "option,value (may be given several times)")
type ConfigFlag struct {
	Config *Config
}

// Set takes "option,value", or "option" alone for the value true, and passes
// them to the Config's Set. Only the first comma separates; the value may
// contain more.
func (f *ConfigFlag) Set(opt string) error {
	option, value, found := strings.Cut(opt, ",")
	if !found {
		return f.Config.Set(option, true)
	}
	return f.Config.Set(option, value)
}

// String returns "": a list of options has no default worth showing.
func (f *ConfigFlag) String() string {
	return ""
}
