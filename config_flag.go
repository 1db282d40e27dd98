package nsq

import (
	"fmt"
	"strings"
)

// ConfigFlag sets options of a Config from the command line. It implements
// flag.Value:
//
//	cfg := nsq.NewConfig()
//	flag.Var(&nsq.ConfigFlag{Config: cfg}, "consumer-opt", "option,value (may be given several times)")
type ConfigFlag struct {
	Config *Config
}

// Set calls the Config's Set. opt is "option,value", or "option" alone for the value
// true. The value may contain commas.
func (f *ConfigFlag) Set(opt string) error {
	option, value, found := strings.Cut(opt, ",")
	if name, _, ok := strings.Cut(option, "="); ok { // without the value, which may be a secret
		return fmt.Errorf("invalid option %s: write %s,value", name, name)
	}
	if !found {
		return f.Config.Set(option, true)
	}
	return f.Config.Set(option, value)
}

// String returns "", so that package flag prints no default.
func (f *ConfigFlag) String() string {
	return ""
}
